//! MODE SENSE and the parameter list of MODE SELECT. SPC-5 r22 "MODE SENSE (6) command", "MODE SELECT (6) command",
//! "Mode parameters"; SBC-4 r22 "Mode parameters for direct access block devices".
//!
//! Pages are Read-Write Error Recovery (01h), Caching (08h), Control (0Ah) and Informational Exceptions Control (1Ch);
//! WCE, D_SENSE and SWP can change; nothing is saved (PS is 0).

use block::Geometry;

use super::{Asked, Reported};
use crate::lu::ModeChange;
use crate::opcodes::ListSize;
use crate::sense::{Refusal, Sense};
use crate::snapshot::{LuSnapshot, ModeValues};

const ALL_PAGES: u8 = 0x3f;
const ALL_SUBPAGES: u8 = 0xff;

const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0a;

/// The pages there are, ascending, each with the length of its body (PAGE LENGTH).
const PAGES: [(u8, u8); 4] = [(0x01, 0x0a), (CACHING, 0x12), (CONTROL, 0x0a), (0x1c, 0x0a)];

/// A page body is no longer than this.
const MAX_BODY_BYTES: usize = 0x12;

/// Byte and bit, in the whole page, of what can change.
const WCE: (usize, u8) = (2, 2);
const D_SENSE: (usize, u8) = (2, 2);
const SWP: (usize, u8) = (4, 3);

const ALL_OFF: ModeValues = ModeValues {
    write_cache: false,
    descriptor_sense: false,
    software_write_protect: false,
};
const ALL_ON: ModeValues = ModeValues {
    write_cache: true,
    descriptor_sense: true,
    software_write_protect: true,
};

/// A mode page with its two bytes of header, and zeros behind its end.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Page {
    bytes: [u8; 2 + MAX_BODY_BYTES],
    len: usize,
}

impl Page {
    /// The page `code`, which is one of [`PAGES`], with these values.
    fn new(code: u8, body_bytes: u8, values: &ModeValues) -> Self {
        let mut bytes = [0; 2 + MAX_BODY_BYTES];
        bytes[0] = code;
        bytes[1] = body_bytes;
        let mut set = |(byte, bit): (usize, u8), on: bool| bytes[byte] |= u8::from(on) << bit;
        match code {
            CACHING => set(WCE, values.write_cache),
            CONTROL => {
                set(D_SENSE, values.descriptor_sense);
                set(SWP, values.software_write_protect);
                // GLTSD: no log parameters are kept.
                set((2, 1), true);
                // QUEUE ALGORITHM MODIFIER 1: commands may be reordered. QERR, TAS and UA_INTLCK_CTRL are 0.
                set((3, 4), true);
                // BUSY TIMEOUT PERIOD: not limited.
                bytes[8..10].fill(0xff);
            }
            _ => {}
        }
        Self {
            bytes,
            len: 2 + usize::from(body_bytes),
        }
    }

    /// The same page with ones where a value can change.
    fn changeable(code: u8, body_bytes: u8) -> Self {
        let mut page = Self::new(code, body_bytes, &ALL_OFF);
        let on = Self::new(code, body_bytes, &ALL_ON);
        for (byte, with) in page.bytes.iter_mut().zip(on.bytes).skip(2) {
            *byte ^= with;
        }
        page
    }

    fn bit(&self, (byte, bit): (usize, u8)) -> bool {
        self.bytes[byte] & (1 << bit) != 0
    }
}

