//! What a login settled (RFC 7143 §13), and the reading of values.

use iscsi_wire::number::{parse_boolean, parse_number};

/// The parameters of the connection and its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Whether headers carry a CRC32C.
    pub header_digest: bool,
    /// Whether data segments carry a CRC32C.
    pub data_digest: bool,
    /// MaxConnections.
    pub max_connections: u64,
    /// Whether a write's first data waits for an R2T.
    pub initial_r2t: bool,
    /// Whether data may ride in the command PDU.
    pub immediate_data: bool,
    /// The target's MaxRecvDataSegmentLength, in bytes.
    pub max_send_data_segment_length: u32,
    /// Ours, in bytes.
    pub max_recv_data_segment_length: u32,
    /// Bytes of one solicited or Data-In sequence.
    pub max_burst_length: u32,
    /// Bytes of unsolicited data, immediate data included.
    pub first_burst_length: u32,
    /// Seconds.
    pub default_time2wait: u64,
    /// Seconds.
    pub default_time2retain: u64,
    /// R2Ts that may wait for a command at a time.
    pub max_outstanding_r2t: u64,
    /// DataPDUInOrder.
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder.
    pub data_sequence_in_order: bool,
    /// ErrorRecoveryLevel.
    pub error_recovery_level: u64,
    /// TaskReporting.
    pub task_reporting: String,
    /// iSCSIProtocolLevel.
    pub iscsi_protocol_level: u64,
    /// TargetPortalGroupTag, where the target told it.
    pub target_portal_group_tag: Option<u64>,
    /// TargetAlias, where the target told it.
    pub target_alias: Option<String>,
}

/// The defaults of RFC 7143 §13.
impl Default for Params {
    fn default() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            max_send_data_segment_length: 8192,
            max_recv_data_segment_length: 8192,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            default_time2wait: 2,
            default_time2retain: 20,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            task_reporting: "RFC3720".to_owned(),
            iscsi_protocol_level: 1,
            target_portal_group_tag: None,
            target_alias: None,
        }
    }
}

impl Params {
    /// Takes the result of a negotiation, or the target's declaration. Keys that settle nothing here are passed over.
    /// `None` where the value is not legal for the key.
    pub(crate) fn settle(&mut self, key: &str, value: &str) -> Option<()> {
        let number = |low: u64, high: u64| {
            parse_number(value)
                .ok()
                .filter(|number| (low..=high).contains(number))
        };
        let boolean = || parse_boolean(value).ok();
        match key {
            "HeaderDigest" => self.header_digest = digest(value)?,
            "DataDigest" => self.data_digest = digest(value)?,
            "MaxConnections" => self.max_connections = number(1, 65_535)?,
            "InitialR2T" => self.initial_r2t = boolean()?,
            "ImmediateData" => self.immediate_data = boolean()?,
            "MaxRecvDataSegmentLength" => self.max_send_data_segment_length = length(value)?,
            "MaxBurstLength" => self.max_burst_length = length(value)?,
            "FirstBurstLength" => self.first_burst_length = length(value)?,
            "DefaultTime2Wait" => self.default_time2wait = number(0, 3600)?,
            "DefaultTime2Retain" => self.default_time2retain = number(0, 3600)?,
            "MaxOutstandingR2T" => self.max_outstanding_r2t = number(1, 65_535)?,
            "DataPDUInOrder" => self.data_pdu_in_order = boolean()?,
            "DataSequenceInOrder" => self.data_sequence_in_order = boolean()?,
            "ErrorRecoveryLevel" => self.error_recovery_level = number(0, 2)?,
            "TaskReporting" => value.clone_into(&mut self.task_reporting),
            "iSCSIProtocolLevel" => self.iscsi_protocol_level = number(0, 31)?,
            "TargetPortalGroupTag" => self.target_portal_group_tag = Some(number(0, 65_535)?),
            "TargetAlias" => self.target_alias = Some(value.to_owned()),
            _ => {}
        }
        Some(())
    }
}

/// Bytes of a segment or burst, which are 512 to 2^24 - 1.
pub(crate) fn length(value: &str) -> Option<u32> {
    let bytes = u32::try_from(parse_number(value).ok()?).ok()?;
    (512..=0x00ff_ffff).contains(&bytes).then_some(bytes)
}

fn digest(value: &str) -> Option<bool> {
    match value {
        "CRC32C" => Some(true),
        "None" => Some(false),
        _ => None,
    }
}
