//! One home and its shards, step by step.

use block::{Geometry, Lba};

use super::lab::{Lab, Way, name_of, snapshot};
use super::*;
use crate::command::TaskAttribute::{HeadOfQueue, Ordered, Simple};
use crate::sense::Refusal;
use crate::snapshot::{LuCondition, Reserved};

const ONE: NexusId = NexusId(1);
const TWO: NexusId = NexusId(2);
const KEY: TaskKey = TaskKey(10);
const OTHER: TaskKey = TaskKey(20);
const CONTROL: TaskKey = TaskKey(99);
/// As [`Lab::actions`] shows every abort.
const SILENT: Abortion = Abortion {
    status: false,
    function: None,
    by: None,
};

/// Two shards; nexus ONE on the first, nexus TWO on the second.
fn two() -> Lab {
    let mut lab = Lab::joined(2);
    lab.shard(0).attach_nexus(ONE, &name_of(ONE), &[]);
    lab.shard(1).attach_nexus(TWO, &name_of(TWO), &[]);
    lab
}

/// One shard with both nexuses.
fn one() -> Lab {
    let mut lab = Lab::joined(1);
    lab.shard(0).attach_nexus(ONE, &name_of(ONE), &[]);
    lab.shard(0).attach_nexus(TWO, &name_of(TWO), &[]);
    lab
}

fn range(lba: u64, blocks: u64) -> HomeAction {
    let lba = Lba(lba);
    HomeAction::Range { lba, blocks }
}

fn write(lab: &mut Lab, at: usize, key: TaskKey, lba: u64) -> Admit {
    let version = lab.shard(at).version();
    lab.shard(at)
        .admit_io(key, Some((Lba(lba), 1)), IoKind::Write, version)
}

fn done(key: TaskKey) -> ShardAction {
    let result = ActionResult::Done;
    ShardAction::Completed { key, result }
}

fn conflict(key: TaskKey) -> ShardAction {
    let result = ActionResult::Refused(Refusal::RESERVATION_CONFLICT);
    ShardAction::Completed { key, result }
}

fn attentions(lab: &mut Lab, at: usize, nexus: NexusId) -> Vec<UnitAttention> {
    lab.shard(at)
        .nexus(nexus)
        .unwrap()
        .attentions()
        .as_slice()
        .to_vec()
}

#[test]
fn range_on_one_shard_is_granted_at_once_and_holds_others_until_released() {
    let mut lab = one();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0).enter(OTHER, TWO, Simple).unwrap();
    lab.shard(0).request(KEY, ONE, range(5, 2));
    assert_eq!(lab.actions(0), [ShardAction::Granted(KEY)]);
    assert!(lab.shard(0).is_fenced());
    assert_eq!(write(&mut lab, 0, OTHER, 6), Admit::Held);
    assert_eq!(write(&mut lab, 0, KEY, 6), Admit::Go);
    lab.shard(0).io_done(KEY);
    lab.shard(0).release(KEY);
    assert_eq!(lab.actions(0), [ShardAction::Wake(OTHER)]);
    assert_eq!(write(&mut lab, 0, OTHER, 6), Admit::Go);
    assert!(!lab.shard(0).is_fenced());
    assert!(lab.home.is_quiet());
}

#[test]
fn range_waits_for_io_in_flight_on_it_and_for_no_other() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    lab.shard(1).enter(TaskKey(21), TWO, Simple).unwrap();
    assert_eq!(write(&mut lab, 1, OTHER, 6), Admit::Go);
    assert_eq!(write(&mut lab, 1, TaskKey(21), 7), Admit::Go);
    lab.shard(0).request(KEY, ONE, range(5, 2));
    assert_eq!(lab.actions(0), []);
    lab.shard(1).io_done(TaskKey(21));
    assert_eq!(lab.actions(0), []);
    lab.shard(1).io_done(OTHER);
    assert_eq!(lab.actions(0), [ShardAction::Granted(KEY)]);
}

#[test]
fn range_of_a_task_that_leaves_while_granted_is_lifted_everywhere() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    lab.shard(0).request(KEY, ONE, range(5, 2));
    lab.settle();
    assert_eq!(write(&mut lab, 1, OTHER, 5), Admit::Held);
    lab.shard(0).leave(KEY);
    assert_eq!(lab.actions(1), [ShardAction::Wake(OTHER)]);
    assert!(lab.home.is_quiet());
}

