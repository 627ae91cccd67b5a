//! What is known of one task for the case that a PDU of it is lost.

use core::time::Duration;

use iscsi_wire::{SerialNumber, Ttt};

use super::SentData;
use crate::session::DataFault;
use crate::session::task::{Residual, Task};

/// Runs of PDUs of one task that wait to be sent again. Where more are asked for, what lies between is sent too.
pub(crate) const MAX_RUNS: usize = 8;

/// R2Ts of one task that are kept: as many as can be outstanding, and some that were asked for again.
pub(crate) const MAX_R2TS_KEPT: usize = 64;

/// Times that a task's Data-Out is asked for again without a byte of it coming.
const MAX_FRUITLESS: u8 = 8;

/// An R2T as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentR2t {
    pub(crate) r2t_sn: u32,
    pub(crate) ttt: Ttt,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

/// Of a task, in a session that recovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskRecovery {
    /// The StatSN of its status, once that has been sent.
    pub(crate) sent_status: Option<SerialNumber>,
    /// Its status has been sent, and as it is now: nothing is to be added to it.
    pub(crate) answered: bool,
    /// RFC 7143 §11.4.4: of the last R-Data SNACK.
    pub(crate) snack_tag: u32,
    /// It is over, and the engine is about to be told.
    pub(crate) over: bool,
    /// Its command brings data whose digest has not been seen: its CmdSN does not count as received, nor is it answered.
    pub(crate) unproved: bool,
    pub(crate) data_in: SentData,
    /// R2Ts that the initiator may not have got: it has not sent all that they ask for. At most [`MAX_R2TS_KEPT`], the newest.
    pub(crate) r2ts: Vec<SentR2t>,
    /// DataSNs, or R2TSNs, to be sent again: the first, and the one after the last. In order, none touching another.
    pub(crate) again: Vec<(u32, u32)>,
    /// There was an unsolicited burst, and it is over: PDUs of it that come now come late, or again.
    pub(crate) had_burst: bool,
    /// How often data was asked for again since a byte of it came.
    pub(crate) fruitless: u8,
    /// When something came for it or was sent.
    pub(crate) progress: Duration,
}

impl TaskRecovery {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            sent_status: None,
            answered: false,
            snack_tag: 0,
            over: false,
            unproved: false,
            data_in: SentData::default(),
            r2ts: Vec::new(),
            again: Vec::new(),
            had_burst: false,
            fruitless: 0,
            progress: now,
        }
    }

    /// Its connection carries nothing of it any more.
    pub(crate) fn suspend(&mut self) {
        self.again.clear();
        self.r2ts.clear();
    }

    /// It goes on over another connection, where its status has not been sent. RFC 7143 §7.2.2: its SNACK Tag is forgotten.
    pub(crate) fn begin_anew(&mut self) {
        self.sent_status = None;
        self.answered = false;
        self.snack_tag = 0;
    }

    /// Takes note of an R2T that is sent for the first time.
    pub(crate) fn keep_r2t(&mut self, r2t: SentR2t) {
        if self.r2ts.len() >= MAX_R2TS_KEPT {
            self.r2ts.remove(0);
        }
        self.r2ts.push(r2t);
    }

    /// The initiator has answered an R2T: it has it.
    pub(crate) fn forget_r2t(&mut self, ttt: Ttt) {
        self.r2ts.retain(|r2t| r2t.ttt != ttt);
    }

    pub(crate) fn is_asked_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Has the PDUs from `begin` to before `end` sent again.
    pub(crate) fn ask_again(&mut self, begin: u32, end: u32) {
        let touches = |run: &(u32, u32)| run.0 <= end && begin <= run.1;
        let mut whole = (begin, end);
        self.again.retain(|run| {
            let joins = touches(run);
            if joins {
                whole = (whole.0.min(run.0), whole.1.max(run.1));
            }
            !joins
        });
        let at = self.again.partition_point(|run| run.0 < whole.0);
        self.again.insert(at, whole);
        if self.again.len() > MAX_RUNS
            && let Some((_, end)) = self.again.pop()
            && let Some(last) = self.again.last_mut()
        {
            last.1 = end;
        }
    }

    /// The next to be sent again.
    pub(crate) fn next_again(&mut self) -> Option<u32> {
        let run = self.again.first_mut()?;
        let next = run.0;
        run.0 += 1;
        if run.0 >= run.1 {
            self.again.remove(0);
        }
        Some(next)
    }

    /// Data is asked for again. False where that has been in vain too often.
    pub(crate) fn try_again(&mut self) -> bool {
        self.fruitless = self.fruitless.saturating_add(1);
        self.fruitless <= MAX_FRUITLESS
    }
}

const CHECK_CONDITION: u8 = 0x02;

impl Task {
    /// Makes the status that has not left another one, and drops the Data-In that has not.
    pub(crate) fn fail_unsent(&mut self, fault: DataFault) {
        self.available = self.sent;
        let residual = Residual::between(0, self.expected_data_transfer_length);
        if let Some(completion) = &mut self.completion {
            completion.status = CHECK_CONDITION;
            completion.residual = residual;
            completion.sense = Some(Box::from(&fault.sense()[..]));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ask_again_of_many_runs_keeps_a_bound_and_loses_none() {
        let mut recovery = TaskRecovery::new(Duration::ZERO);
        for n in 0..100 {
            recovery.ask_again(n * 10, n * 10 + 1);
            assert!(recovery.again.len() <= MAX_RUNS);
        }
        let sent: BTreeSet<u32> = core::iter::from_fn(|| recovery.next_again()).collect();
        assert!((0..100).all(|n| sent.contains(&(n * 10))));
        assert!(!recovery.is_asked_again());
    }

    proptest! {
        #[test]
        fn ask_again_under_any_runs_sends_each_once_in_order(
            runs in prop::collection::vec((0u32..40, 1u32..6), 0..8),
        ) {
            let mut recovery = TaskRecovery::new(Duration::ZERO);
            let mut asked = BTreeSet::new();
            for (begin, count) in runs {
                recovery.ask_again(begin, begin + count);
                asked.extend(begin..begin + count);
            }
            let sent: Vec<u32> = core::iter::from_fn(|| recovery.next_again()).collect();
            prop_assert_eq!(sent, asked.into_iter().collect::<Vec<_>>());
        }
    }
}
