//! What an initiator hears of a store's error: the one map.

use block::{IoError, IoErrorKind, IoOpKind};

use crate::sense::{Refusal, Sense};
use crate::step::Status;

/// The end of a command whose I/O failed.
pub(crate) fn refusal_of(error: &IoError) -> Refusal {
    let sense = match error.kind {
        // A file that shrank has lost blocks which the LU still promises: to the initiator that is the medium, too.
        IoErrorKind::Medium | IoErrorKind::OutOfRange => match error.op {
            IoOpKind::Read | IoOpKind::Map => Sense::UNRECOVERED_READ_ERROR,
            _ => Sense::WRITE_ERROR,
        },
        // Acknowledged writes may be lost, and none are taken any more.
        IoErrorKind::FlushFailed => Sense::WRITE_ERROR,
        IoErrorKind::NoSpace => Sense::SPACE_ALLOCATION_FAILED,
        IoErrorKind::ReadOnly => Sense::WRITE_PROTECTED,
        IoErrorKind::Busy => return Refusal::Status(Status::Busy),
        IoErrorKind::Gone => Sense::NOT_READY,
        IoErrorKind::Unsupported => Sense::INTERNAL_TARGET_FAILURE,
        IoErrorKind::Aborted => Sense::ABORTED_COMMAND,
    };
    // SBC-4 "INFORMATION field": the first block in error.
    let about_blocks = matches!(error.kind, IoErrorKind::Medium | IoErrorKind::OutOfRange);
    match error.lba {
        Some(lba) if about_blocks => sense.with_information(lba.0).into(),
        _ => sense.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Lba;

    #[test]
    fn io_error_of_each_kind_has_its_sense() {
        use IoErrorKind as K;
        use IoOpKind as O;
        for (kind, op, wanted) in [
            (K::Medium, O::Read, Sense::UNRECOVERED_READ_ERROR),
            (K::Medium, O::Write, Sense::WRITE_ERROR),
            (K::Medium, O::Flush, Sense::WRITE_ERROR),
            (K::OutOfRange, O::Read, Sense::UNRECOVERED_READ_ERROR),
            (K::FlushFailed, O::Write, Sense::WRITE_ERROR),
            (K::NoSpace, O::Write, Sense::SPACE_ALLOCATION_FAILED),
            (K::ReadOnly, O::Write, Sense::WRITE_PROTECTED),
            (K::Gone, O::Read, Sense::NOT_READY),
            (K::Unsupported, O::Unmap, Sense::INTERNAL_TARGET_FAILURE),
            (K::Aborted, O::Read, Sense::ABORTED_COMMAND),
        ] {
            assert_eq!(
                refusal_of(&IoError::new(kind, op)),
                Refusal::Check(wanted),
                "{kind:?}"
            );
        }
        let busy = IoError::new(K::Busy, O::Read);
        assert_eq!(refusal_of(&busy), Refusal::Status(Status::Busy));
    }

    #[test]
    fn io_error_at_a_block_tells_it_in_information() {
        let error = IoError::new(IoErrorKind::Medium, IoOpKind::Read).at(Lba(0x1234));
        let wanted = Sense::UNRECOVERED_READ_ERROR.with_information(0x1234);
        assert_eq!(refusal_of(&error), Refusal::Check(wanted));
        let error = IoError::new(IoErrorKind::NoSpace, IoOpKind::Write).at(Lba(1));
        assert_eq!(
            refusal_of(&error),
            Refusal::Check(Sense::SPACE_ALLOCATION_FAILED)
        );
    }
}
