//! REGISTER and REGISTER AND IGNORE EXISTING KEY.

use scsi::{MAX_REGISTRATIONS, NexusName, Sense, TransportId};

use super::*;

/// The list of SPEC_I_PT.
fn with_initiators(mut list: Vec<u8>, initiators: &[TransportId]) -> Vec<u8> {
    let ids: Vec<u8> = initiators
        .iter()
        .flat_map(|id| id.as_bytes().to_vec())
        .collect();
    list.extend_from_slice(&(ids.len() as u32).to_be_bytes());
    list.extend_from_slice(&ids);
    list
}

fn spec_i_pt(initiators: &[TransportId]) -> Vec<u8> {
    with_initiators(list(0, 0xaa, SPEC_I_PT), initiators)
}

fn host(number: u64) -> TransportId {
    name_of(NexusId(number)).initiator
}

#[test]
fn register_by_the_state_of_the_nexus_as_the_table_has_it() {
    // SPC-5 "Register behaviors for a REGISTER service action": registered with 11h or not, RESERVATION KEY, SERVICE ACTION
    // RESERVATION KEY; what comes of it: the key, or a conflict.
    for (registered, key, action_key, comes_to) in [
        (false, 0, 0, Ok(None)),
        (false, 0, 0x11, Ok(Some(0x11))),
        (false, 0x11, 0x11, Err(())),
        (false, 0x11, 0, Err(())),
        (true, 0x12, 0x13, Err(())),
        (true, 0, 0x13, Err(())),
        (true, 0x11, 0, Ok(None)),
        (true, 0x11, 0x13, Ok(Some(0x13))),
        (true, 0x11, 0x11, Ok(Some(0x11))),
    ] {
        let mut rig = three();
        let before = if registered { vec![0x11] } else { vec![] };
        if registered {
            rig.reserve_out(ONE, REGISTER, 0, 0, 0x11).gone_well();
        }
        let run = rig.reserve_out(ONE, REGISTER, 0, key, action_key);
        let expected = match comes_to {
            Ok(now) => {
                run.gone_well();
                assert_eq!(run.done.transfer_bytes, 24);
                now.into_iter().collect()
            }
            Err(()) => {
                run.conflict();
                before
            }
        };
        assert_eq!(
            rig.keys().1,
            expected,
            "{registered} {key:x} {action_key:x}"
        );
    }
}

#[test]
fn register_and_ignore_takes_any_key_of_the_nexus() {
    let mut rig = three();
    for (key, action_key, keys) in [
        (0xdead, 0, vec![]),
        (0xdead, 0x11, vec![0x11]),
        (0xbeef, 0x12, vec![0x12]),
        (0, 0, vec![]),
    ] {
        rig.reserve_out(ONE, REGISTER_AND_IGNORE, 0, key, action_key)
            .gone_well();
        assert_eq!(rig.keys().1, keys);
    }
}

#[test]
fn generation_grows_with_what_changes_registrations_and_with_nothing_else() {
    let mut rig = three();
    assert_eq!(rig.keys().0, 0);
    rig.reserve_out(ONE, REGISTER, 0, 0, 0).gone_well();
    assert_eq!(rig.keys().0, 0, "nothing was done");
    rig.reserve_out(ONE, REGISTER, 0, 0, 0x11).gone_well();
    rig.reserve_out(TWO, REGISTER_AND_IGNORE, 0, 9, 0x22)
        .gone_well();
    assert_eq!(rig.keys().0, 2);
    rig.reserve_out(ONE, RESERVE, WE, 0x11, 0).gone_well();
    rig.reserve_out(ONE, RELEASE, WE, 0x11, 0).gone_well();
    rig.reserve_out(ONE, RESERVE, WE, 0x12, 0).conflict();
    rig.reserve_out(ONE, REGISTER, 0, 0x12, 0).conflict();
    assert_eq!(rig.keys().0, 2);
    rig.reserve_out(ONE, PREEMPT, WE, 0x11, 0x22).gone_well();
    rig.reserve_out(ONE, CLEAR, 0, 0x11, 0).gone_well();
    assert_eq!(rig.keys(), (4, vec![]));
}

