//! What an action needs before it is done, and what it changes.
//!
//! Pure: the present snapshot in, a decision out.

use std::sync::Arc;

use block::StoreCaps;

use super::super::fence::{FenceScope, Holds};
use super::super::message::{ActionResult, AttentionScope, HomeAction, LuChange};
use super::super::{NexusId, UnitAttention};
use super::contingent::{self, is_faulted, telling};
use super::kept;
use super::lane::{Request, Requester};
use crate::access::{AccessChangedBy, AccessGroup, AccessState, tpgs};
use crate::multimedia::TrayAction;
use crate::persistent_reserve::{
    Access, Asking, Outcome, PersistentReserveOut, Standing, carry_out,
};
use crate::sense::{Refusal, Sense};
use crate::snapshot::{LuCondition, LuSnapshot, Reserved};

/// What an action needs.
pub(super) enum Plan {
    /// First what this PERSISTENT RESERVE OUT comes to has to be made durable, where that is asked for.
    Reserve(Outcome),
    /// Nothing: it is answered.
    Answer(ActionResult),
    /// A fence first.
    Fence(FenceScope),
    /// Only to be published.
    Publish,
    /// What is kept of it has to be durable, then there is to be a fence, if any.
    Keep(Option<FenceScope>),
}

/// What to publish.
pub(super) struct Change {
    /// The LU as it is to be, but for its version; `None`: as it is.
    pub(super) snapshot: Option<LuSnapshot>,
    pub(super) attentions: Vec<(UnitAttention, AttentionScope)>,
}

/// What `request` needs, as the LU is `now`.
pub(super) fn plan(now: &LuSnapshot, request: &Request) -> Plan {
    let holder = match now.reserved {
        Reserved::For(nexus) => Some(nexus),
        _ => None,
    };
    let is_holder = holder.is_some() && holder == request.nexus;
    let done = Plan::Answer(ActionResult::Done);
    if let Some(refusal) = refusal(now, request) {
        return Plan::Answer(ActionResult::Refused(refusal));
    }
    match &request.action {
        HomeAction::PersistentReserve(asked) => plan_persistent(now, request, asked),
        // SPC-5 "Exceptions to SPC-2 RESERVE and RELEASE behavior": what was not refused is GOOD, and changes nothing.
        HomeAction::Reserve | HomeAction::Release if now.persistent.registrants() > 0 => done,
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
        HomeAction::ClearTaskSet | HomeAction::LogicalUnitReset | HomeAction::ClearContingent => {
            contingent::plan_abort(now, request)
        }
        HomeAction::Fault { ends, .. } => contingent::plan_fault(now, request, *ends),
        // Where it changes nothing, nothing is published.
        HomeAction::Establish(_) | HomeAction::Used(_) => Plan::Publish,
        action if kept::is_kept(action) => kept::plan(now, action),
        // SPC-2 "RELEASE(6) command": of a nexus without the reservation it is no error and changes nothing.
        HomeAction::Release if !is_holder => done,
        HomeAction::NexusLost(nexus) if !holds_anything(now, *nexus) => done,
        HomeAction::Tray(action) => plan_tray(now, request, action),
        HomeAction::Release
        | HomeAction::NexusLost(_)
        | HomeAction::SetTimestamp(_)
        // Where it changes nothing, nothing is published.
        | HomeAction::ModeDefaults(_)
        | HomeAction::SetAccessStates(_)
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
        // These are kept.
        HomeAction::SetIdentifying { .. }
        | HomeAction::Sanitize(_)
        | HomeAction::ExitSanitizeFailure
        | HomeAction::SanitizeEnded { .. } => done,
    }
}

/// Whether the loss of a nexus changes the LU.
fn holds_anything(now: &LuSnapshot, nexus: NexusId) -> bool {
    now.reserved == Reserved::For(nexus) || is_faulted(now, nexus) || now.tray.concerns(nexus)
}