/// MODE SENSE, 6 and 10.
pub(crate) fn mode_sense(size: ListSize, asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let code = cdb.byte::<2>() & 0x3f;
    let subpage = cdb.byte::<3>();
    let (allocation, long_lba) = match size {
        ListSize::Six => (u32::from(cdb.byte::<4>()), false),
        ListSize::Ten => (u32::from(cdb.be16::<7>()), cdb.bit::<1>(4)),
    };
    let pages = sense_pages(cdb.byte::<2>() >> 6, code, asked.lu)?;
    // There are no subpages: 00h and "all" give the pages themselves.
    if subpage != 0 && subpage != ALL_SUBPAGES {
        return Err(Sense::cdb_byte(3).into());
    }
    let mut body = Vec::with_capacity(96);
    if !cdb.bit::<1>(3) {
        put_block_descriptor(asked.lu.geometry(), long_lba, &mut body);
    }
    let descriptor_bytes = u16::try_from(body.len()).unwrap_or(u16::MAX);
    for page in pages {
        body.extend_from_slice(&page.bytes[..page.len]);
    }

    let mut reply = asked.reply(allocation, out);
    // DEVICE-SPECIFIC PARAMETER: WP, DPOFUA.
    let protected = asked.lu.write_protected() || asked.view.write_protected;
    let device = u8::from(protected) << 7 | 0x10;
    match size {
        ListSize::Six => {
            let length = u8::try_from(body.len() + 3).unwrap_or(u8::MAX);
            let descriptors = u8::try_from(descriptor_bytes).unwrap_or(u8::MAX);
            reply.put(&[length, 0, device, descriptors]);
        }
        ListSize::Ten => {
            let [high, low] = u16::try_from(body.len() + 6)
                .unwrap_or(u16::MAX)
                .to_be_bytes();
            let [more, less] = descriptor_bytes.to_be_bytes();
            reply.put(&[high, low, 0, device, u8::from(long_lba), 0, more, less]);
        }
    }
    reply.put(&body);
    Ok(reply.done())
}

/// The pages that PAGE CODE asks for, with the values that PC asks for.
fn sense_pages(control: u8, code: u8, lu: &LuSnapshot) -> Result<Vec<Page>, Refusal> {
    let wanted = PAGES
        .iter()
        .filter(|(known, _)| code == ALL_PAGES || code == *known);
    let make = |(code, bytes): &(u8, u8)| match control {
        0b01 => Page::changeable(*code, *bytes),
        0b10 => Page::new(*code, *bytes, &lu.mode_defaults),
        _ => Page::new(*code, *bytes, &lu.mode),
    };
    // SPC-5 "Saved values": refused where none are kept.
    if control == 0b11 {
        return Err(Sense::SAVING_PARAMETERS_NOT_SUPPORTED
            .pointing(true, 2, Some(7))
            .into());
    }
    let pages: Vec<Page> = wanted.map(make).collect();
    if pages.is_empty() {
        return Err(Sense::cdb_bit(2, 5).into());
    }
    Ok(pages)
}

/// SBC-4 "Short LBA mode parameter block descriptor", "Long LBA mode parameter block descriptor".
fn put_block_descriptor(geometry: Geometry, long_lba: bool, body: &mut Vec<u8>) {
    if long_lba {
        body.extend_from_slice(&geometry.capacity_blocks.to_be_bytes());
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(&geometry.block_size_bytes.to_be_bytes());
    } else {
        let blocks = u32::try_from(geometry.capacity_blocks).unwrap_or(u32::MAX);
        body.extend_from_slice(&blocks.to_be_bytes());
        // LOGICAL BLOCK LENGTH has three bytes.
        body.extend_from_slice(&geometry.block_size_bytes.to_be_bytes());
    }
}

/// The parameter list of a MODE SELECT command.
pub(crate) struct ModeSelectList<'a> {
    pub(crate) size: ListSize,
    pub(crate) bytes: &'a [u8],
}

