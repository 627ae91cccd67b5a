//! PERSISTENT RESERVE OUT, from CDB and parameter list to what it asks for. SPC-5 r22 "PERSISTENT RESERVE OUT command".
//!
//! Only what is wrong whatever the state is refused here.

use super::{MAX_REGISTRATIONS, NexusName, ReservationType, TransportId};
use crate::sense::{Refusal, Sense};

/// Bytes of the parameter list without TransportIDs, in both of its formats.
const LIST_BYTES: usize = 24;

/// The service actions, by code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ServiceAction {
    Register = 0x00,
    Reserve = 0x01,
    Release = 0x02,
    Clear = 0x03,
    Preempt = 0x04,
    PreemptAndAbort = 0x05,
    RegisterAndIgnoreExistingKey = 0x06,
    RegisterAndMove = 0x07,
    ReplaceLostReservation = 0x08,
}

/// What a PERSISTENT RESERVE OUT command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistentReserveOut {
    pub(super) action: ServiceAction,
    scope: u8,
    kind: u8,
    /// RESERVATION KEY.
    pub(super) key: u64,
    /// SERVICE ACTION RESERVATION KEY.
    pub(super) action_key: u64,
    /// APTPL.
    pub(super) persist: bool,
    /// ALL_TG_PT.
    pub(super) all_target_ports: bool,
    /// SPEC_I_PT, with the initiator ports that are to be registered, too.
    pub(super) initiators: Option<Vec<TransportId>>,
    /// Of REGISTER AND MOVE.
    pub(super) destination: Option<Destination>,
}

/// Where REGISTER AND MOVE moves the reservation to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) nexus: NexusName,
    /// UNREG: the nexus that moves it is unregistered.
    pub(super) unregister: bool,
}

impl PersistentReserveOut {
    /// Reads a whole parameter list. `scope_and_type` is byte 2 of the CDB.
    ///
    /// # Errors
    /// PARAMETER LIST LENGTH ERROR, INVALID FIELD IN PARAMETER LIST with the field.
    pub(crate) fn parse(
        action: ServiceAction,
        scope_and_type: u8,
        list: &[u8],
    ) -> Result<Self, Refusal> {
        let Some((head, rest)) = list.split_first_chunk::<LIST_BYTES>() else {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
        };
        let plain = Self {
            action,
            scope: scope_and_type >> 4,
            kind: scope_and_type & 0x0f,
            key: be64(head, 0),
            action_key: be64(head, 8),
            persist: false,
            all_target_ports: false,
            initiators: None,
            destination: None,
        };
        if action == ServiceAction::RegisterAndMove {
            plain.parse_move(head, rest)
        } else {
            plain.parse_basic(head, rest)
        }
    }

    /// SPC-5 "Basic PERSISTENT RESERVE OUT parameter list". Bytes 16 to 19, 22 and 23 are obsolete.
    fn parse_basic(self, head: &[u8; LIST_BYTES], rest: &[u8]) -> Result<Self, Refusal> {
        let flags = head[20];
        check_reserved(flags, 0b0000_1101, 20)?;
        check_reserved(head[21], 0, 21)?;
        let specifies = flags & 0x08 != 0;
        if specifies && self.action != ServiceAction::Register {
            return Err(Sense::parameter_bit(20, 3).into());
        }
        // SPC-5: without SPEC_I_PT the list ends here.
        if !specifies && !rest.is_empty() {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
        }
        Ok(Self {
            persist: flags & 0x01 != 0,
            all_target_ports: flags & 0x04 != 0,
            initiators: specifies.then(|| initiators(rest)).transpose()?,
            ..self
        })
    }

    /// SPC-5 "Parameter list for the PERSISTENT RESERVE OUT command with REGISTER AND MOVE service action".
    fn parse_move(self, head: &[u8; LIST_BYTES], rest: &[u8]) -> Result<Self, Refusal> {
        check_reserved(head[16], 0, 16)?;
        check_reserved(head[17], 0b0000_0011, 17)?;
        let length = u32::from_be_bytes([head[20], head[21], head[22], head[23]]);
        let ids = announced(length, rest)?;
        let (initiator, bytes) = TransportId::parse(ids, LIST_BYTES)?;
        if bytes != ids.len() {
            return Err(Sense::parameter_byte(20).into());
        }
        let target_port = u16::from_be_bytes([head[18], head[19]]);
        Ok(Self {
            persist: head[17] & 0x01 != 0,
            destination: Some(Destination {
                nexus: NexusName {
                    initiator,
                    target_port,
                },
                unregister: head[17] & 0x02 != 0,
            }),
            ..self
        })
    }

    /// SCOPE and TYPE of a reservation to be established.
    ///
    /// # Errors
    /// INVALID FIELD IN CDB for a scope that is not the logical unit's, or a type that is none.
    pub(super) fn kind(&self) -> Result<ReservationType, Refusal> {
        if self.scope != 0 {
            return Err(Sense::cdb_bit(2, 7).into());
        }
        ReservationType::of_code(self.kind).ok_or(Refusal::Check(Sense::cdb_bit(2, 3)))
    }
}

/// The list of SPEC_I_PT: TRANSPORTID PARAMETER DATA LENGTH, then the TransportIDs.
fn initiators(rest: &[u8]) -> Result<Vec<TransportId>, Refusal> {
    let Some((length, ids)) = rest.split_first_chunk::<4>() else {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    };
    let mut left = announced(u32::from_be_bytes(*length), ids)?;
    let mut initiators = Vec::new();
    let mut at = LIST_BYTES + length.len();
    while !left.is_empty() {
        if initiators.len() == MAX_REGISTRATIONS {
            return Err(Sense::INSUFFICIENT_REGISTRATION_RESOURCES.into());
        }
        let (initiator, bytes) = TransportId::parse(left, at)?;
        initiators.push(initiator);
        left = left.get(bytes..).unwrap_or_default();
        at += bytes;
    }
    Ok(initiators)
}

/// The bytes that a length announces, which have to be all there are.
fn announced(length: u32, rest: &[u8]) -> Result<&[u8], Refusal> {
    if usize::try_from(length) == Ok(rest.len()) {
        Ok(rest)
    } else {
        Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into())
    }
}

/// Refuses bits that mean nothing, pointing at the first.
fn check_reserved(bits: u8, allowed: u8, byte: u16) -> Result<(), Refusal> {
    let unexpected = bits & !allowed;
    if unexpected == 0 {
        return Ok(());
    }
    let bit = 7 - u8::try_from(unexpected.leading_zeros()).unwrap_or(0);
    Err(Sense::parameter_bit(byte, bit).into())
}

fn be64(head: &[u8; LIST_BYTES], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    u64::from_be_bytes(bytes)
}
