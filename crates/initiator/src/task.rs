//! One command's data: what is sent, what came, and the rules of RFC 7143 §11.7, §11.8 and §11.4.5 for it.

use iscsi_wire::{
    DataIn, DataOut, Itt, Lun64, ReadyToTransfer, ResponseCode, ScsiCommand, ScsiResponse,
    SerialNumber, Ttt,
};

use crate::end::End;
use crate::recovery::Incoming;
use crate::session::length_of;
use crate::{CommandDone, Config, Params, Residual, Violation};

#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) lun: Lun64,
    /// Known once the command has left.
    pub(crate) cmd_sn: Option<SerialNumber>,
    pub(crate) is_immediate: bool,
    out: Vec<u8>,
    pub(crate) out_expected: u32,
    /// Data-Out bytes sent or asked for, contiguous from 0 where sequences come in order.
    pub(crate) out_sent: u32,
    first_burst: FirstBurst,
    waiting_r2ts: u64,
    pub(crate) in_expected: u32,
    pub(crate) in_received: u32,
    data_in_pdus: u32,
    pub(crate) input: Vec<u8>,
    /// Bytes of the Data-In sequence in progress.
    burst_bytes: u32,
    next_in_offset: u32,
    /// Next DataSN or R2TSN: they share one numbering (RFC 7143 §11.7.5).
    next_sn: u32,
    /// Takes the place of the numbering above at ErrorRecoveryLevel 1 and above.
    pub(crate) incoming: Option<Box<Incoming>>,
}

/// What goes out before any R2T.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FirstBurst {
    pub(crate) immediate_bytes: u32,
    pub(crate) data_out_bytes: u32,
}

impl Task {
    pub(crate) const fn new(lun: Lun64, out: Vec<u8>) -> Self {
        Self {
            lun,
            cmd_sn: None,
            is_immediate: false,
            out,
            out_expected: 0,
            out_sent: 0,
            first_burst: FirstBurst {
                immediate_bytes: 0,
                data_out_bytes: 0,
            },
            waiting_r2ts: 0,
            in_expected: 0,
            in_received: 0,
            data_in_pdus: 0,
            input: Vec::new(),
            burst_bytes: 0,
            next_in_offset: 0,
            next_sn: 0,
            incoming: None,
        }
    }

    pub(crate) const fn expect(&mut self, out_bytes: u32, in_bytes: u32) {
        self.out_expected = out_bytes;
        self.in_expected = in_bytes;
    }

    /// RFC 7143 §13.10, §13.11, §13.14: immediate and unsolicited data together are FirstBurstLength at most.
    pub(crate) fn plan_first_burst(&mut self, config: &Config, params: &Params) -> FirstBurst {
        let most = self.out_expected.min(params.first_burst_length);
        let immediate_bytes = if config.use_immediate_data && params.immediate_data {
            most.min(params.max_send_data_segment_length)
        } else {
            0
        };
        let unsolicited = config.use_unsolicited_data && !params.initial_r2t;
        let data_out_bytes = if unsolicited {
            most - immediate_bytes
        } else {
            0
        };
        self.first_burst = FirstBurst {
            immediate_bytes,
            data_out_bytes,
        };
        self.first_burst
    }

    /// The unsolicited Data-Out PDUs that follow the command.
    pub(crate) fn first_burst(
        &mut self,
        command: &ScsiCommand,
        max_segment: u32,
    ) -> Vec<(DataOut, Vec<u8>)> {
        let FirstBurst {
            immediate_bytes,
            data_out_bytes,
        } = self.first_burst;
        self.out_sent = immediate_bytes + data_out_bytes;
        let head = DataOut {
            itt: command.itt,
            ttt: Ttt::RESERVED,
            buffer_offset: immediate_bytes,
            ..DataOut::default()
        };
        self.data_out_pdus(head, data_out_bytes, max_segment)
    }

    pub(crate) fn answer_r2t(
        &mut self,
        r2t: &ReadyToTransfer,
        max_segment: u32,
    ) -> Vec<(DataOut, Vec<u8>)> {
        self.waiting_r2ts = self.waiting_r2ts.saturating_sub(1);
        let head = DataOut {
            lun: r2t.lun,
            itt: r2t.itt,
            ttt: r2t.ttt,
            buffer_offset: r2t.buffer_offset,
            ..DataOut::default()
        };
        let left = self.out_expected.saturating_sub(r2t.buffer_offset);
        self.data_out_pdus(
            head,
            r2t.desired_data_transfer_length.min(left),
            max_segment,
        )
    }

