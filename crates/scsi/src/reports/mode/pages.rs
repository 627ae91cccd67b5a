//! The mode pages there are, as a table: what is fixed in each, and what can change. SPC-5 r22 "Mode parameters"; SBC-4 r22
//! "Mode parameters for direct access block devices".

use crate::lu::ModeChange;
use crate::snapshot::{Interlock, LuSnapshot, ModeValues, QueueError};

pub(super) const ALL_PAGES: u8 = 0x3f;
pub(super) const ALL_SUBPAGES: u8 = 0xff;

/// A mode page.
#[derive(Debug)]
pub(crate) struct PageRow {
    pub(crate) name: &'static str,
    pub(crate) code: u8,
    /// 00h: the page has the short header, without a subpage code.
    pub(crate) subpage: u8,
    /// Of the whole page, header included.
    pub(crate) bytes: usize,
    /// Bytes that are not zero, whatever happens.
    fixed: &'static [(usize, u8)],
    pub(crate) fields: &'static [FieldRow],
}

/// A field of a page that MODE SELECT can change. What it does is said at [`ModeValues`].
#[derive(Debug)]
pub(crate) struct FieldRow {
    pub(crate) name: &'static str,
    byte: usize,
    /// Its lowest bit.
    shift: u8,
    /// The values that it may have; the last has a one in every bit that may be set.
    values: &'static [u8],
    field: Field,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    WriteCache,
    DescriptorSense,
    SoftwareWriteProtect,
    TaskSetPerNexus,
    QueueError,
    TaskAbortedStatus,
    Interlock,
    ThresholdEnabled,
    /// One byte of the number, from its first.
    ThresholdCount(u8),
}

const fn flag(name: &'static str, byte: usize, bit: u8, field: Field) -> FieldRow {
    FieldRow {
        name,
        byte,
        shift: bit,
        values: &[0, 1],
        field,
    }
}

const fn several(
    name: &'static str,
    (byte, shift): (usize, u8),
    values: &'static [u8],
    field: Field,
) -> FieldRow {
    FieldRow {
        name,
        byte,
        shift,
        values,
        field,
    }
}

/// A page in which nothing can change.
pub(crate) const fn plain_page(
    name: &'static str,
    code: u8,
    bytes: usize,
    fixed: &'static [(usize, u8)],
) -> PageRow {
    PageRow {
        name,
        code,
        subpage: 0,
        bytes,
        fixed,
        fields: &[],
    }
}

/// Every value of a byte.
static ANY: [u8; 256] = {
    let mut all = [0; 256];
    let mut at = 0u8;
    while at < u8::MAX {
        at += 1;
        all[at as usize] = at;
    }
    all
};

const fn count_byte(at: u8) -> FieldRow {
    FieldRow {
        name: "THRESHOLD COUNT",
        byte: 20 + at as usize,
        shift: 0,
        values: &ANY,
        field: Field::ThresholdCount(at),
    }
}

/// All mode pages of a direct access block device, by page code and subpage code.
pub(crate) static PAGES: &[PageRow] = &[
    PageRow {
        name: "Read-Write Error Recovery",
        code: 0x01,
        subpage: 0,
        bytes: 12,
        fixed: &[],
        fields: &[],
    },
    // No limit of bus time or burst is set here: iSCSI negotiates its own (RFC 7143 §13).
    PageRow {
        name: "Disconnect-Reconnect",
        code: 0x02,
        subpage: 0,
        bytes: 16,
        fixed: &[],
        fields: &[],
    },
    PageRow {
        name: "Caching",
        code: 0x08,
        subpage: 0,
        bytes: 20,
        fixed: &[],
        fields: &[flag("WCE", 2, 2, Field::WriteCache)],
    },
    PageRow {
        name: "Control",
        code: 0x0a,
        subpage: 0,
        bytes: 12,
        fixed: &[
            // GLTSD: log parameters are not saved.
            (2, 0x02),
            // QUEUE ALGORITHM MODIFIER 1: commands may be reordered.
            (3, 0x10),
            // BUSY TIMEOUT PERIOD: not limited.
            (8, 0xff),
            (9, 0xff),
        ],
        fields: &[
            // TST: one task set, or one for each nexus.
            flag("TST", 2, 5, Field::TaskSetPerNexus),
            flag("D_SENSE", 2, 2, Field::DescriptorSense),
            several("QERR", (3, 1), &[0b00, 0b01, 0b11], Field::QueueError),
            several(
                "UA_INTLCK_CTRL",
                (4, 4),
                &[0b00, 0b10, 0b11],
                Field::Interlock,
            ),
            flag("SWP", 4, 3, Field::SoftwareWriteProtect),
            flag("TAS", 5, 6, Field::TaskAbortedStatus),
        ],
    },
    PageRow {
        name: "Control Extension",
        code: 0x0a,
        subpage: 0x01,
        bytes: 32,
        // TCMOS, SCSIP: the timestamp is the machine's clock until SET TIMESTAMP says otherwise. IALUAE: implicit
        // asymmetric logical unit access. MAXIMUM SENSE DATA LENGTH is not limited.
        fixed: &[(4, 0x07)],
        fields: &[],
    },
    // No power condition but active.
    PageRow {
        name: "Power Condition",
        code: 0x1a,
        subpage: 0,
        bytes: 40,
        fixed: &[],
        fields: &[],
    },
    PageRow {
        name: "Informational Exceptions Control",
        code: 0x1c,
        subpage: 0,
        bytes: 12,
        fixed: &[],
        fields: &[],
    },
    // A thin disk's: of one threshold, for what it uses, which every nexus is told of (SITUA 0).
    PageRow {
        name: "Logical Block Provisioning",
        code: 0x1c,
        subpage: 0x02,
        bytes: 24,
        fixed: &[
            // THRESHOLD TYPE soft, THRESHOLD ARMING 001b: as more is used.
            (16, 0x01),
            // THRESHOLD RESOURCE: used LBA mapping.
            (17, 0x02),
        ],
        fields: &[
            flag("ENABLED", 16, 7, Field::ThresholdEnabled),
            count_byte(0),
            count_byte(1),
            count_byte(2),
            count_byte(3),
        ],
    },
];

