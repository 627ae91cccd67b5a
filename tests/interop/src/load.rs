//! A load of numbered writes that knows what was acknowledged, and the check of what a disk holds against it.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use iscsi_wire::Itt;

use crate::client::Client;
use crate::pattern::{Random, fill, generation};

/// The part of the disk that one session writes, in slots that are written whole, each write with the next generation.
#[derive(Debug)]
pub struct Load {
    first_lba: u64,
    slot_blocks: u64,
    slots: Vec<Slot>,
    in_flight: HashMap<Itt, usize>,
    random: Random,
    /// Writes acknowledged so far.
    pub acknowledged: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    issued: u64,
    acknowledged: u64,
}

impl Load {
    /// `count` slots of `slot_blocks` blocks from `first_lba` on; the seed decides the order.
    #[must_use]
    pub fn new(first_lba: u64, slot_blocks: u64, count: usize, seed: u64) -> Self {
        Self {
            first_lba,
            slot_blocks,
            slots: vec![Slot::default(); count],
            in_flight: HashMap::new(),
            random: Random::new(seed),
            acknowledged: 0,
        }
    }

    /// Writes with `depth` commands in flight until `stop` says so, then waits for the last of them. The writes that were in
    /// flight when an error ended it count as issued, not as acknowledged.
    ///
    /// # Errors
    /// A write fails, or the connection ends.
    pub fn run(
        &mut self,
        client: &mut Client,
        depth: usize,
        mut stop: impl FnMut(&Self, &Client) -> bool,
    ) -> Result<()> {
        self.in_flight.clear();
        loop {
            let stopping = stop(self, client);
            while !stopping && self.in_flight.len() < depth {
                self.issue(client);
            }
            if self.in_flight.is_empty() {
                return Ok(());
            }
            let done = client.next_done()?;
            let slot = self.in_flight.remove(&done.itt);
            let Some(slot) = slot.and_then(|index| self.slots.get_mut(index)) else {
                continue;
            };
            slot.acknowledged = slot.issued;
            self.acknowledged += 1;
        }
    }

    /// Every block holds a whole write: no older one than was acknowledged, no newer one than was issued.
    ///
    /// # Errors
    /// One does not, or cannot be read.
    pub fn verify(&self, client: &mut Client) -> Result<()> {
        for (index, slot) in self.slots.iter().enumerate() {
            let lba = self.lba(index);
            let data = client.read_now(lba, usize::try_from(self.slot_blocks)?)?;
            for (block, lba) in data.chunks_exact(client.block_bytes).zip(lba..) {
                let found = generation(block, lba);
                ensure!(
                    found.is_some_and(|found| (slot.acknowledged..=slot.issued).contains(&found)),
                    "block {lba} holds {found:?}; acknowledged {}, issued {}",
                    slot.acknowledged,
                    slot.issued
                );
            }
        }
        Ok(())
    }

    fn lba(&self, index: usize) -> u64 {
        self.first_lba + self.slot_blocks * index as u64
    }

    fn issue(&mut self, client: &mut Client) {
        let count = self.slots.len() as u64;
        let mut index = 0;
        // A slot with a write in flight waits for it: two at once have no order.
        loop {
            index = usize::try_from(self.random.below(count)).unwrap_or(index);
            if !self.in_flight.values().any(|busy| *busy == index) {
                break;
            }
        }
        let lba = self.lba(index);
        let slot = &mut self.slots[index];
        slot.issued += 1;
        let mut data = vec![0; client.block_bytes * usize::try_from(self.slot_blocks).unwrap_or(0)];
        for (block, lba) in data.chunks_exact_mut(client.block_bytes).zip(lba..) {
            fill(block, lba, slot.issued);
        }
        let itt = client.write(lba, data);
        self.in_flight.insert(itt, index);
    }
}
