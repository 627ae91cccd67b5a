//! GET LBA STATUS. SBC-4 r22 "GET LBA STATUS (16) command".

use block::{BlockCount, Geometry, Lba, MapRun};

use super::state::Next;

use crate::command::{Cdb, Command};
use crate::reply::Reply;
use crate::sense::{Refusal, Sense};
use crate::step::{Done, Io};

const HEADER_BYTES: usize = 8;
const DESCRIPTOR_BYTES: usize = 16;

/// No more are told of at a time.
const MOST_DESCRIPTORS: usize = 512;

/// PROVISIONING STATUS: mapped, or nobody knows.
const MAPPED: u8 = 0;
/// PROVISIONING STATUS: deallocated.
const DEALLOCATED: u8 = 1;

/// GET LBA STATUS: one question to the store, and the report of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct LbaStatus {
    lba: Lba,
    /// To the end of the LU.
    blocks: u64,
    allocation_bytes: u32,
}

impl LbaStatus {
    pub(super) fn plan(cdb: &Cdb, geometry: Geometry) -> Result<Self, Refusal> {
        let lba = Lba(cdb.be64::<2>());
        if !geometry.contains(lba, BlockCount(1)) {
            return Err(Sense::LBA_OUT_OF_RANGE.pointing(true, 2, None).into());
        }
        Ok(Self {
            lba,
            blocks: geometry.capacity_blocks - lba.0,
            allocation_bytes: cdb.be32::<10>(),
        })
    }

    pub(super) fn next(&self) -> Next {
        Next::Io(Io::Map {
            lba: self.lba,
            blocks: self.blocks,
        })
    }

    /// The parameter data. `runs` is what the store told.
    pub(super) fn report(&self, runs: &[u8], command: &Command, out: &mut Vec<u8>) -> Done {
        let descriptors = || self.descriptors(runs).take(MOST_DESCRIPTORS);
        let mut reply = Reply::new(out, self.allocation_bytes, command.data_in_bytes);
        // PARAMETER DATA LENGTH counts from behind itself. COMPLETION CONDITION 0: no indication; RTP 0: there is no
        // report type but all.
        let length = HEADER_BYTES - 4 + descriptors().count() * DESCRIPTOR_BYTES;
        reply.put(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        reply.put(&[0; 4]);
        for (lba, blocks, mapped) in descriptors() {
            let status = if mapped { MAPPED } else { DEALLOCATED };
            reply.put(&lba.to_be_bytes());
            reply.put(&blocks.to_be_bytes());
            reply.put(&[status, 0, 0, 0]);
        }
        reply.done()
    }

    /// The first block, number and status of each descriptor; a long run takes several.
    fn descriptors(&self, runs: &[u8]) -> impl Iterator<Item = (u64, u32, bool)> {
        let mut runs = MapRun::all(runs);
        let mut run = MapRun {
            blocks: 0,
            mapped: false,
        };
        let (mut lba, mut left) = (self.lba.0, self.blocks);
        std::iter::from_fn(move || {
            while run.blocks == 0 && left > 0 {
                run = runs.next()?;
            }
            // NUMBER OF LOGICAL BLOCKS has four bytes.
            let blocks = u32::try_from(run.blocks.min(left)).unwrap_or(u32::MAX);
            if blocks == 0 {
                return None;
            }
            let first = lba;
            lba = lba.saturating_add(u64::from(blocks));
            left -= u64::from(blocks);
            run.blocks -= u64::from(blocks);
            Some((first, blocks, run.mapped))
        })
    }
}
