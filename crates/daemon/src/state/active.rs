//! The segment that takes the next record.

use super::Record;
use super::chain::shortfall;
use super::directory::{Directory, Staged};
use super::error::StateError;
use super::files::StateFile;
use super::format::{MAX_FILE_BYTES, RECORD_OVERHEAD_BYTES, emit_record};

/// A segment and where its next record goes.
pub(super) struct Active {
    first: u64,
    origin: bool,
    /// None when the file must be written anew before it takes a record: the kernel's copy may not be the disk's, or the file may
    /// hold more than was reported as saved.
    open: Option<Open>,
}

struct Open {
    file: Box<dyn StateFile>,
    salt: u64,
    /// The file ends here.
    end: u64,
}

impl Active {
    /// The segment that begins with generation `first`, as it may stand on disk. `origin`: no checkpoint stands before it.
    pub(super) fn unwritten(first: u64, origin: bool) -> Self {
        Self {
            first,
            origin,
            open: None,
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Length of the file; 0 when it is not known to be good.
    pub(super) fn bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.end)
    }

    /// Makes a staged file the segment's.
    pub(super) fn publish(
        &mut self,
        directory: &Directory,
        staged: Staged,
    ) -> Result<(), StateError> {
        self.open = None;
        directory.publish(&directory.segment(self.first))?;
        self.open = Some(Open {
            file: staged.file,
            salt: staged.header.salt,
            end: staged.end,
        });
        Ok(())
    }

    /// Sees that the file takes the record of generation `next`: one that is in doubt is replaced by a copy of the records before.
    pub(super) fn make_writable(
        &mut self,
        directory: &Directory,
        next: u64,
    ) -> Result<(), StateError> {
        if self.open.is_none() {
            let records = self.records_before(directory, next)?;
            let staged = directory.stage_segment(self.first, self.origin, &records)?;
            self.publish(directory, staged)?;
        }
        Ok(())
    }

    /// Read again from the disk: each of them was durable once.
    fn records_before(&self, directory: &Directory, next: u64) -> Result<Vec<Record>, StateError> {
        // A segment without records may not have its name yet.
        if next == self.first {
            return Ok(Vec::new());
        }
        let scan = directory.read_segment(self.first, Some(next))?;
        match shortfall(directory, self.first, &scan, Some(next)) {
            None => Ok(scan.records),
            Some(error) => Err(error),
        }
    }

    /// Writes the record and makes it durable. Answers with the bytes it took. After an error the segment ends where it did.
    pub(super) fn append(
        &mut self,
        directory: &Directory,
        record: &Record,
    ) -> Result<u64, StateError> {
        self.make_writable(directory, record.generation)?;
        let Some(open) = self.open.as_mut() else {
            return Ok(0);
        };
        let mut bytes = Vec::with_capacity(RECORD_OVERHEAD_BYTES + record.payload.len());
        emit_record(record, open.end, open.salt, &mut bytes);
        let end = open.end.saturating_add(bytes.len() as u64);
        if end > MAX_FILE_BYTES {
            return Err(StateError::TooLarge {
                bytes: end,
                most_bytes: MAX_FILE_BYTES,
            });
        }
        let path = directory.segment(self.first);
        if let Err(error) = open.file.write_at(&bytes, open.end) {
            // What was written of it is taken back. Where that fails too, the next record goes into a new file.
            if open.file.set_len(open.end).is_err() {
                self.open = None;
            }
            return Err(StateError::io("write", path, error));
        }
        if let Err(error) = open.file.sync() {
            // The kernel has forgotten that the bytes are not on the disk: another sync of this file would prove nothing. And the
            // record may be on the disk: it must not come out at the next start.
            let _ = open.file.set_len(open.end);
            self.open = None;
            if let Err(error) = self.make_writable(directory, record.generation) {
                tracing::warn!(%error, "the journal is written anew with the next change");
            }
            return Err(StateError::io("sync", path, error));
        }
        open.end = end;
        Ok(bytes.len() as u64)
    }
}
