//! SANITIZE, and the operation that it begins.

use block::{IoError, IoErrorKind, IoOpKind};
use scsi::lu::HomeAction;
use scsi::{LuSnapshot, Refusal, Sense, Status, Step};

use crate::rig::{BLOCK, Data, Live, ONE, Rig, Run, TWO, caps, cdb10, snapshot};

const OVERWRITE: u8 = 0x01;
const BLOCK_ERASE: u8 = 0x02;
const EXIT: u8 = 0x1f;
const AUSE: u8 = 0x20;
const IMMED: u8 = 0x80;

fn sanitize(action: u8, list_bytes: u16) -> [u8; 10] {
    cdb10(0x48, action, 0, list_bytes)
}

/// One pass of a pattern of two bytes.
const PATTERN: [u8; 6] = [0x01, 0, 0, 2, 0xaa, 0xbb];

/// An LU with a place to keep what outlasts the process.
fn keeping() -> LuSnapshot {
    let mut snapshot = snapshot(caps(512, 64));
    snapshot.ptpl_capable = true;
    snapshot
}

fn rig() -> Rig {
    let mut rig = Rig::with_snapshot(keeping());
    rig.store.fill(7);
    rig
}

/// Begins a command that waits for the end of the operation.
fn begin(rig: &mut Rig, action: u8, list: &[u8]) -> Live {
    let length = list.len() as u16;
    let data = if list.is_empty() {
        Data::None
    } else {
        Data::Out(list)
    };
    let (mut live, mut step) = rig.start(ONE, &sanitize(action, length), data);
    loop {
        match rig.take_on(&mut live, step) {
            Some(next) => step = next,
            None => return live,
        }
    }
}

fn end(rig: &mut Rig, mut live: Live) -> Run {
    let step = rig.wait(&mut live).expect("the operation has ended");
    rig.finish(live, step)
}

fn tur(rig: &mut Rig) -> Run {
    rig.run_as(TWO, &[0; 6], Data::None)
}

/// Sense key, ASC, ASCQ, and how much is done, as REQUEST SENSE tells it.
fn polled(rig: &mut Rig) -> (u8, u8, u8, u16) {
    let run = rig.run_as(TWO, &[0x03, 0, 0, 0, 18, 0], Data::In(18));
    let sense = run.data_in;
    let progress = u16::from_be_bytes([sense[16], sense[17]]);
    (sense[2] & 0x0f, sense[12], sense[13], progress)
}

fn broken() -> IoError {
    IoError::new(IoErrorKind::Medium, IoOpKind::Write)
}

/// The operation that is under way fails.
fn fail(rig: &mut Rig) {
    let own = rig.begin_own().unwrap();
    rig.end_own(&own, Err(broken()));
}

#[test]
fn overwrite_writes_each_block_with_the_pattern_and_ends_when_that_is_durable() {
    let mut rig = rig();
    let live = begin(&mut rig, OVERWRITE, &PATTERN);
    assert!(
        rig.saves[0].is_some(),
        "remembered before anything is erased"
    );
    assert_eq!(rig.work_own(), ["write 0+64 pattern 512", "flush"]);
    let run = end(&mut rig, live);
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(run.done.transfer_bytes, 6);
    assert_eq!(rig.saves[1..], [None]);
    let wanted = [0xaa, 0xbb].repeat(BLOCK / 2 * 64);
    assert_eq!(rig.store, wanted);
    tur(&mut rig).good(&[]);
}

#[test]
fn overwrite_of_several_passes_inverts_between_them_and_flushes_each() {
    let mut rig = rig();
    let live = begin(&mut rig, OVERWRITE, &[0x82, 0, 0, 1, 0x0f]);
    let first = rig.begin_own().unwrap();
    assert_eq!(first.pattern.as_deref().unwrap()[..2], [0xf0, 0xf0]);
    rig.end_own(&first, Ok(()));
    assert_eq!(rig.work_own(), ["flush", "write 0+64 pattern 512", "flush"]);
    assert_eq!(end(&mut rig, live).done.status, Status::Good);
    assert!(rig.store.iter().all(|byte| *byte == 0x0f));
}

