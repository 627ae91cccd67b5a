//! Asymmetric access: the target port groups of a logical unit, and what each lets through.
//!
//! SPC-5 r22 "Asymmetric logical unit access", "REPORT TARGET PORT GROUPS command", "SET TARGET PORT GROUPS command". A state is entered
//! at once, or by way of the transitioning state where its group takes time for it.

use std::time::Duration;

use crate::opcodes::Rules;
use crate::sense::Sense;

/// SPC-5 "Target port group asymmetric access states".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AccessState {
    /// Active/optimized.
    #[default]
    ActiveOptimized = 0x0,
    /// Active/non-optimized: all is served, but initiators are asked to go another way.
    ActiveNonOptimized = 0x1,
    /// Standby: commands that need the medium are refused.
    Standby = 0x2,
    /// Unavailable: little more than the way back is served.
    Unavailable = 0x3,
    /// Offline, as unavailable.
    Offline = 0xe,
    /// On the way from one of the others to another. Nobody can ask for it.
    Transitioning = 0xf,
}

impl AccessState {
    /// Whether all commands are served.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::ActiveOptimized | Self::ActiveNonOptimized)
    }

    /// The state of this ASYMMETRIC ACCESS STATE code, if it is one that can be asked for.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        [
            Self::ActiveOptimized,
            Self::ActiveNonOptimized,
            Self::Standby,
            Self::Unavailable,
            Self::Offline,
        ]
        .into_iter()
        .find(|state| *state as u8 == code)
    }

    /// Its bit among the support bits of REPORT TARGET PORT GROUPS (AO_SUP, AN_SUP, S_SUP, U_SUP, O_SUP, T_SUP).
    #[must_use]
    pub fn support_bit(self) -> u8 {
        match self {
            Self::ActiveOptimized => 0x01,
            Self::ActiveNonOptimized => 0x02,
            Self::Standby => 0x04,
            Self::Unavailable => 0x08,
            Self::Offline => 0x40,
            Self::Transitioning => 0x80,
        }
    }

    /// Why a command is not served through a port in this state.
    pub(crate) fn refuses(self, rules: Rules) -> Option<Sense> {
        match self {
            Self::ActiveOptimized | Self::ActiveNonOptimized => None,
            Self::Standby => (!rules.while_standby).then_some(Sense::TARGET_PORT_IN_STANDBY),
            Self::Unavailable => {
                (!rules.while_unavailable).then_some(Sense::TARGET_PORT_UNAVAILABLE)
            }
            Self::Offline => (!rules.while_unavailable).then_some(Sense::LOGICAL_UNIT_OFFLINE),
            // SPC-5 "Transitions between target port asymmetric access states".
            Self::Transitioning => {
                (!rules.while_unavailable).then_some(Sense::TARGET_PORT_IN_TRANSITION)
            }
        }
    }
}

/// SPC-5 "STATUS CODE field" of REPORT TARGET PORT GROUPS: what changed the state last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AccessChangedBy {
    /// Nothing.
    #[default]
    Nothing = 0x00,
    /// SET TARGET PORT GROUPS.
    Initiator = 0x01,
    /// The target: the operator.
    Target = 0x02,
}

/// A target port group of a logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccessGroup {
    /// TARGET PORT GROUP.
    pub id: u16,
    /// Its state.
    pub state: AccessState,
    /// What changed that last.
    pub changed_by: AccessChangedBy,
    /// PREF: initiators are asked to prefer it.
    pub preferred: bool,
    /// The [support bits](AccessState::support_bit) of the states it can be in.
    pub supported: u8,
    /// The target may change its state.
    pub implicit: bool,
    /// Initiators may change its state.
    pub explicit: bool,
    /// IMPLICIT TRANSITION TIME, in seconds; 0: not told.
    pub implicit_transition_seconds: u8,
    /// How long a change of its state takes; zero: nothing.
    pub transition: Duration,
}

/// What the operator changes of the target port groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessChange {
    /// The groups, ascending by identifier.
    pub groups: Vec<AccessGroup>,
    /// Those whose state is set. Others keep the state they are in, which an initiator may have chosen.
    pub states_set: Vec<u16>,
}

impl AccessChange {
    /// The groups after the change.
    pub(crate) fn apply(&self, to: &[AccessGroup]) -> Vec<AccessGroup> {
        let after = |group: &AccessGroup| {
            let before = to.iter().find(|one| one.id == group.id);
            match before {
                Some(before) if !self.states_set.contains(&group.id) => AccessGroup {
                    state: before.state,
                    changed_by: before.changed_by,
                    ..*group
                },
                Some(before) if before.state != group.state => AccessGroup {
                    changed_by: AccessChangedBy::Target,
                    ..*group
                },
                _ => *group,
            }
        };
        self.groups.iter().map(after).collect()
    }
}

/// SPC-5 "TPGS field", in its place in the standard INQUIRY data.
pub(crate) fn tpgs(groups: &[AccessGroup]) -> u8 {
    if groups.is_empty() {
        // Implicit only, with one state that is never left.
        return 0x10;
    }
    let any = |holds: fn(&AccessGroup) -> bool| u8::from(groups.iter().any(holds));
    any(|group| group.implicit) << 4 | any(|group| group.explicit) << 5
}
