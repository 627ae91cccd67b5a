//! Messages and the PDUs that carry them (RFC 4171 §5.1, §5.2): framing on a byte stream.

use core::fmt;

/// The longest message taken, over all its PDUs, in bytes. What a server tells us is short.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

const HEADER_BYTES: usize = 12;
const VERSION: u16 = 1;

/// The longest payload of one PDU: a 16-bit length that is a multiple of four (§5.1.3).
const MAX_PAYLOAD_BYTES: usize = 65_532;

/// Function IDs (§4.1.3); a response has the leading bit set.
pub mod function {
    /// Device Attribute Registration.
    pub const DEV_ATTR_REG: u16 = 0x0001;
    /// Device Attribute Query.
    pub const DEV_ATTR_QRY: u16 = 0x0002;
    /// Deregister Device.
    pub const DEV_DEREG: u16 = 0x0004;
    /// Register for State Change Notifications.
    pub const SCN_REG: u16 = 0x0005;
    /// State Change Notification.
    pub const SCN: u16 = 0x0008;
    /// Entity Status Inquiry.
    pub const ESI: u16 = 0x000d;
    /// The bit that makes a response of it.
    pub const RESPONSE: u16 = 0x8000;
}

/// Flags of a header (§5.1.4). Bit 16 there is the first of this field.
mod flag {
    pub(super) const CLIENT: u16 = 0x8000;
    pub(super) const AUTHENTICATION_BLOCK: u16 = 0x2000;
    pub(super) const REPLACE: u16 = 0x1000;
    pub(super) const LAST: u16 = 0x0800;
    pub(super) const FIRST: u16 = 0x0400;
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// See [`function`].
    pub function: u16,
    /// What ties a response to its request.
    pub transaction_id: u16,
    /// A registration takes the place of all that there was of the object it is about; no meaning elsewhere.
    pub replace: bool,
    /// A status in responses, then attributes.
    pub payload: Vec<u8>,
}

/// Why bytes are not iSNS, or not of the kind that is understood here. Nothing behind them can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Another version than 1.
    Version(u16),
    /// A length that is not a multiple of four.
    Unaligned,
    /// A PDU that is not the one expected next: not the first where a message begins, or of another message, or out of
    /// sequence.
    OutOfSequence,
    /// A message longer than [`MAX_MESSAGE_BYTES`].
    TooLong,
    /// An authentication block, which nobody here can verify.
    AuthenticationBlock,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "iSNS version is not 1: {version}"),
            Self::Unaligned => f.write_str("PDU length is not a multiple of four"),
            Self::OutOfSequence => f.write_str("PDU is not the one expected next"),
            Self::TooLong => f.write_str("message is too long"),
            Self::AuthenticationBlock => f.write_str("PDU has an authentication block"),
        }
    }
}

impl core::error::Error for FrameError {}

impl Message {
    /// Appends it as PDUs of a client. The payload is whole attributes, and so a multiple of four bytes.
    // §5.2: the first PDU of a message says so and so does the last; all have its function and transaction, and are
    // numbered from zero.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut rest = self.payload.as_slice();
        let mut sequence_id: u16 = 0;
        loop {
            let (piece, behind) = rest.split_at(rest.len().min(MAX_PAYLOAD_BYTES));
            let mut flags = flag::CLIENT;
            flags |= if self.replace { flag::REPLACE } else { 0 };
            flags |= if sequence_id == 0 { flag::FIRST } else { 0 };
            flags |= if behind.is_empty() { flag::LAST } else { 0 };
            let length = u16::try_from(piece.len()).unwrap_or(0);
            for field in [
                VERSION,
                self.function,
                length,
                flags,
                self.transaction_id,
                sequence_id,
            ] {
                out.extend_from_slice(&field.to_be_bytes());
            }
            out.extend_from_slice(piece);
            if behind.is_empty() {
                return;
            }
            rest = behind;
            sequence_id = sequence_id.wrapping_add(1);
        }
    }
}

/// Messages out of a stream of bytes. Holds at most a PDU beyond what was asked of it, and a message in the making of at
/// most [`MAX_MESSAGE_BYTES`].
#[derive(Debug, Default)]
pub struct Deframer {
    bytes: Vec<u8>,
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    message: Message,
    next_sequence_id: u16,
}

struct Header {
    function: u16,
    payload_bytes: usize,
    flags: u16,
    transaction_id: u16,
    sequence_id: u16,
}

