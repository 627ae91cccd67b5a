//! A small sans-I/O iSCSI initiator on iscsi-wire alone: a second reading of RFC 7143, from the other end.
//!
//! It exists to test targets. Bytes from the target go in at [`Initiator::handle_bytes`], bytes for it come out of
//! [`Initiator::take_output`], and what happened is told in [`Event`]s; no socket, clock or random number is touched.
//! One [`Initiator`] is one connection, the leading one of its session; a [`Session`] has several.
//!
//! At ErrorRecoveryLevel 1 and above it recovers: it asks by SNACK for what is missing, sends unacknowledged requests again, and
//! takes a lost connection's tasks over ([`Repairs`] counts what was done). Its sense of time is [`Initiator::handle_time`]
//! alone.
//!
//! Two things set it apart from an initiator for use. It is strict: whatever the target does against the RFC becomes an
//! [`Event::Violation`], and where the connection can go on it goes on. And it is free: every login key is chosen by the
//! caller, automatic answers can be turned off, and [`Initiator::push_raw`] sends any header at all.
//!
//! It deliberately shares no negotiation or sequencing code with a target, so that a misreading has to be made twice to
//! go unseen.
//!
//! A blocking loop over TCP is this much:
//!
//! ```no_run
//! use std::io::{self, Read, Write};
//! use std::net::TcpStream;
//!
//! use initiator::{Config, Event, Initiator};
//! use iscsi_wire::Lun64;
//!
//! /// Sends what is queued and reads until something happens.
//! fn turn(stream: &mut TcpStream, initiator: &mut Initiator) -> io::Result<Vec<Event>> {
//!     let mut bytes = vec![0; 64 * 1024];
//!     loop {
//!         stream.write_all(&initiator.take_output())?;
//!         let count = stream.read(&mut bytes)?;
//!         if count == 0 {
//!             return Err(io::ErrorKind::UnexpectedEof.into());
//!         }
//!         let events = initiator.handle_bytes(&bytes[..count]);
//!         if !events.is_empty() {
//!             return Ok(events);
//!         }
//!     }
//! }
//!
//! # fn main() -> io::Result<()> {
//! let mut stream = TcpStream::connect("127.0.0.1:3260")?;
//! let config = Config::normal("iqn.2026-01.org.example:host", "iqn.2026-01.org.example:disk");
//! let mut initiator = Initiator::new(config);
//! initiator.start_login();
//! let events = turn(&mut stream, &mut initiator)?;
//! assert!(matches!(events[..], [Event::LoggedIn]));
//! let inquiry = initiator.command(Lun64(0), &[0x12, 0, 0, 0, 96, 0], Vec::new(), 96);
//! for event in turn(&mut stream, &mut initiator)? {
//!     if let Event::CommandDone(done) = event {
//!         assert_eq!((done.itt, done.status), (inquiry, 0));
//!     }
//! }
//! stream.write_all(&initiator.take_output())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod answers;
mod chap;
mod config;
mod connections;
mod end;
mod event;
mod framing;
mod login;
mod params;
mod receive;
mod recovery;
mod session;
mod task;
#[cfg(test)]
mod tests;
mod transmit;

pub use config::{Chap, ChapDigest, Config, MutualChap};
pub use connections::Session;
pub use event::{CommandDone, Event, Residual, Violation};
pub use params::Params;
pub use recovery::Repairs;
pub use session::{Delivery, Initiator, Request};
