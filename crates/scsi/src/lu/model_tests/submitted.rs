//! What the caller submits, and what its answer promises.
//!
//! Such actions are worked one after the other. So one that is submitted while none is under way meets the LU as it is, and
//! what it does is known for certain when it is answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use block::Geometry;

use super::super::lab::snapshot;
use super::super::*;
use super::{State, World};
use crate::snapshot::{LuCondition, LuIdentity, LuSnapshot, TargetPort};

/// An action under way.
#[derive(Debug)]
pub(super) struct Submitted {
    action: HomeAction,
    /// Where it was submitted alone.
    certain: Option<Certain>,
}

/// What must hold at the answer.
#[derive(Debug)]
struct Certain {
    /// Kinds that the action concerns, and whether it establishes them.
    attentions: Vec<(UnitAttention, bool)>,
    /// The nexuses that were attached to shards which the home counted on.
    nexuses: BTreeSet<(usize, NexusId)>,
}

impl World {
    pub(super) fn submit(&mut self) {
        let id = self.name();
        let action = self.some_action();
        let certain = self.submitted.is_empty().then(|| self.certain(&action));
        match &action {
            HomeAction::Configure(change) if change.read_only.is_some() => self.read_only = false,
            HomeAction::Condition(_) => self.away = false,
            _ => {}
        }
        self.submitted.insert(
            id,
            Submitted {
                action: action.clone(),
                certain,
            },
        );
        let mut out = Vec::new();
        self.lab.home.submit(id, action, &mut out);
        self.lab.post(out);
    }

    fn some_action(&mut self) -> HomeAction {
        match self.below(12) {
            0 | 1 => {
                let blocks = 900 + self.below(4) as u64;
                HomeAction::Resize(Geometry::new(512, blocks).unwrap())
            }
            2 => HomeAction::WriteCache(self.below(2) == 0),
            3 | 4 => HomeAction::Condition(LuCondition::NotReady),
            5..8 => HomeAction::Condition(LuCondition::Ready),
            8 => HomeAction::Establish(UnitAttention::ReportedLunsDataChanged),
            _ => HomeAction::Configure(Box::new(self.some_change())),
        }
    }

    fn some_change(&mut self) -> LuChange {
        let mut change = LuChange::default();
        if self.below(2) == 0 {
            let serial = ["one", "two"][self.below(2)].into();
            change.identity = Some(Arc::new(LuIdentity {
                serial,
                ..LuIdentity::clone(&snapshot().identity)
            }));
        }
        if self.below(3) == 0 {
            let port = TargetPort {
                relative_id: 1 + self.below(2) as u16,
                group_id: 0,
                name: "port".into(),
                device_name: "device".into(),
            };
            change.target_ports = Some(Arc::new([port]));
        }
        if self.below(2) == 0 {
            change.read_only = Some(self.below(3) == 0);
        }
        change
    }

    /// What the action does to the LU as it is. What was told earlier is reported first, so that it must be told again.
    fn certain(&mut self, action: &HomeAction) -> Certain {
        let now = self.lab.home.snapshot().clone();
        let attentions = attentions_of(action, &now);
        let mut nexuses = BTreeSet::new();
        for (nexus, at) in &self.nexuses {
            let Some(shard) = self.lab.shards[*at].shard.as_mut() else {
                continue;
            };
            let joined = shard.is_joined();
            if let Some(attached) = shard.nexus_mut(*nexus).filter(|_| joined) {
                for (attention, _) in &attentions {
                    attached.clear(*attention);
                }
                nexuses.insert((*at, *nexus));
            }
        }
        Certain {
            attentions,
            nexuses,
        }
    }

    /// Takes answers at the moment they come: nothing that the home began since has reached a shard.
    pub(super) fn take_completed(&mut self) {
        let completed: Vec<_> = self.lab.home.take_completed().collect();
        for (id, result) in completed {
            let seed = self.seed;
            assert_eq!(result, ActionResult::Done, "seed {seed}");
            let (first, submitted) = self.submitted.pop_first().expect("answered once");
            assert_eq!(id, first, "seed {seed}: in the order of submission");
            self.learn(&submitted.action);
            if let Some(certain) = &submitted.certain {
                self.check_shown(&submitted.action);
                self.check_told(&submitted.action, certain);
            }
        }
    }

