//! A disk in memory: sparse, shared by all workers, gone with the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use block::{BlockCount, Geometry, IoError, IoErrorKind, Lba, MapRun, StoreCaps, Usage};
use reactor::{Driver, LocalShared, Memory, OpResult, OutOfRange, Pin, SharedMemory, Token};

use crate::api::{Backstore, IoDone, IoPort, IoRequest, LocalStore, Opened, StoreIo};
use crate::change::{ReadOnlyError, ResizeError, ResizeProblem};
use crate::check::{ByteRange, put_runs, range_of};
use crate::error::{OpenError, OpenProblem};
use crate::identity::{Identity, IdentityHints};
use crate::null::of_memory;
use crate::size::{ReadOnly, Size};

/// A RAM disk. Its pages are taken when first written, and given back by unmapping.
#[derive(Debug)]
pub struct RamStore {
    name: String,
    size: Size,
    identity: Identity,
    memory: Arc<SharedMemory>,
    write_cache: AtomicBool,
    read_only: ReadOnly,
}

impl RamStore {
    /// A RAM disk of zeros.
    ///
    /// # Errors
    /// What the operating system answers when it cannot reserve the addresses.
    pub fn new(name: String, geometry: Geometry, identity: Identity) -> io::Result<Self> {
        let memory = Arc::new(SharedMemory::new(geometry.size_bytes())?);
        Ok(Self {
            name,
            size: Size::new(geometry),
            identity,
            memory,
            write_cache: AtomicBool::new(false),
            read_only: ReadOnly::default(),
        })
    }

    fn grow(&self, bytes: u64) -> Result<Geometry, ResizeProblem> {
        let resizing = self.size.lock();
        let wanted = resizing.check(bytes)?;
        let grown = self.memory.grow(bytes);
        grown.map_err(|_| ResizeProblem::NoMemory)?;
        Ok(resizing.set(wanted))
    }
}

/// A RAM disk of `bytes`, with the serial given or a new identity.
///
/// # Errors
/// A size, block size or serial that cannot be, and memory that cannot be reserved.
pub fn open_ram(
    name: &str,
    bytes: u64,
    block_size_bytes: u32,
    hints: &IdentityHints,
) -> Result<Opened, OpenError> {
    let failed = |problem| OpenError::new(name, problem);
    let (geometry, identity, origin) = of_memory(bytes, block_size_bytes, hints).map_err(failed)?;
    let store = RamStore::new(name.to_owned(), geometry, identity)
        .map_err(|_| failed(OpenProblem::NoMemory))?;
    let store = Arc::new(store);
    Ok(Opened { store, origin })
}

impl Backstore for RamStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn caps(&self) -> StoreCaps {
        let geometry = self.size.geometry();
        StoreCaps {
            unmap: true,
            unmap_zeroes: true,
            write_zeroes: true,
            volatile: true,
            unmap_granularity_blocks: PAGE_BYTES / geometry.block_size_bytes,
            write_cache: self.write_cache.load(Ordering::Relaxed),
            read_only: self.read_only.is_on(),
            ..StoreCaps::plain(geometry)
        }
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn attach(self: Arc<Self>, _driver: &mut dyn Driver) -> Box<dyn LocalStore> {
        Box::new(LocalRam {
            memory: LocalShared::new(Arc::clone(&self.memory)),
            store: self,
        })
    }

    /// Only what is told changes: memory is as durable as it gets, either way.
    fn set_write_cache(&self, on: bool) {
        self.write_cache.store(on, Ordering::Relaxed);
    }

    /// There is nothing outside to look at again.
    fn resize(&self, bytes: Option<u64>) -> Result<Geometry, ResizeError> {
        match bytes {
            Some(bytes) => self
                .grow(bytes)
                .map_err(|problem| ResizeError::new(&*self.name, problem)),
            None => Ok(self.size.geometry()),
        }
    }

    fn set_read_only(&self, on: bool) -> Result<(), ReadOnlyError> {
        self.read_only.set(on);
        Ok(())
    }

    /// Pages that were written and not given back.
    fn usage(&self) -> Option<Usage> {
        let (mut at, mut used_bytes) = (0, 0);
        while let Ok((written, bytes)) = self.memory.run(at)
            && bytes > 0
        {
            used_bytes += if written { bytes } else { 0 };
            at += bytes;
        }
        Some(Usage {
            used_bytes,
            available_bytes: None,
        })
    }

    fn reset(&self) {}
}

/// What unmapping gives back at a time.
const PAGE_BYTES: u32 = 4096;

/// How much of the disk one map tells about, at least: the worker has other things to do.
const MAP_BYTES_AT_A_TIME: u64 = 64 << 30;

