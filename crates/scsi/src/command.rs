//! A SCSI command as it reaches the device server: the CDB and what the transport says beside it.

/// The command descriptor block, padded with zeros. The transport carries 16 bytes; longer CDBs belong to no opcode that
/// the device server knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cdb(pub [u8; CDB_BYTES]);

/// Bytes of a CDB as it is handed in.
pub const CDB_BYTES: usize = 16;

impl Cdb {
    /// The CDB that starts with `bytes` (at most 16 of them are taken), padded with zeros.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut cdb = [0; CDB_BYTES];
        for (to, from) in cdb.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self(cdb)
    }

    /// SAM-5 "Operation code": byte 0.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.0[0]
    }

    /// Byte `at`, 0 to 15.
    pub(crate) fn byte<const AT: usize>(&self) -> u8 {
        const { assert!(AT < CDB_BYTES) };
        self.0[AT]
    }

    /// Bit `bit` of byte `AT`.
    pub(crate) fn bit<const AT: usize>(&self, bit: u8) -> bool {
        self.byte::<AT>() & (1 << bit) != 0
    }

    /// The big-endian number in bytes `AT` and the next.
    pub(crate) fn be16<const AT: usize>(&self) -> u16 {
        const { assert!(AT + 2 <= CDB_BYTES) };
        u16::from_be_bytes([self.0[AT], self.0[AT + 1]])
    }

    /// The big-endian number in bytes `AT` to `AT + 3`.
    pub(crate) fn be32<const AT: usize>(&self) -> u32 {
        const { assert!(AT + 4 <= CDB_BYTES) };
        u32::from_be_bytes([self.0[AT], self.0[AT + 1], self.0[AT + 2], self.0[AT + 3]])
    }

    /// The big-endian number in bytes `AT` to `AT + 7`.
    pub(crate) fn be64<const AT: usize>(&self) -> u64 {
        const { assert!(AT + 8 <= CDB_BYTES) };
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[AT..AT + 8]);
        u64::from_be_bytes(bytes)
    }
}

impl std::fmt::Debug for Cdb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0 {
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
    /// ACA; refused, as no ACA condition can exist (NORMACA is 0).
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
