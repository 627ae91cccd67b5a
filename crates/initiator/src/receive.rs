//! What comes from the target, PDU by PDU.

use iscsi_wire::text::parse_pairs;
use iscsi_wire::{
    BHS_BYTES, Bhs, DataIn, InitiatorPdu, Itt, LogoutReason, LogoutResponse, LogoutResponseCode,
    NopIn, NopOut, ReadyToTransfer, Reject, ScsiResponse, SerialNumber, TargetPdu,
    TaskManagementFunction, TaskManagementRequest, TaskManagementResponse,
    TaskManagementResponseCode, TextRequest, TextResponse, Ttt,
};

use crate::end::End;
use crate::framing::{Found, Frame};
use crate::session::{Delivery, Initiator, Numbers, Pending, State, length_of};
use crate::task::Task;
use crate::{Event, Violation};

impl Initiator {
    /// Takes bytes from the target, in pieces of any size, and tells what they led to. After the end of the connection
    /// nothing is read.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        self.framer.push(bytes);
        while !matches!(self.state, State::Closed) {
            match self.framer.next() {
                Ok(None) => break,
                Ok(Some(Found::Pdu(frame))) => self.handle_frame(&frame, &mut events),
                Ok(Some(Found::BadData(frame))) => self.handle_bad_data(&frame, &mut events),
                Ok(Some(Found::BadHeader)) => self.count(|repairs| repairs.bad_headers += 1),
                Err(violation) => events.push(Event::Violation(violation)),
            }
            if ends_connection(&events) {
                self.state = State::Closed;
            }
        }
        if self.framer.is_lost && self.is_full_feature() {
            self.probe();
        }
        events
    }

    fn handle_frame(&mut self, frame: &Frame, events: &mut Vec<Event>) {
        let pdu = match TargetPdu::parse(&frame.bhs) {
            Ok(pdu) => pdu,
            Err(error) => return events.push(Event::Violation(Violation::Format(error))),
        };
        if self.config.report_pdus {
            events.push(Event::Received(pdu));
        }
        let wrong_phase = Violation::WrongPhase {
            opcode: frame.bhs.opcode(),
        };
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Login(login) => match pdu {
                TargetPdu::LoginResponse(pdu) => {
                    self.handle_login_response(login, &pdu, &frame.data, events);
                }
                TargetPdu::Reject(reject) => {
                    self.state = State::Login(login);
                    self.handle_reject(reject, &frame.data, events);
                }
                _ => events.push(Event::Violation(wrong_phase)),
            },
            State::FullFeature if !matches!(pdu, TargetPdu::LoginResponse(_)) => {
                self.state = State::FullFeature;
                if self.recovery.is_some() {
                    self.handle_recovering(pdu, &frame.data, events);
                } else {
                    self.take_numbers(&pdu, events);
                    self.handle_pdu(pdu, &frame.data, events);
                }
                self.send_held();
            }
            _ => events.push(Event::Violation(wrong_phase)),
        }
    }

    pub(crate) fn handle_pdu(&mut self, pdu: TargetPdu, data: &[u8], events: &mut Vec<Event>) {
        match pdu {
            TargetPdu::DataIn(pdu) => self.handle_data_in(pdu, data, events),
            TargetPdu::ReadyToTransfer(pdu) => self.handle_r2t(pdu, events),
            TargetPdu::ScsiResponse(pdu) => self.handle_response(pdu, data, events),
            TargetPdu::NopIn(pdu) => self.handle_nop(pdu, data, events),
            TargetPdu::TextResponse(pdu) => self.handle_text(pdu, data, events),
            TargetPdu::TaskManagementResponse(pdu) => self.handle_managed(pdu, events),
            TargetPdu::LogoutResponse(pdu) => self.handle_logout(pdu, events),
            TargetPdu::Reject(pdu) => self.handle_reject(pdu, data, events),
            TargetPdu::AsyncMessage(message) => {
                events.push(Event::Async {
                    message,
                    data: data.to_vec(),
                });
            }
            TargetPdu::LoginResponse(_) => {}
        }
    }

    /// StatSN, ExpCmdSN and MaxCmdSN, which all PDUs of the full feature phase carry.
    fn take_numbers(&mut self, pdu: &TargetPdu, events: &mut Vec<Event>) {
        let (status, exp_cmd_sn, max_cmd_sn) = numbers(pdu);
        let expected = self.exp_stat_sn;
        match status {
            Status::None => {}
            Status::Next(found) | Status::Counts(found) if found != expected => {
                events.push(Event::Violation(Violation::StatSn { expected, found }));
            }
            Status::Next(_) | Status::Counts(_) => {}
        }
        if let Status::Counts(found) = status {
            self.exp_stat_sn = found.next();
        }
        self.take_window(exp_cmd_sn, max_cmd_sn, events);
    }

    /// RFC 7143 §4.2.2.1, §11.4.10, §11.4.11: the numbers only grow on one connection, and what contradicts itself is not
    /// taken. What another connection has told better already is passed over.
    pub(crate) fn take_window(
        &mut self,
        exp_cmd_sn: SerialNumber,
        max_cmd_sn: SerialNumber,
        events: &mut Vec<Event>,
    ) {
        let grows = self.told.0.le(exp_cmd_sn) && self.told.1.le(max_cmd_sn);
        let consistent = exp_cmd_sn.le(max_cmd_sn.next()) && exp_cmd_sn.le(self.numbers.cmd_sn);
        if grows && consistent {
            self.told = (exp_cmd_sn, max_cmd_sn);
            let Numbers {
                exp_cmd_sn: exp,
                max_cmd_sn: max,
                ..
            } = &mut self.numbers;
            if exp.lt(exp_cmd_sn) {
                *exp = exp_cmd_sn;
            }
            if max.lt(max_cmd_sn) {
                *max = max_cmd_sn;
            }
        } else {
            events.push(Event::Violation(Violation::Window {
                exp_cmd_sn,
                max_cmd_sn,
            }));
        }
    }

    pub(crate) fn take_task(&mut self, itt: Itt) -> Option<Task> {
        match self.pending.remove(&itt)? {
            Pending::Command(task) => Some(*task),
            other => {
                self.pending.insert(itt, other);
                None
            }
        }
    }

    fn handle_data_in(&mut self, pdu: DataIn, data: &[u8], events: &mut Vec<Event>) {
        let Some(Pending::Command(task)) = self.pending.get_mut(&pdu.itt) else {
            return events.push(Event::Unmatched(TargetPdu::DataIn(pdu), data.to_vec()));
        };
        let mut broken = Vec::new();
        task.take_data_in(&pdu, data, &self.params, &mut broken);
        let done = if pdu.status_present {
            self.take_task(pdu.itt)
        } else {
            None
        };
        let done =
            done.map(|task| task.finish(pdu.itt, End::of_data_in(&pdu), &self.params, &mut broken));
        // RFC 7143 §11.7.3: status with sense data cannot ride in a Data-In.
        if done.is_some() && pdu.status == CHECK_CONDITION {
            let rule = "CHECK CONDITION in a Data-In";
            broken.push(Violation::Data { itt: pdu.itt, rule });
        }
        events.extend(broken.into_iter().map(Event::Violation));
        events.extend(done.map(Event::CommandDone));
    }

    fn handle_r2t(&mut self, pdu: ReadyToTransfer, events: &mut Vec<Event>) {
        let Some(Pending::Command(task)) = self.pending.get_mut(&pdu.itt) else {
            return events.push(Event::Unmatched(
                TargetPdu::ReadyToTransfer(pdu),
                Vec::new(),
            ));
        };
        let mut broken = Vec::new();
        let answerable = task.take_r2t(&pdu, &self.params, &mut broken);
        events.extend(broken.into_iter().map(Event::Violation));
        if !self.config.answer_r2ts {
            events.push(Event::R2t(pdu));
        } else if answerable {
            self.answer_r2t(&pdu);
        }
    }

    fn handle_response(&mut self, pdu: ScsiResponse, data: &[u8], events: &mut Vec<Event>) {
        let Some(task) = self.take_task(pdu.itt) else {
            return events.push(Event::Unmatched(
                TargetPdu::ScsiResponse(pdu),
                data.to_vec(),
            ));
        };
        let mut broken = Vec::new();
        task.check_exp_data_sn(&pdu, &mut broken);
        let (end, whole) = End::of_response(&pdu, data);
        if !whole {
            let rule = "sense data is shorter than its length";
            broken.push(Violation::Data { itt: pdu.itt, rule });
        }
        let done = task.finish(pdu.itt, end, &self.params, &mut broken);
        events.extend(broken.into_iter().map(Event::Violation));
        events.push(Event::CommandDone(done));
    }

    fn handle_nop(&mut self, pdu: NopIn, data: &[u8], events: &mut Vec<Event>) {
        if pdu.itt != Itt::RESERVED {
            return self.handle_pong(pdu, data, events);
        }
        if pdu.ttt == Ttt::RESERVED {
            // Only news of the window, which is taken already.
            return;
        }
        events.push(Event::Pinged {
            ttt: pdu.ttt,
            data: data.to_vec(),
        });
        if self.config.answer_pings {
            let echo = &data[..data
                .len()
                .min(self.params.max_send_data_segment_length as usize)];
            // RFC 7143 §11.18: the answer copies tag, LUN and data, and is immediate, having no tag of its own.
            let nop = NopOut {
                immediate: true,
                data_segment_length: length_of(echo),
                lun: pdu.lun,
                itt: Itt::RESERVED,
                ttt: pdu.ttt,
                ..NopOut::default()
            };
            self.send_now(InitiatorPdu::NopOut(nop), echo.to_vec());
        }
    }

    fn handle_pong(&mut self, pdu: NopIn, data: &[u8], events: &mut Vec<Event>) {
        let itt = pdu.itt;
        let Some(Pending::Ping(sent)) = self.pending.get(&itt) else {
            return events.push(Event::Unmatched(TargetPdu::NopIn(pdu), data.to_vec()));
        };
        let mut hold = |holds: bool, rule| {
            if !holds {
                events.push(Event::Violation(Violation::Exchange { itt, rule }));
            }
        };
        // RFC 7143 §11.19: all ping data comes back, as far as a data segment holds it, and the tag is reserved.
        let most = self.params.max_recv_data_segment_length as usize;
        hold(
            sent[..sent.len().min(most)] == *data,
            "ping data came back changed",
        );
        hold(
            pdu.ttt == Ttt::RESERVED,
            "answer to a ping has a Target Transfer Tag",
        );
        self.pending.remove(&itt);
        events.push(Event::Ponged {
            itt,
            data: data.to_vec(),
        });
    }

    fn handle_text(&mut self, pdu: TextResponse, data: &[u8], events: &mut Vec<Event>) {
        let itt = pdu.itt;
        let Some(Pending::Text { received, rounds }) = self.pending.get_mut(&itt) else {
            return events.push(Event::Unmatched(
                TargetPdu::TextResponse(pdu),
                data.to_vec(),
            ));
        };
        *rounds += 1;
        received.extend_from_slice(data);
        if *rounds > MAX_TEXT_ROUNDS || received.len() > MAX_TEXT_BYTES {
            return events.push(Event::Violation(Violation::Text));
        }
        // RFC 7143 §11.11.1, §11.11.4: F ends the exchange, and only then is the tag reserved. C never comes with F.
        if (pdu.ttt == Ttt::RESERVED) != pdu.r#final || (pdu.r#final && pdu.r#continue) {
            let rule = "F, C and the Target Transfer Tag contradict each other";
            events.push(Event::Violation(Violation::Exchange { itt, rule }));
        }
        if !pdu.r#final {
            let next = TextRequest {
                r#final: true,
                lun: pdu.lun,
                itt,
                ttt: pdu.ttt,
                ..TextRequest::default()
            };
            return self.queue_bare(InitiatorPdu::TextRequest(next), Delivery::Ordered);
        }
        let text = core::mem::take(received);
        self.pending.remove(&itt);
        self.take_declared(itt);
        let pairs = parse_pairs(&text)
            .map(|pair| pair.map(|(key, value)| (key.to_owned(), value.to_owned())))
            .collect::<Result<_, _>>();
        events.push(match pairs {
            Ok(pairs) => Event::TextDone { itt, pairs },
            Err(_) => Event::Violation(Violation::Text),
        });
    }

    fn handle_managed(&mut self, pdu: TaskManagementResponse, events: &mut Vec<Event>) {
        if self.take_reassigned(&pdu, events) {
            return;
        }
        let Some(Pending::TaskManagement(request)) = self.pending.get(&pdu.itt) else {
            let unmatched = TargetPdu::TaskManagementResponse(pdu);
            return events.push(Event::Unmatched(unmatched, Vec::new()));
        };
        let request = *request;
        self.pending.remove(&pdu.itt);
        if pdu.response == TaskManagementResponseCode::FunctionComplete {
            self.forget_managed(&request);
            self.managed.push(request);
        }
        events.push(Event::TaskManaged {
            itt: pdu.itt,
            response: pdu.response,
            additional: pdu.additional_response_information,
        });
    }

    /// Takes the commands out that a function which is complete has ended.
    pub(crate) fn forget_managed(&mut self, request: &TaskManagementRequest) {
        self.pending.retain(|itt, pending| match pending {
            Pending::Command(task) => !ends(request, *itt, task),
            _ => true,
        });
    }

    pub(crate) fn handle_logout(&mut self, pdu: LogoutResponse, events: &mut Vec<Event>) {
        let Some(Pending::Logout(leaving)) = self.pending.get(&pdu.itt).cloned() else {
            return events.push(Event::Unmatched(TargetPdu::LogoutResponse(pdu), Vec::new()));
        };
        self.pending.remove(&pdu.itt);
        if !leaving.closes {
            self.logged_out.push((leaving.of, pdu.response));
        } else if pdu.response == LogoutResponseCode::Closed {
            // RFC 7143 §11.14: what is removed for recovery leaves its tasks to another connection.
            if leaving.reason != LogoutReason::RemoveConnectionForRecovery {
                self.pending.clear();
            }
            self.state = State::Closed;
        }
        events.push(Event::LoggedOut(pdu));
    }

    /// A request that has no SCSI response to come is over with its rejection; whether a command is, the target says.
    pub(crate) fn handle_reject(&mut self, reject: Reject, data: &[u8], events: &mut Vec<Event>) {
        let header = data.first_chunk::<BHS_BYTES>().map(|bytes| Bhs(*bytes));
        if let Some(itt) = header.map(|bhs| bhs.itt())
            && !matches!(self.pending.get(&itt), Some(Pending::Command(_)))
        {
            self.pending.remove(&itt);
        }
        events.push(Event::Rejected { reject, header });
    }
}