struct LocalRam {
    store: Arc<RamStore>,
    memory: LocalShared,
}

impl LocalRam {
    fn run(&self, request: &mut IoRequest) -> Result<(), IoError> {
        let store = &self.store;
        let range = range_of(request, store.size.geometry(), store.read_only.is_on())?;
        let memory = self.memory.memory();
        let done: Result<(), OutOfRange> = match request.io {
            StoreIo::Read { .. } => match &mut request.memory {
                Some(Memory::Owned(buffer)) => memory.copy_out(range.offset, buffer),
                _ => Err(OutOfRange),
            },
            StoreIo::Write { .. } => match &request.memory {
                Some(Memory::Pinned(pin)) => self.write_pinned(range.offset, pin),
                Some(data) => data
                    .as_slice()
                    .ok_or(OutOfRange)
                    .and_then(|data| memory.copy_in(range.offset, data)),
                None => Err(OutOfRange),
            },
            StoreIo::Flush => Ok(()),
            // `range_of` has refused these.
            StoreIo::ReadTuples { .. } | StoreIo::WriteTuples { .. } => Err(OutOfRange),
            StoreIo::Map { .. } => {
                put_runs(&mut request.memory, self.runs(range));
                Ok(())
            }
            StoreIo::Unmap { .. }
            | StoreIo::WriteZeroes {
                may_unmap: true, ..
            } => memory.release(range.offset, range.bytes),
            StoreIo::WriteZeroes { .. } => memory.fill(range.offset, range.bytes, 0),
        };
        let error = IoError::new(IoErrorKind::OutOfRange, request.io.kind());
        done.map_err(|OutOfRange| error)
    }

    /// Which blocks of the range have been written, up to where it takes long to find out.
    fn runs(&self, range: ByteRange) -> impl Iterator<Item = MapRun> {
        let block = u64::from(self.store.size.geometry().block_size_bytes.max(1));
        let end = range.offset + range.bytes;
        let mut at = range.offset;
        let mut looked_at = 0;
        std::iter::from_fn(move || {
            if at >= end || looked_at >= MAP_BYTES_AT_A_TIME {
                return None;
            }
            // Pages, of which runs consist, have whole blocks.
            let (mapped, bytes) = self.memory.memory().run(at).ok()?;
            let bytes = bytes.min(end - at);
            looked_at += bytes;
            at += bytes;
            Some(MapRun {
                blocks: bytes / block,
                mapped,
            })
        })
    }

    /// From the memory of another store, in pieces.
    fn write_pinned(&self, offset: u64, pin: &Pin) -> Result<(), OutOfRange> {
        let here = self.memory.memory();
        let mut piece = [0; PAGE_BYTES as usize];
        let mut at = 0;
        while at < pin.len() {
            let bytes = (pin.len() - at).min(PAGE_BYTES);
            let piece = &mut piece[..bytes as usize];
            pin.copy_out(at, piece)?;
            here.copy_in(offset.saturating_add(u64::from(at)), piece)?;
            at += bytes;
        }
        Ok(())
    }
}

impl LocalStore for LocalRam {
    fn submit(&mut self, mut request: IoRequest, port: &mut dyn IoPort) {
        let result = self.run(&mut request);
        port.complete(IoDone {
            token: request.token,
            result,
            memory: request.memory,
        });
    }

    fn complete(&mut self, _token: Token, _result: OpResult, _port: &mut dyn IoPort) {
        // Nothing is ever pushed, so nothing comes back.
    }

    fn pin(&mut self, lba: Lba, blocks: u64) -> Option<Pin> {
        // Nothing keeps a pin from being written.
        if self.store.read_only.is_on() {
            return None;
        }
        let geometry = self.store.size.geometry();
        let (offset, bytes) = geometry.byte_range(lba, BlockCount(blocks))?;
        self.memory.pin(offset, u32::try_from(bytes).ok()?)
    }

    /// Memory is as durable as it gets.
    fn write_now(&mut self, lba: Lba, data: &[u8], _durable: bool) -> bool {
        let geometry = self.store.size.geometry();
        let blocks = data.len() / geometry.block_size_bytes.max(1) as usize;
        let place = geometry.byte_range(lba, BlockCount(blocks as u64));
        match place {
            Some((offset, bytes))
                if bytes == data.len() as u64 && !self.store.read_only.is_on() =>
            {
                self.memory.memory().copy_in(offset, data).is_ok()
            }
            _ => false,
        }
    }

