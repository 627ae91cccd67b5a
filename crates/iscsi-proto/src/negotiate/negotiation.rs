//! The answers to operational keys, and their result.

use iscsi_wire::keys::{Combine, Key, KeyRow, ValueKind};
use iscsi_wire::number::{boolean, parse_boolean, parse_number};
use iscsi_wire::text::{TextWriter, split_list};

use super::{
    IRRELEVANT, KeyError, NOT_UNDERSTOOD, NegotiatedParams, OfferedParams, Pair, REJECT,
    TaskReporting, is_reserved_constant,
};

/// The operational parameters of one login in the making.
#[derive(Clone, Debug)]
pub(crate) struct Negotiation {
    offered: OfferedParams,
    discovery: bool,
    result: NegotiatedParams,
    first_burst_agreed: bool,
    declared: bool,
}

impl Negotiation {
    pub(crate) fn new(offered: OfferedParams, discovery: bool) -> Self {
        let result = NegotiatedParams::default();
        Self {
            offered,
            discovery,
            result,
            first_burst_agreed: false,
            declared: false,
        }
    }

    /// The most bytes of text that one PDU to the initiator may have now.
    // RFC 7143 §13.12: 8192 until the initiator has declared another length. During the login what it declares is kept
    // where it is smaller, and not yet used where it is larger: both readings of the section are satisfied.
    pub(crate) fn max_text_bytes(&self) -> usize {
        let length = self.result.max_send_data_segment_length;
        usize::try_from(length.min(super::DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH)).unwrap_or(512)
    }

    /// Declares what the target has to declare in the operational stage; once.
    pub(crate) fn declare(&mut self, answers: &mut TextWriter<'_>) {
        if core::mem::replace(&mut self.declared, true) {
            return;
        }
        let ours = self.number(Key::MaxRecvDataSegmentLength);
        answers.push_number(Key::MaxRecvDataSegmentLength.name(), ours.into());
        self.result.max_recv_data_segment_length = ours;
    }

    /// Answers operational and unknown keys. Others are left to their owners.
    pub(crate) fn answer(
        &mut self,
        pairs: &[Pair],
        answers: &mut TextWriter<'_>,
    ) -> Result<(), KeyError> {
        // FirstBurstLength depends on MaxBurstLength, MaxOutstandingR2T on ErrorRecoveryLevel and DataSequenceInOrder; these may
        // stand behind them in the same text.
        let recovers = self.offered.error_recovery_level > 0;
        let depends = |pair: &&Pair| {
            let key = pair.row.map(|row| row.key);
            key == Some(Key::FirstBurstLength) || (key == Some(Key::MaxOutstandingR2T) && recovers)
        };
        let others = pairs.iter().filter(|pair| !depends(pair));
        for pair in others.chain(pairs.iter().filter(depends)) {
            let answer = match pair.row {
                None => Some(NOT_UNDERSTOOD.to_owned()),
                Some(row) => self.answer_row(row, &pair.value)?,
            };
            if let Some(answer) = answer {
                answers.push(&pair.name, &answer);
            }
        }
        Ok(())
    }

    /// What the login ends with.
    ///
    /// # Errors
    /// A digest that we require was not agreed.
    pub(crate) fn finish(&self) -> Result<NegotiatedParams, KeyError> {
        let mut result = self.result.clone();
        // RFC 7143 §13.14: FirstBurstLength MUST NOT exceed MaxBurstLength. It can where only the latter was
        // negotiated, below the other's default.
        result.first_burst_length = result.first_burst_length.min(result.max_burst_length);
        if self.asks_one_by_one() {
            result.max_outstanding_r2t = 1;
        }
        for (key, choice, agreed) in [
            (
                Key::HeaderDigest,
                self.offered.header_digest,
                result.header_digest,
            ),
            (
                Key::DataDigest,
                self.offered.data_digest,
                result.data_digest,
            ),
        ] {
            if !agreed && !choice.allows("None") {
                return Err(KeyError::DigestRequired(key));
            }
        }
        Ok(result)
    }

