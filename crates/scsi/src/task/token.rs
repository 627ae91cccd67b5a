//! POPULATE TOKEN and WRITE USING TOKEN. SBC-4 r22, the commands of these names; see [`crate::copy`] for how a command works on two
//! logical units.

use std::collections::VecDeque;
use std::time::Duration;

use block::{BlockCount, Geometry, Lba};

use super::state::{Ending, Next};
use super::transfer::check_complete;
use super::zero::WriteSame;

use crate::command::Command;
use crate::copy::{
    ACCESS_UPON_REFERENCE, BlockRange, CopyRecord, CopyState, DEFAULT_TOKEN_SECONDS, End,
    MAX_TOKEN_RANGES, MAX_TOKEN_SECONDS, Place, Stretch, TOKEN_BYTES, Token, TokenBlocks,
};
use crate::lu::{LuShard, NexusId, TaskKey};
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;
use crate::view::LunView;

/// SBC-4 "Block device range descriptor".
const RANGE_BYTES: usize = 16;

/// Bytes in front of the range descriptors of POPULATE TOKEN.
const POPULATE_HEADER_BYTES: u16 = 16;
/// Bytes in front of the range descriptors of WRITE USING TOKEN.
const WRITE_HEADER_BYTES: u16 = 536;

/// POPULATE TOKEN.
#[derive(Debug)]
pub(super) struct PopulateToken {
    list_bytes: u32,
    list_identifier: u32,
    done: bool,
}

impl PopulateToken {
    /// The work of a command; `None`: it has no parameter list, and that is no error.
    pub(super) fn plan(command: &Command) -> Result<Option<Self>, Refusal> {
        let list_bytes = list_bytes(command, POPULATE_HEADER_BYTES)?;
        Ok((list_bytes > 0).then(|| Self {
            list_bytes,
            list_identifier: command.cdb.be32::<6>(),
            done: false,
        }))
    }

    pub(super) fn next(&self) -> Next {
        if self.done {
            return Next::Done(ending(self.list_bytes));
        }
        Next::DataOut {
            offset: 0,
            bytes: self.list_bytes,
        }
    }

    /// The list is here: the token is made.
    pub(super) fn handle_data_out(
        &mut self,
        list: &[u8],
        (nexus, task): (NexusId, TaskKey),
        shard: &mut LuShard,
        view: &LunView<'_>,
    ) -> Result<(), Refusal> {
        check_complete(list, self.list_bytes)?;
        let lu = shard.snapshot();
        let ranges = parse_ranges(list, POPULATE_HEADER_BYTES, lu.geometry())?;
        let seconds = match u32::from_be_bytes(field(list, 4)) {
            0 => DEFAULT_TOKEN_SECONDS,
            // SBC-4 "INACTIVITY TIMEOUT field".
            seconds if seconds > MAX_TOKEN_SECONDS => return Err(Sense::parameter_byte(4).into()),
            seconds => seconds,
        };
        // RTV: the type is asked for.
        let asked = (list[2] & 0x02 != 0).then(|| u32::from_be_bytes(field(list, 8)));
        if asked.is_some_and(|kind| kind != ACCESS_UPON_REFERENCE) {
            return Err(Sense::parameter_byte(8).into());
        }
        let blocks = TokenBlocks::new(lu, ranges);
        let key = view.token_key.ok_or(Sense::INSUFFICIENT_RESOURCES)?;
        let until = view.now.saturating_add(Duration::from_secs(seconds.into()));
        let number = u64::try_from(view.now.as_nanos()).unwrap_or(u64::MAX);
        let token = blocks.seal(number, until, key);
        let bytes = blocks.blocks() * u64::from(blocks.block_size_bytes);
        let record = CopyRecord {
            bytes,
            token: Some(token),
            ..CopyRecord::new(self.list_identifier, task, 0x10)
        };
        shard.begin_copy(nexus, record)?;
        self.done = true;
        Ok(())
    }
}

/// WRITE USING TOKEN.
#[derive(Debug)]
pub(super) struct WriteUsingToken {
    list_bytes: u32,
    list_identifier: u32,
    phase: Phase,
    /// Some of the blocks were not written, since the token has no more.
    short: bool,
}

#[derive(Debug)]
enum Phase {
    DataOut,
    /// Zeros are written: what is, and the ranges that follow.
    Zero(WriteSame, VecDeque<BlockRange>),
    /// Blocks are copied: what is, and what follows.
    Copy(VecDeque<Stretch>),
}

impl WriteUsingToken {
    /// The work of a command; `None`: it has no parameter list, and that is no error.
    pub(super) fn plan(command: &Command) -> Result<Option<Self>, Refusal> {
        let list_bytes = list_bytes(command, WRITE_HEADER_BYTES)?;
        Ok((list_bytes > 0).then(|| Self {
            list_bytes,
            list_identifier: command.cdb.be32::<6>(),
            phase: Phase::DataOut,
            short: false,
        }))
    }