#[test]
fn range_whose_task_leaves_before_the_grant_arrives_is_taken_back() {
    let mut lab = one();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0).request(KEY, ONE, range(5, 2));
    lab.collect(0);
    // The request, and the fence's acknowledgement, have arrived; the grant is on its way.
    assert!(lab.deliver(0, Way::ToHome));
    assert!(lab.deliver(0, Way::ToShard));
    assert!(lab.deliver(0, Way::ToHome));
    lab.shard(0).leave(KEY);
    assert_eq!(lab.actions(0), []);
    assert!(lab.home.is_quiet());
    assert!(!lab.shard(0).is_fenced());
}

#[test]
fn request_that_waits_is_taken_out_when_its_task_leaves() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    lab.shard(0).request(KEY, ONE, range(5, 2));
    lab.settle();
    lab.shard(1).request(OTHER, TWO, range(5, 2));
    lab.settle();
    assert_eq!(lab.home.waiting(), 1);
    lab.shard(1).leave(OTHER);
    lab.settle();
    assert_eq!(lab.home.waiting(), 0);
    lab.shard(0).leave(KEY);
    lab.settle();
    assert!(lab.home.is_quiet());
}

#[test]
fn reserve_conflicts_for_others_and_is_no_error_again_for_the_holder() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    for _ in 0..2 {
        lab.shard(0).request(KEY, ONE, HomeAction::Reserve);
        assert_eq!(lab.actions(0), [done(KEY)]);
        assert_eq!(lab.shard(1).snapshot().reserved, Reserved::For(ONE));
        assert_eq!(lab.shard(1).version(), 2);
    }
    let mode = HomeAction::ModeSelect(ModeChange {
        write_cache: Some(true),
        ..ModeChange::default()
    });
    for action in [HomeAction::Reserve, range(0, 1), mode] {
        lab.shard(1).request(OTHER, TWO, action);
        assert_eq!(lab.actions(1), [conflict(OTHER)]);
    }
    lab.shard(1).request(OTHER, TWO, HomeAction::Release);
    assert_eq!(lab.actions(1), [done(OTHER)]);
    assert_eq!(lab.shard(0).snapshot().reserved, Reserved::For(ONE));
    lab.shard(0).request(KEY, ONE, HomeAction::Release);
    assert_eq!(lab.actions(0), [done(KEY)]);
    assert_eq!(lab.shard(1).snapshot().reserved, Reserved::No);
}

#[test]
fn reserve_is_answered_after_older_io_has_left_and_newer_is_checked_again() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    let checked = lab.shard(1).version();
    assert_eq!(write(&mut lab, 1, OTHER, 0), Admit::Go);
    lab.shard(0).request(KEY, ONE, HomeAction::Reserve);
    assert_eq!(lab.actions(0), []);
    lab.shard(1).enter(TaskKey(21), TWO, Simple).unwrap();
    assert_eq!(write(&mut lab, 1, TaskKey(21), 9), Admit::Held);
    lab.shard(1).io_done(OTHER);
    assert_eq!(lab.actions(0), [done(KEY)]);
    assert_eq!(lab.actions(1), [ShardAction::Wake(TaskKey(21))]);
    let io = Some((Lba(9), 1));
    for key in [OTHER, TaskKey(21)] {
        let admit = lab.shard(1).admit_io(key, io, IoKind::Write, checked);
        assert_eq!(admit, Admit::Recheck);
    }
}

#[test]
fn reserve_ends_with_its_nexus() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0).request(KEY, ONE, HomeAction::Reserve);
    lab.settle();
    lab.shard(0).leave(KEY);
    lab.shard(0).detach_nexus(ONE, CONTROL);
    assert_eq!(lab.actions(0), [done(KEY), done(CONTROL)]);
    assert_eq!(lab.shard(1).snapshot().reserved, Reserved::No);
}

