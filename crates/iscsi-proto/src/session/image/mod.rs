//! A session at rest as bytes, and back: what is handed to the next version of the program.
//!
//! The encoding is explicit: a version, then each field in a fixed order, integers big-endian, lists with their length
//! before them. A session is at rest where nothing is half done: no PDU has begun beyond its header, nothing waits to
//! be sent, no request waits for the engine, and each task waits for Data-Out or for its turn. In one that recovers, nothing that was sent is
//! unacknowledged either: it has pinged for that by the time that its tasks have ended, and has nothing to keep.

mod codec;
mod fields;
mod recovery;

use core::fmt;

use iscsi_wire::{SerialNumber, Ttt};

use self::codec::{Reader, Writer};
use super::allegiance::Allegiance;
use super::connections::Connections;
use super::recovery::Recovery;
use super::window::{CommandWindow, HeldRequest};
use super::{ConnectionIndex, MAX_CONNECTIONS, Session, TaskSlab};
use crate::connection::{Connection, TextExchange};

/// The encoding written here. Others are refused.
const VERSION: u16 = 6;

/// Why bytes are not the image of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// They end too early.
    Truncated,
    /// They were written by another version.
    Version(u16),
    /// A value is impossible.
    Invalid(&'static str),
    /// Something follows the end.
    TrailingBytes,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("session image is truncated"),
            Self::Version(version) => write!(f, "session image has an unknown version: {version}"),
            Self::Invalid(field) => write!(f, "session image has an impossible value: {field}"),
            Self::TrailingBytes => f.write_str("session image has bytes after its end"),
        }
    }
}

impl core::error::Error for ImageError {}

