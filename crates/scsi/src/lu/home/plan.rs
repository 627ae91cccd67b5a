//! What an action needs before it is done, and what it changes.
//!
//! Pure: the present snapshot in, a decision out.

use block::StoreCaps;

use super::super::UnitAttention;
use super::super::fence::{FenceScope, Holds};
use super::super::message::{ActionResult, AttentionScope, HomeAction, LuChange};
use super::lane::{Request, Requester};
use crate::snapshot::{LuCondition, LuSnapshot};

/// What an action needs.
pub(super) enum Plan {
    /// Nothing: it is answered.
    Answer(ActionResult),
    /// A fence first.
    Fence(FenceScope),
    /// Only to be published.
    Publish,
}

/// What to publish.
pub(super) struct Change {
    /// The LU as it is to be, but for its version; `None`: as it is.
    pub(super) snapshot: Option<LuSnapshot>,
    pub(super) attentions: Vec<(UnitAttention, AttentionScope)>,
}

/// What `request` needs, as the LU is `now`.
pub(super) fn plan(now: &LuSnapshot, request: &Request) -> Plan {
    let holder = now.reservation;
    let is_holder = holder.is_some() && holder == request.nexus;
    let done = Plan::Answer(ActionResult::Done);
    match &request.action {
        // SPC-2 "RESERVE(6) command": these conflict with the reservation of another.
        HomeAction::Range { .. } | HomeAction::Reserve | HomeAction::ModeSelect(_)
            if holder.is_some() && request.nexus.is_some() && !is_holder =>
        {
            Plan::Answer(ActionResult::ReservationConflict)
        }
        // These are held by a task or a nexus, and a caller is none.
        HomeAction::Range { .. } | HomeAction::Ordered | HomeAction::Reserve
            if matches!(request.by, Requester::Caller(_)) =>
        {
            done
        }
        HomeAction::Range { lba, blocks } => Plan::Fence(FenceScope::Io {
            range: Some((*lba, *blocks)),
            holds: Holds::Everything,
        }),
        HomeAction::Ordered => Plan::Fence(FenceScope::Drain),
        HomeAction::ClearTaskSet => Plan::Fence(FenceScope::Abort {
            cleared_by: request.nexus,
        }),
        HomeAction::LogicalUnitReset => Plan::Fence(FenceScope::Abort { cleared_by: None }),
        HomeAction::Establish(_) => Plan::Publish,
        // SPC-2 "RELEASE(6) command": of a nexus without the reservation it is no error and changes nothing.
        HomeAction::Release if !is_holder => done,
        HomeAction::NexusLost(nexus) if holder != Some(*nexus) => done,
        HomeAction::Release
        | HomeAction::NexusLost(_)
        | HomeAction::SetTimestamp(_)
        | HomeAction::ResetLog => Plan::Publish,
        HomeAction::Reserve if is_holder => done,
        HomeAction::ModeSelect(change) if change.apply(now.mode) == now.mode => done,
        HomeAction::Resize(geometry) if *geometry == now.caps.geometry => done,
        HomeAction::WriteCache(on) if write_cache_is(now, *on) => done,
        HomeAction::Condition(condition) if *condition == now.condition => done,
        HomeAction::Configure(change) => plan_configuration(now, change),
        HomeAction::Reserve | HomeAction::Resize(_) | HomeAction::Condition(_) => {
            Plan::Fence(hold(Holds::Everything))
        }
        HomeAction::ModeSelect(_) | HomeAction::WriteCache(_) => Plan::Fence(hold(Holds::Changes)),
    }
}

