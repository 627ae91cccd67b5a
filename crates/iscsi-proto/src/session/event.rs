//! What a session says to its engine, and the engine to its session: tags, limits, events, outcomes.
//!
//! Plain values. Nothing here owns payload: a command's data is named as (task, offset, bytes).

use core::ops::Range;
use core::time::Duration;

use iscsi_wire::{IscsiName, Itt, Lun64, SerialNumber, TaskAttribute, TaskManagementFunction};

/// A task's place in the session's slab: small, dense, and used again once the task is over.
///
/// A task is over when its [`Piece::Release`](super::Piece::Release) has come out of
/// [`Session::poll_transmit`](super::Session::poll_transmit), its [`Event::Released`] has been told, or the engine abandoned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u32);

impl TaskId {
    /// The index for a table that runs parallel to the session's slab.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A connection's place in its session: the leading one has 0, and a place that has become free is given to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionIndex(pub u8);

impl ConnectionIndex {
    /// No connection: what a task has that waits for a new allegiance.
    pub const NONE: Self = Self(u8::MAX);
}

/// Names one task management request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TmfHandle(pub u32);

/// Names one SendTargets question until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TextHandle(pub u32);

/// Names one logout until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogoutHandle(pub u32);

/// What a session may use, and how long its peer may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Non-immediate requests that may be unanswered at one time: the command window. At least 1 is used.
    pub window: u16,
    /// Immediate requests that may be unanswered at one time on a connection. At least 2 is used: one task management
    /// request and one other always find room.
    pub immediate_allowance: u16,
    /// Bytes of text a peer may send in one exchange, and of ping data that wait to be echoed, per connection.
    pub max_text_bytes: u32,
    /// Silence after which the session pings its peer; `None`: never.
    pub nop_interval: Option<Duration>,
    /// Further silence after a ping that ends the connection.
    pub nop_timeout: Duration,
    /// How long the response of a function that ends several tasks waits for the next Data-Out that its initiator owes them
    /// (RFC 7143 §4.2.3.3).
    pub late_data_timeout: Duration,
    /// A payload of which more than this many bytes are missing is received in place.
    pub in_place_threshold: u32,
    /// How patient a session is that recovers lost PDUs.
    pub recovery: RecoveryLimits,
}

/// How long a session of ErrorRecoveryLevel 1 or above waits before it takes a PDU for lost (RFC 7143 §7.1.4). Time is looked at
/// once in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryLimits {
    /// Time without a Data-Out PDU of a task, after which what is missing of it is asked for again.
    pub data_out_timeout: Duration,
    /// Time without an acknowledgement of a status, or with a command missing before others, after which the initiator is pinged.
    pub status_timeout: Duration,
    /// Time for which Data-In is kept that the initiator does not acknowledge. A SNACK for it is rejected afterwards.
    pub data_in_timeout: Duration,
}

impl Default for RecoveryLimits {
    fn default() -> Self {
        Self {
            data_out_timeout: Duration::from_secs(5),
            status_timeout: Duration::from_secs(1),
            data_in_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            window: 128,
            immediate_allowance: 8,
            max_text_bytes: 64 * 1024,
            nop_interval: Some(Duration::from_secs(15)),
            nop_timeout: Duration::from_secs(30),
            late_data_timeout: Duration::from_secs(2),
            in_place_threshold: 16 * 1024,
            recovery: RecoveryLimits::default(),
        }
    }
}

/// Where the next bytes of a connection's stream belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivePlan {
    /// Into staging memory, to be handed to [`Session::handle_received`](super::Session::handle_received).
    Staging,
    /// First the rest of a payload, straight into the task's memory and told by
    /// [`Session::handle_placed`](super::Session::handle_placed); what follows it goes to staging.
    InPlace {
        /// The task whose memory it is.
        task: TaskId,
        /// First byte, in the command's data.
        offset: u32,
        /// Bytes that still belong to this payload.
        bytes: u32,
    },
}

/// Outcome of one call of [`Session::handle_received`](super::Session::handle_received).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the input that are done with. All of them where there is no event.
    pub consumed: usize,
    /// What the engine must act on before it hands in the rest.
    pub event: Option<Event>,
}

