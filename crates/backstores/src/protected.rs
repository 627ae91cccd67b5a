//! A store with another beside it that keeps the protection information of its blocks: [`TUPLE_BYTES`](block::TUPLE_BYTES) for each, complemented, in
//! the same order.
//!
//! The second is a store whose blocks have [`TUPLE_BYTES`](block::TUPLE_BYTES): a sparse file beside the disk's, or memory. What gives blocks back
//! or zeroes them does so in both, one after the other, and so does a flush; nobody is told of the end before both are done.
//! It does not keep readers from seeing the one without the other: the device server does.
//!
//! **The file** is that of the disk with `.t10-pi-` and the number of the type behind its name. It is made when a disk is first
//! opened with that type, and what other types left is removed then: whatever writes the disk without keeping its protection
//! information up to date makes that worthless. For the same reason a disk that is opened to be written without protection
//! information loses what it had. A file that is missing is made anew: nothing is checked then until it is written again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use block::{Geometry, ProtectionType, StoreCaps, Usage};
use reactor::{Driver, OpResult, Token};

use crate::api::{Backstore, IoDone, IoPort, IoRequest, LocalStore, Opened, StoreIo};
use crate::change::{ReadOnlyError, ResizeError};
use crate::error::{OpenError, OpenProblem};
use crate::identity::Identity;
use crate::ram::RamStore;

/// A store whose blocks have protection information.
pub struct ProtectedStore {
    data: Arc<dyn Backstore>,
    tuples: Arc<dyn Backstore>,
    kind: ProtectionType,
}

impl ProtectedStore {
    /// The store `data`, with protection information of this type in `tuples`, which has blocks of [`TUPLE_BYTES`](block::TUPLE_BYTES).
    #[must_use]
    pub fn new(data: Arc<dyn Backstore>, tuples: Arc<dyn Backstore>, kind: ProtectionType) -> Self {
        Self { data, tuples, kind }
    }

    /// A store in memory, with its protection information there too.
    ///
    /// # Errors
    /// Memory that cannot be reserved.
    pub fn in_memory(opened: Opened, kind: ProtectionType) -> Result<Opened, OpenError> {
        let data = opened.store;
        let name = data.name().to_owned();
        let geometry = data.caps().geometry.tuples();
        let tuples = RamStore::new(name.clone(), geometry, data.identity().clone())
            .map_err(|_| OpenError::new(name, OpenProblem::NoMemory))?;
        Ok(Opened {
            store: Arc::new(Self::new(data, Arc::new(tuples), kind)),
            ..opened
        })
    }

    /// The geometry: no block is there whose protection information has no place.
    fn geometry(&self) -> Geometry {
        let data = self.data.caps().geometry;
        let tuples = self.tuples.caps().geometry;
        Geometry {
            capacity_blocks: data.capacity_blocks.min(tuples.capacity_blocks),
            ..data
        }
    }
}

impl Backstore for ProtectedStore {
    fn name(&self) -> &str {
        self.data.name()
    }

    fn caps(&self) -> StoreCaps {
        StoreCaps {
            geometry: self.geometry(),
            protection: Some(self.kind),
            ..self.data.caps()
        }
    }

    fn identity(&self) -> &Identity {
        self.data.identity()
    }

    fn attach(self: Arc<Self>, driver: &mut dyn Driver) -> Box<dyn LocalStore> {
        Box::new(LocalProtected {
            data: Arc::clone(&self.data).attach(driver),
            tuples: Arc::clone(&self.tuples).attach(driver),
            stages: HashMap::new(),
        })
    }

    fn set_write_cache(&self, on: bool) {
        self.data.set_write_cache(on);
        self.tuples.set_write_cache(on);
    }

    fn resize(&self, bytes: Option<u64>) -> Result<Geometry, ResizeError> {
        let grown = self.data.resize(bytes)?;
        let there = self.tuples.caps().geometry.capacity_blocks;
        if grown.capacity_blocks > there {
            self.tuples.resize(Some(grown.tuples().size_bytes()))?;
        }
        Ok(self.geometry())
    }

    fn set_read_only(&self, on: bool) -> Result<(), ReadOnlyError> {
        self.data.set_read_only(on)?;
        self.tuples.set_read_only(on)
    }

    fn usage(&self) -> Option<Usage> {
        self.data.usage()
    }

    fn reset(&self) {
        self.data.reset();
        self.tuples.reset();
    }
}

/// Where a request is that is not the first store's alone.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// In the first; this is the second's part.
    Data(StoreIo),
    /// In the second.
    Tuples,
}

