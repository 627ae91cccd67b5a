//! MODE SELECT, RESERVE and RELEASE, which the home carries out, and plain flushes.

use super::state::{Ending, Next};
use super::transfer::check_complete;

use crate::lu::{HomeAction, ModeChange};
use crate::multimedia::TrayAction;
use crate::opcodes::ListSize;
use crate::reports::ModeSelectList;
use crate::sense::Refusal;
use crate::snapshot::LuSnapshot;
use crate::step::Io;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ModePhase {
    DataOut,
    Change,
    Flush,
    End,
}

/// MODE SELECT. SPC-5 r22 "MODE SELECT (6) command".
#[derive(Clone, Copy, Debug)]
pub(super) struct ModeSelect {
    size: ListSize,
    list_bytes: u32,
    change: ModeChange,
    /// The write cache is turned off: what it holds becomes durable before the status.
    flush: bool,
    phase: ModePhase,
}

impl ModeSelect {
    pub(super) fn new(size: ListSize, list_bytes: u32, save: bool) -> Self {
        let change = ModeChange {
            save,
            ..ModeChange::default()
        };
        Self {
            size,
            list_bytes,
            change,
            flush: false,
            // Without a list, what is current is saved.
            phase: if list_bytes > 0 {
                ModePhase::DataOut
            } else {
                ModePhase::Change
            },
        }
    }

    pub(super) fn next(&self) -> Next {
        match self.phase {
            ModePhase::DataOut => Next::DataOut {
                offset: 0,
                bytes: self.list_bytes,
            },
            ModePhase::Change => Next::Home(HomeAction::ModeSelect(self.change)),
            ModePhase::Flush => Next::Io(Io::Flush),
            ModePhase::End => Next::Done(Ending {
                transfer_bytes: u64::from(self.list_bytes),
                data_in_bytes: 0,
            }),
        }
    }

    pub(super) fn handle_data_out(&mut self, bytes: &[u8], lu: &LuSnapshot) -> Result<(), Refusal> {
        check_complete(bytes, self.list_bytes)?;
        let save = self.change.save;
        let list = ModeSelectList {
            size: self.size,
            bytes,
        };
        self.change = ModeChange {
            save,
            ..list.parse(lu)?
        };
        self.flush = self.change.write_cache == Some(false);
        // Also when the values are the present ones: another change may be on its way to the home.
        let names_a_value = self.change != ModeChange::default();
        self.phase = if names_a_value {
            ModePhase::Change
        } else {
            ModePhase::End
        };
        Ok(())
    }

    pub(super) fn handle_granted(&mut self) {
        // SBC-4 "WCE bit": from now on writes complete on the medium, and so do those acknowledged before.
        self.phase = if self.flush {
            ModePhase::Flush
        } else {
            ModePhase::End
        };
    }

    pub(super) fn handle_io(&mut self) {
        self.phase = ModePhase::End;
    }
}

/// A command that is one action of the home: RESERVE and RELEASE (SPC-2 r20 "RESERVE(6) command", "RELEASE(6) command"), LOG
/// SELECT (SPC-5 r22 "LOG SELECT command").
#[derive(Clone, Debug)]
pub(super) struct Setting {
    what: What,
    done: bool,
}

#[derive(Clone, Debug)]
enum What {
    Reserve,
    Release,
    ResetLog,
    Tray(TrayAction),
}

impl Setting {
    fn new(what: What) -> Self {
        Self { what, done: false }
    }

    pub(super) fn reserve() -> Self {
        Self::new(What::Reserve)
    }

    pub(super) fn release() -> Self {
        Self::new(What::Release)
    }

    pub(super) fn log() -> Self {
        Self::new(What::ResetLog)
    }

    pub(super) fn tray(action: TrayAction) -> Self {
        Self::new(What::Tray(action))
    }

    pub(super) fn next(&self) -> Next {
        if self.done {
            return Next::Done(Ending::default());
        }
        Next::Home(match &self.what {
            What::Reserve => HomeAction::Reserve,
            What::Release => HomeAction::Release,
            What::ResetLog => HomeAction::ResetLog,
            What::Tray(action) => HomeAction::Tray(action.clone()),
        })
    }

    pub(super) fn handle_granted(&mut self) {
        self.done = true;
    }
}

/// A command that makes acknowledged writes durable, and nothing else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flush {
    done: bool,
}

impl Flush {
    pub(super) fn new() -> Self {
        Self { done: false }
    }

    pub(super) fn next(&self) -> Next {
        if self.done {
            Next::Done(Ending::default())
        } else {
            Next::Io(Io::Flush)
        }
    }

    pub(super) fn handle_io(&mut self) {
        self.done = true;
    }
}
