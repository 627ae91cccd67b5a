//! INQUIRY, capacities, and the REPORT commands, byte for byte.

use scsi::{Sense, Status};

use crate::rig::{Data, Rig, caps};

fn inquiry(rig: &mut Rig, page: u8) -> Vec<u8> {
    let run = rig.run(&[0x12, 1, page, 4, 0, 0], Data::In(1024));
    run.good(&[]);
    run.data_in
}

#[test]
fn standard_inquiry_is_golden() {
    let run = Rig::new().run(&[0x12, 0, 0, 4, 0, 0], Data::In(1024));
    run.good(&[]);
    let mut wanted = vec![0; 96];
    wanted[..8].copy_from_slice(&[0x00, 0x00, 0x06, 0x22, 91, 0x18, 0x10, 0x02]);
    wanted[8..36].copy_from_slice(b"QUINTAINFILE            0.1 ");
    wanted[58..66].copy_from_slice(&[0x00, 0xa0, 0x04, 0x60, 0x04, 0xc0, 0x09, 0x62]);
    assert_eq!(run.data_in, wanted);
}

#[test]
fn inquiry_is_cut_at_its_sixteen_bit_allocation_length() {
    let mut rig = Rig::new();
    for (length, kept) in [(0u16, 0), (5, 5), (36, 36), (255, 96), (511, 96), (512, 96)] {
        let [high, low] = length.to_be_bytes();
        let run = rig.run(&[0x12, 0, 0, high, low, 0], Data::In(length.into()));
        run.good(&[]);
        assert_eq!(run.data_in.len(), kept);
        assert_eq!(run.done.transfer_bytes, kept as u64);
    }
}

#[test]
fn inquiry_of_a_page_without_evpd_or_of_an_unknown_page_is_invalid_field() {
    let mut rig = Rig::new();
    rig.run(&[0x12, 0, 1, 0, 255, 0], Data::In(255))
        .refused(Sense::cdb_byte(2));
    for page in [0x01, 0x82, 0x84, 0xb3, 0xff] {
        rig.run(&[0x12, 1, page, 0, 255, 0], Data::In(255))
            .refused(Sense::cdb_byte(2));
    }
    rig.run(&[0x12, 2, 0, 0, 255, 0], Data::In(255))
        .refused(Sense::cdb_bit(1, 1));
}

#[test]
fn vpd_pages_that_are_listed_are_there() {
    let mut rig = Rig::new();
    let list = inquiry(&mut rig, 0x00);
    let pages = [0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8f, 0xb0, 0xb1, 0xb2];
    assert_eq!(list, [&[0, 0, 0, 10][..], &pages].concat());
    for page in &list[4..] {
        let bytes = inquiry(&mut rig, *page);
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        assert_eq!((bytes[0], bytes[1], bytes.len()), (0, *page, length + 4));
    }
}

#[test]
fn vpd_80_is_the_serial_number() {
    let bytes = inquiry(&mut Rig::new(), 0x80);
    assert_eq!(bytes, [&[0, 0x80, 0, 16][..], b"1f7c1946f2074ae5"].concat());
}

#[test]
fn vpd_83_is_golden() {
    let bytes = inquiry(&mut Rig::new(), 0x83);
    let naa = [
        0x60, 0x01, 0x40, 0x51, 0xf7, 0xc1, 0x94, 0x6f, 0x20, 0x74, 0xae, 0x59, 0x79, 1, 2, 3,
    ];
    let wanted = [
        &[0, 0x83, 0, 144][..],
        &[0x01, 0x03, 0, 16],
        &naa,
        &[0x02, 0x01, 0, 40],
        b"QUINTAINFILE            1f7c1946f2074ae5",
        // The target port of this nexus.
        &[0x51, 0x94, 0, 4, 0, 0, 0, 2],
        &[0x51, 0x95, 0, 4, 0, 0, 0, 7],
        &[0x53, 0x98, 0, 32],
        b"iqn.2024-01.example:a,t,0x0002\0\0",
        &[0x53, 0xa8, 0, 24],
        b"iqn.2024-01.example:a\0\0\0",
    ]
    .concat();
    assert_eq!(bytes, wanted);
}

