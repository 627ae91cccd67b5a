//! The checks that depend on what the LU is at the moment, made at the beginning and again whenever it has changed.

use crate::command::Cdb;
use crate::lu::{LuShard, NexusId};
use crate::opcodes::Rules;
use crate::persistent_reserve::{Access, Standing};
use crate::sense::{Refusal, Sense};
use crate::snapshot::{LuCondition, LuSnapshot, Reserved};
use crate::view::LunView;

/// Who wants to do something, and through which LUN.
pub(crate) struct Gate<'a> {
    pub(crate) nexus: NexusId,
    pub(crate) view: &'a LunView<'a>,
}

impl Gate<'_> {
    /// Whether the LU can be used, and by this nexus.
    pub(crate) fn check_access(
        &self,
        rules: Rules,
        cdb: &Cdb,
        shard: &LuShard,
    ) -> Result<(), Refusal> {
        if rules.always {
            return Ok(());
        }
        let lu = shard.snapshot();
        if !lu.access_groups.is_empty()
            && let Some(sense) = lu.access_state(self.view.target_port).refuses(rules)
        {
            return Err(sense.into());
        }
        match lu.condition {
            LuCondition::Failed => return Err(Sense::INTERNAL_TARGET_FAILURE.into()),
            LuCondition::NotReady if rules.medium => return Err(lu.not_ready().into()),
            LuCondition::NotReady | LuCondition::Ready => {}
            // SBC-4 "Performing a sanitize operation": all but what is always answered.
            LuCondition::Sanitizing => return Err(lu.sanitize_in_progress().into()),
            // SBC-4 "Completing a sanitize operation": all but another one, or the way out.
            LuCondition::SanitizeFailed if !rules.while_sanitize_failed => {
                return Err(Sense::SANITIZE_COMMAND_FAILED.into());
            }
            LuCondition::SanitizeFailed => {}
        }
        if rules.medium && lu.tray.is_out() {
            return Err(lu.not_ready().into());
        }
        if lu.reserved == Reserved::No {
            return Ok(());
        }
        self.check_reserved(rules, cdb, shard)
    }

    /// Whether the LU is kept from this command.
    fn check_reserved(&self, rules: Rules, cdb: &Cdb, shard: &LuShard) -> Result<(), Refusal> {
        let access = rules.access.of(cdb);
        let conflicts = match shard.snapshot().reserved {
            Reserved::No => false,
            // SPC-2 "RESERVE(6) command": the LU is for the one nexus that reserved it.
            Reserved::For(holder) => holder != self.nexus && !rules.while_reserved,
            Reserved::Persistently(kind) => access.conflicts(kind, self.standing(shard)),
            // SPC-5 "Recoverable loss of persistent reservation information".
            Reserved::Lost if rules.while_lost || access == Access::Reserving => false,
            Reserved::Lost if (rules.access, access) == (Access::StartStop, Access::Free) => false,
            Reserved::Lost => return Err(Sense::PERSISTENT_RESERVATION_INFORMATION_LOST.into()),
        };
        if conflicts {
            Err(Refusal::RESERVATION_CONFLICT)
        } else {
            Ok(())
        }
    }

    fn standing(&self, shard: &LuShard) -> Standing {
        let nexus = shard.nexus(self.nexus);
        nexus.map_or(Standing::NotRegistered, |nexus| nexus.standing())
    }

    /// Whether the medium may be changed. SBC-4 "Write protection".
    pub(crate) fn check_write(&self, rules: Rules, lu: &LuSnapshot) -> Result<(), Refusal> {
        if rules.writes && (lu.write_protected() || self.view.write_protected) {
            return Err(Sense::WRITE_PROTECTED.into());
        }
        Ok(())
    }
}
