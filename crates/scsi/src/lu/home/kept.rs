//! Actions of which something may be kept, and is durable before they count: sanitize operations, and settings.
//!
//! Pure, as [`super::plan`].

use std::sync::Arc;

use super::super::UnitAttention;
use super::super::fence::{FenceScope, Holds};
use super::super::message::{ActionResult, HomeAction};
use super::plan::{Plan, hold};
use crate::sanitize::Sanitize;
use crate::sense::{Refusal, Sense};
use crate::snapshot::{LuCondition, LuSnapshot};

/// Whether what an action changes may have to be durable first, beside persistent reservations.
pub(super) fn is_kept(action: &HomeAction) -> bool {
    match action {
        HomeAction::ModeSelect(change) => change.save,
        HomeAction::SetIdentifying { .. }
        | HomeAction::Sanitize(_)
        | HomeAction::ExitSanitizeFailure
        | HomeAction::SanitizeEnded { .. } => true,
        _ => false,
    }
}

/// The fence that an action needs once what is kept of it is durable.
pub(super) fn fence_of(action: &HomeAction) -> Option<FenceScope> {
    match action {
        // SBC-4 "Performing a sanitize operation": what is in the task set ends, but for the I/O that the store has.
        HomeAction::Sanitize(_) => Some(hold(Holds::Everything)),
        HomeAction::ModeSelect(_) => Some(hold(Holds::Changes)),
        _ => None,
    }
}

/// What an action of these needs.
pub(super) fn plan(now: &LuSnapshot, action: &HomeAction) -> Plan {
    match action {
        // SBC-4 "SANITIZE command": without a failed operation there is nothing to exit.
        HomeAction::ExitSanitizeFailure | HomeAction::SanitizeEnded { .. }
            if now.sanitize.is_none() =>
        {
            Plan::Answer(ActionResult::Done)
        }
        _ => Plan::Keep(fence_of(action)),
    }
}

/// An action of these, but for MODE SELECT, changes the LU. What whoever did not ask for it is told.
pub(super) fn change(next: &mut LuSnapshot, action: &HomeAction) -> Option<UnitAttention> {
    match action {
        HomeAction::SetIdentifying {
            of_type,
            information,
        } => {
            next.identifying = Arc::new(next.identifying.with(*of_type, information));
            return Some(UnitAttention::DeviceIdentifierChanged);
        }
        HomeAction::Sanitize(asked) => {
            set_sanitize(next, Some(Sanitize::Running(Arc::clone(&asked.order))));
        }
        HomeAction::ExitSanitizeFailure => set_sanitize(next, None),
        HomeAction::SanitizeEnded { failed } => {
            let left = after_sanitize(next, *failed);
            set_sanitize(next, left);
        }
        _ => {}
    }
    None
}

/// Why an action is refused while the LU is being sanitized, or after that has failed.
pub(super) fn refusal_by_sanitize(now: &LuSnapshot, action: &HomeAction) -> Option<Refusal> {
    let sanitize = now.sanitize.as_ref()?;
    match (action, sanitize) {
        // What ends commands, or orders them, changes nothing of the medium.
        (
            HomeAction::Ordered
            | HomeAction::ClearTaskSet
            | HomeAction::ClearContingent
            | HomeAction::Fault { .. }
            | HomeAction::LogicalUnitReset
            | HomeAction::NexusLost(_)
            | HomeAction::SanitizeEnded { .. },
            _,
        ) => None,
        (_, Sanitize::Running(_)) => Some(now.sanitize_in_progress().into()),
        // SBC-4 "SANITIZE command": after a failure in the restricted completion mode there is no other way out, and no other mode.
        (HomeAction::Sanitize(asked), Sanitize::Failed { unrestricted }) => {
            let other_mode = asked.order.unrestricted && !unrestricted;
            other_mode.then(|| Sense::cdb_bit(1, 5).into())
        }
        (HomeAction::ExitSanitizeFailure, Sanitize::Failed { unrestricted }) => {
            (!unrestricted).then(|| Sense::cdb_bit(1, 4).into())
        }
        (_, Sanitize::Failed { .. }) => Some(Sense::SANITIZE_COMMAND_FAILED.into()),
    }
}

/// The LU is in this state of being sanitized. No unit attention goes with it: what is told is the sense data of each command.
fn set_sanitize(lu: &mut LuSnapshot, sanitize: Option<Sanitize>) {
    if !matches!(lu.condition, LuCondition::NotReady | LuCondition::Failed) {
        let condition = sanitize.as_ref().map(Sanitize::condition);
        lu.condition = condition.unwrap_or_default();
    }
    lu.sanitize = sanitize;
}

/// What is left of a sanitize operation that has ended.
fn after_sanitize(now: &LuSnapshot, failed: bool) -> Option<Sanitize> {
    match &now.sanitize {
        Some(Sanitize::Running(order)) => failed.then_some(Sanitize::Failed {
            unrestricted: order.unrestricted,
        }),
        other => other.clone(),
    }
}