/// Something for the engine to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A SCSI command.
    Command(CommandEvent),
    /// A command told with `deliver: false` may begin now: the gap before its CmdSN has closed.
    Deliver {
        /// The command.
        task: TaskId,
    },
    /// Payload of an accepted task: copy `input[range]` of this call's input to the task's memory at `offset`.
    Payload {
        /// The task.
        task: TaskId,
        /// First byte, in the command's data.
        offset: u32,
        /// Where in the input of this call it stands.
        input: Range<usize>,
    },
    /// A data PDU has ended and its digest, if any, was right.
    DataArrived {
        /// The task.
        task: TaskId,
        /// The command's data is valid from its first byte up to here.
        contiguous: u32,
        /// The PDU ended its sequence: immediate data without more to come, the unsolicited burst, or the answer to one
        /// R2T. What is still missing comes only when it is asked for with `request_data`.
        sequence_done: bool,
    },
    /// A task's Data-Out broke the rules, and all that was under way for it has now come and was dropped. The engine
    /// ends the command and completes it with CHECK CONDITION and `fault.sense()`; no more of its data will come.
    DataFault {
        /// The task.
        task: TaskId,
        /// What was wrong.
        fault: DataFault,
    },
    /// The initiator has this task's Data-In before byte `through`, or will not get it again: its memory is the engine's. Only in a session that
    /// [recovers](super::Session::recovers).
    Acknowledged {
        /// The task.
        task: TaskId,
        /// The byte after the last.
        through: u32,
    },
    /// This task is over: its id is free, and the engine forgets it. Only in a session that [recovers](super::Session::recovers), where it
    /// takes the place of [`Piece::Release`](super::Piece::Release): either its status has been acknowledged; or its command was damaged
    /// under way, and the engine forgets that it was ever told of it.
    Released {
        /// The task.
        task: TaskId,
    },
    /// A task management request, in its turn.
    TaskManagement(TmfEvent),
    /// The initiator asks for targets and their addresses.
    SendTargets {
        /// For [`Session::answer_send_targets`](super::Session::answer_send_targets).
        handle: TextHandle,
        /// Which targets.
        which: SendTargets,
    },
    /// The initiator wants to close the session or a connection of it. Commands of these that are still unanswered are
    /// the engine's to end (abandon) before it answers; those of a connection that is removed for recovery are suspended,
    /// see [`Session::suspend_tasks`](super::Session::suspend_tasks).
    Logout {
        /// For [`Session::complete_logout`](super::Session::complete_logout).
        handle: LogoutHandle,
        /// What is to be closed.
        scope: LogoutScope,
        /// The connection that asked, and that the answer goes over.
        carrier: ConnectionIndex,
    },
    /// A task that had lost its connection goes on over this one (RFC 7143 §7.2.2).
    Reassigned {
        /// The task.
        task: TaskId,
        /// Its connection from now on.
        connection: ConnectionIndex,
    },
    /// Nobody has asked for these tasks in their time after their connection was lost: they are the engine's to end and
    /// to abandon (RFC 7143 §7.6).
    TasksExpired {
        /// The tasks. None of them can be reassigned any more.
        tasks: Vec<TaskId>,
    },
    /// The connection is over. Told once; input after it is swallowed. The engine closes it, and says so with
    /// [`Session::disconnect`](super::Session::disconnect).
    ConnectionDone {
        /// Which connection.
        c: ConnectionIndex,
        /// Why.
        reason: DropReason,
        /// Send what `poll_transmit` still yields before closing.
        flush: bool,
    },
}

/// A CDB as it arrived: the sixteen bytes of the header, and up to sixteen more from an Extended CDB segment (RFC 7143
/// §11.2.2.3). Of a CDB that is still longer only the header's bytes are told: no command that is supported is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CdbBytes {
    bytes: [u8; MAX_CDB_BYTES],
    len: u8,
}

const HEADER_CDB_BYTES: usize = 16;
const MAX_CDB_BYTES: usize = 32;

impl CdbBytes {
    /// What the header has.
    #[must_use]
    pub fn new(header: [u8; HEADER_CDB_BYTES]) -> Self {
        let mut bytes = [0; MAX_CDB_BYTES];
        bytes[..HEADER_CDB_BYTES].copy_from_slice(&header);
        Self { bytes, len: 16 }
    }

    /// What came, 16 to 32 bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub(super) fn extend(&mut self, more: &[u8]) {
        for byte in more {
            if let Some(place) = self.bytes.get_mut(usize::from(self.len)) {
                *place = *byte;
                self.len += 1;
            }
        }
    }
}

/// A SCSI command as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandEvent {
    /// Its place in the slab.
    pub task: TaskId,
    /// The connection that brought it.
    pub connection: ConnectionIndex,
    /// Addressed logical unit.
    pub lun: Lun64,
    /// The CDB.
    pub cdb: CdbBytes,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Data-In is expected. Never together with `write`: bidirectional commands end here, see
    /// [`TransportSense`](super::TransportSense).
    pub read: bool,
    /// Data-Out is expected.
    pub write: bool,
    /// Bytes the initiator expects to move.
    pub expected_data_transfer_length: u32,
    /// Delivered outside the command window.
    pub immediate: bool,
    /// Command sequence number.
    pub cmd_sn: SerialNumber,
    /// Initiator Task Tag, for logs only.
    pub itt: Itt,
    /// Bytes of immediate data in this PDU.
    pub data_follows: u32,
    /// At most this many bytes of unsolicited Data-Out follow in PDUs of their own.
    pub unsolicited_follows: u32,
    /// CmdSN order allows the command to begin now; else [`Event::Deliver`] comes later.
    pub deliver: bool,
}