#[test]
fn overwrite_of_a_unit_with_protection_information_gives_that_back_first() {
    let mut protected = keeping();
    protected.caps.protection = Some(block::ProtectionType::Type1);
    let mut rig = Rig::with_snapshot(protected);
    let live = begin(&mut rig, OVERWRITE, &[0x82, 0, 0, 1, 0x0f]);
    let write = "write 0+64 pattern 512";
    assert_eq!(
        rig.work_own(),
        ["unmap 0+64", "flush", write, "flush", write, "flush"]
    );
    assert_eq!(end(&mut rig, live).done.status, Status::Good);
    assert!(rig.store.iter().all(|byte| *byte == 0x0f));
}

#[test]
fn block_erase_gives_all_blocks_back_and_those_that_are_undefined_then_are_zeroed_first() {
    let mut rig = rig();
    let live = begin(&mut rig, BLOCK_ERASE, &[]);
    assert_eq!(rig.work_own(), ["zero 0+64 or unmap", "flush"]);
    assert_eq!(end(&mut rig, live).done.status, Status::Good);
    assert!(rig.store.iter().all(|byte| *byte == 0));

    let mut undefined = keeping();
    undefined.caps.unmap_zeroes = false;
    let mut rig = Rig::with_snapshot(undefined);
    let live = begin(&mut rig, BLOCK_ERASE, &[]);
    let steps = ["zero 0+64 or unmap", "flush", "unmap 0+64", "flush"];
    assert_eq!(rig.work_own(), steps);
    assert_eq!(end(&mut rig, live).done.status, Status::Good);
}

#[test]
fn sanitize_of_a_large_unit_goes_piece_by_piece_and_tells_how_far_it_is() {
    let mut large = snapshot(caps(512, 8192));
    large.caps.volatile = true;
    let mut rig = Rig::with_snapshot(large);
    rig.run(&sanitize(OVERWRITE | IMMED, 6), Data::Out(&PATTERN));
    assert_eq!(polled(&mut rig), (2, 0x04, 0x1b, 0));
    for progress in [0x4000, 0x8000, 0xc000, 0xffff] {
        let own = rig.begin_own().unwrap();
        assert_eq!(rig.begin_own(), None, "one at a time");
        rig.end_own(&own, Ok(()));
        assert_eq!(polled(&mut rig), (2, 0x04, 0x1b, progress));
    }
    assert_eq!(rig.work_own(), ["flush"]);
    assert_eq!(polled(&mut rig), (0, 0, 0, 0));
    assert_eq!(rig.saves, [], "nothing of it outlasts the process");
}

#[test]
fn immediate_sanitize_ends_at_once_and_others_are_told_until_it_is_done() {
    let mut rig = rig();
    let run = rig.run(&sanitize(OVERWRITE | IMMED, 6), Data::Out(&PATTERN));
    assert_eq!(run.done.status, Status::Good);
    let progress = Sense::SANITIZE_IN_PROGRESS.with_progress(0);
    tur(&mut rig).refused(progress);
    for cdb in [
        &cdb10(0x28, 0, 0, 1)[..],
        &[0x1a, 0, 0x3f, 0, 255, 0],
        &[0x1b, 0, 0, 0, 1, 0],
        &cdb10(0x25, 0, 0, 0),
        &cdb10(0x5e, 0, 0, 24),
        &sanitize(BLOCK_ERASE, 0),
        &sanitize(EXIT, 0),
    ] {
        rig.run_as(TWO, cdb, Data::In(512)).refused(progress);
    }
    for cdb in [
        &[0x12, 0, 0, 0, 36, 0][..],
        &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
    ] {
        let run = rig.run_as(TWO, cdb, Data::In(36));
        assert_eq!(run.done.status, Status::Good);
    }
    rig.work_own();
    tur(&mut rig).good(&[]);
}