/// Bytes of a field as it is saved: page code, subpage code, byte and lowest bit, the value, and what it would be otherwise.
pub(crate) const SAVED_FIELD_BYTES: usize = 6;

/// The saved form of values that differ, or may come to differ, from the defaults: each field with both.
pub(crate) fn saved_fields(
    pages: &[PageRow],
    values: &ModeValues,
    defaults: &ModeValues,
) -> Vec<u8> {
    let of_page = |page: &PageRow| {
        let (code, subpage) = (page.code, page.subpage);
        let of_field = move |row: &FieldRow| {
            // Pages are shorter than 256 bytes.
            let byte = u8::try_from(row.byte).unwrap_or(u8::MAX);
            let both = [row.field.of(values), row.field.of(defaults)];
            [code, subpage, byte, row.shift, both[0], both[1]]
        };
        page.fields.iter().flat_map(of_field).collect::<Vec<u8>>()
    };
    pages.iter().flat_map(of_page).collect()
}

/// The values of a saved form. Where a default is another now, the operator has changed it since, and the new one counts.
pub(crate) fn restored_fields(
    pages: &[PageRow],
    saved: &[u8],
    defaults: &ModeValues,
) -> Option<ModeValues> {
    let (fields, []) = saved.as_chunks::<SAVED_FIELD_BYTES>() else {
        return None;
    };
    let mut change = ModeChange::default();
    for &[code, subpage, byte, shift, value, default] in fields {
        let page = pages
            .iter()
            .find(|row| (row.code, row.subpage) == (code, subpage))?;
        let is_it = |row: &&FieldRow| row.byte == usize::from(byte) && row.shift == shift;
        let row = page.fields.iter().find(is_it)?;
        if !row.values.contains(&value) {
            return None;
        }
        if row.field.of(defaults) == default {
            row.field.set(value, &mut change);
        }
    }
    Some(change.apply(*defaults))
}
/// Page code and subpage code of the Control mode page.
const CONTROL: (u8, u8) = (0x0a, 0);

/// The longest page, header included.
const MAX_PAGE_BYTES: usize = 40;

/// A mode page with its header, and zeros behind its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    bytes: [u8; MAX_PAGE_BYTES],
    len: usize,
}

impl Page {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Sets bits of a byte that say how things are now.
    pub(super) fn set_bits(&mut self, byte: usize, bits: u8) {
        if let Some(byte) = self.bytes[..self.len].get_mut(byte) {
            *byte |= bits;
        }
    }

    /// SPC-5 "Mode page formats": PS, the page can be saved.
    pub(super) fn saveable(mut self, saveable: bool) -> Self {
        self.bytes[0] |= u8::from(saveable) << 7;
        self
    }
}

impl PageRow {
    /// Whether the logical unit has it.
    pub(super) fn is_there(&self, lu: &LuSnapshot) -> bool {
        (self.code, self.subpage) != (0x1c, 0x02) || lu.caps.unmap
    }

    /// Bytes of the header: page code, and PAGE LENGTH behind the subpage code if there is one.
    pub(super) fn header_bytes(&self) -> usize {
        if self.subpage == 0 { 2 } else { 4 }
    }

    /// The header and what is fixed.
    fn plain(&self) -> Page {
        let mut page = Page {
            bytes: [0; MAX_PAGE_BYTES],
            len: self.bytes,
        };
        // All pages are shorter than 256 bytes.
        let length = u8::try_from(self.bytes - self.header_bytes()).unwrap_or(u8::MAX);
        if self.subpage == 0 {
            page.bytes[..2].copy_from_slice(&[self.code, length]);
        } else {
            // SPF.
            page.bytes[..4].copy_from_slice(&[0x40 | self.code, self.subpage, 0, length]);
        }
        page
    }

