//! What is remembered of the third-party copies of one nexus, for RECEIVE COPY STATUS and its kin.
//!
//! SPC-5 r22 "Third-party copy command list identifiers": a list identifier is the nexus' own. What ended is kept until it has been
//! told, until the identifier is used again, or until more have ended than are kept.

use super::{MAX_RECORDS, TOKEN_BYTES};
use crate::lu::TaskKey;
use crate::sense::{Refusal, Sense};

/// A copy that has a list identifier.
#[derive(Clone, Debug)]
pub(crate) struct CopyRecord {
    pub(crate) list_identifier: u32,
    /// The task that does it.
    pub(crate) task: TaskKey,
    /// Of the command that began it.
    pub(crate) service_action: u8,
    pub(crate) state: CopyState,
    /// Segments that were processed to their end.
    pub(crate) segments: u16,
    /// Bytes that were copied, or that the token is of.
    pub(crate) bytes: u64,
    /// The token that it made.
    pub(crate) token: Option<Box<[u8; TOKEN_BYTES]>>,
}

impl CopyRecord {
    /// Of a copy that begins.
    pub(crate) fn new(list_identifier: u32, task: TaskKey, service_action: u8) -> Self {
        Self {
            list_identifier,
            task,
            service_action,
            state: CopyState::InProgress,
            segments: 0,
            bytes: 0,
            token: None,
        }
    }
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyState {
    InProgress,
    Completed,
    /// As far as the token had data.
    CompletedShort,
    /// With the sense data of the command, where it had some.
    Failed(Option<Sense>),
    /// Its task is gone without a status.
    Aborted,
}

/// The copies of one nexus that are under way, or have ended and were not told.
#[derive(Clone, Debug, Default)]
pub(crate) struct CopyRecords {
    records: Vec<CopyRecord>,
}

impl CopyRecords {
    /// Remembers a copy that begins. `is_there` says whether a task is still in the task set.
    pub(crate) fn begin(
        &mut self,
        record: CopyRecord,
        is_there: impl Fn(TaskKey) -> bool,
    ) -> Result<(), Refusal> {
        let runs =
            |record: &CopyRecord| record.state == CopyState::InProgress && is_there(record.task);
        // SPC-5 "LIST IDENTIFIER field": one that is in use is refused.
        let same = |other: &CopyRecord| other.list_identifier == record.list_identifier;
        if self.records.iter().any(|other| same(other) && runs(other)) {
            return Err(Sense::OPERATION_IN_PROGRESS.into());
        }
        self.records.retain(|other| !same(other));
        if self.records.len() >= usize::from(MAX_RECORDS) {
            let ended = self.records.iter().position(|record| !runs(record));
            let Some(oldest) = ended else {
                return Err(Sense::INSUFFICIENT_RESOURCES.into());
            };
            self.records.remove(oldest);
        }
        self.records.push(record);
        Ok(())
    }

    /// The record of a copy that is under way.
    pub(crate) fn of_task(&mut self, task: TaskKey) -> Option<&mut CopyRecord> {
        self.records
            .iter_mut()
            .find(|record| record.task == task && record.state == CopyState::InProgress)
    }

    /// What is known of the copy with this identifier, as it is to be told.
    pub(crate) fn find(
        &self,
        list_identifier: u32,
        is_there: impl Fn(TaskKey) -> bool,
    ) -> Option<CopyRecord> {
        let mut found = self
            .records
            .iter()
            .find(|record| record.list_identifier == list_identifier)?
            .clone();
        if found.state == CopyState::InProgress && !is_there(found.task) {
            found.state = CopyState::Aborted;
        }
        Some(found)
    }

    /// It has been told: what has ended is forgotten.
    pub(crate) fn told(&mut self, list_identifier: u32) {
        self.records
            .retain(|record| record.list_identifier != list_identifier);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(list_identifier: u32) -> CopyRecord {
        CopyRecord::new(list_identifier, TaskKey(u64::from(list_identifier)), 0)
    }

    #[test]
    fn begin_with_an_identifier_in_use_is_refused_until_its_task_is_gone() {
        let mut records = CopyRecords::default();
        records.begin(record(1), |_| true).unwrap();
        assert_eq!(
            records.begin(record(1), |_| true),
            Err(Sense::OPERATION_IN_PROGRESS.into())
        );
        let gone = records.find(1, |_| false).unwrap();
        assert_eq!(gone.state, CopyState::Aborted);
        records.begin(record(1), |_| false).unwrap();
        let there = records.find(1, |_| true).unwrap();
        assert_eq!(there.state, CopyState::InProgress);
    }

    #[test]
    fn begin_beyond_the_limit_forgets_what_has_ended_and_refuses_when_nothing_has() {
        let mut records = CopyRecords::default();
        for one in 0..u32::from(MAX_RECORDS) {
            records.begin(record(one), |_| true).unwrap();
        }
        assert_eq!(
            records.begin(record(100), |_| true),
            Err(Sense::INSUFFICIENT_RESOURCES.into())
        );
        records.of_task(TaskKey(3)).unwrap().state = CopyState::Completed;
        records.begin(record(100), |_| true).unwrap();
        assert!(records.find(3, |_| true).is_none());
        assert!(records.find(4, |_| true).is_some());
        records.told(4);
        assert!(records.find(4, |_| true).is_none());
    }
}
