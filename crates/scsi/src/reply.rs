//! Data-In that the device server makes itself: built no further than the initiator takes it.

use crate::sense::SenseFormat;
use crate::step::{Done, Status};

/// Parameter data being built at the end of a caller's vector.
pub(crate) struct Reply<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// Bytes the CDB allows (ALLOCATION LENGTH).
    allocation_bytes: u32,
    /// Bytes that are kept: the lesser of ALLOCATION LENGTH and what the initiator expects.
    limit: usize,
    /// Bytes there would be without limits.
    total: u64,
}

impl<'a> Reply<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, allocation_bytes: u32, expected_bytes: u32) -> Self {
        let start = out.len();
        let limit = usize::try_from(allocation_bytes.min(expected_bytes)).unwrap_or(usize::MAX);
        Self {
            out,
            start,
            allocation_bytes,
            limit,
            total: 0,
        }
    }

    /// Appends bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.out.len() - self.start);
        self.out.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.total = self.total.saturating_add(bytes.len() as u64);
    }

    /// SPC-5 "Allocation length": what does not fit is left out, and is no error.
    pub(crate) fn done(self) -> Done {
        let kept = self.out.len() - self.start;
        Done {
            transfer_bytes: self.total.min(u64::from(self.allocation_bytes)),
            // Not above the limit, which was a u32.
            data_in_bytes: u32::try_from(kept).unwrap_or(u32::MAX),
            sense_format: SenseFormat::Fixed,
            ..Done::status(Status::Good)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_beyond_limits_is_cut_and_counted_up_to_allocation_length() {
        for (allocation, expected, kept, transfer) in [
            (10, 10, 6, 6),
            (4, 10, 4, 4),
            (10, 4, 4, 6),
            (5, 2, 2, 5),
            (0, 9, 0, 0),
            (9, 0, 0, 6),
        ] {
            let mut out = vec![9];
            let mut reply = Reply::new(&mut out, allocation, expected);
            reply.put(&[1, 2, 3]);
            reply.put(&[4, 5, 6]);
            let done = reply.done();
            assert_eq!(done.data_in_bytes, kept, "{allocation} {expected}");
            assert_eq!(done.transfer_bytes, transfer, "{allocation} {expected}");
            assert_eq!(out, [9, 1, 2, 3, 4, 5, 6][..=kept as usize]);
        }
    }
}
