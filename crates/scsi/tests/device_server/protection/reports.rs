//! What is told of protection information.

use block::ProtectionType::{Type1, Type2, Type3};
use scsi::{Sense, Status};

use super::disk;
use crate::rig::{Data, Rig, cdb16};

#[test]
fn reports_tell_of_the_type_there_is_and_of_none_without() {
    let told = |rig: &mut Rig| {
        let inquiry = rig.run(&[0x12, 0, 0, 0, 96, 0], Data::In(96)).data_in;
        let extended = rig.run(&[0x12, 1, 0x86, 0, 64, 0], Data::In(64)).data_in;
        let mut capacity = cdb16(0x9e, 0x10, 0, 32);
        capacity[13] = 32;
        let capacity = rig.run(&capacity, Data::In(32)).data_in;
        let mode = rig.run(&[0x1a, 8, 0x0a, 0, 64, 0], Data::In(64)).data_in;
        // PROTECT, SPT and the checks, PROT_EN and P_TYPE, ATO.
        (
            inquiry[5] & 0x09,
            extended[4],
            capacity[12],
            mode[4 + 5] & 0x80,
        )
    };
    assert_eq!(told(&mut Rig::new()), (0x08, 0x00, 0x00, 0x00));
    assert_eq!(told(&mut disk(Type1)), (0x01, 0x07, 0x01, 0x80));
    assert_eq!(told(&mut disk(Type2)), (0x01, 0x17, 0x03, 0x80));
    assert_eq!(told(&mut disk(Type3)), (0x01, 0x27, 0x05, 0x80));
}

#[test]
fn mode_select_of_the_control_page_takes_ato_as_it_is_and_no_other() {
    let mut rig = disk(Type1);
    let mode = rig.run(&[0x1a, 8, 0x0a, 0, 64, 0], Data::In(64)).data_in;
    let mut list = mode.clone();
    list[..4].fill(0);
    let select = [0x15, 0x10, 0, 0, list.len() as u8, 0];
    let run = rig.run(&select, Data::Out(&list));
    assert_eq!(run.done.status, Status::Good);
    list[4 + 5] ^= 0x80;
    let run = rig.run(&select, Data::Out(&list));
    run.check(Sense::parameter_bit(9, 7));
}

#[test]
fn report_supported_operation_codes_tells_of_protect_fields_and_of_long_commands() {
    let ask = |rig: &mut Rig, opcode: u8, action: Option<u8>| {
        let option = if action.is_some() { 2 } else { 1 };
        let action = action.unwrap_or(0);
        let cdb = [0xa3, 0x0c, option, opcode, 0, action, 0, 0, 0, 64, 0, 0];
        rig.run(&cdb, Data::In(64)).data_in
    };
    for (mut rig, bits) in [(Rig::new(), 0), (disk(Type1), 0xe0), (disk(Type2), 0)] {
        assert_eq!(ask(&mut rig, 0x88, None)[5] & 0xe0, bits);
        assert_eq!(ask(&mut rig, 0x8f, None)[5] & 0xe0, bits);
    }
    assert_eq!(ask(&mut Rig::new(), 0x04, None)[5] & 0xc0, 0);
    assert_eq!(ask(&mut disk(Type2), 0x04, None)[5] & 0xc0, 0xc0);
    // Where the operation code means nothing, it is told in either way that it does not.
    for action in [None, Some(0x09)] {
        assert_eq!(ask(&mut Rig::new(), 0x7f, action), [0, 1, 0, 0]);
        assert_eq!(ask(&mut disk(Type1), 0x7f, action), [0, 1, 0, 0]);
    }
    let one = ask(&mut disk(Type2), 0x7f, Some(0x09));
    assert_eq!(one[..4], [0, 3, 0, 32]);
    assert_eq!(
        (one[4], one[4 + 7], one[4 + 9], one[4 + 10]),
        (0x7f, 0x18, 0x09, 0xfa)
    );
    assert_eq!(one.len(), 36);
}

#[test]
fn third_party_copies_are_not_offered() {
    let mut rig = disk(Type1);
    let run = rig.run(&cdb16(0x83, 0, 0, 0), Data::None);
    run.refused(Sense::INVALID_COMMAND_OPERATION_CODE);
    let run = rig.run(&[0x12, 1, 0x8f, 0, 64, 0], Data::In(64));
    run.refused(Sense::cdb_byte(2));
}
