//! Limits that VPD page B0 tells are enforced, exactly.

use scsi::{Sense, Status};

use crate::rig::{Data, Rig, caps, cdb12, cdb16, compare_and_write, unmap, unmap_list};

/// 8 GiB, of which nothing is touched here.
fn large() -> Rig {
    Rig::with(caps(512, 16 << 20))
}

fn block_limits(rig: &mut Rig) -> Vec<u8> {
    rig.run(&[0x12, 1, 0xb0, 0, 64, 0], Data::In(64)).data_in
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn transfer_length_above_the_maximum_is_invalid_field() {
    let mut rig = large();
    let most = be32(&block_limits(&mut rig), 8);
    assert_eq!(most, 65_536);
    for (opcode12, opcode16) in [(0xa8, 0x88), (0xaa, 0x8a), (0xae, 0x8e), (0xaf, 0x8f)] {
        let run = rig.run(&cdb12(opcode12, 0, 0, most + 1), Data::None);
        run.refused(Sense::cdb_byte(6));
        let run = rig.run(&cdb16(opcode16, 0, 0, most + 1), Data::None);
        run.refused(Sense::cdb_byte(10));
    }
    // Nothing moves here, but the length is right.
    assert_eq!(
        rig.run(&cdb12(0xa8, 0, 0, most), Data::None).done.status,
        Status::Good
    );
}

#[test]
fn write_same_above_the_maximum_is_invalid_field() {
    let mut rig = large();
    let most = be32(&block_limits(&mut rig), 40);
    assert_eq!(most, 65_536);
    rig.run(&cdb16(0x93, 0x01, 0, most + 1), Data::None)
        .refused(Sense::cdb_byte(10));
    rig.run(&cdb16(0x93, 0x01, 0, most), Data::None)
        .good(&["zero 0+32768", "zero 32768+32768"]);
}

#[test]
fn compare_and_write_above_the_maximum_is_invalid_field() {
    let mut rig = Rig::with(caps(4096, 256));
    let most = block_limits(&mut rig)[5];
    assert_eq!(most, 128);
    let bytes = 2 * usize::from(most) * 4096;
    let run = rig.run(
        &compare_and_write(0, 0, most + 1),
        Data::Out(&vec![0; bytes + 8192]),
    );
    run.refused(Sense::cdb_byte(13));
    let run = rig.run(&compare_and_write(0, 0, most), Data::Out(&vec![0; bytes]));
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(
        Rig::new()
            .run(&[0x12, 1, 0xb0, 0, 64, 0], Data::In(64))
            .data_in[5],
        255
    );
}

#[test]
fn unmap_above_the_maxima_is_invalid_field_in_parameter_list() {
    let mut rig = large();
    let limits = block_limits(&mut rig);
    let (blocks, descriptors) = (be32(&limits, 20), be32(&limits, 24));
    assert_eq!((blocks, descriptors), (1 << 20, 256));

    let list = unmap_list(&vec![(0, 1); descriptors as usize + 1]);
    let run = rig.run(&unmap(list.len() as u16), Data::Out(&list));
    run.check(Sense::parameter_byte(2));
    let list = unmap_list(&vec![(0, 1); descriptors as usize]);
    let run = rig.run(&unmap(list.len() as u16), Data::Out(&list));
    assert_eq!(run.steps.len(), 1 + descriptors as usize + 1);

    let list = unmap_list(&[(0, blocks / 2), (0, blocks / 2 + 1)]);
    let run = rig.run(&unmap(40), Data::Out(&list));
    run.check(Sense::parameter_byte(32));
}
