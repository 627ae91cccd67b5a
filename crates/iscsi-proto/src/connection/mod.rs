//! One connection of a session: how its bytes become PDUs, its status numbering, and what waits to be sent on it.
//!
//! Knows nothing of the command window and of tasks' data: those are the session's.

mod receive;
mod reply;

use core::time::Duration;
use std::collections::VecDeque;

use iscsi_wire::keys::Key;
use iscsi_wire::{Cid, Itt, Lun64, SerialNumber, Ttt};

pub(crate) use receive::{HeaderStep, Purpose, Receive, Segment, Stage};
pub(crate) use reply::{Reassignment, Reply, StatSnUse};

use crate::login::Established;
use crate::session::{DropReason, TaskId, TextHandle};

/// Rejects that may wait to be sent. A peer that earns more without reading them is dropped.
pub(crate) const MAX_QUEUED_REJECTS: usize = 16;

/// State of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) cid: Cid,
    pub(crate) header_digest: bool,
    pub(crate) data_digest: bool,
    /// The peer's MaxRecvDataSegmentLength: it may declare a new one at any time.
    pub(crate) max_send_data_segment_length: u32,
    /// Ours.
    pub(crate) max_recv_data_segment_length: u32,
    /// A new one of ours, to be declared in the next text exchange.
    pub(crate) declares: Option<u32>,

    pub(crate) receive: Receive,
    /// Text or ping data of the PDU being received, or of a text exchange being gathered.
    pub(crate) collected: Vec<u8>,

    /// StatSN of the next PDU that carries one of its own.
    pub(crate) stat_sn: SerialNumber,
    /// All status before this has been acknowledged.
    pub(crate) acknowledged: SerialNumber,
    /// Tasks with something to send, in turn.
    pub(crate) ready: VecDeque<TaskId>,
    /// PDUs that are no task's, in order.
    pub(crate) replies: VecDeque<Reply>,
    /// How many tasks have been completed on this connection.
    pub(crate) completions: u64,
    pub(crate) immediate_management: u16,
    pub(crate) immediate: u16,

    pub(crate) text: TextExchange,
    pub(crate) negotiation: TextNegotiation,
    /// It is going to be closed by a logout that the engine has not answered.
    pub(crate) logging_out: bool,
    pub(crate) ping: Option<Ping>,
    pub(crate) last_heard: Duration,
    pub(crate) ending: Option<Ending>,
    /// Nothing is sent for its tasks any more: they wait for a new allegiance, or for their end.
    pub(crate) suspended: bool,
    /// It is lost and has not been logged out; it is forgotten with its tasks then.
    pub(crate) retained_until: Option<Duration>,
    /// The owner has nothing of it any more: its place may be another's as soon as the session forgets it.
    pub(crate) released: bool,
    /// The MaxCmdSN of the last PDU sent, that of the login before the first.
    pub(crate) told_max_cmd_sn: SerialNumber,
    /// A PDU has been sent.
    pub(crate) spoke: bool,
}

/// The text exchange of a connection: one at a time (RFC 7143 §11.10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum TextExchange {
    #[default]
    Idle,
    /// The initiator has more to say; what it said is in `collected`.
    Gathering { itt: Itt, lun: Lun64, ttt: Ttt },
    /// The engine has been asked for targets. `answer` has the keys that go before them.
    Asked {
        handle: TextHandle,
        request: TextRequestTags,
        answer: Vec<u8>,
    },
    /// The answer is longer than one PDU: what has not been asked for yet starts at `at`.
    Sending {
        itt: Itt,
        lun: Lun64,
        ttt: Ttt,
        answer: Vec<u8>,
        at: usize,
    },
}

/// What the requests of a text exchange have negotiated: without effect until its end (RFC 7143 §6.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TextNegotiation {
    /// The keys that have come.
    pub(crate) keys: Vec<Key>,
    /// The MaxRecvDataSegmentLength declared.
    pub(crate) max_recv_data_segment_length: Option<u32>,
}

/// What the answer to a text request copies from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TextRequestTags {
    pub(crate) itt: Itt,
    pub(crate) lun: Lun64,
    pub(crate) ttt: Ttt,
    pub(crate) r#final: bool,
    pub(crate) slot: crate::session::task::RequestSlot,
}

/// A ping without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ping {
    pub(crate) ttt: Ttt,
    pub(crate) sent: Duration,
    /// How often it was sent again, since it may have been lost.
    pub(crate) again: u8,
}

/// The connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) reason: DropReason,
    pub(crate) flush: bool,
    /// The engine has been told.
    pub(crate) told: bool,
}

impl Connection {
    /// The connection of a login, before anything has come on it.
    pub(crate) fn new(established: &Established, now: Duration) -> Self {
        let params = &established.params;
        Self {
            cid: established.identity.cid,
            header_digest: params.header_digest,
            data_digest: params.data_digest,
            max_send_data_segment_length: params.max_send_data_segment_length,
            max_recv_data_segment_length: params.max_recv_data_segment_length,
            declares: None,
            receive: Receive::new(),
            collected: Vec::new(),
            stat_sn: established.stat_sn,
            acknowledged: established.stat_sn,
            ready: VecDeque::new(),
            replies: VecDeque::new(),
            completions: 0,
            immediate_management: 0,
            immediate: 0,
            text: TextExchange::Idle,
            negotiation: TextNegotiation::default(),
            logging_out: false,
            ping: None,
            last_heard: now,
            ending: None,
            suspended: false,
            retained_until: None,
            released: false,
            told_max_cmd_sn: established.max_cmd_sn,
            spoke: false,
        }
    }

    /// Takes note of an ExpStatSN: what it acknowledges cannot lie beyond what was sent.
    /// Whether that is news.
    pub(crate) const fn acknowledge(&mut self, exp_stat_sn: SerialNumber) -> bool {
        let news = self.acknowledged.lt(exp_stat_sn) && exp_stat_sn.le(self.stat_sn);
        if news {
            self.acknowledged = exp_stat_sn;
        }
        news
    }

    /// Whether the peer has lost its receive side's meaning: nothing it sends is looked at.
    pub(crate) const fn is_deaf(&self) -> bool {
        self.ending.is_some() || self.logging_out
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.replies.is_empty() || !self.ready.is_empty()
    }

    /// Bytes of ping data that wait to be echoed.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.replies.iter().map(|reply| reply.data.len()).sum()
    }

    pub(crate) fn queued_rejects(&self) -> usize {
        let rejects = self.replies.iter();
        rejects.filter(|reply| reply.is_reject()).count()
    }

    /// Forgets that the PDU being received belongs to `task`: the rest of its payload is dropped.
    pub(crate) fn disown(&mut self, task: TaskId) {
        if self.receive.segment.purpose.task() == Some(task) {
            self.receive.segment.purpose = Purpose::Ignore;
        }
    }

    pub(crate) fn release_idle_memory(&mut self) {
        if self.replies.is_empty() {
            self.replies = VecDeque::new();
        }
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
        if self.collected.is_empty() {
            self.collected = Vec::new();
        }
    }
}