#[test]
fn vpd_83_of_a_short_naa_or_unknown_port_leaves_out_what_is_not() {
    let mut snapshot = crate::rig::snapshot(caps(512, 64));
    let mut identity = (*snapshot.identity).clone();
    identity.naa[0] = 0x30;
    snapshot.identity = identity.into();
    snapshot.target_ports = [].into();
    let bytes = inquiry(&mut Rig::with_snapshot(snapshot), 0x83);
    assert_eq!(bytes[4..9], [0x01, 0x03, 0, 8, 0x30]);
    assert_eq!(bytes.len(), 4 + 12 + 4 + 40);
}

#[test]
fn vpd_83_of_names_at_their_longest_stays_within_bounds() {
    let mut snapshot = crate::rig::snapshot(caps(512, 64));
    let mut identity = (*snapshot.identity).clone();
    identity.serial = "s".repeat(1000);
    snapshot.identity = identity.into();
    let mut port = snapshot.target_ports[1].clone();
    port.name = "n".repeat(300).into();
    snapshot.target_ports = [port].into();
    let mut rig = Rig::with_snapshot(snapshot);
    let bytes = inquiry(&mut rig, 0x83);
    let mut at = 4;
    while at < bytes.len() {
        at += 4 + usize::from(bytes[at + 3]);
    }
    assert_eq!(at, bytes.len());
    assert_eq!(inquiry(&mut rig, 0x80).len(), 4 + 200);
}

#[test]
fn vpd_86_is_golden() {
    let bytes = inquiry(&mut Rig::new(), 0x86);
    let mut wanted = vec![0; 64];
    wanted[..6].copy_from_slice(&[0, 0x86, 0, 60, 0, 7]);
    assert_eq!(bytes, wanted);
}

#[test]
fn vpd_87_says_that_all_mode_pages_are_shared() {
    let bytes = inquiry(&mut Rig::new(), 0x87);
    assert_eq!(bytes, [0, 0x87, 0, 4, 0x3f, 0xff, 0, 0]);
}

#[test]
fn vpd_88_names_each_port() {
    let bytes = inquiry(&mut Rig::new(), 0x88);
    let port = |id: u8, name: &[u8]| {
        let head = [0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0, 36, 0x53, 0x98, 0, 32];
        [&head[..], name].concat()
    };
    let wanted = [
        &[0, 0x88, 0, 96][..],
        &port(1, b"iqn.2024-01.example:a,t,0x0001\0\0"),
        &port(2, b"iqn.2024-01.example:a,t,0x0002\0\0"),
    ];
    assert_eq!(bytes, wanted.concat());
}

#[test]
fn vpd_88_of_very_many_ports_stays_within_its_length() {
    let mut snapshot = crate::rig::snapshot(caps(512, 64));
    let mut port = snapshot.target_ports[0].clone();
    port.name = "n".repeat(300).into();
    snapshot.target_ports = (1..1000)
        .map(|relative_id| scsi::TargetPort {
            relative_id,
            ..port.clone()
        })
        .collect();
    let run = Rig::with_snapshot(snapshot).run(&[0x12, 1, 0x88, 0xff, 0xff, 0], Data::In(1 << 20));
    let length = usize::from(u16::from_be_bytes([run.data_in[2], run.data_in[3]]));
    assert!(length > 60_000);
    assert_eq!(run.data_in.len(), length + 4);
}

