//! What a session that recovers has besides, at rest.

use core::time::Duration;

use iscsi_wire::Ttt;

use super::ImageError;
use super::codec::{Reader, Writer};
use crate::session::MAX_CONNECTIONS;
use crate::session::recovery::{Recovery, TaskRecovery};
use crate::session::task::MAX_R2TS;

impl Writer {
    pub(super) fn recovery(&mut self, recovery: &Recovery) {
        self.duration(recovery.now);
        self.moment(recovery.look_at);
        self.moment(recovery.gap_since);
        self.flag(recovery.unheard);
        let progress = recovery.progress();
        self.count(progress.len());
        progress.into_iter().for_each(|at| self.duration(at));
    }

    pub(super) fn task_recovery(&mut self, recovery: &TaskRecovery) {
        self.count(recovery.r2t_sns.len());
        for (ttt, r2t_sn) in &recovery.r2t_sns {
            self.u32(ttt.0);
            self.u32(*r2t_sn);
        }
        self.flag(recovery.gave_up_burst);
        self.u8(recovery.fruitless);
        self.duration(recovery.progress);
    }

    fn moment(&mut self, at: Option<Duration>) {
        self.flag(at.is_some());
        self.duration(at.unwrap_or_default());
    }
}

impl Reader<'_> {
    pub(super) fn recovery(&mut self, recovery: &mut Recovery) -> Result<(), ImageError> {
        recovery.now = self.duration()?;
        recovery.look_at = self.moment()?;
        recovery.gap_since = self.moment()?;
        recovery.unheard = self.flag()?;
        let connections = self.count(usize::from(MAX_CONNECTIONS))?;
        let progress = (0..connections).map(|_| self.duration());
        recovery.restore_progress(progress.collect::<Result<_, _>>()?);
        Ok(())
    }

    pub(super) fn task_recovery(&mut self) -> Result<TaskRecovery, ImageError> {
        let mut recovery = TaskRecovery::new(Duration::ZERO);
        for _ in 0..self.count(MAX_R2TS)? {
            recovery.r2t_sns.push((Ttt(self.u32()?), self.u32()?));
        }
        recovery.gave_up_burst = self.flag()?;
        recovery.fruitless = self.u8()?;
        recovery.progress = self.duration()?;
        Ok(recovery)
    }

    fn moment(&mut self) -> Result<Option<Duration>, ImageError> {
        let some = self.flag()?;
        let at = self.duration()?;
        Ok(some.then_some(at))
    }
}
