//! A SCSI command as it reaches the device server: the CDB and what the transport says beside it.

use crate::device::DeviceType;

/// The command descriptor block, padded with zeros. Longer CDBs than 32 bytes belong to no opcode that the device server
/// knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cdb {
    bytes: [u8; CDB_BYTES],
    /// How many the transport brought.
    len: u8,
}

/// Bytes of a CDB as it is kept.
pub const CDB_BYTES: usize = 32;

/// Bytes that a transport brings at least; a shorter CDB has padding behind it.
const MIN_TRANSPORT_BYTES: u8 = 16;

/// SPC-5 "Variable length CDB formats": the operation code.
pub(crate) const VARIABLE_LENGTH: u8 = 0x7f;

/// SAM-5 "CONTROL byte".
pub(crate) const NACA: u8 = 0x04;

impl Cdb {
    /// The CDB that starts with `bytes` (at most 32 of them are taken), padded with zeros.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let taken = bytes.len().min(CDB_BYTES);
        let mut cdb = [0; CDB_BYTES];
        cdb[..taken].copy_from_slice(&bytes[..taken]);
        Self {
            bytes: cdb,
            len: u8::try_from(taken)
                .unwrap_or(u8::MAX)
                .max(MIN_TRANSPORT_BYTES),
        }
    }

    /// All bytes, with the padding.
    #[must_use]
    pub fn bytes(&self) -> &[u8; CDB_BYTES] {
        &self.bytes
    }

    /// Whether the transport brought as many bytes.
    pub(crate) fn has(&self, bytes: u8) -> bool {
        bytes <= self.len
    }

    /// Bytes 0 to 15, and 16 to 31, each as one number.
    pub(crate) fn halves(&self) -> [u128; 2] {
        let (low, high) = self.bytes.split_at(CDB_BYTES / 2);
        [low, high].map(|half| u128::from_be_bytes(half.try_into().unwrap_or_default()))
    }

    /// The same with these bits of byte 1 set to zero.
    pub(crate) fn without(mut self, bits: u8) -> Self {
        self.bytes[1] &= !bits;
        self
    }

    /// SAM-5 "Operation code": byte 0.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.bytes[0]
    }

    /// SAM-5 "CONTROL byte", NACA: CHECK CONDITION establishes an ACA condition. 0 where the group of the operation code
    /// says nothing of the length, and for a command that the type of device does not support: where its CONTROL byte stands is
    /// not known.
    #[must_use]
    pub fn naca(&self, device: DeviceType) -> bool {
        let control = match (self.opcode(), self.opcode() >> 5) {
            (VARIABLE_LENGTH, _) => 1,
            (_, 0) => 5,
            (_, 1 | 2) => 9,
            (_, 4) => 15,
            (_, 5) => 11,
            _ => return false,
        };
        let rows = || device.tables().commands.rows_of(self.opcode());
        self.bytes[control] & NACA != 0 && rows().next().is_some()
    }

    /// Byte `AT`, 0 to 31.
    pub(crate) fn byte<const AT: usize>(&self) -> u8 {
        const { assert!(AT < CDB_BYTES) };
        self.bytes[AT]
    }

    /// Bit `bit` of byte `AT`.
    pub(crate) fn bit<const AT: usize>(&self, bit: u8) -> bool {
        self.byte::<AT>() & (1 << bit) != 0
    }

    /// The big-endian number in bytes `AT` and the next.
    pub(crate) fn be16<const AT: usize>(&self) -> u16 {
        const { assert!(AT + 2 <= CDB_BYTES) };
        u16::from_be_bytes([self.bytes[AT], self.bytes[AT + 1]])
    }

    /// The big-endian number in bytes `AT` to `AT + 3`.
    pub(crate) fn be32<const AT: usize>(&self) -> u32 {
        const { assert!(AT + 4 <= CDB_BYTES) };
        u32::from_be_bytes([
            self.bytes[AT],
            self.bytes[AT + 1],
            self.bytes[AT + 2],
            self.bytes[AT + 3],
        ])
    }

    /// The big-endian number in bytes `AT` to `AT + 7`.
    pub(crate) fn be64<const AT: usize>(&self) -> u64 {
        const { assert!(AT + 8 <= CDB_BYTES) };
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.bytes[AT..AT + 8]);
        u64::from_be_bytes(bytes)
    }
}

impl std::fmt::Debug for Cdb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.bytes {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// SAM-5 "Task attributes".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskAttribute {
    /// None was given: as SIMPLE.
    #[default]
    Untagged,
    /// SIMPLE.
    Simple,
    /// ORDERED.
    Ordered,
    /// HEAD OF QUEUE.
    HeadOfQueue,
    /// ACA: runs while an ACA condition of its nexus holds all else back; refused without one.
    Aca,
}

/// One command, for the duration of its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// The command descriptor block.
    pub cdb: Cdb,
    /// Its task attribute.
    pub attribute: TaskAttribute,
    /// Bytes of Data-Out the initiator will send at most: the expected data transfer length of a write, else 0.
    pub data_out_bytes: u32,
    /// Bytes of Data-In the initiator takes at most: the expected data transfer length of a read, else 0.
    pub data_in_bytes: u32,
}
