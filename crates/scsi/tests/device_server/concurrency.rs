//! Commands that meet each other, and changes of the LU, on their way.

use block::Geometry;
use scsi::lu::{HomeAction, ModeChange};
use scsi::{Resumed, Sense, Status, Step, TaskAttribute};

use crate::rig::{
    BLOCK, Data, Event, ONE, Rig, TWO, cdb10, compare_and_write, describe, unmap, unmap_list,
};

#[test]
fn write_under_a_granted_range_waits_until_it_is_lifted() {
    let mut rig = Rig::new();
    let data = [vec![3; BLOCK], vec![0xee; BLOCK]].concat();
    let (mut compare, step) = rig.start(ONE, &compare_and_write(0, 3, 1), Data::Out(&data));
    let step = rig.take_on(&mut compare, step).unwrap();
    // Granted: it wants to read.
    let compare_step = rig.take_on(&mut compare, step).unwrap();
    assert_eq!(describe(&compare_step), "read 3+1 scratch");

    let block = [0x11; BLOCK];
    let (mut write, step) = rig.start(TWO, &cdb10(0x2a, 0, 3, 1), Data::Out(&block));
    let held = rig.take_on(&mut write, step).unwrap();
    assert_eq!(held, Step::Held);
    assert!(rig.wait(&mut write).is_none());
    // Another block is free.
    let other = rig.run_as(TWO, &cdb10(0x2a, 0, 4, 1), Data::Out(&block));
    other.good(&["data-out 0+512", "write 4+1 at 0"]);

    let done = rig.finish(compare, compare_step);
    assert_eq!(done.done.status, Status::Good);
    assert_eq!(rig.store[3 * BLOCK], 0xee);
    let run = rig.finish(write, held);
    run.good(&["data-out 0+512", "held", "write 3+1 at 0"]);
    assert_eq!(rig.store[3 * BLOCK], 0x11);
}

#[test]
fn write_checked_before_a_reservation_is_not_submitted_after_it() {
    let mut rig = Rig::new();
    let block = [0xee; BLOCK];
    let (mut write, step) = rig.start(TWO, &cdb10(0x2a, 0, 3, 1), Data::Out(&block));
    rig.run(&[0x16, 0, 0, 0, 0, 0], Data::None)
        .good(&["home Reserve"]);
    let step = rig.take_on(&mut write, step).unwrap();
    let run = rig.finish(write, step);
    assert_eq!(run.done.status, Status::ReservationConflict);
    assert_eq!(run.done.transfer_bytes, 512);
    assert_eq!(rig.store[3 * BLOCK], 3);
}

#[test]
fn write_between_two_pieces_is_checked_again() {
    let mut rig = Rig::with(crate::rig::caps(4096, 1024));
    let data = vec![0xee; 2 << 20];
    let (mut write, step) = rig.start(TWO, &cdb10(0x2a, 0, 0, 512), Data::Out(&data));
    let step = rig.take_on(&mut write, step).unwrap();
    let step = rig.take_on(&mut write, step).unwrap();
    let step = rig.take_on(&mut write, step).unwrap();
    // The first piece is out, the second has its data.
    assert!(matches!(step, Step::Io(_)));
    let step = rig.take_on(&mut write, step).unwrap();
    let run = rig.finish(write, step);
    assert_eq!(run.done.status, Status::Good);

    let (mut write, step) = rig.start(TWO, &cdb10(0x2a, 0, 0, 512), Data::Out(&data));
    let step = rig.take_on(&mut write, step).unwrap();
    let step = rig.take_on(&mut write, step).unwrap();
    rig.act(HomeAction::ModeSelect(ModeChange {
        software_write_protect: Some(true),
        ..ModeChange::default()
    }));
    let step = rig.take_on(&mut write, step).unwrap();
    let run = rig.finish(write, step);
    run.check(Sense::WRITE_PROTECTED);
    assert_eq!(run.done.transfer_bytes, 2 << 20);
    let pieces = run
        .steps
        .iter()
        .filter(|step| step.starts_with("write"))
        .count();
    assert_eq!(pieces, 1);
}