#[test]
fn register_of_others_registers_them_or_nobody() {
    let mut rig = three();
    let run = rig.reserve_out_list(ONE, REGISTER, 0, &spec_i_pt(&[host(2), host(9)]));
    run.gone_well();
    assert_eq!(rig.keys().1, [0xaa; 3]);
    rig.reserve_out(TWO, RESERVE, WE, 0xaa, 0).gone_well();
    // A nexus of the list that is registered, and a nexus of the command that is.
    let run = rig.reserve_out_list(THREE, REGISTER, 0, &spec_i_pt(&[host(7), host(2)]));
    run.check(Sense::parameter_byte(28));
    let registered = with_initiators(list(0xaa, 0xbb, SPEC_I_PT), &[host(7)]);
    let run = rig.reserve_out_list(ONE, REGISTER, 0, &registered);
    run.check(Sense::parameter_bit(20, 3));
    assert_eq!(rig.keys(), (1, vec![0xaa; 3]));
    // With no key to register, nothing is done.
    let nothing = with_initiators(list(0, 0, SPEC_I_PT), &[host(2)]);
    rig.reserve_out_list(THREE, REGISTER, 0, &nothing)
        .gone_well();
    assert_eq!(rig.keys(), (1, vec![0xaa; 3]));
}

#[test]
fn list_of_others_that_is_not_whole_is_refused() {
    let mut rig = three();
    let whole = spec_i_pt(&[host(2), host(9)]);
    let error = Sense::PARAMETER_LIST_LENGTH_ERROR;
    let mut longer = whole.clone();
    longer[27] += 4;
    let cut = &whole[..whole.len() - 4];
    for wrong in [&longer[..], cut, &whole[..26], &whole[..24]] {
        rig.reserve_out_list(ONE, REGISTER, 0, wrong).check(error);
    }
    let mut fibre_channel = whole.clone();
    fibre_channel[28] = 0;
    let run = rig.reserve_out_list(ONE, REGISTER, 0, &fibre_channel);
    run.check(Sense::parameter_bit(28, 3));
    // The second is cut off by what the list says of itself.
    let mut short = whole[..whole.len() - 8].to_vec();
    short[27] -= 8;
    let second = 28 + host(2).as_bytes().len() as u16;
    let run = rig.reserve_out_list(ONE, REGISTER, 0, &short);
    run.check(Sense::parameter_byte(second + 2));
    assert_eq!(rig.keys(), (0, vec![]));
    rig.reserve_out_list(ONE, REGISTER, 0, &spec_i_pt(&[]))
        .gone_well();
    assert_eq!(rig.keys(), (1, vec![0xaa]));
}

#[test]
fn register_at_all_target_ports_is_as_if_it_came_through_each() {
    let mut rig = three();
    let every = list(0, 0x11, ALL_TG_PT);
    rig.reserve_out_list(ONE, REGISTER, 0, &every).gone_well();
    assert_eq!(rig.keys().1, [0x11, 0x11]);
    // The same initiator port through the other target port is registered.
    let other = NexusId(40);
    let name = NexusName {
        target_port: 1,
        ..name_of(ONE)
    };
    rig.shard.attach_nexus(other, &name, &[]);
    rig.reserve_out(other, RESERVE, WE, 0x11, 0).gone_well();
    // That port's key changes; then the ports have different keys, and each request finds its own.
    rig.reserve_out(other, REGISTER, 0, 0x11, 0x12).gone_well();
    let change = list(0x11, 0x13, ALL_TG_PT);
    rig.reserve_out_list(ONE, REGISTER, 0, &change).gone_well();
    assert_eq!(rig.keys().1, [0x12, 0x13]);
    let end = list(0, 0, ALL_TG_PT);
    rig.reserve_out_list(ONE, REGISTER_AND_IGNORE, 0, &end)
        .gone_well();
    assert_eq!((rig.keys().1, rig.reservation()), (vec![], None));
}

#[test]
fn registration_survives_the_nexus_and_a_reset() {
    let mut rig = held(WE);
    rig.shard.detach_nexus(ONE, scsi::lu::TaskKey(999));
    rig.settle();
    rig.act(scsi::lu::HomeAction::LogicalUnitReset);
    let again = NexusId(70);
    rig.shard.attach_nexus(again, &name_of(ONE), &[]);
    rig.all_told();
    let write = crate::rig::cdb10(0x2a, 0, 0, 1);
    rig.run_as(again, &write, Data::Out(&[0; 512])).gone_well();
    rig.run_as(TWO, &write, Data::Out(&[0; 512])).conflict();
    rig.reserve_out(again, RELEASE, WE, 0x11, 0).gone_well();
    rig.run_as(TWO, &write, Data::Out(&[0; 512])).gone_well();
}