    pub(super) fn next(&self, lu: &LuSnapshot) -> Next {
        let done = || Next::Done(ending(self.list_bytes));
        match &self.phase {
            Phase::DataOut => Next::DataOut {
                offset: 0,
                bytes: self.list_bytes,
            },
            Phase::Zero(same, _) => match same.next(lu) {
                Next::Done(_) => done(),
                next => next,
            },
            Phase::Copy(stretches) => match stretches.front().and_then(Stretch::next) {
                Some(part) => Next::Part(part),
                None => done(),
            },
        }
    }

    /// How the copy has ended, when it has ended well.
    pub(super) fn end_state(&self) -> CopyState {
        if self.short {
            CopyState::CompletedShort
        } else {
            CopyState::Completed
        }
    }

    /// The list is here: the token is looked at.
    pub(super) fn handle_data_out(
        &mut self,
        list: &[u8],
        (nexus, task): (NexusId, TaskKey),
        shard: &mut LuShard,
        view: &LunView<'_>,
    ) -> Result<(), Refusal> {
        check_complete(list, self.list_bytes)?;
        let lu = shard.snapshot();
        let ranges = parse_ranges(list, WRITE_HEADER_BYTES, lu.geometry())?;
        let token: [u8; TOKEN_BYTES] = field(list, 16);
        let offset = u64::from_be_bytes(field(list, 8));
        self.phase = match Token::open(&token, view.token_key, view.now)? {
            Token::Zeroes => {
                let mut ranges = VecDeque::from(ranges);
                ranges.retain(|(_, blocks)| *blocks > 0);
                match ranges.pop_front() {
                    Some(first) => Phase::Zero(zeroes(first, lu), ranges),
                    None => Phase::Copy(VecDeque::new()),
                }
            }
            Token::Blocks(blocks) => {
                let place = place_of(&blocks, lu, view)?;
                let (stretches, short) = stretches(&blocks, place, offset, &ranges)?;
                self.short = short;
                Phase::Copy(stretches)
            }
        };
        shard.begin_copy(nexus, CopyRecord::new(self.list_identifier, task, 0x11))
    }

    /// A part has ended.
    pub(super) fn handle_part(
        &mut self,
        result: Result<(), Refusal>,
        (nexus, task): (NexusId, TaskKey),
        shard: &mut LuShard,
    ) -> Result<(), Refusal> {
        let Phase::Copy(stretches) = &mut self.phase else {
            return Err(Sense::INTERNAL_TARGET_FAILURE.into());
        };
        let Some(stretch) = stretches.front_mut() else {
            return Err(Sense::INTERNAL_TARGET_FAILURE.into());
        };
        // The unit of the command answers for itself; what is wrong with that of the token is told in its stead.
        let is_writing = stretch.is_writing();
        result.map_err(|refusal| {
            if is_writing {
                refusal
            } else {
                source_failure(refusal)
            }
        })?;
        let copied = stretch.handle_done();
        if stretch.next().is_none() {
            stretches.pop_front();
        }
        if let Some(record) = shard.copy_of_task(nexus, task) {
            record.bytes += copied;
        }
        Ok(())
    }

    /// An I/O of the command's own unit has succeeded.
    pub(super) fn handle_io(&mut self, lu: &LuSnapshot) -> Result<(), Refusal> {
        let Phase::Zero(same, ranges) = &mut self.phase else {
            return Err(Sense::INTERNAL_TARGET_FAILURE.into());
        };
        same.handle_io();
        if let Next::Done(_) = same.next(lu)
            && let Some(range) = ranges.pop_front()
        {
            *same = zeroes(range, lu);
        }
        Ok(())
    }

    /// Whether the blocks that are still to be zeroed are there; those to be copied are checked part by part.
    pub(super) fn check_ranges(&self, geometry: Geometry) -> Result<(), Refusal> {
        let Phase::Zero(same, ranges) = &self.phase else {
            return Ok(());
        };
        let is_there = |(lba, blocks)| geometry.contains(Lba(lba), BlockCount(blocks));
        let follow = ranges
            .iter()
            .map(|(lba, blocks)| (*lba, u64::from(*blocks)));
        if follow.chain([same.left()]).all(is_there) {
            Ok(())
        } else {
            Err(Sense::LBA_OUT_OF_RANGE.into())
        }
    }
}

/// PARAMETER LIST LENGTH, where the command brings as much; 0: there is no list.
fn list_bytes(command: &Command, header_bytes: u16) -> Result<u32, Refusal> {
    let length = command.cdb.be32::<10>();
    let most = u32::from(header_bytes) + u32::from(u16::MAX);
    let fits = length >= u32::from(header_bytes) && length <= most;
    if length == 0 || (fits && command.data_out_bytes >= length) {
        return Ok(length);
    }
    let sense = Sense::PARAMETER_LIST_LENGTH_ERROR;
    Err(sense.pointing(true, 10, None).into())
}

