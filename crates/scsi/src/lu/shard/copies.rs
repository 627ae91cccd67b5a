//! The third-party copies of the nexuses of this shard.

use super::{LuShard, NexusId, TaskKey};
use crate::copy::{CopyRecord, CopyState};
use crate::sense::Refusal;

impl LuShard {
    /// Remembers a copy that begins.
    pub(crate) fn begin_copy(&mut self, nexus: NexusId, record: CopyRecord) -> Result<(), Refusal> {
        let tasks = &self.tasks;
        match self.nexuses.get_mut(&nexus) {
            Some(nexus) => nexus.copies.begin(record, |task| tasks.get(task).is_some()),
            // It is on its way out: nobody will ask.
            None => Ok(()),
        }
    }

    /// The record of a copy that is under way.
    pub(crate) fn copy_of_task(
        &mut self,
        nexus: NexusId,
        task: TaskKey,
    ) -> Option<&mut CopyRecord> {
        self.nexuses.get_mut(&nexus)?.copies.of_task(task)
    }

    /// Notes how a copy has ended.
    pub(crate) fn end_copy(&mut self, nexus: NexusId, task: TaskKey, state: CopyState) {
        if let Some(record) = self.copy_of_task(nexus, task) {
            record.state = state;
        }
    }

    /// What is known of a copy of the nexus.
    pub(crate) fn copy(&self, nexus: NexusId, list_identifier: u32) -> Option<CopyRecord> {
        let nexus = self.nexuses.get(&nexus)?;
        let is_there = |task| self.tasks.get(task).is_some();
        nexus.copies.find(list_identifier, is_there)
    }
}
