//! What a Data-Out is to its task where PDUs may have been lost, and which of the command's data has been (RFC 7143 §7.9, §11.8, §13.18, §13.19).

use iscsi_wire::{DataOut, Ttt};

use crate::session::DataFault;
use crate::session::task::Task;

/// What a Data-Out is to its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Part of a sequence.
    Belongs,
    /// Part of a sequence, and without news: its payload is dropped.
    Repeats,
    /// Of a sequence that is over: as if it had not come.
    Late,
    /// Its tag is not one of the task's.
    UnknownTag,
}

impl Task {
    pub(super) fn note_progress(&mut self, now: core::time::Duration) {
        if let Some(recovery) = &mut self.recovery {
            recovery.progress = now;
        }
    }

    /// Checks a header and counts its DataSN. What is wrong with it, and is not by loss, becomes the task's fault.
    pub(super) fn judge_again(
        &mut self,
        data: &DataOut,
        in_order: bool,
        sequences_in_order: bool,
        next_ttt: Ttt,
    ) -> Verdict {
        let end = data.buffer_offset.saturating_add(data.data_segment_length);
        if data.ttt == Ttt::RESERVED {
            return self.judge_burst(data, in_order, end);
        }
        let Some(at) = self.r2ts.position(data.ttt) else {
            // Tags count up: one from before was given out, and is not outstanding any more.
            let given = next_ttt.0.wrapping_sub(data.ttt.0) as i32 > 0;
            return if given {
                Verdict::Late
            } else {
                Verdict::UnknownTag
            };
        };
        if at > 0 && sequences_in_order {
            // RFC 7143 §11.8: R2Ts are answered in their order, so that those before are over, and the end of their data was lost.
            for _ in 0..at {
                let first = self.r2ts.as_slice().first().map(|r2t| r2t.ttt);
                first.into_iter().for_each(|ttt| self.close_lost(ttt));
            }
        }
        let at = self.r2ts.position(data.ttt).unwrap_or(0);
        let Some(r2t) = self.r2ts.at_mut(at) else {
            return Verdict::UnknownTag;
        };
        if data.data_sn < r2t.data_sn {
            // RFC 7143 §7.9: it is a duplicate.
            return Verdict::Late;
        }
        let lost = data.data_sn != r2t.data_sn;
        r2t.data_sn = data.data_sn.wrapping_add(1);
        let (start, limit) = (r2t.offset, r2t.offset.saturating_add(r2t.bytes));
        let next = start.saturating_add(r2t.got);
        if in_order {
            r2t.got = end.saturating_sub(start).max(r2t.got);
        }
        self.judge_place(data, end, (start, limit), in_order.then_some((next, lost)))
    }

    /// The same, for the unsolicited burst.
    fn judge_burst(&mut self, data: &DataOut, in_order: bool, end: u32) -> Verdict {
        let burst = self.unsolicited;
        if !burst.open {
            if self.recovery.as_ref().is_some_and(|one| one.had_burst) {
                return Verdict::Late;
            }
            // RFC 7143 §11.4.7.2: "Unexpected unsolicited data".
            self.fault
                .get_or_insert(DataFault::UnexpectedUnsolicitedData);
            return Verdict::Repeats;
        }
        if data.data_sn < burst.data_sn {
            return Verdict::Late;
        }
        let lost = data.data_sn != burst.data_sn;
        self.unsolicited.data_sn = data.data_sn.wrapping_add(1);
        // Where the burst has got to, in order: `next_r2t_offset` has no other use before it ends.
        let next = self.next_r2t_offset;
        if in_order {
            self.next_r2t_offset = end.clamp(next, burst.limit.max(next));
        }
        self.judge_place(
            data,
            end,
            (0, burst.limit),
            in_order.then_some((next, lost)),
        )
    }

    /// Whether the bytes of a PDU may stand where they do: within the sequence, and with DataPDUInOrder after those before, and without a gap where
    /// none was lost (RFC 7143 §13.18).
    fn judge_place(
        &mut self,
        data: &DataOut,
        end: u32,
        (start, limit): (u32, u32),
        next: Option<(u32, bool)>,
    ) -> Verdict {
        let offset = data.buffer_offset;
        let misplaced = match next {
            Some((next, false)) => offset != next,
            Some((next, true)) => offset < next,
            None => offset < start,
        };
        if misplaced {
            self.fault.get_or_insert(DataFault::DataOffset);
        } else if end > limit {
            self.fault.get_or_insert(DataFault::IncorrectAmountOfData);
        }
        if self.fault.is_some() || self.received.overlaps(offset, end) {
            return Verdict::Repeats;
        }
        Verdict::Belongs
    }

    /// A sequence is over, whatever of it has come.
    pub(super) fn close_lost(&mut self, ttt: Ttt) {
        if ttt != Ttt::RESERVED {
            return self.r2ts.remove(ttt);
        }
        if core::mem::replace(&mut self.unsolicited.open, false) {
            // RFC 7143 §11.4.7.2: the burst is as long as FirstBurstLength and the command let it. What of it has not come is lost.
            self.next_r2t_offset = self.unsolicited.limit.max(self.received.contiguous());
            if let Some(recovery) = &mut self.recovery {
                recovery.had_burst = true;
            }
        }
    }

    /// Whether data is missing that no sequence under way will bring.
    pub(in crate::session) fn has_lost_data(&self) -> bool {
        self.recovery.is_some() && self.lost_data().is_some()
    }

    /// The first such gap, as far as the engine has memory for it: its first byte, and the one after the last.
    pub(super) fn lost_data(&self) -> Option<(u32, u32)> {
        let through = self.next_r2t_offset.min(self.granted);
        let mut at = self.received.contiguous();
        while at < through {
            let asked = self
                .r2ts
                .as_slice()
                .iter()
                .find(|r2t| r2t.offset <= at && at < r2t.offset.saturating_add(r2t.bytes));
            if let Some(r2t) = asked {
                at = r2t.offset.saturating_add(r2t.bytes);
                continue;
            }
            let here = |run: &&(u32, u32)| run.0 <= at && at < run.1;
            if let Some(run) = self.received.ahead().iter().find(here) {
                at = run.1;
                continue;
            }
            let runs = self.received.ahead().iter().map(|run| run.0);
            let asked = self.r2ts.as_slice().iter().map(|r2t| r2t.offset);
            let next = runs.chain(asked).filter(|start| *start > at).min();
            return Some((at, next.unwrap_or(through).min(through)));
        }
        None
    }
}
