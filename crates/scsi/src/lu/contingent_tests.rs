//! ACA conditions, QERR, TAS and TST over several shards.

use super::lab::{Lab, name_of};
use super::*;
use crate::command::Cdb;
use crate::command::TaskAttribute::{self, HeadOfQueue, Ordered, Simple};
use crate::snapshot::QueueError;
use crate::step::Status;

const ONE: NexusId = NexusId(1);
const TWO: NexusId = NexusId(2);
const FIRST: TaskKey = TaskKey(10);
const SECOND: TaskKey = TaskKey(20);
const CONTROL: TaskKey = TaskKey(99);

/// Two shards; nexus ONE on the first, nexus TWO on the second.
fn two() -> Lab {
    let mut lab = Lab::joined(2);
    lab.shard(0).attach_nexus(ONE, &name_of(ONE), &[]);
    lab.shard(1).attach_nexus(TWO, &name_of(TWO), &[]);
    lab
}

fn set(lab: &mut Lab, change: ModeChange) {
    let mut out = Vec::new();
    lab.home
        .submit(1, HomeAction::ModeDefaults(change), &mut out);
    lab.post(out);
    lab.settle();
    for (at, nexus) in [(0, ONE), (1, TWO)] {
        let nexus = lab.shard(at).nexus_mut(nexus).unwrap();
        nexus.clear(UnitAttention::ModeParametersChanged);
    }
}

/// TEST UNIT READY.
fn plain() -> Cdb {
    Cdb::new(&[0; 6])
}

fn enter(lab: &mut Lab, at: usize, key: TaskKey, attribute: TaskAttribute) -> Admit {
    let nexus = [ONE, TWO][at];
    lab.shard(at).enter(key, nexus, attribute).unwrap();
    lab.settle();
    lab.shard(at).admit_command(key)
}

/// Has a task end in CHECK CONDITION, as far as that goes now.
fn fail(lab: &mut Lab, at: usize, key: TaskKey, naca: bool) -> AdmitEnd {
    let cdb = Cdb::new(&[0, 0, 0, 0, 0, u8::from(naca) << 2]);
    let end = lab.shard(at).admit_end(key, Status::CheckCondition, &cdb);
    if let AdmitEnd::Ask(action) = &end {
        let nexus = [ONE, TWO][at];
        lab.shard(at).request(key, nexus, action.clone());
    }
    end
}

fn completed(key: TaskKey) -> ShardAction {
    let result = ActionResult::Done;
    ShardAction::Completed { key, result }
}

fn aborted(key: TaskKey) -> ShardAction {
    ShardAction::Abort(key, Abortion::default())
}

#[test]
fn check_condition_with_naca_blocks_the_other_shard_before_it_is_told() {
    let mut lab = two();
    enter(&mut lab, 0, FIRST, Simple);
    enter(&mut lab, 1, SECOND, Simple);
    assert!(matches!(fail(&mut lab, 0, FIRST, true), AdmitEnd::Ask(_)));
    assert_eq!(lab.actions(0), [completed(FIRST)]);
    let version = lab.shard(1).version();
    let io = lab.shard(1).admit_io(SECOND, None, IoKind::Other, version);
    assert_eq!(io, Admit::Held);
    let end = lab.shard(1).admit_end(SECOND, Status::Good, &plain());
    assert_eq!(end, AdmitEnd::Held);
    // What comes later begins, to be refused by its checks.
    assert_eq!(enter(&mut lab, 1, TaskKey(21), Ordered), Admit::Go);
    lab.shard(1).leave(TaskKey(21));
    lab.shard(0).leave(FIRST);

    lab.shard(0)
        .request(CONTROL, ONE, HomeAction::ClearContingent);
    assert_eq!(lab.actions(0), [completed(CONTROL)]);
    assert_eq!(lab.actions(1), [ShardAction::Wake(SECOND)]);
    let end = lab.shard(1).admit_end(SECOND, Status::Good, &plain());
    assert_eq!(end, AdmitEnd::Go);
}

#[test]
fn two_failures_at_once_are_told_one_after_the_other() {
    let mut lab = two();
    enter(&mut lab, 0, FIRST, Simple);
    enter(&mut lab, 1, SECOND, Simple);
    fail(&mut lab, 0, FIRST, true);
    fail(&mut lab, 1, SECOND, true);
    assert_eq!(lab.actions(0), [completed(FIRST)]);
    let refused = ShardAction::Completed {
        key: SECOND,
        result: ActionResult::Refused(crate::Refusal::Status(Status::AcaActive)),
    };
    assert_eq!(lab.actions(1), [refused]);
    assert_eq!(fail(&mut lab, 1, SECOND, true), AdmitEnd::Held);
    lab.shard(0).leave(FIRST);
    lab.shard(0)
        .request(CONTROL, ONE, HomeAction::ClearContingent);
    assert_eq!(lab.actions(0), [completed(CONTROL)]);
    assert_eq!(lab.actions(1), [ShardAction::Wake(SECOND)]);
    assert!(matches!(fail(&mut lab, 1, SECOND, true), AdmitEnd::Ask(_)));
    assert_eq!(lab.actions(1), [completed(SECOND)]);
    assert_eq!(lab.home.snapshot().contingent[0].nexus, TWO);
}