#[test]
fn commands_under_way_when_sanitize_begins_are_told_so_instead_of_touching_the_medium() {
    let mut rig = rig();
    // One whose data are still to come, and one that is in the store.
    let data = [9; BLOCK];
    let (mut write, write_step) = rig.start(TWO, &cdb10(0x2a, 0, 5, 1), Data::Out(&data));
    let (mut read, read_step) = rig.start(TWO, &cdb10(0x28, 0, 5, 1), Data::In(512));
    assert!(matches!(read_step, Step::Io(_)), "{read_step:?}");
    let (mut live, mut step) = rig.start(ONE, &sanitize(BLOCK_ERASE | IMMED, 0), Data::None);
    assert!(
        rig.take_on(&mut live, step).is_none(),
        "the read is in the store"
    );
    assert_eq!(rig.begin_own(), None);
    let read_step = rig.take_on(&mut read, read_step).unwrap();
    assert_eq!(rig.finish(read, read_step).data_in, [7; BLOCK]);
    step = rig.wait(&mut live).unwrap();
    assert_eq!(rig.finish(live, step).done.status, Status::Good);
    let write_step = rig.take_on(&mut write, write_step).unwrap();
    let run = rig.finish(write, write_step);
    run.check(Sense::SANITIZE_IN_PROGRESS.with_progress(0));
    assert!(!rig.work_own().is_empty());
}

#[test]
fn sanitize_goes_on_without_its_command_its_nexus_and_through_a_reset() {
    let mut rig = rig();
    let live = begin(&mut rig, OVERWRITE, &PATTERN);
    let own = rig.begin_own().unwrap();
    rig.act(HomeAction::LogicalUnitReset);
    rig.shard.leave(live.task.key());
    rig.shard.detach_nexus(ONE, scsi::lu::TaskKey(999));
    rig.settle();
    rig.end_own(&own, Ok(()));
    // The reset is told first.
    tur(&mut rig).check(Sense::unit_attention(0x29, 0x03));
    let run = tur(&mut rig);
    assert_eq!(run.done.sense.unwrap().asc, 0x04);
    assert_eq!(rig.work_own(), ["flush"]);
    tur(&mut rig).good(&[]);
    assert!(rig.home.is_quiet() && !rig.home.has_own_work());
}

#[test]
fn failed_sanitize_in_restricted_mode_is_left_only_by_one_that_does_not_fail() {
    let mut rig = rig();
    let live = begin(&mut rig, OVERWRITE, &PATTERN);
    fail(&mut rig);
    end(&mut rig, live).check(Sense::SANITIZE_COMMAND_FAILED);
    assert!(rig.saves[1].is_some());
    tur(&mut rig).refused(Sense::SANITIZE_COMMAND_FAILED);
    assert_eq!(polled(&mut rig), (3, 0x31, 0x03, 0));
    let read = cdb10(0x28, 0, 0, 1);
    rig.run(&read, Data::In(512))
        .refused(Sense::SANITIZE_COMMAND_FAILED);
    rig.run(&sanitize(EXIT, 0), Data::None)
        .check(Sense::cdb_bit(1, 4));
    rig.run(&sanitize(BLOCK_ERASE | AUSE, 0), Data::None)
        .check(Sense::cdb_bit(1, 5));
    let live = begin(&mut rig, BLOCK_ERASE, &[]);
    rig.work_own();
    assert_eq!(end(&mut rig, live).done.status, Status::Good);
    tur(&mut rig).good(&[]);
    assert_eq!(rig.saves.last(), Some(&None));
}

