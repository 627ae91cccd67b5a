//! What is done about PDUs that do not arrive: ErrorRecoveryLevel 1 (RFC 7143 §7.1.4.1, §7.1.4.2, §7.2.1, §7.8, §7.9, §11.16).
//!
//! Statuses are taken in the order of StatSN, and none before all data of its command is there; until then it is not
//! acknowledged (§7.9). What is missing is asked for by SNACK as soon as it is known to be, and again after
//! [`crate::Config::patience`]. What nobody can know to be missing, a silent target's answer or a request that was lost, comes
//! out by time: [`Initiator::handle_time`] sends the request again whose CmdSN the target waits for, and pings.

mod incoming;
mod reassign;
mod status;
mod task;

use std::collections::VecDeque;
use std::time::Duration;

use iscsi_wire::{InitiatorPdu, Itt, NopOut, SerialNumber, SnackRequest, SnackType, Ttt};

pub(crate) use incoming::Incoming;
pub(crate) use reassign::Orphans;
use status::Statuses;

use crate::session::{Initiator, Pending, State, length_of};
use crate::transmit::Outgoing;
use crate::{Event, Violation};

/// What recovery has done so far, in PDUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// PDUs whose header digest was wrong, passed over.
    pub bad_headers: u64,
    /// PDUs whose data digest was wrong, discarded.
    pub bad_data: u64,
    /// PDUs that came again, discarded.
    pub duplicates: u64,
    /// SNACKs that asked for Data-In or R2T PDUs again, R-Data among them.
    pub data_snacks: u64,
    /// SNACKs that asked for statuses again.
    pub status_snacks: u64,
    /// DataACKs.
    pub data_acks: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Pings of a silent target.
    pub probes: u64,
    /// TASK REASSIGN functions sent.
    pub reassigned: u64,
}

impl Repairs {
    /// The sums of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            bad_headers: self.bad_headers + other.bad_headers,
            bad_data: self.bad_data + other.bad_data,
            duplicates: self.duplicates + other.duplicates,
            data_snacks: self.data_snacks + other.data_snacks,
            status_snacks: self.status_snacks + other.status_snacks,
            data_acks: self.data_acks + other.data_acks,
            retries: self.retries + other.retries,
            probes: self.probes + other.probes,
            reassigned: self.reassigned + other.reassigned,
        }
    }
}

/// What one connection keeps for recovery.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovery {
    /// Requests with a CmdSN that the target has not acknowledged, in the order of their CmdSNs.
    pub(crate) sent: VecDeque<Sent>,
    statuses: Statuses,
    /// When the target was pinged last, and by which request.
    probe: Option<(Itt, Duration)>,
    heard_at: Duration,
    /// Whether anything has come in the full feature phase.
    heard: bool,
    last_tag: u32,
    /// Told at the next opportunity.
    pub(crate) late: Vec<Event>,
    pub(crate) repairs: Repairs,
}

/// A request as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) cmd_sn: SerialNumber,
    pub(crate) at: Duration,
    pub(crate) outgoing: Outgoing,
}

impl Initiator {
    /// Tells the time, on any clock that goes forward, and does what is due: nothing below ErrorRecoveryLevel 1. To be called a
    /// few times within [`crate::Config::patience`].
    pub fn handle_time(&mut self, now: Duration) -> Vec<Event> {
        self.now = now;
        let mut events = Vec::new();
        if !self.is_full_feature() || self.recovery.is_none() {
            return events;
        }
        self.retry();
        self.ask();
        let Some(recovery) = self.recovery.as_deref_mut() else {
            return events;
        };
        events.append(&mut recovery.late);
        let silence = now.saturating_sub(recovery.heard_at);
        if self.framer.is_lost && silence > self.config.patience * LOST_PATIENCES {
            events.push(Event::Violation(Violation::HeaderDigest));
            self.state = State::Closed;
        } else if silence >= self.config.patience && self.outstanding().next().is_some() {
            self.probe();
        }
        events
    }

    /// What recovery has done on this connection.
    #[must_use]
    pub fn repairs(&self) -> Repairs {
        self.recovery
            .as_deref()
            .map(|recovery| recovery.repairs)
            .unwrap_or_default()
    }

    /// Whether the target has said anything since the login.
    pub(crate) fn has_heard(&self) -> bool {
        let recovery = self.recovery.as_deref();
        recovery.is_some_and(|recovery| recovery.heard)
    }

    /// Remembers a request that left, until its CmdSN is acknowledged.
    pub(crate) fn remember_sent(&mut self, outgoing: &Outgoing) {
        let now = self.now;
        if let (Some(recovery), Some(cmd_sn)) =
            (self.recovery.as_deref_mut(), ordered_cmd_sn(&outgoing.pdu))
        {
            recovery.sent.push_back(Sent {
                cmd_sn,
                at: now,
                outgoing: outgoing.clone(),
            });
        }
    }