#[test]
fn blocked_task_gives_its_range_back_before_it_waits_to_end() {
    let mut lab = two();
    enter(&mut lab, 1, SECOND, Simple);
    let range = HomeAction::Range {
        lba: block::Lba(0),
        blocks: 1,
    };
    lab.shard(1).request(SECOND, TWO, range);
    assert_eq!(lab.actions(1), [ShardAction::Granted(SECOND)]);
    enter(&mut lab, 0, FIRST, Simple);
    fail(&mut lab, 0, FIRST, true);
    lab.settle();
    // It may go on to its end, and then nobody waits for it.
    let version = lab.shard(1).version();
    let io = lab.shard(1).admit_io(SECOND, None, IoKind::Other, version);
    assert_eq!(io, Admit::Go);
    lab.shard(1).io_done(SECOND);
    let end = lab.shard(1).admit_end(SECOND, Status::Good, &plain());
    assert_eq!(end, AdmitEnd::Held);
    lab.settle();
    assert!(lab.home.is_quiet());
}

#[test]
fn qerr_aborts_on_every_shard_and_the_status_waits_for_the_last_to_leave() {
    for (status, told) in [
        (false, vec![UnitAttention::CommandsCleared]),
        (true, vec![]),
    ] {
        let mut lab = two();
        set(
            &mut lab,
            ModeChange {
                queue_error: Some(QueueError::AbortsAll),
                task_aborted_status: Some(status),
                ..ModeChange::default()
            },
        );
        enter(&mut lab, 0, FIRST, Simple);
        enter(&mut lab, 0, TaskKey(11), Simple);
        enter(&mut lab, 1, SECOND, Ordered);
        fail(&mut lab, 0, FIRST, false);
        assert_eq!(lab.actions(0), [aborted(TaskKey(11))]);
        assert_eq!(lab.actions(1), [aborted(SECOND)]);
        let statuses: Vec<bool> = lab.abortions.iter().map(|how| how.status).collect();
        assert_eq!(statuses, [false, status]);
        let by_function = lab.abortions.iter().any(|how| how.function.is_some());
        assert!(!by_function);
        lab.shard(0).leave(TaskKey(11));
        assert_eq!(lab.actions(0), []);
        lab.shard(1).leave(SECOND);
        assert_eq!(lab.actions(0), [completed(FIRST)]);
        let two = lab.shard(1).nexus(TWO).unwrap();
        assert_eq!(two.attentions().as_slice(), told);
        lab.shard(0).leave(FIRST);
        lab.settle();
        assert!(lab.home.is_quiet());
    }
}

#[test]
fn clear_task_set_with_tas_tells_others_by_status_and_names_its_function() {
    let mut lab = two();
    set(
        &mut lab,
        ModeChange {
            task_aborted_status: Some(true),
            ..ModeChange::default()
        },
    );
    for action in [HomeAction::ClearTaskSet, HomeAction::LogicalUnitReset] {
        enter(&mut lab, 0, FIRST, Simple);
        enter(&mut lab, 1, SECOND, Simple);
        lab.shard(0).request(CONTROL, ONE, action);
        assert_eq!(lab.actions(0), [aborted(FIRST)]);
        assert_eq!(lab.actions(1), [aborted(SECOND)]);
        let [own, other] = lab.abortions[..] else {
            panic!("{:?}", lab.abortions);
        };
        assert!(!own.status && other.status);
        assert!(own.function.is_some() && own.function == other.function);
        assert_eq!([own.by, other.by], [Some(ONE); 2]);
        lab.abortions.clear();
        lab.shard(0).leave(FIRST);
        lab.shard(1).leave(SECOND);
        assert_eq!(lab.actions(0), [completed(CONTROL)]);
    }
    let two = lab.shard(1).nexus(TWO).unwrap();
    let told = two.attentions().as_slice();
    assert_eq!(told, [UnitAttention::BusDeviceReset]);
}