struct LocalProtected {
    data: Box<dyn LocalStore>,
    tuples: Box<dyn LocalStore>,
    stages: HashMap<Token, Stage>,
}

impl LocalStore for LocalProtected {
    fn submit(&mut self, mut request: IoRequest, port: &mut dyn IoPort) {
        let token = request.token;
        match request.io {
            StoreIo::ReadTuples { lba, blocks } => {
                request.io = StoreIo::Read { lba, blocks };
                self.submit_tuples(request, port);
            }
            StoreIo::WriteTuples {
                lba,
                blocks,
                durable,
            } => {
                request.io = StoreIo::Write {
                    lba,
                    blocks,
                    durable,
                };
                self.submit_tuples(request, port);
            }
            io => {
                if let Some(then) = also(io) {
                    self.stages.insert(token, Stage::Data(then));
                }
                self.with_data(port, |data, port| data.submit(request, port));
            }
        }
    }

    fn complete(&mut self, token: Token, result: OpResult, port: &mut dyn IoPort) {
        if let Some(Stage::Tuples) = self.stages.get(&token) {
            self.with_tuples(port, |tuples, port| tuples.complete(token, result, port));
        } else {
            self.with_data(port, |data, port| data.complete(token, result, port));
        }
    }

    fn detach(self: Box<Self>, driver: &mut dyn Driver) {
        self.data.detach(driver);
        self.tuples.detach(driver);
    }
}

/// What the second store has to do when the first has done this.
fn also(io: StoreIo) -> Option<StoreIo> {
    match io {
        StoreIo::Flush => Some(StoreIo::Flush),
        StoreIo::Unmap { lba, blocks } | StoreIo::WriteZeroes { lba, blocks, .. } => {
            Some(StoreIo::WriteZeroes {
                lba,
                blocks,
                may_unmap: true,
            })
        }
        _ => None,
    }
}

impl LocalProtected {
    fn submit_tuples(&mut self, request: IoRequest, port: &mut dyn IoPort) {
        self.stages.insert(request.token, Stage::Tuples);
        self.with_tuples(port, |tuples, port| tuples.submit(request, port));
    }

    /// Has the first store do something. Requests that it is done with go on to the second.
    fn with_data(
        &mut self,
        port: &mut dyn IoPort,
        act: impl FnOnce(&mut dyn LocalStore, &mut dyn IoPort),
    ) {
        let mut ended = Ended::new(port);
        act(&mut *self.data, &mut ended);
        for done in ended.take() {
            let token = done.token;
            let then = match self.stages.remove(&token) {
                Some(Stage::Data(then)) if done.result.is_ok() => then,
                _ => {
                    port.complete(done);
                    continue;
                }
            };
            let request = IoRequest {
                token,
                io: then,
                memory: done.memory,
                passes: 0,
            };
            self.submit_tuples(request, port);
        }
    }

    fn with_tuples(
        &mut self,
        port: &mut dyn IoPort,
        act: impl FnOnce(&mut dyn LocalStore, &mut dyn IoPort),
    ) {
        let mut ended = Ended::new(port);
        act(&mut *self.tuples, &mut ended);
        for done in ended.take() {
            self.stages.remove(&done.token);
            port.complete(done);
        }
    }
}

/// The port, but for the ends of requests, which are kept.
struct Ended<'a> {
    port: &'a mut dyn IoPort,
    done: Vec<IoDone>,
}

impl<'a> Ended<'a> {
    fn new(port: &'a mut dyn IoPort) -> Self {
        let done = Vec::new();
        Self { port, done }
    }

    fn take(self) -> Vec<IoDone> {
        self.done
    }
}

impl IoPort for Ended<'_> {
    fn push(&mut self, op: reactor::Op, token: Token) {
        self.port.push(op, token);
    }

    fn complete(&mut self, done: IoDone) {
        self.done.push(done);
    }

    fn defer(&mut self, delay: std::time::Duration, request: IoRequest) {
        self.port.defer(delay, request);
    }
}

/// The file beside a disk's that has its protection information of this type.
#[must_use]
pub fn tuple_file(path: &Path, kind: ProtectionType) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".t10-pi-{}", kind.number()));
    name.into()
}

/// Removes what other types than this left beside a disk. Only for a disk that is open to be written, and locked.
pub(crate) fn remove_others(path: &Path, kind: Option<ProtectionType>) -> std::io::Result<()> {
    let others = ProtectionType::ALL
        .into_iter()
        .filter(|one| Some(*one) != kind);
    let files = others.map(|other| tuple_file(path, other));
    files
        .filter(|file| file.exists())
        .try_for_each(std::fs::remove_file)
}

#[cfg(test)]
mod tests;
