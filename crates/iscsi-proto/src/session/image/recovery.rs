//! What a session that recovers has besides, at rest.

use core::time::Duration;

use iscsi_wire::Ttt;

use super::ImageError;
use super::codec::{Reader, Writer};
use crate::session::MAX_CONNECTIONS;
use crate::session::recovery::{MAX_R2TS_KEPT, Recovery, SentR2t, TaskRecovery};

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
        self.count(recovery.r2ts.len());
        for r2t in &recovery.r2ts {
            self.u32(r2t.r2t_sn);
            self.u32(r2t.ttt.0);
            self.u32(r2t.offset);
            self.u32(r2t.bytes);
        }
        self.flag(recovery.had_burst);
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
        for _ in 0..self.count(MAX_R2TS_KEPT)? {
            recovery.r2ts.push(SentR2t {
                r2t_sn: self.u32()?,
                ttt: Ttt(self.u32()?),
                offset: self.u32()?,
                bytes: self.u32()?,
            });
        }
        recovery.had_burst = self.flag()?;
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