    /// RFC 7143 §7.2.1: the request that the target waits for is sent again, as it was, and no other.
    fn retry(&mut self) {
        let expected = self.numbers.exp_cmd_sn;
        self.trim_sent();
        let (now, patience) = (self.now, self.config.patience);
        let Some(recovery) = self.recovery.as_deref_mut() else {
            return;
        };
        let mut sent = recovery.sent.iter_mut();
        let due = sent.find(|sent| sent.cmd_sn == expected && now >= sent.at + patience);
        if let Some(sent) = due {
            sent.at = now;
            let outgoing = sent.outgoing.clone();
            self.send_again(outgoing);
        }
    }

    pub(crate) fn trim_sent(&mut self) {
        let expected = self.numbers.exp_cmd_sn;
        if let Some(recovery) = self.recovery.as_deref_mut() {
            recovery.sent.retain(|sent| !sent.cmd_sn.lt(expected));
        }
    }

    /// Sends a request with the CmdSN it has, and its unsolicited data after it.
    pub(crate) fn send_again(&mut self, mut outgoing: Outgoing) {
        self.acknowledge_in(&mut outgoing.pdu);
        self.append(&outgoing);
        if let InitiatorPdu::ScsiCommand(command) = &outgoing.pdu {
            self.send_unsolicited(command);
        }
        self.count(|repairs| repairs.retries += 1);
    }

    /// A rejected request that must be sent again, since its CmdSN counts as not received (RFC 7143 §7.3): whether it was.
    pub(crate) fn plug(&mut self, itt: Itt) -> bool {
        let now = self.now;
        let Some(recovery) = self.recovery.as_deref_mut() else {
            return false;
        };
        let mut sent = recovery.sent.iter_mut();
        let Some(sent) = sent.find(|sent| sent.outgoing.pdu.emit().itt() == itt) else {
            return false;
        };
        sent.at = now;
        let outgoing = sent.outgoing.clone();
        self.send_again(outgoing);
        true
    }

    /// RFC 7143 §11.18: an answer carries the next StatSN, and shows what went before it. Its header also shows where a PDU
    /// begins again after one whose header was damaged.
    pub(crate) fn probe(&mut self) {
        let (now, patience) = (self.now, self.config.patience);
        let last = self.recovery.as_deref().and_then(|recovery| recovery.probe);
        if last.is_some_and(|(_, at)| now < at + patience) {
            return;
        }
        if let Some((itt, _)) = last {
            self.pending.remove(&itt);
        }
        let itt = self.allocate_itt();
        let nop = NopOut {
            immediate: true,
            data_segment_length: length_of(PROBE),
            itt,
            ttt: Ttt::RESERVED,
            ..NopOut::default()
        };
        self.pending.insert(itt, Pending::Probe);
        self.send_now(InitiatorPdu::NopOut(nop), PROBE.to_vec());
        if let Some(recovery) = self.recovery.as_deref_mut() {
            recovery.probe = Some((itt, now));
        }
        self.count(|repairs| repairs.probes += 1);
    }

    /// Takes the answer to a probe, which nobody else waits for: whether it was one, of those that nobody waits for any more too.
    pub(crate) fn take_probed(&mut self, itt: Itt, data: &[u8]) -> bool {
        match self.pending.get(&itt) {
            Some(Pending::Probe) => {}
            None => return data == PROBE,
            Some(_) => return false,
        }
        self.pending.remove(&itt);
        if let Some(recovery) = self.recovery.as_deref_mut() {
            recovery.probe = None;
        }
        self.reassign_again(itt);
        true
    }

