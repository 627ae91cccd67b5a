//! Text requests in full feature phase: SendTargets, and the keys that may still change (RFC 7143 §6.2, §11.10,
//! §11.11).
//!
//! One exchange at a time on a connection; a request with a reserved Target Transfer Tag begins a new one, and the old
//! one is forgotten.

use iscsi_wire::keys::{Key, lookup};
use iscsi_wire::number::parse_number;
use iscsi_wire::text::{TextError, TextWriter, parse_pairs};
use iscsi_wire::{Bhs, IscsiName, RejectReason, SerialNumber, TextRequest, TextResponse, Ttt};

use super::input::Admission;
use super::task::RequestSlot;
use super::window::{Arrival, HeldRequest};
use super::{ConnectionIndex, Event, SendTargets, Session, SessionType, TextHandle};
use crate::connection::{
    Connection, Purpose, Reply, TextExchange, TextNegotiation, TextRequestTags,
};

/// What a peer's text asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    /// Answers to keys that need one.
    answer: Vec<u8>,
    targets: Option<SendTargets>,
}

/// Why text cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextProblem {
    /// It is not text.
    Malformed,
    /// The same key twice (RFC 7143 §6.2).
    Repeated,
}

impl Session {
    pub(super) fn handle_text_request(&mut self, c: ConnectionIndex, bhs: &Bhs) -> Option<Event> {
        let request = match TextRequest::parse(bhs) {
            Ok(request) => request,
            Err(error) => return self.malformed(c, bhs, error),
        };
        let ignored = self.window.classify(request.cmd_sn) == Arrival::Ignored;
        if !ignored || request.immediate {
            if request.ttt == Ttt::RESERVED {
                self.forget_text(c);
            } else if !self.continues(c, &request) {
                return self.refuse(c, RejectReason::InvalidPduField, bhs);
            }
            let connection = self.connection(c)?;
            let collected = connection.collected.len() + bhs.data_segment_length() as usize;
            let most = self.limits.max_text_bytes as usize;
            // Neither what a peer says nor what it has been told and does not read may grow without bound.
            if collected > most || connection.queued_bytes() >= most {
                self.forget_text(c);
                return self.refuse(c, RejectReason::LongOperationReject, bhs);
            }
        }
        if request.immediate {
            return match self.admit(c, bhs, RequestSlot::Immediate, HeldRequest::Nothing) {
                Admission::Refused(event) => event,
                Admission::Now(slot) => self.await_text(c, bhs, slot),
                Admission::Later => None,
            };
        }
        if ignored {
            self.counters.ignored_requests += 1;
            self.skip_segment(c, bhs);
            return None;
        }
        // RFC 7143 §7.3: the CmdSN of a request that is rejected is not received, so it counts when the text is read.
        self.await_text(c, bhs, RequestSlot::None)
    }

    fn await_text(&mut self, c: ConnectionIndex, bhs: &Bhs, slot: RequestSlot) -> Option<Event> {
        self.begin_segment(c, bhs, Purpose::Text { slot }, 0);
        None
    }

    /// Counts a request that is going to be answered as received: its allowance. `None` where another of its CmdSN has
    /// come meanwhile.
    fn count_text(
        &mut self,
        c: ConnectionIndex,
        slot: RequestSlot,
        bhs: &Bhs,
        cmd_sn: SerialNumber,
    ) -> Option<RequestSlot> {
        if bhs.immediate() {
            return Some(slot);
        }
        if self.window.classify(cmd_sn) == Arrival::Ignored {
            self.counters.ignored_requests += 1;
            self.forget_text(c);
            return None;
        }
        self.window.accept(cmd_sn, HeldRequest::Nothing);
        // Text has no order towards commands: it is answered as it comes.
        Some(RequestSlot::Numbered)
    }

    /// Whether a request goes on with the exchange of this connection.
    fn continues(&self, c: ConnectionIndex, request: &TextRequest) -> bool {
        match self.connection(c).map(|connection| &connection.text) {
            Some(
                TextExchange::Gathering { itt, ttt, .. } | TextExchange::Sending { itt, ttt, .. },
            ) => *itt == request.itt && *ttt == request.ttt,
            _ => false,
        }
    }

    /// Drops the exchange of a connection.
    fn forget_text(&mut self, c: ConnectionIndex) {
        let Some(connection) = self.connection_mut(c) else {
            return;
        };
        connection.collected.clear();
        connection.negotiation = TextNegotiation::default();
        if let TextExchange::Asked { request, .. } = core::mem::take(&mut connection.text) {
            // Its answer never leaves, and its place is free.
            self.free_slot(c, request.slot);
        }
    }

