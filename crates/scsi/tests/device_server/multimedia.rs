//! The CD and DVD drive: what its disc is, what it tells of it, and whose its tray is.

use proptest::prelude::*;
use scsi::lu::HomeAction;
use scsi::{DeviceType, LuSnapshot, MULTIMEDIA_BLOCK_BYTES, Sense, Status, TrayAction, reference};

use crate::rig::{Data, ONE, Rig, TWO, caps, cdb10, cdb12, snapshot};

const DVD_BLOCKS: u64 = 400_000;

const TEST_UNIT_READY: [u8; 6] = [0; 6];
const EJECT: [u8; 6] = [0x1b, 0, 0, 0, 0x02, 0];
const LOAD: [u8; 6] = [0x1b, 0, 0, 0, 0x03, 0];
const PREVENT: [u8; 6] = [0x1e, 0, 0, 0, 1, 0];
const ALLOW: [u8; 6] = [0x1e, 0, 0, 0, 0, 0];

/// GET EVENT STATUS NOTIFICATION of the media class.
const MEDIA_EVENT: [u8; 10] = [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0];

fn drive(blocks: u64) -> LuSnapshot {
    let mut caps = caps(MULTIMEDIA_BLOCK_BYTES, blocks);
    (caps.read_only, caps.unmap, caps.write_cache) = (true, false, false);
    let mut lu = snapshot(caps);
    lu.device = DeviceType::Multimedia;
    lu.third_party_copy = false;
    lu
}

/// A CD of 300 blocks.
fn cd() -> Rig {
    let mut rig = Rig::with_snapshot(drive(300));
    for (number, block) in rig.store.chunks_mut(2048).enumerate() {
        block.fill(number as u8);
    }
    rig
}

fn told(rig: &mut Rig, cdb: &[u8]) -> Vec<u8> {
    let run = rig.run(cdb, Data::In(4096));
    run.good(&[]);
    run.data_in
}

#[test]
fn inquiry_of_a_drive_is_of_its_type_removable_and_claims_its_standards() {
    let data = told(&mut cd(), &[0x12, 0, 0, 0, 96, 0]);
    assert_eq!(data[..2], [0x05, 0x80]);
    // No target port groups, no third-party copies.
    assert_eq!(data[5], 0);
    assert_eq!(data[58..64], [0x00, 0xa0, 0x04, 0x60, 0x04, 0xe0]);
    let pages = told(&mut cd(), &[0x12, 1, 0, 0, 96, 0]);
    assert_eq!(pages, [0x05, 0, 0, 5, 0x00, 0x80, 0x83, 0x86, 0x88]);
    cd().run(&[0x12, 1, 0xb0, 0, 96, 0], Data::In(96))
        .check(Sense::cdb_byte(2));
}

