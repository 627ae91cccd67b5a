//! MODE SENSE and MODE SELECT.

use scsi::lu::{HomeAction, ModeChange};
use scsi::{Sense, SenseFormat, Status};

use crate::rig::{BLOCK, Data, ONE, Rig, TWO, caps, cdb10, snapshot};

const RECOVERY: [u8; 12] = [0x01, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CACHING: [u8; 20] = [
    0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];
const CONTROL: [u8; 12] = [0x0a, 0x0a, 0x02, 0x10, 0, 0, 0, 0, 0xff, 0xff, 0, 0];
const RECONNECT: [u8; 16] = [0x02, 0x0e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const EXCEPTIONS: [u8; 12] = [0x1c, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn sense6(flags: u8, page: u8, subpage: u8) -> [u8; 6] {
    [0x1a, flags, page, subpage, 255, 0]
}

fn select6(list: &[u8]) -> [u8; 6] {
    [0x15, 0x10, 0, 0, list.len() as u8, 0]
}

fn select10(list: &[u8]) -> [u8; 10] {
    [0x55, 0x10, 0, 0, 0, 0, 0, 0, list.len() as u8, 0]
}

/// Control Extension.
fn extension() -> Vec<u8> {
    let mut page = vec![0; 32];
    page[..5].copy_from_slice(&[0x4a, 0x01, 0, 0x1c, 0x07]);
    page
}

/// Power Condition.
fn power() -> Vec<u8> {
    let mut page = vec![0; 40];
    page[..2].copy_from_slice(&[0x1a, 0x26]);
    page
}

/// Logical Block Provisioning, with the byte of ENABLED and a THRESHOLD COUNT.
fn provisioning(enabled: u8, count: u32) -> Vec<u8> {
    let mut page = vec![0; 24];
    page[..4].copy_from_slice(&[0x5c, 0x02, 0, 0x14]);
    page[16..18].copy_from_slice(&[enabled | 0x01, 0x02]);
    page[20..].copy_from_slice(&count.to_be_bytes());
    page
}

/// A list for MODE SELECT(6) without block descriptors.
fn list6(pages: &[&[u8]]) -> Vec<u8> {
    [&[0; 4][..], &pages.concat()].concat()
}

#[test]
fn mode_sense6_of_all_pages_is_golden() {
    let mut rig = Rig::new();
    for subpage in [0, 0xff] {
        let run = rig.run(&sense6(0, 0x3f, subpage), Data::In(255));
        run.good(&[]);
        let (extension, provisioning) = match subpage {
            0 => (vec![], vec![]),
            _ => (extension(), provisioning(0, 0)),
        };
        let length = 123 + extension.len() + provisioning.len();
        let header = [length as u8, 0, 0x10, 8, 0, 0, 0, 64, 0, 0, 2, 0];
        let pages = [&RECOVERY[..], &RECONNECT, &CACHING, &CONTROL, &extension];
        let last = [&power()[..], &EXCEPTIONS, &provisioning].concat();
        let wanted = [&header[..], &pages.concat(), &last].concat();
        assert_eq!(run.data_in, wanted);
        assert_eq!(run.data_in.len(), length + 1);
        assert_eq!(run.done.transfer_bytes, length as u64 + 1);
    }
}

#[test]
fn mode_sense10_with_long_descriptor_is_golden() {
    let mut rig = Rig::with(caps(4096, 1 << 33));
    let run = rig.run(&[0x5a, 0x10, 0x0a, 0, 0, 0, 0, 1, 0, 0], Data::In(256));
    let header = [0, 34, 0, 0x10, 1, 0, 0, 16];
    let descriptor = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0];
    assert_eq!(run.data_in, [&header[..], &descriptor, &CONTROL].concat());
    // The short descriptor cannot say so many.
    let run = rig.run(&[0x5a, 0, 0x0a, 0, 0, 0, 0, 1, 0, 0], Data::In(256));
    assert_eq!(
        run.data_in[..16],
        [
            0, 26, 0, 0x10, 0, 0, 0, 8, 255, 255, 255, 255, 0, 0, 0x10, 0
        ]
    );
}

#[test]
fn mode_sense_without_descriptors_has_pages_only() {
    let run = Rig::new().run(&sense6(0x08, 0x08, 0), Data::In(255));
    assert_eq!(run.data_in, [&[23, 0, 0x10, 0][..], &CACHING].concat());
}

#[test]
fn mode_sense_of_changeable_values_has_the_bits_that_change() {
    let mut rig = Rig::new();
    let run = rig.run(&sense6(0x08, 0x40 | 0x3f, 0), Data::In(255));
    let mut wanted = vec![0; 116];
    wanted[..4].copy_from_slice(&[115, 0, 0x10, 0]);
    wanted[4..6].copy_from_slice(&[0x01, 0x0a]);
    wanted[16..18].copy_from_slice(&[0x02, 0x0e]);
    wanted[32..35].copy_from_slice(&[0x08, 0x12, 0x04]);
    wanted[52..58].copy_from_slice(&[0x0a, 0x0a, 0x24, 0x06, 0x38, 0x40]);
    wanted[64..66].copy_from_slice(&[0x1a, 0x26]);
    wanted[104..106].copy_from_slice(&[0x1c, 0x0a]);
    assert_eq!(run.data_in, wanted);
    let run = rig.run(&sense6(0x08, 0x40 | 0x0a, 0xff), Data::In(255));
    assert_eq!(run.data_in[4..10], [0x0a, 0x0a, 0x24, 0x06, 0x38, 0x40]);
    assert_eq!(run.data_in[16..22], [0x4a, 0x01, 0, 0x1c, 0, 0]);
}

#[test]
fn mode_sense_of_default_values_stays_when_current_ones_change() {
    let mut rig = Rig::new();
    let mut page = CACHING;
    page[2] = 0;
    let list = list6(&[&page]);
    assert_eq!(
        rig.run(&select6(&list), Data::Out(&list)).done.status,
        Status::Good
    );
    let current = rig.run(&sense6(0x08, 0x08, 0), Data::In(255));
    assert_eq!(current.data_in[6], 0);
    let default = rig.run(&sense6(0x08, 0x80 | 0x08, 0), Data::In(255));
    assert_eq!(default.data_in[6], 0x04);
}

#[test]
fn mode_sense_of_saved_values_is_not_supported() {
    let run = Rig::new().run(&sense6(0, 0xc0 | 0x3f, 0), Data::In(255));
    run.refused(Sense::SAVING_PARAMETERS_NOT_SUPPORTED.pointing(true, 2, Some(7)));
}

/// An LU with a place to keep settings.
fn keeping() -> Rig {
    let mut snapshot = snapshot(caps(512, 64));
    snapshot.ptpl_capable = true;
    Rig::with_snapshot(snapshot)
}

fn current(rig: &mut Rig, control: u8, page: u8) -> Vec<u8> {
    rig.run(&sense6(0x08, control << 6 | page, 0), Data::In(255))
        .data_in[4..]
        .to_vec()
}

/// MODE SELECT(6) with SP.
fn save6(list: &[u8]) -> [u8; 6] {
    [0x15, 0x11, 0, 0, list.len() as u8, 0]
}

#[test]
fn mode_select_with_sp_saves_all_values_and_a_reset_and_a_restart_return_to_them() {
    let mut rig = keeping();
    // PS: the page can be saved, and these have not been.
    assert_eq!(current(&mut rig, 0, 0x08)[..3], [0x88, 0x12, 0x04]);
    assert_eq!(current(&mut rig, 3, 0x08)[..3], [0x88, 0x12, 0x04]);
    assert_eq!(current(&mut rig, 0, 0x01)[0], 0x01);
    let mut control = CONTROL;
    control[0] |= 0x80;
    control[2] |= 0x04;
    let list = list6(&[&control]);
    let run = rig.run(&select6(&list), Data::Out(&list));
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(rig.saves, []);
    let mut caching = CACHING;
    caching[2] = 0;
    let list = list6(&[&caching]);
    let run = rig.run(&save6(&list), Data::Out(&list));
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(run.steps[2], "flush");
    let saved = rig.saves[0].clone().unwrap();
    // Others hear of it.
    rig.run_as(TWO, &[0; 6], Data::None)
        .check(Sense::unit_attention(0x2a, 0x01));

    let list = list6(&[&CACHING, &CONTROL]);
    rig.run(&select6(&list), Data::Out(&list));
    assert_eq!(current(&mut rig, 0, 0x08)[2], 0x04);
    assert_eq!(current(&mut rig, 3, 0x08)[2], 0x00);
    assert_eq!(current(&mut rig, 3, 0x0a)[2], 0x06);
    assert_eq!(current(&mut rig, 2, 0x08)[2], 0x04);
    rig.act(HomeAction::LogicalUnitReset);
    rig.run(&[0; 6], Data::None);
    assert_eq!(current(&mut rig, 0, 0x08)[2], 0x00);
    assert_eq!(current(&mut rig, 0, 0x0a)[2], 0x06);

    let again = (**keeping().home.snapshot()).clone();
    let mut again = Rig::with_snapshot(again.with_saved_settings(&saved).unwrap());
    assert_eq!(current(&mut again, 0, 0x08)[2], 0x00);
    assert_eq!(current(&mut again, 0, 0x0a)[2], 0x06);
}

#[test]
fn mode_select_with_sp_and_no_list_saves_what_is_current() {
    let mut rig = keeping();
    let mut control = CONTROL;
    control[4] = 0x08;
    let list = list6(&[&control]);
    rig.run(&select6(&list), Data::Out(&list));
    let run = rig.run(&[0x55, 0x11, 0, 0, 0, 0, 0, 0, 0, 0], Data::None);
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(current(&mut rig, 3, 0x0a)[4], 0x08);
    assert_eq!(rig.saves.len(), 1);
    // Nothing new is nothing to write.
    rig.run(&save6(&[]), Data::None);
    assert_eq!(rig.saves.len(), 1);
}

#[test]
fn mode_select_that_cannot_be_saved_changes_nothing_and_without_a_place_sp_is_refused() {
    let mut rig = keeping();
    rig.fail_saves = true;
    let mut caching = CACHING;
    caching[2] = 0;
    let list = list6(&[&caching]);
    rig.run(&save6(&list), Data::Out(&list))
        .check(Sense::INTERNAL_TARGET_FAILURE);
    assert_eq!(current(&mut rig, 0, 0x08)[2], 0x04);
    assert_eq!(current(&mut rig, 3, 0x08)[2], 0x04);
    rig.run_as(TWO, &[0; 6], Data::None).good(&[]);
    let mut forgetful = Rig::new();
    forgetful
        .run(&save6(&list), Data::Out(&list))
        .refused(Sense::cdb_bit(1, 0));
    let sent_back = list6(&[&[&[0x88], &caching[1..]].concat()]);
    let run = forgetful.run(&select6(&sent_back), Data::Out(&sent_back));
    assert_eq!(run.done.status, Status::Good);
}

#[test]
fn threshold_that_is_reached_is_told_to_everybody_once_and_again_after_it_was_left() {
    let mut rig = keeping();
    rig.act(HomeAction::Used(9));
    rig.run(&[0; 6], Data::None).good(&[]);
    let list = list6(&[&provisioning(0x80, 0x0102)]);
    rig.run(&save6(&list), Data::Out(&list));
    rig.run_as(TWO, &[0; 6], Data::None)
        .check(Sense::unit_attention(0x2a, 0x01));
    assert!(rig.home.snapshot().statistics.has_threshold());
    for (sets, is_told) in [
        (0x0101, false),
        (0x0102, true),
        (0x0103, false),
        (0x0100, false),
        (0xffff, true),
    ] {
        rig.act(HomeAction::Used(sets));
        for nexus in [ONE, TWO] {
            let run = rig.run_as(nexus, &[0; 6], Data::None);
            let told = Sense::unit_attention(0x38, 0x07);
            assert_eq!(run.done.sense, is_told.then_some(told), "{sets}");
        }
    }
    let sensed = rig.run(&sense6(0x08, 0xc0 | 0x1c, 0x02), Data::In(255));
    let mut wanted = provisioning(0x80, 0x0102);
    wanted[0] |= 0x80;
    assert_eq!(sensed.data_in[4..], wanted);
    let saved = rig.saves[0].clone().unwrap();
    let again = (**keeping().home.snapshot()).clone();
    let again = again.with_saved_settings(&saved).unwrap();
    assert_eq!(
        (again.mode.threshold_enabled, again.mode.threshold_count),
        (true, 0x0102)
    );
}

#[test]
fn threshold_page_with_a_fault_is_refused_and_a_thick_unit_has_none() {
    let mut other_resource = provisioning(0x80, 1);
    other_resource[17] = 0x01;
    let list = list6(&[&other_resource]);
    Rig::new()
        .run(&select6(&list), Data::Out(&list))
        .check(Sense::parameter_bit(21, 1));
    let mut thick = caps(512, 64);
    thick.unmap = false;
    let mut rig = Rig::with(thick);
    rig.run(&sense6(0x08, 0x1c, 0x02), Data::In(255))
        .refused(Sense::cdb_byte(3));
    let list = list6(&[&provisioning(0x80, 1)]);
    rig.run(&select6(&list), Data::Out(&list))
        .check(Sense::parameter_byte(5));
}

#[test]
fn operator_who_sets_a_value_sets_the_saved_one_too() {
    let mut rig = keeping();
    rig.run(&save6(&[]), Data::None);
    rig.act(HomeAction::WriteCache(false));
    let tas = ModeChange {
        task_aborted_status: Some(true),
        ..ModeChange::default()
    };
    rig.act(HomeAction::ModeDefaults(tas));
    rig.act(HomeAction::LogicalUnitReset);
    rig.run(&[0; 6], Data::None);
    rig.run(&[0; 6], Data::None);
    for control in [0, 2, 3] {
        assert_eq!(current(&mut rig, control, 0x08)[2], 0x00, "{control}");
        assert_eq!(current(&mut rig, control, 0x0a)[5], 0x40, "{control}");
    }
}

#[test]
fn mode_sense_of_unknown_pages_is_invalid_field() {
    let mut rig = Rig::new();
    for page in [0x00, 0x03, 0x3e] {
        rig.run(&sense6(0, page, 0), Data::In(255))
            .refused(Sense::cdb_bit(2, 5));
    }
    for subpage in [0x02, 0xfe] {
        rig.run(&sense6(0, 0x0a, subpage), Data::In(255))
            .refused(Sense::cdb_byte(3));
    }
    let run = rig.run(&sense6(0x08, 0x0a, 1), Data::In(255));
    assert_eq!(run.data_in, [&[35, 0, 0x10, 0][..], &extension()].concat());
    rig.run(&sense6(0, 0x3f, 1), Data::In(255))
        .refused(Sense::cdb_byte(3));
    rig.run(&sense6(0x10, 0x3f, 0), Data::In(255))
        .refused(Sense::cdb_bit(1, 4));
}

#[test]
fn mode_sense_is_cut_at_the_allocation_length() {
    let run = Rig::new().run(&[0x1a, 0, 0x3f, 0, 4, 0], Data::In(4));
    run.good(&[]);
    assert_eq!(run.data_in, [123, 0, 0x10, 8]);
    assert_eq!(run.done.transfer_bytes, 4);
}

#[test]
fn mode_select_turns_the_cache_off_and_flushes_it() {
    let mut rig = Rig::new();
    let mut page = CACHING;
    page[2] = 0;
    let list = list6(&[&page]);
    let run = rig.run(&select6(&list), Data::Out(&list));
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(run.steps[0], "data-out 0+24");
    assert!(run.steps[1].starts_with("home ModeSelect"), "{run:?}");
    assert_eq!(run.steps[2], "flush");
    assert_eq!(run.done.transfer_bytes, 24);
    assert!(!rig.shard.snapshot().mode.write_cache);
    rig.run(&cdb10(0x2a, 0, 0, 1), Data::Out(&[0; BLOCK]))
        .good(&["data-out 0+512", "write 0+1 at 0 durable"]);
    // The other nexus is told, this one is not.
    let run = rig.run_as(TWO, &[0; 6], Data::None);
    run.refused(Sense::unit_attention(0x2a, 0x01));

    let list = list6(&[&CACHING]);
    let run = rig.run(&select6(&list), Data::Out(&list));
    assert_eq!(run.steps.len(), 3);
    assert!(rig.shard.snapshot().mode.write_cache);
}

#[test]
fn mode_select_of_d_sense_changes_the_format_of_sense_data() {
    let mut rig = Rig::new();
    let mut page = CONTROL;
    page[2] |= 0x04;
    let list = [&[0, 0, 0, 0, 0, 0, 0, 0][..], &page].concat();
    assert_eq!(
        rig.run(&select10(&list), Data::Out(&list)).done.status,
        Status::Good
    );
    let run = rig.run(&cdb10(0x28, 0, 64, 1), Data::In(512));
    assert_eq!(run.format(), SenseFormat::Descriptor);
    assert_eq!(
        run.sense_bytes(),
        [0x72, 5, 0x21, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0xc0, 0, 2, 0]
    );
}

#[test]
fn mode_select_of_swp_protects_until_it_is_cleared() {
    let mut rig = Rig::new();
    let mut page = CONTROL;
    page[4] |= 0x08;
    let list = list6(&[&page]);
    assert_eq!(
        rig.run(&select6(&list), Data::Out(&list)).done.status,
        Status::Good
    );
    let write = cdb10(0x2a, 0, 0, 1);
    rig.run(&write, Data::Out(&[0; BLOCK]))
        .refused(Sense::WRITE_PROTECTED);
    let list = list6(&[&CONTROL]);
    assert_eq!(
        rig.run(&select6(&list), Data::Out(&list)).done.status,
        Status::Good
    );
    assert_eq!(
        rig.run(&write, Data::Out(&[0; BLOCK])).done.status,
        Status::Good
    );
}

#[test]
fn mode_select_of_several_pages_and_a_true_descriptor_is_good() {
    let mut rig = Rig::new();
    let descriptor = [0, 0, 0, 64, 0, 0, 2, 0];
    let some = [&RECOVERY[..], &RECONNECT, &CACHING, &CONTROL, &extension()].concat();
    let pages = [&some[..], &power(), &EXCEPTIONS].concat();
    let list = [&[0, 0, 0x90, 8][..], &descriptor, &pages].concat();
    assert_eq!(
        rig.run(&select6(&list), Data::Out(&list)).done.status,
        Status::Good
    );
    let list = [&[0, 0, 0, 8][..], &[0; 8]].concat();
    rig.run(&select6(&list), Data::Out(&list))
        .good(&["data-out 0+12"]);
    let long = [0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 2, 0];
    let list = [&[0, 0, 0, 0, 1, 0, 0, 16][..], &long, &EXCEPTIONS].concat();
    rig.run(&select10(&list), Data::Out(&list))
        .good(&["data-out 0+36"]);
    rig.run(&[0x15, 0x10, 0, 0, 0, 0], Data::None).good(&[]);
    rig.run(&[0x15, 0x00, 0, 0, 0, 0], Data::None).good(&[]);
}

#[test]
fn mode_select_with_a_fault_changes_nothing_and_points_at_it() {
    let mut caching = CACHING;
    caching[2] = 0;
    let changed = |page: &[u8], at: usize, value: u8| {
        let mut page = page.to_vec();
        page[at] = value;
        list6(&[&caching, &page])
    };
    let field = Sense::parameter_byte;
    let bit = Sense::parameter_bit;
    let length = Sense::PARAMETER_LIST_LENGTH_ERROR;
    let cases: &[(Vec<u8>, Sense)] = &[
        // A value that cannot change: its highest wrong bit.
        (changed(&CONTROL, 3, 0x30), bit(27, 5)),
        (changed(&CONTROL, 8, 0xfe), bit(32, 0)),
        // TST, QERR and UA_INTLCK_CTRL have values that are reserved.
        (changed(&CONTROL, 2, 0x42), bit(26, 6)),
        (changed(&CONTROL, 3, 0x14), bit(27, 2)),
        (changed(&CONTROL, 4, 0x10), bit(28, 5)),
        (changed(&EXCEPTIONS, 11, 0x80), bit(35, 7)),
        // SPF, an unknown page, a wrong length.
        (changed(&CONTROL, 0, 0x4a), field(25)),
        (changed(&extension(), 0, 0x0a), field(25)),
        (changed(&extension(), 1, 0x02), field(25)),
        (changed(&extension(), 3, 0x1b), field(26)),
        (changed(&extension(), 4, 0x03), bit(28, 2)),
        (changed(&RECONNECT, 0, 0x42), field(25)),
        (changed(&CONTROL, 0, 0x0b), bit(24, 5)),
        (changed(&CONTROL, 1, 0x0b), field(25)),
        // Cut within a page, within its header, within the list's header.
        (list6(&[&caching, &CONTROL[..11]]), length),
        (list6(&[&caching, &CONTROL[..1]]), length),
        (vec![0; 3], length),
        // Header: medium type, descriptor length, and a descriptor that is not there.
        (vec![0, 1, 0, 0], field(1)),
        (vec![0, 0, 0, 4, 0, 0, 0, 0], field(3)),
        (vec![0, 0, 0, 8, 0, 0, 0, 0], length),
        // Descriptor: capacity, block length.
        (vec![0, 0, 0, 8, 0, 0, 0, 65, 0, 0, 2, 0], field(4)),
        (vec![0, 0, 0, 8, 0, 0, 0, 64, 0, 0, 4, 0], field(9)),
    ];
    for (list, sense) in cases {
        let mut rig = Rig::new();
        let run = rig.run(&select6(list), Data::Out(list));
        run.check(*sense);
        assert_eq!(run.steps.len(), 2, "{list:x?}");
        assert!(rig.shard.snapshot().mode.write_cache);
    }
}

#[test]
fn mode_select_cdb_faults_are_pointed_at() {
    let mut rig = Rig::new();
    let list = list6(&[&CACHING]);
    let mut cdb = select6(&list);
    cdb[1] = 0x11;
    rig.run(&cdb, Data::Out(&list))
        .refused(Sense::cdb_bit(1, 0));
    cdb[1] = 0;
    rig.run(&cdb, Data::Out(&list))
        .refused(Sense::cdb_bit(1, 4));
    let length = Sense::PARAMETER_LIST_LENGTH_ERROR;
    let run = rig.run(&select6(&list), Data::Out(&list[..20]));
    run.refused(length.pointing(true, 4, None));
    let run = rig.run(&select10(&list), Data::Out(&list[..20]));
    run.refused(length.pointing(true, 7, None));
}

#[test]
fn mode_select_by_two_at_once_keeps_both_changes() {
    let mut rig = Rig::new();
    let mut control = CONTROL;
    control[4] |= 0x08;
    let mut caching = CACHING;
    caching[2] = 0;
    let (one, two) = (list6(&[&control]), list6(&[&caching]));
    let (mut first, step) = rig.start(ONE, &select6(&one), Data::Out(&one));
    let first_step = rig.take_on(&mut first, step).unwrap();
    let (mut second, step) = rig.start(TWO, &select6(&two), Data::Out(&two));
    let second_step = rig.take_on(&mut second, step).unwrap();
    assert_eq!(rig.finish(first, first_step).done.status, Status::Good);
    assert_eq!(rig.finish(second, second_step).done.status, Status::Good);
    let mode = rig.shard.snapshot().mode;
    assert!(mode.software_write_protect && !mode.write_cache);
}