    /// What is known from now on, until something else of the kind is submitted.
    fn learn(&mut self, action: &HomeAction) {
        let mut later = self.submitted.values().map(|later| &later.action);
        let is_later = later.any(|later| match (action, later) {
            (HomeAction::Configure(_), HomeAction::Configure(later)) => later.read_only.is_some(),
            (HomeAction::Condition(_), HomeAction::Condition(_)) => true,
            _ => false,
        });
        match action {
            _ if is_later => {}
            HomeAction::Configure(change) => {
                self.read_only = change.read_only.unwrap_or(self.read_only);
            }
            HomeAction::Condition(condition) => self.away = *condition == LuCondition::NotReady,
            _ => {}
        }
        for (place, task) in &self.tasks {
            let State::Flying { left } = task.state else {
                continue;
            };
            let writes = task.script.io_kind(left + 1) == IoKind::Write;
            assert!(
                !(self.away || writes && self.read_only),
                "seed {}: {place:?} is in flight after {action:?}",
                self.seed
            );
        }
    }

    /// Every shard that the home counts on shows what was done.
    fn check_shown(&self, action: &HomeAction) {
        for member in &self.lab.shards {
            let Some(shard) = member.shard.as_ref().filter(|shard| shard.is_joined()) else {
                continue;
            };
            let shown = shard.snapshot();
            let shows = match action {
                HomeAction::Configure(change) => change.apply(shown) == **shown,
                HomeAction::Resize(geometry) => shown.geometry() == *geometry,
                HomeAction::Condition(condition) => shown.condition == *condition,
                HomeAction::WriteCache(on) => shown.caps.write_cache == *on,
                _ => true,
            };
            assert!(shows, "seed {}: {action:?} but {shown:?}", self.seed);
        }
    }

    fn check_told(&mut self, action: &HomeAction, certain: &Certain) {
        for (at, nexus) in &certain.nexuses {
            let shard = self.lab.shards[*at].shard.as_ref();
            let Some(nexus) = shard.and_then(|shard| shard.nexus(*nexus)) else {
                continue;
            };
            for (attention, told) in &certain.attentions {
                let pending = nexus.attentions().as_slice().contains(attention);
                let seed = self.seed;
                assert_eq!(pending, *told, "seed {seed}: {attention:?} of {action:?}");
            }
        }
        let told = |one| certain.attentions.contains(&(one, true));
        self.seen.configured += u32::from(told(UnitAttention::InquiryDataChanged));
        self.seen.resized += u32::from(told(UnitAttention::CapacityDataChanged));
        self.seen.came_back += u32::from(told(UnitAttention::MediumMayHaveChanged));
    }
}

/// Kinds that only the caller's actions establish, and of these what the action establishes.
fn attentions_of(action: &HomeAction, now: &LuSnapshot) -> Vec<(UnitAttention, bool)> {
    let identity = matches!(action, HomeAction::Configure(change)
        if change.identity.as_ref().is_some_and(|identity| *identity != now.identity));
    let comes_back = *action == HomeAction::Condition(LuCondition::Ready)
        && now.condition == LuCondition::NotReady;
    let grows = matches!(action, HomeAction::Resize(geometry) if *geometry != now.geometry());
    let luns = HomeAction::Establish(UnitAttention::ReportedLunsDataChanged);
    let mut attentions = vec![
        (UnitAttention::InquiryDataChanged, identity),
        (UnitAttention::MediumMayHaveChanged, comes_back),
        (UnitAttention::CapacityDataChanged, grows),
        (UnitAttention::ReportedLunsDataChanged, *action == luns),
    ];
    // MODE SELECT commands and a reset may tell this as well, so that only its absence would say something.
    if matches!(action, HomeAction::Configure(change)
        if change.read_only.is_some_and(|on| on != now.caps.read_only))
    {
        attentions.push((UnitAttention::ModeParametersChanged, true));
    }
    attentions
}
