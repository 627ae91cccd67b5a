//! A slow logical unit and a session's command window.
//!
//! The whole window is anybody's: an initiator with one disk uses all of it, and no disk that answers gets TASK SET FULL. But a unit that
//! has stopped answering would hold every place in it, and its session could not reach its other units. So, when the window has
//! been closed for [`PATIENCE`] without one answer, the units whose tasks fill it are held to what they have: the window is widened by a
//! reserve that only other units may use, and further commands of the slow ones end with TASK SET FULL (SAM-5 "Status codes"), which
//! initiators repeat. A unit that answers again is slow no more; when none is, the reserve is taken back.
//!
//! The path of a command looks at one word of this.

use std::collections::BTreeMap;
use std::time::Duration;

use iscsi_wire::SerialNumber;
use scsi::lu::TaskKey;

use super::cx::{Cx, from_task_key};
use super::session::SessionLink;
use super::task::{State, Task};
use crate::shared::UnitIndex;

/// How long a closed window goes without an answer before its units count as slow.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often slow units are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Where the session stands.
#[derive(Debug, Default)]
pub(super) enum Depth {
    /// Answers come.
    #[default]
    Flowing,
    /// The window is closed, with this MaxCmdSN; looked at again then.
    Watched {
        until: Duration,
        max_cmd_sn: SerialNumber,
    },
    /// The window is wider, for other units than these.
    Widened(Widened),
}

#[derive(Debug)]
pub(super) struct Widened {
    look_at: Duration,
    width: u16,
    /// The tasks that each slow unit had when it was found slow: one that is gone is an answer.
    slow: BTreeMap<UnitIndex, Vec<TaskKey>>,
}

impl Depth {
    /// When it wants to be looked at.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Flowing => None,
            Self::Watched { until, .. } => Some(*until),
            Self::Widened(widened) => Some(widened.look_at),
        }
    }

    /// Whether a unit may have no more commands of the session for now.
    pub(super) fn holds_back(&self, unit: UnitIndex) -> bool {
        match self {
            Self::Flowing | Self::Watched { .. } => false,
            Self::Widened(widened) => widened.slow.contains_key(&unit),
        }
    }
}

/// How many places more a widened window has.
fn reserve(width: u16) -> u16 {
    (width / 4).max(8)
}

/// Whether its unit has yet to answer. What is only kept for its initiator is answered.
fn unanswered(task: &&Task) -> bool {
    !(task.keeps && matches!(task.state, State::Answered))
}

impl SessionLink {
    /// A command has come: whether it took the window's last place.
    pub(super) fn watch_window(&mut self, cx: &mut Cx) {
        if !matches!(self.depth, Depth::Flowing) {
            return;
        }
        if let Some(max_cmd_sn) = self.proto.closed_window() {
            let until = cx.now.saturating_add(PATIENCE);
            self.depth = Depth::Watched { until, max_cmd_sn };
            self.want_timer(until, cx);
        }
    }

    /// Its deadline may have come.
    pub(super) fn look_at_depth(&mut self, cx: &mut Cx) {
        if self.depth.deadline().is_none_or(|at| at > cx.now) {
            return;
        }
        self.depth = match std::mem::take(&mut self.depth) {
            Depth::Flowing => Depth::Flowing,
            Depth::Watched { max_cmd_sn, .. } => self.judge(max_cmd_sn, cx),
            Depth::Widened(widened) => self.look_at_slow_units(widened, cx),
        };
    }

    fn judge(&mut self, max_cmd_sn: SerialNumber, cx: &mut Cx) -> Depth {
        if self.proto.closed_window() != Some(max_cmd_sn) {
            return Depth::Flowing;
        }
        let mut slow: BTreeMap<UnitIndex, Vec<TaskKey>> = BTreeMap::new();
        for task in self.tasks.iter().flatten().filter(unanswered) {
            slow.entry(task.unit).or_default().push(task.key);
        }
        let Ok(width) = u16::try_from(self.proto.window_width()) else {
            return Depth::Flowing;
        };
        self.proto
            .resize_window(width.saturating_add(reserve(width)));
        self.mark_dirty(cx);
        let look_at = cx.now.saturating_add(LOOK_AGAIN);
        Depth::Widened(Widened {
            look_at,
            width,
            slow,
        })
    }

    fn look_at_slow_units(&mut self, mut widened: Widened, cx: &Cx) -> Depth {
        let waits = |key: &TaskKey| {
            let (_, id) = from_task_key(*key);
            let task = self.tasks.get(id.index()).and_then(Option::as_ref);
            task.is_some_and(|task| task.key == *key && unanswered(&task))
        };
        widened.slow.retain(|_, tasks| tasks.iter().all(waits));
        if widened.slow.is_empty() {
            self.proto.resize_window(widened.width);
            return Depth::Flowing;
        }
        widened.look_at = cx.now.saturating_add(LOOK_AGAIN);
        Depth::Widened(widened)
    }
}
