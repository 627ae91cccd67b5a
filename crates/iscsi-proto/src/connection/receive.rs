//! From a stream of bytes to headers and data segments (RFC 7143 §11.2).
//!
//! Keeps at most one header, one padding with its digest, and a running CRC: bytes of payload pass by. A header that
//! stands whole in the input is read where it stands. Of Additional Header Segments the first [`KEPT_AHS_BYTES`] are kept,
//! which hold the rest of the longest CDB that is supported; all of them are summed into the header digest.

use iscsi_wire::{Ahs, AhsSegments, BHS_BYTES, Bhs, Crc32c, DIGEST_BYTES, Itt, Ttt, crc32c, pad};

use crate::session::TaskId;
use crate::session::task::RequestSlot;

/// Where in a PDU the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In the 48 bytes of the header.
    Header,
    /// In the Additional Header Segments; so many bytes are missing.
    Ahs(u16),
    /// In the header digest.
    HeaderDigest,
    /// In the data segment.
    Payload,
    /// In the padding and the data digest, or at their end.
    Tail,
}

/// State of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receive {
    pub(crate) stage: Stage,
    header: [u8; BHS_BYTES],
    header_filled: usize,
    /// The beginning of the Additional Header Segments of the last header that had any.
    ahs: [u8; KEPT_AHS_BYTES],
    ahs_filled: usize,
    tail: [u8; TAIL_BYTES],
    tail_filled: usize,
    crc: Running,
    pub(crate) segment: Segment,
    /// The last header was damaged: where the next one begins is what it said.
    pub(crate) doubtful: bool,
}

/// The data segment being received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The header it belongs to.
    pub(crate) bhs: Bhs,
    pub(crate) purpose: Purpose,
    /// Of its bytes, how many are missing.
    pub(crate) missing: u32,
    /// Where the next byte belongs in the command's data.
    pub(crate) offset: u32,
}

/// What a data segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing: it is dropped.
    Ignore,
    /// Immediate data of a command.
    Immediate(TaskId),
    /// Data-Out of a task: the sequence it belongs to and whether it ends it.
    DataOut {
        task: TaskId,
        ttt: Ttt,
        r#final: bool,
    },
    /// Ping data, to be echoed.
    Ping { itt: Itt, slot: RequestSlot },
    /// Text.
    Text { slot: RequestSlot },
}

/// Outcome of [`Receive::take_header`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderStep {
    /// All of the input is taken, and the header is not complete.
    More,
    /// A header.
    Header(Bhs),
    /// A header whose digest does not match.
    DigestMismatch(Bhs),
}

/// A running CRC, equal to another that has come to the same value.
#[derive(Clone, Copy, Debug, Default)]
struct Running(Option<Crc32c>);

impl PartialEq for Running {
    fn eq(&self, other: &Self) -> bool {
        self.0.map(Crc32c::finish) == other.0.map(Crc32c::finish)
    }
}

impl Eq for Running {}

/// One Extended CDB segment (RFC 7143 §11.2.2.3) for the sixteen bytes that a CDB of 32 has beyond the header.
const KEPT_AHS_BYTES: usize = 4 + 16;

/// Padding and data digest.
const TAIL_BYTES: usize = 3 + DIGEST_BYTES;

impl Purpose {
    /// The task whose record must be told of the segment's end.
    pub(crate) const fn task(self) -> Option<TaskId> {
        match self {
            Self::Immediate(task) | Self::DataOut { task, .. } => Some(task),
            _ => None,
        }
    }
}

impl Receive {
    pub(crate) const fn new() -> Self {
        Self {
            stage: Stage::Header,
            header: [0; BHS_BYTES],
            header_filled: 0,
            ahs: [0; KEPT_AHS_BYTES],
            ahs_filled: 0,
            tail: [0; TAIL_BYTES],
            tail_filled: 0,
            crc: Running(None),
            segment: Segment::NONE,
            doubtful: false,
        }
    }

    /// Bytes of a header that has begun.
    pub(crate) fn partial_header(&self) -> &[u8] {
        &self.header[..self.header_filled]
    }

    /// Whether the stream surely stands between PDUs, or within the 48 bytes of a header.
    pub(crate) fn between_segments(&self) -> bool {
        self.stage == Stage::Header && !self.doubtful
    }

