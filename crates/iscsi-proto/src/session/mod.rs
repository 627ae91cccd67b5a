//! One session in full feature phase: requests in, events to the engine, answers out (RFC 7143 §4.2, §7, §11). How its
//! connections share it stands in `connections`.
//!
//! # How it is driven
//!
//! *Input.* Ask [`Session::receive_plan`] before each receive. Bytes that landed in place go to
//! [`Session::handle_placed`]; then all bytes from staging, also none, to [`Session::handle_received`], again and again
//! with what it has not consumed, until it returns no event. An [`Event::Command`] that [brings
//! data](CommandEvent::brings_data) is answered with [`Session::accept_data`], [`Session::discard_data`] or [`Session::take_immediate_data`] before the
//! next call; a command with neither answer is taken to be discarded.
//!
//! *Answers.* The engine answers events when it likes, in any order. After answers, [`Session::poll_event`] tells what
//! they made possible without input: after [`Session::complete_logout`] that is [`Event::ConnectionDone`].
//!
//! *Output.* [`Session::poll_transmit`] gathers what is ready. A task's memory must stay as it is until the pieces that
//! name it are sent; [`Piece::Release`] and [`Session::abandon`] are the two ends of a task, after which its id is used
//! again. In a session that [recovers](Session::recovers) the first is [`Event::Released`]: what is sent has to stay until it is acknowledged.
//!
//! *Time.* `now` never goes back. [`Session::poll_timeout`] says when [`Session::handle_timeout`] is due.
//!
//! # Bounds
//!
//! Whatever a peer sends, a session holds at most one task (about 350 bytes) and one reply of about 100 bytes for each
//! place in the command window and in the immediate allowance of each connection; and for each connection 16 Rejects of
//! 150 bytes, `max_text_bytes` of text it is being told, six times that of answers to it, and twice that of text and
//! ping data that wait to be sent; the engine's answer to SendTargets is bounded by the configuration of the target.
//! With the default limits and one connection that is under 700 KiB, and under 2 KiB once idle and told to [release its
//! memory](Session::release_idle_memory). Where DataPDUInOrder or DataSequenceInOrder was negotiated to No, a write whose
//! data comes with gaps keeps up to 32 KiB of what has come. There are at most [`MAX_CONNECTIONS`], and as many as were negotiated.
//!
//! # What it deliberately does not know
//!
//! Payload (it is named as task, offset, bytes), CDBs, logical units, clocks, sockets.

mod allegiance;
mod awaited;
mod command;
mod connections;
mod counters;
mod data_in;
mod data_out;
mod event;
mod fence;
#[cfg(test)]
mod fixture;
mod image;
mod input;
mod logout;
mod management;
mod nop;
mod output;
mod ranges;
mod recovery;
mod refusal;
mod sense;
mod slab;
pub(crate) mod task;
#[cfg(test)]
mod tests;
mod text;
mod timer;
mod transmit;
mod window;

use core::time::Duration;

use iscsi_wire::{Itt, Lun64, SerialNumber, Ttt};

pub use connections::{JoinError, MAX_CONNECTIONS};
pub use counters::SessionCounters;
pub use event::{
    CdbBytes, CommandEvent, ConnectionIndex, DataFault, DropReason, Event, LogoutHandle,
    LogoutScope, MAX_SENSE_BYTES, Outcome, ReceivePlan, Received, RecoveryLimits, SendTargets,
    SessionLimits, TaskId, TextHandle, TmfEvent, TmfHandle, TmfReference,
};
pub use image::ImageError;
pub use recovery::MAX_ERROR_RECOVERY_LEVEL;
pub use sense::{TRANSPORT_SENSE_BYTES, TransportSense};
pub use transmit::{Piece, Transmit};

use crate::connection::Connection;
use crate::login::{Established, SessionType};
use crate::negotiate::NegotiatedParams;
use allegiance::Allegiance;
use connections::Connections;
use recovery::Recovery;
use slab::TaskSlab;
use task::RequestSlot;
use window::CommandWindow;