impl Session {
    /// Whether the session, as far as it can know, is at rest. Only the engine knows of tasks in a backstore and of
    /// operations with the driver.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let held = self.window.held();
        let exp_cmd_sn = self.window.exp_cmd_sn();
        let patient = held.iter().all(|held| {
            let simple = matches!(held.request, HeldRequest::Nothing | HeldRequest::Command(_));
            simple && exp_cmd_sn.lt(held.cmd_sn)
        });
        let waiting = self.tasks.iter().all(|(id, task)| {
            let wants_data =
                task.write && task.received.contiguous() < task.expected_data_transfer_length;
            let held = held
                .iter()
                .any(|held| held.request == HeldRequest::Command(id));
            task.completion.is_none() && !task.queued && (wants_data || held)
        });
        let quiet = self
            .connections
            .iter()
            .all(|(_, c)| quiet(c) && !self.has_window_news(c));
        let answered = self.management.is_empty()
            && self.logouts.is_empty()
            && self.fenced.is_empty()
            && self.awaited.is_empty();
        // A session that has lost a connection is carried over when its initiator has come back.
        let whole = self.is_whole();
        let acknowledged = self.recovery.as_ref().is_none_or(|one| one.is_quiet());
        patient && waiting && quiet && answered && whole && acknowledged && !self.untold_ends
    }

    /// The session as bytes. Only one [at rest](Self::is_at_rest) comes back as it was.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u16(VERSION);
        out.session_type(self.kind);
        out.params(&self.params);
        out.limits(&self.limits);
        out.u32(self.window.exp_cmd_sn().0);
        out.u32(self.window.max_cmd_sn().0);
        out.u32(self.window.width());
        out.u32(self.window.credits());
        out.u32(self.window.debt());
        out.u32(self.next_ttt.0);
        out.u32(self.next_handle);
        out.counters(&self.counters);
        out.count(self.connections.len());
        for (c, connection) in self.connections.iter() {
            out.u8(c.0);
            out.connection(connection);
        }
        out.count(self.tasks.len());
        for (id, task) in self.tasks.iter() {
            out.u32(id.0);
            out.task(task);
        }
        out.count(self.window.held().len());
        self.window.held().iter().for_each(|held| out.held(held));
        if let Some(recovery) = &self.recovery {
            out.recovery(recovery);
        }
        out.into_bytes()
    }

    /// The session of an image. Its clock is that of the process which wrote the image: [`Session::restart_clock`]
    /// before use in another.
    ///
    /// # Errors
    /// Bytes that no session writes.
    pub fn from_image(bytes: &[u8]) -> Result<Self, ImageError> {
        let mut input = Reader::new(bytes);
        let version = input.u16()?;
        if version != VERSION {
            return Err(ImageError::Version(version));
        }
        let kind = input.session_type()?;
        let params = input.params()?;
        let limits = input.limits()?;
        let recovery = Recovery::new(kind, &params);
        let exp_cmd_sn = SerialNumber(input.u32()?);
        let max_cmd_sn = SerialNumber(input.u32()?);
        let (width, credits, debt) = (input.u32()?, input.u32()?, input.u32()?);
        let window = CommandWindow::restore(exp_cmd_sn, max_cmd_sn, width, (credits, debt));
        let window = window
            .filter(|_| width <= MAX_WINDOW && debt <= MAX_WINDOW)
            .ok_or(ImageError::Invalid("window"))?;
        let mut session = Self {
            allegiance: Allegiance::at_level(params.error_recovery_level),
            kind,
            limits,
            window,
            tasks: TaskSlab::default(),
            connections: Connections::default(),
            management: Vec::new(),
            logouts: Vec::new(),
            fenced: Vec::new(),
            held_back: Vec::new(),
            awaited: Vec::new(),
            untold_ends: false,
            recovery,
            next_ttt: Ttt(input.u32()?),
            next_handle: input.u32()?,
            counters: input.counters()?,
            params,
        };
        if session.next_ttt == Ttt::RESERVED {
            return Err(ImageError::Invalid("next_ttt"));
        }
        for _ in 0..input.count(usize::from(MAX_CONNECTIONS))? {
            let c = ConnectionIndex(input.u8()?);
            let connection = input.connection()?;
            let fresh = session.find_connection(connection.cid).is_none();
            if !(fresh && session.connections.insert_at(c, connection)) {
                return Err(ImageError::Invalid("connections"));
            }
        }
        session.read_tasks(&mut input)?;
        let held = input.count((width + debt) as usize)?;
        let held = (0..held)
            .map(|_| input.held())
            .collect::<Result<Vec<_>, _>>()?;
        session.take_held(held)?;
        if let Some(recovery) = &mut session.recovery {
            input.recovery(recovery)?;
        }
        input.end()?;
        Ok(session)
    }

    fn read_tasks(&mut self, input: &mut Reader<'_>) -> Result<(), ImageError> {
        let allowances = usize::from(self.limits.immediate_allowance) * self.connections.len();
        let places = (self.window.width() + self.window.debt()) as usize + allowances;
        for _ in 0..input.count(places)? {
            let id = super::TaskId(input.u32()?);
            let task = input.task(&self.params, self.recovery.is_some())?;
            // The slab grows by words: ids reach no further than that.
            if self.connections.get(task.connection).is_none() {
                return Err(ImageError::Invalid("task connection"));
            }
            if !self.tasks.insert_at(id, task, places.next_multiple_of(64)) {
                return Err(ImageError::Invalid("task id"));
            }
        }
        Ok(())
    }

    fn take_held(&mut self, held: Vec<super::window::Held>) -> Result<(), ImageError> {
        let mut after = self.window.exp_cmd_sn();
        for held in &held {
            let known = match held.request {
                HeldRequest::Command(task) => self.tasks.get(task).is_some(),
                _ => true,
            };
            let in_window = after.lt(held.cmd_sn) && held.cmd_sn.le(self.window.max_cmd_sn());
            if !(known && in_window) {
                return Err(ImageError::Invalid("held"));
            }
            after = held.cmd_sn;
        }
        self.window.restore_held(held);
        Ok(())
    }
}

/// The widest window that limits allow.
const MAX_WINDOW: u32 = u16::MAX as u32;

fn quiet(connection: &Connection) -> bool {
    connection.receive.between_segments()
        && !connection.has_output()
        && connection.text == TextExchange::Idle
        && connection.collected.is_empty()
        && !connection.logging_out
        && connection.ending.is_none()
        && connection.declares.is_none()
}
