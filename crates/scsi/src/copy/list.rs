//! The parameter lists of EXTENDED COPY: bytes to descriptors, with all that can be said of them before anything is copied.

use super::{MAX_CSCDS, MAX_DESCRIPTOR_LIST_BYTES, MAX_SEGMENT_BYTES, MAX_SEGMENTS};
use crate::sense::{Refusal, Sense};

/// SPC-5 "Segment descriptors": block to block.
pub(super) const BLOCK_TO_BLOCK: u8 = 0x02;
/// SPC-5 "Segment descriptors": block with offset to block with offset.
pub(super) const BLOCK_TO_BLOCK_WITH_OFFSET: u8 = 0x0a;
/// SPC-5 "CSCD descriptors": Identification Descriptor CSCD descriptor.
pub(super) const IDENTIFICATION: u8 = 0xe4;

const CSCD_BYTES: usize = 32;

/// SPC-5 "CSCD descriptor identifiers": the logical unit that the command was sent to.
const THIS_LOGICAL_UNIT: u16 = 0xffff;

/// Which of the two EXTENDED COPY commands a list belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListForm {
    /// List identifiers have one byte.
    Lid1,
    /// List identifiers have four bytes.
    Lid4,
}

impl ListForm {
    /// The service action of the command, and of the status that is asked for.
    pub(crate) fn service_action(self) -> u8 {
        match self {
            Self::Lid1 => 0x00,
            Self::Lid4 => 0x01,
        }
    }

    /// Bytes in front of the descriptors.
    pub(crate) fn header_bytes(self) -> u32 {
        match self {
            Self::Lid1 => 16,
            Self::Lid4 => 48,
        }
    }
}

/// A parameter list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyList {
    /// `None`: the copy has none, and nothing is told of it afterwards.
    pub(crate) identifier: Option<u32>,
    /// At most [`MAX_CSCDS`].
    cscds: Vec<Cscd>,
    /// At most [`MAX_SEGMENTS`].
    pub(crate) segments: Vec<Segment>,
}

/// A copy source or copy destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cscd {
    /// The logical unit that the command was sent to.
    This,
    /// The one that is named so.
    Named(Named),
}

/// SPC-5 "Identification Descriptor CSCD descriptor format".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Where it stands in the list.
    pub(crate) at: u16,
    pub(crate) peripheral_device_type: u8,
    designator: [u8; 20],
    designator_bytes: u8,
    /// It is an NAA designator of a logical unit: no other is known.
    is_naa: bool,
    /// DISK BLOCK LENGTH, in bytes; 0: not said.
    pub(crate) block_size_bytes: u32,
}

impl Named {
    /// The NAA designator, if it is one.
    pub(crate) fn naa(&self) -> Option<&[u8]> {
        self.is_naa
            .then(|| self.designator.get(..usize::from(self.designator_bytes)))?
    }
}

/// How much a segment copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    /// Blocks of the source.
    SourceBlocks(u16),
    /// Blocks of the destination.
    DestinationBlocks(u16),
    /// Bytes, after these offsets into the first block of source and destination.
    Bytes { bytes: u32, offsets: [u16; 2] },
}

/// SPC-5 "Block device to block device" segment descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) amount: Amount,
    pub(crate) source_lba: u64,
    pub(crate) destination_lba: u64,
}

impl CopyList {
    /// The copy source or destination that a segment names.
    pub(crate) fn cscd(&self, identifier: u16) -> Option<Cscd> {
        if identifier == THIS_LOGICAL_UNIT {
            return Some(Cscd::This);
        }
        self.cscds.get(usize::from(identifier)).copied()
    }

