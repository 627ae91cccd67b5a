//! One task: a SCSI command between its header and its status, and how far its data is (RFC 7143 §4.2.5, §11.7, §11.8).
//!
//! Knows numbers and offsets; the bytes are the engine's. The checks of Data-Out stand in `data_out`.

use iscsi_wire::{Itt, Lun64, SerialNumber, Ttt};

use super::ranges::Ranges;
use super::recovery::TaskRecovery;
use super::{ConnectionIndex, DataFault};

/// R2Ts one task may have outstanding, whatever larger MaxOutstandingR2T allows: with bursts of 256 KiB or more, more
/// of them than this only make the peer's queue longer.
pub(crate) const MAX_R2TS: usize = 8;

/// A command that has no answer on the wire yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) itt: Itt,
    pub(crate) lun: Lun64,
    pub(crate) cmd_sn: SerialNumber,
    pub(crate) connection: ConnectionIndex,
    pub(crate) slot: RequestSlot,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Bytes the initiator expects to move; 0 where it expects no data.
    pub(crate) expected_data_transfer_length: u32,

    pub(crate) decision: Decision,
    pub(crate) unsolicited: Unsolicited,
    /// The Data-Out that is valid.
    pub(crate) received: Ranges,
    /// The engine has memory up to here.
    pub(crate) granted: u32,
    /// The next R2T starts here.
    pub(crate) next_r2t_offset: u32,
    pub(crate) r2ts: R2ts,
    pub(crate) fault: Option<DataFault>,
    pub(crate) fault_told: bool,

    /// DataSN of the next Data-In, or R2TSN of the next R2T: no command has both.
    pub(crate) next_data_sn: u32,
    /// Data-In has been sent up to here.
    pub(crate) sent: u32,
    /// The engine has Data-In up to here.
    pub(crate) available: u32,
    /// Bytes sent of the current Data-In sequence.
    pub(crate) burst: u32,
    pub(crate) completion: Option<Completion>,
    /// Stands in its connection's queue of tasks with something to send.
    pub(crate) queued: bool,
    /// The session ended it by itself; the engine never heard of it.
    pub(crate) internal: bool,
    /// What is known for the case that a PDU is lost. Only in a session that recovers.
    pub(crate) recovery: Option<Box<TaskRecovery>>,
}

/// Which allowance a request takes a place of until its answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestSlot {
    /// A place in the command window.
    Numbered,
    /// A place among the connection's immediate task management requests.
    ImmediateManagement,
    /// A place among the connection's other immediate requests.
    Immediate,
    /// None: the session speaks unasked.
    None,
}

/// What the engine said to a command's immediate and unsolicited data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Pending,
    Accepted,
    Discarded,
}

/// The sequence of unsolicited Data-Out PDUs which follows a command with F=0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsolicited {
    /// It has not ended.
    pub(crate) open: bool,
    /// Immediate and unsolicited data end here at the latest.
    pub(crate) limit: u32,
    /// DataSN of its next PDU.
    pub(crate) data_sn: u32,
}

/// The status a task waits to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    /// Counts the connection's completions, so that an answer can be kept behind those before it.
    pub(crate) number: u64,
    pub(crate) status: u8,
    pub(crate) residual: Residual,
    /// A response fence holds it.
    pub(crate) held: bool,
    pub(crate) sense: Option<Box<[u8]>>,
}

/// Residual count and its direction (RFC 7143 §11.4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Residual {
    pub(crate) overflow: bool,
    pub(crate) underflow: bool,
    pub(crate) count: u32,
}

impl Residual {
    /// RFC 7143 §11.4.5.1: what the command would move against what the initiator expects it to.
    pub(crate) fn between(transfer_bytes: u64, expected_bytes: u32) -> Self {
        let expected = u64::from(expected_bytes);
        let (overflow, underflow) = (transfer_bytes > expected, transfer_bytes < expected);
        let count = u32::try_from(transfer_bytes.abs_diff(expected)).unwrap_or(u32::MAX);
        Self {
            overflow,
            underflow,
            count,
        }
    }
}

/// An R2T that is being answered or waits to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct R2t {
    pub(crate) ttt: Ttt,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
    /// Bytes of it that have come, in whatever order.
    pub(crate) got: u32,
    /// DataSN of the next Data-Out.
    pub(crate) data_sn: u32,
}

/// A task's outstanding R2Ts, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct R2ts {
    places: [R2t; MAX_R2TS],
    len: usize,
}

impl R2ts {
    pub(crate) fn as_slice(&self) -> &[R2t] {
        &self.places[..self.len]
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.len == MAX_R2TS
    }