#[test]
fn mode_select_tells_the_others_and_leaves_other_values_alone() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    let cache = ModeChange {
        write_cache: Some(true),
        ..ModeChange::default()
    };
    let protect = ModeChange {
        software_write_protect: Some(true),
        ..ModeChange::default()
    };
    lab.shard(0)
        .request(KEY, ONE, HomeAction::ModeSelect(cache));
    lab.shard(1)
        .request(OTHER, TWO, HomeAction::ModeSelect(protect));
    assert_eq!(lab.actions(0), [done(KEY)]);
    assert_eq!(lab.actions(1), [done(OTHER)]);
    let mode = lab.shard(0).snapshot().mode;
    assert!(mode.write_cache && mode.software_write_protect && !mode.descriptor_sense);
    assert_eq!(
        attentions(&mut lab, 0, ONE),
        [UnitAttention::ModeParametersChanged]
    );
    assert_eq!(
        attentions(&mut lab, 1, TWO),
        [UnitAttention::ModeParametersChanged]
    );
}

#[test]
fn mode_select_without_a_change_tells_nobody() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    let same = ModeChange {
        descriptor_sense: Some(false),
        ..ModeChange::default()
    };
    lab.shard(0).request(KEY, ONE, HomeAction::ModeSelect(same));
    assert_eq!(lab.actions(0), [done(KEY)]);
    assert_eq!(lab.shard(0).version(), 1);
    assert_eq!(attentions(&mut lab, 1, TWO), []);
}

#[test]
fn mode_select_holds_changes_and_not_reads() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    lab.shard(1).enter(TaskKey(21), TWO, Simple).unwrap();
    assert_eq!(write(&mut lab, 1, OTHER, 0), Admit::Go);
    let protect = ModeChange {
        software_write_protect: Some(true),
        ..ModeChange::default()
    };
    lab.shard(0)
        .request(KEY, ONE, HomeAction::ModeSelect(protect));
    lab.settle();
    let reading = lab
        .shard(1)
        .admit_io(TaskKey(21), Some((Lba(0), 8)), IoKind::Read, 1);
    assert_eq!(reading, Admit::Go);
    lab.shard(1).io_done(TaskKey(21));
    let flushing = lab.shard(1).admit_io(TaskKey(21), None, IoKind::Flush, 1);
    assert_eq!(flushing, Admit::Held);
    lab.shard(1).io_done(OTHER);
    assert_eq!(lab.actions(0), [done(KEY)]);
    assert_eq!(lab.actions(1), [ShardAction::Wake(TaskKey(21))]);
}

#[test]
fn clear_task_set_is_done_when_the_last_task_has_left_and_tells_those_who_lost() {
    let mut lab = two();
    let third = NexusId(3);
    lab.shard(1).attach_nexus(third, &name_of(third), &[]);
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    assert_eq!(write(&mut lab, 1, OTHER, 0), Admit::Go);
    lab.shard(0).request(CONTROL, ONE, HomeAction::ClearTaskSet);
    assert_eq!(lab.actions(0), [ShardAction::Abort(KEY, SILENT)]);
    assert_eq!(lab.actions(1), [ShardAction::Abort(OTHER, SILENT)]);
    // What comes later waits, and is not aborted.
    lab.shard(1).enter(TaskKey(21), TWO, Simple).unwrap();
    assert_eq!(lab.shard(1).admit_command(TaskKey(21)), Admit::Held);
    assert_eq!(lab.shard(1).admit_command(OTHER), Admit::Held);
    lab.shard(0).leave(KEY);
    assert_eq!(lab.actions(0), []);
    lab.shard(1).leave(OTHER);
    assert_eq!(lab.actions(0), [done(CONTROL)]);
    assert_eq!(lab.actions(1), [ShardAction::Wake(TaskKey(21))]);
    assert_eq!(lab.shard(1).admit_command(TaskKey(21)), Admit::Go);
    assert_eq!(attentions(&mut lab, 0, ONE), []);
    assert_eq!(
        attentions(&mut lab, 1, TWO),
        [UnitAttention::CommandsCleared]
    );
    assert_eq!(attentions(&mut lab, 1, third), []);
}

