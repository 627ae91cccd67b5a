//! Which files make up a generation: a checkpoint, and the unbroken chain of records behind it. Reads only.
//!
//! A segment's records count up to the first generation of the segment after it; what stands beyond is superseded. So the
//! remains of an append that failed just before a new segment was begun are never taken for that segment's records.

use super::Record;
use super::directory::{Directory, Listing};
use super::error::{Damage, StateError};
use super::format::{Scan, Tail};

/// What [`walk`] read.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) records: Vec<Record>,
    /// The segments that were read, oldest first; with `broken` the last of them may be the broken one.
    pub(super) links: Vec<Link>,
    /// Length of the unfinished append behind the last record.
    pub(super) cut_bytes: usize,
    /// Where the chain ends before its time.
    pub(super) broken: Option<Broken>,
}

/// One segment of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) first: u64,
    pub(super) origin: bool,
    /// Where its last whole record ends.
    pub(super) end: usize,
}

/// A break in the chain. Everything before it is whole.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) error: StateError,
    /// The segment at fault.
    pub(super) first: u64,
}

/// Reads the records from generation `start`, with which a segment begins, up to but not including `end` or to the last.
///
/// # Errors
/// A file cannot be read, or is of another version. Damage is told in `broken`.
pub(super) fn walk(
    directory: &Directory,
    listing: &Listing,
    start: u64,
    end: Option<u64>,
) -> Result<Walk, StateError> {
    let mut walk = Walk::default();
    let is_wanted = |first: &u64| *first >= start && end.is_none_or(|end| *first < end);
    let segments: Vec<u64> = (listing.segments.iter().copied())
        .filter(is_wanted)
        .collect();
    if segments.first() != Some(&start) && end != Some(start) {
        walk.broken = Some(Broken {
            error: missing(directory, start, start),
            first: start,
        });
        return Ok(walk);
    }
    for (index, first) in segments.iter().copied().enumerate() {
        let until = segments.get(index + 1).copied().or(end);
        let scan = match directory.read_segment(first, until) {
            Ok(scan) => scan,
            Err(error) if error.is_content() => {
                walk.broken = Some(Broken { error, first });
                return Ok(walk);
            }
            Err(error) => return Err(error),
        };
        walk.links.push(Link {
            first,
            origin: scan.header.origin,
            end: scan.end,
        });
        let error = shortfall(directory, first, &scan, until);
        if let (Tail::Torn(bytes), None) = (scan.tail, &error) {
            walk.cut_bytes = bytes;
        }
        walk.records.extend(scan.records);
        if let Some(error) = error {
            walk.broken = Some(Broken { error, first });
            return Ok(walk);
        }
    }
    Ok(walk)
}

/// Why the segment does not reach up to generation `until`, or holds more than a torn tail where it is the last.
pub(super) fn shortfall(
    directory: &Directory,
    first: u64,
    scan: &Scan,
    until: Option<u64>,
) -> Option<StateError> {
    let damaged = |damage| StateError::Damaged {
        path: directory.segment(first),
        offset: scan.end as u64,
        damage,
    };
    match (scan.tail, until) {
        (_, Some(until)) if scan.next() == until => None,
        (Tail::Clean | Tail::Torn(_), None) => None,
        (Tail::Damaged(damage), _) => Some(damaged(damage)),
        // An append that is not finished cannot have a later segment behind it.
        (Tail::Torn(_), Some(_)) => Some(damaged(Damage::Record)),
        (Tail::Clean, Some(_)) => Some(missing(directory, first, scan.next())),
    }
}

fn missing(directory: &Directory, first: u64, generation: u64) -> StateError {
    StateError::Missing {
        path: directory.segment(first),
        generation,
    }
}
