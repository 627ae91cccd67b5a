//! Operational parameters: what a target offers, and what a login ended with.

/// Bytes of a data segment that a side may send before the other has declared more (RFC 7143 §13.12).
pub const DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH: u32 = 8192;

/// Our side of each key (RFC 7143 §13). The defaults are the fast ones: large segments and bursts, immediate and
/// unsolicited data, whichever digest the initiator prefers.
///
/// Values beyond what the key table allows are brought within it when a negotiation starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedParams {
    /// HeaderDigest.
    pub header_digest: DigestChoice,
    /// DataDigest.
    pub data_digest: DigestChoice,
    /// MaxConnections: the most we allow.
    pub max_connections: u16,
    /// InitialR2T: whether we insist on an R2T before any unsolicited Data-Out.
    pub initial_r2t: bool,
    /// ImmediateData: whether we take it.
    pub immediate_data: bool,
    /// MaxRecvDataSegmentLength: what we declare to receive, in bytes.
    pub max_recv_data_segment_length: u32,
    /// MaxBurstLength, in bytes.
    pub max_burst_length: u32,
    /// FirstBurstLength, in bytes.
    pub first_burst_length: u32,
    /// DefaultTime2Wait, in seconds.
    pub default_time2wait: u16,
    /// DefaultTime2Retain, in seconds.
    pub default_time2retain: u16,
    /// MaxOutstandingR2T: the most we send for one task.
    pub max_outstanding_r2t: u16,
    /// DataPDUInOrder: whether we insist on it.
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder: whether we insist on it.
    pub data_sequence_in_order: bool,
    /// ErrorRecoveryLevel: the most we support.
    pub error_recovery_level: u8,
    /// iSCSIProtocolLevel: the most we support (RFC 7144 §5). 1 means RFC 7143, 2 RFC 7144 as well.
    pub iscsi_protocol_level: u8,
}

impl Default for OfferedParams {
    fn default() -> Self {
        Self {
            header_digest: DigestChoice::Either,
            data_digest: DigestChoice::Either,
            max_connections: 1,
            initial_r2t: false,
            immediate_data: true,
            max_recv_data_segment_length: 262_144,
            max_burst_length: 1_048_576,
            first_burst_length: 262_144,
            default_time2wait: 2,
            default_time2retain: 20,
            max_outstanding_r2t: 8,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            iscsi_protocol_level: 2,
        }
    }
}

/// The digests a target allows. Of those the initiator lists, its first allowed one is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestChoice {
    /// None only.
    None,
    /// CRC32C only: an initiator that does not offer it is refused.
    Crc32c,
    /// Both.
    Either,
}

impl DigestChoice {
    /// Whether the target agrees to the digest of this name.
    #[must_use]
    pub fn allows(self, name: &str) -> bool {
        match self {
            Self::None => name == "None",
            Self::Crc32c => name == "CRC32C",
            Self::Either => matches!(name, "None" | "CRC32C"),
        }
    }
}

/// TaskReporting (RFC 7143 §13.23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskReporting {
    /// RFC3720.
    #[default]
    Rfc3720,
    /// ResponseFence.
    ResponseFence,
    /// FastAbort, which implies the response fence.
    FastAbort,
}

impl TaskReporting {
    /// The one of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "RFC3720" => Some(Self::Rfc3720),
            "ResponseFence" => Some(Self::ResponseFence),
            "FastAbort" => Some(Self::FastAbort),
            _ => None,
        }
    }
}

/// The parameters a connection and its session run with: the result of each key, defaults where it was not negotiated.
/// The default is what holds before any negotiation (RFC 7143 §13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedParams {
    /// HeaderDigest is CRC32C.
    pub header_digest: bool,
    /// DataDigest is CRC32C.
    pub data_digest: bool,
    /// MaxConnections.
    pub max_connections: u16,
    /// InitialR2T.
    pub initial_r2t: bool,
    /// ImmediateData.
    pub immediate_data: bool,
    /// The initiator's MaxRecvDataSegmentLength: the most bytes of one PDU that we send.
    pub max_send_data_segment_length: u32,
    /// Our MaxRecvDataSegmentLength: the most bytes of one PDU that we take.
    pub max_recv_data_segment_length: u32,
    /// MaxBurstLength, in bytes.
    pub max_burst_length: u32,
    /// FirstBurstLength, in bytes; never more than `max_burst_length`.
    pub first_burst_length: u32,
    /// DefaultTime2Wait, in seconds.
    pub default_time2wait: u16,
    /// DefaultTime2Retain, in seconds.
    pub default_time2retain: u16,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u16,
    /// DataPDUInOrder.
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder.
    pub data_sequence_in_order: bool,
    /// ErrorRecoveryLevel.
    pub error_recovery_level: u8,
    /// TaskReporting.
    pub task_reporting: TaskReporting,
    /// iSCSIProtocolLevel.
    pub iscsi_protocol_level: u8,
}

impl Default for NegotiatedParams {
    fn default() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            max_send_data_segment_length: DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH,
            max_recv_data_segment_length: DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            default_time2wait: 2,
            default_time2retain: 20,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            task_reporting: TaskReporting::Rfc3720,
            iscsi_protocol_level: 1,
        }
    }
}