/// Why `request` may not be carried out, as the LU is `now`: its checks were made on another worker, and before.
pub(super) fn refusal(now: &LuSnapshot, request: &Request) -> Option<Refusal> {
    let conflict = Some(Refusal::RESERVATION_CONFLICT);
    let lost = Some(Sense::PERSISTENT_RESERVATION_INFORMATION_LOST.into());
    let standing = || {
        let name = request.name.as_ref();
        name.map_or(Standing::NotRegistered, |name| {
            now.persistent.standing(name)
        })
    };
    // A caller that is no nexus is kept from nothing.
    request.nexus?;
    if let Some(refusal) = kept::refusal_by_sanitize(now, &request.action) {
        return Some(refusal);
    }
    match (&request.action, now.reserved) {
        // SPC-2 "RESERVE(6) command": these conflict with the reservation of another.
        (
            HomeAction::Range { .. }
            | HomeAction::Reserve
            | HomeAction::ModeSelect(_)
            | HomeAction::ResetLog
            | HomeAction::SetAccessStates(_)
            | HomeAction::Sanitize(_)
            | HomeAction::ExitSanitizeFailure
            | HomeAction::SetIdentifying { .. }
            | HomeAction::SetTimestamp(_),
            Reserved::For(holder),
        ) if request.nexus != Some(holder) => conflict,
        // SPC-2 "Reservations overview": and these with that of anybody.
        (HomeAction::PersistentReserve(_), Reserved::For(_)) => conflict,
        (
            HomeAction::ModeSelect(_)
            | HomeAction::SetTimestamp(_)
            | HomeAction::Sanitize(_)
            | HomeAction::ExitSanitizeFailure
            | HomeAction::SetIdentifying { .. }
            | HomeAction::SetAccessStates(_),
            Reserved::Persistently(kind),
        ) if Access::Writing.conflicts(kind, standing()) => conflict,
        (
            HomeAction::Reserve
            | HomeAction::Release
            | HomeAction::ModeSelect(_)
            | HomeAction::ResetLog
            | HomeAction::SetAccessStates(_)
            | HomeAction::Sanitize(_)
            | HomeAction::ExitSanitizeFailure
            | HomeAction::SetIdentifying { .. }
            | HomeAction::SetTimestamp(_),
            Reserved::Lost,
        ) => lost,
        // SPC-2 "Reservations overview": a logical unit with registrations takes no RESERVE and RELEASE, but for what SPC-5
        // "Exceptions to SPC-2 RESERVE and RELEASE behavior" excepts.
        (HomeAction::Reserve | HomeAction::Release, reserved)
            if now.persistent.registrants() > 0 =>
        {
            let excepted = match (reserved, standing()) {
                (_, Standing::Holder) => true,
                (Reserved::Persistently(kind), Standing::Registered) => kind.admits_registrants(),
                _ => false,
            };
            conflict.filter(|_| !excepted)
        }
        _ => None,
    }
}

/// What a PERSISTENT RESERVE OUT comes to.
fn plan_persistent(now: &LuSnapshot, request: &Request, asked: &PersistentReserveOut) -> Plan {
    // Only commands of a nexus ask for it.
    let Some(nexus) = &request.name else {
        return Plan::Answer(ActionResult::Done);
    };
    let asking = Asking {
        now: &now.persistent,
        nexus,
        ports: &now.target_ports,
        ptpl_capable: now.ptpl_capable,
    };
    match carry_out(&asking, asked) {
        Err(refusal) => Plan::Answer(ActionResult::Refused(refusal)),
        Ok(outcome) if *outcome.next == *now.persistent && outcome.aborted.is_none() => {
            Plan::Answer(ActionResult::Done)
        }
        Ok(outcome) => Plan::Reserve(outcome),
    }
}

/// The fence that an outcome needs: what was submitted by those that lose access has to be gone before the outcome counts.
pub(super) fn fence_of(
    now: &LuSnapshot,
    request: &Request,
    outcome: &Outcome,
) -> Option<FenceScope> {
    if let Some(nexuses) = &outcome.aborted {
        let nexuses = Arc::clone(nexuses);
        let telling = telling(now, request, false);
        return Some(FenceScope::Preempt { nexuses, telling });
    }
    let kind = (outcome.next.kind()).filter(|_| outcome.restricts(&now.persistent))?;
    Some(hold(if kind.excludes_readers() {
        Holds::Everything
    } else {
        Holds::Changes
    }))
}

/// What an outcome changes.
pub(super) fn change_by(now: &LuSnapshot, request: &Request, outcome: &Outcome) -> Change {
    let mut next = now.clone().with_persistent(Arc::clone(&outcome.next));
    if let Some(preempted) = &outcome.aborted {
        contingent::end_by_preemption(&mut next, request, preempted);
    }
    let told = outcome.told.iter();
    Change {
        snapshot: Some(next),
        attentions: told
            .map(|(attention, names)| (*attention, AttentionScope::Named(Arc::clone(names))))
            .collect(),
    }
}

