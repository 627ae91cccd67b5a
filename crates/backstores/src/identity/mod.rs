//! A disk's identity: the serial number and NAA name under which initiators know it again.
//!
//! An identity is its serial; the NAA name is computed from it, so that a serial given by hand brings the whole identity
//! back. A file keeps its serial in an extended attribute which also records inode and birth time: where these do not
//! match, the file is a copy, and two disks with one identity would be taken for two paths to one disk. Where there are
//! no extended attributes, and for block devices, the serial comes from the machine id and what names the store on this
//! machine.
//!
//! It deliberately draws no random numbers: they come from the caller.
//!
//! Standards: SPC-5 r22 "Unit Serial Number VPD page" and "NAA Locally Assigned designator format".

mod block_device;
mod file;
mod machine;

use std::fmt;

use sha2::{Digest, Sha256};

pub(crate) use block_device::of_block_device;
pub(crate) use file::of_file;
pub use machine::MachineId;

/// The longest serial that is taken, in bytes.
pub const SERIAL_MAX_BYTES: usize = 64;

/// The name of the extended attribute that keeps a file's serial.
pub const IDENTITY_ATTRIBUTE: &str = "user.quintain.identity";

/// A unit serial number and the NAA name that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    serial: String,
    naa: u64,
}

impl Identity {
    /// The identity with this serial; equal serials give equal identities.
    ///
    /// # Errors
    /// Refuses what VPD page 80h cannot carry: anything but 1 to 64 printable ASCII characters, and spaces at either end.
    pub fn from_serial(serial: &str) -> Result<Self, SerialError> {
        if serial.is_empty() {
            return Err(SerialError::Empty);
        }
        if serial.len() > SERIAL_MAX_BYTES {
            return Err(SerialError::TooLong);
        }
        // SPC-5 r22 "ASCII data field requirements": graphic codes 20h to 7Eh only; spaces at the ends are padding.
        let graphic = serial.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if !graphic || serial.starts_with(' ') || serial.ends_with(' ') {
            return Err(SerialError::NotPrintable);
        }
        Ok(Self::of(serial.to_owned()))
    }

    /// A fresh identity from random bytes.
    #[must_use]
    pub fn random(entropy: [u8; 8]) -> Self {
        Self::of(format!("{:016x}", u64::from_be_bytes(entropy)))
    }

    /// An identity that always comes out the same for the same parts.
    fn derived(parts: &[&[u8]]) -> Self {
        Self::of(format!("{:016x}", digest64("disk identity", parts)))
    }

    fn of(serial: String) -> Self {
        // SPC-5 r22 "NAA Locally Assigned designator format": the NAA field is 3h, 60 bits follow.
        let naa = NAA_LOCALLY_ASSIGNED
            | (digest64("naa locally assigned", &[serial.as_bytes()]) & NAA_VALUE_MASK);
        Self { serial, naa }
    }

    /// The unit serial number (VPD page 80h).
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The NAA Locally Assigned designator (VPD page 83h), big-endian on the wire.
    #[must_use]
    pub fn naa(&self) -> u64 {
        self.naa
    }
}

const NAA_LOCALLY_ASSIGNED: u64 = 3 << 60;
const NAA_VALUE_MASK: u64 = (1 << 60) - 1;

/// 64 bits of SHA-256 over a purpose and parts; lengths are hashed too, so that no two lists of parts run together.
fn digest64(purpose: &str, parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// Why a serial was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialError {
    /// Nothing there.
    Empty,
    /// Beyond [`SERIAL_MAX_BYTES`].
    TooLong,
    /// A character that is not printable ASCII, or a space at an end.
    NotPrintable,
}

impl fmt::Display for SerialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the serial is empty",
            Self::TooLong => "the serial is longer than 64 characters",
            Self::NotPrintable => {
                "the serial has characters that are not printable ASCII, or spaces at an end"
            }
        })
    }
}

impl std::error::Error for SerialError {}

/// What the caller knows and lends when an identity is looked for.
#[derive(Clone, Debug, Default)]
pub struct IdentityHints {
    /// A serial given on purpose: it is taken, and kept with a file that can keep it.
    pub serial: Option<String>,
    /// Random bytes for an identity that has to be made.
    pub entropy: [u8; 8],
    /// The machine's id, where it has one.
    pub machine_id: Option<MachineId>,
}

/// Where an identity came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityOrigin {
    /// Given by the operator.
    Given,
    /// Kept with the file.
    Stored,
    /// Made now; kept with the file from now on, or for the life of the process where the store has no file.
    New,
    /// Made now, because the file is a copy of the disk with this serial. Worth a line to the operator.
    Copy {
        /// The serial of the disk that this file was copied from.
        of: String,
    },
    /// Computed from the machine id and the store's place.
    Derived,
}

/// Nothing says who this disk is, and nothing can be kept with it: the operator must give a serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SerialNeeded;

#[cfg(test)]
mod tests;