    /// The end of a text request's data.
    pub(super) fn end_text_request(
        &mut self,
        c: ConnectionIndex,
        slot: RequestSlot,
        bhs: &Bhs,
    ) -> Option<Event> {
        let request = TextRequest::parse(bhs).ok()?;
        let wrong = |session: &mut Self| session.refuse_text(c, slot, bhs);
        // RFC 7143 §11.10.2: C and F are not set together.
        if request.r#continue && request.r#final {
            return wrong(self);
        }
        let empty = request.data_segment_length == 0 && !request.r#continue;
        let (answer, at) = match core::mem::take(&mut self.connection_mut(c)?.text) {
            // RFC 7143 §6.2: while our text goes on, the initiator's requests are empty.
            TextExchange::Sending { answer, at, .. } if empty => (answer, at),
            TextExchange::Sending { .. } => return wrong(self),
            _ if request.r#continue => (Vec::new(), 0),
            _ => return self.answer_text(c, &request, slot, bhs),
        };
        let slot = self.count_text(c, slot, bhs, request.cmd_sn)?;
        self.send_text(c, tags_of(&request, slot), answer, at);
        None
    }

    /// RFC 7143 §6.4, §11.17.1: text that breaks a rule is rejected as a protocol error, and its exchange with it.
    fn refuse_text(&mut self, c: ConnectionIndex, slot: RequestSlot, bhs: &Bhs) -> Option<Event> {
        self.forget_text(c);
        self.free_slot(c, slot);
        self.reject(c, RejectReason::ProtocolError, bhs)
    }

    /// All that the initiator has to say in this round has come.
    fn answer_text(
        &mut self,
        c: ConnectionIndex,
        request: &TextRequest,
        slot: RequestSlot,
        bhs: &Bhs,
    ) -> Option<Event> {
        let discovery = self.kind == SessionType::Discovery;
        let connection = self.connection_mut(c)?;
        let text = core::mem::take(&mut connection.collected);
        let Asked { answer, targets } = match read(&text, discovery, &mut connection.negotiation) {
            Ok(asked) => asked,
            Err(TextProblem::Malformed | TextProblem::Repeated) => {
                return self.refuse_text(c, slot, bhs);
            }
        };
        let slot = self.count_text(c, slot, bhs, request.cmd_sn)?;
        let tags = tags_of(request, slot);
        let mut answer = answer;
        if let Some(bytes) = self.connection_mut(c)?.declares.take() {
            // RFC 7143 §13.12: declared at any time in the full feature phase.
            let name = Key::MaxRecvDataSegmentLength.name();
            TextWriter::new(&mut answer).push_number(name, bytes.into());
        }
        let Some(which) = targets else {
            self.send_text(c, tags, answer, 0);
            return None;
        };
        let handle = TextHandle(self.take_handle());
        let asked = TextExchange::Asked {
            handle,
            request: tags,
            answer,
        };
        self.connection_mut(c)?.text = asked;
        Some(Event::SendTargets { handle, which })
    }

    /// Answers a SendTargets question with its records: `TargetName=...` and `TargetAddress=...` pairs, each ended by a
    /// NUL. Text longer than one PDU is split, and goes out as the initiator asks for it. A handle whose exchange is
    /// over is ignored.
    pub fn answer_send_targets(&mut self, handle: TextHandle, records: &[u8]) {
        let asked = |connection: &Connection| matches!(&connection.text, TextExchange::Asked { handle: asked, .. } if *asked == handle);
        let found = self.connections.iter_mut().find(|(_, one)| asked(one));
        let Some((c, connection)) = found else {
            return;
        };
        if let TextExchange::Asked {
            request,
            mut answer,
            ..
        } = core::mem::take(&mut connection.text)
        {
            answer.extend_from_slice(records);
            self.send_text(c, request, answer, 0);
        }
    }

    /// Queues the next part of an answer, and leaves the exchange as it is after that.
    fn send_text(&mut self, c: ConnectionIndex, tags: TextRequestTags, answer: Vec<u8>, at: usize) {
        let Some(connection) = self.connection(c) else {
            return;
        };
        let room = connection
            .max_send_data_segment_length
            .min(self.limits.max_text_bytes) as usize;
        let rest = answer.get(at..).unwrap_or_default();
        let data = rest[..rest.len().min(room)].to_vec();
        let next = at + data.len();
        let more = data.len() < rest.len();
        let r#final = tags.r#final && !more;
        // RFC 7143 §11.11.4: F=1 goes with a reserved tag, F=0 with one that the next request brings back.
        let ttt = match tags.ttt {
            _ if r#final => Ttt::RESERVED,
            Ttt::RESERVED => self.take_ttt(),
            ttt => ttt,
        };
        let response = TextResponse {
            r#final,
            r#continue: more,
            data_segment_length: u32::try_from(data.len()).unwrap_or(0),
            lun: tags.lun,
            itt: tags.itt,
            ttt,
            ..TextResponse::default()
        };
        let TextRequestTags { itt, lun, slot, .. } = tags;
        let Some(connection) = self.connection_mut(c) else {
            return;
        };
        if r#final {
            // RFC 7143 §6.2: what was negotiated takes effect when the negotiation ends, all of it at once.
            let agreed = core::mem::take(&mut connection.negotiation);
            if let Some(bytes) = agreed.max_recv_data_segment_length {
                connection.max_send_data_segment_length = bytes;
            }
        }
        connection.replies.push_back(Reply {
            data,
            ..Reply::new(response.emit(), slot)
        });
        connection.text = if more {
            TextExchange::Sending {
                itt,
                lun,
                ttt,
                answer,
                at: next,
            }
        } else if r#final {
            TextExchange::Idle
        } else {
            TextExchange::Gathering { itt, lun, ttt }
        };
    }
}

