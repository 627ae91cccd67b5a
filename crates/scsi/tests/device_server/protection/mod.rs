//! Protection information. SBC-4 "Protection information model", and the commands' tables.

mod damage;
mod fields;
mod model;
mod moving;
mod reports;

use block::ProtectionType;

use crate::rig::{Data, Rig, Run, caps, cdb16};

/// A disk of 64 blocks with protection information of this type.
fn disk(kind: ProtectionType) -> Rig {
    let mut caps = caps(512, 64);
    caps.protection = Some(kind);
    Rig::with(caps)
}

/// Remainder of a polynomial division, bit by bit: another way than the device server's.
fn guard(data: &[u8]) -> u16 {
    let mut crc = 0u16;
    for byte in data {
        for bit in (0..8).rev() {
            let carry = (crc >> 15) as u8 ^ byte >> bit & 1;
            crc = crc << 1 ^ if carry == 1 { 0x8bb7 } else { 0 };
        }
    }
    crc
}

fn tuple(guard: u16, application: u16, reference: u32) -> [u8; 8] {
    let mut tuple = [0; 8];
    tuple[..2].copy_from_slice(&guard.to_be_bytes());
    tuple[2..4].copy_from_slice(&application.to_be_bytes());
    tuple[4..].copy_from_slice(&reference.to_be_bytes());
    tuple
}

/// Blocks with protection information whose reference tags count up, on the wire.
fn wire(data: &[u8], application: u16, reference: u32) -> Vec<u8> {
    let blocks = data.chunks(512).zip(reference..);
    blocks
        .flat_map(|(data, reference)| {
            let tuple = tuple(guard(data), application, reference);
            [data, &tuple].concat()
        })
        .collect()
}

/// Some blocks, no two alike.
fn pattern(blocks: usize, seed: u8) -> Vec<u8> {
    (0..blocks * 512)
        .map(|at| (at / 512) as u8 ^ (at as u8).wrapping_mul(31) ^ seed)
        .collect()
}

/// A CDB of 32 bytes.
fn cdb32(action: u8, flags: u8, lba: u64, blocks: u32, expected: (u32, u16, u16)) -> [u8; 32] {
    let (reference, application, mask) = expected;
    let mut cdb = [0; 32];
    cdb[0] = 0x7f;
    cdb[7] = 0x18;
    cdb[9] = action;
    cdb[10] = flags;
    cdb[12..20].copy_from_slice(&lba.to_be_bytes());
    cdb[20..24].copy_from_slice(&reference.to_be_bytes());
    cdb[24..26].copy_from_slice(&application.to_be_bytes());
    cdb[26..28].copy_from_slice(&mask.to_be_bytes());
    cdb[28..].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// READ(16) with RDPROTECT.
fn read(rig: &mut Rig, protect: u8, lba: u64, blocks: u32) -> Run {
    let wire = if protect == 0 { 512 } else { 520 };
    let cdb = cdb16(0x88, protect << 5, lba, blocks);
    rig.run(&cdb, Data::In(blocks * wire))
}

/// WRITE(16) with WRPROTECT.
fn write(rig: &mut Rig, protect: u8, lba: u64, blocks: u32, data: &[u8]) -> Run {
    rig.run(&cdb16(0x8a, protect << 5, lba, blocks), Data::Out(data))
}

/// The tuple of a block, as it would go over the wire.
fn stored(rig: &Rig, lba: usize) -> [u8; 8] {
    let bytes: [u8; 8] = rig.tuples[lba * 8..][..8].try_into().unwrap();
    bytes.map(|byte| !byte)
}

/// Puts a tuple beside a block.
fn put(rig: &mut Rig, lba: usize, tuple: [u8; 8]) {
    rig.tuples[lba * 8..][..8].copy_from_slice(&tuple.map(|byte| !byte));
}