#[test]
fn failed_sanitize_in_unrestricted_mode_is_left_by_exit_failure_mode() {
    let mut rig = rig();
    // Nothing to leave: nothing happens.
    let run = rig.run(&sanitize(EXIT, 0), Data::None);
    assert_eq!(run.done.status, Status::Good);
    rig.run(&sanitize(BLOCK_ERASE | AUSE | IMMED, 0), Data::None);
    fail(&mut rig);
    tur(&mut rig).refused(Sense::SANITIZE_COMMAND_FAILED);
    rig.fail_saves = true;
    rig.run(&sanitize(EXIT, 0), Data::None)
        .check(Sense::INTERNAL_TARGET_FAILURE);
    rig.fail_saves = false;
    let run = rig.run(&sanitize(EXIT, 0), Data::None);
    assert_eq!(run.done.status, Status::Good);
    tur(&mut rig).good(&[]);
    assert_eq!(rig.store[0], 7);
}

#[test]
fn sanitize_that_cannot_be_remembered_is_refused_and_one_that_cannot_be_forgotten_has_failed() {
    let mut rig = rig();
    rig.fail_saves = true;
    rig.run(&sanitize(BLOCK_ERASE | IMMED, 0), Data::None)
        .check(Sense::INTERNAL_TARGET_FAILURE);
    assert!(!rig.home.has_own_work());
    tur(&mut rig).good(&[]);
    rig.fail_saves = false;
    let live = begin(&mut rig, BLOCK_ERASE, &[]);
    rig.fail_saves = true;
    rig.work_own();
    end(&mut rig, live).check(Sense::SANITIZE_COMMAND_FAILED);
    tur(&mut rig).refused(Sense::SANITIZE_COMMAND_FAILED);
}

#[test]
fn unit_that_was_being_sanitized_when_its_process_ended_begins_anew() {
    let mut rig = rig();
    rig.run(&sanitize(OVERWRITE | IMMED, 6), Data::Out(&PATTERN));
    let saved = rig.saves[0].clone().unwrap();
    let mut again = Rig::with_snapshot(keeping().with_saved_settings(&saved).unwrap());
    assert_eq!(tur(&mut again).done.sense.unwrap().ascq, 0x1b);
    assert_eq!(again.work_own(), ["write 0+64 pattern 512", "flush"]);
    tur(&mut again).good(&[]);
    assert_eq!(again.store[..2], [0xaa, 0xbb]);
    assert_eq!(again.saves, [None]);
}

#[test]
fn change_of_the_unit_waits_for_what_it_does_by_itself() {
    let mut rig = rig();
    rig.run(&sanitize(OVERWRITE | IMMED, 6), Data::Out(&PATTERN));
    let own = rig.begin_own().unwrap();
    let read_only = scsi::lu::LuChange {
        read_only: Some(true),
        ..scsi::lu::LuChange::default()
    };
    rig.act(HomeAction::Configure(Box::new(read_only)));
    assert!(!rig.home.is_quiet(), "a write is under way");
    rig.end_own(&own, Ok(()));
    assert!(rig.home.is_quiet());
    assert!(rig.home.snapshot().caps.read_only);
    // The store refuses what is left.
    let own = rig.begin_own().unwrap();
    let refused = IoError::new(IoErrorKind::ReadOnly, IoOpKind::Flush);
    rig.end_own(&own, Err(refused));
    let run = tur(&mut rig);
    run.check(Sense::unit_attention(0x2a, 0x01));
    tur(&mut rig).refused(Sense::SANITIZE_COMMAND_FAILED);
}