    /// SPC-5 "EXTENDED COPY parameter list": all of it is checked before anything is copied.
    pub(crate) fn parse(form: ListForm, list: &[u8]) -> Result<Self, Refusal> {
        let header = Header::parse(form, list)?;
        let start = form.header_bytes() as usize;
        let (cscds_bytes, segments_bytes) = (header.cscds_bytes, header.segments_bytes);
        // SPC-5 "MAXIMUM DESCRIPTOR LIST LENGTH field".
        let descriptors = u64::from(cscds_bytes) + u64::from(segments_bytes);
        if descriptors > u64::from(MAX_DESCRIPTOR_LIST_BYTES)
            || start as u64 + descriptors > list.len() as u64
        {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
        }
        if header.inline_bytes != 0 {
            return Err(Sense::INLINE_DATA_LENGTH_EXCEEDED.into());
        }
        let segments_at = start + cscds_bytes as usize;
        let end = segments_at + segments_bytes as usize;
        let slice = |from: usize, to: usize| list.get(from..to).unwrap_or_default();
        Ok(Self {
            identifier: header.identifier,
            cscds: parse_cscds(slice(start, segments_at), start, header.cscds_length_at)?,
            segments: parse_segments(slice(segments_at, end), segments_at)?,
        })
    }
}

struct Header {
    identifier: Option<u32>,
    cscds_bytes: u32,
    /// Where the length of the CSCD descriptors stands.
    cscds_length_at: u16,
    segments_bytes: u32,
    inline_bytes: u32,
}

impl Header {
    fn parse(form: ListForm, list: &[u8]) -> Result<Self, Refusal> {
        if list.len() < form.header_bytes() as usize {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
        }
        match form {
            ListForm::Lid1 => Ok(Self {
                identifier: identifier(list[1], u32::from(list[0]), 0)?,
                cscds_bytes: u32::from(be16(list, 2)),
                cscds_length_at: 2,
                segments_bytes: be32(list, 8),
                inline_bytes: be32(list, 12),
            }),
            ListForm::Lid4 => {
                // PARAMETER LIST FORMAT.
                if list[0] != 0x01 {
                    return Err(Sense::parameter_byte(0).into());
                }
                // HEADER CSCD DESCRIPTOR LIST LENGTH and its type code, which are what they have to be.
                if be16(list, 2) != 0x20 {
                    return Err(Sense::parameter_byte(2).into());
                }
                // G_SENSE: GOOD status never comes with sense data here.
                if list[15] & 0x02 != 0 {
                    return Err(Sense::parameter_bit(15, 1).into());
                }
                if list[16] != 0xff {
                    return Err(Sense::parameter_byte(16).into());
                }
                Ok(Self {
                    identifier: identifier(list[1], be32(list, 20), 20)?,
                    cscds_bytes: u32::from(be16(list, 42)),
                    cscds_length_at: 42,
                    segments_bytes: u32::from(be16(list, 44)),
                    inline_bytes: u32::from(be16(list, 46)),
                })
            }
        }
    }
}

/// SPC-5 "LIST ID USAGE field". No data are held for any, so that 00b and 10b are the same.
fn identifier(flags: u8, number: u32, number_at: u16) -> Result<Option<u32>, Refusal> {
    match (flags >> 3) & 0x03 {
        0b00 | 0b10 => Ok(Some(number)),
        0b11 if number == 0 => Ok(None),
        0b11 => Err(Sense::parameter_byte(number_at).into()),
        _ => Err(Sense::parameter_bit(1, 4).into()),
    }
}

fn parse_cscds(list: &[u8], start: usize, length_at: u16) -> Result<Vec<Cscd>, Refusal> {
    let descriptors = list.chunks_exact(CSCD_BYTES);
    if !descriptors.remainder().is_empty() {
        return Err(Sense::parameter_byte(length_at).into());
    }
    if descriptors.len() > usize::from(MAX_CSCDS) {
        return Err(Sense::TOO_MANY_TARGET_DESCRIPTORS.into());
    }
    let numbered = descriptors.enumerate();
    numbered
        .map(|(index, one)| parse_cscd(one, place(start + index * CSCD_BYTES)))
        .collect()
}