/// A session with its connections. Plain data: it can be cloned, compared, and [imaged](Session::image) at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    kind: SessionType,
    params: NegotiatedParams,
    limits: SessionLimits,
    window: CommandWindow,
    tasks: TaskSlab,
    connections: Connections,
    /// Task management requests that the engine has not answered.
    management: Vec<management::Pending>,
    /// Logouts that the engine has not answered.
    logouts: Vec<logout::PendingLogout>,
    /// Responses that wait for what other connections have sent.
    fenced: Vec<fence::Fenced>,
    /// Statuses that response fences hold.
    held_back: Vec<fence::HeldBack>,
    /// Data-Out of tasks that functions have ended, which their responses wait for.
    awaited: Vec<awaited::Awaited>,
    /// A connection has ended, and the engine has yet to be told.
    untold_ends: bool,
    /// What is kept for the case that a PDU is lost: from ErrorRecoveryLevel 1 on.
    recovery: Option<Box<Recovery>>,
    /// The Target Transfer Tag given out next.
    next_ttt: Ttt,
    next_handle: u32,
    counters: SessionCounters,
    /// Tasks without a connection, where ErrorRecoveryLevel 2 was agreed on.
    allegiance: Option<Box<Allegiance>>,
}

impl Session {
    /// The session that a login became. The owner sends `established.final_response` before anything of this.
    #[must_use]
    pub fn new(established: &Established, limits: SessionLimits, now: Duration) -> Self {
        let params = established.params.clone();
        let limits = SessionLimits {
            window: limits.window.max(1),
            immediate_allowance: limits.immediate_allowance.max(2),
            ..limits
        };
        let exp_cmd_sn = established.exp_cmd_sn;
        // RFC 7143 §4.2.2.1: MaxCmdSN never moves back, not from what the login told either.
        let told = established.max_cmd_sn.next().distance_from(exp_cmd_sn);
        let told = u16::try_from(told).unwrap_or(0);
        let width = u32::from(limits.window.max(told));
        let window = CommandWindow::new(exp_cmd_sn, width);
        let allegiance = Allegiance::at_level(params.error_recovery_level);
        let mut connections = Connections::default();
        connections.insert(Connection::new(established, now));
        let kind = established.identity.session_type;
        let mut recovery = Recovery::new(kind, &params);
        if let Some(recovery) = &mut recovery {
            recovery.now = now;
        }
        Self {
            kind,
            params,
            limits,
            window,
            tasks: TaskSlab::default(),
            connections,
            management: Vec::new(),
            logouts: Vec::new(),
            fenced: Vec::new(),
            held_back: Vec::new(),
            awaited: Vec::new(),
            untold_ends: false,
            recovery,
            next_ttt: Ttt(1),
            next_handle: 1,
            counters: SessionCounters::default(),
            allegiance,
        }
    }

    /// The parameters it runs with.
    #[must_use]
    pub const fn params(&self) -> &NegotiatedParams {
        &self.params
    }

    /// Tasks that have no status on the wire yet.
    pub fn outstanding_tasks(&self) -> impl Iterator<Item = TaskId> {
        self.tasks
            .iter()
            .filter(|(_, task)| !task.internal && task.sent_status().is_none())
            .map(|(id, _)| id)
    }

    /// MaxCmdSN, where the command window is closed: nothing numbered may come before an answer. It grows with the next one.
    #[must_use]
    pub fn closed_window(&self) -> Option<SerialNumber> {
        let closed = self.window.is_closed();
        closed.then_some(self.window.max_cmd_sn())
    }

    /// How many numbered requests may be unanswered.
    #[must_use]
    pub const fn window_width(&self) -> u32 {
        self.window.width()
    }