impl Deframer {
    /// Takes what has come. Ask [`Self::next_message`] until it has no more before the next call.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if it has come.
    ///
    /// # Errors
    /// See [`FrameError`]; the stream cannot be read on.
    pub fn next_message(&mut self) -> Result<Option<Message>, FrameError> {
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let end = HEADER_BYTES + header.payload_bytes;
            if self.bytes.len() < end {
                return Ok(None);
            }
            let payload: Vec<u8> = self.bytes.drain(..end).skip(HEADER_BYTES).collect();
            if let Some(message) = self.add(&header, payload)? {
                return Ok(Some(message));
            }
        }
    }

    fn header(&self) -> Result<Option<Header>, FrameError> {
        let Some(bytes) = self.bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let field = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let header = Header {
            function: field(2),
            payload_bytes: field(4).into(),
            flags: field(6),
            transaction_id: field(8),
            sequence_id: field(10),
        };
        if field(0) != VERSION {
            return Err(FrameError::Version(field(0)));
        }
        // RFC 4171 §5.1.3: the length is a multiple of four.
        if !header.payload_bytes.is_multiple_of(4) {
            return Err(FrameError::Unaligned);
        }
        if header.flags & flag::AUTHENTICATION_BLOCK != 0 {
            return Err(FrameError::AuthenticationBlock);
        }
        Ok(Some(header))
    }

    /// Adds a PDU to the message in the making; the message, if it is whole with it.
    // RFC 4171 §5.1.6, §5.2.
    fn add(&mut self, header: &Header, payload: Vec<u8>) -> Result<Option<Message>, FrameError> {
        let first = header.flags & flag::FIRST != 0;
        let partial = match self.partial.take() {
            None if first && header.sequence_id == 0 => Partial {
                message: Message {
                    function: header.function,
                    transaction_id: header.transaction_id,
                    replace: header.flags & flag::REPLACE != 0,
                    payload,
                },
                next_sequence_id: 1,
            },
            Some(mut partial)
                if !first
                    && header.function == partial.message.function
                    && header.transaction_id == partial.message.transaction_id
                    && header.sequence_id == partial.next_sequence_id =>
            {
                let whole = &mut partial.message.payload;
                if whole.len() + payload.len() > MAX_MESSAGE_BYTES {
                    return Err(FrameError::TooLong);
                }
                whole.extend_from_slice(&payload);
                partial.next_sequence_id = partial.next_sequence_id.wrapping_add(1);
                partial
            }
            _ => return Err(FrameError::OutOfSequence),
        };
        if header.flags & flag::LAST != 0 {
            return Ok(Some(partial.message));
        }
        self.partial = Some(partial);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(payload_bytes: usize) -> Message {
        Message {
            function: function::DEV_ATTR_REG,
            transaction_id: 7,
            replace: true,
            payload: (0..payload_bytes)
                .map(|at| u8::try_from(at % 251).unwrap_or(0))
                .collect(),
        }
    }

    fn emitted(message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        message.emit(&mut out);
        out
    }

    #[test]
    fn emit_short_message_is_one_pdu() {
        let golden = [
            0, 1, 0, 1, 0, 4, 0x9c, 0, 0, 7, 0, 0, // header: client, replace, first, last
            0, 1, 2, 3,
        ];
        assert_eq!(emitted(&message(4)), golden);
    }

    #[test]
    fn emit_long_message_is_read_back_from_pieces_of_any_size() {
        for payload_bytes in [0, 4, 65_532, 65_536, 200_000] {
            let message = message(payload_bytes);
            let bytes = emitted(&message);
            for piece_bytes in [1, 11, 4096, bytes.len()] {
                let mut deframer = Deframer::default();
                let mut found = Vec::new();
                for piece in bytes.chunks(piece_bytes) {
                    deframer.push(piece);
                    found.extend(deframer.next_message().expect("legal"));
                }
                assert_eq!(
                    found,
                    std::slice::from_ref(&message),
                    "{payload_bytes} by {piece_bytes}"
                );
            }
        }
    }

    #[test]
    fn next_message_each_breach_is_told() {
        let whole = emitted(&message(4));
        let changed = |at: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            bytes
        };
        for (bytes, error) in [
            (changed(1, 2), FrameError::Version(2)),
            (changed(5, 3), FrameError::Unaligned),
            (changed(6, 0xbc), FrameError::AuthenticationBlock),
            (changed(6, 0x98), FrameError::OutOfSequence), // not the first
            (changed(11, 1), FrameError::OutOfSequence),
        ] {
            let mut deframer = Deframer::default();
            deframer.push(&bytes);
            assert_eq!(deframer.next_message(), Err(error));
        }
        // The second PDU of a long message: of another transaction, another function, out of order, or first again.
        let long = emitted(&message(65_536));
        let second = 12 + 65_532;
        for (at, byte) in [(9, 8), (3, 2), (11, 2), (6, 0x8c)] {
            let mut bytes = long.clone();
            bytes[second + at] = byte;
            let mut deframer = Deframer::default();
            deframer.push(&bytes);
            assert_eq!(
                deframer.next_message(),
                Err(FrameError::OutOfSequence),
                "{at}"
            );
        }
    }

    #[test]
    fn next_message_without_end_is_bounded() {
        let mut deframer = Deframer::default();
        let bytes = emitted(&message(2 * MAX_MESSAGE_BYTES));
        let told = bytes.chunks(65_536).find_map(|piece| {
            deframer.push(piece);
            deframer.next_message().err()
        });
        assert_eq!(told, Some(FrameError::TooLong));
    }

    proptest! {
        #[test]
        fn next_message_any_bytes_never_panic(bytes: Vec<u8>, header in 0u8..2) {
            let mut deframer = Deframer::default();
            if header == 1 {
                deframer.push(&[0, 1]);
            }
            deframer.push(&bytes);
            while let Ok(Some(_)) = deframer.next_message() {}
        }
    }
}
