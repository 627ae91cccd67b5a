//! The names in a state directory, and how a whole file gets its name. Knows nothing of what follows what.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Record;
use super::error::{Damage, StateError};
use super::files::{StateFile, StateFs};
use super::format::{
    MAX_FILE_BYTES, SEGMENT_HEADER_BYTES, Scan, SegmentHeader, Unreadable, emit_checkpoint,
    emit_record, parse_checkpoint, scan,
};

const JOURNAL: &str = "journal-";
const CHECKPOINT: &str = "checkpoint-";
const UNFINISHED: &str = ".tmp";
/// What recovery found unreadable and kept for the operator.
const SET_ASIDE: &str = "damaged-";
/// Digits of a generation in a name: a listing sorts as the generations do.
const GENERATION_DIGITS: usize = 20;

/// A state directory's files.
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) fs: Arc<dyn StateFs>,
}

/// What a listing of the directory tells, each list oldest first.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// First generations of the journal's segments.
    pub(super) segments: Vec<u64>,
    /// Generations of the checkpoints.
    pub(super) checkpoints: Vec<u64>,
    /// Files that never got their name.
    pub(super) unfinished: Vec<String>,
    set_aside: Vec<String>,
}

impl Listing {
    /// The segment that follows the one which begins with `first`.
    pub(super) fn segment_after(&self, first: u64) -> Option<u64> {
        (self.segments.iter().copied()).find(|later| *later > first)
    }
}

/// A new segment that has all its content but not yet its name.
pub(super) struct Staged {
    pub(super) header: SegmentHeader,
    pub(super) end: u64,
    pub(super) file: Box<dyn StateFile>,
}

impl Directory {
    pub(super) fn segment(&self, first: u64) -> PathBuf {
        self.path.join(segment_name(first))
    }

    pub(super) fn checkpoint(&self, generation: u64) -> PathBuf {
        self.path.join(checkpoint_name(generation))
    }

    pub(super) fn list(&self) -> Result<Listing, StateError> {
        let names =
            (self.fs.list(&self.path)).map_err(|e| StateError::io("list", &self.path, e))?;
        let mut listing = Listing::default();
        for name in names {
            if let Some(first) = generation_in(&name, JOURNAL) {
                listing.segments.push(first);
            } else if let Some(generation) = generation_in(&name, CHECKPOINT) {
                listing.checkpoints.push(generation);
            } else if name.ends_with(UNFINISHED) {
                listing.unfinished.push(name);
            } else if name.starts_with(SET_ASIDE) {
                listing.set_aside.push(name);
            }
        }
        listing.segments.sort_unstable();
        listing.checkpoints.sort_unstable();
        Ok(listing)
    }

    /// Reads the segment that begins with `first`, up to the record of generation `until`.
    pub(super) fn read_segment(&self, first: u64, until: Option<u64>) -> Result<Scan, StateError> {
        let path = self.segment(first);
        let bytes = self.read(&path)?;
        scan(&bytes, first, until).map_err(|unreadable| told(unreadable, path))
    }

    pub(super) fn read_checkpoint(&self, generation: u64) -> Result<Vec<u8>, StateError> {
        let path = self.checkpoint(generation);
        let bytes = self.read(&path)?;
        parse_checkpoint(bytes, generation).map_err(|unreadable| told(unreadable, path))
    }

