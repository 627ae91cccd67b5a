//! What the operator changes of a LU that is used.

use std::sync::Arc;

use block::{Geometry, Lba, StoreCaps};

use super::lab::{Lab, Way, name_of, snapshot};
use super::*;
use crate::command::TaskAttribute::Simple;
use crate::snapshot::{LuCondition, LuIdentity, LuSnapshot, TargetPort};

const ONE: NexusId = NexusId(1);
const TWO: NexusId = NexusId(2);
const WRITING: TaskKey = TaskKey(10);
const READING: TaskKey = TaskKey(20);

/// Two shards with a nexus each.
fn two() -> Lab {
    let mut lab = Lab::joined(2);
    lab.shard(0).attach_nexus(ONE, &name_of(ONE), &[]);
    lab.shard(1).attach_nexus(TWO, &name_of(TWO), &[]);
    lab
}

fn submit(lab: &mut Lab, action: HomeAction) {
    let mut out = Vec::new();
    lab.home.submit(7, action, &mut out);
    lab.post(out);
}

fn configure(change: LuChange) -> HomeAction {
    HomeAction::Configure(Box::new(change))
}

fn is_completed(lab: &mut Lab) -> bool {
    let completed: Vec<_> = lab.home.take_completed().collect();
    assert!(completed.is_empty() || completed == [(7, ActionResult::Done)]);
    !completed.is_empty()
}

/// What both nexuses were told, which is the same; told again it would be seen again.
fn told(lab: &mut Lab) -> Vec<UnitAttention> {
    let mut told = |at: usize, nexus| {
        let nexus = lab.shard(at).nexus_mut(nexus).unwrap();
        std::iter::from_fn(|| nexus.take_unit_attention()).collect::<Vec<_>>()
    };
    let (one, two) = (told(0, ONE), told(1, TWO));
    assert_eq!(one, two);
    one
}

fn identity() -> Arc<LuIdentity> {
    Arc::new(LuIdentity {
        serial: "another".into(),
        ..LuIdentity::clone(&snapshot().identity)
    })
}

fn ports() -> Arc<[TargetPort]> {
    Arc::new([TargetPort {
        relative_id: 3,
        group_id: 0,
        name: "iqn.2026-01.org.example:disk,t,0x0003".into(),
        device_name: "iqn.2026-01.org.example:disk".into(),
    }])
}

fn other_store() -> StoreCaps {
    StoreCaps {
        unmap: true,
        optimal_blocks: 64,
        read_only: true,
        write_cache: true,
        ..StoreCaps::plain(Geometry::new(4096, 77).unwrap())
    }
}

fn admit(lab: &mut Lab, key: TaskKey, kind: IoKind, version: u64) -> Admit {
    let range = Some((Lba(0), 1));
    lab.shard(0).admit_io(key, range, kind, version)
}

/// A lab with a write and a read in flight.
fn flying() -> Lab {
    let mut lab = two();
    for (key, kind) in [(WRITING, IoKind::Write), (READING, IoKind::Read)] {
        lab.shard(0).enter(key, ONE, Simple).unwrap();
        assert_eq!(admit(&mut lab, key, kind, 1), Admit::Go);
    }
    lab
}

