//! What a home makes of CHECK CONDITION, of ACA conditions, and of who is told of aborted commands. SAM-5 r21 "Auto contingent
//! allegiance"; SPC-5 r22 "Control mode page".
//!
//! Pure: the present snapshot in, a decision out.

use super::super::NexusId;
use super::super::fence::{FenceScope, Meant, Telling};
use super::super::message::{ActionResult, HomeAction};
use super::lane::Request;
use super::plan::Plan;
use crate::persistent_reserve::NexusName;
use crate::sense::Refusal;
use crate::snapshot::{Contingent, LuSnapshot, QueueError};
use crate::step::Status;

/// What CHECK CONDITION needs, where it concerns others.
pub(super) fn plan_fault(now: &LuSnapshot, request: &Request, ends: bool) -> Plan {
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

/// What the task management functions need that abort the commands of several.
pub(super) fn plan_abort(now: &LuSnapshot, request: &Request) -> Plan {
    let mut telling = telling(now, request, true);
    match &request.action {
        HomeAction::ClearTaskSet => abort(task_set(now, request.nexus), telling),
        HomeAction::LogicalUnitReset => {
            // A unit attention of its own follows.
            telling.attention = false;
            abort(Meant::All, telling)
        }
        // SAM-5 "Clearing an ACA condition": only the faulted nexus does that.
        _ => match request.nexus.filter(|nexus| is_faulted(now, *nexus)) {
            Some(nexus) => {
                telling.function = false;
                abort(Meant::Contingent(nexus), telling)
            }
            None => Plan::Answer(ActionResult::Done),
        },
    }
}

/// The ACA conditions after an action.
pub(super) fn change(next: &mut LuSnapshot, request: &Request) {
    match &request.action {
        // SAM-5 "Clearing an ACA condition": a reset, the loss of the nexus, and CLEAR ACA of the nexus do.
        HomeAction::LogicalUnitReset => next.contingent.clear(),
        HomeAction::NexusLost(nexus) => next.contingent.retain(|one| one.nexus != *nexus),
        HomeAction::ClearContingent => next
            .contingent
            .retain(|one| Some(one.nexus) != request.nexus),
        HomeAction::Fault { establishes, ends } => {
            change_by_fault(next, request, (*establishes, *ends));
        }
        _ => {}
    }
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

/// SAM-5 "Clearing an ACA condition": PREEMPT AND ABORT of the faulted nexus does, and so does one that aborts its commands.
pub(super) fn end_by_preemption(next: &mut LuSnapshot, request: &Request, preempted: &[NexusName]) {
    let stays = |one: &Contingent| {
        Some(one.nexus) != request.nexus && preempted.binary_search(&one.name).is_err()
    };
    next.contingent.retain(stays);
}

/// Whether an ACA condition is this nexus' own.
pub(super) fn is_faulted(now: &LuSnapshot, nexus: NexusId) -> bool {
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
pub(super) fn telling(now: &LuSnapshot, request: &Request, function: bool) -> Telling {
    let status = now.mode.task_aborted_status;
    Telling {
        by: request.nexus,
        status,
        attention: !status && request.nexus.is_some(),
        function,
    }
}
