//! What the directory keeps of earlier generations, read from disk when asked for; and what it no longer keeps.

use std::fmt;

use super::chain::{shortfall, walk};
use super::directory::Listing;
use super::error::StateError;
use super::format::Scan;
use super::{Record, StateDir};

/// A record without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    pub generation: u64,
    /// In milliseconds since 1970.
    pub unix_time_ms: u64,
    pub kind: u8,
    pub payload_bytes: usize,
}

/// What an earlier generation is made from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// The nearest checkpoint, with its generation. None: the records begin from an empty state.
    pub checkpoint: Option<(u64, Vec<u8>)>,
    /// Those after the checkpoint up to the generation asked for, oldest first.
    pub records: Vec<Record>,
}

impl StateDir {
    /// The last records, newest last: as many as [`OpenOptions::keep_generations`](super::OpenOptions), fewer when fewer are kept.
    ///
    /// # Errors
    /// `Damaged` when an older file is; the last generation does not depend on those. `Io`.
    pub fn history(&self) -> Result<Vec<RecordHead>, StateError> {
        let most = usize::try_from(self.keep_generations).unwrap_or(usize::MAX);
        let Some(mut until) = self.next else {
            return Ok(Vec::new());
        };
        let listing = self.directory.list()?;
        let mut newest_first = Vec::new();
        for first in
            (listing.segments.iter().rev().copied()).filter(|first| *first < self.next.unwrap_or(0))
        {
            let scan = self.directory.read_segment(first, Some(until))?;
            match shortfall(&self.directory, first, &scan, Some(until)) {
                None => {}
                // A file in between is gone, so what is older is no longer the history of this state.
                Some(StateError::Missing { .. }) => break,
                Some(error) => return Err(error),
            }
            newest_first.extend(scan.records.iter().rev().map(RecordHead::of));
            if newest_first.len() >= most {
                break;
            }
            until = first;
        }
        newest_first.truncate(most);
        newest_first.reverse();
        Ok(newest_first)
    }

    /// The record that made this generation; none when it is not kept.
    ///
    /// # Errors
    /// `Damaged` when the record is; `Io`.
    pub fn read(&self, generation: u64) -> Result<Option<Record>, StateError> {
        let listing = self.directory.list()?;
        let first = (listing.segments.iter().rev().copied()).find(|first| *first <= generation);
        let (Some(first), true) = (first, self.holds(generation)) else {
            return Ok(None);
        };
        let until = generation.saturating_add(1);
        let mut scan: Scan = self.directory.read_segment(first, Some(until))?;
        match shortfall(&self.directory, first, &scan, Some(until)) {
            None => Ok(scan
                .records
                .pop()
                .filter(|record| record.generation == generation)),
            Some(StateError::Missing { .. }) => Ok(None),
            Some(error) => Err(error),
        }
    }

    /// What to make the state of an earlier generation from; none when that is not kept, or never was.
    ///
    /// # Errors
    /// `Damaged` when one of its files is; `Io`.
    pub fn checkpoint_at_or_before(&self, generation: u64) -> Result<Option<Base>, StateError> {
        if !self.holds(generation) {
            return Ok(None);
        }
        let listing = self.directory.list()?;
        let at = (listing.checkpoints.iter().rev().copied()).find(|at| *at <= generation);
        let start = match (at, listing.segments.first()) {
            (Some(at), _) => at.saturating_add(1),
            (None, Some(first)) => *first,
            (None, None) => return Ok(None),
        };
        let until = generation.saturating_add(1);
        let chain = walk(&self.directory, &listing, start, Some(until))?;
        match chain.broken {
            None => {}
            Some(broken) if matches!(broken.error, StateError::Missing { .. }) => return Ok(None),
            Some(broken) => return Err(broken.error),
        }
        let checkpoint = match at {
            Some(at) => Some((at, self.directory.read_checkpoint(at)?)),
            // Without their checkpoint the records are no state.
            None if chain.links.first().is_none_or(|link| !link.origin) => return Ok(None),
            None => None,
        };
        Ok(Some(Base {
            checkpoint,
            records: chain.records,
        }))
    }

    fn holds(&self, generation: u64) -> bool {
        self.next.is_some_and(|next| generation < next)
    }

    /// Removes what none of the kept generations is made from, and files that never got their name.
    pub(super) fn remove_old(&self) {
        let listing = match self.directory.list() {
            Ok(listing) => listing,
            Err(error) => {
                tracing::warn!(%error, "old files of the saved state stay");
                return;
            }
        };
        let oldest = self
            .last_generation()
            .map_or(0, |last| last.saturating_sub(self.keep_generations));
        let old_segments = listing.base_of(oldest).map(|base| {
            let segments = listing.segments.iter().filter(move |first| **first <= base);
            let checkpoints = listing.checkpoints.iter().filter(move |at| **at < base);
            (segments.map(|first| self.directory.segment(*first)))
                .chain(checkpoints.map(|at| self.directory.checkpoint(*at)))
        });
        let unfinished = listing
            .unfinished
            .iter()
            .map(|name| self.directory.path.join(name));
        for path in unfinished.chain(old_segments.into_iter().flatten()) {
            self.directory.remove_unneeded(&path);
        }
    }
}

impl Listing {
    /// The newest checkpoint from which this generation can be made.
    fn base_of(&self, generation: u64) -> Option<u64> {
        (self.checkpoints.iter().rev().copied()).find(|at| *at <= generation)
    }
}

impl RecordHead {
    fn of(record: &Record) -> Self {
        Self {
            generation: record.generation,
            unix_time_ms: record.unix_time_ms,
            kind: record.kind,
            payload_bytes: record.payload.len(),
        }
    }
}

/// Payloads hold secrets.
impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checkpoint = self
            .checkpoint
            .as_ref()
            .map(|(generation, payload)| (generation, payload.len()));
        f.debug_struct("Base")
            .field("checkpoint_and_bytes", &checkpoint)
            .field("records", &self.records)
            .finish()
    }
}
