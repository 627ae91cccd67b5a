//! How generations of the tree are kept on disk: checkpoints, and a journal of the records behind them.
//!
//! An [`append`](StateDir::append) is durable when it returns: that is the commit point of a change. Whatever happens in between, and
//! whenever, the directory holds the old state or the new one. Contents are opaque here. `docs/internals/saved-state.md` has the
//! format and the argument.
//!
//! Calls block for as long as the file system takes: none of this belongs on a worker.

mod active;
mod chain;
mod directory;
mod error;
mod files;
mod format;
mod history;
mod load;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use active::Active;
use directory::Directory;
pub use error::{Damage, StateError};
pub use files::{DiskFs, Lock, StateFile, StateFs};
pub use format::MAX_PAYLOAD_BYTES;
pub use history::{Base, RecordHead};

/// Below this size a journal is never worth a checkpoint: 1 MiB.
const SMALL_JOURNAL_BYTES: u64 = 1 << 20;
const LOCK: &str = "lock";

/// What a change left behind: one generation.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// One more than the record's before it.
    pub generation: u64,
    /// When it was made, in milliseconds since 1970.
    pub unix_time_ms: u64,
    /// What the payload is, in the caller's numbering.
    pub kind: u8,
    /// At most [`MAX_PAYLOAD_BYTES`].
    pub payload: Vec<u8>,
}

/// How a directory is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Records of this many last generations are kept for history and rollback.
    pub keep_generations: u64,
    /// Go on with what is before a damage, and keep the rest in files named `damaged-*`. Without it, damage is an error.
    pub recover: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            keep_generations: 128,
            recover: false,
        }
    }
}

/// What the directory held.
#[derive(Default)]
pub struct Loaded {
    /// The newest checkpoint: the generation it is of, and its payload.
    pub checkpoint: Option<(u64, Vec<u8>)>,
    /// All records after it, oldest first.
    pub records: Vec<Record>,
    /// Bytes of an append that was not finished, which are gone. They were never reported as saved, unless the disk has lost what
    /// it had confirmed.
    pub cut_bytes: u64,
    /// What recovery could not keep, under new names.
    pub set_aside: Vec<PathBuf>,
}

/// A state directory that this process holds.
///
/// A failed call leaves the last generation as it was, and the next call works as soon as the file system does.
pub struct StateDir {
    directory: Directory,
    keep_generations: u64,
    /// Generation of the next record. None in a directory that holds nothing yet.
    next: Option<u64>,
    active: Option<Active>,
    /// Bytes of the segments behind the newest checkpoint.
    journal_bytes: u64,
    /// A journal larger than this wants a checkpoint.
    wanted_above_bytes: u64,
    _lock: Box<dyn Send + Sync>,
}

impl StateDir {
    /// Opens the directory, makes it when it is not there, and holds its lock.
    ///
    /// What is answered in [`Loaded`] is durable then, though a crash had left it otherwise.
    ///
    /// # Errors
    /// `Locked` when another process has it; `Damaged`, `Missing` and `Version` tell what cannot be read; `Io`. The directory
    /// is as it was.
    pub fn open(
        path: &Path,
        options: OpenOptions,
        fs: Arc<dyn StateFs>,
    ) -> Result<(Self, Loaded), StateError> {
        (fs.create_dir(path)).map_err(|e| StateError::io("create the directory", path, e))?;
        let lock_path = path.join(LOCK);
        let lock = match fs.lock(&lock_path) {
            Ok(Lock::Held(lock)) => lock,
            Ok(Lock::Busy(pid)) => {
                return Err(StateError::Locked {
                    path: lock_path,
                    pid,
                });
            }
            Err(error) => return Err(StateError::io("lock", lock_path, error)),
        };
        let directory = Directory {
            path: path.to_owned(),
            fs,
        };
        let found = load::load(&directory, options.recover)?;
        let base = found.checkpoint.as_ref().map(|(generation, _)| *generation);
        let last = found
            .records
            .last()
            .map(|record| record.generation)
            .or(base);
        let checkpoint_bytes = (found.checkpoint.as_ref()).map_or(0, |(_, payload)| payload.len());
        let mut state = Self {
            directory,
            keep_generations: options.keep_generations,
            next: last.map(|last| last.saturating_add(1)),
            active: (found.active).map(|(first, origin)| Active::unwritten(first, origin)),
            journal_bytes: found.journal_bytes,
            wanted_above_bytes: wanted_above(checkpoint_bytes),
            _lock: lock,
        };
        state.confirm()?;
        let loaded = Loaded {
            checkpoint: found.checkpoint,
            records: found.records,
            cut_bytes: found.cut_bytes as u64,
            set_aside: found.set_aside,
        };
        Ok((state, loaded))
    }