    /// The CDB's bytes after the sixteen in the header, where the first segment brings them: at most sixteen, and none
    /// where there are more. To be asked about the header taken last, when that has Additional Header Segments.
    pub(crate) fn extended_cdb(&self) -> &[u8] {
        match AhsSegments::new(&self.ahs[..self.ahs_filled]).next() {
            Some(Ok(Ahs::ExtendedCdb(bytes))) => bytes,
            _ => &[],
        }
    }

    /// Begins a header with these bytes. False where they are too many.
    pub(crate) fn restore_partial_header(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() < BHS_BYTES;
        if fits {
            self.header[..bytes.len()].copy_from_slice(bytes);
            self.header_filled = bytes.len();
        }
        fits
    }

    /// Takes bytes up to the end of a header, its AHS and its digest.
    pub(crate) fn take_header(&mut self, input: &[u8], digest: bool) -> (usize, HeaderStep) {
        if self.stage == Stage::Header
            && self.header_filled == 0
            && let Some(whole) = take_whole(input, digest)
        {
            return whole;
        }
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            match self.stage {
                Stage::Header => {
                    taken += fill(&mut self.header, &mut self.header_filled, rest);
                    if self.header_filled < BHS_BYTES {
                        return (taken, HeaderStep::More);
                    }
                    self.crc = Running(digest.then(|| summed(&self.header)));
                    let ahs_bytes = Bhs(self.header).total_ahs_bytes();
                    if ahs_bytes > 0 {
                        self.ahs = [0; KEPT_AHS_BYTES];
                        self.ahs_filled = 0;
                    }
                    self.stage = Stage::Ahs(ahs_bytes);
                }
                Stage::Ahs(missing) => {
                    let part = &rest[..rest.len().min(usize::from(missing))];
                    self.crc.update(part);
                    fill(&mut self.ahs, &mut self.ahs_filled, part);
                    taken += part.len();
                    let left = usize::from(missing) - part.len();
                    self.stage = match u16::try_from(left) {
                        Ok(0) => Stage::HeaderDigest,
                        left => Stage::Ahs(left.unwrap_or(0)),
                    };
                    if left > 0 {
                        return (taken, HeaderStep::More);
                    }
                }
                _ => return self.take_header_digest(input, taken),
            }
        }
    }

    fn take_header_digest(&mut self, input: &[u8], mut taken: usize) -> (usize, HeaderStep) {
        let mut matches = true;
        if let Some(crc) = self.crc.0 {
            let digest = &mut self.tail[..DIGEST_BYTES];
            taken += fill(digest, &mut self.tail_filled, &input[taken..]);
            if self.tail_filled < DIGEST_BYTES {
                return (taken, HeaderStep::More);
            }
            matches = *digest == crc.wire_bytes();
        }
        let bhs = Bhs(self.header);
        self.next_pdu();
        let step = if matches {
            HeaderStep::Header(bhs)
        } else {
            HeaderStep::DigestMismatch(bhs)
        };
        (taken, step)
    }

    /// Begins the data segment of a header. One without bytes is at its end at once.
    pub(crate) fn begin_segment(&mut self, bhs: &Bhs, purpose: Purpose, offset: u32, digest: bool) {
        let missing = bhs.data_segment_length();
        self.segment = Segment {
            bhs: *bhs,
            purpose,
            missing,
            offset,
        };
        self.tail_filled = 0;
        self.crc = Running((digest && missing > 0).then(Crc32c::new));
        self.stage = if missing > 0 {
            Stage::Payload
        } else {
            Stage::Tail
        };
    }

    /// How many bytes the data segment that has begun takes at the beginning of `input`, with padding and digest: where it stands there
    /// whole, and its digest matches.
    pub(crate) fn whole_segment(&self, input: &[u8]) -> Option<usize> {
        let data = self.segment.missing;
        if self.stage != Stage::Payload || data != self.segment.bhs.data_segment_length() {
            return None;
        }
        let padded = data as usize + pad(data as usize);
        let (covered, rest) = input.split_at_checked(padded)?;
        let Some(mut crc) = self.crc.0 else {
            return Some(padded);
        };
        let (digest, _) = rest.split_first_chunk::<DIGEST_BYTES>()?;
        crc.update(covered);
        (*digest == crc.wire_bytes()).then_some(padded + DIGEST_BYTES)
    }

    /// Goes behind the data segment that has begun, as if its bytes had passed by.
    pub(crate) fn pass_segment(&mut self) {
        self.segment = Segment::NONE;
        self.next_pdu();
    }

    /// Counts payload as received, wherever it went.
    pub(crate) fn take_payload(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        let count = u32::try_from(bytes.len())
            .unwrap_or(u32::MAX)
            .min(self.segment.missing);
        self.segment.missing -= count;
        self.segment.offset = self.segment.offset.saturating_add(count);
        if self.segment.missing == 0 {
            self.stage = Stage::Tail;
        }
    }

    /// Takes padding and digest. `Some` at their end: whether the digest matches.
    pub(crate) fn take_tail(&mut self, input: &[u8]) -> (usize, Option<bool>) {
        let padding = pad(self.segment.bhs.data_segment_length() as usize);
        let wanted = padding
            + if self.crc.0.is_some() {
                DIGEST_BYTES
            } else {
                0
            };
        let taken = fill(&mut self.tail[..wanted], &mut self.tail_filled, input);
        if self.tail_filled < wanted {
            return (taken, None);
        }
        // RFC 7143 §11.2.3: the padding is part of what the digest covers.
        let (padding, digest) = self.tail[..wanted].split_at(padding);
        let matches = self.crc.0.is_none_or(|mut crc| {
            crc.update(padding);
            digest == crc.wire_bytes()
        });
        self.next_pdu();
        (taken, Some(matches))
    }

    fn next_pdu(&mut self) {
        // Bytes of what is past are cleared too, so that streams which stand at the same place are equal.
        if self.header_filled > 0 {
            self.header = [0; BHS_BYTES];
            self.header_filled = 0;
        }
        self.stage = Stage::Header;
        self.tail_filled = 0;
        self.tail = [0; TAIL_BYTES];
        self.crc = Running(None);
    }

    /// The segment that has ended.
    pub(crate) fn take_segment(&mut self) -> Segment {
        core::mem::replace(&mut self.segment, Segment::NONE)
    }
}

