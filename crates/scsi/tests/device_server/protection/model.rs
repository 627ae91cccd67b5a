//! Random commands against a simple model: a block, and its tuple.

use block::ProtectionType;
use proptest::prelude::*;
use scsi::Status;

use super::{disk, guard, read, tuple, wire, write};
use crate::rig::{Data, cdb16, compare_and_write, unmap, unmap_list};

const BLOCKS: u64 = 64;

#[derive(Clone, Debug)]
enum Op {
    Write {
        protect: u8,
        seed: u8,
        tag: u16,
    },
    Same {
        protect: u8,
        seed: u8,
        tag: u16,
    },
    CompareAndWrite {
        protect: u8,
        seed: u8,
        tag: u16,
    },
    OrWrite {
        protect: u8,
        seed: u8,
        tag: u16,
    },
    Unmap,
    /// A bit of the data, or of the guard, turns.
    Rot {
        tuple: bool,
    },
}

fn op() -> impl Strategy<Value = (Op, u64, u64)> {
    let protect = prop_oneof![Just(0u8), 1u8..6];
    let fields = (
        protect,
        any::<u8>(),
        prop_oneof![4 => 0u16..9, 1 => Just(0xffff)],
    );
    let op =
        (0u8..16, fields, any::<bool>()).prop_map(
            |(which, (protect, seed, tag), tuple)| match which {
                0..6 => Op::Write { protect, seed, tag },
                6..8 => Op::Same { protect, seed, tag },
                8..11 => Op::CompareAndWrite { protect, seed, tag },
                11..14 => Op::OrWrite { protect, seed, tag },
                14 => Op::Unmap,
                _ => Op::Rot { tuple },
            },
        );
    (op, 0..BLOCKS, 1u64..9).prop_map(|(op, lba, blocks)| (op, lba, blocks.min(BLOCKS - lba)))
}

/// A block as it should be.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    data: Vec<u8>,
    tuple: [u8; 8],
    rotten: bool,
}

impl Block {
    fn hole() -> Self {
        Self {
            data: vec![0; 512],
            tuple: [0xff; 8],
            rotten: false,
        }
    }

    fn of(data: &[u8], protect: u8, tag: u16, reference: u32, kind: ProtectionType) -> Self {
        let plain = match kind {
            ProtectionType::Type1 => reference,
            _ => u32::MAX,
        };
        let tuple = match protect {
            0 => tuple(guard(data), 0xffff, plain),
            _ => tuple(guard(data), tag, reference),
        };
        Self {
            data: data.to_vec(),
            tuple,
            rotten: false,
        }
    }

    /// Whether a read that looks at the guard has to fail.
    fn fails(&self, kind: ProtectionType) -> bool {
        let escaped = self.tuple[2..4] == [0xff; 2]
            && (kind != ProtectionType::Type3 || self.tuple[4..] == [0xff; 4]);
        self.rotten && !escaped
    }
}

fn data(blocks: u64, seed: u8) -> Vec<u8> {
    (0..blocks * 512)
        .map(|at| (at / 512) as u8 ^ (at as u8).wrapping_mul(31) ^ seed)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn commands_with_protection_information_do_what_a_simple_model_does(
        ops in proptest::collection::vec(op(), 1..24),
        three in any::<bool>(),
    ) {
        let kind = if three { ProtectionType::Type3 } else { ProtectionType::Type1 };
        let mut rig = disk(kind);
        let mut model = vec![Block::hole(); BLOCKS as usize];
        for (op, lba, blocks) in ops {
            let range = lba as usize..(lba + blocks) as usize;
            let reads_rotten = model[range.clone()].iter().any(|block| block.fails(kind));
            let on_wire = |data: &[u8], protect: u8, tag| match protect {
                0 => data.to_vec(),
                _ => wire(data, tag, lba as u32),
            };
            match op {
                Op::Write { protect, seed, tag } => {
                    let data = data(blocks, seed);
                    let run = write(&mut rig, protect, lba, blocks as u32, &on_wire(&data, protect, tag));
                    prop_assert_eq!(run.done.status, Status::Good);
                    for (lba, data) in range.zip(data.chunks(512)) {
                        model[lba] = Block::of(data, protect, tag, lba as u32, kind);
                    }
                }
                Op::Same { protect, seed, tag } => {
                    let data = data(1, seed);
                    let cdb = cdb16(0x93, protect << 5, lba, blocks as u32);
                    let run = rig.run(&cdb, Data::Out(&on_wire(&data, protect, tag)));
                    prop_assert_eq!(run.done.status, Status::Good);
                    for at in range {
                        let reference = if three { lba as usize } else { at };
                        model[at] = Block::of(&data, protect, tag, reference as u32, kind);
                    }
                }
                Op::CompareAndWrite { protect, seed, tag } => {
                    let old: Vec<u8> = model[range.clone()].iter().flat_map(|b| b.data.clone()).collect();
                    let new = data(blocks, seed);
                    let both = [on_wire(&old, protect, tag), on_wire(&new, protect, tag)].concat();
                    let cdb = compare_and_write(protect << 5, lba, blocks as u8);
                    let run = rig.run(&cdb, Data::Out(&both));
                    let looks = !matches!(protect, 2 | 3);
                    if reads_rotten && looks {
                        prop_assert_eq!(run.done.status, Status::CheckCondition);
                        continue;
                    }
                    prop_assert_eq!(run.done.status, Status::Good);
                    for (lba, data) in range.zip(new.chunks(512)) {
                        model[lba] = Block::of(data, protect, tag, lba as u32, kind);
                    }
                }
                Op::OrWrite { protect, seed, tag } => {
                    let bits = data(blocks, seed);
                    let cdb = cdb16(0x8b, protect << 5, lba, blocks as u32);
                    let run = rig.run(&cdb, Data::Out(&on_wire(&bits, protect, tag)));
                    if reads_rotten && !matches!(protect, 2 | 3) {
                        prop_assert_eq!(run.done.status, Status::CheckCondition);
                        continue;
                    }
                    prop_assert_eq!(run.done.status, Status::Good);
                    for (lba, bits) in range.zip(bits.chunks(512)) {
                        let both: Vec<u8> =
                            model[lba].data.iter().zip(bits).map(|(old, bit)| old | bit).collect();
                        model[lba] = Block::of(&both, protect, tag, lba as u32, kind);
                    }
                }
                Op::Unmap => {
                    let list = unmap_list(&[(lba, blocks as u32)]);
                    rig.run(&unmap(list.len() as u16), Data::Out(&list));
                    model[range].fill(Block::hole());
                }
                Op::Rot { tuple } => {
                    let at = lba as usize;
                    if tuple {
                        rig.tuples[at * 8] ^= 1;
                        model[at].tuple[0] ^= 1;
                    } else {
                        rig.store[at * 512] ^= 1;
                        model[at].data[0] ^= 1;
                    }
                    model[at].rotten = guard(&model[at].data).to_be_bytes() != model[at].tuple[..2];
                }
            }
        }
        for (lba, block) in model.iter().enumerate() {
            let all = read(&mut rig, 3, lba as u64, 1).data_in;
            prop_assert_eq!(&all[..512], &block.data[..], "{}", lba);
            prop_assert_eq!(&all[512..], &block.tuple[..], "{}", lba);
            for code in [0, 1, 4, 5] {
                let status = read(&mut rig, code, lba as u64, 1).done.status;
                prop_assert_eq!(status == Status::Good, !block.fails(kind), "{} {}", lba, code);
            }
        }
    }
}
