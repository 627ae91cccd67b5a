//! The checks that depend on what the LU is at the moment, made at the beginning and again whenever it has changed.

use crate::lu::NexusId;
use crate::opcodes::Rules;
use crate::sense::{Refusal, Sense};
use crate::snapshot::{LuCondition, LuSnapshot};
use crate::view::LunView;

/// Who wants to do something, and through which LUN.
pub(super) struct Gate<'a> {
    pub(super) nexus: NexusId,
    pub(super) view: &'a LunView<'a>,
}

impl Gate<'_> {
    /// Whether the LU can be used, and by this nexus.
    pub(super) fn check_access(&self, rules: Rules, lu: &LuSnapshot) -> Result<(), Refusal> {
        if rules.always {
            return Ok(());
        }
        match lu.condition {
            LuCondition::Failed => return Err(Sense::INTERNAL_TARGET_FAILURE.into()),
            LuCondition::NotReady if rules.medium => return Err(Sense::NOT_READY.into()),
            LuCondition::NotReady | LuCondition::Ready => {}
        }
        // SPC-2 "RESERVE(6) command": the LU is for the one nexus that reserved it.
        let by_another = lu.reservation.is_some_and(|holder| holder != self.nexus);
        if by_another && !rules.while_reserved {
            return Err(Refusal::RESERVATION_CONFLICT);
        }
        Ok(())
    }

    /// Whether the medium may be changed. SBC-4 "Write protection".
    pub(super) fn check_write(&self, rules: Rules, lu: &LuSnapshot) -> Result<(), Refusal> {
        if rules.writes && (lu.write_protected() || self.view.write_protected) {
            return Err(Sense::WRITE_PROTECTED.into());
        }
        Ok(())
    }
}
