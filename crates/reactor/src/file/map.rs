//! Which parts of a file it keeps: `lseek` with SEEK_DATA and SEEK_HOLE. The file's position means nothing to anybody
//! else, since all reads and writes say where.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::StoreFile;

/// Hands over the runs of the range, at most `most`, each as [`crate::Op::Map`] says. What the file cannot tell is kept.
pub(super) fn runs(
    file: &StoreFile,
    offset: u64,
    bytes: u64,
    most: usize,
    mut run: impl FnMut(u64),
) -> io::Result<()> {
    let end = offset.saturating_add(bytes);
    let mut at = offset;
    for _ in 0..most {
        if at >= end {
            break;
        }
        let (kept, until) = run_at(file, at, end)?;
        run((until - at) << 1 | u64::from(kept));
        at = until;
    }
    Ok(())
}

/// The run that `at` is in, and where it ends: beyond `at`, and not beyond `end`.
fn run_at(file: &StoreFile, at: u64, end: u64) -> io::Result<(bool, u64)> {
    let next = match seek(file.as_fd(), SeekFrom::Data(at)) {
        Ok(data) if data > at => return Ok((false, data.min(end))),
        Ok(_) => seek(file.as_fd(), SeekFrom::Hole(at)),
        // No data up to the end of the file.
        Err(Errno::NXIO) => return Ok((false, end)),
        Err(error) => Err(error),
    };
    match next {
        Ok(hole) if hole > at => Ok((true, hole.min(end))),
        // A file that changes meanwhile may answer what makes no sense; one that has no such notion refuses.
        Ok(_) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NXIO) => Ok((true, end)),
        Err(error) => Err(error.into()),
    }
}