#[test]
fn commands_on_blocks_that_went_are_lba_out_of_range() {
    let smaller = Geometry::new(512, 8).unwrap();
    let mut rig = Rig::new();
    let block = [0; BLOCK];
    let list = unmap_list(&[(2, 1), (9, 1)]);
    let (mut write, write_step) = rig.start(ONE, &cdb10(0x2a, 0, 9, 1), Data::Out(&block));
    let (mut unmap, unmap_step) = rig.start(ONE, &unmap(40), Data::Out(&list));
    let unmap_step = rig.take_on(&mut unmap, unmap_step).unwrap();
    assert!(matches!(unmap_step, Step::Io(_)));
    let unmap_step = rig.take_on(&mut unmap, unmap_step).unwrap();
    assert_eq!(describe(&unmap_step), "unmap 9+1");
    // The I/O is in the store: the change waits for it, and the command ends well.
    let run = rig.finish(unmap, unmap_step);
    assert_eq!(run.done.status, Status::Good);

    let (mut unmap, unmap_step) = rig.start(ONE, &crate::rig::unmap(40), Data::Out(&list));
    rig.act(HomeAction::Resize(smaller));
    let step = rig.take_on(&mut write, write_step).unwrap();
    let run = rig.finish(write, step);
    run.check(Sense::LBA_OUT_OF_RANGE.pointing(true, 2, None));
    let step = rig.take_on(&mut unmap, unmap_step).unwrap();
    let run = rig.finish(unmap, step);
    run.check(Sense::LBA_OUT_OF_RANGE.pointing(false, 24, None));
}

#[test]
fn abort_ends_a_task_wherever_it_is() {
    for steps in 0..4 {
        let mut rig = Rig::new();
        let data = [vec![3; BLOCK], vec![0xee; BLOCK]].concat();
        let (mut live, mut step) = rig.start(ONE, &compare_and_write(0, 3, 1), Data::Out(&data));
        for _ in 0..steps {
            step = rig.take_on(&mut live, step).unwrap();
        }
        rig.act(HomeAction::LogicalUnitReset);
        assert_eq!(rig.event(live.task.key()), Some(Event::Abort));
        let step = rig.resume(&mut live, Resumed::Aborted);
        let run = rig.finish(live, step);
        assert_eq!(run.done.status, Status::TaskAborted);
        assert!(rig.home.is_quiet(), "after {steps} steps");
        assert_eq!(rig.store[3 * BLOCK], 3);
        // The LU is free again.
        rig.run(&[0x03, 0, 0, 0, 252, 0], Data::In(252));
        rig.run(&cdb10(0x28, 0, 3, 1), Data::In(512))
            .good(&["read 3+1 at 0"]);
    }
}

#[test]
fn ordered_command_waits_for_older_ones_and_newer_wait_for_it() {
    let mut rig = Rig::new();
    let block = [0xee; BLOCK];
    let (older, older_step) = rig.start(ONE, &cdb10(0x2a, 0, 0, 1), Data::Out(&block));
    rig.attribute = TaskAttribute::Ordered;
    let (mut ordered, ordered_step) = rig.start(ONE, &cdb10(0x28, 0, 0, 1), Data::In(512));
    assert_eq!(ordered_step, Step::Held);
    rig.attribute = TaskAttribute::Simple;
    let (mut newer, newer_step) = rig.start(ONE, &cdb10(0x28, 0, 1, 1), Data::In(512));
    assert_eq!(newer_step, Step::Held);

    rig.finish(older, older_step)
        .good(&["data-out 0+512", "write 0+1 at 0"]);
    assert!(rig.wait(&mut newer).is_none());
    let step = rig.wait(&mut ordered).unwrap();
    let run = rig.finish(ordered, step);
    run.good(&["held", "read 0+1 at 0"]);
    assert_eq!(run.data_in, block);
    rig.finish(newer, newer_step)
        .good(&["held", "read 1+1 at 0"]);
}

#[test]
fn task_resumed_with_what_it_did_not_ask_for_ends_in_hardware_error() {
    let mut rig = Rig::new();
    for event in [
        Resumed::Granted,
        Resumed::Refused(scsi::Refusal::Status(scsi::Status::ReservationConflict)),
        Resumed::Lifted,
        Resumed::DataOut(&[0; 512]),
    ] {
        let (mut live, _) = rig.start(ONE, &cdb10(0x28, 0, 0, 1), Data::In(512));
        let step = rig.resume(&mut live, event);
        let run = rig.finish(live, step);
        run.check(Sense::INTERNAL_TARGET_FAILURE);
    }
    let (mut live, _) = rig.start(ONE, &[0; 6], Data::None);
    let step = rig.resume(&mut live, Resumed::Granted);
    rig.finish(live, step).check(Sense::INTERNAL_TARGET_FAILURE);
}