    /// Asks for all that is missing and was not asked for lately.
    pub(crate) fn ask(&mut self) {
        let (now, patience) = (self.now, self.config.patience);
        // RFC 7143 §11.16.3: which SNACK it has to be hangs on whether the target has taken the new length already.
        let declares = self.declares.is_some();
        let mut asked = Vec::new();
        let Some(recovery) = self.recovery.as_deref_mut() else {
            return;
        };
        for (first, length) in recovery.statuses.ask(self.exp_stat_sn, now, patience) {
            recovery.repairs.status_snacks += 1;
            asked.push(SnackRequest {
                r#type: SnackType::Status,
                itt: Itt::RESERVED,
                ttt: Ttt::RESERVED,
                beg_run: first,
                run_length: length,
                ..SnackRequest::default()
            });
        }
        for (itt, pending) in &mut self.pending {
            let Pending::Command(task) = pending else {
                continue;
            };
            let Some(incoming) = task.incoming.as_deref_mut().filter(|of| !of.lost) else {
                continue;
            };
            if declares {
                continue;
            }
            let resegments = incoming.old_segments || incoming.snack_tag != 0;
            // RFC 7143 §11.16.1: an R-Data SNACK has the numbers begin anew. As long as PDUs of the old numbers may be on their way
            // they would be taken for new ones: the status comes behind the last of them.
            if resegments
                && !recovery.statuses.has_come(*itt, incoming.snack_tag)
                && !incoming.is_overdue(now, patience * STALLED)
            {
                continue;
            }
            let runs = incoming.ask(now, patience);
            recovery.repairs.data_snacks += length_of_runs(&runs);
            if resegments && !runs.is_empty() {
                recovery.last_tag = recovery.last_tag % (Ttt::RESERVED.0 - 1) + 1;
                task.prepare_resegmentation(recovery.last_tag, now);
                asked.push(SnackRequest {
                    r#type: SnackType::RData,
                    itt: *itt,
                    ttt: Ttt(recovery.last_tag),
                    ..SnackRequest::default()
                });
                continue;
            }
            asked.extend(runs.into_iter().map(|(first, length)| SnackRequest {
                r#type: SnackType::DataOrR2t,
                itt: *itt,
                ttt: Ttt::RESERVED,
                beg_run: first,
                run_length: length,
                ..SnackRequest::default()
            }));
        }
        for snack in asked {
            self.send_now(InitiatorPdu::SnackRequest(snack), Vec::new());
        }
    }

    /// RFC 7143 §11.16.2: acknowledges the data of a command up to where it has no hole, where that was asked for.
    pub(crate) fn acknowledge_data(&mut self, itt: Itt) {
        let Some(Pending::Command(task)) = self.pending.get_mut(&itt) else {
            return;
        };
        let Some(incoming) = task.incoming.as_deref_mut() else {
            return;
        };
        if !self.config.acknowledge_data {
            return;
        }
        if let Some(asked) = incoming.acknowledge() {
            let snack = SnackRequest {
                r#type: SnackType::DataAck,
                lun: asked.lun,
                itt: Itt::RESERVED,
                ttt: asked.ttt,
                beg_run: incoming.acknowledged,
                ..SnackRequest::default()
            };
            self.send_now(InitiatorPdu::SnackRequest(snack), Vec::new());
            self.count(|repairs| repairs.data_acks += 1);
        }
    }

    /// The text exchange that declares another MaxRecvDataSegmentLength, in bytes, within the full feature phase (RFC 7143 §13.12).
    /// What a command has missed by its end is then asked for by R-Data SNACK.
    pub fn declare_max_recv_data_segment_length(&mut self, bytes: u32) -> Itt {
        let value = bytes.to_string();
        let itt = self.text(
            &[("MaxRecvDataSegmentLength", &value)],
            crate::Delivery::Ordered,
        );
        self.declares = Some((itt, bytes));
        itt
    }

    /// The declaration holds once its exchange is over.
    pub(crate) fn take_declared(&mut self, itt: Itt) {
        let Some((_, bytes)) = self.declares.take_if(|(of, _)| *of == itt) else {
            return;
        };
        self.params.max_recv_data_segment_length = bytes;
        // PDUs that are on their way have the old length.
        let most = self.framer.max_data_segment_bytes.max(bytes);
        self.framer.max_data_segment_bytes = most;
        for pending in self.pending.values_mut() {
            if let Pending::Command(task) = pending
                && let Some(incoming) = task.incoming.as_deref_mut()
            {
                incoming.old_segments = true;
                incoming.wait_from(self.now);
            }
        }
    }

    pub(crate) fn count(&mut self, add: impl FnOnce(&mut Repairs)) {
        if let Some(recovery) = self.recovery.as_deref_mut() {
            add(&mut recovery.repairs);
        }
    }
}

fn length_of_runs(runs: &[(u32, u32)]) -> u64 {
    u64::try_from(runs.len()).unwrap_or(u64::MAX)
}

/// The CmdSN of a request that takes one.
pub(crate) const fn ordered_cmd_sn(pdu: &InitiatorPdu) -> Option<SerialNumber> {
    let (immediate, cmd_sn) = match pdu {
        InitiatorPdu::NopOut(pdu) => (pdu.immediate, pdu.cmd_sn),
        InitiatorPdu::ScsiCommand(pdu) => (pdu.immediate, pdu.cmd_sn),
        InitiatorPdu::TaskManagementRequest(pdu) => (pdu.immediate, pdu.cmd_sn),
        InitiatorPdu::TextRequest(pdu) => (pdu.immediate, pdu.cmd_sn),
        InitiatorPdu::LogoutRequest(pdu) => (pdu.immediate, pdu.cmd_sn),
        _ => return None,
    };
    if immediate { None } else { Some(cmd_sn) }
}

/// How many times the patience a damaged header may wait for the next.
const LOST_PATIENCES: u32 = 8;
/// After so many patiences without its status a command is asked for anew all the same: its target waits for something.
const STALLED: u32 = 4;
const PROBE: &[u8] = b"recovery";