    /// The whole file.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, StateError> {
        let bytes =
            (self.fs.read(path, MAX_FILE_BYTES)).map_err(|e| StateError::io("read", path, e))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(StateError::Damaged {
                path: path.to_owned(),
                offset: MAX_FILE_BYTES,
                damage: Damage::Size,
            });
        }
        Ok(bytes)
    }

    /// Writes a segment with these records beside the one of its name.
    pub(super) fn stage_segment(
        &self,
        first: u64,
        origin: bool,
        records: &[Record],
    ) -> Result<Staged, StateError> {
        let path = &self.segment(first);
        let salt = (self.fs.random()).map_err(|e| StateError::io("draw a number for", path, e))?;
        let header = SegmentHeader {
            first,
            origin,
            salt,
        };
        let mut bytes = header.emit();
        debug_assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        for record in records {
            emit_record(record, bytes.len() as u64, salt, &mut bytes);
        }
        Ok(Staged {
            header,
            end: bytes.len() as u64,
            file: self.stage(path, &bytes)?,
        })
    }

    pub(super) fn stage_checkpoint(
        &self,
        generation: u64,
        payload: &[u8],
    ) -> Result<(), StateError> {
        let bytes = emit_checkpoint(generation, payload);
        self.stage(&self.checkpoint(generation), &bytes).map(drop)
    }

    /// Writes a whole file beside the name that it is for.
    fn stage(&self, path: &Path, bytes: &[u8]) -> Result<Box<dyn StateFile>, StateError> {
        let unfinished = unfinished(path);
        let written = (self.fs.create(&unfinished))
            .map_err(|e| ("create", e))
            .and_then(|file| {
                file.write_at(bytes, 0).map_err(|e| ("write", e))?;
                file.sync().map_err(|e| ("sync", e))?;
                Ok(file)
            });
        written.map_err(|(operation, error)| {
            self.discard(path);
            StateError::io(operation, unfinished, error)
        })
    }

    /// Gives a staged file its name, durably. After an error it may have it or not.
    pub(super) fn publish(&self, path: &Path) -> Result<(), StateError> {
        (self.fs.rename(&unfinished(path), path))
            .map_err(|e| StateError::io("rename a file to", path, e))?;
        self.sync()
    }

    pub(super) fn sync(&self) -> Result<(), StateError> {
        (self.fs.sync_dir(&self.path)).map_err(|e| StateError::io("sync", &self.path, e))
    }

    /// Makes the content of a file durable that has its name.
    pub(super) fn sync_file(&self, path: &Path) -> Result<(), StateError> {
        (self.fs.open(path).and_then(|file| file.sync()))
            .map_err(|e| StateError::io("sync", path, e))
    }

    /// Removes a file, which may not be there.
    pub(super) fn remove(&self, path: &Path) -> Result<(), StateError> {
        match self.fs.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StateError::io("remove", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes what was staged for this name, if anything was. It only takes room.
    pub(super) fn discard(&self, path: &Path) {
        let _ = self.fs.remove(&unfinished(path));
    }

    /// Removes what nobody needs. A file that stays is tried again when the directory is opened next.
    pub(super) fn remove_unneeded(&self, path: &Path) {
        if let Err(error) = self.remove(path) {
            tracing::warn!(%error, "an old file of the saved state stays");
        }
    }

    /// Renames a file that recovery does without; durable after the next [`sync`](Self::sync).
    pub(super) fn set_aside(
        &self,
        listing: &mut Listing,
        path: &Path,
    ) -> Result<PathBuf, StateError> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let aside = self.aside(listing, &name);
        (self.fs.rename(path, &aside)).map_err(|e| StateError::io("rename", path, e))?;
        Ok(aside)
    }

    /// Copies the bytes that recovery cuts from a segment into a file of their own.
    pub(super) fn save_aside(
        &self,
        listing: &mut Listing,
        first: u64,
        offset: usize,
        bytes: &[u8],
    ) -> Result<PathBuf, StateError> {
        let name = format!("{}-at-{offset}", segment_name(first));
        let aside = self.aside(listing, &name);
        self.stage(&aside, bytes)?;
        self.publish(&aside)?;
        Ok(aside)
    }

    /// A name that no file has: a second recovery does not overwrite what the first kept.
    fn aside(&self, listing: &mut Listing, name: &str) -> PathBuf {
        let mut aside = format!("{SET_ASIDE}{name}");
        let mut number = 1_u64;
        while listing.set_aside.contains(&aside) {
            number += 1;
            aside = format!("{SET_ASIDE}{name}.{number}");
        }
        listing.set_aside.push(aside.clone());
        self.path.join(aside)
    }
}

fn segment_name(first: u64) -> String {
    format!("{JOURNAL}{first:0GENERATION_DIGITS$}")
}

fn checkpoint_name(generation: u64) -> String {
    format!("{CHECKPOINT}{generation:0GENERATION_DIGITS$}")
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// Only the one spelling that this program writes: no file stands twice in a listing.
fn generation_in(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    let all_digits =
        digits.len() == GENERATION_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    if all_digits {
        digits.parse().ok()
    } else {
        None
    }
}

fn told(unreadable: Unreadable, path: PathBuf) -> StateError {
    match unreadable {
        Unreadable::Damaged { offset, damage } => StateError::Damaged {
            path,
            offset: offset as u64,
            damage,
        },
        Unreadable::Version(version) => StateError::Version { path, version },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_in_another_spelling_is_no_generation() {
        let table = [
            ("journal-00000000000000000042", Some(42)),
            ("journal-18446744073709551615", Some(u64::MAX)),
            ("journal-18446744073709551616", None),
            ("journal-42", None),
            ("journal-+0000000000000000042", None),
            ("journal-00000000000000000042.tmp", None),
            ("journal-000000000000000000042", None),
            ("damaged-journal-00000000000000000042", None),
            ("checkpoint-00000000000000000042", None),
        ];
        for (name, generation) in table {
            assert_eq!(generation_in(name, JOURNAL), generation, "{name}");
        }
        assert_eq!(generation_in(&checkpoint_name(7), CHECKPOINT), Some(7));
    }
}