impl Segment {
    pub(crate) const NONE: Self = Self {
        bhs: Bhs::zeroed(),
        purpose: Purpose::Ignore,
        missing: 0,
        offset: 0,
    };
}

impl Running {
    fn update(&mut self, bytes: &[u8]) {
        if let Some(crc) = &mut self.0 {
            crc.update(bytes);
        }
    }
}

/// The fast way: header and digest stand whole in the input, and there is no AHS.
fn take_whole(input: &[u8], digest: bool) -> Option<(usize, HeaderStep)> {
    let (header, rest) = input.split_first_chunk::<BHS_BYTES>()?;
    let bhs = Bhs(*header);
    if bhs.total_ahs_bytes() > 0 {
        return None;
    }
    if !digest {
        return Some((BHS_BYTES, HeaderStep::Header(bhs)));
    }
    let (sent, _) = rest.split_first_chunk::<DIGEST_BYTES>()?;
    let matches = *sent == crc32c(header).to_le_bytes();
    let step = if matches {
        HeaderStep::Header(bhs)
    } else {
        HeaderStep::DigestMismatch(bhs)
    };
    Some((BHS_BYTES + DIGEST_BYTES, step))
}

/// Fills `place` from `filled` on, and says how much of the input that took.
fn fill(place: &mut [u8], filled: &mut usize, input: &[u8]) -> usize {
    let count = place.len().saturating_sub(*filled).min(input.len());
    place[*filled..*filled + count].copy_from_slice(&input[..count]);
    *filled += count;
    count
}

