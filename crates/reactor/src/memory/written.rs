//! Which pages of a mapping have been written since they were last given back: a bit each.
//!
//! A bit is set after the bytes are there, and cleared before the page is given back. So a page without its bit reads as
//! zero, but for what a write that has not ended yet has put there.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::mapping::Mapping;

/// What a bit stands for, in bytes.
pub(super) const PAGE_BYTES: usize = 4096;

const WORD_BITS: usize = u64::BITS as usize;
const WORD_BYTES: usize = size_of::<u64>();

/// The bits of one mapping. They take memory as they are set.
pub(super) struct Written {
    words: Mapping,
}

impl Written {
    /// For a mapping of `len` bytes, none of which have been written.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let words = len.div_ceil(PAGE_BYTES).div_ceil(WORD_BITS).max(1);
        Ok(Self {
            words: Mapping::anonymous(words * WORD_BYTES)?,
        })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        let at = self.words.at(index * WORD_BYTES);
        assert!(
            (index + 1) * WORD_BYTES <= self.words.len(),
            "within the mapping"
        );
        // SAFETY: the word lies in this live mapping, which starts at a page, so it is aligned; it is used in no other way
        // than as an atomic.
        unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }
    }

    /// Bytes have been written.
    pub(super) fn mark(&self, start: usize, len: usize) {
        if len == 0 {
            return;
        }
        let pages = start / PAGE_BYTES..(start + len).div_ceil(PAGE_BYTES);
        each_word(pages, |index, mask| {
            let word = self.word(index);
            // Most writes find their bits set: the word stays in the caches of all who look.
            if word.load(Ordering::Relaxed) & mask != mask {
                word.fetch_or(mask, Ordering::AcqRel);
            }
        });
    }

    /// The whole pages of this range are about to be given back.
    pub(super) fn clear(&self, start: usize, len: usize) {
        let pages = start.div_ceil(PAGE_BYTES)..(start + len) / PAGE_BYTES;
        each_word(pages, |index, mask| {
            let word = self.word(index);
            if word.load(Ordering::Relaxed) & mask != 0 {
                word.fetch_and(!mask, Ordering::AcqRel);
            }
        });
    }

    /// Whether the page at `page` is written, and how many pages from there on are the same; no more than `most` are
    /// looked at.
    pub(super) fn run(&self, page: usize, most: usize) -> (bool, usize) {
        let bits =
            |page: usize| self.word(page / WORD_BITS).load(Ordering::Acquire) >> (page % WORD_BITS);
        let written = bits(page) & 1 != 0;
        let mut at = page;
        let end = page.saturating_add(most);
        while at < end {
            let other = if written { !bits(at) } else { bits(at) };
            let here = WORD_BITS - at % WORD_BITS;
            let same = (other.trailing_zeros() as usize).min(here);
            at += same;
            if same < here {
                break;
            }
        }
        (written, at.min(end) - page)
    }
}

/// Each word that has bits of these pages, with those bits.
fn each_word(pages: Range<usize>, mut each: impl FnMut(usize, u64)) {
    let mut page = pages.start;
    while page < pages.end {
        let index = page / WORD_BITS;
        let end = pages.end.min((index + 1) * WORD_BITS);
        let count = end - page;
        let ones = u64::MAX >> (WORD_BITS - count);
        each(index, ones << (page % WORD_BITS));
        page = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runs of so many pages.
    fn runs(written: &Written, pages: usize) -> Vec<(bool, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < pages {
            let (is_written, count) = written.run(at, pages - at);
            assert!(count > 0);
            found.push((is_written, count));
            at += count;
        }
        found
    }

    #[test]
    fn marks_and_clears_show_as_runs() {
        let written = Written::new(300 * PAGE_BYTES).unwrap();
        assert_eq!(runs(&written, 300), [(false, 300)]);
        written.mark(63 * PAGE_BYTES + 4095, 2);
        assert_eq!(runs(&written, 300), [(false, 63), (true, 2), (false, 235)]);
        written.mark(0, 300 * PAGE_BYTES);
        assert_eq!(runs(&written, 300), [(true, 300)]);
        // Of these two pages neither is given back whole.
        written.clear(PAGE_BYTES + 1, 2 * PAGE_BYTES - 2);
        assert_eq!(runs(&written, 300), [(true, 300)]);
        written.clear(PAGE_BYTES - 1, 130 * PAGE_BYTES + 1);
        assert_eq!(runs(&written, 300), [(true, 1), (false, 130), (true, 169)]);
        written.mark(5, 0);
        assert_eq!(written.run(1, 10), (false, 10));
    }
}
