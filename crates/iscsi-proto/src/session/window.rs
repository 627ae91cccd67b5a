//! The command window: which CmdSN may come, in which order requests are delivered (RFC 7143 §4.2.2.1).
//!
//! Belongs to the session, so that several connections can feed it. MaxCmdSN only ever grows, by one for each numbered
//! request that got its answer, and never further from ExpCmdSN than the window is wide: an answer given across a gap
//! is credited when the gap closes, so that what is held behind one has a bound.

use iscsi_wire::{Cid, Itt, LogoutReason, SerialNumber, TaskManagementRequest};

use super::{ConnectionIndex, TaskId};

/// ExpCmdSN, MaxCmdSN, and the requests that came before their turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandWindow {
    exp_cmd_sn: SerialNumber,
    max_cmd_sn: SerialNumber,
    /// The most that may be unanswered.
    width: u32,
    /// Answers that MaxCmdSN has not grown by yet.
    credits: u32,
    /// Answers that MaxCmdSN will not grow by: the window was narrowed, and MaxCmdSN never moves back.
    debt: u32,
    /// In CmdSN order; at most as many as the window is wide. Those below `exp_cmd_sn` are due.
    held: Vec<Held>,
}

/// A request that waits for the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) cmd_sn: SerialNumber,
    pub(crate) request: HeldRequest,
}

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldRequest {
    /// A number that counts as received and has nothing to deliver any more.
    Nothing,
    /// A SCSI command.
    Command(TaskId),
    /// A task management request.
    Management(ConnectionIndex, TaskManagementRequest),
    /// A logout.
    Logout(ConnectionIndex, HeldLogout),
}

/// The fields of a logout that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldLogout {
    pub(crate) itt: Itt,
    pub(crate) reason: LogoutReason,
    pub(crate) cid: Cid,
}

/// Where a CmdSN stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Not in the window, or received already: to be ignored without an answer.
    Ignored,
    /// The one expected.
    InOrder,
    /// In the window, after a gap.
    Ahead,
}

impl CommandWindow {
    /// An open window: all from `exp_cmd_sn` on, `width` of them, may come.
    pub(crate) const fn new(exp_cmd_sn: SerialNumber, width: u32) -> Self {
        let max_cmd_sn = SerialNumber(exp_cmd_sn.0.wrapping_add(width).wrapping_sub(1));
        Self {
            exp_cmd_sn,
            max_cmd_sn,
            width,
            credits: 0,
            debt: 0,
            held: Vec::new(),
        }
    }

    /// A window as it was; `None` where it cannot have been so.
    pub(crate) fn restore(
        exp_cmd_sn: SerialNumber,
        max_cmd_sn: SerialNumber,
        width: u32,
        (credits, debt): (u32, u32),
    ) -> Option<Self> {
        let span = max_cmd_sn.next().distance_from(exp_cmd_sn);
        let legal = span <= width.saturating_add(debt) && credits <= width;
        legal.then(|| Self {
            exp_cmd_sn,
            max_cmd_sn,
            width,
            credits,
            debt,
            held: Vec::new(),
        })
    }

    pub(crate) const fn width(&self) -> u32 {
        self.width
    }

    pub(crate) const fn credits(&self) -> u32 {
        self.credits
    }

    pub(crate) const fn debt(&self) -> u32 {
        self.debt
    }

    /// Whether nothing more may come before an answer.
    pub(crate) fn is_closed(&self) -> bool {
        self.max_cmd_sn.next() == self.exp_cmd_sn
    }

    /// Makes it wider or narrower. A wider one is open for that many more at once; a narrower one closes as answers are given, since
    /// MaxCmdSN never moves back (RFC 7143 §4.2.2.1).
    pub(crate) fn resize(&mut self, width: u32) {
        let wider = width.saturating_sub(self.width);
        let narrower = self.width.saturating_sub(width);
        self.width = width;
        let forgiven = wider.min(self.debt);
        self.debt -= forgiven;
        self.credits += wider - forgiven;
        let paid = narrower.min(self.credits);
        self.credits -= paid;
        self.debt += narrower - paid;
        self.grow();
    }

    pub(crate) const fn exp_cmd_sn(&self) -> SerialNumber {
        self.exp_cmd_sn
    }

    pub(crate) const fn max_cmd_sn(&self) -> SerialNumber {
        self.max_cmd_sn
    }

    pub(crate) fn held(&self) -> &[Held] {
        &self.held
    }

    /// Judges a CmdSN and changes nothing.
    pub(crate) fn classify(&self, cmd_sn: SerialNumber) -> Arrival {
        let ahead = cmd_sn.distance_from(self.exp_cmd_sn);
        // A closed window has MaxCmdSN one below ExpCmdSN, and a width of 0.
        let width = self.max_cmd_sn.next().distance_from(self.exp_cmd_sn);
        // RFC 7143 §4.2.2.1: the target MUST silently ignore any non-immediate command outside of the range from
        // ExpCmdSN to MaxCmdSN, and any non-immediate duplicate within it.
        if ahead >= width {
            return Arrival::Ignored;
        }
        match ahead {
            0 => Arrival::InOrder,
            _ if self.held.iter().any(|held| held.cmd_sn == cmd_sn) => Arrival::Ignored,
            _ => Arrival::Ahead,
        }
    }