    /// The generation that is saved last; none in a new directory.
    #[must_use]
    pub fn last_generation(&self) -> Option<u64> {
        self.next.map(|next| next.saturating_sub(1))
    }

    /// Saves a record. It is durable when this returns.
    ///
    /// The first record of a new directory may have any generation but 0, and is taken to be made on an empty state.
    ///
    /// # Errors
    /// `OutOfOrder`, `TooLarge`: nothing was written. `Io`: the last generation is the old one. Only a crash after such an error,
    /// when the file system refused to take the record back too, may bring it out at the next start.
    pub fn append(&mut self, record: &Record) -> Result<(), StateError> {
        let generation = record.generation;
        check_generation(self.next.unwrap_or_else(|| generation.max(1)), generation)?;
        check_payload(&record.payload)?;
        if self.next.is_none() {
            self.begin_new(generation)?;
        }
        let directory = &self.directory;
        let Some(active) = self.active.as_mut() else {
            let path = directory.segment(generation);
            return Err(StateError::Missing { path, generation });
        };
        self.journal_bytes += active.append(directory, record)?;
        self.next = Some(generation.saturating_add(1));
        Ok(())
    }

    /// Whether the journal has grown so much that [`checkpoint`](Self::checkpoint) pays: past 1 MiB and twice the newest checkpoint.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        self.journal_bytes > self.wanted_above_bytes
    }

    /// Saves the whole state of the last generation, begins a new journal behind it, and removes what no kept generation needs.
    /// A new directory takes any generation, as the state it begins with.
    ///
    /// # Errors
    /// `OutOfOrder` when it is another than the last generation; `TooLarge`; `Io`. The state is what it was: a failed checkpoint
    /// costs nothing but room. It is wanted again when the journal has grown by another 1 MiB.
    pub fn checkpoint(&mut self, generation: u64, payload: &[u8]) -> Result<(), StateError> {
        check_generation(self.last_generation().unwrap_or(generation), generation)?;
        check_payload(payload)?;
        if let Err(error) = self.save_checkpoint(generation, payload) {
            self.directory
                .discard(&self.directory.checkpoint(generation));
            self.wanted_above_bytes = self.journal_bytes.saturating_add(SMALL_JOURNAL_BYTES);
            return Err(error);
        }
        self.journal_bytes = self.active.as_ref().map_or(0, Active::bytes);
        self.wanted_above_bytes = wanted_above(payload.len());
        self.remove_old();
        Ok(())
    }

    /// The new segment gets its name before the checkpoint does: no checkpoint is ever without its journal, and a segment whose
    /// checkpoint did not come continues the one before it.
    fn save_checkpoint(&mut self, generation: u64, payload: &[u8]) -> Result<(), StateError> {
        let next = generation.saturating_add(1);
        self.directory.stage_checkpoint(generation, payload)?;
        if self.next.is_none() {
            self.begin_new(next)?;
        }
        match self.active.as_mut() {
            Some(active) if active.first() == next => {
                active.make_writable(&self.directory, next)?
            }
            _ => {
                let staged = self.directory.stage_segment(next, false, &[])?;
                // From here on the old segment may have a later one behind it, so nothing more goes into it.
                let active = self.active.insert(Active::unwritten(next, false));
                active.publish(&self.directory, staged)?;
            }
        }
        (self.directory).publish(&self.directory.checkpoint(generation))?;
        if self.next.is_none() {
            self.end_origin(next);
        }
        Ok(())
    }

    /// Chooses the first segment of a directory that holds nothing, and removes what an earlier try may have left there.
    fn begin_new(&mut self, first: u64) -> Result<(), StateError> {
        if let Some(active) = &self.active {
            // In this order: at no time is there a checkpoint without its journal, or a second beginning, which looks like a gap.
            let checkpoint = self.directory.checkpoint(active.first().saturating_sub(1));
            self.directory.remove(&checkpoint)?;
            self.directory.sync()?;
            if active.first() == first {
                return Ok(());
            }
            let segment = self.directory.segment(active.first());
            self.directory.remove(&segment)?;
            self.directory.sync()?;
        }
        self.active = Some(Active::unwritten(first, true));
        Ok(())
    }

    /// The first checkpoint of a new directory stands: its segment begins from there and no longer from nothing. A segment that
    /// still says otherwise is put right before it takes a record.
    fn end_origin(&mut self, next: u64) {
        self.next = Some(next);
        let active = self.active.insert(Active::unwritten(next, false));
        if let Err(error) = active.make_writable(&self.directory, next) {
            tracing::warn!(%error, "the journal is written anew with the next change");
        }
    }

    /// Makes durable what was read: a crash may have left it in the kernel's memory alone, and what the kernel has of an old file
    /// may be what it once failed to write. So the journal goes on in a fresh copy.
    fn confirm(&mut self) -> Result<(), StateError> {
        self.directory.sync()?;
        // Before the copy, since old files may fill the disk that it needs.
        self.remove_old();
        let Some(active) = self.active.as_mut() else {
            return Ok(());
        };
        let next = self.next.unwrap_or_else(|| active.first());
        let synced = self
            .directory
            .sync_file(&self.directory.segment(active.first()));
        match (active.make_writable(&self.directory, next), synced) {
            (Ok(()), _) => Ok(()),
            (Err(error), Ok(())) => {
                // As when the disk is full: what is saved is served, and the next change tries again.
                tracing::warn!(%error, "the journal cannot be written now");
                Ok(())
            }
            (Err(error), Err(_)) => Err(error),
        }
    }
}

