//! What a state directory holds when it is opened; and recovery, which does without what is damaged.

use std::path::PathBuf;

use super::Record;
use super::chain::{Broken, Walk, shortfall, walk};
use super::directory::{Directory, Listing};
use super::error::StateError;

/// The last generation, as the files have it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) checkpoint: Option<(u64, Vec<u8>)>,
    /// Records behind the checkpoint.
    pub(super) records: Vec<Record>,
    /// The segment that takes the next record, and whether it begins from nothing. Its file may be missing after a recovery.
    pub(super) active: Option<(u64, bool)>,
    /// Bytes of whole records behind the checkpoint, headers included.
    pub(super) journal_bytes: u64,
    pub(super) cut_bytes: usize,
    /// What recovery kept under other names.
    pub(super) set_aside: Vec<PathBuf>,
}

/// Reads the last generation. With `recover`, what is before a damage is the last generation, and the rest is set aside.
pub(super) fn load(directory: &Directory, recover: bool) -> Result<Found, StateError> {
    let mut listing = directory.list()?;
    let mut base = choose_base(directory, &listing, recover)?;
    let start = match &base.checkpoint {
        Some((generation, _)) => generation.saturating_add(1),
        None => match listing.segments.first() {
            Some(first) => *first,
            None => return base.without_journal(),
        },
    };
    let mut chain = walk(directory, &listing, start, None)?;
    if base.checkpoint.is_none() {
        base.check_origin(directory, start, &mut chain)?;
    }
    let mut found = Found::default();
    match chain.broken.take() {
        None => {}
        Some(broken) if !recover => return Err(broken.error),
        Some(broken) => set_rest_aside(
            directory,
            &mut listing,
            &chain,
            &broken,
            &mut found.set_aside,
        )?,
    }
    if recover {
        for generation in &base.unreadable {
            let path = directory.checkpoint(*generation);
            found
                .set_aside
                .push(directory.set_aside(&mut listing, &path)?);
        }
        set_history_aside(
            directory,
            &mut listing,
            start,
            &base.unreadable,
            &mut found.set_aside,
        )?;
        directory.sync()?;
    }
    found.active = match chain.links.last() {
        Some(link) => Some((link.first, link.origin && base.checkpoint.is_none())),
        None => base.checkpoint.is_some().then_some((start, false)),
    };
    found.journal_bytes = chain.links.iter().map(|link| link.end as u64).sum();
    found.cut_bytes = chain.cut_bytes;
    found.records = chain.records;
    found.checkpoint = base.checkpoint;
    Ok(found)
}

/// The newest checkpoint that can be read.
#[derive(Default)]
struct Base {
    checkpoint: Option<(u64, Vec<u8>)>,
    /// Newer ones that cannot, newest first.
    unreadable: Vec<u64>,
    /// Why the newest cannot.
    error: Option<StateError>,
}

fn choose_base(
    directory: &Directory,
    listing: &Listing,
    recover: bool,
) -> Result<Base, StateError> {
    let mut base = Base::default();
    for generation in listing.checkpoints.iter().rev().copied() {
        match directory.read_checkpoint(generation) {
            Ok(payload) => {
                base.checkpoint = Some((generation, payload));
                break;
            }
            Err(error) if recover && error.is_content() => {
                base.unreadable.push(generation);
                base.error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(base)
}

impl Base {
    /// A directory without segments is a new one, unless a checkpoint says that there was more.
    fn without_journal(self) -> Result<Found, StateError> {
        self.error.map_or_else(|| Ok(Found::default()), Err)
    }

    /// Without a checkpoint the records are a state only if they begin from nothing: a state without its beginning is none.
    fn check_origin(
        &mut self,
        directory: &Directory,
        start: u64,
        walk: &mut Walk,
    ) -> Result<(), StateError> {
        if walk.links.first().is_some_and(|link| link.origin) {
            return Ok(());
        }
        // The header that would tell may itself be what is damaged.
        let broken = walk.broken.take().filter(|_| walk.links.is_empty());
        let generation = start.saturating_sub(1);
        let missing = || StateError::Missing {
            path: directory.checkpoint(generation),
            generation,
        };
        Err((broken.map(|broken| broken.error))
            .or_else(|| self.error.take())
            .unwrap_or_else(missing))
    }
}

/// Keeps what stands behind a break under other names. A crash in between leaves a directory that is still broken at the same
/// place, or one that ends there.
fn set_rest_aside(
    directory: &Directory,
    listing: &mut Listing,
    walk: &Walk,
    broken: &Broken,
    aside: &mut Vec<PathBuf>,
) -> Result<(), StateError> {
    let is_read = walk
        .links
        .last()
        .is_some_and(|link| link.first == broken.first);
    if let Some(link) = walk.links.last().filter(|_| is_read) {
        let bytes = directory.read(&directory.segment(link.first))?;
        let rest = bytes.get(link.end..).unwrap_or_default();
        if !rest.is_empty() {
            aside.push(directory.save_aside(listing, link.first, link.end, rest)?);
        }
    }
    let behind = |first: &u64| *first > broken.first || (*first == broken.first && !is_read);
    let later: Vec<u64> = (listing.segments.iter().copied()).filter(behind).collect();
    for first in later.iter().rev() {
        let path = directory.segment(*first);
        aside.push(directory.set_aside(listing, &path)?);
    }
    listing.segments.retain(|first| !later.contains(first));
    Ok(())
}

/// Takes files of older generations that are damaged out of the history's way.
fn set_history_aside(
    directory: &Directory,
    listing: &mut Listing,
    start: u64,
    known: &[u64],
    aside: &mut Vec<PathBuf>,
) -> Result<(), StateError> {
    let older = |generation: &u64| *generation < start;
    let segments: Vec<u64> = (listing.segments.iter().copied()).filter(older).collect();
    for first in segments {
        let until = listing.segment_after(first);
        let is_damaged = match directory.read_segment(first, until) {
            Ok(scan) => matches!(
                shortfall(directory, first, &scan, until),
                Some(StateError::Damaged { .. })
            ),
            Err(error) if error.is_content() => true,
            Err(error) => return Err(error),
        };
        if is_damaged {
            let path = directory.segment(first);
            aside.push(directory.set_aside(listing, &path)?);
        }
    }
    let checkpoints: Vec<u64> = (listing.checkpoints.iter().copied())
        .filter(|generation| !known.contains(generation))
        .collect();
    for generation in checkpoints {
        match directory.read_checkpoint(generation) {
            Ok(_) => {}
            Err(error) if error.is_content() => {
                let path = directory.checkpoint(generation);
                aside.push(directory.set_aside(listing, &path)?);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
