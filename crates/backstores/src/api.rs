//! The traits between the engine and a store, and the values that cross.

use std::sync::Arc;
use std::time::Duration;

use block::{Geometry, IoError, IoOpKind, Lba, StoreCaps, Usage};
use reactor::{Driver, Memory, Op, OpResult, Pin, Token};

use crate::change::{ReadOnlyError, ResizeError};
use crate::identity::{Identity, IdentityOrigin};

/// A place where blocks are kept, as the whole process knows it.
///
/// It does no I/O itself: each worker that uses it has a [`LocalStore`], made by [`Backstore::attach`]. A store lives as
/// long as anybody holds it; its file stays locked until the last holder and the last operation have gone.
pub trait Backstore: Send + Sync {
    /// Its name, for messages: the path, or what the operator called it.
    fn name(&self) -> &str;

    /// What it is and can do now: `write_cache` follows [`Backstore::set_write_cache`], `read_only`
    /// [`Backstore::set_read_only`], and the geometry [`Backstore::resize`].
    fn caps(&self) -> StoreCaps;

    /// Who it is.
    fn identity(&self) -> &Identity;

    /// Makes this worker's part of the store. It belongs to the driver that it was attached to.
    fn attach(self: Arc<Self>, driver: &mut dyn Driver) -> Box<dyn LocalStore>;

    /// Whether an acknowledged write may stand in a volatile cache (`true`), or every write is durable before it
    /// completes. Holds for requests submitted from now on; the caller flushes when it switches off.
    fn set_write_cache(&self, on: bool);

    /// Makes the store larger: with `Some`, to so many bytes, sparse; with `None`, to what is found when it is looked at
    /// again, for a file or device that has grown from outside. Then the new geometry, which every worker's requests are
    /// checked against from now on; what is added reads as zeros where the store made it itself. The block size stays.
    /// Asked for the size it has, a store says so and changes nothing.
    ///
    /// A store is never made smaller, since what stands behind the new end would be lost: where it *is* found smaller, it
    /// takes no writes until [`Backstore::reset`], as after any other look that finds this, and keeps its geometry.
    ///
    /// May wait for the disk: not for a worker. Calls wait for each other.
    ///
    /// # Errors
    /// [`ResizeError`] says what is wrong and what to do. The geometry is as it was then.
    fn resize(&self, bytes: Option<u64>) -> Result<Geometry, ResizeError>;

    /// Whether requests that would change the store are refused. Holds for requests submitted from now on; a caller that
    /// wants what is under way to have ended waits for it. Flushes go on, for what was written before.
    ///
    /// # Errors
    /// Where the store was opened for reading only, it cannot be made writable.
    fn set_read_only(&self, on: bool) -> Result<(), ReadOnlyError>;

    /// What the store takes up, where that is less than all and can be known. May wait for the disk: not for a worker.
    fn usage(&self) -> Option<Usage> {
        None
    }

    /// The operator knows that a flush failed, or that the store shrank, and wants it back.
    fn reset(&self);

    /// How many filters that defer requests stand in this store; see [`IoRequest::passes`].
    fn deferring_filters(&self) -> u8 {
        0
    }
}

/// A store that was opened, and where its identity came from.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Backstore>,
    /// Where its identity came from.
    pub origin: IdentityOrigin,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("name", &self.store.name())
            .field("identity", self.store.identity())
            .field("origin", &self.origin)
            .finish()
    }
}

/// One worker's part of a store.
///
/// Every submitted request ends in exactly one [`IoPort::complete`], from within `submit` or from a later `complete`, unless
/// it was given to [`IoPort::defer`], which ends in a new `submit`.
pub trait LocalStore {
    /// Takes a request. At most one request with the same token may be outstanding.
    fn submit(&mut self, request: IoRequest, port: &mut dyn IoPort);

    /// Takes the driver's completion of an operation that this store pushed; the token is that of its request.
    fn complete(&mut self, token: Token, result: OpResult, port: &mut dyn IoPort);

    /// The store's own memory for these blocks, to send from or receive into. `None` where the store has none, the range
    /// is not inside it or not in one piece, it is longer than a pin can be, or the store must not be written. What has been received into a pin is written: it is not
    /// submitted as a write as well.
    fn pin(&mut self, lba: Lba, blocks: u64) -> Option<Pin> {
        let _ = (lba, blocks);
        None
    }