impl CommandEvent {
    /// Whether the engine must answer with `accept_data` or `discard_data` before it hands in more bytes.
    #[must_use]
    pub const fn brings_data(&self) -> bool {
        self.data_follows > 0 || self.unsolicited_follows > 0
    }
}

/// A task management request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TmfEvent {
    /// For [`Session::complete_task_management`](super::Session::complete_task_management).
    pub handle: TmfHandle,
    /// The connection that brought it.
    pub connection: ConnectionIndex,
    /// What to do. TASK REASSIGN and functions without a name are answered by the session itself.
    pub function: TaskManagementFunction,
    /// The logical unit, for functions that address one.
    pub lun: Lun64,
    /// The task it names, for ABORT TASK and QUERY TASK.
    pub referenced: TmfReference,
    /// Delivered outside the command window.
    pub immediate: bool,
    /// Command sequence number: functions on a task set concern the commands before it.
    pub cmd_sn: SerialNumber,
}

/// What the Referenced Task Tag of a task management request stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TmfReference {
    /// The function names no task.
    None,
    /// A task which has no status yet.
    Task(TaskId),
    /// No such task, but its CmdSN is in the window and has not come: it counts as received from now on, and the answer
    /// is "Function complete" (RFC 7143 §11.6.1, case b).
    NotYetReceived,
    /// No such task, or its status is already on the way: "Task does not exist" (RFC 7143 §11.6.1, case c).
    NotFound,
}

/// The value of a SendTargets key (RFC 7143 appendix C).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendTargets {
    /// `All`: every target the initiator may log in to. Discovery sessions only.
    All,
    /// One target by name.
    Named(IscsiName),
    /// Empty: the target this session is logged in to.
    This,
}

/// What a logout closes (RFC 7143 §11.14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoutScope {
    /// Every connection, and the session with them.
    Session,
    /// One connection, which need not be the one that asked.
    Connection(ConnectionIndex),
    /// One connection, which need not be the one that asked; its tasks wait for another.
    Recovery(ConnectionIndex),
}

impl LogoutScope {
    /// Whether this connection goes.
    #[must_use]
    pub fn covers(self, c: ConnectionIndex) -> bool {
        match self {
            Self::Session => true,
            Self::Connection(named) | Self::Recovery(named) => named == c,
        }
    }
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Logged out.
    LoggedOut,
    /// Logged out; its tasks wait for another connection.
    LoggedOutForRecovery,
    /// Closed by its owner.
    Closed,
    /// The peer was silent past its ping.
    PingTimeout,
    /// A header digest did not match (RFC 7143 §7.8).
    HeaderDigest,
    /// The digest of a data segment outside Data-Out did not match; ErrorRecoveryLevel 0 has no smaller recovery.
    DataDigest,
    /// A header's content is illegal or contradicts itself (RFC 7143 §7.7).
    Format,
    /// The peer breaks an exchange in a way nothing smaller answers.
    Protocol,
    /// The peer earns rejects faster than it reads them.
    TooManyRejects,
    /// The peer does not acknowledge statuses (RFC 7143 §4.2.2.2).
    StatusNotAcknowledged,
}

/// What is wrong with the data of a task (RFC 7143 §11.4.7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFault {
    /// Data came that was neither allowed nor asked for.
    UnexpectedUnsolicitedData,
    /// A sequence brought less or more than was asked for.
    IncorrectAmountOfData,
    /// A payload was damaged, or a missing DataSN says that one was (RFC 7143 §7.8, §7.9).
    ProtocolServiceCrcError,
    /// A payload stands at another offset than the order of data allows.
    DataOffset,
    /// Data-In was asked for again that is not kept any more (RFC 7143 §7.8).
    SnackRejected,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// SCSI status byte.
    pub status: u8,
    /// Sense data, without its length; at most [`MAX_SENSE_BYTES`] are sent.
    pub sense: &'a [u8],
    /// Last window of Data-In, (offset, bytes), in the task's memory: follows what `data_in` queued. Status rides in
    /// its last PDU where it is GOOD.
    pub data_in: Option<(u32, u32)>,
    /// Bytes the command itself would move: against the expected data transfer length they give the residual count.
    pub transfer_bytes: u64,
    /// The status must not be overtaken by others of its logical unit, nor overtake any (RFC 7143 §4.2.2.3.4).
    pub fence: bool,
}

/// Sense data longer than this is cut: the longest that SPC lets a device server return.
pub const MAX_SENSE_BYTES: usize = 252;