#[test]
fn reset_ends_reservation_and_prevention_restores_the_mode_and_tells_everybody() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0).nexus_mut(ONE).unwrap().prevents_medium_removal = true;
    let protect = ModeChange {
        software_write_protect: Some(true),
        ..ModeChange::default()
    };
    for action in [HomeAction::Reserve, HomeAction::ModeSelect(protect)] {
        lab.shard(0).request(KEY, ONE, action);
        assert_eq!(lab.actions(0), [done(KEY)]);
    }
    lab.shard(0).leave(KEY);
    lab.shard(1)
        .request(CONTROL, TWO, HomeAction::LogicalUnitReset);
    assert_eq!(lab.actions(1), [done(CONTROL)]);
    let now = lab.shard(0).snapshot();
    assert_eq!((now.reserved, now.mode), (Reserved::No, snapshot().mode));
    assert!(!lab.shard(0).nexus(ONE).unwrap().prevents_medium_removal);
    assert_eq!(
        attentions(&mut lab, 0, ONE),
        [UnitAttention::BusDeviceReset]
    );
    // Its own MODE SELECT told nexus TWO before.
    let told = [
        UnitAttention::BusDeviceReset,
        UnitAttention::ModeParametersChanged,
    ];
    assert_eq!(attentions(&mut lab, 1, TWO), told);
}

#[test]
fn reset_ends_a_task_that_holds_a_range_and_waits_for_its_io() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0).request(KEY, ONE, range(5, 2));
    lab.settle();
    assert_eq!(write(&mut lab, 0, KEY, 5), Admit::Go);
    lab.shard(1)
        .request(CONTROL, TWO, HomeAction::LogicalUnitReset);
    assert_eq!(lab.actions(1), []);
    assert_eq!(
        lab.actions(0),
        [ShardAction::Granted(KEY), ShardAction::Abort(KEY, SILENT)]
    );
    lab.shard(0).leave(KEY);
    assert_eq!(lab.actions(1), [done(CONTROL)]);
    assert!(lab.home.is_quiet());
}

#[test]
fn ordered_waits_for_older_on_every_shard_and_newer_wait_for_it() {
    let mut lab = two();
    lab.shard(0).enter(TaskKey(1), ONE, Simple).unwrap();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    for (at, key) in [(0, TaskKey(1)), (1, OTHER)] {
        assert_eq!(lab.shard(at).admit_command(key), Admit::Go);
    }
    lab.shard(0).enter(KEY, ONE, Ordered).unwrap();
    assert_eq!(lab.shard(0).admit_command(KEY), Admit::Held);
    // Newer: held here before the home has heard of it, and there when the fence has come.
    lab.shard(0).enter(TaskKey(11), ONE, Simple).unwrap();
    assert_eq!(lab.shard(0).admit_command(TaskKey(11)), Admit::Held);
    lab.settle();
    lab.shard(1).enter(TaskKey(21), TWO, Simple).unwrap();
    assert_eq!(lab.shard(1).admit_command(TaskKey(21)), Admit::Held);
    lab.shard(1).enter(TaskKey(22), TWO, HeadOfQueue).unwrap();
    assert_eq!(lab.shard(1).admit_command(TaskKey(22)), Admit::Go);

    lab.shard(0).leave(TaskKey(1));
    assert_eq!(lab.actions(0), []);
    lab.shard(1).leave(OTHER);
    assert_eq!(lab.actions(0), [ShardAction::Wake(KEY)]);
    assert_eq!(lab.shard(0).admit_command(KEY), Admit::Go);
    lab.shard(0).leave(KEY);
    assert_eq!(lab.actions(0), [ShardAction::Wake(TaskKey(11))]);
    assert_eq!(lab.actions(1), [ShardAction::Wake(TaskKey(21))]);
    assert_eq!(lab.shard(0).admit_command(TaskKey(11)), Admit::Go);
}

#[test]
fn ordered_that_needs_a_range_gets_it() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Ordered).unwrap();
    lab.settle();
    assert_eq!(lab.shard(0).admit_command(KEY), Admit::Go);
    lab.shard(0).request(KEY, ONE, range(5, 2));
    assert_eq!(lab.actions(0), [ShardAction::Granted(KEY)]);
    assert_eq!(write(&mut lab, 0, KEY, 5), Admit::Go);
    lab.shard(0).leave(KEY);
    lab.settle();
    assert!(lab.home.is_quiet());
    assert!(!lab.shard(0).is_fenced() && !lab.shard(1).is_fenced());
}

#[test]
fn ordered_that_is_withdrawn_while_it_waits_lets_those_behind_it_go() {
    let mut lab = two();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    lab.shard(0).enter(KEY, ONE, Ordered).unwrap();
    lab.shard(0).enter(TaskKey(11), ONE, Simple).unwrap();
    assert_eq!(lab.shard(0).admit_command(TaskKey(11)), Admit::Held);
    lab.settle();
    lab.shard(0).leave(KEY);
    assert_eq!(lab.actions(0), [ShardAction::Wake(TaskKey(11))]);
    assert_eq!(lab.shard(0).admit_command(TaskKey(11)), Admit::Go);
}