/// What `request` makes of the LU as it is `now`.
pub(super) fn change(now: &LuSnapshot, request: &Request) -> Change {
    let mut next = now.clone();
    let mut attentions = Vec::new();
    match &request.action {
        HomeAction::Reserve | HomeAction::Release => change_reserve(&mut next, request),
        HomeAction::NexusLost(_) | HomeAction::Tray(_) => {
            let told = change_tray(&mut next, request);
            attentions.extend(told.map(|told| (told, AttentionScope::All)));
        }
        HomeAction::ModeSelect(_) | HomeAction::ModeDefaults(_) | HomeAction::WriteCache(_) => {
            let told = change_mode(&mut next, &request.action);
            attentions.extend(told.map(|told| (told, others(request))));
        }
        HomeAction::SetTimestamp(offset_ms) => {
            next.timestamp_offset_ms = Some(*offset_ms);
            attentions.push((UnitAttention::TimestampChanged, others(request)));
        }
        HomeAction::SetIdentifying { .. }
        | HomeAction::Sanitize(_)
        | HomeAction::ExitSanitizeFailure
        | HomeAction::SanitizeEnded { .. } => {
            let told = kept::change(&mut next, &request.action);
            attentions.extend(told.map(|told| (told, others(request))));
        }
        HomeAction::SetAccessStates(states) => {
            let told = set_states(&mut next, states);
            attentions.extend(told.map(|told| (told, others(request))));
        }
        HomeAction::ResetLog => {
            now.statistics.reset();
            attentions.push((UnitAttention::LogParametersChanged, others(request)));
        }
        HomeAction::LogicalUnitReset => {
            // SAM-5 "Logical unit reset"; SPC-2 "RESERVE(6) command": a reset ends the reservation.
            end_reserve(&mut next);
            // SPC-5 "Saved values": these, where there are any.
            next.mode = now.mode_saved.unwrap_or(now.mode_defaults);
            next.tray.reset();
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
            let told = enter_condition(&mut next, *condition);
            attentions.extend(told.map(|told| (told, AttentionScope::All)));
        }
        HomeAction::Establish(attention) => attentions.push((*attention, AttentionScope::All)),
        HomeAction::Used(sets) => {
            let told = note_used(&mut next, *sets);
            attentions.extend(told.map(|told| (told, AttentionScope::All)));
        }
        HomeAction::Range { .. }
        | HomeAction::Ordered
        | HomeAction::ClearTaskSet
        | HomeAction::ClearContingent
        | HomeAction::Fault { .. }
        | HomeAction::PersistentReserve(_) => {}
    }
    contingent::change(&mut next, request);
    Change {
        snapshot: (next != *now).then_some(next),
        attentions,
    }
}

/// The LU enters this condition. What every nexus is told.
fn enter_condition(lu: &mut LuSnapshot, condition: LuCondition) -> Option<UnitAttention> {
    // An operation that the store was away from is not done with.
    let condition = match (&lu.sanitize, condition) {
        (Some(sanitize), LuCondition::Ready) => sanitize.condition(),
        _ => condition,
    };
    let before = std::mem::replace(&mut lu.condition, condition);
    // SAM-5 "Unit attention conditions": the medium may have been changed. While it was not there, it was in nobody's sight.
    let came_back = [before, condition] == [LuCondition::NotReady, LuCondition::Ready];
    came_back.then_some(UnitAttention::MediumMayHaveChanged)
}

/// What something about the tray needs.
fn plan_tray(now: &LuSnapshot, request: &Request, action: &TrayAction) -> Plan {
    let mut next = now.clone();
    if let Some(refusal) = now.tray.refusal(request.nexus, action) {
        return Plan::Answer(ActionResult::Refused(refusal));
    }
    let _told = change_tray(&mut next, request);
    match action {
        _ if next == *now => Plan::Answer(ActionResult::Done),
        // Another store may stand behind the LU afterwards.
        TrayAction::Insert(_) => Plan::Fence(hold(Holds::Everything)),
        _ => Plan::Publish,
    }
}

/// What is asked for is done about the tray, and what a nexus that is lost held is released. What every nexus is told.
fn change_tray(lu: &mut LuSnapshot, request: &Request) -> Option<UnitAttention> {
    match &request.action {
        HomeAction::NexusLost(nexus) => {
            if lu.reserved == Reserved::For(*nexus) {
                end_reserve(lu);
            }
            lu.tray.forget(*nexus)
        }
        HomeAction::Tray(action) => {
            if let TrayAction::Insert(caps) = action {
                lu.caps = **caps;
            }
            lu.tray.carry_out(request.nexus, action)
        }
        _ => None,
    }
}

