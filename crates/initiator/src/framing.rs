//! PDUs out of a byte stream and into it: padding and digests (RFC 7143 §11.1, §11.2.3).

use iscsi_wire::{BHS_BYTES, Bhs, DIGEST_BYTES, crc32c, pad};

use crate::Violation;

/// Which digests are in use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Digests {
    pub(crate) header: bool,
    pub(crate) data: bool,
}

/// One PDU as it came. Targets send no AHS, so none is kept.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bhs: Bhs,
    pub(crate) data: Vec<u8>,
}

/// What stands at the head of the stream.
#[derive(Debug)]
pub(crate) enum Found {
    /// A PDU, its digests right.
    Pdu(Frame),
    /// A PDU whose data digest is wrong; what came as its data is in it.
    BadData(Frame),
    /// A PDU whose header digest was wrong, and which is passed over.
    BadHeader,
}

/// Collects bytes until a PDU is whole. Holds at most one PDU of the declared length and what one call brought; with a
/// header that is damaged, the next header too.
#[derive(Clone, Debug)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    start: usize,
    pub(crate) digests: Digests,
    pub(crate) max_data_segment_bytes: u32,
    /// Whether a wrong digest costs a PDU and not the connection: ErrorRecoveryLevel 1 and above.
    pub(crate) tolerant: bool,
    /// Whether a damaged header waits for the next one to show where that begins.
    pub(crate) is_lost: bool,
}

impl Framer {
    pub(crate) const fn new(max_data_segment_bytes: u32) -> Self {
        let digests = Digests {
            header: false,
            data: false,
        };
        Self {
            buffer: Vec::new(),
            start: 0,
            digests,
            max_data_segment_bytes,
            tolerant: false,
            is_lost: false,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole PDU.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, Violation> {
        let bytes = &self.buffer[self.start..];
        let Some(header) = bytes.first_chunk::<BHS_BYTES>() else {
            return Ok(None);
        };
        let bhs = Bhs(*header);
        let header_end = BHS_BYTES + usize::from(bhs.total_ahs_bytes());
        let header_digest = if self.digests.header { DIGEST_BYTES } else { 0 };
        let Some(head) = bytes.get(..header_end + header_digest) else {
            return Ok(None);
        };
        if self.digests.header && !digest_matches(&head[..header_end], &head[header_end..]) {
            return self.pass_over(&bhs);
        }
        let length = bhs.data_segment_length();
        let limit = self.max_data_segment_bytes;
        if length > limit {
            return Err(Violation::SegmentTooLong {
                bytes: length,
                limit,
            });
        }
        let length = length as usize;
        let padded = length + pad(length);
        let data_digest = self.data_digest_bytes(length);
        let Some(data) = bytes[head.len()..].get(..padded + data_digest) else {
            return Ok(None);
        };
        let intact = data_digest == 0 || digest_matches(&data[..padded], &data[padded..]);
        if !intact && !self.tolerant {
            return Err(Violation::DataDigest);
        }
        let frame = Frame {
            bhs,
            data: data[..length].to_vec(),
        };
        self.start += head.len() + data.len();
        Ok(Some(if intact {
            Found::Pdu(frame)
        } else {
            Found::BadData(frame)
        }))
    }

    /// RFC 7143 §7.8: a header whose digest is wrong is discarded up to the beginning of a later PDU, which must be known for
    /// sure. Its own lengths are believed where they lead to a header whose digest is right; else the connection ends.
    fn pass_over(&mut self, bhs: &Bhs) -> Result<Option<Found>, Violation> {
        let length = bhs.data_segment_length();
        let plausible = bhs.total_ahs_bytes() == 0 && length <= self.max_data_segment_bytes;
        if !self.tolerant || !plausible {
            return Err(Violation::HeaderDigest);
        }
        let length = length as usize;
        let data = length + pad(length) + self.data_digest_bytes(length);
        let skipped = BHS_BYTES + DIGEST_BYTES + data;
        let next = skipped..skipped + BHS_BYTES + DIGEST_BYTES;
        let Some(next) = self.buffer[self.start..].get(next) else {
            self.is_lost = true;
            return Ok(None);
        };
        // Targets send no AHS, so a header is always this long.
        if !digest_matches(&next[..BHS_BYTES], &next[BHS_BYTES..]) {
            return Err(Violation::HeaderDigest);
        }
        self.is_lost = false;
        self.start += skipped;
        Ok(Some(Found::BadHeader))
    }

    /// RFC 7143 §11.2.4: a data digest follows only where there is data.
    const fn data_digest_bytes(&self, length: usize) -> usize {
        if self.digests.data && length > 0 {
            DIGEST_BYTES
        } else {
            0
        }
    }
}

/// Appends a PDU. The header's lengths are sent as they stand, right or wrong.
pub(crate) fn append(out: &mut Vec<u8>, bhs: &Bhs, ahs: &[u8], data: &[u8], digests: Digests) {
    let start = out.len();
    out.extend_from_slice(&bhs.0);
    out.extend_from_slice(ahs);
    if digests.header {
        let digest = crc32c(&out[start..]).to_le_bytes();
        out.extend_from_slice(&digest);
    }
    let start = out.len();
    out.extend_from_slice(data);
    out.resize(out.len() + pad(data.len()), 0);
    if digests.data && !data.is_empty() {
        let digest = crc32c(&out[start..]).to_le_bytes();
        out.extend_from_slice(&digest);
    }
}

fn digest_matches(bytes: &[u8], digest: &[u8]) -> bool {
    crc32c(bytes).to_le_bytes() == digest
}