impl fmt::Debug for StateDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateDir")
            .field("path", &self.directory.path)
            .field("next", &self.next)
            .field("journal_bytes", &self.journal_bytes)
            .finish_non_exhaustive()
    }
}

/// Payloads hold secrets: only their lengths are shown.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("generation", &self.generation)
            .field("unix_time_ms", &self.unix_time_ms)
            .field("kind", &self.kind)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checkpoint = self
            .checkpoint
            .as_ref()
            .map(|(generation, payload)| (generation, payload.len()));
        f.debug_struct("Loaded")
            .field("checkpoint_and_bytes", &checkpoint)
            .field("records", &self.records)
            .field("cut_bytes", &self.cut_bytes)
            .field("set_aside", &self.set_aside)
            .finish()
    }
}

/// The last number is kept free, so that a next one can always be told.
fn check_generation(expected: u64, found: u64) -> Result<(), StateError> {
    if found == expected && found < u64::MAX {
        Ok(())
    } else {
        Err(StateError::OutOfOrder { expected, found })
    }
}

fn check_payload(payload: &[u8]) -> Result<(), StateError> {
    if payload.len() <= MAX_PAYLOAD_BYTES {
        return Ok(());
    }
    Err(StateError::TooLarge {
        bytes: payload.len() as u64,
        most_bytes: MAX_PAYLOAD_BYTES as u64,
    })
}

fn wanted_above(checkpoint_bytes: usize) -> u64 {
    (checkpoint_bytes as u64)
        .saturating_mul(2)
        .max(SMALL_JOURNAL_BYTES)
}