#[test]
fn sanitize_with_what_it_does_not_do_is_refused_with_its_place() {
    let mut rig = rig();
    for (cdb, sense) in [
        (sanitize(0x03, 0), Sense::cdb_bit(1, 4)),
        (sanitize(0x00, 0), Sense::cdb_bit(1, 4)),
        (sanitize(BLOCK_ERASE | 0x40, 0), Sense::cdb_bit(1, 6)),
        (sanitize(BLOCK_ERASE, 8), Sense::cdb_byte(7)),
        (sanitize(EXIT, 0x100), Sense::cdb_byte(7)),
        (sanitize(OVERWRITE, 0), Sense::cdb_byte(7)),
        (sanitize(OVERWRITE, 4), Sense::cdb_byte(7)),
        (sanitize(OVERWRITE, 517), Sense::cdb_byte(7)),
        (
            sanitize(OVERWRITE, 8),
            Sense::PARAMETER_LIST_LENGTH_ERROR.pointing(true, 7, None),
        ),
    ] {
        rig.run(&cdb, Data::Out(&[0; 5])).refused(sense);
    }
    for (list, sense) in [
        ([0x21, 0, 0, 1, 0], Sense::parameter_bit(0, 6)),
        ([0x80, 0, 0, 1, 0], Sense::parameter_bit(0, 4)),
        ([0x01, 1, 0, 1, 0], Sense::parameter_byte(1)),
        ([0x01, 0, 0, 0, 0], Sense::parameter_byte(2)),
        ([0x01, 0, 0, 2, 0], Sense::parameter_byte(2)),
        ([0x01, 0, 2, 1, 0], Sense::parameter_byte(2)),
    ] {
        rig.run(&sanitize(OVERWRITE, 5), Data::Out(&list))
            .check(sense);
    }
    assert!(!rig.home.has_own_work());
}

#[test]
fn sanitize_is_kept_from_by_write_protection_and_reservations() {
    let mut rig = rig();
    rig.run_as(TWO, &[0x16, 0, 0, 0, 0, 0], Data::None)
        .good(&["home Reserve"]);
    let run = rig.run(&sanitize(BLOCK_ERASE, 0), Data::None);
    assert_eq!(run.done.status, Status::ReservationConflict);
    rig.run_as(TWO, &[0x17, 0, 0, 0, 0, 0], Data::None)
        .good(&["home Release"]);
    rig.view_protected = true;
    for action in [BLOCK_ERASE, EXIT] {
        rig.run(&sanitize(action, 0), Data::None)
            .refused(Sense::WRITE_PROTECTED);
    }
    rig.view_protected = false;
    // A reservation that came while the command was on its way to the home.
    let (mut live, step) = rig.start(ONE, &sanitize(BLOCK_ERASE, 0), Data::None);
    let Step::Home(action) = step else {
        panic!("{step:?}")
    };
    rig.run_as(TWO, &[0x16, 0, 0, 0, 0, 0], Data::None);
    rig.shard.request(live.task.key(), ONE, action);
    let step = rig.wait(&mut live).unwrap();
    assert_eq!(
        step,
        Step::Done(scsi::Done::status(Status::ReservationConflict))
    );
    assert!(!rig.home.has_own_work());
    let refused: Refusal = Sense::WRITE_PROTECTED.into();
    assert!(matches!(refused, Refusal::Check(_)));
}

#[test]
fn sanitize_is_not_offered_where_a_restart_would_forget_it_or_blocks_cannot_be_given_back() {
    let codes = |rig: &mut Rig| {
        let run = rig.run(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], Data::In(4096));
        let entries = run.data_in[4..].chunks_exact(8);
        let sanitizes = entries.filter(|entry| entry[0] == 0x48);
        sanitizes.map(|entry| entry[3]).collect::<Vec<_>>()
    };
    let mut forgetful = Rig::new();
    forgetful
        .run(&sanitize(BLOCK_ERASE, 0), Data::None)
        .refused(Sense::INVALID_COMMAND_OPERATION_CODE);
    assert_eq!(codes(&mut forgetful), []);
    assert_eq!(codes(&mut rig()), [OVERWRITE, BLOCK_ERASE, EXIT]);
    let mut thick = keeping();
    thick.caps.unmap = false;
    let mut thick = Rig::with_snapshot(thick);
    thick
        .run(&sanitize(BLOCK_ERASE, 0), Data::None)
        .refused(Sense::cdb_bit(1, 4));
    assert_eq!(codes(&mut thick), [OVERWRITE, EXIT]);
    let wabereq = |rig: &mut Rig| {
        let run = rig.run(&[0x12, 1, 0xb1, 0, 64, 0], Data::In(64));
        run.data_in[7] >> 6
    };
    assert_eq!(wabereq(&mut thick), 0);
    assert_eq!(wabereq(&mut rig()), 1);
}
