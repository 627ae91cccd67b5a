//! RFC 7143 bytes and values: PDUs, digests, text, names, serial numbers, the table of negotiation keys.
//!
//! Everything here turns bytes into values or values into bytes, in both directions, and nothing else: no state, no
//! socket, no clock, no policy. A value that the RFC leaves to the receiver's judgement (an unknown reject reason, a
//! reserved login stage) parses and is handed on; only what RFC 7143 §7.7 calls a format error is a [`ParseError`].
//!
//! Fixed headers only: no PDU type owns a data segment. [`Bhs`] carries the 48 bytes, the type of one opcode gives them
//! names, and the data segment stays wherever the caller received it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod ahs;
mod bhs;
mod codes;
mod digest;
pub mod keys;
mod name;
pub mod number;
mod pdu;
mod serial;
pub mod text;
mod values;

pub use address::{AddressError, DEFAULT_PORT, Host, PortalAddress, Redirection, TargetAddress};
pub use ahs::{Ahs, AhsError, AhsSegments, push_bidirectional_read_length, push_extended_cdb};
pub use bhs::{BHS_BYTES, Bhs, MAX_DATA_SEGMENT_BYTES, ParseError, opcode};
pub use codes::{
    AsyncEvent, LoginStatus, LogoutReason, LogoutResponseCode, RejectReason, ResponseCode,
    SnackType, Stage, TaskAttribute, TaskManagementFunction, TaskManagementResponseCode,
};
pub use digest::{Crc32c, DIGEST_BYTES, crc32c, pad};
pub use name::{IscsiName, MAX_NAME_BYTES, NameError};
pub use pdu::{
    AsyncMessage, DataIn, DataOut, InitiatorPdu, LoginRequest, LoginResponse, LogoutRequest,
    LogoutResponse, NopIn, NopOut, ReadyToTransfer, Reject, ScsiCommand, ScsiResponse,
    SnackRequest, TargetPdu, TaskManagementRequest, TaskManagementResponse, TextRequest,
    TextResponse,
};
pub use serial::SerialNumber;
pub use values::{Cid, Isid, Itt, Lun64, Tsih, Ttt};
