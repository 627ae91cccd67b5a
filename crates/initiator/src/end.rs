//! How a command ended, from whichever PDU said so (RFC 7143 §11.4, §11.7.3).

use iscsi_wire::{DataIn, ResponseCode, ScsiResponse};

use crate::Residual;

/// A command's status, from whichever PDU brought it.
pub(crate) struct End {
    pub(crate) response: u8,
    pub(crate) status: u8,
    pub(crate) sense: Vec<u8>,
    pub(crate) residual: Residual,
    pub(crate) read_residual: Residual,
}

impl End {
    pub(crate) fn of_data_in(pdu: &DataIn) -> Self {
        Self {
            response: ResponseCode::CommandCompleted.into(),
            status: pdu.status,
            sense: Vec::new(),
            residual: residual((pdu.overflow, pdu.underflow), pdu.residual_count),
            read_residual: Residual::None,
        }
    }

    /// RFC 7143 §11.4.7: the data segment is a length and as much sense data. Also whether it is that long; if not,
    /// what there is of it is taken.
    pub(crate) fn of_response(pdu: &ScsiResponse, data: &[u8]) -> (Self, bool) {
        let (length, rest) = match data {
            [high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            rest => (rest.len() * 2, rest),
        };
        let sense = rest.get(..length);
        let read = (pdu.bidirectional_overflow, pdu.bidirectional_underflow);
        let end = Self {
            response: pdu.response.into(),
            status: pdu.status,
            sense: sense.unwrap_or(rest).to_vec(),
            residual: residual((pdu.overflow, pdu.underflow), pdu.residual_count),
            read_residual: residual(read, pdu.bidirectional_read_residual_count),
        };
        (end, sense.is_some())
    }
}

fn residual((over, under): (bool, bool), count: u32) -> Residual {
    match (over, under) {
        (true, _) => Residual::Overflow(count),
        (_, true) => Residual::Underflow(count),
        _ => Residual::None,
    }
}