/// LU ID TYPE and NUL are obsolete, and say nothing.
fn parse_cscd(one: &[u8], at: u16) -> Result<Cscd, Refusal> {
    if one[0] != IDENTIFICATION {
        return Err(Sense::UNSUPPORTED_TARGET_DESCRIPTOR.into());
    }
    let designator_bytes = one[7];
    let mut designator = [0; 20];
    if usize::from(designator_bytes) > designator.len() {
        return Err(Sense::parameter_byte(at + 7).into());
    }
    designator.copy_from_slice(&one[8..28]);
    // SPC-5 "Designation descriptor": ASSOCIATION, which is the logical unit, and DESIGNATOR TYPE.
    if one[5] & 0x30 != 0 {
        return Err(Sense::parameter_bit(at + 5, 5).into());
    }
    Ok(Cscd::Named(Named {
        at,
        peripheral_device_type: one[1] & 0x1f,
        designator,
        designator_bytes,
        is_naa: one[5] & 0x0f == 3,
        block_size_bytes: be32(one, 28) & 0x00ff_ffff,
    }))
}

fn parse_segments(mut list: &[u8], mut at: usize) -> Result<Vec<Segment>, Refusal> {
    let mut segments = Vec::new();
    while !list.is_empty() {
        if list.len() < 4 {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
        }
        let bytes = match list[0] {
            BLOCK_TO_BLOCK => 28,
            BLOCK_TO_BLOCK_WITH_OFFSET => 32,
            _ => return Err(Sense::UNSUPPORTED_SEGMENT_DESCRIPTOR.into()),
        };
        if segments.len() == usize::from(MAX_SEGMENTS) {
            return Err(Sense::TOO_MANY_SEGMENT_DESCRIPTORS.into());
        }
        // DESCRIPTOR LENGTH, without type code, flags and itself.
        if usize::from(be16(list, 2)) != bytes - 4 {
            return Err(Sense::parameter_byte(place(at + 2)).into());
        }
        let Some((one, rest)) = list.split_at_checked(bytes) else {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
        };
        segments.push(parse_segment(one, place(at))?);
        list = rest;
        at += bytes;
    }
    Ok(segments)
}

/// CAT says what becomes of a part of a block that is left over, and none ever is.
fn parse_segment(one: &[u8], at: u16) -> Result<Segment, Refusal> {
    let amount = if one[0] == BLOCK_TO_BLOCK_WITH_OFFSET {
        let bytes = be32(one, 8);
        if bytes > MAX_SEGMENT_BYTES {
            return Err(Sense::parameter_byte(at + 8).into());
        }
        let offsets = [be16(one, 28), be16(one, 30)];
        Amount::Bytes { bytes, offsets }
    } else if one[1] & 0x02 != 0 {
        // DC: the number is of blocks of the destination.
        Amount::DestinationBlocks(be16(one, 10))
    } else {
        Amount::SourceBlocks(be16(one, 10))
    };
    Ok(Segment {
        source: be16(one, 4),
        destination: be16(one, 6),
        amount,
        source_lba: be64(one, 12),
        destination_lba: be64(one, 20),
    })
}

impl Segment {
    /// The bytes it copies, between blocks of these sizes. `None`: not a whole number of blocks at both ends.
    pub(crate) fn bytes(
        &self,
        source_block_bytes: u32,
        destination_block_bytes: u32,
    ) -> Option<u64> {
        let bytes = match self.amount {
            Amount::SourceBlocks(blocks) => u64::from(blocks) * u64::from(source_block_bytes),
            Amount::DestinationBlocks(blocks) => {
                u64::from(blocks) * u64::from(destination_block_bytes)
            }
            Amount::Bytes {
                bytes,
                offsets: [0, 0],
            } => u64::from(bytes),
            Amount::Bytes { .. } => return None,
        };
        let whole = |size: u32| bytes.is_multiple_of(u64::from(size.max(1)));
        (whole(source_block_bytes) && whole(destination_block_bytes)).then_some(bytes)
    }
}

/// A place in the list, which is shorter than 64 KiB.
fn place(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(field(bytes, at))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(bytes, at))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(field(bytes, at))
}

/// The bytes of a field, whose presence has been checked.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.copied().unwrap_or([0; N])
}