/// Whether a function that is complete has ended a task: only such as were sent before it.
fn ends(request: &TaskManagementRequest, itt: Itt, task: &Task) -> bool {
    let Some(cmd_sn) = task.cmd_sn else {
        return false;
    };
    let before = if request.immediate {
        cmd_sn.le(request.cmd_sn)
    } else {
        cmd_sn.lt(request.cmd_sn)
    };
    match request.function {
        TaskManagementFunction::AbortTask => itt == request.referenced_task_tag,
        TaskManagementFunction::AbortTaskSet
        | TaskManagementFunction::ClearTaskSet
        | TaskManagementFunction::LogicalUnitReset => before && task.lun == request.lun,
        TaskManagementFunction::TargetWarmReset | TaskManagementFunction::TargetColdReset => before,
        _ => false,
    }
}

fn ends_connection(events: &[Event]) -> bool {
    events
        .iter()
        .any(|event| matches!(event, Event::Violation(v) if v.ends_connection()))
}

/// What a PDU's StatSN is.
pub(crate) enum Status {
    /// Without meaning.
    None,
    /// The next, not counted.
    Next(SerialNumber),
    /// The next, and counted.
    Counts(SerialNumber),
}

pub(crate) fn numbers(pdu: &TargetPdu) -> (Status, SerialNumber, SerialNumber) {
    macro_rules! counted {
        ($pdu:ident) => {
            (
                Status::Counts($pdu.stat_sn),
                $pdu.exp_cmd_sn,
                $pdu.max_cmd_sn,
            )
        };
    }
    match pdu {
        TargetPdu::NopIn(pdu) if pdu.itt == Itt::RESERVED => {
            (Status::Next(pdu.stat_sn), pdu.exp_cmd_sn, pdu.max_cmd_sn)
        }
        TargetPdu::DataIn(pdu) if !pdu.status_present => {
            (Status::None, pdu.exp_cmd_sn, pdu.max_cmd_sn)
        }
        TargetPdu::ReadyToTransfer(pdu) => {
            (Status::Next(pdu.stat_sn), pdu.exp_cmd_sn, pdu.max_cmd_sn)
        }
        TargetPdu::NopIn(pdu) => counted!(pdu),
        TargetPdu::DataIn(pdu) => counted!(pdu),
        TargetPdu::ScsiResponse(pdu) => counted!(pdu),
        TargetPdu::TaskManagementResponse(pdu) => counted!(pdu),
        TargetPdu::LoginResponse(pdu) => counted!(pdu),
        TargetPdu::TextResponse(pdu) => counted!(pdu),
        TargetPdu::LogoutResponse(pdu) => counted!(pdu),
        TargetPdu::AsyncMessage(pdu) => counted!(pdu),
        TargetPdu::Reject(pdu) => counted!(pdu),
    }
}

pub(crate) const CHECK_CONDITION: u8 = 0x02;
const MAX_TEXT_ROUNDS: u32 = 100_000;
const MAX_TEXT_BYTES: usize = 1 << 26;