#[test]
fn detach_of_a_nexus_aborts_its_tasks_and_is_done_when_they_have_left() {
    let mut lab = one();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0).enter(OTHER, TWO, Simple).unwrap();
    assert_eq!(write(&mut lab, 0, KEY, 0), Admit::Go);
    lab.shard(0).detach_nexus(ONE, CONTROL);
    assert_eq!(lab.actions(0), [ShardAction::Abort(KEY, SILENT)]);
    assert_eq!(
        lab.shard(0).enter(TaskKey(11), ONE, Simple),
        Err(EnterError::NotAttached)
    );
    lab.shard(0).leave(KEY);
    assert_eq!(lab.actions(0), [done(CONTROL)]);
    assert!(lab.shard(0).nexus(ONE).is_none());
    assert_eq!(lab.shard(0).tasks(), 1);
    lab.shard(0).detach_nexus(ONE, CONTROL);
    assert_eq!(lab.actions(0), [done(CONTROL)]);
}

#[test]
fn enter_of_a_stranger_or_twice_is_refused() {
    let mut lab = one();
    let stranger = NexusId(7);
    assert_eq!(
        lab.shard(0).enter(KEY, stranger, Simple),
        Err(EnterError::NotAttached)
    );
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    assert_eq!(
        lab.shard(0).enter(KEY, ONE, Simple),
        Err(EnterError::KeyInUse)
    );
    assert_eq!(lab.shard(0).nexus(ONE).unwrap().tasks(), 1);
    lab.shard(0).leave(KEY);
    lab.shard(0).leave(KEY);
    assert_eq!(lab.shard(0).nexus(ONE).unwrap().tasks(), 0);
}

#[test]
fn task_unknown_or_aborted_is_never_admitted() {
    let mut lab = one();
    assert_eq!(lab.shard(0).admit_command(KEY), Admit::Held);
    assert_eq!(write(&mut lab, 0, KEY, 0), Admit::Held);
    lab.shard(0).io_done(KEY);
    lab.shard(0).release(KEY);
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0).detach_nexus(ONE, CONTROL);
    assert_eq!(lab.shard(0).admit_command(KEY), Admit::Held);
    assert_eq!(write(&mut lab, 0, KEY, 0), Admit::Held);
    lab.shard(0).request(KEY, ONE, HomeAction::Reserve);
    assert_eq!(lab.actions(0), [ShardAction::Abort(KEY, SILENT)]);
}

#[test]
fn submitted_actions_publish_and_complete_with_and_without_shards() {
    for shards in [0, 1, 3] {
        let mut lab = Lab::joined(shards);
        for at in 0..shards {
            lab.shard(at).attach_nexus(ONE, &name_of(ONE), &[]);
        }
        let geometry = Geometry::new(512, 2048).unwrap();
        let mut out = Vec::new();
        for (id, action) in [
            HomeAction::Resize(geometry),
            HomeAction::WriteCache(true),
            HomeAction::Condition(LuCondition::Failed),
            HomeAction::Establish(UnitAttention::InquiryDataChanged),
            HomeAction::Resize(geometry),
            range(0, 1),
            HomeAction::Ordered,
            HomeAction::Reserve,
        ]
        .into_iter()
        .enumerate()
        {
            lab.home.submit(id as u64, action, &mut out);
        }
        lab.post(out);
        lab.settle();
        let mut completed: Vec<_> = lab.home.take_completed().collect();
        completed.sort_by_key(|(id, _)| *id);
        let all: Vec<_> = (0..8).map(|id| (id, ActionResult::Done)).collect();
        assert_eq!(completed, all);
        let now = lab.home.snapshot().clone();
        assert_eq!(now.version, 4);
        assert_eq!(now.geometry(), geometry);
        assert_eq!(now.condition, LuCondition::Failed);
        assert!(now.mode.write_cache && now.mode_defaults.write_cache && now.caps.write_cache);
        for at in 0..shards {
            assert_eq!(**lab.shard(at).snapshot(), *now);
            assert_eq!(
                attentions(&mut lab, at, ONE),
                [
                    UnitAttention::CapacityDataChanged,
                    UnitAttention::ModeParametersChanged,
                    UnitAttention::InquiryDataChanged,
                ]
            );
        }
    }
}

