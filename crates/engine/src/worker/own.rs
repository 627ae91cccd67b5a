//! What logical units do by themselves, whose homes are here: a sanitize operation (`scsi::Sanitize`).
//!
//! Each has one request at a time in its backstore and one buffer of this worker's memory, and one piece in a turn: whoever
//! else is served here waits no longer for it than for a neighbour's command. A unit that is let go of, and a worker that ends,
//! begin no further piece.

use std::time::Duration;

use backstores::{IoDone, IoRequest};
use block::IoErrorKind;
use reactor::Memory;
use scsi::{Io, OwnIo};

use super::cx::{Cx, Kind, Owner, StoreOp, token};
use super::io::store_io;
use super::unit::Units;
use crate::shared::UnitIndex;

/// How long a backstore that has no room for a request is left in peace.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Units that have something to do by themselves.
#[derive(Default)]
pub(super) struct OwnWork {
    units: Vec<UnitIndex>,
    /// One of them may go on, as far as is known.
    may_go_on: bool,
    /// What could not be begun for want of memory.
    starving: Vec<(UnitIndex, OwnIo)>,
}

impl OwnWork {
    /// A home here has something to do, or may do more of it than before.
    pub(super) fn note(&mut self, index: UnitIndex) {
        if !self.units.contains(&index) {
            self.units.push(index);
        }
        self.may_go_on = true;
    }
}

impl Units {
    pub(super) fn have_own_work(&self) -> bool {
        !self.own.units.is_empty()
    }

    /// Whether the next turn is to come at once for it.
    pub(super) fn may_go_on(&self) -> bool {
        self.own.may_go_on
    }

    /// Makes a unit's home, which may have something to do.
    pub(super) fn wake_home(&mut self, index: UnitIndex, cx: &mut Cx) {
        self.at_home(index, cx, |_, _| {});
    }

    /// Begins the next piece of each.
    pub(super) fn drive_own_work(&mut self, cx: &mut Cx) {
        self.own.may_go_on = false;
        for (index, own) in std::mem::take(&mut self.own.starving) {
            self.begin_own_io(index, own, cx);
        }
        for index in std::mem::take(&mut self.own.units) {
            if !self.may_work(index, cx) {
                continue;
            }
            self.own.units.push(index);
            let mut next = None;
            let own = &mut next;
            self.at_home(index, cx, |home, out| *own = home.home.own_io(out));
            if let Some(own) = next {
                self.begin_own_io(index, own, cx);
            }
        }
    }

    /// Whether the unit has something to do by itself, and is here and fit for it.
    fn may_work(&mut self, index: UnitIndex, cx: &mut Cx) -> bool {
        let goes_on = self
            .found_home(index)
            .is_some_and(|home| home.home.has_own_work() && !home.offline);
        // A shard that has been let go of does not come back.
        goes_on
            && !self.is_retiring(index)
            && self.ensure(index, cx).is_some_and(|unit| !unit.offline)
    }

    fn begin_own_io(&mut self, index: UnitIndex, own: OwnIo, cx: &mut Cx) {
        if !self.may_work(index, cx) {
            return self.at_home(index, cx, |home, out| home.home.own_io_withdrawn(out));
        }
        let Some(unit) = self.find(index) else { return };
        let memory = match memory(&own, unit.shard.snapshot().geometry(), cx) {
            Ok(memory) => memory,
            Err(NoMemory) => return self.own.starving.push((index, own)),
        };
        let request = request(index, &own.io, memory, cx);
        unit.store.submit(request, &mut cx.port(index));
        if let Some(home) = self.found_home(index) {
            home.in_store = Some(own.io);
        }
    }

    /// A backstore is done with a request that is a unit's own.
    pub(super) fn own_io_done(&mut self, index: UnitIndex, done: IoDone, cx: &mut Cx) {
        let Some(home) = self.found_home(index) else {
            return;
        };
        if let (Err(error), Some(io)) = (&done.result, &home.in_store)
            && error.kind == IoErrorKind::Busy
        {
            let again = request(index, io, done.memory, cx);
            let at = cx.now.saturating_add(BUSY_PAUSE);
            return cx.deferred.push((at, index, again));
        }
        home.in_store = None;
        if let Err(error) = &done.result {
            tracing::warn!(unit = index.0, %error, "a disk cannot be sanitized");
        }
        self.at_home(index, cx, |home, out| {
            home.home.own_io_done(done.result, out)
        });
    }

    /// Whether the backstore works on something that is the unit's own.
    pub(super) fn is_at_own_work(&mut self, index: UnitIndex) -> bool {
        self.found_home(index)
            .is_some_and(|home| home.in_store.is_some())
    }
}

fn request(unit: UnitIndex, io: &Io, memory: Option<Memory>, cx: &mut Cx) -> IoRequest {
    let op = cx.ops.insert(StoreOp {
        owner: Owner::Unit,
        unit,
    });
    IoRequest {
        token: token(Kind::Store, op),
        io: store_io(io),
        memory,
        passes: 0,
    }
}

/// There is none now.
struct NoMemory;

/// Memory with what is to be written, where that takes some.
fn memory(own: &OwnIo, geometry: block::Geometry, cx: &Cx) -> Result<Option<Memory>, NoMemory> {
    let (Some(pattern), Io::Write { blocks, .. }) = (&own.pattern, own.io) else {
        return Ok(None);
    };
    let bytes = blocks.saturating_mul(u64::from(geometry.block_size_bytes));
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut buffer = cx.lend(bytes, 0).ok_or(NoMemory)?;
    scsi::fill_pattern(pattern, &mut buffer);
    Ok(Some(Memory::Owned(buffer)))
}
