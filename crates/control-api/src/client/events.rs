//! The stream of events: server-sent events as the HTML standard has them, one JSON document each.

use super::error::{ClientError, ProtocolFault};
use super::http::Answer;
use crate::event::Event;

/// A line of the stream.
const LINE_LIMIT_BYTES: usize = 8 << 20;

/// Names that this version knows. Others are of a later daemon and are passed over.
const KNOWN: &[&str] = &[
    "committed",
    "drained",
    "login_refused",
    "session_started",
    "session_ended",
    "degraded",
    "restored",
];

/// Events as they happen. The iterator ends when the daemon ends the stream: because it stops, or because this reader was
/// too slow. Then look at the tree again before watching on.
#[derive(Debug)]
pub struct Events {
    /// `None` once it has ended or failed.
    answer: Option<Answer>,
    parser: Parser,
}

/// The bytes so far, and the event that is being read.
#[derive(Debug, Default)]
struct Parser {
    unread: Vec<u8>,
    /// How much of `unread` is known to hold no line end.
    searched: usize,
    name: String,
    data: String,
}

impl Events {
    pub(super) fn new(answer: Answer) -> Self {
        Self {
            answer: Some(answer),
            parser: Parser::default(),
        }
    }

    fn read_next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.parser.poll()? {
                return Ok(Some(event));
            }
            let Some(answer) = self.answer.as_mut() else {
                return Ok(None);
            };
            if !answer.read_some(&mut self.parser.unread)? {
                return Ok(None);
            }
        }
    }
}

impl Iterator for Events {
    type Item = Result<Event, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.answer.as_ref()?;
        let next = self.read_next().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.answer = None;
        }
        next
    }
}

impl Parser {
    /// The next whole event of what was read.
    fn poll(&mut self) -> Result<Option<Event>, ProtocolFault> {
        while let Some(line) = self.line()? {
            if let Some(event) = self.handle_line(&line)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> Result<Option<String>, ProtocolFault> {
        let fresh = self.unread.get(self.searched..).unwrap_or_default();
        let Some(at) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.unread.len();
            return if self.searched > LINE_LIMIT_BYTES {
                Err(ProtocolFault::TooLong)
            } else {
                Ok(None)
            };
        };
        let mut line: Vec<u8> = self.unread.drain(..=self.searched + at).collect();
        self.searched = 0;
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line)
            .map(Some)
            .map_err(|_| ProtocolFault::Event)
    }

    fn handle_line(&mut self, line: &str) -> Result<Option<Event>, ProtocolFault> {
        if line.is_empty() {
            let (name, data) = (
                std::mem::take(&mut self.name),
                std::mem::take(&mut self.data),
            );
            if data.is_empty() || !KNOWN.contains(&name.as_str()) {
                return Ok(None);
            }
            return serde_json::from_str(&data)
                .map(Some)
                .map_err(|_| ProtocolFault::Event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.name = value.to_owned(),
            "data" if self.data.len() + value.len() > LINE_LIMIT_BYTES => {
                return Err(ProtocolFault::TooLong);
            }
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // A comment keeps the connection warm; ids and retry times are not used.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in_steps(text: &str, step_bytes: usize) -> Result<Vec<Event>, ProtocolFault> {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        for piece in text.as_bytes().chunks(step_bytes) {
            parser.unread.extend_from_slice(piece);
            while let Some(event) = parser.poll()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    #[test]
    fn stream_cut_anywhere_gives_the_same_events() {
        let text = ": hello\n\nevent: restored\ndata: {\"event\":\"restored\",\ndata: \"path\":\"/é\"}\n\n\
                    event: of_tomorrow\ndata: {\"x\":1}\n\nid: 7\r\nevent: drained\r\n\
                    data: {\"event\":\"drained\",\"generation\":9,\"remnants\":[]}\r\n\r\nevent: drained\n";
        let wanted = vec![
            Event::Restored {
                path: "/é".to_owned(),
            },
            Event::Drained {
                generation: 9,
                remnants: Vec::new(),
            },
        ];
        for step_bytes in 1..text.len() {
            assert_eq!(
                read_in_steps(text, step_bytes),
                Ok(wanted.clone()),
                "in steps of {step_bytes}"
            );
        }
    }

    #[test]
    fn known_event_with_rubbish_is_a_fault() {
        assert_eq!(
            read_in_steps("event: drained\ndata: {}\n\n", 8),
            Err(ProtocolFault::Event)
        );
        assert_eq!(
            read_in_steps("event: drained\ndata: \"\\ud800\n\n", 8),
            Err(ProtocolFault::Event)
        );
    }

    #[test]
    fn line_without_end_is_refused_at_the_limit() {
        let mut parser = Parser {
            unread: vec![b'x'; LINE_LIMIT_BYTES],
            ..Parser::default()
        };
        assert_eq!(parser.poll(), Ok(None));
        parser.unread.push(b'x');
        assert_eq!(parser.poll(), Err(ProtocolFault::TooLong));
    }

    #[test]
    fn each_event_this_version_can_name_is_known() {
        assert!(KNOWN.iter().all(|name| {
            let fault = serde_json::from_str::<Event>(&format!("{{\"event\":\"{name}\"}}"));
            fault.is_err_and(|error| error.to_string().starts_with("missing field"))
        }));
    }
}