    /// Counts a CmdSN as received. `request` is kept only where it came ahead of its turn.
    pub(crate) fn accept(&mut self, cmd_sn: SerialNumber, request: HeldRequest) {
        if cmd_sn == self.exp_cmd_sn {
            self.exp_cmd_sn = cmd_sn.next();
        } else {
            let at = self.held.partition_point(|held| held.cmd_sn.lt(cmd_sn));
            self.held.insert(at, Held { cmd_sn, request });
        }
        while self.held.iter().any(|held| held.cmd_sn == self.exp_cmd_sn) {
            self.exp_cmd_sn = self.exp_cmd_sn.next();
        }
        self.grow();
    }

    /// The next held request whose turn has come.
    pub(crate) fn take_due(&mut self) -> Option<HeldRequest> {
        let first = self.held.first()?;
        first
            .cmd_sn
            .lt(self.exp_cmd_sn)
            .then(|| self.held.remove(0).request)
    }

    /// Whether a command stands behind a gap, and is not acknowledged.
    pub(crate) fn holds_ahead(&self, task: TaskId) -> bool {
        let ahead = |held: &Held| !held.cmd_sn.lt(self.exp_cmd_sn);
        let held = self.held.iter().filter(|held| ahead(held));
        held.map(|held| held.request)
            .any(|request| request == HeldRequest::Command(task))
    }

    /// A held command ended before its turn: its number stays received.
    pub(crate) fn forget(&mut self, task: TaskId) {
        for held in &mut self.held {
            if held.request == HeldRequest::Command(task) {
                held.request = HeldRequest::Nothing;
            }
        }
    }

    /// Takes back held requests that `matches` says yes to: what was not acknowledged counts as never received, and is
    /// returned; what was has nothing to deliver any more, and counts as answered unless it is a command, which has an
    /// end of its own.
    pub(crate) fn discard(&mut self, matches: impl Fn(&HeldRequest) -> bool) -> Vec<HeldRequest> {
        let exp_cmd_sn = self.exp_cmd_sn;
        let mut answered = 0;
        let mut discarded = Vec::new();
        self.held.retain_mut(|held| {
            if !matches(&held.request) {
                return true;
            }
            let acknowledged = held.cmd_sn.lt(exp_cmd_sn);
            if acknowledged {
                answered += u32::from(!matches!(held.request, HeldRequest::Command(_)));
                held.request = HeldRequest::Nothing;
            } else {
                discarded.push(held.request);
            }
            acknowledged
        });
        for _ in 0..answered {
            self.release();
        }
        discarded
    }

    /// A numbered request has its answer: one more may come.
    pub(crate) fn release(&mut self) {
        if self.debt > 0 {
            self.debt -= 1;
            return;
        }
        self.credits = self.credits.saturating_add(1).min(self.width);
        self.grow();
    }

    fn grow(&mut self) {
        let span = self.max_cmd_sn.next().distance_from(self.exp_cmd_sn);
        let step = self.credits.min(self.width.saturating_sub(span));
        self.max_cmd_sn = self.max_cmd_sn.add(step);
        self.credits -= step;
    }

    /// Whether a number before `limit` has not come. One that is out of the window is before nothing.
    pub(crate) fn lacks_before(&self, limit: SerialNumber) -> bool {
        self.exp_cmd_sn.lt(limit) && limit.le(self.max_cmd_sn.next())
    }

    /// Counts every number before `limit` that has not come as received and answered.
    pub(crate) fn plug_before(&mut self, limit: SerialNumber) {
        while self.lacks_before(limit) {
            let missing = self.exp_cmd_sn;
            self.accept(missing, HeldRequest::Nothing);
            self.release();
        }
    }

    /// Counts `cmd_sn` as received and answered, if it is in the window, has not come, and lies before `limit`.
    pub(crate) fn plug(&mut self, cmd_sn: SerialNumber, limit: SerialNumber) -> bool {
        let missing = self.classify(cmd_sn) != Arrival::Ignored && cmd_sn.lt(limit);
        if missing {
            self.accept(cmd_sn, HeldRequest::Nothing);
            self.release();
        }
        missing
    }

    pub(crate) fn restore_held(&mut self, held: Vec<Held>) {
        self.held = held;
    }

