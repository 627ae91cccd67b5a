//! PERSISTENT RESERVE IN.

use scsi::Sense;

use super::*;

#[test]
fn reports_of_an_lu_that_nobody_uses_are_empty() {
    let mut rig = three();
    for action in [0, 1, 3] {
        assert_eq!(rig.reserve_in(action), [0; 8]);
    }
}

#[test]
fn capabilities_are_all_there_are_but_for_what_needs_a_place_to_save_to() {
    let mut rig = three();
    let expected = [0, 8, 0b1001_1100, 0b1011_0000, 0b1110_1010, 0x01, 0, 0];
    assert_eq!(rig.reserve_in(2), expected);
}

#[test]
fn reservation_is_reported_with_key_scope_and_type() {
    let mut rig = held(EA_RO);
    let mut expected = vec![0, 0, 0, 3, 0, 0, 0, 16];
    expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x11]);
    expected.extend_from_slice(&[0, 0, 0, 0, 0, EA_RO, 0, 0]);
    assert_eq!(rig.reserve_in(1), expected);
}

#[test]
fn full_status_names_each_nexus_and_who_holds() {
    for (kind, holders) in [(EA, vec![0x11]), (WE_AR, vec![0x11, 0x22, 0x33])] {
        let mut rig = held(kind);
        let data = rig.reserve_in(3);
        assert_eq!(
            (be32(&data), be32(&data[4..]) as usize),
            (3, data.len() - 8)
        );
        let mut left = &data[8..];
        let mut seen = Vec::new();
        while !left.is_empty() {
            let (head, rest) = left.split_at(24);
            let (id, rest) = rest.split_at(be32(&head[20..]) as usize);
            left = rest;
            let key = be64(head);
            let nexus = NexusId(key & 0xf);
            assert_eq!(id, name_of(nexus).initiator.as_bytes());
            assert_eq!(head[18..20], [0, 2]);
            let holds = holders.contains(&key);
            assert_eq!(
                head[12..14],
                [u8::from(holds), if holds { kind } else { 0 }]
            );
            assert_eq!((&head[8..12], &head[14..18]), (&[0; 4][..], &[0; 4][..]));
            seen.push(key);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0x11, 0x22, 0x33]);
    }
}

#[test]
fn report_is_cut_at_the_allocation_length_and_counts_all() {
    let mut rig = registered();
    for action in 0..4 {
        let whole = rig.reserve_in(action);
        for length in [0, 3, 8, 12, whole.len() as u16, 255] {
            let run = rig.run(&cdb_in(action, length), Data::In(255));
            run.gone_well();
            let kept = whole.len().min(usize::from(length)).min(255);
            assert_eq!(run.data_in, whole[..kept], "{action} {length}");
        }
    }
}

#[test]
fn other_service_actions_and_reserved_bits_are_refused() {
    let mut rig = three();
    for action in 4..0x20 {
        let run = rig.run(&cdb_in(action, 64), Data::In(64));
        run.refused(Sense::cdb_bit(1, 4));
    }
    for action in 9..0x20 {
        let run = rig.run(&cdb_out(action, 0, 24), Data::Out(&[0; 24]));
        run.refused(Sense::cdb_bit(1, 4));
    }
    let mut reserved = cdb_in(0, 64);
    reserved[4] = 1;
    rig.run(&reserved, Data::In(64))
        .refused(Sense::cdb_bit(4, 0));
}

#[test]
fn report_under_every_reservation_is_allowed_to_everybody() {
    for kind in [WE, EA, WE_RO, EA_RO, WE_AR, EA_AR] {
        let mut rig = held(kind);
        for action in 0..4 {
            for nexus in [ONE, TWO, OBSERVER] {
                rig.run_as(nexus, &cdb_in(action, 64), Data::In(64))
                    .gone_well();
            }
        }
    }
}
