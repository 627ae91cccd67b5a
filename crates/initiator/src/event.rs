//! What an initiator tells its caller.

use core::fmt;

use iscsi_wire::{
    AsyncMessage, Bhs, Itt, LoginStatus, LogoutResponse, ParseError, ReadyToTransfer, Reject,
    SerialNumber, TargetPdu, TaskManagementResponseCode, Ttt,
};

/// Something that happened, in the order in which the target's bytes caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A PDU came whole; told only where the configuration asks for it.
    Received(TargetPdu),
    /// The login is done. [`crate::Initiator::params`] has what was negotiated.
    LoggedIn,
    /// The target refused the login.
    LoginFailed {
        /// Class and detail.
        status: LoginStatus,
        /// Keys in the refusal, as TargetAddress in a redirection.
        pairs: Vec<(String, String)>,
    },
    /// A command has its status.
    CommandDone(CommandDone),
    /// The target asks for data; told only where R2Ts are not answered automatically.
    R2t(ReadyToTransfer),
    /// A task management function has its response.
    TaskManaged {
        /// The request's tag.
        itt: Itt,
        /// The outcome.
        response: TaskManagementResponseCode,
        /// What a query has found.
        additional: [u8; 3],
    },
    /// A text exchange is over.
    TextDone {
        /// The request's tag.
        itt: Itt,
        /// All keys of all responses.
        pairs: Vec<(String, String)>,
    },
    /// The target answered a ping.
    Ponged {
        /// The ping's tag.
        itt: Itt,
        /// The data that came back.
        data: Vec<u8>,
    },
    /// The target pinged.
    Pinged {
        /// To be copied into the answer.
        ttt: Ttt,
        /// To be sent back.
        data: Vec<u8>,
    },
    /// A task of a lost connection goes on over this one, or does not: the target's answer to TASK REASSIGN.
    Reassigned {
        /// The command's tag.
        itt: Itt,
        /// The outcome; any but "function complete" is the command's end.
        response: TaskManagementResponseCode,
    },
    /// A request ended with its connection and cannot be continued.
    Lost {
        /// The request's tag.
        itt: Itt,
    },
    /// The target answered a logout. Nothing follows.
    LoggedOut(LogoutResponse),
    /// The target sent an Asynchronous Message.
    Async {
        /// The header.
        message: AsyncMessage,
        /// Sense and event data.
        data: Vec<u8>,
    },
    /// The target rejected a PDU.
    Rejected {
        /// The header.
        reject: Reject,
        /// The header of the rejected PDU, where it came whole.
        header: Option<Bhs>,
    },
    /// A well-formed PDU whose tag belongs to no request of [`crate::Initiator`]'s: an answer to something that was sent
    /// with `push_raw`, or the target's mistake. Its data segment follows.
    Unmatched(TargetPdu, Vec<u8>),
    /// The target did what the RFC forbids.
    Violation(Violation),
}

/// A command's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandDone {
    /// The command's tag.
    pub itt: Itt,
    /// iSCSI service response; 0 where the command completed.
    pub response: u8,
    /// SCSI status.
    pub status: u8,
    /// Sense data without its length.
    pub sense: Vec<u8>,
    /// What came in Data-In PDUs, from offset 0 up to the last byte that came.
    pub data: Vec<u8>,
    /// Over or under.
    pub residual: Residual,
    /// Over or under of a bidirectional command's read.
    pub read_residual: Residual,
}

impl CommandDone {
    /// RFC 7143 §7.8, §11.4.7.2: data that the target would not send again ends a command as if with CHECK CONDITION, "Protocol
    /// Service CRC error": ABORTED COMMAND, 47h, 05h.
    pub(crate) fn of_lost_data(itt: Itt) -> Self {
        Self {
            itt,
            response: 0,
            status: 2,
            sense: vec![0x72, 0x0b, 0x47, 0x05, 0, 0, 0, 0],
            data: Vec::new(),
            residual: Residual::None,
            read_residual: Residual::None,
        }
    }
}

/// The difference between what was expected to move and what the command had to move (RFC 7143 §11.4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residual {
    /// None.
    #[default]
    None,
    /// Bytes that were expected and not moved.
    Underflow(u32),
    /// Bytes that were not moved because they were not expected.
    Overflow(u32),
}

/// A breach of the RFC by the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A header digest is wrong. Ends the connection.
    HeaderDigest,
    /// A data digest is wrong. Ends the connection.
    DataDigest,
    /// A data segment is longer than MaxRecvDataSegmentLength. Ends the connection.
    SegmentTooLong {
        /// Its length in bytes.
        bytes: u32,
        /// What was declared.
        limit: u32,
    },
    /// A header is malformed. Ends the connection.
    Format(ParseError),
    /// A PDU came in a phase that does not have it. Ends the connection.
    WrongPhase {
        /// Its opcode.
        opcode: u8,
    },
    /// A status sequence number is not the next.
    StatSn {
        /// The next.
        expected: SerialNumber,
        /// What came.
        found: SerialNumber,
    },
    /// ExpCmdSN or MaxCmdSN moved back, or ExpCmdSN passed what was sent.
    Window {
        /// ExpCmdSN.
        exp_cmd_sn: SerialNumber,
        /// MaxCmdSN.
        max_cmd_sn: SerialNumber,
    },
    /// A field of a Login Response contradicts the request. Ends the connection.
    LoginField(&'static str),
    /// Text is malformed or endless. Ends the connection.
    Text,
    /// A negotiation answer is not legal for what was offered.
    Answer {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A key that was offered got no answer.
    Unanswered {
        /// The key.
        key: String,
    },
    /// An authentication exchange went wrong. Ends the connection.
    Authentication(&'static str),
    /// A DataSN or R2TSN is not the next.
    DataSn {
        /// The command.
        itt: Itt,
        /// The next.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// A rule of data transfer was broken for a command.
    Data {
        /// The command.
        itt: Itt,
        /// Which rule.
        rule: &'static str,
    },
    /// A residual count does not fit what was moved.
    Residual {
        /// The command.
        itt: Itt,
        /// What was expected to move, in bytes.
        expected: u32,
        /// What moved.
        moved: u32,
        /// What the target says.
        told: Residual,
    },
    /// A tag or flag of a text, NOP or other exchange is wrong.
    Exchange {
        /// The request.
        itt: Itt,
        /// Which rule.
        rule: &'static str,
    },
}

impl Violation {
    /// Whether the connection cannot go on.
    #[must_use]
    pub const fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::HeaderDigest
                | Self::DataDigest
                | Self::SegmentTooLong { .. }
                | Self::Format(_)
                | Self::WrongPhase { .. }
                | Self::LoginField(_)
                | Self::Text
                | Self::Authentication(_)
        )
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "target broke RFC 7143: {self:?}")
    }
}

impl core::error::Error for Violation {}