    /// Writes at once, where the store can without waiting for anything. `data` is the blocks' exactly; `durable` as in
    /// [`StoreIo::Write`]. False: nothing has been written, and the write is to be submitted.
    fn write_now(&mut self, lba: Lba, data: &[u8], durable: bool) -> bool {
        let _ = (lba, data, durable);
        false
    }

    /// Ends this worker's part. Operations still in the driver must have completed before.
    fn detach(self: Box<Self>, driver: &mut dyn Driver);
}

/// Work for a store. It owns its memory until [`IoDone`] brings that back.
#[derive(Debug)]
pub struct IoRequest {
    /// Chosen by the caller; operations and the completion carry it.
    pub token: Token,
    /// What to do.
    pub io: StoreIo,
    /// Where a read goes (a buffer, owned whole) or a write comes from; exactly as long as the blocks. `None` for the rest.
    pub memory: Option<Memory>,
    /// 0 for a new request. Filters that defer a request note here, one bit each, that it has passed them.
    pub passes: u8,
}

/// What a store can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreIo {
    /// Fill the memory with these blocks.
    Read {
        /// First block.
        lba: Lba,
        /// How many.
        blocks: u64,
    },
    /// Write the memory to these blocks.
    Write {
        /// First block.
        lba: Lba,
        /// How many.
        blocks: u64,
        /// Complete only when the blocks would survive a power cut.
        durable: bool,
    },
    /// Fill the memory with the protection information of these blocks, [`TUPLE_BYTES`](block::TUPLE_BYTES) for each,
    /// complemented. Only where [`StoreCaps::protection`] says that it is kept.
    ReadTuples {
        /// First block.
        lba: Lba,
        /// How many.
        blocks: u64,
    },
    /// Keep the memory as the protection information of these blocks, in the same form.
    WriteTuples {
        /// First block.
        lba: Lba,
        /// How many.
        blocks: u64,
        /// Complete only when it would survive a power cut.
        durable: bool,
    },
    /// Make every write that completed before this request was submitted durable.
    Flush,
    /// Give blocks back. Where the store cannot, nothing happens.
    Unmap {
        /// First block.
        lba: Lba,
        /// How many.
        blocks: u64,
    },
    /// Make blocks read as zeros.
    WriteZeroes {
        /// First block.
        lba: Lba,
        /// How many.
        blocks: u64,
        /// Whether the blocks may be given back for that.
        may_unmap: bool,
    },
    /// Tell which of these blocks the store keeps, from the first on, as [`MapRun`](block::MapRun)s in the memory: as many
    /// as fit, and not more than can be told without much ado. The memory comes back as long as what was told.
    Map {
        /// First block.
        lba: Lba,
        /// How many.
        blocks: u64,
    },
}

impl StoreIo {
    /// The kind, as errors name it.
    #[must_use]
    pub fn kind(&self) -> IoOpKind {
        match self {
            Self::Read { .. } | Self::ReadTuples { .. } => IoOpKind::Read,
            Self::Write { .. } | Self::WriteTuples { .. } => IoOpKind::Write,
            Self::Flush => IoOpKind::Flush,
            Self::Unmap { .. } => IoOpKind::Unmap,
            Self::WriteZeroes { .. } => IoOpKind::WriteZeroes,
            Self::Map { .. } => IoOpKind::Map,
        }
    }

    /// The blocks concerned: none in particular for a flush.
    #[must_use]
    pub fn range(&self) -> Option<(Lba, u64)> {
        match *self {
            Self::Read { lba, blocks }
            | Self::ReadTuples { lba, blocks }
            | Self::Write { lba, blocks, .. }
            | Self::WriteTuples { lba, blocks, .. }
            | Self::Unmap { lba, blocks }
            | Self::WriteZeroes { lba, blocks, .. }
            | Self::Map { lba, blocks } => Some((lba, blocks)),
            Self::Flush => None,
        }
    }
}

/// What a store may ask of its worker, for one call.
pub trait IoPort {
    /// Gives an operation to the driver. Its completion comes back through [`LocalStore::complete`].
    fn push(&mut self, op: Op, token: Token);

    /// Ends a request.
    fn complete(&mut self, done: IoDone);

    /// Submits the request again, to the outermost store, after the delay. For filters.
    fn defer(&mut self, delay: Duration, request: IoRequest);
}

/// The end of a request.
#[derive(Debug)]
pub struct IoDone {
    /// The request's.
    pub token: Token,
    /// How it went. After an error, a read's memory holds nothing that may be shown.
    pub result: Result<(), IoError>,
    /// The request's memory, handed back.
    pub memory: Option<Memory>,
}
