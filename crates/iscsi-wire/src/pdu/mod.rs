//! The PDUs of RFC 7143 §11, one type each: the header's fields by name, nothing of the segments that follow.
//!
//! A type here is a table: one row is a field, its type and its place. `parse` ignores reserved bits, as RFC 7143 §11
//! wants of receivers, and `emit` leaves them zero. What one field demands of another stands in the `check` functions.

mod data;
mod logout;
mod message;
mod negotiation;
mod nop;
mod scsi;
mod task_management;
#[cfg(test)]
mod tests;

pub use data::{DataIn, DataOut, ReadyToTransfer, SnackRequest};
pub use logout::{LogoutRequest, LogoutResponse};
pub use message::{AsyncMessage, Reject};
pub use negotiation::{LoginRequest, LoginResponse, TextRequest, TextResponse};
pub use nop::{NopIn, NopOut};
pub use scsi::{ScsiCommand, ScsiResponse};
pub use task_management::{TaskManagementRequest, TaskManagementResponse};

use crate::bhs::{Bhs, ParseError};

/// Declares one PDU: `field: type = place`, the bits that are always 1, and the check of its contents.
macro_rules! pdu {
    (
        $(#[$meta:meta])*
        pub struct $name:ident($opcode:expr) {
            $($(#[$field_meta:meta])* $field:ident : $ty:ty = $place:expr,)*
        }
        ones: $ones:expr;
        check: $check:expr;
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $ty,)*
        }

        impl $name {
            /// Reads a header of this opcode.
            ///
            /// # Errors
            /// Another opcode, or contents that RFC 7143 calls illegal or inconsistent.
            pub fn parse(bhs: &$crate::Bhs) -> Result<Self, $crate::ParseError> {
                $crate::pdu::expect_opcode(bhs, $opcode)?;
                let pdu = Self {
                    $($field: $crate::bhs::Place::read(&$place, bhs),)*
                };
                let check: fn(&$crate::Bhs, &Self) -> Result<(), $crate::ParseError> = $check;
                check(bhs, &pdu)?;
                Ok(pdu)
            }

            /// The header with these fields.
            #[must_use]
            pub fn emit(&self) -> $crate::Bhs {
                let mut bhs = $crate::Bhs::zeroed();
                let ones: [u8; 2] = $ones;
                bhs.0[0] = $opcode | ones[0];
                bhs.0[1] = ones[1];
                $($crate::bhs::Place::write(&$place, &mut bhs, self.$field);)*
                bhs
            }
        }
    };
}
use pdu;

macro_rules! one_of_pdus {
    ($(#[$meta:meta])* pub enum $name:ident { $($pdu:ident = $opcode:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is the PDU of its name")]
        pub enum $name {
            $($pdu($pdu),)*
        }

        impl $name {
            /// Reads a header by its opcode.
            ///
            /// # Errors
            /// [`ParseError::UnknownOpcode`] where no PDU of this direction has the opcode, else what the PDU's own
            /// `parse` says.
            pub fn parse(bhs: &Bhs) -> Result<Self, ParseError> {
                match bhs.opcode() {
                    $(crate::opcode::$opcode => $pdu::parse(bhs).map(Self::$pdu),)*
                    unknown => Err(ParseError::UnknownOpcode(unknown)),
                }
            }

            /// The header with this PDU's fields.
            #[must_use]
            pub fn emit(&self) -> Bhs {
                match self {
                    $(Self::$pdu(pdu) => pdu.emit(),)*
                }
            }
        }
    };
}

one_of_pdus! {
    /// A PDU that an initiator sends.
    pub enum InitiatorPdu {
        NopOut = NOP_OUT,
        ScsiCommand = SCSI_COMMAND,
        TaskManagementRequest = TASK_MANAGEMENT_REQUEST,
        LoginRequest = LOGIN_REQUEST,
        TextRequest = TEXT_REQUEST,
        DataOut = DATA_OUT,
        LogoutRequest = LOGOUT_REQUEST,
        SnackRequest = SNACK_REQUEST,
    }
}

one_of_pdus! {
    /// A PDU that a target sends.
    pub enum TargetPdu {
        NopIn = NOP_IN,
        ScsiResponse = SCSI_RESPONSE,
        TaskManagementResponse = TASK_MANAGEMENT_RESPONSE,
        LoginResponse = LOGIN_RESPONSE,
        TextResponse = TEXT_RESPONSE,
        DataIn = DATA_IN,
        LogoutResponse = LOGOUT_RESPONSE,
        ReadyToTransfer = READY_TO_TRANSFER,
        AsyncMessage = ASYNC_MESSAGE,
        Reject = REJECT,
    }
}

fn expect_opcode(bhs: &Bhs, expected: u8) -> Result<(), ParseError> {
    let found = bhs.opcode();
    if found == expected {
        Ok(())
    } else {
        Err(ParseError::UnexpectedOpcode { expected, found })
    }
}

fn require(holds: bool, field: &'static str, byte: u8) -> Result<(), ParseError> {
    if holds {
        Ok(())
    } else {
        Err(ParseError::InvalidField { field, byte })
    }
}

/// RFC 7143 §11.2.1.5: TotalAHSLength is for PDUs that have an AHS, which only SCSI commands do, and MUST be 0 in all
/// others.
fn no_ahs(bhs: &Bhs) -> Result<(), ParseError> {
    require(bhs.total_ahs_bytes() == 0, "total_ahs_length", 4)
}

/// RFC 7143 §11.2.1.8: 0xffffffff is no task's tag.
fn itt_names_a_task(bhs: &Bhs) -> Result<(), ParseError> {
    require(bhs.itt() != crate::Itt::RESERVED, "itt", 16)
}

/// What most PDUs ask for: no AHS, and a tag.
fn plain(bhs: &Bhs) -> Result<(), ParseError> {
    no_ahs(bhs)?;
    itt_names_a_task(bhs)
}

/// Bits of bytes 0 and 1 that a PDU always has set: none.
const NO_ONES: [u8; 2] = [0, 0];

/// Byte 1 has bit 7, the place of the F bit, always set.
const FINAL_ONE: [u8; 2] = [0, 0x80];

/// The I bit is always set.
const IMMEDIATE_ONE: [u8; 2] = [0x40, 0];