#[test]
fn vpd_b0_is_golden() {
    let mut wanted = vec![0; 64];
    wanted[..16].copy_from_slice(&[0, 0xb0, 0, 60, 1, 255, 0, 8, 0, 1, 0, 0, 0, 0, 8, 0]);
    wanted[20..33].copy_from_slice(&[0, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0x80]);
    wanted[36..44].copy_from_slice(&[0, 0, 0, 0, 0, 1, 0, 0]);
    let mut caps = caps(512, 64);
    caps.optimal_granularity_blocks = 8;
    caps.unmap_granularity_blocks = 8;
    assert_eq!(inquiry(&mut Rig::with(caps), 0xb0), wanted);
    // A thick store tells no UNMAP limits; a wish beyond the limit is not told.
    caps.unmap = false;
    caps.optimal_blocks = 1 << 30;
    wanted[12..16].copy_from_slice(&[0, 1, 0, 0]);
    wanted[20..33].fill(0);
    assert_eq!(inquiry(&mut Rig::with(caps), 0xb0), wanted);
}

#[test]
fn vpd_b1_and_b2_follow_the_store() {
    let mut caps = caps(512, 64);
    assert_eq!(
        inquiry(&mut Rig::with(caps), 0xb1)[..6],
        [0, 0xb1, 0, 60, 0, 1]
    );
    assert_eq!(
        inquiry(&mut Rig::with(caps), 0xb2),
        [0, 0xb2, 0, 4, 11, 0xe4, 2, 0]
    );
    caps.unmap_zeroes = false;
    caps.rotational = true;
    assert_eq!(
        inquiry(&mut Rig::with(caps), 0xb1)[..6],
        [0, 0xb1, 0, 60, 0, 0]
    );
    assert_eq!(
        inquiry(&mut Rig::with(caps), 0xb2),
        [0, 0xb2, 0, 4, 11, 0xe0, 2, 0]
    );
    caps.unmap = false;
    assert_eq!(
        inquiry(&mut Rig::with(caps), 0xb2),
        [0, 0xb2, 0, 4, 0, 0, 0, 0]
    );
}

#[test]
fn read_capacity_tells_size_and_provisioning() {
    let mut caps = caps(4096, 64);
    caps.physical_block_exponent = 3;
    let mut rig = Rig::with(caps);
    let run = rig.run(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(8));
    assert_eq!(run.data_in, [0, 0, 0, 63, 0, 0, 0x10, 0]);
    let cdb = |length| [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, length, 0, 0];
    let run = rig.run(&cdb(32), Data::In(32));
    let mut wanted = vec![0; 32];
    wanted[7] = 63;
    wanted[10] = 0x10;
    wanted[13] = 3;
    wanted[14] = 0xc0;
    assert_eq!(run.data_in, wanted);
    for length in 0..32 {
        let run = rig.run(&cdb(length), Data::In(length.into()));
        run.good(&[]);
        assert_eq!(run.data_in, wanted[..usize::from(length)]);
    }
    caps.unmap_zeroes = false;
    assert_eq!(
        Rig::with(caps).run(&cdb(32), Data::In(32)).data_in[14],
        0x80
    );
    caps.unmap = false;
    assert_eq!(Rig::with(caps).run(&cdb(32), Data::In(32)).data_in[14], 0);
}

#[test]
fn read_capacity10_of_a_large_lu_refers_to_read_capacity16() {
    let mut rig = Rig::with(caps(512, (1 << 32) + 1));
    let cdb = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(rig.run(&cdb, Data::In(8)).data_in[..4], [0xff; 4]);
    let mut with_lba = cdb;
    with_lba[5] = 1;
    rig.run(&with_lba, Data::In(8))
        .refused(Sense::cdb_bit(5, 0));
    let mut with_pmi = cdb;
    with_pmi[8] = 1;
    rig.run(&with_pmi, Data::In(8))
        .refused(Sense::cdb_bit(8, 0));
}

