//! The parameter list of MODE SELECT. SPC-5 r22 "MODE SELECT (6) command", "Mode parameter header formats".

use block::Geometry;

use crate::lu::ModeChange;
use crate::opcodes::ListSize;
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;

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
        let &[first, second, ..] = given else {
            return Err(truncated);
        };
        // PS is reserved in MODE SELECT, and comes back from those who send what MODE SENSE told them.
        let (code, has_subpage) = (first & 0x3f, first & 0x40 != 0);
        let pages = lu.device.tables().mode_pages;
        let is_there = |row: &&super::PageRow| row.code == code && row.is_there(lu);
        let mut of_code = pages.iter().filter(is_there).peekable();
        if of_code.peek().is_none() {
            return Err(Sense::parameter_bit(byte(at), 5).into());
        }
        // SPC-5 "Sub_page mode page format": SPF says which header the page has.
        let subpage = if has_subpage { second } else { 0 };
        let row = of_code
            .find(|row| row.subpage == subpage && has_subpage == (row.subpage != 0))
            .ok_or_else(|| match has_subpage {
                true => Sense::parameter_byte(byte(at + 1)),
                false => Sense::parameter_bit(byte(at), 6),
            })?;
        let current = row.page(&lu.mode, lu);
        let changeable = row.changeable();
        let length_at = if has_subpage { 2 } else { 1 };
        let header = given.get(..row.header_bytes()).ok_or(truncated)?;
        if header[length_at..] != current.as_slice()[length_at..row.header_bytes()] {
            return Err(Sense::parameter_byte(byte(at + length_at)).into());
        }
        let given = given.get(..row.bytes).ok_or(truncated)?;
        let places = given
            .iter()
            .zip(current.as_slice())
            .zip(changeable.as_slice())
            .enumerate();
        for (index, ((value, current), changeable)) in places.skip(row.header_bytes()) {
            let fixed = (value ^ current) & !changeable;
            // SPC-5 "MODE SELECT (6) command": a value that cannot change must be sent as it is.
            if fixed != 0 {
                let bit = u8::try_from(fixed.ilog2()).unwrap_or(7);
                return Err(Sense::parameter_bit(byte(at + index), bit).into());
            }
        }
        row.note(given, change)
            .map_err(|(index, bit)| Sense::parameter_bit(byte(at + index), bit))?;
        Ok(row.bytes)
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