/// A change, what every nexus is told of it, and what becomes of the LU.
type Row = (LuChange, &'static [UnitAttention], fn(&mut LuSnapshot));

#[test]
fn change_of_each_part_is_published_and_told_as_it_must_be() {
    use UnitAttention::*;
    let of = LuChange::default;
    let rows: [Row; 7] = [
        (
            LuChange {
                identity: Some(identity()),
                ..of()
            },
            &[InquiryDataChanged],
            |lu| lu.identity = identity(),
        ),
        (
            LuChange {
                target_ports: Some(ports()),
                ..of()
            },
            &[],
            |lu| lu.target_ports = ports(),
        ),
        (
            LuChange {
                read_only: Some(true),
                ..of()
            },
            &[ModeParametersChanged],
            |lu| lu.caps.read_only = true,
        ),
        (
            LuChange {
                caps: Some(other_store()),
                ..of()
            },
            &[CapacityDataChanged, InquiryDataChanged],
            |lu| {
                lu.caps = StoreCaps {
                    read_only: false,
                    write_cache: false,
                    ..other_store()
                }
            },
        ),
        (
            LuChange {
                caps: Some(StoreCaps::plain(Geometry::new(512, 5).unwrap())),
                ..of()
            },
            &[CapacityDataChanged],
            |lu| lu.caps.geometry.capacity_blocks = 5,
        ),
        (
            LuChange {
                third_party_copy: Some(false),
                ..of()
            },
            &[InquiryDataChanged],
            |lu| lu.third_party_copy = false,
        ),
        (
            LuChange {
                identity: Some(identity()),
                target_ports: Some(ports()),
                read_only: Some(true),
                caps: Some(other_store()),
                third_party_copy: Some(false),
                access: None,
            },
            &[
                CapacityDataChanged,
                ModeParametersChanged,
                InquiryDataChanged,
            ],
            |lu| {
                lu.third_party_copy = false;
                lu.identity = identity();
                lu.target_ports = ports();
                lu.caps = StoreCaps {
                    write_cache: false,
                    ..other_store()
                }
            },
        ),
    ];
    for (change, attentions, expect) in rows {
        let mut lab = two();
        let mut expected = LuSnapshot {
            version: 2,
            ..snapshot()
        };
        expect(&mut expected);
        // A second time it changes nothing.
        for attentions in [attentions, &[]] {
            submit(&mut lab, configure(change.clone()));
            lab.settle();
            assert!(is_completed(&mut lab), "{change:?}");
            assert_eq!(told(&mut lab), attentions, "{change:?}");
            for at in [0, 1] {
                assert_eq!(**lab.shard(at).snapshot(), expected, "{change:?}");
            }
        }
        assert!(lab.home.is_quiet());
    }
}

#[test]
fn change_of_nothing_is_done_at_once() {
    let mut lab = flying();
    let same = LuChange {
        identity: Some(Arc::new(LuIdentity::clone(&snapshot().identity))),
        target_ports: Some(Arc::new([])),
        read_only: Some(false),
        caps: Some(snapshot().caps),
        third_party_copy: Some(true),
        access: None,
    };
    for change in [LuChange::default(), same] {
        submit(&mut lab, configure(change));
        assert!(is_completed(&mut lab), "without a message");
    }
    lab.settle();
    assert_eq!(lab.shard(0).version(), 1);
    assert_eq!(told(&mut lab), []);
}

#[test]
fn read_only_waits_for_writes_in_flight_and_not_for_reads() {
    let mut lab = flying();
    let change = LuChange {
        read_only: Some(true),
        ..LuChange::default()
    };
    submit(&mut lab, configure(change));
    lab.settle();
    assert!(!is_completed(&mut lab));
    let late = TaskKey(30);
    lab.shard(0).enter(late, ONE, Simple).unwrap();
    assert_eq!(admit(&mut lab, late, IoKind::Write, 1), Admit::Held);
    lab.shard(0).io_done(WRITING);
    assert_eq!(lab.actions(0), [ShardAction::Wake(late)]);
    assert!(is_completed(&mut lab));
    assert_eq!(admit(&mut lab, late, IoKind::Write, 1), Admit::Recheck);
    assert!(lab.shard(0).snapshot().write_protected());
}

#[test]
fn names_and_ports_wait_for_no_io() {
    let mut lab = flying();
    let change = LuChange {
        identity: Some(identity()),
        target_ports: Some(ports()),
        ..LuChange::default()
    };
    submit(&mut lab, configure(change));
    lab.settle();
    assert!(is_completed(&mut lab));
    assert!(!lab.shard(0).is_fenced());
}

#[test]
fn facts_of_another_store_size_and_condition_wait_for_all_io_in_flight() {
    let caps = LuChange {
        caps: Some(other_store()),
        ..LuChange::default()
    };
    for action in [
        configure(caps),
        HomeAction::Resize(Geometry::new(512, 4096).unwrap()),
        HomeAction::Condition(LuCondition::NotReady),
    ] {
        let mut lab = flying();
        submit(&mut lab, action.clone());
        for key in [WRITING, READING] {
            lab.settle();
            assert!(!is_completed(&mut lab), "{action:?}");
            lab.shard(0).io_done(key);
        }
        lab.settle();
        assert!(is_completed(&mut lab), "{action:?}");
        for (key, kind) in [(WRITING, IoKind::Write), (READING, IoKind::Read)] {
            assert_eq!(admit(&mut lab, key, kind, 1), Admit::Recheck);
        }
    }
}

#[test]
fn condition_tells_only_of_a_medium_that_was_away() {
    use LuCondition::{Failed, NotReady, Ready};
    use UnitAttention::MediumMayHaveChanged;
    let mut lab = two();
    for (condition, attentions) in [
        (NotReady, &[][..]),
        (NotReady, &[]),
        (Ready, &[MediumMayHaveChanged]),
        (Ready, &[]),
        (Failed, &[]),
        (Ready, &[]),
        (Failed, &[]),
        (NotReady, &[]),
        (Failed, &[]),
        (NotReady, &[]),
        (Ready, &[MediumMayHaveChanged]),
    ] {
        submit(&mut lab, HomeAction::Condition(condition));
        lab.settle();
        assert!(is_completed(&mut lab));
        assert_eq!(lab.shard(1).snapshot().condition, condition);
        assert_eq!(told(&mut lab), attentions, "{condition:?}");
    }
}

#[test]
fn change_under_a_shard_that_never_answers_ends_with_that_shard() {
    let mut lab = two();
    let change = LuChange {
        read_only: Some(true),
        ..LuChange::default()
    };
    submit(&mut lab, configure(change));
    lab.collect(0);
    while lab.deliver(0, Way::ToShard) || lab.deliver(0, Way::ToHome) {}
    assert!(!is_completed(&mut lab));
    lab.shards[1].shard = None;
    let mut out = Vec::new();
    lab.home.leave(ShardId(1), &mut out);
    lab.post(out);
    lab.settle();
    assert!(is_completed(&mut lab));
    assert!(lab.shard(0).snapshot().caps.read_only);
}

#[test]
fn idle_is_a_shard_without_task_nexus_and_request() {
    let mut lab = Lab::joined(1);
    assert!(lab.shard(0).is_idle());
    lab.shard(0).attach_nexus(ONE, &name_of(ONE), &[]);
    assert!(!lab.shard(0).is_idle(), "a nexus");
    lab.shard(0).enter(WRITING, ONE, Simple).unwrap();
    let control = TaskKey(99);
    lab.shard(0).detach_nexus(ONE, control);
    assert!(!lab.shard(0).is_idle() && !lab.shard(0).retire(), "a task");
    lab.shard(0).leave(WRITING);
    assert!(!lab.shard(0).is_idle(), "the nexus is not forgotten");
    lab.settle();
    assert!(lab.shard(0).is_idle());
    // What concerns the LU alone keeps no worker on it.
    submit(&mut lab, HomeAction::Condition(LuCondition::NotReady));
    assert!(lab.shard(0).is_idle() && lab.shard(0).retire());
    lab.settle();
    assert!(is_completed(&mut lab), "the farewell is an answer, too");
    assert_eq!(lab.home.members(), []);
}