    pub(crate) fn release_idle_memory(&mut self) {
        self.held.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(exp: u32, max: u32) -> CommandWindow {
        let width = SerialNumber(max).next().distance_from(SerialNumber(exp));
        CommandWindow::new(SerialNumber(exp), width)
    }

    fn command(task: u32) -> HeldRequest {
        HeldRequest::Command(TaskId(task))
    }

    #[test]
    fn classify_at_the_edges_of_the_window_ignores_what_is_outside() {
        let table = [
            (5, 8, 4, Arrival::Ignored),
            (5, 8, 5, Arrival::InOrder),
            (5, 8, 8, Arrival::Ahead),
            (5, 8, 9, Arrival::Ignored),
            (5, 4, 5, Arrival::Ignored),
            (0xffff_ffff, 1, 0xffff_ffff, Arrival::InOrder),
            (0xffff_ffff, 1, 1, Arrival::Ahead),
            (0xffff_ffff, 1, 2, Arrival::Ignored),
        ];
        for (exp, max, cmd_sn, expected) in table {
            let arrival = window(exp, max).classify(SerialNumber(cmd_sn));
            assert_eq!(arrival, expected, "{cmd_sn} in {exp}..={max}");
        }
    }

    #[test]
    fn accept_ahead_holds_until_the_gap_closes_then_is_due_in_order() {
        let mut window = window(0xffff_fffe, 5);
        window.accept(SerialNumber(0), command(2));
        window.accept(SerialNumber(0xffff_ffff), command(1));
        assert_eq!(window.classify(SerialNumber(0)), Arrival::Ignored);
        assert_eq!(window.take_due(), None);
        window.accept(SerialNumber(0xffff_fffe), command(0));
        assert_eq!(window.exp_cmd_sn(), SerialNumber(1));
        assert_eq!(window.take_due(), Some(command(1)));
        assert_eq!(window.take_due(), Some(command(2)));
        assert_eq!(window.take_due(), None);
    }

    #[test]
    fn plug_only_takes_missing_numbers_before_the_limit() {
        let mut window = window(5, 8);
        window.accept(SerialNumber(7), command(0));
        assert!(
            !window.plug(SerialNumber(7), SerialNumber(9)),
            "received already"
        );
        assert!(
            !window.plug(SerialNumber(6), SerialNumber(6)),
            "not before the limit"
        );
        assert!(!window.plug(SerialNumber(4), SerialNumber(9)), "outside");
        assert!(window.plug(SerialNumber(6), SerialNumber(9)));
        assert_eq!(
            (window.exp_cmd_sn(), window.max_cmd_sn()),
            (SerialNumber(5), SerialNumber(8))
        );
        assert!(window.plug(SerialNumber(5), SerialNumber(9)));
        // Two of the three are answered, and the third is not.
        assert_eq!(
            (window.exp_cmd_sn(), window.max_cmd_sn()),
            (SerialNumber(8), SerialNumber(10))
        );
    }

    #[test]
    fn forget_held_command_leaves_its_number_received() {
        let mut window = window(5, 8);
        window.accept(SerialNumber(6), command(0));
        window.forget(TaskId(0));
        window.accept(SerialNumber(5), command(1));
        assert_eq!(window.take_due(), Some(HeldRequest::Nothing));
        assert_eq!(window.exp_cmd_sn(), SerialNumber(7));
    }

    #[test]
    fn resize_opens_at_once_and_closes_by_answers() {
        let mut window = window(5, 8);
        for cmd_sn in 5..=8 {
            window.accept(SerialNumber(cmd_sn), HeldRequest::Nothing);
        }
        assert!(window.is_closed());
        window.resize(6);
        assert_eq!(window.max_cmd_sn(), SerialNumber(10));
        window.accept(SerialNumber(9), HeldRequest::Nothing);
        window.resize(4);
        assert_eq!(window.max_cmd_sn(), SerialNumber(10), "it never moves back");
        // Five are unanswered and one more may come: two answers bring nothing, the third one more.
        window.release();
        window.release();
        assert_eq!(window.max_cmd_sn(), SerialNumber(10));
        window.release();
        assert_eq!(window.max_cmd_sn(), SerialNumber(11));
        // Narrowed while answers are not used up: wide again at once.
        window.resize(2);
        window.resize(4);
        assert_eq!(window.max_cmd_sn(), SerialNumber(11));
    }

    proptest! {
        #[test]
        fn window_under_any_arrivals_keeps_its_width_and_never_moves_back(
            start: u32, arrivals in prop::collection::vec((0u32..24, any::<bool>()), 0..200),
        ) {
            let width = 8;
            let mut window = window(start, start.wrapping_add(width - 1));
            let (mut received, mut answered) = (0u32, 0u32);
            for (offset, answer) in arrivals {
                let (exp, max) = (window.exp_cmd_sn(), window.max_cmd_sn());
                let cmd_sn = SerialNumber(start).add(offset);
                if window.classify(cmd_sn) != Arrival::Ignored {
                    window.accept(cmd_sn, HeldRequest::Nothing);
                    received += 1;
                }
                while window.take_due().is_some() {}
                if answer && answered < received {
                    window.release();
                    answered += 1;
                }
                prop_assert!(exp.le(window.exp_cmd_sn()) && max.le(window.max_cmd_sn()));
                prop_assert!(window.held().len() < width as usize);
                let exp = window.exp_cmd_sn();
                prop_assert!(window.max_cmd_sn().next().distance_from(exp) <= width);
                prop_assert!(received - answered <= width);
                if window.held().is_empty() {
                    let may_come = window.max_cmd_sn().next().distance_from(exp);
                    prop_assert_eq!(may_come, width - (received - answered));
                }
            }
        }
    }
}