#[test]
fn shard_before_its_welcome_holds_everything() {
    let mut lab = Lab::new(1);
    lab.shard(0).attach_nexus(ONE, &name_of(ONE), &[]);
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    assert!(!lab.shard(0).is_joined());
    assert_eq!(lab.shard(0).admit_command(KEY), Admit::Held);
    assert_eq!(write(&mut lab, 0, KEY, 0), Admit::Held);
    assert_eq!(lab.actions(0), [ShardAction::Wake(KEY)]);
    assert_eq!(lab.shard(0).admit_command(KEY), Admit::Go);
}

#[test]
fn shard_that_joins_under_a_fence_holds_to_it() {
    let mut lab = Lab::new(2);
    assert!(lab.deliver(0, Way::ToHome));
    assert!(lab.deliver(0, Way::ToShard));
    lab.shard(0).attach_nexus(ONE, &name_of(ONE), &[]);
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0).request(KEY, ONE, range(5, 2));
    lab.collect(0);
    while lab.deliver(0, Way::ToHome) || lab.deliver(0, Way::ToShard) {}
    lab.shard(1).attach_nexus(TWO, &name_of(TWO), &[]);
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    lab.settle();
    assert_eq!(lab.shard(1).admit_command(OTHER), Admit::Go);
    assert_eq!(write(&mut lab, 1, OTHER, 6), Admit::Held);
    assert_eq!(write(&mut lab, 1, OTHER, 7), Admit::Go);
    lab.shard(0).leave(KEY);
    assert_eq!(lab.actions(1), [ShardAction::Wake(OTHER)]);
}

#[test]
fn retire_is_refused_while_anything_is_left() {
    let mut lab = one();
    lab.shard(0).detach_nexus(TWO, CONTROL);
    lab.settle();
    assert!(!lab.shard(0).retire(), "a nexus is attached");
    lab.shard(0).detach_nexus(ONE, CONTROL);
    assert!(
        !lab.shard(0).retire(),
        "the home has not forgotten the nexus"
    );
    lab.settle();
    assert!(lab.shard(0).retire());
    assert!(lab.shard(0).retire());
    lab.settle();
    assert_eq!(lab.home.members(), []);
}

#[test]
fn shard_created_again_takes_only_the_welcome_meant_for_it() {
    let mut lab = Lab::new(1);
    // The first shard retires before its welcome has come.
    assert!(lab.shard(0).retire());
    lab.collect(0);
    lab.create(0);
    assert!(lab.deliver(0, Way::ToHome));
    assert!(lab.deliver(0, Way::ToShard));
    assert!(
        !lab.shard(0).is_joined(),
        "the home does not count on it yet"
    );
    lab.settle();
    assert!(lab.shard(0).is_joined());
    assert_eq!(lab.home.members(), [ShardId(0)]);
}

#[test]
fn leave_of_a_shard_frees_what_waits_for_it_or_was_granted_to_it() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    lab.shard(1).request(OTHER, TWO, range(5, 2));
    lab.settle();
    lab.shard(0).request(KEY, ONE, range(6, 2));
    lab.settle();
    // The worker of the second shard is lost, with its grant, and with the acknowledgement the next one needs.
    lab.shards[1].shard = None;
    let mut out = Vec::new();
    lab.home.leave(ShardId(1), &mut out);
    lab.post(out);
    assert_eq!(lab.actions(0), [ShardAction::Granted(KEY)]);
}

#[test]
fn leave_of_the_shard_that_asked_for_a_reset_does_not_stop_it() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(1)
        .request(CONTROL, TWO, HomeAction::LogicalUnitReset);
    assert_eq!(lab.actions(0), [ShardAction::Abort(KEY, SILENT)]);
    lab.shards[1].shard = None;
    let mut out = Vec::new();
    lab.home.leave(ShardId(1), &mut out);
    lab.post(out);
    lab.shard(0).leave(KEY);
    lab.settle();
    assert!(lab.home.is_quiet());
    assert_eq!(
        attentions(&mut lab, 0, ONE),
        [UnitAttention::BusDeviceReset]
    );
}