    /// One sequence, DataSN from 0, F in its last PDU (RFC 7143 §11.7).
    fn data_out_pdus(
        &self,
        head: DataOut,
        bytes: u32,
        max_segment: u32,
    ) -> Vec<(DataOut, Vec<u8>)> {
        let mut pdus = Vec::new();
        let mut done = 0;
        while done < bytes {
            let segment = (bytes - done).min(max_segment);
            let buffer_offset = head.buffer_offset + done;
            done += segment;
            let pdu = DataOut {
                r#final: done == bytes,
                data_segment_length: segment,
                data_sn: length_of_pdus(&pdus),
                buffer_offset,
                ..head
            };
            pdus.push((pdu, self.out_bytes(buffer_offset, segment)));
        }
        pdus
    }

    /// The command's data in this range; beyond its end, where more was announced than there is, zeroes.
    pub(crate) fn out_bytes(&self, offset: u32, bytes: u32) -> Vec<u8> {
        let (start, bytes) = (offset as usize, bytes as usize);
        let rest = self.out.get(start..).unwrap_or_default();
        let mut data = rest[..rest.len().min(bytes)].to_vec();
        data.resize(bytes, 0);
        data
    }

    /// Takes the data of a Data-In.
    pub(crate) fn take_data_in(
        &mut self,
        pdu: &DataIn,
        data: &[u8],
        params: &Params,
        broken: &mut Vec<Violation>,
    ) {
        let itt = pdu.itt;
        self.take_number(itt, pdu.data_sn, broken);
        self.data_in_pdus = self.data_in_pdus.saturating_add(1);
        let bytes = length_of(data);
        let Some(end) = pdu
            .buffer_offset
            .checked_add(bytes)
            .filter(|end| *end <= self.in_expected)
        else {
            broken.push(Violation::Data {
                itt,
                rule: "Data-In passes what was expected",
            });
            return;
        };
        let mut hold = |holds: bool, rule| {
            if !holds {
                broken.push(Violation::Data { itt, rule });
            }
        };
        self.burst_bytes = self.burst_bytes.saturating_add(bytes);
        hold(
            self.burst_bytes <= params.max_burst_length,
            "Data-In sequence passes MaxBurstLength",
        );
        // RFC 7143 §13.18, §13.19: in order within a sequence, and from one sequence to the next.
        let first_of_sequence = self.burst_bytes == bytes;
        let ordered = if first_of_sequence {
            params.data_sequence_in_order
        } else {
            params.data_pdu_in_order
        };
        hold(
            !ordered || pdu.buffer_offset == self.next_in_offset,
            "Data-In is out of order",
        );
        // RFC 7143 §11.7.2: A is for ErrorRecoveryLevel 1 and above.
        hold(
            !pdu.acknowledge || params.error_recovery_level > 0,
            "Data-In asks for a DataACK",
        );
        hold(
            pdu.status_present || bytes > 0,
            "Data-In has neither data nor status",
        );
        if self.input.len() < end as usize {
            self.input.resize(end as usize, 0);
        }
        self.input[pdu.buffer_offset as usize..end as usize].copy_from_slice(data);
        self.in_received = self.in_received.saturating_add(bytes);
        self.next_in_offset = end;
        if pdu.r#final {
            self.burst_bytes = 0;
        }
    }

    /// Checks an R2T. Whether it can be answered.
    pub(crate) fn take_r2t(
        &mut self,
        r2t: &ReadyToTransfer,
        params: &Params,
        broken: &mut Vec<Violation>,
    ) -> bool {
        let itt = r2t.itt;
        self.take_number(itt, r2t.r2t_sn, broken);
        let end = r2t
            .buffer_offset
            .checked_add(r2t.desired_data_transfer_length);
        let Some(end) = end.filter(|end| *end <= self.out_expected) else {
            broken.push(Violation::Data {
                itt,
                rule: "R2T passes what was expected",
            });
            return false;
        };
        let mut hold = |holds: bool, rule| {
            if !holds {
                broken.push(Violation::Data { itt, rule });
            }
        };
        // RFC 7143 §11.8.4: no R2T asks for more than MaxBurstLength.
        let desired = r2t.desired_data_transfer_length;
        hold(
            desired <= params.max_burst_length,
            "R2T passes MaxBurstLength",
        );
        let in_order = !params.data_sequence_in_order || r2t.buffer_offset == self.out_sent;
        hold(in_order, "R2T is out of order");
        hold(
            r2t.lun == self.lun || r2t.lun == Lun64(0),
            "R2T names another LUN",
        );
        self.waiting_r2ts += 1;
        hold(
            self.waiting_r2ts <= params.max_outstanding_r2t,
            "R2T passes MaxOutstandingR2T",
        );
        self.out_sent = if params.data_sequence_in_order {
            end
        } else {
            self.out_sent.saturating_add(desired)
        };
        true
    }

    /// Checks the end against what moved, and gives what the caller wants to know.
    pub(crate) fn finish(
        self,
        itt: Itt,
        end: End,
        params: &Params,
        broken: &mut Vec<Violation>,
    ) -> CommandDone {
        if self.burst_bytes > 0 {
            broken.push(Violation::Data {
                itt,
                rule: "Data-In sequence has no final PDU",
            });
        }
        let good = end.response == u8::from(ResponseCode::CommandCompleted) && end.status == GOOD;
        match self.incoming.as_deref() {
            Some(_) if good && !self.has_all_data() => return CommandDone::of_lost_data(itt),
            Some(incoming) if !incoming.lost => incoming.check_sequences(itt, params, broken),
            _ => {}
        }
        let writes = self.out_expected > 0;
        let read_told = if writes {
            end.read_residual
        } else {
            end.residual
        };
        self.check_residual(
            itt,
            (self.in_expected, self.in_received),
            read_told,
            good,
            broken,
        );
        if writes {
            let sent = self.out_sent.min(self.out_expected);
            // Unsolicited data may pass what the command turned out to want.
            let wanted = match end.residual {
                Residual::Underflow(n) => sent.min(self.out_expected.saturating_sub(n)),
                _ => sent,
            };
            self.check_residual(itt, (self.out_expected, wanted), end.residual, good, broken);
        }
        CommandDone {
            itt,
            response: end.response,
            status: end.status,
            sense: end.sense,
            data: self.input,
            residual: end.residual,
            read_residual: end.read_residual,
        }
    }

    /// RFC 7143 §11.4.5: a command that went well moved all that was expected less the underflow. Of one that did not,
    /// only the bounds are sure.
    fn check_residual(
        &self,
        itt: Itt,
        (expected, moved): (u32, u32),
        told: Residual,
        good: bool,
        broken: &mut Vec<Violation>,
    ) {
        let fits = match told {
            Residual::None => !good || moved == expected,
            Residual::Overflow(n) => n > 0 && (!good || moved == expected),
            Residual::Underflow(n) => n > 0 && n <= expected && (!good || moved == expected - n),
        };
        if !fits {
            broken.push(Violation::Residual {
                itt,
                expected,
                moved,
                told,
            });
        }
    }

    /// RFC 7143 §11.4.8: ExpDataSN counts the command's Data-In PDUs, and no R2T.
    pub(crate) fn check_exp_data_sn(&self, response: &ScsiResponse, broken: &mut Vec<Violation>) {
        let completed = response.response == ResponseCode::CommandCompleted;
        let came = match &self.incoming {
            // What a target counts that has sent some of them anew is not said.
            Some(incoming) if incoming.restarted || incoming.lost => response.exp_data_sn,
            Some(incoming) => incoming.data().0,
            None => self.data_in_pdus,
        };
        let expected = if completed { came } else { 0 };
        if response.exp_data_sn != expected {
            broken.push(Violation::Data {
                itt: response.itt,
                rule: "ExpDataSN is not the count",
            });
        }
    }

    fn take_number(&mut self, itt: Itt, found: u32, broken: &mut Vec<Violation>) {
        if found != self.next_sn {
            broken.push(Violation::DataSn {
                itt,
                expected: self.next_sn,
                found,
            });
        }
        self.next_sn = found.wrapping_add(1);
    }
}

fn length_of_pdus<T>(pdus: &[T]) -> u32 {
    u32::try_from(pdus.len()).unwrap_or(u32::MAX)
}

/// SAM-5 "Status": GOOD.
const GOOD: u8 = 0;
