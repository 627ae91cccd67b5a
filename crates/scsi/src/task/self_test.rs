//! Self-tests in the foreground. SPC-5 r22 "SEND DIAGNOSTIC command", "Self-test modes".
//!
//! The short one reads the first block, the one in the middle and the last; the extended one reads all. Then the store has
//! to make durable what it holds.

use std::time::Duration;

use block::{IoError, Lba};

use super::state::{Ending, Next};
use super::transfer::Cursor;

use crate::io_error::refusal_of;
use crate::lu::{SelfTestCode, SelfTestResult};
use crate::sense::{Refusal, Sense, SenseKey};
use crate::snapshot::LuSnapshot;
use crate::step::{Io, ReadInto};

/// A self-test.
#[derive(Clone, Copy, Debug)]
pub(super) struct SelfTest {
    code: SelfTestCode,
    /// What is being read.
    at: Cursor,
    /// Single blocks still to be read after that, the next one last.
    then: [Option<Lba>; 2],
    flushed: bool,
}

impl SelfTest {
    pub(super) fn new(code: SelfTestCode, lu: &LuSnapshot) -> Self {
        let geometry = lu.geometry();
        let (blocks, then) = match code {
            SelfTestCode::ForegroundShort => {
                let middle = Lba(geometry.capacity_blocks / 2);
                (1, [Some(geometry.last_lba()), Some(middle)])
            }
            SelfTestCode::ForegroundExtended => (geometry.capacity_blocks, [None; 2]),
        };
        Self {
            code,
            at: Cursor::new(Lba(0), blocks, geometry),
            then,
            flushed: false,
        }
    }

    pub(super) fn next(&self) -> Next {
        if !self.at.is_at_end() {
            Next::Io(self.at.read(ReadInto::Scratch))
        } else if !self.flushed {
            Next::Io(Io::Flush)
        } else {
            Next::Done(Ending::default())
        }
    }

    pub(super) fn handle_io(&mut self) {
        if self.at.is_at_end() {
            self.flushed = true;
            return;
        }
        self.at.advance();
        if self.at.is_at_end()
            && let Some(lba) = self.then.iter_mut().rev().find_map(Option::take)
        {
            self.at.restart(lba, 1);
        }
    }

    /// The end of the command whose I/O failed; a medium or a unit that is at fault has failed the test.
    pub(super) fn fail(&self, error: &IoError, lu: &LuSnapshot, now: Duration) -> Refusal {
        match refusal_of(error) {
            Refusal::Check(sense)
                if matches!(sense.key, SenseKey::MediumError | SenseKey::HardwareError) =>
            {
                let failure = Some((error.lba.unwrap_or(Lba(self.at.lba)), sense));
                self.record(failure, lu, now);
                Sense::LOGICAL_UNIT_FAILED_SELF_TEST.into()
            }
            other => other,
        }
    }

    /// Notes how it ended, for the Self-Test Results log page.
    pub(super) fn record(&self, failure: Option<(Lba, Sense)>, lu: &LuSnapshot, now: Duration) {
        lu.statistics.record_self_test(SelfTestResult {
            code: self.code,
            at: now,
            failure,
        });
    }
}