#[test]
fn forget_of_a_task_management_function_leaves_it_unanswered() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0)
        .request(CONTROL, ONE, HomeAction::LogicalUnitReset);
    lab.shard(0).forget(CONTROL);
    assert_eq!(lab.actions(0), [ShardAction::Abort(KEY, SILENT)]);
    lab.shard(0).leave(KEY);
    assert_eq!(lab.actions(0), []);
    assert!(lab.home.is_quiet());
    assert_eq!(
        attentions(&mut lab, 1, TWO),
        [UnitAttention::BusDeviceReset]
    );
}

#[test]
fn home_ignores_strangers_and_acknowledgements_of_nothing() {
    let mut lab = two();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    assert_eq!(write(&mut lab, 1, OTHER, 5), Admit::Go);
    lab.shard(0).request(KEY, ONE, range(5, 2));
    lab.settle();
    let mut out = Vec::new();
    let stranger = ShardId(9);
    for message in [
        ToHome::Leave,
        ToHome::Fenced(FenceId(1)),
        ToHome::Cancel(Ticket(1)),
        ToHome::Request {
            ticket: Ticket(1),
            nexus: Some(ONE),
            name: Some(name_of(ONE)),
            action: HomeAction::Reserve,
        },
    ] {
        lab.home.handle(stranger, message, &mut out);
    }
    for message in [
        ToHome::Fenced(FenceId(77)),
        ToHome::Published(FenceId(1)),
        ToHome::Cancel(Ticket(77)),
    ] {
        lab.home.handle(ShardId(1), message, &mut out);
    }
    assert_eq!(out, []);
    assert_eq!(lab.home.waiting(), 0);
    assert!(!lab.home.is_quiet());
    lab.shard(1).io_done(OTHER);
    assert_eq!(lab.actions(0), [ShardAction::Granted(KEY)]);
}

#[test]
fn leave_of_a_shard_does_not_keep_what_its_nexus_held() {
    let mut lab = two();
    lab.shard(1).enter(OTHER, TWO, Simple).unwrap();
    lab.shard(1).request(OTHER, TWO, HomeAction::Reserve);
    assert_eq!(lab.actions(1), [done(OTHER)]);
    // The serial lane is taken, so that the loss of the nexus waits there when the shard goes.
    lab.shard(1).request(OTHER, TWO, range(0, 1));
    lab.settle();
    let mut out = Vec::new();
    let lost = ToHome::Request {
        ticket: Ticket(77),
        nexus: Some(TWO),
        name: None,
        action: HomeAction::NexusLost(TWO),
    };
    lab.home.handle(ShardId(1), lost, &mut out);
    assert_eq!(lab.home.waiting(), 1);
    lab.shards[1].shard = None;
    lab.home.leave(ShardId(1), &mut out);
    lab.post(out);
    lab.settle();
    assert!(lab.home.is_quiet());
    assert_eq!(lab.shard(0).snapshot().reserved, Reserved::No);
}

#[test]
fn grant_that_finds_its_task_aborted_is_not_told() {
    let mut lab = one();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0).request(KEY, ONE, range(0, 1));
    lab.shard(0).detach_nexus(ONE, CONTROL);
    assert_eq!(lab.actions(0), [ShardAction::Abort(KEY, SILENT)]);
    lab.shard(0).leave(KEY);
    assert_eq!(lab.actions(0), [done(CONTROL)]);
    assert!(lab.home.is_quiet());
}

#[test]
fn key_that_comes_again_is_not_exempt_from_the_fence_of_its_predecessor() {
    let mut lab = one();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0).request(KEY, ONE, range(0, 1));
    lab.settle();
    lab.shard(0).leave(KEY);
    lab.shard(0).enter(KEY, TWO, Simple).unwrap();
    assert_eq!(write(&mut lab, 0, KEY, 0), Admit::Held);
    lab.settle();
    assert_eq!(write(&mut lab, 0, KEY, 0), Admit::Go);
}

#[test]
fn request_of_a_task_that_has_one_gives_the_old_one_back() {
    let mut lab = one();
    lab.shard(0).enter(KEY, ONE, Simple).unwrap();
    lab.shard(0).request(KEY, ONE, range(0, 1));
    lab.settle();
    lab.shard(0).request(KEY, ONE, range(8, 1));
    let twice = [ShardAction::Granted(KEY), ShardAction::Granted(KEY)];
    assert_eq!(lab.actions(0), twice);
    lab.shard(0).leave(KEY);
    lab.settle();
    assert!(lab.home.is_quiet());
}
