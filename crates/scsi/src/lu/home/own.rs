//! What the logical unit does by itself: a sanitize operation, one I/O at a time.
//!
//! The home says what is to be done next and is told how it went; who carries it out holds no lane of the home's, so that
//! whatever else the LU is asked for goes on beside it. A fence waits for the I/O under way, as it does for those of tasks.
//!
//! SBC-4 r22 "Performing a sanitize operation", "Completing a sanitize operation".

use std::mem;

use block::IoError;

use super::LuHome;
use super::lane::{Ack, LaneKind, Request, Requester};
use crate::lu::ShardId;
use crate::lu::fence::{Flight, IoKind};
use crate::lu::message::{HomeAction, Outgoing};
use crate::sanitize::{OwnIo, Sanitize, SanitizeWork};
use crate::snapshot::LuSnapshot;
use crate::step::Io;
use crate::task::extent;

/// By this name a fence waits for the home's own I/O. No worker has so many siblings.
pub(super) const OWN: ShardId = ShardId(u16::MAX);

/// A sanitize operation under way.
#[derive(Debug)]
pub(super) struct OwnWork {
    work: SanitizeWork,
    /// Handed out, and not answered.
    in_store: Option<Io>,
    /// How it ended is on its way to everybody.
    is_over: bool,
    /// Whose command waits for that.
    waiter: Option<Requester>,
}

impl OwnWork {
    /// What a logical unit in this state has to do.
    pub(super) fn of(lu: &LuSnapshot) -> Option<Self> {
        match &lu.sanitize {
            Some(Sanitize::Running(order)) => Some(Self {
                work: SanitizeWork::new(order.clone()),
                in_store: None,
                is_over: false,
                waiter: None,
            }),
            _ => None,
        }
    }

    /// Its I/O in the store, as fences see it.
    pub(super) fn flight(&self) -> Option<Flight> {
        let (range, kind) = extent(self.in_store.as_ref()?);
        Some(Flight { range, kind })
    }
}

impl LuHome {
    /// Whether the logical unit has something to do by itself.
    #[must_use]
    pub fn has_own_work(&self) -> bool {
        self.own.as_ref().is_some_and(|own| !own.is_over)
    }

    /// Whether [`own_io`](Self::own_io) has something to tell now.
    #[must_use]
    pub fn own_io_is_due(&self) -> bool {
        let idle = self
            .own
            .as_ref()
            .is_some_and(|own| !own.is_over && own.in_store.is_none());
        idle && !self.is_own_io_fenced()
    }

    /// The next I/O of what the logical unit does by itself: [`own_io_done`](Self::own_io_done) is to be called when it has
    /// left the store. `None`: there is one under way already, a fence holds it back, or there is nothing to do.
    pub fn own_io(&mut self, out: &mut Vec<Outgoing>) -> Option<OwnIo> {
        if !self.own_io_is_due() {
            return None;
        }
        let own = self.own.as_mut()?;
        let next = own.work.next(&self.snapshot);
        match &next {
            Some(next) => own.in_store = Some(next.io),
            None => self.end_own_work(false, out),
        }
        next
    }

    /// What [`own_io`](Self::own_io) told of last has not been begun, and is not going to be.
    pub fn own_io_withdrawn(&mut self, out: &mut Vec<Outgoing>) {
        if let Some(own) = &mut self.own {
            own.in_store = None;
        }
        self.own_io_left(out);
    }

    /// Whether an action holds it back: all that it does changes the medium.
    fn is_own_io_fenced(&self) -> bool {
        let flight = Flight {
            range: None,
            kind: IoKind::Write,
        };
        let fences = self
            .lanes()
            .into_iter()
            .filter_map(|lane| lane.current.as_ref()?.fence.as_ref());
        fences
            .into_iter()
            .any(|fence| fence.scope.concerns_io(&flight))
    }

    /// The I/O that [`own_io`](Self::own_io) told of last has left the store.
    pub fn own_io_done(&mut self, result: Result<(), IoError>, out: &mut Vec<Outgoing>) {
        let Some(own) = &mut self.own else { return };
        let Some(io) = own.in_store.take() else {
            return;
        };
        if result.is_ok() {
            own.work.done(&io, &self.snapshot);
            let progress = own.work.progress(&self.snapshot);
            self.snapshot.statistics.note_sanitize_progress(progress);
        }
        self.own_io_left(out);
        if result.is_err() {
            self.end_own_work(true, out);
        }
    }

    /// SBC-4 "Completing a sanitize operation".
    fn end_own_work(&mut self, failed: bool, out: &mut Vec<Outgoing>) {
        if let Some(own) = &mut self.own {
            own.is_over = true;
        }
        let request = Request {
            by: Requester::Nobody,
            nexus: None,
            name: None,
            action: HomeAction::SanitizeEnded { failed },
        };
        self.enqueue(request, out);
    }

    /// The snapshot has been replaced: work begins, or is over. Who waits for the end is answered by the action that tells of it.
    pub(super) fn look_at_own_work(&mut self, request: &mut Request) {
        match (&self.own, &self.snapshot.sanitize) {
            (Some(own), Some(Sanitize::Running(order))) if own.work.order() == order => {}
            (_, Some(Sanitize::Running(_))) => {
                self.own = OwnWork::of(&self.snapshot);
                self.snapshot.statistics.note_sanitize_progress(0);
                if let HomeAction::Sanitize(asked) = &request.action
                    && !asked.immediate
                    && let Some(own) = &mut self.own
                {
                    own.waiter = Some(mem::replace(&mut request.by, Requester::Nobody));
                }
            }
            (Some(_), _) => {
                if let Some(waiter) = self.own.take().and_then(|own| own.waiter) {
                    request.by = waiter;
                }
            }
            (None, _) => {}
        }
    }

    /// The command that waited for the end has left.
    pub(super) fn own_waiter_left(&mut self, gone: impl Fn(&Requester) -> bool) {
        if let Some(own) = &mut self.own
            && own.waiter.as_ref().is_some_and(gone)
        {
            own.waiter = None;
        }
    }

    /// Fences that waited for the I/O wait no more.
    fn own_io_left(&mut self, out: &mut Vec<Outgoing>) {
        for kind in LaneKind::ALL {
            let Some(running) = &mut self.lane(kind).current else {
                continue;
            };
            if running.phase.awaits(Ack::Fence) {
                running.phase.heard(OWN);
                self.advance(kind, out);
            }
        }
    }
}