/// SBC-4 "Logical block provisioning thresholds": told once, when the threshold is reached, and again when it has been left.
fn note_used(lu: &mut LuSnapshot, sets: u64) -> Option<UnitAttention> {
    let reached = lu.mode.threshold_enabled && sets >= u64::from(lu.mode.threshold_count);
    let before = std::mem::replace(&mut lu.threshold_reached, reached);
    (reached && !before).then_some(UnitAttention::SoftThresholdReached)
}

/// An action sets values of the mode pages. What whoever did not ask for it is told.
fn change_mode(next: &mut LuSnapshot, action: &HomeAction) -> Option<UnitAttention> {
    let before = next.mode;
    match action {
        HomeAction::ModeSelect(change) => {
            next.mode = change.apply(next.mode);
            if change.save {
                next.mode_saved = Some(next.mode);
            }
        }
        HomeAction::ModeDefaults(change) => {
            next.mode = change.apply(next.mode);
            next.mode_defaults = change.apply(next.mode_defaults);
            // The operator's word is the last one.
            next.mode_saved = next.mode_saved.map(|saved| change.apply(saved));
        }
        HomeAction::WriteCache(on) => {
            next.mode.write_cache = *on;
            next.mode_defaults.write_cache = *on;
            if let Some(saved) = &mut next.mode_saved {
                saved.write_cache = *on;
            }
            next.caps.write_cache = *on;
        }
        _ => {}
    }
    // SPC-5 "MODE SELECT(6) command": every nexus but the one that sent it is told.
    (next.mode != before).then_some(UnitAttention::ModeParametersChanged)
}

/// SPC-5 "SET TARGET PORT GROUPS command": groups enter these states. What whoever did not ask for it is told.
fn set_states(lu: &mut LuSnapshot, states: &[(u16, AccessState)]) -> Option<UnitAttention> {
    let mut groups = lu.access_groups.to_vec();
    for (id, state) in states {
        let other = |group: &&mut AccessGroup| group.id == *id && group.state != *state;
        if let Some(group) = groups.iter_mut().find(other) {
            group.state = *state;
            group.changed_by = AccessChangedBy::Initiator;
        }
    }
    let differs = groups[..] != lu.access_groups[..];
    lu.access_groups = groups.into();
    differs.then_some(UnitAttention::AsymmetricAccessStateChanged)
}

/// Whether a port that stays reaches the LU in another state.
fn access_differs(now: &LuSnapshot, next: &LuSnapshot) -> bool {
    let stays = |port: u16| next.target_ports.iter().any(|one| one.relative_id == port);
    let ports = now.target_ports.iter().map(|port| port.relative_id);
    ports
        .filter(|port| stays(*port))
        .any(|port| now.access_state(port) != next.access_state(port))
}

/// Every nexus but the one that asks.
fn others(request: &Request) -> AttentionScope {
    request
        .nexus
        .map_or(AttentionScope::All, AttentionScope::AllBut)
}

/// SPC-2 "RESERVE(6) command", "RELEASE(6) command".
fn change_reserve(next: &mut LuSnapshot, request: &Request) {
    match (&request.action, request.nexus) {
        (HomeAction::Reserve, Some(nexus)) => next.reserved = Reserved::For(nexus),
        (HomeAction::Release, _) => end_reserve(next),
        _ => {}
    }
}

/// Ends the reservation of a RESERVE command. Persistent ones stay.
fn end_reserve(lu: &mut LuSnapshot) {
    if let Reserved::For(_) = lu.reserved {
        lu.reserved = Reserved::No;
    }
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
    let inquiry = next.identity != now.identity
        || next.third_party_copy != now.third_party_copy
        || tpgs(&next.access_groups) != tpgs(&now.access_groups)
        || beside(now.caps) != next.caps;
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
        (
            access_differs(now, next),
            UnitAttention::AsymmetricAccessStateChanged,
        ),
        (inquiry, UnitAttention::InquiryDataChanged),
    ]
    .into_iter()
    .filter_map(|(differs, attention)| differs.then_some(attention))
}

/// A fence over the whole LU.
pub(super) fn hold(holds: Holds) -> FenceScope {
    FenceScope::Io { range: None, holds }
}

fn write_cache_is(now: &LuSnapshot, on: bool) -> bool {
    [
        now.mode.write_cache,
        now.mode_defaults.write_cache,
        now.caps.write_cache,
    ] == [on; 3]
}