    pub(crate) fn at_mut(&mut self, at: usize) -> Option<&mut R2t> {
        self.places[..self.len].get_mut(at)
    }

    /// Adds the newest. The caller has seen that there is room.
    pub(crate) fn push(&mut self, r2t: R2t) {
        if let Some(place) = self.places.get_mut(self.len) {
            *place = r2t;
            self.len += 1;
        }
    }

    pub(crate) fn position(&self, ttt: Ttt) -> Option<usize> {
        self.as_slice().iter().position(|r2t| r2t.ttt == ttt)
    }

    pub(crate) fn remove(&mut self, ttt: Ttt) {
        if let Some(at) = self.position(ttt) {
            self.places.copy_within(at + 1..self.len, at);
            self.len -= 1;
            self.places[self.len] = R2t::default();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Task {
    /// Whether all Data-Out that was under way has ended.
    pub(crate) const fn sequences_closed(&self) -> bool {
        !self.unsolicited.open && self.r2ts.is_empty()
    }

    /// Whether an R2T may leave now.
    pub(crate) fn may_ask(&self, max_outstanding_r2t: u16) -> bool {
        // What is asked for starts where the unsolicited burst ended, which is known when it has.
        self.write
            && (self.next_r2t_offset < self.granted || self.has_lost_data())
            && self.fault.is_none()
            && self.completion.is_none()
            && !self.unsolicited.open
            && !self.r2ts.is_full()
            && self.r2ts.len() < usize::from(max_outstanding_r2t)
    }

    /// Whether Data-In or a status waits to be sent.
    pub(crate) fn has_answer(&self) -> bool {
        self.sent < self.available || self.is_status_due() || self.is_asked_again()
    }

    /// Whether there is a status that waits to be sent.
    pub(crate) fn is_status_due(&self) -> bool {
        let answered = |one: &TaskRecovery| one.answered;
        self.completion.is_some() && !self.recovery.as_deref().is_some_and(answered)
    }

    /// The StatSN that its status was sent with. The initiator has not acknowledged it, or the task would not be here.
    pub(crate) fn sent_status(&self) -> Option<SerialNumber> {
        self.recovery.as_ref()?.sent_status
    }

    /// Whether it is over, and the engine is about to be told.
    pub(crate) fn is_over(&self) -> bool {
        self.recovery.as_ref().is_some_and(|one| one.over)
    }

    /// Whether its command does not count as received yet.
    pub(crate) fn is_unproved(&self) -> bool {
        self.recovery.as_ref().is_some_and(|one| one.unproved)
    }

    fn is_asked_again(&self) -> bool {
        self.recovery
            .as_ref()
            .is_some_and(|one| one.is_asked_again())
    }

    /// Whether its Data-Out is welcome.
    pub(crate) fn takes_data(&self) -> bool {
        self.decision == Decision::Accepted && self.fault.is_none() && self.completion.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residual_between_each_order_sets_one_flag_and_saturates() {
        let table = [
            (512, 512, (false, false, 0)),
            (0, 512, (false, true, 512)),
            (512, 0, (true, false, 512)),
            (u64::MAX, 1, (true, false, u32::MAX)),
            (0, u32::MAX, (false, true, u32::MAX)),
        ];
        for (transfer, expected, (overflow, underflow, count)) in table {
            assert_eq!(
                Residual::between(transfer, expected),
                Residual {
                    overflow,
                    underflow,
                    count
                }
            );
        }
    }

    #[test]
    fn r2ts_remove_from_the_middle_keeps_order_and_clears_the_place() {
        let mut r2ts = R2ts::default();
        for ttt in 0..MAX_R2TS {
            assert!(!r2ts.is_full());
            r2ts.push(R2t {
                ttt: Ttt(u32::try_from(ttt).unwrap()),
                ..R2t::default()
            });
        }
        assert!(r2ts.is_full());
        r2ts.push(R2t {
            ttt: Ttt(99),
            ..R2t::default()
        });
        assert_eq!(r2ts.position(Ttt(99)), None);
        r2ts.remove(Ttt(3));
        r2ts.remove(Ttt(3));
        let tags: Vec<u32> = r2ts.as_slice().iter().map(|r2t| r2t.ttt.0).collect();
        assert_eq!(tags, [0, 1, 2, 4, 5, 6, 7]);
        let mut again = R2ts::default();
        for tag in tags {
            again.push(R2t {
                ttt: Ttt(tag),
                ..R2t::default()
            });
        }
        assert_eq!(again, r2ts);
    }
}