    fn detach(self: Box<Self>, _driver: &mut dyn Driver) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, ScriptedDriver};

    fn bench(serial: &str) -> Bench {
        let geometry = Geometry::new(512, 64).unwrap();
        let identity = Identity::from_serial(serial).unwrap();
        let store = RamStore::new(serial.to_owned(), geometry, identity).unwrap();
        Bench::new(Arc::new(store).attach(&mut ScriptedDriver::default()), 0)
    }

    fn write(lba: u64, blocks: u64) -> StoreIo {
        StoreIo::Write {
            lba: Lba(lba),
            blocks,
            durable: false,
        }
    }

    fn runs(bench: &mut Bench, lba: u64, blocks: u64, most: usize) -> Vec<(u64, bool)> {
        let lba = Lba(lba);
        let memory = bench.buffer(most * MapRun::BYTES, 0xff);
        let done = bench.call(StoreIo::Map { lba, blocks }, Some(memory));
        done.result.unwrap();
        let memory = done.memory.unwrap();
        let run = |run: MapRun| (run.blocks, run.mapped);
        MapRun::all(memory.as_slice().unwrap()).map(run).collect()
    }

    #[test]
    fn map_tells_pages_that_were_written_and_not_given_back() {
        let mut bench = bench("ram");
        assert_eq!(runs(&mut bench, 0, 64, 8), [(64, false)]);
        // A part of a page is kept as a page.
        let memory = bench.buffer(512, 0);
        bench.call(write(9, 1), Some(memory)).result.unwrap();
        let told = [(8, false), (8, true), (48, false)];
        assert_eq!(runs(&mut bench, 0, 64, 8), told);
        assert_eq!(runs(&mut bench, 0, 64, 2), told[..2]);
        assert_eq!(runs(&mut bench, 12, 8, 8), [(4, true), (4, false)]);
        let zeros = |may_unmap| StoreIo::WriteZeroes {
            lba: Lba(8),
            blocks: 56,
            may_unmap,
        };
        bench.call(zeros(false), None).result.unwrap();
        assert_eq!(runs(&mut bench, 0, 64, 8), [(8, false), (56, true)]);
        let (lba, blocks) = (Lba(20), 20);
        bench
            .call(StoreIo::Unmap { lba, blocks }, None)
            .result
            .unwrap();
        let told = [(8, false), (16, true), (16, false), (24, true)];
        assert_eq!(runs(&mut bench, 0, 64, 8), told);
        bench.call(zeros(true), None).result.unwrap();
        assert_eq!(runs(&mut bench, 0, 64, 8), [(64, false)]);
        let pin = bench.store.pin(Lba(63), 1).unwrap();
        pin.copy_in(0, &[1; 4]).unwrap();
        assert_eq!(runs(&mut bench, 0, 64, 8), [(56, false), (8, true)]);
    }

    #[test]
    fn pin_shows_what_is_written_and_writes_what_is_shown() {
        let mut bench = bench("ram");
        let memory = bench.buffer(1024, 0x5a);
        bench.call(write(3, 2), Some(memory)).result.unwrap();
        let pin = bench.store.pin(Lba(3), 2).unwrap();
        let mut seen = [0; 1024];
        pin.copy_out(0, &mut seen).unwrap();
        assert_eq!(seen, [0x5a; 1024]);
        pin.copy_in(512, &[0xa5; 512]).unwrap();
        let memory = bench.buffer(1024, 0);
        let read = StoreIo::Read {
            lba: Lba(3),
            blocks: 2,
        };
        let done = bench.call(read, Some(memory));
        let memory = done.memory.unwrap();
        let bytes = memory.as_slice().unwrap();
        assert_eq!((bytes[511], bytes[512]), (0x5a, 0xa5));
        assert!(bench.store.pin(Lba(63), 2).is_none());
        assert!(bench.store.pin(Lba(u64::MAX), 1).is_none());
    }

    #[test]
    fn pin_outlives_unmapping_and_its_store() {
        let mut bench = bench("ram");
        let memory = bench.buffer(512, 7);
        bench.call(write(0, 1), Some(memory)).result.unwrap();
        let pin = bench.store.pin(Lba(0), 1).unwrap();
        let unmap = StoreIo::Unmap {
            lba: Lba(0),
            blocks: 64,
        };
        bench.call(unmap, None).result.unwrap();
        bench.store.detach(&mut ScriptedDriver::default());
        let mut seen = [1; 512];
        pin.copy_out(0, &mut seen).unwrap();
        assert_eq!(seen, [0; 512]);
    }

    #[test]
    fn write_from_anothers_memory_copies_it() {
        let (mut from, mut to) = (bench("from"), bench("to"));
        let memory = from.buffer(20 * 512, 0x33);
        from.call(write(1, 20), Some(memory)).result.unwrap();
        let pin = from.store.pin(Lba(0), 22).unwrap();
        let done = to.call(write(40, 22), Some(Memory::Pinned(pin)));
        done.result.unwrap();
        let mut seen = vec![0xee; 24 * 512];
        to.store
            .pin(Lba(39), 24)
            .unwrap()
            .copy_out(0, &mut seen)
            .unwrap();
        let mut expected = vec![0; 24 * 512];
        expected[2 * 512..22 * 512].fill(0x33);
        assert!(seen == expected);
    }

    fn store_and_bench() -> (Arc<RamStore>, Bench) {
        let geometry = Geometry::new(512, 64).unwrap();
        let identity = Identity::from_serial("grows").unwrap();
        let store = Arc::new(RamStore::new("grows".to_owned(), geometry, identity).unwrap());
        let local = Arc::clone(&store).attach(&mut ScriptedDriver::default());
        (store, Bench::new(local, 0))
    }

    #[test]
    fn resize_adds_zeros_that_attached_workers_reach_and_keeps_pins() {
        let (store, mut bench) = store_and_bench();
        let memory = bench.buffer(64 * 512, 0x11);
        bench.call(write(0, 64), Some(memory)).result.unwrap();
        let pin = bench.store.pin(Lba(60), 4).unwrap();
        let geometry = store.resize(Some(1 << 20)).unwrap();
        assert_eq!(geometry, Geometry::new(512, 2048).unwrap());
        assert_eq!(store.caps().geometry, geometry);
        assert_eq!(store.resize(None).unwrap(), geometry);
        // Across the old end, where no pin reaches.
        assert!(bench.store.pin(Lba(60), 8).is_none());
        let read = StoreIo::Read {
            lba: Lba(60),
            blocks: 8,
        };
        let memory = bench.buffer(8 * 512, 0xee);
        let memory = bench.call(read, Some(memory)).memory.unwrap();
        let bytes = memory.as_slice().unwrap();
        assert!(bytes[..2048] == [0x11; 2048] && bytes[2048..] == [0; 2048]);
        let memory = bench.buffer(8 * 512, 0x22);
        bench.call(write(60, 8), Some(memory)).result.unwrap();
        let mut seen = [0; 2048];
        pin.copy_out(0, &mut seen).unwrap();
        assert_eq!(seen, [0x22; 2048], "the pin shows the same blocks");
        bench
            .store
            .pin(Lba(64), 4)
            .unwrap()
            .copy_out(0, &mut seen)
            .unwrap();
        assert_eq!(seen, [0x22; 2048]);
        let (mut other, memory) = (self::bench("other"), bench.buffer(64 * 512, 0x33));
        other.call(write(0, 64), Some(memory)).result.unwrap();
        let pin = other.store.pin(Lba(0), 64).unwrap();
        let io = write(40, 64);
        bench.call(io, Some(Memory::Pinned(pin))).result.unwrap();
        bench
            .store
            .pin(Lba(64), 4)
            .unwrap()
            .copy_out(0, &mut seen)
            .unwrap();
        assert_eq!(
            seen, [0x33; 2048],
            "another store's memory, across the old end"
        );
    }

    #[test]
    fn resize_to_what_cannot_be_is_refused_and_changes_nothing() {
        let (store, mut bench) = store_and_bench();
        for (bytes, code) in [
            (512, "shrink"),
            (64 * 512 + 1, "part_block"),
            (0, "geometry"),
            (u64::MAX, "geometry"),
            (1 << 62, "no_memory"),
        ] {
            let error = store.resize(Some(bytes)).unwrap_err();
            assert_eq!(error.code(), code, "{bytes}");
            assert!(error.to_string().starts_with("grows: "), "{error}");
        }
        assert_eq!(store.caps().geometry.capacity_blocks, 64);
        let memory = bench.buffer(512, 1);
        let done = bench.call(write(64, 1), Some(memory));
        assert_eq!(done.result.unwrap_err().kind, IoErrorKind::OutOfRange);
    }

    #[test]
    fn read_only_refuses_changes_and_lends_no_pin() {
        let (store, mut bench) = store_and_bench();
        store.set_read_only(true).unwrap();
        assert!(store.caps().read_only);
        let memory = bench.buffer(512, 1);
        let done = bench.call(write(0, 1), Some(memory));
        assert_eq!(done.result.unwrap_err().kind, IoErrorKind::ReadOnly);
        assert!(bench.store.pin(Lba(0), 1).is_none());
        bench.call(StoreIo::Flush, None).result.unwrap();
        store.set_read_only(false).unwrap();
        assert!(bench.store.pin(Lba(0), 1).is_some());
        let memory = bench.buffer(512, 1);
        bench.call(write(0, 1), Some(memory)).result.unwrap();
    }
}
