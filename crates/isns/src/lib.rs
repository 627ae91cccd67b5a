//! The client side of iSNS (RFC 4171): a target tells a name server of its portals and names, so that initiators and
//! administrators find it there. Sans-I/O.
//!
//! [`Registration`] is what the server is to know. [`Client`] brings it there over one connection and keeps it there: it
//! registers, tells of changes, refreshes before the registration's period ends, and begins anew after a pause when the
//! connection is lost. [`Inbound`] answers what the server asks of its own accord: entity status inquiries and state change
//! notifications, on the client's connection or on one that the server has opened.
//!
//! Knows neither sockets nor targets. Of the protocol it deliberately leaves out authentication blocks (§5.5, for multicast
//! and broadcast), discovery domains (an administrator's, on the server) and Fibre Channel.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod attribute;
mod client;
mod inbound;
mod pdu;
mod registration;
mod status;

pub use attribute::{Attribute, Attributes, MAX_ENTITY_BYTES, Malformed, Writer, tag};
pub use client::{Action, Client, ClientConfig, Event, Problem};
pub use inbound::{Change, Inbound, Notification};
pub use pdu::{Deframer, FrameError, MAX_MESSAGE_BYTES, Message, function};
pub use registration::{MonitorPorts, Node, Registration};
pub use status::Status;

/// The TCP port of iSNS servers (RFC 4171 §8).
pub const DEFAULT_PORT: u16 = 3205;
