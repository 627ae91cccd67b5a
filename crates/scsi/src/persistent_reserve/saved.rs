//! The saved form of a logical unit's persistent reservations: what APTPL makes outlast a loss of power.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `QUINTRSV` |
//! | 4 | version, 1 |
//! | 1 | TYPE of the reservation; 0: there is none |
//! | 1 | 0 |
//! | 2 | place of its holder among the registrations, from 0; FFFFh: none, or all registrants |
//! | 4 | number of registrations |
//! | | for each: key (8), relative target port identifier (2), length of the TransportID (2), the TransportID |
//! | 4 | CRC-32C of all that stands before |
//!
//! Numbers are little-endian, but for what the TransportID has. SPC-5 r22 "Preserving persistent reservations and registrations through power loss" says what is
//! kept; PRgeneration is not.

use std::fmt;

use super::registrations::{PersistentReservation, Registration};
use super::{MAX_REGISTRATIONS, NexusName, PersistentReservations, ReservationType, TransportId};

const MAGIC: &[u8; 8] = b"QUINTRSV";
const VERSION: u32 = 1;
const NO_HOLDER: u16 = u16::MAX;
const SUM_BYTES: usize = 4;

/// Why a saved form is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavedError {
    /// It is damaged.
    Damaged,
    /// It has a version that this program does not know.
    Version(u32),
}

impl fmt::Display for SavedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("the saved reservations are damaged"),
            Self::Version(version) => {
                write!(
                    f,
                    "the saved reservations have an unknown version: {version}"
                )
            }
        }
    }
}

impl std::error::Error for SavedError {}

impl PersistentReservations {
    /// The saved form; `None` where nothing is to outlast a loss of power.
    #[must_use]
    pub fn save(&self) -> Option<Vec<u8>> {
        if !self.persists {
            return None;
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.push(self.kind().map_or(0, ReservationType::code));
        bytes.push(0);
        let held = self.reservation.as_ref();
        let holder = held.and_then(|held| held.holder.as_ref());
        let at = holder.and_then(|holder| {
            let mut names = self.registrations.iter().map(|one| &one.nexus);
            names.position(|name| name == holder)
        });
        // There are fewer registrations than FFFFh, and fewer bytes in a TransportID.
        let number = |n: usize| u16::try_from(n).unwrap_or(NO_HOLDER);
        bytes.extend_from_slice(&at.map_or(NO_HOLDER, number).to_le_bytes());
        let count = u32::from(number(self.registrations.len()));
        bytes.extend_from_slice(&count.to_le_bytes());
        for one in &self.registrations {
            let id = one.nexus.initiator.as_bytes();
            bytes.extend_from_slice(&one.key.to_le_bytes());
            bytes.extend_from_slice(&one.nexus.target_port.to_le_bytes());
            bytes.extend_from_slice(&number(id.len()).to_le_bytes());
            bytes.extend_from_slice(id);
        }
        let sum = crc_fast::crc32_iscsi(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        Some(bytes)
    }

    /// Reads a saved form.
    ///
    /// # Errors
    /// [`SavedError`], for anything that [`save`](Self::save) has not made.
    pub fn restore(bytes: &[u8]) -> Result<Self, SavedError> {
        let version = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.first_chunk::<4>())
            .ok_or(SavedError::Damaged)?;
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(SavedError::Version(version));
        }
        restore(bytes).ok_or(SavedError::Damaged)
    }
}

fn restore(bytes: &[u8]) -> Option<PersistentReservations> {
    let (content, sum) = bytes.split_last_chunk::<SUM_BYTES>()?;
    if crc_fast::crc32_iscsi(content) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut left = content.get(MAGIC.len() + size_of_val(&VERSION)..)?;
    let [kind, 0] = take::<2>(&mut left)? else {
        return None;
    };
    let holder = u16::from_le_bytes(take(&mut left)?);
    let count = usize::try_from(u32::from_le_bytes(take(&mut left)?)).ok()?;
    if count > MAX_REGISTRATIONS {
        return None;
    }
    let mut registrations = Vec::with_capacity(count);
    for _ in 0..count {
        registrations.push(registration(&mut left)?);
    }
    let ascending = registrations.is_sorted_by(|a, b| a.nexus < b.nexus);
    if !left.is_empty() || !ascending {
        return None;
    }
    let reservation = match (kind, registrations.get(usize::from(holder))) {
        (0, _) if holder == NO_HOLDER => None,
        (0, _) => return None,
        (code, holding) => Some(reservation(code, holder, holding)?),
    };
    if reservation.is_some() && registrations.is_empty() {
        return None;
    }
    Some(PersistentReservations {
        generation: 0,
        persists: true,
        lost: false,
        registrations,
        reservation,
    })
}

fn reservation(
    code: u8,
    holder: u16,
    holding: Option<&Registration>,
) -> Option<PersistentReservation> {
    let kind = ReservationType::of_code(code)?;
    let of_all = kind.is_all_registrants();
    if of_all != (holder == NO_HOLDER) || of_all != holding.is_none() {
        return None;
    }
    let holder = holding.map(|one| one.nexus.clone());
    Some(PersistentReservation { kind, holder })
}

fn registration(left: &mut &[u8]) -> Option<Registration> {
    let key = u64::from_le_bytes(take(left)?);
    let target_port = u16::from_le_bytes(take(left)?);
    let length = usize::from(u16::from_le_bytes(take(left)?));
    let (id, rest) = left.split_at_checked(length)?;
    *left = rest;
    let (initiator, bytes) = TransportId::parse(id, 0).ok()?;
    let nexus = NexusName {
        initiator,
        target_port,
    };
    (key != 0 && bytes == length).then_some(Registration { nexus, key })
}

fn take<const N: usize>(left: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = left.split_first_chunk::<N>()?;
    *left = rest;
    Some(*taken)
}