#[test]
fn clear_task_set_of_a_nexus_with_its_own_task_set_spares_others() {
    let mut lab = two();
    set(
        &mut lab,
        ModeChange {
            task_set_per_nexus: Some(true),
            ..ModeChange::default()
        },
    );
    enter(&mut lab, 0, FIRST, Simple);
    enter(&mut lab, 1, SECOND, Simple);
    lab.shard(0).request(CONTROL, ONE, HomeAction::ClearTaskSet);
    assert_eq!(lab.actions(0), [aborted(FIRST)]);
    assert_eq!(lab.actions(1), []);
    // Nor does anything of theirs wait for it.
    assert_eq!(enter(&mut lab, 1, TaskKey(21), Simple), Admit::Go);
    lab.shard(0).leave(FIRST);
    assert_eq!(lab.actions(0), [completed(CONTROL)]);
}

#[test]
fn ordered_within_a_task_set_of_its_own_waits_for_the_nexus_alone() {
    let mut lab = two();
    set(
        &mut lab,
        ModeChange {
            task_set_per_nexus: Some(true),
            ..ModeChange::default()
        },
    );
    enter(&mut lab, 1, SECOND, Simple);
    assert_eq!(enter(&mut lab, 0, TaskKey(1), Simple), Admit::Go);
    assert_eq!(enter(&mut lab, 0, TaskKey(2), Ordered), Admit::Held);
    assert_eq!(enter(&mut lab, 0, TaskKey(3), Simple), Admit::Held);
    assert_eq!(enter(&mut lab, 0, TaskKey(4), HeadOfQueue), Admit::Go);
    assert_eq!(enter(&mut lab, 0, TaskKey(5), Ordered), Admit::Held);
    lab.shard(0).leave(TaskKey(1));
    let woken: Vec<ShardAction> = [2, 3, 5].map(|key| ShardAction::Wake(TaskKey(key))).into();
    assert_eq!(lab.actions(0), woken);
    assert_eq!(lab.shard(0).admit_command(TaskKey(2)), Admit::Go);
    assert_eq!(lab.shard(0).admit_command(TaskKey(3)), Admit::Held);
    assert_eq!(lab.shard(0).admit_command(TaskKey(5)), Admit::Held);
    // Nobody else waits.
    assert_eq!(enter(&mut lab, 1, TaskKey(21), Simple), Admit::Go);
    lab.shard(0).leave(TaskKey(2));
    lab.actions(0);
    assert_eq!(lab.shard(0).admit_command(TaskKey(3)), Admit::Go);
    assert_eq!(lab.shard(0).admit_command(TaskKey(5)), Admit::Held);
    lab.shard(0).leave(TaskKey(3));
    lab.shard(0).leave(TaskKey(4));
    lab.actions(0);
    assert_eq!(lab.shard(0).admit_command(TaskKey(5)), Admit::Go);
    assert!(lab.home.is_quiet());
}

#[test]
fn ordered_that_is_aborted_within_its_task_set_lets_the_next_go() {
    let mut lab = two();
    set(
        &mut lab,
        ModeChange {
            task_set_per_nexus: Some(true),
            ..ModeChange::default()
        },
    );
    enter(&mut lab, 0, TaskKey(1), Simple);
    enter(&mut lab, 0, TaskKey(2), Ordered);
    enter(&mut lab, 0, TaskKey(3), Simple);
    lab.shard(0).leave(TaskKey(2));
    assert_eq!(lab.actions(0), [ShardAction::Wake(TaskKey(3))]);
    assert_eq!(lab.shard(0).admit_command(TaskKey(3)), Admit::Go);
}

#[test]
fn shard_that_joins_during_a_condition_blocks_nothing_that_it_gets_later() {
    let mut lab = two();
    enter(&mut lab, 0, FIRST, Simple);
    fail(&mut lab, 0, FIRST, true);
    lab.settle();
    lab.create(1);
    lab.shard(1).attach_nexus(TWO, &name_of(TWO), &[]);
    lab.shard(1).enter(SECOND, TWO, Simple).unwrap();
    assert_eq!(lab.shard(1).admit_command(SECOND), Admit::Held);
    assert_eq!(lab.actions(1), [ShardAction::Wake(SECOND)]);
    // It is refused by its checks.
    assert_eq!(lab.shard(1).admit_command(SECOND), Admit::Go);
    assert!(lab.shard(1).snapshot().contingent_for(TWO).is_some());
}

#[test]
fn nexus_that_goes_takes_its_condition_along() {
    let mut lab = two();
    enter(&mut lab, 0, FIRST, Simple);
    enter(&mut lab, 1, SECOND, Simple);
    fail(&mut lab, 0, FIRST, true);
    lab.settle();
    let end = lab.shard(1).admit_end(SECOND, Status::Good, &plain());
    assert_eq!(end, AdmitEnd::Held);
    lab.shard(0).leave(FIRST);
    lab.shard(0).detach_nexus(ONE, CONTROL);
    lab.settle();
    assert!(lab.home.snapshot().contingent.is_empty());
    assert_eq!(lab.actions(1), [ShardAction::Wake(SECOND)]);
}