/// The range descriptors, all of them checked. The header ends with their length.
fn parse_ranges(
    list: &[u8],
    header_bytes: u16,
    geometry: Geometry,
) -> Result<Vec<BlockRange>, Refusal> {
    let header = usize::from(header_bytes);
    let length_at = header_bytes - 2;
    let announced = usize::from(u16::from_be_bytes(field(list, 0))) + 2;
    let length = usize::from(u16::from_be_bytes(field(list, usize::from(length_at))));
    if announced < header + RANGE_BYTES {
        return Err(Sense::parameter_byte(0).into());
    }
    let end = header + length;
    if length < RANGE_BYTES || !length.is_multiple_of(RANGE_BYTES) || end > announced {
        return Err(Sense::parameter_byte(length_at).into());
    }
    let Some(descriptors) = list.get(header..end) else {
        return Err(Sense::parameter_byte(length_at).into());
    };
    // SBC-4 "MAXIMUM RANGE DESCRIPTORS field".
    if length / RANGE_BYTES > usize::from(MAX_TOKEN_RANGES) {
        return Err(Sense::TOO_MANY_SEGMENT_DESCRIPTORS.into());
    }
    let mut ranges: Vec<BlockRange> = Vec::with_capacity(length / RANGE_BYTES);
    for (index, one) in descriptors.chunks_exact(RANGE_BYTES).enumerate() {
        let at = u16::try_from(header + index * RANGE_BYTES).unwrap_or(u16::MAX);
        let (lba, blocks) = (
            u64::from_be_bytes(field(one, 0)),
            u32::from_be_bytes(field(one, 8)),
        );
        if !geometry.contains(Lba(lba), BlockCount(blocks.into())) {
            return Err(Sense::LBA_OUT_OF_RANGE.pointing(false, at, None).into());
        }
        // Ranges that share a block are an error.
        let overlaps = |&(other, count): &BlockRange| {
            blocks > 0
                && count > 0
                && lba < other.saturating_add(count.into())
                && other < lba.saturating_add(blocks.into())
        };
        if ranges.iter().any(overlaps) {
            return Err(Sense::parameter_byte(at).into());
        }
        ranges.push((lba, blocks));
    }
    Ok(ranges)
}

/// The unit that a token is of, as the nexus reaches it. What it does not reach does not exist for it.
fn place_of(blocks: &TokenBlocks, lu: &LuSnapshot, view: &LunView<'_>) -> Result<Place, Refusal> {
    let own = lu.geometry().block_size_bytes;
    let (place, size) = if blocks.naa() == lu.identity.naa_designator() {
        (Place::Here, own)
    } else {
        let reached = view.luns.find(blocks.naa()).ok_or(Sense::TOKEN_UNKNOWN)?;
        (Place::There(reached.lun), reached.block_size_bytes)
    };
    // Blocks of another size could not be counted in those of this unit, and the store behind that one may be another by now.
    if size != own || size != blocks.block_size_bytes {
        return Err(Sense::INVALID_TOKEN_OPERATION.into());
    }
    Ok(place)
}

/// What is copied from the token's ranges, from `offset` on, to these; and whether the token has less than these take.
fn stretches(
    token: &TokenBlocks,
    place: Place,
    mut offset: u64,
    to: &[BlockRange],
) -> Result<(VecDeque<Stretch>, bool), Refusal> {
    // SBC-4 "OFFSET INTO ROD field".
    if offset >= token.blocks() {
        return Err(Sense::parameter_byte(8).into());
    }
    let end = |place, lba| End {
        place,
        lba,
        block_size_bytes: token.block_size_bytes,
    };
    let mut from = token.ranges.iter().copied();
    let mut source = (0, 0);
    let mut stretches = VecDeque::new();
    for (to, blocks) in to {
        let (mut to, mut left) = (*to, u64::from(*blocks));
        while left > 0 {
            if source.1 == 0 {
                let Some((lba, blocks)) = from.next() else {
                    return Ok((stretches, true));
                };
                let skipped = offset.min(blocks.into());
                offset -= skipped;
                source = (lba + skipped, u64::from(blocks) - skipped);
                continue;
            }
            let blocks = left.min(source.1);
            let bytes = blocks * u64::from(token.block_size_bytes);
            stretches.push_back(Stretch::new(
                end(place, source.0),
                end(Place::Here, to),
                bytes,
            ));
            source = (source.0 + blocks, source.1 - blocks);
            to += blocks;
            left -= blocks;
        }
    }
    Ok((stretches, false))
}

fn zeroes((lba, blocks): BlockRange, lu: &LuSnapshot) -> WriteSame {
    let may_unmap = lu.caps.unmap && lu.caps.unmap_zeroes;
    WriteSame::zeroes(Lba(lba), blocks.into(), may_unmap, lu)
}

/// SPC-5 "Third-party copy command errors": the unit that a token is of did not give the blocks.
fn source_failure(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Status(crate::step::Status::Busy) => refusal,
        Refusal::Check(Sense::COPY_TARGET_NOT_REACHABLE) => Sense::TOKEN_UNKNOWN.into(),
        _ => Sense::THIRD_PARTY_DEVICE_FAILURE.into(),
    }
}

fn ending(list_bytes: u32) -> Ending {
    Ending {
        transfer_bytes: u64::from(list_bytes),
        data_in_bytes: 0,
    }
}

/// The bytes of a field, whose presence has been checked.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.copied().unwrap_or([0; N])
}