#[test]
fn report_luns_tells_both_methods_and_selects() {
    let mut rig = Rig::new();
    let cdb = |select, length: u8| [0xa0, 0, select, 0, 0, 0, 0, 0, 0, length, 0, 0];
    for select in [0, 2] {
        let run = rig.run(&cdb(select, 255), Data::In(255));
        run.good(&[]);
        let mut wanted = vec![0; 32];
        wanted[3] = 24;
        wanted[17] = 5;
        wanted[24..26].copy_from_slice(&[0x41, 0x2c]);
        assert_eq!(run.data_in, wanted);
    }
    assert_eq!(rig.run(&cdb(1, 255), Data::In(255)).data_in, [0; 8]);
    rig.run(&cdb(0x10, 255), Data::In(255))
        .refused(Sense::cdb_byte(2));
    let run = rig.run(&cdb(0, 16), Data::In(16));
    assert_eq!(
        (run.data_in.len(), run.data_in[3], run.done.transfer_bytes),
        (16, 24, 16)
    );
}

#[test]
fn report_luns_of_all_luns_is_cut_at_what_the_initiator_takes() {
    let mut rig = Rig::new();
    rig.luns.numbers = (0..=scsi::MAX_LUN).collect();
    let run = rig.run(
        &[0xa0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
        Data::In(4096),
    );
    assert_eq!(run.data_in.len(), 4096);
    assert_eq!(run.done.transfer_bytes, 8 + 16_384 * 8);
    assert_eq!(run.data_in[..4], (16_384u32 * 8).to_be_bytes());
}

#[test]
fn report_target_port_groups_has_both_headers() {
    let mut rig = Rig::new();
    let cdb = |format: u8, length| [0xa3, format << 5 | 0x0a, 0, 0, 0, 0, 0, 0, 0, length, 0, 0];
    let group = [0, 1, 0, 7, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    let run = rig.run(&cdb(0, 255), Data::In(255));
    run.good(&[]);
    assert_eq!(run.data_in, [&[0, 0, 0, 16][..], &group].concat());
    let run = rig.run(&cdb(1, 255), Data::In(255));
    assert_eq!(
        run.data_in,
        [&[0, 0, 0, 20, 0x10, 0, 0, 0][..], &group].concat()
    );
    rig.run(&cdb(2, 255), Data::In(255))
        .refused(Sense::cdb_bit(1, 7));
    let run = rig.run(&cdb(0, 4), Data::In(4));
    assert_eq!(run.data_in, [0, 0, 0, 16]);
}

#[test]
fn report_target_port_groups_of_several_groups_is_ascending() {
    let mut snapshot = crate::rig::snapshot(caps(512, 64));
    let mut ports = snapshot.target_ports.to_vec();
    ports[0].group_id = 9;
    snapshot.target_ports = ports.into();
    let mut rig = Rig::with_snapshot(snapshot);
    let run = rig.run(&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0], Data::In(255));
    let wanted = [
        [0, 0, 0, 24],
        [0, 1, 0, 7],
        [0, 0, 0, 1],
        [0, 0, 0, 2],
        [0, 1, 0, 9],
        [0, 0, 0, 1],
        [0, 0, 0, 1],
    ];
    assert_eq!(run.data_in, wanted.concat());
}

#[test]
fn report_task_management_functions_has_both_forms() {
    let mut rig = Rig::new();
    let run = rig.run(&[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0], Data::In(255));
    assert_eq!(run.data_in, [0xfc, 7, 0, 0]);
    let run = rig.run(
        &[0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 255, 0, 0],
        Data::In(255),
    );
    assert_eq!(run.data_in.len(), 16);
    assert_eq!(run.data_in[..4], [0xfc, 7, 0, 12]);
}

fn operation_codes(options: u8, opcode: u8, action: u16) -> [u8; 12] {
    let [high, low] = action.to_be_bytes();
    [0xa3, 0x0c, options, opcode, high, low, 0, 0, 0x10, 0, 0, 0]
}

/// (operation code, service action, SERVACTV, CDB length) of all commands.
fn all_operation_codes(rig: &mut Rig) -> Vec<(u8, u16, bool, u8)> {
    let run = rig.run(&operation_codes(0, 0, 0), Data::In(4096));
    run.good(&[]);
    let length = u32::from_be_bytes(run.data_in[..4].try_into().unwrap());
    assert_eq!(run.data_in.len(), 4 + length as usize);
    let descriptors = run.data_in[4..].chunks_exact(8);
    assert!(descriptors.remainder().is_empty());
    descriptors
        .map(|one| {
            assert_eq!(one[5] & 0x02, 0);
            (
                one[0],
                u16::from_be_bytes([one[2], one[3]]),
                one[5] & 1 != 0,
                one[7],
            )
        })
        .collect()
}

#[test]
fn report_operation_codes_of_all_and_of_each_agree() {
    let mut rig = Rig::new();
    let all = all_operation_codes(&mut rig);
    assert!(all.len() > 40);
    for (opcode, action, has_actions, cdb_bytes) in all {
        let (right, wrong) = if has_actions { (2, 1) } else { (1, 2) };
        let run = rig.run(&operation_codes(wrong, opcode, action), Data::In(4096));
        run.refused(Sense::cdb_bit(2, 2));
        for options in [right, 3] {
            let run = rig.run(&operation_codes(options, opcode, action), Data::In(4096));
            run.good(&[]);
            assert_eq!(run.data_in[..4], [0, 3, 0, cdb_bytes], "{opcode:02x}");
            assert_eq!(run.data_in[4], opcode);
            assert_eq!(run.data_in.len(), 4 + usize::from(cdb_bytes));
        }
        let run = rig.run(
            &operation_codes(0x80 | right, opcode, action),
            Data::In(4096),
        );
        assert_eq!(run.data_in[1], 0x83);
        let timeouts = &run.data_in[4 + usize::from(cdb_bytes)..];
        assert_eq!((timeouts.len(), &timeouts[..2]), (12, &[0, 10][..]));
    }
}

#[test]
fn report_operation_codes_with_timeouts_has_them_for_all() {
    let run = Rig::new().run(&operation_codes(0x80, 0, 0), Data::In(4096));
    let descriptors = run.data_in[4..].chunks_exact(20);
    assert!(descriptors.remainder().is_empty());
    for one in descriptors {
        assert_eq!(one[5] & 0x02, 0x02);
        assert_eq!(one[8..10], [0, 10]);
    }
}

#[test]
fn report_operation_codes_of_one_command_is_golden() {
    let mut rig = Rig::new();
    let run = rig.run(&operation_codes(1, 0x28, 0), Data::In(4096));
    let usage = [0x28, 0x1a, 0xff, 0xff, 0xff, 0xff, 0x3f, 0xff, 0xff, 0x04];
    assert_eq!(run.data_in, [&[0, 3, 0, 10][..], &usage].concat());
    let run = rig.run(&operation_codes(2, 0x9e, 0x10), Data::In(4096));
    assert_eq!(run.data_in[4..6], [0x9e, 0x10]);
}

#[test]
fn report_operation_codes_of_what_is_not_there_is_not_supported() {
    let mut rig = Rig::new();
    let absent = [
        (1, 0x6f, 0),
        (2, 0x6f, 0),
        (3, 0x6f, 0),
        (2, 0x9e, 0x13),
        (3, 0x9e, 0),
        (3, 0x28, 1),
    ];
    for (options, opcode, action) in absent {
        let run = rig.run(&operation_codes(options, opcode, action), Data::In(4096));
        run.good(&[]);
        assert_eq!(run.data_in, [0, 1, 0, 0], "{options} {opcode:02x}");
    }
    for options in 4..8 {
        let run = rig.run(&operation_codes(options, 0x28, 0), Data::In(4096));
        run.refused(Sense::cdb_bit(2, 2));
    }
    let mut thick = caps(512, 64);
    thick.unmap = false;
    let run = Rig::with(thick).run(&operation_codes(1, 0x42, 0), Data::In(4096));
    assert_eq!((run.done.status, run.data_in[1]), (Status::Good, 1));
}