#[test]
fn registration_beyond_the_most_there_can_be_is_refused_and_nothing_changes() {
    let mut rig = three();
    let many: Vec<TransportId> = (100..100 + MAX_REGISTRATIONS as u64 - 1)
        .map(host)
        .collect();
    rig.reserve_out_list(ONE, REGISTER, 0, &spec_i_pt(&many))
        .gone_well();
    assert_eq!(
        rig.shard.snapshot().persistent.registrants(),
        MAX_REGISTRATIONS
    );
    let full = Sense::INSUFFICIENT_REGISTRATION_RESOURCES;
    rig.reserve_out(TWO, REGISTER, 0, 0, 0x22).check(full);
    rig.reserve_out(TWO, REGISTER_AND_IGNORE, 0, 0, 0x22)
        .check(full);
    assert_eq!(
        rig.shard.snapshot().persistent.registrants(),
        MAX_REGISTRATIONS
    );
    // Room again.
    rig.reserve_out(ONE, REGISTER, 0, 0xaa, 0).gone_well();
    rig.reserve_out(TWO, REGISTER, 0, 0, 0x22).gone_well();
    // All of them go at once, or none of a list that is one too long.
    rig.reserve_out(TWO, PREEMPT, 0, 0x22, 0xaa).gone_well();
    assert_eq!(rig.keys().1, [0x22]);
    let two_many: Vec<TransportId> = (100..100 + MAX_REGISTRATIONS as u64 - 1)
        .map(host)
        .collect();
    rig.reserve_out_list(ONE, REGISTER, 0, &spec_i_pt(&two_many))
        .check(full);
    assert_eq!(rig.keys().1, [0x22]);
}

#[test]
fn parameter_list_of_another_length_or_with_reserved_bits_is_refused() {
    let mut rig = three();
    let error = Sense::PARAMETER_LIST_LENGTH_ERROR;
    let good = list(0, 0x11, 0);
    for length in [0, 8, 23] {
        let run = rig.reserve_out_list(ONE, REGISTER, 0, &good[..length]);
        run.refused(error.pointing(true, 5, None));
    }
    let longer = [&good[..], &[0; 4]].concat();
    rig.reserve_out_list(ONE, REGISTER, 0, &longer).check(error);
    // Less is sent than the CDB says.
    let run = rig.run(&cdb_out(REGISTER, 0, 24), Data::Out(&good[..16]));
    run.refused(error.pointing(true, 5, None));
    for (byte, bit) in [(20, 1), (20, 4), (20, 7), (21, 0), (21, 7)] {
        let mut wrong = good.clone();
        wrong[byte] |= 1 << bit;
        let run = rig.reserve_out_list(ONE, REGISTER, 0, &wrong);
        run.check(Sense::parameter_bit(byte as u16, bit));
    }
    for action in [
        RESERVE,
        RELEASE,
        CLEAR,
        PREEMPT,
        REGISTER_AND_IGNORE,
        REPLACE_LOST,
    ] {
        let run = rig.reserve_out_list(ONE, action, WE, &list(0, 0x11, SPEC_I_PT));
        run.check(Sense::parameter_bit(20, 3));
    }
    // Without a place to save to, nothing outlasts a loss of power.
    for action in [REGISTER, REGISTER_AND_IGNORE] {
        let run = rig.reserve_out_list(ONE, action, 0, &list(0, 0x11, APTPL));
        run.check(Sense::parameter_bit(20, 0));
    }
    assert_eq!(rig.keys(), (0, vec![]));
    // Obsolete bytes, and SCOPE and TYPE where they mean nothing, are not looked at.
    let mut obsolete = good;
    obsolete[16..20].fill(0xff);
    obsolete[22..].fill(0xff);
    rig.reserve_out_list(ONE, REGISTER, 0xff, &obsolete)
        .gone_well();
}

#[test]
fn command_before_registering_is_a_conflict() {
    let mut rig = three();
    for action in [RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT] {
        rig.reserve_out(ONE, action, WE, 0, 0).conflict();
        rig.reserve_out(ONE, action, WE, 0, 0x11).conflict();
    }
    let mut rig = registered();
    for action in [RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT] {
        rig.reserve_out(ONE, action, WE, 0x22, 0x22).conflict();
    }
    assert_eq!(rig.keys().1, [0x11, 0x22, 0x33]);
}