fn tags_of(request: &TextRequest, slot: RequestSlot) -> TextRequestTags {
    TextRequestTags {
        itt: request.itt,
        lun: request.lun,
        ttt: request.ttt,
        r#final: request.r#final,
        slot,
    }
}

/// Reads the pairs of one round and answers what can be answered here.
fn read(
    text: &[u8],
    discovery: bool,
    negotiation: &mut TextNegotiation,
) -> Result<Asked, TextProblem> {
    let mut asked = Asked::default();
    for pair in parse_pairs(text) {
        let (name, value) = pair.map_err(|_: TextError| TextProblem::Malformed)?;
        let key = lookup(name).map(|row| row.key);
        if let Some(key) = key {
            // RFC 7143 §6.4: once in a whole exchange.
            if negotiation.keys.contains(&key) {
                return Err(TextProblem::Repeated);
            }
            negotiation.keys.push(key);
        }
        let answer = match key {
            Some(Key::SendTargets) => {
                asked.targets = targets(value, discovery);
                if asked.targets.is_some() {
                    None
                } else {
                    Some("Reject")
                }
            }
            Some(Key::MaxRecvDataSegmentLength) => {
                let bytes = parse_number(value).ok().and_then(|n| u32::try_from(n).ok());
                // RFC 7143 §13.12: 512 to 2^24 - 1, declared and not answered.
                let legal =
                    bytes.filter(|n| (512..=iscsi_wire::MAX_DATA_SEGMENT_BYTES).contains(n));
                negotiation.max_recv_data_segment_length = legal;
                if legal.is_some() {
                    None
                } else {
                    Some("Reject")
                }
            }
            // RFC 7143 §13.7: declared at any time, and of no effect.
            Some(Key::InitiatorAlias) => None,
            Some(_) => Some("Reject"),
            // RFC 7143 §6.1: a key that is not known is answered with NotUnderstood.
            None => Some("NotUnderstood"),
        };
        if let Some(answer) = answer {
            TextWriter::new(&mut asked.answer).push(name, answer);
        }
    }
    Ok(asked)
}

/// RFC 7143 appendix C: `All` is for discovery sessions only; a name or nothing is for both.
fn targets(value: &str, discovery: bool) -> Option<SendTargets> {
    match value {
        "" => Some(SendTargets::This),
        "All" => discovery.then_some(SendTargets::All),
        name => IscsiName::parse_peer(name).ok().map(SendTargets::Named),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_each_kind_of_key_answers_as_its_row_says() {
        let name = "iqn.2026-01.org.example:disk";
        type Answer = Result<(&'static str, Option<SendTargets>), TextProblem>;
        let table: [(&str, bool, Answer); 12] = [
            ("SendTargets=All\0", true, Ok(("", Some(SendTargets::All)))),
            (
                "SendTargets=All\0",
                false,
                Ok(("SendTargets=Reject\0", None)),
            ),
            ("SendTargets=\0", false, Ok(("", Some(SendTargets::This)))),
            (
                "SendTargets=iqn.2026-01.org.example:disk\0",
                false,
                Ok((
                    "",
                    Some(SendTargets::Named(IscsiName::parse(name).unwrap())),
                )),
            ),
            (
                "SendTargets=not a name\0",
                true,
                Ok(("SendTargets=Reject\0", None)),
            ),
            ("InitiatorAlias=me\0", false, Ok(("", None))),
            (
                "MaxBurstLength=512\0",
                false,
                Ok(("MaxBurstLength=Reject\0", None)),
            ),
            (
                "X-org.example.a=1\0",
                false,
                Ok(("X-org.example.a=NotUnderstood\0", None)),
            ),
            (
                "MaxRecvDataSegmentLength=511\0",
                false,
                Ok(("MaxRecvDataSegmentLength=Reject\0", None)),
            ),
            ("SendTargets=All", true, Err(TextProblem::Malformed)),
            (
                "SendTargets=\0SendTargets=\0",
                true,
                Err(TextProblem::Repeated),
            ),
            ("", true, Ok(("", None))),
        ];
        for (text, discovery, expected) in table {
            let result =
                read(text.as_bytes(), discovery, &mut TextNegotiation::default()).map(|asked| {
                    let answer = String::from_utf8(asked.answer).unwrap();
                    (answer, asked.targets)
                });
            let expected = expected.map(|(answer, targets)| (answer.to_owned(), targets));
            assert_eq!(result, expected, "{text}");
        }
    }

    #[test]
    fn read_max_recv_data_segment_length_takes_a_legal_number_without_an_answer() {
        let mut negotiation = TextNegotiation::default();
        let text = b"MaxRecvDataSegmentLength=0x1000\0";
        let asked = read(text, false, &mut negotiation).unwrap();
        assert_eq!(negotiation.max_recv_data_segment_length, Some(4096));
        assert!(asked.answer.is_empty());
    }
}
