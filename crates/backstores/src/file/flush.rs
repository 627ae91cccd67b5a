//! Flushes of one worker: one at a time, shared by all who ask meanwhile.

use std::io;
use std::sync::atomic::Ordering;

use block::{IoError, IoErrorKind, IoOpKind};
use reactor::{Op, Token};
use rustix::io::Errno;

use super::local::{LocalFile, Step, Task, end};
use super::sync::SyncNumber;
use crate::api::IoPort;
use crate::check::io_error;

/// Who waits for which flush. One that runs already may have begun before the writes that a new one must cover, so whoever
/// comes meanwhile shares the next.
#[derive(Default)]
pub(super) struct Flushing {
    /// Who waits for the flush in the driver; the first one's token names the operation. Empty: none.
    running: Vec<Token>,
    number: Option<SyncNumber>,
    /// Who came since.
    next: Vec<Token>,
}

impl LocalFile {
    pub(super) fn join_flush(&mut self, token: Token, task: Task, port: &mut dyn IoPort) {
        let step = Step::Flush;
        self.in_flight.insert(token, Task { step, ..task });
        self.flush.next.push(token);
        if self.flush.running.is_empty() {
            self.start_flush(port);
        }
    }

    /// Starts the next flush, where somebody wants one.
    fn start_flush(&mut self, port: &mut dyn IoPort) {
        std::mem::swap(&mut self.flush.running, &mut self.flush.next);
        self.push_flush(port);
    }

    fn push_flush(&mut self, port: &mut dyn IoPort) {
        if let Some(first) = self.flush.running.first() {
            self.flush.number = Some(self.sync.start());
            port.push(Op::Flush { file: self.id }, *first);
        }
    }

    pub(super) fn flush_done(
        &mut self,
        token: Token,
        task: Task,
        result: io::Result<()>,
        port: &mut dyn IoPort,
    ) {
        if let Some(number) = self.flush.number.take() {
            self.sync.end(number);
        }
        if let Err(error) = &result
            && io_error(error, IoOpKind::Flush, None).kind == IoErrorKind::Aborted
        {
            // Somebody gave up the request that named the operation. The others still want their flush.
            self.flush.running.retain(|member| *member != token);
            end(port, token, Err(task.os_error(error)), None);
            if self.flush.running.is_empty() {
                return self.start_flush(port);
            }
            return self.push_flush(port);
        }
        let verdict = result.map_err(|error| (self.failed(&error), error.raw_os_error()));
        let mut members = std::mem::take(&mut self.flush.running);
        for member in members.drain(..) {
            let task = match self.in_flight.remove(&member) {
                Some(task) => task,
                None if member == token => task,
                None => continue,
            };
            match verdict {
                Ok(()) => self.sync.hold(member, task, None),
                Err((kind, os)) => {
                    let error = task.error(kind);
                    end(port, member, Err(IoError { os, ..error }), None);
                }
            }
        }
        // The room is kept for the next one.
        self.flush.running = members;
        self.start_flush(port);
    }

    /// What the failure of a flush is for everybody who waited for it.
    fn failed(&self, error: &io::Error) -> IoErrorKind {
        if Errno::from_io_error(error) == Some(Errno::AGAIN) {
            // No thread was free to flush with: nothing has been tried, and nothing is lost.
            return IoErrorKind::Busy;
        }
        // The kernel may have dropped the dirty pages, and would call the next flush a success.
        let state = &self.store.state;
        state.flush_failed.store(true, Ordering::Release);
        IoErrorKind::FlushFailed
    }
}