#[test]
fn blocks_are_read_by_each_read_command() {
    let wanted = [[7; 2048], [8; 2048]].concat();
    let msf = [0xb9, 0, 0, 0, 2, 7, 0, 2, 9, 0x10, 0, 0];
    let read_cd = [0xbe, 0x08, 0, 0, 0, 7, 0, 0, 2, 0x10, 0, 0];
    for cdb in [
        &cdb10(0x28, 0, 7, 2)[..],
        &cdb12(0xa8, 0, 7, 2),
        &read_cd,
        &msf,
    ] {
        let run = cd().run(cdb, Data::In(4096));
        assert_eq!(run.done.status, Status::Good, "{cdb:02x?}");
        assert_eq!(run.data_in, wanted, "{cdb:02x?}");
    }
    assert_eq!(
        told(&mut cd(), &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        [0, 0, 1, 43, 0, 0, 8, 0]
    );
}

#[test]
fn read_cd_of_what_is_not_there_is_refused() {
    let cdb = |kind: u8, parts: u8, channel: u8, lba: u8, blocks: u8| {
        [0xbe, kind, 0, 0, 1, lba, 0, 0, blocks, parts, channel, 0]
    };
    let out_of_range = Sense::LBA_OUT_OF_RANGE.pointing(true, 2, None);
    for (cdb, sense) in [
        (cdb(0x04, 0x10, 0, 0, 1), Sense::ILLEGAL_MODE_FOR_TRACK),
        (cdb(0, 0xf8, 0, 0, 1), Sense::cdb_byte(9)),
        (cdb(0, 0x10, 1, 0, 1), Sense::cdb_bit(10, 2)),
        (cdb(0, 0x10, 0, 40, 5), out_of_range),
    ] {
        cd().run(&cdb, Data::In(4096)).check(sense);
    }
    cd().run(&cdb(0, 0, 0, 0, 1), Data::In(4096)).good(&[]);
    let backwards = [0xb9, 0, 0, 0, 2, 9, 0, 2, 7, 0x10, 0, 0];
    cd().run(&backwards, Data::In(4096))
        .check(Sense::cdb_byte(6));
}

#[test]
fn writes_and_commands_of_a_disk_are_not_there() {
    for opcode in [
        0x0a, 0x2a, 0x35, 0x41, 0x42, 0x5e, 0x5f, 0x88, 0x9e, 0xa3, 0xaa,
    ] {
        cd().run(&[opcode; 1], Data::None)
            .check(Sense::INVALID_COMMAND_OPERATION_CODE);
    }
}

#[test]
fn table_of_contents_in_each_format_has_one_track_and_the_lead_out() {
    let toc = |flags: u8, format: u8, track: u8, old: u8| {
        [0x43, flags, format, 0, 0, 0, track, 0, 64, old]
    };
    // 300 blocks are four seconds, after the two of the lead-in.
    let track = [0, 0x14, 1, 0, 0, 0, 0, 0];
    let lead_out = [0, 0x14, 0xaa, 0, 0, 0, 1, 44];
    let mut rig = cd();
    let both = [&[0, 18, 1, 1][..], &track, &lead_out].concat();
    assert_eq!(told(&mut rig, &toc(0, 0, 0, 0)), both);
    assert_eq!(told(&mut rig, &toc(0, 0, 1, 0)), both);
    let last = [&[0, 10, 1, 1][..], &lead_out].concat();
    assert_eq!(told(&mut rig, &toc(0, 0, 0xaa, 0)), last);
    assert_eq!(told(&mut rig, &toc(2, 0, 0xaa, 0))[8..], [0, 0, 6, 0]);
    let sessions = [&[0, 10, 1, 1][..], &track].concat();
    assert_eq!(told(&mut rig, &toc(0, 1, 0, 0)), sessions);
    // As Linux asks.
    assert_eq!(told(&mut rig, &toc(0, 0, 0, 0x40)), sessions);
    let raw = told(&mut rig, &toc(2, 2, 0, 0));
    assert_eq!(raw[..4], [0, 46, 1, 1]);
    let points: Vec<(u8, &[u8])> = raw[4..].chunks(11).map(|one| (one[3], &one[8..])).collect();
    let wanted: [(u8, &[u8]); 4] = [
        (0xa0, &[1, 0, 0]),
        (0xa1, &[1, 0, 0]),
        (0xa2, &[0, 6, 0]),
        (0x01, &[0, 2, 0]),
    ];
    assert_eq!(points, wanted);
    let refused = |cdb: [u8; 10], sense| {
        cd().run(&cdb, Data::In(64)).check(sense);
    };
    refused(toc(0, 0, 2, 0), Sense::cdb_byte(6));
    refused(toc(0, 5, 0, 0), Sense::cdb_bit(2, 3));
}

#[test]
fn configuration_tells_the_profile_of_the_disc_and_what_goes_with_it() {
    let ask =
        |rig: &mut Rig, kind: u8, start: u8| told(rig, &[0x46, kind, 0, start, 0, 0, 0, 1, 0, 0]);
    let features = |data: &[u8]| {
        let (mut at, mut found) = (8, Vec::new());
        while at < data.len() {
            found.push((
                u16::from_be_bytes([data[at], data[at + 1]]),
                data[at + 2] & 1,
            ));
            at += 4 + usize::from(data[at + 3]);
        }
        assert_eq!(data[..4], (data.len() as u32 - 4).to_be_bytes());
        found
    };
    let mut rig = cd();
    let all = ask(&mut rig, 0, 0);
    assert_eq!(all[6..8], [0x00, 0x08]);
    let codes = [0, 1, 2, 3, 0x10, 0x1d, 0x1e, 0x1f, 0x100, 0x105];
    let current = |code: &u16| (*code, u8::from(*code != 0x1f));
    let wanted: Vec<(u16, u8)> = codes.iter().map(current).collect();
    assert_eq!(features(&all), wanted);
    assert!(!features(&ask(&mut rig, 1, 0)).contains(&(0x1f, 0)));
    assert_eq!(features(&ask(&mut rig, 0, 0x1e)), wanted[6..]);
    assert_eq!(features(&ask(&mut rig, 2, 0x10)), [(0x10, 1)]);
    rig.run(&[0x46, 3, 0, 0, 0, 0, 0, 1, 0, 0], Data::In(256))
        .check(Sense::cdb_bit(1, 1));
    let mut dvd = Rig::with_snapshot(drive(DVD_BLOCKS));
    let all = ask(&mut dvd, 0, 0);
    assert_eq!(all[6..8], [0x00, 0x10]);
    assert!(features(&all).contains(&(0x1f, 1)) && features(&all).contains(&(0x1e, 0)));
    // The profile list: DVD-ROM is current, CD-ROM is not.
    assert_eq!(all[12..20], [0, 0x10, 1, 0, 0, 0x08, 0, 0]);
    rig.run(&EJECT, Data::None);
    let all = ask(&mut rig, 0, 0);
    assert_eq!(all[6..8], [0, 0]);
    assert!(features(&all).contains(&(0x10, 0)));
}

#[test]
fn disc_and_track_information_tell_one_complete_track() {
    let mut rig = cd();
    let disc = told(&mut rig, &[0x51, 0, 0, 0, 0, 0, 0, 0, 34, 0]);
    assert_eq!(disc[..9], [0, 32, 0x0e, 1, 1, 1, 1, 0x20, 0]);
    let track = |kind: u8, number: u8| [0x52, kind, 0, 0, 0, number, 0, 0, 64, 0];
    for (kind, number) in [(0, 0), (0, 200), (1, 1), (2, 1)] {
        let track = told(&mut rig, &track(kind, number));
        assert_eq!(track[..7], [0, 34, 1, 1, 0, 0x04, 0x01]);
        assert_eq!(track[24..28], [0, 0, 1, 44]);
    }
    for (kind, number) in [(1, 0), (1, 2), (2, 2)] {
        let run = rig.run(&track(kind, number), Data::In(64));
        run.check(Sense::cdb_byte(2));
    }
    let mechanism = told(&mut rig, &[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]);
    assert_eq!(mechanism, [0; 8]);
}

#[test]
fn disc_structures_are_those_of_a_dvd() {
    let ask = |format: u8| [0xad, 0, 0, 0, 0, 0, 0, format, 0x0f, 0, 0, 0];
    let mut dvd = Rig::with_snapshot(drive(DVD_BLOCKS));
    let physical = told(&mut dvd, &ask(0));
    assert_eq!(physical.len(), 2052);
    assert_eq!(physical[..8], [0x08, 0x02, 0, 0, 0x01, 0x0f, 0x01, 0]);
    // The last of 400,000 sectors behind 30000h.
    assert_eq!(physical[8..16], [0, 0x03, 0, 0, 0, 0x09, 0x1a, 0x7f]);
    assert_eq!(told(&mut dvd, &ask(1)), [0, 6, 0, 0, 0, 0, 0, 0]);
    let list = told(&mut dvd, &ask(0xff));
    assert_eq!(list[4..], [0, 0x40, 0x08, 0x04, 1, 0x40, 0, 8]);
    dvd.run(&ask(4), Data::In(64)).check(Sense::cdb_byte(7));
    cd().run(&ask(0), Data::In(64))
        .check(Sense::INCOMPATIBLE_FORMAT);
}

#[test]
fn mode_sense_has_no_block_descriptor_and_tells_whether_the_disc_is_locked() {
    let ask = [0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 64, 0];
    let mut rig = cd();
    let data = told(&mut rig, &ask);
    assert_eq!(data[..10], [0, 28, 0, 0, 0, 0, 0, 0, 0x2a, 20]);
    assert_eq!(data[8 + 6], 0x29);
    rig.run(&PREVENT, Data::None);
    assert_eq!(told(&mut rig, &ask)[8 + 6], 0x2b);
    let all = told(&mut rig, &[0x1a, 0, 0x3f, 0, 255, 0]);
    assert_eq!(all.len(), 4 + 4 * 12 + 22);
}

#[test]
fn eject_takes_the_disc_from_all_until_it_is_loaded() {
    let mut rig = cd();
    rig.run(&EJECT, Data::None).good(&["home Tray(Open)"]);
    let open = Sense::MEDIUM_NOT_PRESENT_TRAY_OPEN;
    for nexus in [ONE, TWO] {
        for cdb in [&TEST_UNIT_READY[..], &cdb10(0x28, 0, 0, 1)] {
            rig.run_as(nexus, cdb, Data::In(2048)).check(open);
        }
    }
    // REQUEST SENSE tells the same.
    let sense = told(&mut rig, &[0x03, 0, 0, 0, 18, 0]);
    assert_eq!((sense[2], sense[12], sense[13]), (2, 0x3a, 0x02));
    let mechanism = told(&mut rig, &[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]);
    assert_eq!(mechanism[1], 0x10);
    rig.run_as(TWO, &LOAD, Data::None)
        .good(&["home Tray(Close)"]);
    for nexus in [ONE, TWO] {
        let changed = Sense::unit_attention(0x28, 0x00);
        rig.run_as(nexus, &TEST_UNIT_READY, Data::None)
            .check(changed);
        rig.run_as(nexus, &TEST_UNIT_READY, Data::None).good(&[]);
    }
}

#[test]
fn eject_while_another_prevents_it_is_refused_until_that_one_is_gone() {
    let mut rig = cd();
    rig.run_as(TWO, &PREVENT, Data::None)
        .good(&["home Tray(Prevent)"]);
    rig.run(&EJECT, Data::None)
        .check(Sense::MEDIUM_REMOVAL_PREVENTED);
    rig.run_as(TWO, &EJECT, Data::None)
        .check(Sense::MEDIUM_REMOVAL_PREVENTED);
    // What one nexus allows is its own.
    rig.run(&ALLOW, Data::None);
    rig.run(&EJECT, Data::None)
        .check(Sense::MEDIUM_REMOVAL_PREVENTED);
    rig.shard.detach_nexus(TWO, scsi::lu::TaskKey(1 << 40));
    rig.settle();
    rig.run(&EJECT, Data::None).good(&["home Tray(Open)"]);
}

#[test]
fn tray_closes_when_the_nexus_that_opened_it_is_gone_or_the_unit_is_reset() {
    let mut rig = cd();
    rig.run_as(TWO, &EJECT, Data::None);
    rig.shard.detach_nexus(TWO, scsi::lu::TaskKey(1 << 40));
    rig.settle();
    rig.run(&TEST_UNIT_READY, Data::None)
        .check(Sense::unit_attention(0x28, 0x00));
    rig.run(&TEST_UNIT_READY, Data::None).good(&[]);
    rig.run(&EJECT, Data::None);
    rig.act(HomeAction::LogicalUnitReset);
    rig.run(&TEST_UNIT_READY, Data::None)
        .check(Sense::unit_attention(0x29, 0x03));
    rig.run(&TEST_UNIT_READY, Data::None).good(&[]);
}

#[test]
fn operator_takes_the_disc_out_whoever_prevents_it_and_puts_in_another() {
    let mut rig = cd();
    rig.run(&PREVENT, Data::None);
    rig.act(HomeAction::Tray(TrayAction::Remove));
    let closed = Sense::MEDIUM_NOT_PRESENT_TRAY_CLOSED;
    rig.run(&TEST_UNIT_READY, Data::None).check(closed);
    // Closing the tray does not bring it back.
    rig.run(&LOAD, Data::None);
    rig.run(&TEST_UNIT_READY, Data::None).check(closed);
    let other = drive(DVD_BLOCKS).caps;
    rig.act(HomeAction::Tray(TrayAction::Insert(Box::new(other))));
    rig.run(&TEST_UNIT_READY, Data::None)
        .check(Sense::unit_attention(0x28, 0x00));
    let capacity = told(&mut rig, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(capacity[..4], (DVD_BLOCKS as u32 - 1).to_be_bytes());
}

#[test]
fn media_events_are_told_to_each_nexus_once() {
    let mut rig = cd();
    assert_eq!(told(&mut rig, &MEDIA_EVENT), [0, 6, 4, 0x56, 0, 2, 0, 0]);
    rig.run(&EJECT, Data::None);
    let mut header = MEDIA_EVENT;
    header[8] = 4;
    assert_eq!(told(&mut rig, &header), [0, 6, 4, 0x56]);
    for nexus in [ONE, TWO] {
        for event in [[3, 1], [0, 1]] {
            let run = rig.run_as(nexus, &MEDIA_EVENT, Data::In(8));
            assert_eq!(run.data_in[4..6], event);
        }
    }
    rig.run(&LOAD, Data::None);
    // A unit attention is pending, and stays.
    assert_eq!(told(&mut rig, &MEDIA_EVENT)[4..6], [2, 2]);
    let mut all = MEDIA_EVENT;
    all[4] = 0xff;
    assert_eq!(told(&mut rig, &all)[2..5], [1, 0x56, 0]);
    rig.run(&TEST_UNIT_READY, Data::None)
        .check(Sense::unit_attention(0x28, 0x00));
}

#[test]
fn events_that_are_not_polled_for_or_not_there_are_told_so() {
    let mut rig = cd();
    let mut cdb = MEDIA_EVENT;
    cdb[1] = 0;
    rig.run(&cdb, Data::In(8)).check(Sense::cdb_bit(1, 0));
    let external = [0x4a, 1, 0, 0, 0x08, 0, 0, 0, 8, 0];
    assert_eq!(told(&mut rig, &external), [0, 2, 0x80, 0x56]);
    let power = [0x4a, 1, 0, 0, 0x04, 0, 0, 0, 8, 0];
    assert_eq!(told(&mut rig, &power), [0, 6, 2, 0x56, 0, 1, 0, 0]);
}

#[test]
fn drive_without_its_store_has_no_disc() {
    let mut lu = drive(300);
    lu.condition = scsi::LuCondition::NotReady;
    let mut rig = Rig::with_snapshot(lu);
    rig.run(&TEST_UNIT_READY, Data::None)
        .check(Sense::MEDIUM_NOT_PRESENT);
    assert_eq!(told(&mut rig, &MEDIA_EVENT)[4..6], [0, 0]);
}

/// The CDB usage data of each command of the drive, as the reference page has them.
fn usages() -> Vec<Vec<u8>> {
    let page = reference();
    let drive = page.split("# The CD and DVD drive").nth(1).unwrap();
    let hex = |byte: &str| u8::from_str_radix(byte, 16).unwrap();
    let rows = drive.lines().filter_map(|line| line.split('`').nth(1));
    rows.map(|row| row.split(' ').map(hex).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The rig checks that every step is bounded and inside the disc.
    #[test]
    fn any_command_of_a_drive_ends_within_bounds(
        usage in proptest::sample::select(usages()),
        bytes in any::<[u8; 16]>(),
        stray in prop_oneof![4 => Just(0u8), 1 => any::<u8>()],
        at in 1usize..12,
        expected in 0u32..4096,
        ejected in any::<bool>(),
    ) {
        let mut rig = cd();
        if ejected {
            rig.run_as(TWO, &EJECT, Data::None);
        }
        let mut cdb = [0; 16];
        for (to, (from, mask)) in cdb.iter_mut().zip(bytes.iter().zip(&usage)) {
            *to = from & mask;
        }
        cdb[0] = usage[0];
        cdb[at] |= stray;
        let data = match cdb[0] {
            0x15 | 0x55 => Data::Out(&bytes),
            _ => Data::In(expected),
        };
        let run = rig.run(&cdb, data);
        prop_assert!(run.data_in.len() <= expected as usize);
        if run.done.status == Status::CheckCondition {
            prop_assert!(run.done.sense.is_some());
        }
        prop_assert!(rig.home.is_quiet());
        prop_assert_eq!(rig.shard.tasks(), 0);
    }
}
