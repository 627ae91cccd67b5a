//! What leaves: requests in the order of the window, their numbers, and the data that follows them.

use iscsi_wire::{
    Bhs, DataOut, InitiatorPdu, ReadyToTransfer, ScsiCommand, TaskManagementFunction,
};

use crate::framing;
use crate::session::{Delivery, Initiator, Pending};

/// A request ready to leave but for its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) pdu: InitiatorPdu,
    pub(crate) ahs: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Initiator {
    /// Sends the data an R2T asks for, where R2Ts are not answered automatically. One for a command that is over sends
    /// nothing.
    pub fn answer_r2t(&mut self, r2t: &ReadyToTransfer) {
        let Some(Pending::Command(task)) = self.pending.get_mut(&r2t.itt) else {
            return;
        };
        let pdus = task.answer_r2t(r2t, self.params.max_send_data_segment_length);
        let pdus = self.scatter(pdus);
        for (pdu, data) in pdus {
            self.send(Outgoing {
                pdu: InitiatorPdu::DataOut(pdu),
                ahs: Vec::new(),
                data,
            });
        }
    }

    /// Appends a header and data as they are, with the digests in use and the padding. The header's numbers and lengths
    /// are the caller's (who also moves [`Self::set_cmd_sn`] on where it took one), and no answer is expected: one comes
    /// as [`crate::Event::Unmatched`].
    pub fn push_raw(&mut self, bhs: &Bhs, data: &[u8]) {
        framing::append(&mut self.out, bhs, &[], data, self.framer.digests);
    }

    /// Appends any bytes at all.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Takes the bytes that are to be sent.
    #[must_use]
    pub fn take_output(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.out)
    }

    pub(crate) fn queue_bare(&mut self, pdu: InitiatorPdu, delivery: Delivery) {
        self.queue(
            Outgoing {
                pdu,
                ahs: Vec::new(),
                data: Vec::new(),
            },
            delivery,
        );
    }

    /// Sends at once what belongs to no command's window: login requests and answers to pings.
    pub(crate) fn send_now(&mut self, pdu: InitiatorPdu, data: Vec<u8>) {
        self.send(Outgoing {
            pdu,
            ahs: Vec::new(),
            data,
        });
    }

    pub(crate) fn queue(&mut self, outgoing: Outgoing, delivery: Delivery) {
        match delivery {
            Delivery::Immediate => self.send(outgoing),
            Delivery::Ordered => {
                self.held.push_back(outgoing);
                self.send_held();
            }
        }
    }

    /// RFC 7143 §4.2.2.1: no ordered request leaves with a CmdSN above MaxCmdSN.
    pub(crate) fn send_held(&mut self) {
        while self.is_full_feature() && self.numbers.cmd_sn.le(self.numbers.max_cmd_sn) {
            let Some(outgoing) = self.held.pop_front() else {
                break;
            };
            self.send(outgoing);
            self.numbers.cmd_sn = self.numbers.cmd_sn.next();
        }
    }

    fn send(&mut self, mut outgoing: Outgoing) {
        self.stamp(&mut outgoing.pdu);
        self.append(&outgoing);
        self.remember_sent(&outgoing);
        match outgoing.pdu {
            InitiatorPdu::ScsiCommand(command) => self.send_unsolicited(&command),
            InitiatorPdu::TaskManagementRequest(request)
                if request.function != TaskManagementFunction::TaskReassign =>
            {
                self.pending
                    .insert(request.itt, Pending::TaskManagement(request));
            }
            _ => {}
        }
    }

    /// Appends a request as it stands.
    pub(crate) fn append(&mut self, outgoing: &Outgoing) {
        let Outgoing { pdu, ahs, data } = outgoing;
        framing::append(&mut self.out, &pdu.emit(), ahs, data, self.framer.digests);
    }

    pub(crate) fn send_unsolicited(&mut self, command: &ScsiCommand) {
        let numbered = self.recovery.is_some();
        let Some(Pending::Command(task)) = self.pending.get_mut(&command.itt) else {
            return;
        };
        task.cmd_sn = Some(command.cmd_sn);
        if numbered {
            task.incoming.get_or_insert_default();
        }
        let pdus = task.first_burst(command, self.params.max_send_data_segment_length);
        let pdus = self.scatter(pdus);
        for (pdu, data) in pdus {
            self.send(Outgoing {
                pdu: InitiatorPdu::DataOut(pdu),
                ahs: Vec::new(),
                data,
            });
        }
    }

    /// The PDUs of a sequence as they leave: every other one first, the rest backwards, where that is wanted and legal.
    fn scatter(&self, pdus: Vec<(DataOut, Vec<u8>)>) -> Vec<(DataOut, Vec<u8>)> {
        if !self.config.scatter_data_out || self.params.data_pdu_in_order {
            return pdus;
        }
        let (even, odd): (Vec<_>, Vec<_>) = pdus
            .into_iter()
            .partition(|(pdu, _)| pdu.data_sn.is_multiple_of(2));
        let mut scattered: Vec<_> = odd.into_iter().chain(even.into_iter().rev()).collect();
        let last = scattered.len();
        // RFC 7143 §11.7.5: DataSN counts the PDUs as they leave, and F is in the last of them.
        for ((pdu, _), data_sn) in scattered.iter_mut().zip(0u32..) {
            pdu.data_sn = data_sn;
            pdu.r#final = data_sn as usize + 1 == last;
        }
        scattered
    }

    /// Sets ExpStatSN alone.
    pub(crate) fn acknowledge_in(&self, pdu: &mut InitiatorPdu) {
        let exp_stat_sn = self.exp_stat_sn;
        match pdu {
            InitiatorPdu::NopOut(pdu) => pdu.exp_stat_sn = exp_stat_sn,
            InitiatorPdu::ScsiCommand(pdu) => pdu.exp_stat_sn = exp_stat_sn,
            InitiatorPdu::TaskManagementRequest(pdu) => pdu.exp_stat_sn = exp_stat_sn,
            InitiatorPdu::LoginRequest(pdu) => pdu.exp_stat_sn = exp_stat_sn,
            InitiatorPdu::TextRequest(pdu) => pdu.exp_stat_sn = exp_stat_sn,
            InitiatorPdu::LogoutRequest(pdu) => {
                // RFC 7143 §11.14.4: it is the last of the connection to be closed.
                let of_lost = match self.pending.get(&pdu.itt) {
                    Some(Pending::Logout(leaving)) => leaving.exp_stat_sn,
                    _ => None,
                };
                pdu.exp_stat_sn = of_lost.unwrap_or(exp_stat_sn);
            }
            InitiatorPdu::DataOut(pdu) => pdu.exp_stat_sn = exp_stat_sn,
            InitiatorPdu::SnackRequest(pdu) => pdu.exp_stat_sn = exp_stat_sn,
        }
    }

    fn stamp(&self, pdu: &mut InitiatorPdu) {
        self.acknowledge_in(pdu);
        let cmd_sn = self.numbers.cmd_sn;
        match pdu {
            InitiatorPdu::NopOut(pdu) => pdu.cmd_sn = cmd_sn,
            InitiatorPdu::ScsiCommand(pdu) => pdu.cmd_sn = cmd_sn,
            InitiatorPdu::TaskManagementRequest(pdu) => pdu.cmd_sn = cmd_sn,
            InitiatorPdu::LoginRequest(pdu) => pdu.cmd_sn = cmd_sn,
            InitiatorPdu::TextRequest(pdu) => pdu.cmd_sn = cmd_sn,
            InitiatorPdu::LogoutRequest(pdu) => pdu.cmd_sn = cmd_sn,
            InitiatorPdu::DataOut(_) | InitiatorPdu::SnackRequest(_) => {}
        }
    }
}