/// What `request` makes of the LU as it is `now`.
pub(super) fn change(now: &LuSnapshot, request: &Request) -> Change {
    let mut next = now.clone();
    let mut attentions = Vec::new();
    match &request.action {
        HomeAction::Reserve => next.reservation = request.nexus,
        HomeAction::Release | HomeAction::NexusLost(_) => next.reservation = None,
        HomeAction::ModeSelect(change) => next.mode = change.apply(now.mode),
        HomeAction::SetTimestamp(offset_ms) => {
            next.timestamp_offset_ms = Some(*offset_ms);
            attentions.push((UnitAttention::TimestampChanged, others(request)));
        }
        HomeAction::ResetLog => {
            now.statistics.reset();
            attentions.push((UnitAttention::LogParametersChanged, others(request)));
        }
        HomeAction::WriteCache(on) => {
            next.mode.write_cache = *on;
            next.mode_defaults.write_cache = *on;
            next.caps.write_cache = *on;
        }
        HomeAction::LogicalUnitReset => {
            // SAM-5 "Logical unit reset"; SPC-2 "RESERVE(6) command": a reset ends the reservation.
            next.reservation = None;
            next.mode = now.mode_defaults;
            attentions.push((UnitAttention::BusDeviceReset, AttentionScope::All));
        }
        HomeAction::Resize(geometry) => {
            next.caps.geometry = *geometry;
            attentions.push((UnitAttention::CapacityDataChanged, AttentionScope::All));
        }
        HomeAction::Configure(change) => {
            next = change.apply(now);
            attentions.extend(attentions_of(now, &next).map(|one| (one, AttentionScope::All)));
        }
        HomeAction::Condition(condition) => {
            next.condition = *condition;
            // SAM-5 "Unit attention conditions": the medium may have been changed. While it was not there, it was in
            // nobody's sight.
            if [now.condition, next.condition] == [LuCondition::NotReady, LuCondition::Ready] {
                attentions.push((UnitAttention::MediumMayHaveChanged, AttentionScope::All));
            }
        }
        HomeAction::Establish(attention) => attentions.push((*attention, AttentionScope::All)),
        HomeAction::Range { .. } | HomeAction::Ordered | HomeAction::ClearTaskSet => {}
    }
    let by_mode = matches!(
        request.action,
        HomeAction::ModeSelect(_) | HomeAction::WriteCache(_)
    );
    if by_mode && next.mode != now.mode {
        // SPC-5 "MODE SELECT(6) command": every nexus but the one that sent it is told.
        attentions.push((UnitAttention::ModeParametersChanged, others(request)));
    }
    Change {
        snapshot: (next != *now).then_some(next),
        attentions,
    }
}

/// Every nexus but the one that asks.
fn others(request: &Request) -> AttentionScope {
    request
        .nexus
        .map_or(AttentionScope::All, AttentionScope::AllBut)
}

fn plan_configuration(now: &LuSnapshot, change: &LuChange) -> Plan {
    let next = change.apply(now);
    let [before, after] = [now, &next].map(|lu| StoreCaps {
        read_only: false,
        ..lu.caps
    });
    if next == *now {
        Plan::Answer(ActionResult::Done)
    } else if before != after {
        Plan::Fence(hold(Holds::Everything))
    } else if next.caps.read_only != now.caps.read_only {
        Plan::Fence(hold(Holds::Changes))
    } else {
        Plan::Publish
    }
}

/// What every nexus is told of a configuration.
fn attentions_of(now: &LuSnapshot, next: &LuSnapshot) -> impl Iterator<Item = UnitAttention> {
    // What is told in other ways than by INQUIRY.
    let beside = |caps: StoreCaps| StoreCaps {
        geometry: next.caps.geometry,
        read_only: next.caps.read_only,
        ..caps
    };
    let inquiry = next.identity != now.identity || beside(now.caps) != next.caps;
    [
        (
            next.geometry() != now.geometry(),
            UnitAttention::CapacityDataChanged,
        ),
        // SPC-5 "Mode parameter header formats": the DEVICE-SPECIFIC PARAMETER field has SBC-4's WP bit.
        (
            next.caps.read_only != now.caps.read_only,
            UnitAttention::ModeParametersChanged,
        ),
        (inquiry, UnitAttention::InquiryDataChanged),
    ]
    .into_iter()
    .filter_map(|(differs, attention)| differs.then_some(attention))
}

/// A fence over the whole LU.
fn hold(holds: Holds) -> FenceScope {
    FenceScope::Io { range: None, holds }
}

fn write_cache_is(now: &LuSnapshot, on: bool) -> bool {
    [
        now.mode.write_cache,
        now.mode_defaults.write_cache,
        now.caps.write_cache,
    ] == [on; 3]
}
