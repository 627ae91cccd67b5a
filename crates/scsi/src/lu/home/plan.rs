//! What an action needs before it is done, and what it changes.
//!
//! Pure: the present snapshot in, a decision out.

use std::sync::Arc;

use block::StoreCaps;

use super::super::NexusId;
use super::super::UnitAttention;
use super::super::fence::{FenceScope, Holds, Meant, Telling};
use super::super::message::{ActionResult, AttentionScope, HomeAction, LuChange};
use super::lane::{Request, Requester};
use crate::persistent_reserve::{
    Access, Asking, Outcome, PersistentReserveOut, Standing, carry_out,
};
use crate::sense::{Refusal, Sense};
use crate::snapshot::{Contingent, LuCondition, LuSnapshot, QueueError, Reserved};
use crate::step::Status;

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
        HomeAction::ClearTaskSet => {
            let function = true;
            abort(task_set(now, request.nexus), telling(now, request, function))
        }
        HomeAction::LogicalUnitReset => {
            // A unit attention of its own follows.
            let attention = false;
            let telling = telling(now, request, true);
            abort(
                Meant::All,
                Telling {
                    attention,
                    ..telling
                },
            )
        }
        HomeAction::ClearContingent => match request.nexus {
            Some(nexus) if is_faulted(now, nexus) => {
                abort(Meant::Contingent(nexus), telling(now, request, false))
            }
            // SAM-5 "Clearing an ACA condition": only the faulted nexus does that.
            _ => done,
        },
        HomeAction::Fault { ends, .. } => plan_fault(now, request, *ends),
        HomeAction::Establish(_) => Plan::Publish,
        // SPC-2 "RELEASE(6) command": of a nexus without the reservation it is no error and changes nothing.
        HomeAction::Release if !is_holder => done,
        HomeAction::NexusLost(nexus) if holder != Some(*nexus) && !is_faulted(now, *nexus) => done,
        HomeAction::Release
        | HomeAction::NexusLost(_)
        | HomeAction::SetTimestamp(_)
        // Where it changes nothing, nothing is published.
        | HomeAction::ModeDefaults(_)
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
    match (&request.action, now.reserved) {
        // SPC-2 "RESERVE(6) command": these conflict with the reservation of another.
        (
            HomeAction::Range { .. }
            | HomeAction::Reserve
            | HomeAction::ModeSelect(_)
            | HomeAction::ResetLog
            | HomeAction::SetTimestamp(_),
            Reserved::For(holder),
        ) if request.nexus != Some(holder) => conflict,
        // SPC-2 "Reservations overview": and these with that of anybody.
        (HomeAction::PersistentReserve(_), Reserved::For(_)) => conflict,
        (HomeAction::ModeSelect(_) | HomeAction::SetTimestamp(_), Reserved::Persistently(kind))
            if Access::Writing.conflicts(kind, standing()) =>
        {
            conflict
        }
        (
            HomeAction::Reserve
            | HomeAction::Release
            | HomeAction::ModeSelect(_)
            | HomeAction::ResetLog
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
        // SAM-5 "Clearing an ACA condition": PREEMPT AND ABORT of the faulted nexus does, and so does one that aborts its
        // commands.
        let stays = |one: &Contingent| {
            Some(one.nexus) != request.nexus && preempted.binary_search(&one.name).is_err()
        };
        next.contingent.retain(stays);
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
        HomeAction::Reserve => {
            if let Some(nexus) = request.nexus {
                next.reserved = Reserved::For(nexus);
            }
        }
        HomeAction::Release => end_reserve(&mut next),
        HomeAction::NexusLost(nexus) => {
            if now.reserved == Reserved::For(*nexus) {
                end_reserve(&mut next);
            }
            // SAM-5 "Clearing an ACA condition": the loss of the nexus does.
            next.contingent.retain(|one| one.nexus != *nexus);
        }
        HomeAction::ClearContingent => next
            .contingent
            .retain(|one| Some(one.nexus) != request.nexus),
        HomeAction::Fault { establishes, ends } => {
            change_by_fault(&mut next, request, (*establishes, *ends))
        }
        HomeAction::ModeSelect(change) => next.mode = change.apply(now.mode),
        HomeAction::ModeDefaults(change) => {
            next.mode = change.apply(now.mode);
            next.mode_defaults = change.apply(now.mode_defaults);
        }
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
            end_reserve(&mut next);
            next.mode = now.mode_defaults;
            // SAM-5 "Clearing an ACA condition".
            next.contingent.clear();
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
        HomeAction::Range { .. }
        | HomeAction::Ordered
        | HomeAction::ClearTaskSet
        | HomeAction::PersistentReserve(_) => {}
    }
    let by_mode = matches!(
        request.action,
        HomeAction::ModeSelect(_) | HomeAction::WriteCache(_) | HomeAction::ModeDefaults(_)
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

/// What CHECK CONDITION needs, where it concerns others.
fn plan_fault(now: &LuSnapshot, request: &Request, ends: bool) -> Plan {
    let Some(nexus) = request.nexus else {
        return Plan::Answer(ActionResult::Done);
    };
    // SAM-5 "ACA condition": what is in the task set does not end before the condition is cleared, but for what the condition
    // lets in.
    if now.contingent_for(nexus).is_some() && !ends {
        let refusal = Refusal::Status(Status::AcaActive);
        return Plan::Answer(ActionResult::Refused(refusal));
    }
    // SPC-5 "Control mode page", QERR: of the task set; and of the nexus alone.
    let meant = match now.mode.queue_error {
        QueueError::Continues => return Plan::Publish,
        QueueError::AbortsAll => task_set(now, request.nexus),
        QueueError::AbortsOwn => Meant::Of(nexus),
    };
    abort(meant, telling(now, request, false))
}

/// SAM-5 "Auto contingent allegiance": NACA 1 establishes a condition, in place of one that the command ran in; NACA 0 ends that.
fn change_by_fault(next: &mut LuSnapshot, request: &Request, (establishes, ends): (bool, bool)) {
    let (Some(nexus), Some(name)) = (request.nexus, &request.name) else {
        return;
    };
    if establishes && !is_faulted(next, nexus) {
        next.contingent.push(Contingent {
            nexus,
            name: name.clone(),
        });
    } else if ends && !establishes {
        next.contingent.retain(|one| one.nexus != nexus);
    }
}

/// Whether an ACA condition is this nexus' own.
fn is_faulted(now: &LuSnapshot, nexus: NexusId) -> bool {
    now.contingent.iter().any(|one| one.nexus == nexus)
}

/// SPC-5 "Control mode page", TST: the task set that a nexus' commands are in.
fn task_set(now: &LuSnapshot, nexus: Option<NexusId>) -> Meant {
    let own = nexus.filter(|_| now.mode.task_set_per_nexus);
    own.map_or(Meant::All, Meant::Of)
}

fn abort(meant: Meant, telling: Telling) -> Plan {
    Plan::Fence(FenceScope::Abort { meant, telling })
}

/// SPC-5 "Control mode page", TAS: who loses commands to another is told by their status, or else by a unit attention.
fn telling(now: &LuSnapshot, request: &Request, function: bool) -> Telling {
    let status = now.mode.task_aborted_status;
    Telling {
        by: request.nexus,
        status,
        attention: !status && request.nexus.is_some(),
        function,
    }
}

/// Every nexus but the one that asks.
fn others(request: &Request) -> AttentionScope {
    request
        .nexus
        .map_or(AttentionScope::All, AttentionScope::AllBut)
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
