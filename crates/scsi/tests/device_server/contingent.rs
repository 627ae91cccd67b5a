//! ACA conditions, and what the Control mode page makes of CHECK CONDITION and of unit attentions. SAM-5 r21 "Auto contingent
//! allegiance"; SPC-5 r22 "Control mode page".

use scsi::lu::{HomeAction, ModeChange, TaskKey, UnitAttention};
use scsi::{Interlock, QueueError, Sense, Status, Step, TaskAttribute};

use crate::rig::{BLOCK, Data, Event, ONE, Rig, TWO, cdb10};

const TEST_UNIT_READY: [u8; 6] = [0x00, 0, 0, 0, 0, 0];
const REQUEST_SENSE: [u8; 6] = [0x03, 0, 0, 0, 252, 0];
const NACA: u8 = 0x04;

/// A read beyond the last block, with NACA.
fn failing_read() -> [u8; 10] {
    let mut cdb = cdb10(0x28, 0, 64, 1);
    cdb[9] = NACA;
    cdb
}

fn faulted() -> Rig {
    let mut rig = Rig::new();
    let run = rig.run(&failing_read(), Data::In(512));
    run.refused(Sense::LBA_OUT_OF_RANGE.pointing(true, 2, None));
    rig
}

fn set(rig: &mut Rig, change: ModeChange) {
    rig.act(HomeAction::ModeDefaults(change));
    // The nexuses are told.
    for nexus in [ONE, TWO] {
        rig.run_as(nexus, &REQUEST_SENSE, Data::In(18));
    }
}

fn status(rig: &mut Rig, attribute: TaskAttribute, cdb: &[u8]) -> [Status; 2] {
    rig.attribute = attribute;
    let both = [ONE, TWO].map(|nexus| rig.run_as(nexus, cdb, Data::None).done.status);
    rig.attribute = TaskAttribute::Simple;
    both
}

#[test]
fn naca_with_good_establishes_nothing() {
    let mut rig = Rig::new();
    rig.run(&[0, 0, 0, 0, 0, NACA], Data::None).good(&[]);
    assert!(rig.shard.snapshot().contingent.is_empty());
    let both = status(&mut rig, TaskAttribute::Simple, &TEST_UNIT_READY);
    assert_eq!(both, [Status::Good; 2]);
}

#[test]
fn unsupported_command_with_naca_establishes_nothing() {
    let mut rig = Rig::new();
    for cdb in [[0x7f; 16], [0x0d; 16]] {
        let done = rig.run(&cdb, Data::None).done;
        assert_eq!(done.status, Status::CheckCondition);
        assert!(rig.shard.snapshot().contingent.is_empty());
    }
}

#[test]
fn command_during_aca_is_aca_active_for_the_faulted_and_busy_or_aca_active_for_others() {
    let mut rig = faulted();
    for attribute in [
        TaskAttribute::Untagged,
        TaskAttribute::Simple,
        TaskAttribute::Ordered,
        TaskAttribute::HeadOfQueue,
    ] {
        let both = status(&mut rig, attribute, &TEST_UNIT_READY);
        assert_eq!(both, [Status::AcaActive, Status::Busy], "{attribute:?}");
        let both = status(&mut rig, attribute, &[0, 0, 0, 0, 0, NACA]);
        assert_eq!(both, [Status::AcaActive; 2], "{attribute:?}");
    }
    // Not even those that are always answered.
    let inquiry = rig.run(&[0x12, 0, 0, 0, 96, 0], Data::In(96));
    assert_eq!(inquiry.done.status, Status::AcaActive);
}

#[test]
fn command_of_the_aca_attribute_runs_one_at_a_time_and_leaves_the_condition_where_it_is_good() {
    let mut rig = faulted();
    rig.attribute = TaskAttribute::Aca;
    let (first, step) = rig.start(ONE, &cdb10(0x28, 0, 3, 1), Data::In(512));
    assert!(matches!(step, Step::Io(_)));
    let second = rig.run(&TEST_UNIT_READY, Data::None);
    assert_eq!(second.done.status, Status::AcaActive);
    let first = rig.finish(first, step);
    assert_eq!(first.data_in, [3; BLOCK]);
    let both = status(&mut rig, TaskAttribute::Simple, &TEST_UNIT_READY);
    assert_eq!(both, [Status::AcaActive, Status::Busy]);
}

#[test]
fn command_of_the_aca_attribute_that_fails_ends_the_condition_or_with_naca_keeps_it() {
    let mut rig = faulted();
    rig.attribute = TaskAttribute::Aca;
    let run = rig.run(&failing_read(), Data::In(512));
    assert_eq!(run.done.status, Status::CheckCondition);
    assert_eq!(rig.shard.snapshot().contingent.len(), 1);
    let run = rig.run(&cdb10(0x28, 0, 64, 1), Data::In(512));
    assert_eq!(run.done.status, Status::CheckCondition);
    assert!(rig.shard.snapshot().contingent.is_empty());
    let both = status(&mut rig, TaskAttribute::Simple, &TEST_UNIT_READY);
    assert_eq!(both, [Status::Good; 2]);
}

