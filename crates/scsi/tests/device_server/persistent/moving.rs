//! REGISTER AND MOVE.

use scsi::{NexusName, Sense};

use super::*;

fn move_list(key: u64, action_key: u64, flags: u8, to: &NexusName) -> Vec<u8> {
    let mut list = list(key, action_key, 0);
    let id = to.initiator.as_bytes();
    list[17] = flags;
    list[18..20].copy_from_slice(&to.target_port.to_be_bytes());
    list[20..24].copy_from_slice(&(id.len() as u32).to_be_bytes());
    list.extend_from_slice(id);
    list
}

const UNREG: u8 = 0x02;

#[test]
fn move_registers_the_destination_and_makes_it_the_holder() {
    for (flags, left) in [
        (0, vec![0x11, 0x22, 0x33, 0x99]),
        (UNREG, vec![0x22, 0x33, 0x99]),
    ] {
        let mut rig = held(EA);
        let to = name_of(NexusId(9));
        let list = move_list(0x11, 0x99, flags, &to);
        rig.reserve_out_list(ONE, REGISTER_AND_MOVE, 0, &list)
            .gone_well();
        assert_eq!(rig.reservation(), Some((0x99, EA)));
        assert_eq!(rig.keys(), (4, left));
        assert_eq!(rig.all_told(), [vec![], vec![], vec![]]);
        let read = crate::rig::cdb10(0x28, 0, 0, 1);
        rig.run_as(ONE, &read, Data::In(512)).conflict();
        // The destination may log in later.
        rig.shard.attach_nexus(NexusId(9), &to, &[]);
        rig.run_as(NexusId(9), &read, Data::In(512)).gone_well();
        rig.reserve_out(NexusId(9), RELEASE, EA, 0x99, 0)
            .gone_well();
    }
}

#[test]
fn move_to_a_registered_nexus_changes_its_key() {
    let mut rig = held(WE_RO);
    let list = move_list(0x11, 0x2222, UNREG, &name_of(TWO));
    rig.reserve_out_list(ONE, REGISTER_AND_MOVE, WE_RO, &list)
        .gone_well();
    assert_eq!(rig.reservation(), Some((0x2222, WE_RO)));
    assert_eq!(rig.keys().1, [0x33, 0x2222]);
}

#[test]
fn move_that_may_not_be_changes_nothing() {
    let to = name_of(TWO);
    let good = move_list(0x11, 0x99, 0, &to);
    // No reservation, one of all registrants, not the holder, not registered, another key.
    let mut rig = registered();
    let run = rig.reserve_out_list(ONE, REGISTER_AND_MOVE, 0, &good);
    run.check(Sense::cdb_bit(1, 4));
    let mut rig = held(EA_AR);
    rig.reserve_out_list(ONE, REGISTER_AND_MOVE, 0, &good)
        .conflict();
    let mut rig = held(EA);
    let by_two = move_list(0x22, 0x99, 0, &name_of(THREE));
    rig.reserve_out_list(TWO, REGISTER_AND_MOVE, 0, &by_two)
        .conflict();
    rig.reserve_out_list(OBSERVER, REGISTER_AND_MOVE, 0, &good)
        .conflict();
    let other_key = move_list(0x12, 0x99, 0, &to);
    rig.reserve_out_list(ONE, REGISTER_AND_MOVE, 0, &other_key)
        .conflict();

    let reserved = |byte: usize| {
        let mut list = good.clone();
        list[byte] |= 0x80;
        list
    };
    let mut no_length = good.clone();
    no_length[20..24].fill(0);
    let mut too_long = good.clone();
    too_long.extend_from_slice(name_of(TWO).initiator.as_bytes());
    let mut two_ids = too_long.clone();
    let both = 2 * to.initiator.as_bytes().len() as u32;
    two_ids[20..24].copy_from_slice(&both.to_be_bytes());
    let away = NexusName {
        target_port: 77,
        ..to.clone()
    };
    for (list, sense) in [
        (move_list(0x11, 0, 0, &to), Sense::parameter_byte(8)),
        (reserved(16), Sense::parameter_bit(16, 7)),
        (reserved(17), Sense::parameter_bit(17, 7)),
        (move_list(0x11, 0x99, 1, &to), Sense::parameter_bit(17, 0)),
        (move_list(0x11, 0x99, 0, &away), Sense::parameter_byte(18)),
        (
            move_list(0x11, 0x99, 0, &name_of(ONE)),
            Sense::parameter_byte(24),
        ),
        (no_length, Sense::PARAMETER_LIST_LENGTH_ERROR),
        (too_long, Sense::PARAMETER_LIST_LENGTH_ERROR),
        (two_ids, Sense::parameter_byte(20)),
        (
            move_list(0x11, 0x99, 0, &to)[..24].to_vec(),
            Sense::PARAMETER_LIST_LENGTH_ERROR,
        ),
    ] {
        rig.reserve_out_list(ONE, REGISTER_AND_MOVE, 0, &list)
            .check(sense);
    }
    assert_eq!(rig.reservation(), Some((0x11, EA)));
    assert_eq!(rig.keys(), (3, vec![0x11, 0x22, 0x33]));
}
