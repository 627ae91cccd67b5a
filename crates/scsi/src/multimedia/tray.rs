//! The tray: who may open it, and when it closes.
//!
//! A drive is shared by all who reach it, and so is its medium (SAM-5 "Logical unit"). What one of them opens closes when that
//! one's session ends: an installer that ejects its disc and reboots finds it again, and so do those that boot after it. What the
//! operator takes out stays out.
//!
//! MMC-6 r02g "START STOP UNIT command", "PREVENT ALLOW MEDIUM REMOVAL command", "Removable Medium feature".

use block::StoreCaps;

use crate::lu::{NexusId, UnitAttention};
use crate::sense::{Refusal, Sense};

/// Whether the medium is in, and who keeps it there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tray {
    /// The nexus that has opened the tray.
    opened_by: Option<NexusId>,
    /// The operator has taken the medium out.
    is_empty: bool,
    /// Those that prevent the removal of the medium.
    prevented_by: Vec<NexusId>,
    changes: u32,
    media: u32,
}

/// What is done to a tray.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrayAction {
    /// PREVENT ALLOW MEDIUM REMOVAL: the nexus prevents it.
    Prevent,
    /// The nexus no longer does.
    Allow,
    /// START STOP UNIT with LOEJ alone: refused while any nexus prevents it.
    Open,
    /// START STOP UNIT with LOEJ and START.
    Close,
    /// The operator takes the medium out, whoever prevents it.
    Remove,
    /// The operator puts a medium in, and these are its facts. No I/O is under way when it is done.
    Insert(Box<StoreCaps>),
}

impl Tray {
    /// A tray without a medium.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            is_empty: true,
            ..Self::default()
        }
    }

    /// Whether there is no medium to be read.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.is_empty || self.opened_by.is_some()
    }

    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opened_by.is_some()
    }

    /// Whether a nexus prevents the removal of the medium.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        !self.prevented_by.is_empty()
    }

    /// Grows by one whenever the medium has gone or come; wraps.
    #[must_use]
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// Grows by one with each medium that the operator puts in; wraps. Another store may stand behind each.
    #[must_use]
    pub fn media(&self) -> u32 {
        self.media
    }

    /// Whether it is as it is for the sake of this nexus.
    pub(crate) fn concerns(&self, nexus: NexusId) -> bool {
        self.opened_by == Some(nexus) || self.prevented_by.contains(&nexus)
    }

    /// Why what an initiator asks for is not done.
    pub(crate) fn refusal(&self, by: Option<NexusId>, action: &TrayAction) -> Option<Refusal> {
        let opens = *action == TrayAction::Open && !self.is_open();
        let prevented = opens && by.is_some() && self.is_locked();
        prevented.then(|| Sense::MEDIUM_REMOVAL_PREVENTED.into())
    }

    /// Does what is asked for, by a nexus or by the operator. What every nexus is told.
    pub(crate) fn carry_out(
        &mut self,
        by: Option<NexusId>,
        action: &TrayAction,
    ) -> Option<UnitAttention> {
        let was_out = self.is_out();
        match (action, by) {
            (TrayAction::Prevent, Some(nexus)) if !self.prevented_by.contains(&nexus) => {
                self.prevented_by.push(nexus);
            }
            (TrayAction::Allow, Some(nexus)) => self.prevented_by.retain(|one| *one != nexus),
            (TrayAction::Open, Some(nexus)) if self.opened_by.is_none() => {
                self.opened_by = Some(nexus);
            }
            (TrayAction::Close, _) => self.opened_by = None,
            (TrayAction::Remove, _) => {
                self.is_empty = true;
                self.opened_by = None;
            }
            (TrayAction::Insert(_), _) => {
                self.is_empty = false;
                self.opened_by = None;
                self.media = self.media.wrapping_add(1);
                // It is another medium, also where one was in.
                return self.has_come();
            }
            _ => {}
        }
        match (was_out, self.is_out()) {
            (true, false) => self.has_come(),
            (false, true) => {
                self.changes = self.changes.wrapping_add(1);
                None
            }
            _ => None,
        }
    }

    /// The nexus is gone.
    pub(crate) fn forget(&mut self, nexus: NexusId) -> Option<UnitAttention> {
        self.prevented_by.retain(|one| *one != nexus);
        let closes = self.opened_by == Some(nexus);
        if closes {
            return self.carry_out(None, &TrayAction::Close);
        }
        None
    }

    /// SAM-5 "Logical unit reset". The unit attention is the reset's.
    pub(crate) fn reset(&mut self) {
        self.prevented_by.clear();
        let _covered = self.carry_out(None, &TrayAction::Close);
    }

    /// MMC-6 "Unit attention": a medium that has become ready is told to every nexus.
    fn has_come(&mut self) -> Option<UnitAttention> {
        self.changes = self.changes.wrapping_add(1);
        Some(UnitAttention::MediumMayHaveChanged)
    }
}