#[test]
fn commands_in_the_task_set_are_blocked_until_clear_aca() {
    let mut rig = Rig::new();
    let (mut own, step) = rig.start(ONE, &cdb10(0x2a, 0, 3, 1), Data::Out(&[0xee; BLOCK]));
    let own_step = step;
    let (mut other, step) = rig.start(TWO, &cdb10(0x28, 0, 4, 1), Data::In(512));
    // Its I/O is in the store when the other fails.
    let other_step = step;
    rig.run(&failing_read(), Data::In(512));
    // The read comes back, and its status waits; the write is not submitted.
    let other_step = rig.take_on(&mut other, other_step).unwrap();
    let Step::Done(done) = other_step else {
        panic!("{other_step:?}");
    };
    assert!(!rig.may_end(&other, &done));
    let own_step = rig.take_on(&mut own, own_step).unwrap();
    assert_eq!(own_step, Step::Held);
    assert!(rig.wait(&mut own).is_none());
    assert_eq!(rig.store[3 * BLOCK], 3);

    // Another nexus clears nothing.
    let control = TaskKey(900);
    rig.shard.request(control, TWO, HomeAction::ClearContingent);
    assert_eq!(rig.event(control), Some(Event::Granted));
    assert_eq!(rig.shard.snapshot().contingent.len(), 1);
    rig.shard.request(control, ONE, HomeAction::ClearContingent);
    assert_eq!(rig.event(control), Some(Event::Granted));
    assert_eq!(rig.event(other.task.key()), Some(Event::Wake));
    assert!(rig.may_end(&other, &done));
    rig.end(other, done);
    let run = rig.finish(own, own_step);
    assert_eq!(run.done.status, Status::Good);
    assert_eq!(rig.store[3 * BLOCK], 0xee);
}

#[test]
fn clear_aca_aborts_the_commands_of_the_aca_attribute() {
    let mut rig = faulted();
    rig.attribute = TaskAttribute::Aca;
    let (live, step) = rig.start(ONE, &cdb10(0x28, 0, 3, 1), Data::In(512));
    assert!(matches!(step, Step::Io(_)));
    let control = TaskKey(900);
    rig.shard.request(control, ONE, HomeAction::ClearContingent);
    assert_eq!(rig.event(live.task.key()), Some(Event::Abort));
    assert_eq!(rig.event(control), None);
    rig.shard.leave(live.task.key());
    assert_eq!(rig.event(control), Some(Event::Granted));
    let both = status(&mut rig, TaskAttribute::Simple, &TEST_UNIT_READY);
    assert_eq!(both, [Status::Good; 2]);
}

#[test]
fn second_failure_waits_until_the_first_is_cleared() {
    let mut rig = Rig::new();
    let (second, step) = rig.start(TWO, &failing_read(), Data::In(512));
    let Step::Done(done) = step else {
        panic!("{step:?}");
    };
    rig.run(&failing_read(), Data::In(512));
    assert!(!rig.may_end(&second, &done));
    let control = TaskKey(900);
    rig.shard.request(control, ONE, HomeAction::ClearContingent);
    assert_eq!(rig.event(control), Some(Event::Granted));
    assert_eq!(rig.event(second.task.key()), Some(Event::Wake));
    // Now it establishes one of its own.
    assert!(rig.may_end(&second, &done));
    rig.end(second, done);
    let both = status(&mut rig, TaskAttribute::Simple, &TEST_UNIT_READY);
    assert_eq!(both, [Status::Busy, Status::AcaActive]);
}

#[test]
fn aca_is_cleared_by_a_reset_and_by_the_loss_of_the_nexus() {
    for action in [HomeAction::LogicalUnitReset, HomeAction::NexusLost(ONE)] {
        let mut rig = faulted();
        rig.act(action.clone());
        assert!(rig.shard.snapshot().contingent.is_empty(), "{action:?}");
        rig.run_as(TWO, &REQUEST_SENSE, Data::In(18));
        let run = rig.run_as(TWO, &TEST_UNIT_READY, Data::None);
        assert_eq!(run.done.status, Status::Good);
    }
    let mut rig = faulted();
    rig.act(HomeAction::NexusLost(TWO));
    assert_eq!(rig.shard.snapshot().contingent.len(), 1);
}

#[test]
fn aca_of_a_nexus_with_its_own_task_set_is_nobody_elses_business() {
    let mut rig = Rig::new();
    set(
        &mut rig,
        ModeChange {
            task_set_per_nexus: Some(true),
            ..ModeChange::default()
        },
    );
    rig.run(&failing_read(), Data::In(512));
    let both = status(&mut rig, TaskAttribute::Simple, &TEST_UNIT_READY);
    assert_eq!(both, [Status::AcaActive, Status::Good]);
    let run = rig.run_as(TWO, &failing_read(), Data::In(512));
    assert_eq!(run.done.status, Status::CheckCondition);
    assert_eq!(rig.shard.snapshot().contingent.len(), 2);
    let control = TaskKey(900);
    rig.shard.request(control, ONE, HomeAction::ClearContingent);
    assert_eq!(rig.event(control), Some(Event::Granted));
    let both = status(&mut rig, TaskAttribute::Simple, &TEST_UNIT_READY);
    assert_eq!(both, [Status::Good, Status::AcaActive]);
}