impl ModeSelectList<'_> {
    /// What the list changes. All of it is checked before any of it counts.
    pub(crate) fn parse(&self, lu: &LuSnapshot) -> Result<ModeChange, Refusal> {
        let mut at = self.check_header(lu.geometry())?;
        let mut change = ModeChange::default();
        while at < self.bytes.len() {
            at += self.parse_page(at, lu, &mut change)?;
        }
        Ok(change)
    }

    /// Checks the header and the block descriptors; where the pages start.
    fn check_header(&self, geometry: Geometry) -> Result<usize, Refusal> {
        let truncated = Refusal::Check(Sense::PARAMETER_LIST_LENGTH_ERROR);
        // MODE DATA LENGTH is reserved here, and DEVICE-SPECIFIC PARAMETER has nothing to set.
        let (header_bytes, medium_at, long_lba, descriptors) = match (self.size, self.bytes) {
            (ListSize::Six, [_, _, _, length, ..]) => (4, 1, false, u16::from(*length)),
            (ListSize::Ten, [_, _, _, _, long, _, high, low, ..]) => {
                (8, 2, long & 0x01 != 0, u16::from_be_bytes([*high, *low]))
            }
            _ => return Err(truncated),
        };
        if self
            .bytes
            .get(usize::from(medium_at))
            .is_some_and(|medium| *medium != 0)
        {
            return Err(Sense::parameter_byte(medium_at).into());
        }
        let descriptor_bytes = usize::from(descriptors);
        let one = if long_lba { 16 } else { 8 };
        if descriptor_bytes != 0 && descriptor_bytes != one {
            let length_at = if self.size == ListSize::Six { 3 } else { 6 };
            return Err(Sense::parameter_byte(length_at).into());
        }
        let pages_at = header_bytes + descriptor_bytes;
        let descriptor = self.bytes.get(header_bytes..pages_at).ok_or(truncated)?;
        check_block_descriptor(descriptor, geometry, header_bytes)?;
        Ok(pages_at)
    }

    /// Takes the page at `at`; how many bytes it has.
    fn parse_page(
        &self,
        at: usize,
        lu: &LuSnapshot,
        change: &mut ModeChange,
    ) -> Result<usize, Refusal> {
        let truncated = Refusal::Check(Sense::PARAMETER_LIST_LENGTH_ERROR);
        let given = self.bytes.get(at..).unwrap_or_default();
        let &[first, length, ..] = given else {
            return Err(truncated);
        };
        // PS is reserved in MODE SELECT; SPF would be a subpage, of which there are none.
        if first & 0x80 != 0 {
            return Err(Sense::parameter_bit(byte(at), 7).into());
        }
        let code = first & 0x3f;
        let known = PAGES
            .iter()
            .find(|(known, _)| first & 0x40 == 0 && *known == code);
        let Some((_, body_bytes)) = known else {
            return Err(Sense::parameter_bit(byte(at), 5).into());
        };
        if length != *body_bytes {
            return Err(Sense::parameter_byte(byte(at + 1)).into());
        }
        let current = Page::new(code, length, &lu.mode);
        let changeable = Page::changeable(code, length);
        let given = given.get(..current.len).ok_or(truncated)?;
        let mut wanted = current;
        for (index, value) in given.iter().enumerate().skip(2) {
            let fixed = (value ^ current.bytes[index]) & !changeable.bytes[index];
            // SPC-5 "MODE SELECT (6) command": a value that cannot change must be sent as it is.
            if fixed != 0 {
                let bit = u8::try_from(fixed.ilog2()).unwrap_or(7);
                return Err(Sense::parameter_bit(byte(at + index), bit).into());
            }
            wanted.bytes[index] = *value;
        }
        match code {
            CACHING => change.write_cache = Some(wanted.bit(WCE)),
            CONTROL => {
                change.descriptor_sense = Some(wanted.bit(D_SENSE));
                change.software_write_protect = Some(wanted.bit(SWP));
            }
            _ => {}
        }
        Ok(current.len)
    }
}

/// A place in a parameter list, which has fewer than 2^16 bytes.
fn byte(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

/// A block descriptor may say what is so, or nothing: capacity and block length cannot be set.
fn check_block_descriptor(descriptor: &[u8], geometry: Geometry, at: usize) -> Result<(), Refusal> {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let (blocks, most, length, length_at) = match descriptor.len() {
        0 => return Ok(()),
        8 => (
            number(&descriptor[..4]),
            u64::from(u32::MAX),
            number(&descriptor[5..]),
            5,
        ),
        16 => (
            number(&descriptor[..8]),
            u64::MAX,
            number(&descriptor[12..]),
            12,
        ),
        _ => return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into()),
    };
    if blocks != 0 && blocks != most && blocks != geometry.capacity_blocks {
        return Err(Sense::parameter_byte(byte(at)).into());
    }
    if length != 0 && length != u64::from(geometry.block_size_bytes) {
        return Err(Sense::parameter_byte(byte(at + length_at)).into());
    }
    Ok(())
}
