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

/// Collects bytes until a PDU is whole. Holds at most one PDU of the declared length and what one call brought.
#[derive(Clone, Debug)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    start: usize,
    pub(crate) digests: Digests,
    pub(crate) max_data_segment_bytes: u32,
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
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole PDU.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Violation> {
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
            return Err(Violation::HeaderDigest);
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
        // RFC 7143 §11.2.4: a data digest follows only where there is data.
        let data_digest = if self.digests.data && length > 0 {
            DIGEST_BYTES
        } else {
            0
        };
        let Some(data) = bytes[head.len()..].get(..padded + data_digest) else {
            return Ok(None);
        };
        if data_digest > 0 && !digest_matches(&data[..padded], &data[padded..]) {
            return Err(Violation::DataDigest);
        }
        let frame = Frame {
            bhs,
            data: data[..length].to_vec(),
        };
        self.start += head.len() + data.len();
        Ok(Some(frame))
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