    fn answer_row(&mut self, row: &KeyRow, value: &str) -> Result<Option<String>, KeyError> {
        if self.discovery && !row.discovery {
            return Ok(Some(IRRELEVANT.to_owned()));
        }
        if row.combine == Combine::Declarative {
            self.take_declaration(row, value)?;
            return Ok(None);
        }
        // RFC 7143 §6.2: NotUnderstood, Irrelevant and Reject are for answers only.
        if is_reserved_constant(value) {
            return Err(KeyError::ReservedValue(row.key));
        }
        if let Combine::Obsolete(constant) = row.combine {
            return Ok(Some(constant.to_owned()));
        }
        match row.key {
            // RFC 7145 §6.3: these two speak of iSER only; a connection over TCP has no use for them.
            Key::TargetRecvDataSegmentLength | Key::InitiatorRecvDataSegmentLength => {
                Ok(Some(IRRELEVANT.to_owned()))
            }
            // The security stage's own.
            Key::AuthMethod | Key::ChapA => Ok(None),
            _ => self.combine(row, value).map(Some),
        }
    }

    fn take_declaration(&mut self, row: &KeyRow, value: &str) -> Result<(), KeyError> {
        if row.key == Key::MaxRecvDataSegmentLength {
            let length = admissible(row, value).ok_or(KeyError::Declaration(row.key))?;
            self.result.max_send_data_segment_length = length;
        }
        Ok(())
    }

    /// RFC 7143 §6.2.1, §6.2.2: one answer to each key offered; `Reject` where nothing offered is admissible, and then
    /// the value stays what it was.
    fn combine(&mut self, row: &KeyRow, value: &str) -> Result<String, KeyError> {
        let answer = match (row.value, row.combine) {
            (ValueKind::Numerical { .. }, how) => match admissible(row, value) {
                None => None,
                Some(theirs) => Some(self.combine_number(row.key, how, theirs)?),
            },
            (ValueKind::Boolean, how) => parse_boolean(value).ok().map(|theirs| {
                let ours = self.boolean(row.key);
                let agreed = if how == Combine::And {
                    ours && theirs
                } else {
                    ours || theirs
                };
                self.set_boolean(row.key, agreed);
                boolean(agreed).to_owned()
            }),
            // RFC 7143 §6.2.1: the first value of the list that the answerer supports.
            (ValueKind::ListOf(_), _) => {
                let chosen = split_list(value).find(|member| self.allows(row.key, member));
                chosen.map(|chosen| {
                    self.set_choice(row.key, chosen);
                    chosen.to_owned()
                })
            }
            _ => None,
        };
        Ok(answer.unwrap_or_else(|| REJECT.to_owned()))
    }

    fn combine_number(&mut self, key: Key, how: Combine, theirs: u32) -> Result<String, KeyError> {
        let ours = self.number(key);
        let mut agreed = if how == Combine::Max {
            ours.max(theirs)
        } else {
            ours.min(theirs)
        };
        match key {
            // RFC 7143 §13.14: FirstBurstLength MUST NOT exceed MaxBurstLength.
            Key::FirstBurstLength => {
                agreed = agreed.min(self.result.max_burst_length);
                self.first_burst_agreed = true;
            }
            Key::MaxOutstandingR2T if self.asks_one_by_one() => agreed = 1,
            Key::MaxBurstLength
                if self.first_burst_agreed && agreed < self.result.first_burst_length =>
            {
                return Err(KeyError::BurstBelowFirst);
            }
            _ => {}
        }
        self.set_number(key, agreed);
        Ok(agreed.to_string())
    }

    /// RFC 7143 §13.19: where lost data is asked for again, and sequences come in order, there is one R2T at a time.
    fn asks_one_by_one(&self) -> bool {
        self.result.error_recovery_level > 0 && self.result.data_sequence_in_order
    }

