//! The mode pages there are, as a table: what is fixed in each, and what can change. SPC-5 r22 "Mode parameters"; SBC-4 r22
//! "Mode parameters for direct access block devices".

use crate::lu::ModeChange;
use crate::snapshot::ModeValues;

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
    pub(crate) flags: &'static [FlagRow],
}

/// A bit of a page that MODE SELECT can change. What it does is said at [`ModeValues`].
#[derive(Debug)]
pub(crate) struct FlagRow {
    pub(crate) name: &'static str,
    byte: usize,
    bit: u8,
    flag: Flag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    WriteCache,
    DescriptorSense,
    SoftwareWriteProtect,
}

const fn flag(name: &'static str, byte: usize, bit: u8, flag: Flag) -> FlagRow {
    FlagRow {
        name,
        byte,
        bit,
        flag,
    }
}

/// All mode pages, by page code and subpage code.
pub(crate) static PAGES: &[PageRow] = &[
    PageRow {
        name: "Read-Write Error Recovery",
        code: 0x01,
        subpage: 0,
        bytes: 12,
        fixed: &[],
        flags: &[],
    },
    // No limit of bus time or burst is set here: iSCSI negotiates its own (RFC 7143 §13).
    PageRow {
        name: "Disconnect-Reconnect",
        code: 0x02,
        subpage: 0,
        bytes: 16,
        fixed: &[],
        flags: &[],
    },
    PageRow {
        name: "Caching",
        code: 0x08,
        subpage: 0,
        bytes: 20,
        fixed: &[],
        flags: &[flag("WCE", 2, 2, Flag::WriteCache)],
    },
    PageRow {
        name: "Control",
        code: 0x0a,
        subpage: 0,
        bytes: 12,
        fixed: &[
            // GLTSD: log parameters are not saved.
            (2, 0x02),
            // QUEUE ALGORITHM MODIFIER 1: commands may be reordered. TST, QERR, TAS and UA_INTLCK_CTRL are 0.
            (3, 0x10),
            // BUSY TIMEOUT PERIOD: not limited.
            (8, 0xff),
            (9, 0xff),
        ],
        flags: &[
            flag("D_SENSE", 2, 2, Flag::DescriptorSense),
            flag("SWP", 4, 3, Flag::SoftwareWriteProtect),
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
        flags: &[],
    },
    // No power condition but active.
    PageRow {
        name: "Power Condition",
        code: 0x1a,
        subpage: 0,
        bytes: 40,
        fixed: &[],
        flags: &[],
    },
    PageRow {
        name: "Informational Exceptions Control",
        code: 0x1c,
        subpage: 0,
        bytes: 12,
        fixed: &[],
        flags: &[],
    },
];

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
}

impl PageRow {
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

    /// The page with these values.
    pub(super) fn page(&self, values: &ModeValues) -> Page {
        let mut page = self.plain();
        for (byte, value) in self.fixed {
            page.bytes[*byte] = *value;
        }
        for row in self.flags {
            page.bytes[row.byte] |= u8::from(row.flag.of(values)) << row.bit;
        }
        page
    }

    /// The page with ones where a value can change.
    pub(super) fn changeable(&self) -> Page {
        let mut page = self.plain();
        for row in self.flags {
            page.bytes[row.byte] |= 1 << row.bit;
        }
        page
    }

    /// Notes what the page of a MODE SELECT command, of the right length, sets.
    pub(super) fn note(&self, given: &[u8], change: &mut ModeChange) {
        for row in self.flags {
            let on = given
                .get(row.byte)
                .is_some_and(|byte| byte & 1 << row.bit != 0);
            row.flag.set(on, change);
        }
    }
}

impl Flag {
    fn of(self, values: &ModeValues) -> bool {
        match self {
            Self::WriteCache => values.write_cache,
            Self::DescriptorSense => values.descriptor_sense,
            Self::SoftwareWriteProtect => values.software_write_protect,
        }
    }

    fn set(self, on: bool, change: &mut ModeChange) {
        let value = match self {
            Self::WriteCache => &mut change.write_cache,
            Self::DescriptorSense => &mut change.descriptor_sense,
            Self::SoftwareWriteProtect => &mut change.software_write_protect,
        };
        *value = Some(on);
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
            for flag in row.flags {
                assert!(inside(flag.byte), "{}", flag.name);
                // What can change is not fixed as well.
                let fixed = |(byte, value): &(usize, u8)| {
                    *byte == flag.byte && value & (1 << flag.bit) != 0
                };
                assert!(!row.fixed.iter().any(fixed), "{}", flag.name);
            }
        }
    }
}
