//! Rows of portal groups that say how patient sessions are which recover what is lost, and what the target says unasked.

use super::Default::{Bool, Integer};
use super::{Attribute, Kind, Takes, row};

pub(super) const ASK_TO_NEGOTIATE: Attribute = row(
    "ask_to_negotiate",
    Kind::Bool,
    Bool(false),
    Takes::Live,
    "sessions are asked to negotiate when param.MaxRecvDataSegmentLength changes; open-iscsi drops its session when it is asked",
    "RFC 7143 §11.9.1, event 4",
);
pub(super) const DATA_IN_TIMEOUT: Attribute = row(
    "recovery.data_in_timeout",
    Kind::Integer { min: 1, max: 3_600 },
    Integer(30),
    Takes::NextLogin,
    "from ErrorRecoveryLevel 1: seconds that read data is kept which nobody acknowledges",
    "RFC 7143 §7.8",
);
pub(super) const DATA_OUT_TIMEOUT: Attribute = row(
    "recovery.data_out_timeout",
    Kind::Integer { min: 1, max: 60 },
    Integer(5),
    Takes::NextLogin,
    "from ErrorRecoveryLevel 1: seconds without data of a write, after which what is missing is asked for again",
    "RFC 7143 §7.1.4.2",
);
pub(super) const STATUS_TIMEOUT: Attribute = row(
    "recovery.status_timeout",
    Kind::Integer { min: 1, max: 60 },
    Integer(1),
    Takes::NextLogin,
    "from ErrorRecoveryLevel 1: seconds without an acknowledgement of a status, or with a command missing, after which the initiator is pinged",
    "RFC 7143 §7.1.4.2",
);
pub(super) const REPORT_UNIT_ATTENTIONS: Attribute = row(
    "report_unit_attentions",
    Kind::Bool,
    Bool(false),
    Takes::NextLogin,
    "what others do to a LUN (resets, other LUNs, another size) is reported at once by an asynchronous message as well",
    "RFC 7143 §11.9.1, event 0",
);