    /// Our number, brought within what the key's row allows.
    fn number(&self, key: Key) -> u32 {
        let ours = &self.offered;
        let number = match key {
            Key::MaxRecvDataSegmentLength => ours.max_recv_data_segment_length,
            Key::MaxBurstLength => ours.max_burst_length,
            Key::FirstBurstLength => ours.first_burst_length.min(ours.max_burst_length),
            Key::MaxConnections => ours.max_connections.into(),
            Key::DefaultTime2Wait => ours.default_time2wait.into(),
            Key::DefaultTime2Retain => ours.default_time2retain.into(),
            Key::MaxOutstandingR2T => ours.max_outstanding_r2t.into(),
            // RFC 7143 §7.4.1: 0 in a discovery session.
            Key::ErrorRecoveryLevel if self.discovery => 0,
            Key::ErrorRecoveryLevel => ours.error_recovery_level.into(),
            Key::IscsiProtocolLevel => ours.iscsi_protocol_level.into(),
            _ => 0,
        };
        match key.row().value {
            ValueKind::Numerical { min, max } => {
                let within = u64::from(number).clamp(min, max);
                u32::try_from(within).unwrap_or(number)
            }
            _ => number,
        }
    }

    fn set_number(&mut self, key: Key, agreed: u32) {
        // Every row's range fits its field, so that nothing is cut here.
        let short = u16::try_from(agreed).unwrap_or(u16::MAX);
        let byte = u8::try_from(agreed).unwrap_or(u8::MAX);
        let result = &mut self.result;
        match key {
            Key::MaxBurstLength => result.max_burst_length = agreed,
            Key::FirstBurstLength => result.first_burst_length = agreed,
            Key::MaxConnections => result.max_connections = short,
            Key::DefaultTime2Wait => result.default_time2wait = short,
            Key::DefaultTime2Retain => result.default_time2retain = short,
            Key::MaxOutstandingR2T => result.max_outstanding_r2t = short,
            Key::ErrorRecoveryLevel => result.error_recovery_level = byte,
            Key::IscsiProtocolLevel => result.iscsi_protocol_level = byte,
            _ => {}
        }
    }

    fn boolean(&self, key: Key) -> bool {
        match key {
            Key::InitialR2T => self.offered.initial_r2t,
            Key::ImmediateData => self.offered.immediate_data,
            Key::DataPduInOrder => self.offered.data_pdu_in_order,
            Key::DataSequenceInOrder => self.offered.data_sequence_in_order,
            // RDMAExtensions: this is TCP (RFC 7145 §6.3).
            _ => false,
        }
    }

    fn set_boolean(&mut self, key: Key, agreed: bool) {
        match key {
            Key::InitialR2T => self.result.initial_r2t = agreed,
            Key::ImmediateData => self.result.immediate_data = agreed,
            Key::DataPduInOrder => self.result.data_pdu_in_order = agreed,
            Key::DataSequenceInOrder => self.result.data_sequence_in_order = agreed,
            _ => {}
        }
    }

    fn allows(&self, key: Key, member: &str) -> bool {
        match key {
            Key::HeaderDigest => self.offered.header_digest.allows(member),
            Key::DataDigest => self.offered.data_digest.allows(member),
            Key::TaskReporting => TaskReporting::of(member).is_some(),
            _ => false,
        }
    }

    fn set_choice(&mut self, key: Key, chosen: &str) {
        match key {
            Key::HeaderDigest => self.result.header_digest = chosen == "CRC32C",
            Key::DataDigest => self.result.data_digest = chosen == "CRC32C",
            Key::TaskReporting => {
                self.result.task_reporting = TaskReporting::of(chosen).unwrap_or_default();
            }
            _ => {}
        }
    }
}

/// A number in the row's range.
fn admissible(row: &KeyRow, value: &str) -> Option<u32> {
    let ValueKind::Numerical { min, max } = row.value else {
        return None;
    };
    let number = parse_number(value).ok()?;
    (min..=max)
        .contains(&number)
        .then_some(number)
        .and_then(|number| u32::try_from(number).ok())
}