fn summed(bytes: &[u8]) -> Crc32c {
    let mut crc = Crc32c::new();
    crc.update(bytes);
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(ahs_words: u8, data_bytes: u8) -> Bhs {
        let mut bhs = Bhs::zeroed();
        bhs.0[0] = 0x41;
        bhs.0[4] = ahs_words;
        bhs.0[7] = data_bytes;
        bhs
    }

    /// Header, AHS and digest as they are sent.
    fn wire(bhs: &Bhs, digest: bool) -> Vec<u8> {
        let mut bytes = bhs.0.to_vec();
        bytes.extend((0..bhs.total_ahs_bytes()).map(|n| n.to_le_bytes()[0]));
        if digest {
            bytes.extend(crc32c(&bytes).to_le_bytes());
        }
        bytes
    }

    #[test]
    fn take_header_cut_anywhere_gives_the_header_once_at_its_last_byte() {
        for (digest, ahs_words) in [(false, 0), (true, 0), (false, 2), (true, 2)] {
            let bhs = header(ahs_words, 0);
            let bytes = wire(&bhs, digest);
            for cut in 0..=bytes.len() {
                let mut receive = Receive::new();
                let (first, second) = bytes.split_at(cut);
                let (taken, step) = receive.take_header(first, digest);
                if cut == bytes.len() {
                    assert_eq!((taken, step), (cut, HeaderStep::Header(bhs)));
                    continue;
                }
                assert_eq!(
                    (taken, step),
                    (cut, HeaderStep::More),
                    "{digest} {ahs_words} {cut}"
                );
                let mut more = second.to_vec();
                more.extend([0xee; 60]);
                let step = receive.take_header(&more, digest);
                assert_eq!(
                    step,
                    (second.len(), HeaderStep::Header(bhs)),
                    "{digest} {cut}"
                );
                // The header's segments are kept until the next that has some.
                let (ahs, ahs_filled) = (receive.ahs, receive.ahs_filled);
                assert_eq!(ahs_filled, usize::from(ahs_words) * 4);
                let rest = Receive {
                    ahs,
                    ahs_filled,
                    ..Receive::new()
                };
                assert_eq!(receive, rest);
            }
        }
    }

    #[test]
    fn take_header_with_a_wrong_digest_says_so_whole_or_in_parts() {
        let mut bytes = wire(&header(0, 0), true);
        bytes[50] ^= 1;
        let damaged = header(0, 0);
        let mut receive = Receive::new();
        assert_eq!(
            receive.take_header(&bytes, true),
            (52, HeaderStep::DigestMismatch(damaged))
        );
        assert_eq!(
            receive.take_header(&bytes[..20], true),
            (20, HeaderStep::More)
        );
        assert_eq!(
            receive.take_header(&bytes[20..], true),
            (32, HeaderStep::DigestMismatch(damaged))
        );
    }

    #[test]
    fn whole_segment_is_told_where_all_of_it_is_there_and_undamaged() {
        for (digest, bytes) in [(false, 8), (true, 12)] {
            let mut sent = b"hello\0\0\0".to_vec();
            sent.extend(crc32c(b"hello\0\0\0").to_le_bytes());
            sent.extend(b"more");
            let mut receive = Receive::new();
            receive.begin_segment(&header(0, 5), Purpose::Ignore, 0, digest);
            assert_eq!(receive.whole_segment(&sent), Some(bytes));
            assert_eq!(receive.whole_segment(&sent[..bytes]), Some(bytes));
            for cut in 0..bytes {
                assert_eq!(receive.whole_segment(&sent[..cut]), None, "{digest} {cut}");
            }
            for at in 0..bytes {
                let mut damaged = sent.clone();
                damaged[at] ^= 1;
                let wanted = (!digest).then_some(bytes);
                assert_eq!(receive.whole_segment(&damaged), wanted, "{digest} {at}");
            }
            receive.pass_segment();
            assert_eq!(receive, Receive::new());
            // One that has come in part is not told.
            receive.begin_segment(&header(0, 5), Purpose::Ignore, 0, digest);
            receive.take_payload(b"he");
            assert_eq!(receive.whole_segment(&sent), None);
        }
    }

    #[test]
    fn take_tail_over_pieces_checks_payload_padding_and_digest() {
        let padded = *b"hello\0\0\0";
        for damage in [false, true] {
            let mut sent = padded[5..].to_vec();
            sent.extend(crc32c(&padded).to_le_bytes());
            sent[1] ^= u8::from(damage);
            let mut receive = Receive::new();
            receive.begin_segment(&header(0, 5), Purpose::Ignore, 100, true);
            receive.take_payload(b"he");
            assert_eq!((receive.segment.offset, receive.segment.missing), (102, 3));
            receive.take_payload(b"llo");
            assert_eq!(receive.stage, Stage::Tail);
            assert_eq!(receive.take_tail(&sent[..2]), (2, None));
            assert_eq!(receive.take_tail(&sent[2..]), (5, Some(!damage)));
        }
    }
}