    /// Lets more or fewer numbered requests be unanswered, at least 1. A wider window is open at once, and the initiator is told; a
    /// narrower one closes as answers are given (RFC 7143 §4.2.2.1: MaxCmdSN never moves back).
    pub fn resize_window(&mut self, width: u16) {
        self.window.resize(u32::from(width.max(1)));
    }

    /// Whether a task is one that a function with this CmdSN concerns (RFC 7143 §11.5.1): its own is lower, or it was immediate.
    #[must_use]
    pub fn came_before(&self, task: TaskId, cmd_sn: SerialNumber) -> bool {
        self.tasks
            .get(task)
            .is_some_and(|task| task.slot != RequestSlot::Numbered || task.cmd_sn.lt(cmd_sn))
    }

    /// The logical unit that an outstanding task is addressed to.
    #[must_use]
    pub fn lun_of(&self, task: TaskId) -> Option<Lun64> {
        self.tasks.get(task).map(|task| task.lun)
    }

    /// The Initiator Task Tag of an outstanding task, for logs.
    #[must_use]
    pub fn itt_of(&self, task: TaskId) -> Option<Itt> {
        self.tasks.get(task).map(|task| task.itt)
    }

    /// What it has seen.
    #[must_use]
    pub const fn counters(&self) -> SessionCounters {
        self.counters
    }

    /// Gives memory back that only a busy session needs. Cheap where there is nothing to give.
    pub fn release_idle_memory(&mut self) {
        self.tasks.release_idle_memory();
        self.window.release_idle_memory();
        self.management.shrink_to_fit();
        self.logouts.shrink_to_fit();
        if let Some(allegiance) = &mut self.allegiance {
            allegiance.release_idle_memory();
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.release_idle_memory();
        }
        self.connections
            .iter_mut()
            .for_each(|(_, connection)| connection.release_idle_memory());
    }

    fn connection(&self, c: ConnectionIndex) -> Option<&Connection> {
        self.connections.get(c)
    }

    fn connection_mut(&mut self, c: ConnectionIndex) -> Option<&mut Connection> {
        self.connections.get_mut(c)
    }

    /// A Target Transfer Tag that no Data-Out under way can carry: a count that comes round after 2^32 - 1 tags.
    fn take_ttt(&mut self) -> Ttt {
        next_tag(&mut self.next_ttt)
    }

    fn take_handle(&mut self) -> u32 {
        let handle = self.next_handle;
        self.next_handle = handle.wrapping_add(1);
        handle
    }

    /// An answer leaves: its request's place is free for another.
    fn free_slot(&mut self, c: ConnectionIndex, slot: RequestSlot) {
        if slot == RequestSlot::Numbered {
            return self.window.release();
        }
        let Some(connection) = self.connection_mut(c) else {
            return;
        };
        let count = match slot {
            RequestSlot::ImmediateManagement => &mut connection.immediate_management,
            RequestSlot::Immediate => &mut connection.immediate,
            RequestSlot::Numbered | RequestSlot::None => return,
        };
        *count = count.saturating_sub(1);
    }

    /// Ends a task's record: its id may be given to another from now on.
    fn remove_task(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let (c, slot) = (task.connection, task.slot);
        if self.recovery.is_some() {
            self.forget_recovery(c, id);
        }
        self.tasks.remove(id);
        self.free_slot(c, slot);
        if !self.window.held().is_empty() {
            self.window.forget(id);
        }
        if !self.fenced.is_empty() {
            self.forget_fenced(c, id);
            self.look_at_fences();
        }
        match self.connection_mut(c) {
            Some(connection) => connection.disown(id),
            None => {
                if let Some(allegiance) = &mut self.allegiance {
                    allegiance.forget(id);
                }
            }
        }
    }
}

/// Takes a tag off a count of them.
fn next_tag(next_ttt: &mut Ttt) -> Ttt {
    let ttt = *next_ttt;
    let next = Ttt(ttt.0.wrapping_add(1));
    *next_ttt = if next == Ttt::RESERVED { Ttt(0) } else { next };
    ttt
}