#[test]
fn unit_attention_with_naca_establishes_a_condition_too() {
    let mut rig = Rig::new();
    rig.act(HomeAction::LogicalUnitReset);
    let (asc, ascq) = UnitAttention::BusDeviceReset.additional_sense();
    rig.run(&[0, 0, 0, 0, 0, NACA], Data::None)
        .refused(Sense::unit_attention(asc, ascq));
    assert_eq!(rig.shard.snapshot().contingent.len(), 1);
}

#[test]
fn check_condition_aborts_the_commands_that_qerr_says() {
    for (queue_error, per_nexus, aborted) in [
        (QueueError::Continues, false, [false, false]),
        (QueueError::AbortsAll, false, [true, true]),
        (QueueError::AbortsAll, true, [true, false]),
        (QueueError::AbortsOwn, false, [true, false]),
        (QueueError::AbortsOwn, true, [true, false]),
    ] {
        let mut rig = Rig::new();
        set(
            &mut rig,
            ModeChange {
                queue_error: Some(queue_error),
                task_set_per_nexus: Some(per_nexus),
                ..ModeChange::default()
            },
        );
        let waiting =
            [ONE, TWO].map(|nexus| rig.start(nexus, &cdb10(0x28, 0, 3, 1), Data::In(512)));
        let (failing, step) = rig.start(ONE, &cdb10(0x28, 0, 64, 1), Data::In(512));
        let Step::Done(done) = step else {
            panic!("{step:?}");
        };
        // The status is told when what it aborts has left.
        let at_once = rig.may_end(&failing, &done);
        assert_eq!(at_once, aborted == [false; 2], "{queue_error:?}");
        for ((live, _), aborted) in waiting.iter().zip(aborted) {
            let key = live.task.key();
            let event = rig.event(key);
            assert_eq!(event, aborted.then_some(Event::Abort), "{queue_error:?}");
            rig.shard.leave(key);
        }
        let told = at_once || rig.event(failing.task.key()) == Some(Event::Granted);
        assert!(told, "{queue_error:?}");
        rig.end(failing, done);
        // TAS is 0: who lost commands to another is told.
        let lost = aborted[1];
        let nexus = rig.shard.nexus(TWO).unwrap();
        let told = nexus.attentions().first() == Some(UnitAttention::CommandsCleared);
        assert_eq!(told, lost, "{queue_error:?}");
    }
}

#[test]
fn unit_attention_that_is_interlocked_stays_until_request_sense() {
    for interlock in [Interlock::Kept, Interlock::KeptAndEstablished] {
        let mut rig = Rig::new();
        set(
            &mut rig,
            ModeChange {
                interlock: Some(interlock),
                ..ModeChange::default()
            },
        );
        rig.act(HomeAction::Establish(UnitAttention::CapacityDataChanged));
        for _ in 0..2 {
            rig.run(&TEST_UNIT_READY, Data::None)
                .refused(Sense::unit_attention(0x2a, 0x09));
        }
        rig.run(&REQUEST_SENSE, Data::In(18));
        rig.run(&TEST_UNIT_READY, Data::None).good(&[]);
    }
}

#[test]
fn reservation_conflict_establishes_a_unit_attention_where_the_interlock_says_so() {
    for (interlock, established) in [
        (Interlock::Cleared, None),
        (Interlock::Kept, None),
        (
            Interlock::KeptAndEstablished,
            Some(UnitAttention::PreviousReservationConflict),
        ),
    ] {
        let mut rig = Rig::new();
        set(
            &mut rig,
            ModeChange {
                interlock: Some(interlock),
                ..ModeChange::default()
            },
        );
        rig.run(&[0x16, 0, 0, 0, 0, 0], Data::None);
        let run = rig.run_as(TWO, &cdb10(0x28, 0, 3, 1), Data::In(512));
        assert_eq!(run.done.status, Status::ReservationConflict);
        let first = rig.shard.nexus(TWO).unwrap().attentions().first();
        assert_eq!(first, established, "{interlock:?}");
    }
    let mut rig = Rig::new();
    let interlock = Some(Interlock::KeptAndEstablished);
    set(
        &mut rig,
        ModeChange {
            interlock,
            ..ModeChange::default()
        },
    );
    for (status, sense) in [(Status::Busy, (0x2c, 7)), (Status::TaskSetFull, (0x2c, 8))] {
        rig.shard.note_status(ONE, status);
        let first = rig.shard.nexus_mut(ONE).unwrap().take_unit_attention();
        assert_eq!(first.map(UnitAttention::additional_sense), Some(sense));
    }
}