    /// The page of this LU, with these values.
    pub(super) fn page(&self, values: &ModeValues, lu: &LuSnapshot) -> Page {
        let mut page = self.plain();
        if (self.code, self.subpage) == CONTROL && lu.caps.protection.is_some() {
            // ATO: application tags are the initiators'.
            page.bytes[5] = 0x80;
        }
        for (byte, value) in self.fixed {
            page.bytes[*byte] = *value;
        }
        for row in self.fields {
            page.bytes[row.byte] |= row.field.of(values) << row.shift;
        }
        page
    }

    /// The page with ones where a value can change.
    pub(super) fn changeable(&self) -> Page {
        let mut page = self.plain();
        for row in self.fields {
            page.bytes[row.byte] |= row.mask();
        }
        page
    }

    /// Notes what the page of a MODE SELECT command, of the right length, sets.
    ///
    /// # Errors
    /// Byte and highest bit of the field whose value is a reserved one.
    pub(super) fn note(&self, given: &[u8], change: &mut ModeChange) -> Result<(), (usize, u8)> {
        for row in self.fields {
            let byte = given.get(row.byte).copied().unwrap_or(0);
            let value = (byte & row.mask()) >> row.shift;
            if !row.values.contains(&value) {
                let bit = u8::try_from(row.mask().ilog2()).unwrap_or(7);
                return Err((row.byte, bit));
            }
            row.field.set(value, change);
        }
        Ok(())
    }
}

impl FieldRow {
    /// Ones where the field can change.
    const fn mask(&self) -> u8 {
        match self.values.last() {
            Some(last) => *last << self.shift,
            None => 0,
        }
    }
}

impl Field {
    fn of(self, values: &ModeValues) -> u8 {
        match self {
            Self::WriteCache => values.write_cache.into(),
            Self::DescriptorSense => values.descriptor_sense.into(),
            Self::SoftwareWriteProtect => values.software_write_protect.into(),
            Self::TaskSetPerNexus => values.task_set_per_nexus.into(),
            Self::QueueError => match values.queue_error {
                QueueError::Continues => 0b00,
                QueueError::AbortsAll => 0b01,
                QueueError::AbortsOwn => 0b11,
            },
            Self::TaskAbortedStatus => values.task_aborted_status.into(),
            Self::Interlock => match values.interlock {
                Interlock::Cleared => 0b00,
                Interlock::Kept => 0b10,
                Interlock::KeptAndEstablished => 0b11,
            },
            Self::ThresholdEnabled => values.threshold_enabled.into(),
            Self::ThresholdCount(at) => {
                let bytes = values.threshold_count.to_be_bytes();
                bytes.get(usize::from(at)).copied().unwrap_or(0)
            }
        }
    }

    fn set(self, value: u8, change: &mut ModeChange) {
        let flag = match self {
            Self::WriteCache => &mut change.write_cache,
            Self::DescriptorSense => &mut change.descriptor_sense,
            Self::SoftwareWriteProtect => &mut change.software_write_protect,
            Self::TaskSetPerNexus => &mut change.task_set_per_nexus,
            Self::TaskAbortedStatus => &mut change.task_aborted_status,
            Self::ThresholdEnabled => &mut change.threshold_enabled,
            Self::ThresholdCount(at) => {
                // All bytes of a page are set, one after the other.
                let mut bytes = change.threshold_count.unwrap_or(0).to_be_bytes();
                if let Some(byte) = bytes.get_mut(usize::from(at)) {
                    *byte = value;
                }
                change.threshold_count = Some(u32::from_be_bytes(bytes));
                return;
            }
            Self::QueueError => {
                change.queue_error = Some(match value {
                    0b01 => QueueError::AbortsAll,
                    0b11 => QueueError::AbortsOwn,
                    _ => QueueError::Continues,
                });
                return;
            }
            Self::Interlock => {
                change.interlock = Some(match value {
                    0b10 => Interlock::Kept,
                    0b11 => Interlock::KeptAndEstablished,
                    _ => Interlock::Cleared,
                });
                return;
            }
        };
        *flag = Some(value != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_sorted_and_hold_what_their_rows_say() {
        for pair in PAGES.windows(2) {
            let key = |row: &PageRow| (row.code, row.subpage);
            assert!(key(&pair[0]) < key(&pair[1]), "{}", pair[1].name);
        }
        for row in PAGES {
            assert!(row.bytes <= MAX_PAGE_BYTES, "{}", row.name);
            let inside = |byte: usize| (row.header_bytes()..row.bytes).contains(&byte);
            assert!(row.fixed.iter().all(|(byte, _)| inside(*byte)));
            for field in row.fields {
                assert!(inside(field.byte), "{}", field.name);
                // What can change is not fixed as well.
                let fixed =
                    |(byte, value): &(usize, u8)| *byte == field.byte && value & field.mask() != 0;
                assert!(!row.fixed.iter().any(fixed), "{}", field.name);
                let inside = |value: &u8| value << field.shift & !field.mask() == 0;
                assert!(field.values.iter().all(inside), "{}", field.name);
            }
        }
    }
}
