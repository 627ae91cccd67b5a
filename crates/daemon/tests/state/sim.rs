//! A file system in memory that fails or dies at its Nth call, and forgets what was not synced when its power is cut.
//!
//! What it is cruel about: a write that is not synced survives in any part of its granules, and some come back as garbage; changes of names
//! that are not synced survive in any selection; a sync that fails forgets what it was to write, and the next one passes; a call that
//! fails may have done its work. What it grants: a rename is atomic, and a failed sync of a directory can be tried again.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use daemon::state::{Lock, StateFile, StateFs};

/// What survives of a write does so in pieces of this size.
const GRANULE_BYTES: usize = 8;

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before, in the middle of, or right after the call.
    Kill(Done),
    /// The call fails.
    Fail(Done),
    /// This call and all behind it fail.
    FailOn(Done),
    /// From this call on the disk is full: whatever makes or writes a file fails.
    Full,
}

/// How much of its work a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Nothing,
    Part,
    All,
}

pub(crate) const EVERY_DONE: [Done; 3] = [Done::Nothing, Done::Part, Done::All];

/// Handle of the simulated file system: clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Sim(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names that are not synced. Each is atomic.
    name_changes: Vec<Vec<(String, Option<usize>)>>,
    calls: u64,
    read_bytes: u64,
    fault: Option<(u64, Fault)>,
    is_dead: bool,
    /// Counts the lives of the process: a lock of an earlier one holds nobody.
    life: u64,
    is_locked: bool,
    salt: u64,
}

#[derive(Clone, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    Cut(usize),
}

impl Pending {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Cut(length) => content.resize(*length, 0),
        }
    }

    /// What a power cut leaves of it.
    fn apply_some(&self, content: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write { offset, bytes } = self else {
            if dice.below(2) == 0 {
                self.apply(content);
            }
            return;
        };
        // All, nothing, a beginning, or anything of it.
        let style = dice.below(4);
        let kept = dice.below(bytes.len() as u64 + 1) as usize;
        for (index, granule) in bytes.chunks(GRANULE_BYTES).enumerate() {
            let at = index * GRANULE_BYTES;
            let is_kept = match style {
                0 => true,
                1 => false,
                2 => at + granule.len() <= kept,
                _ => dice.below(2) == 0,
            };
            let mut granule = granule.to_vec();
            if style == 3 && dice.below(8) == 0 {
                granule.fill(0xFF);
            }
            if is_kept {
                let write = Self::Write {
                    offset: offset + at,
                    bytes: granule,
                };
                write.apply(content);
            }
        }
    }
}

/// Numbers from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64: seeds that are neighbours have nothing in common from the first number on.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

impl Sim {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Number of calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.world().calls
    }

    pub(crate) fn read_bytes(&self) -> u64 {
        self.world().read_bytes
    }

    /// Lets the `nth` call from now on (the next is 1) meet a fault.
    pub(crate) fn arm(&self, nth: u64, fault: Fault) {
        let mut world = self.world();
        world.fault = Some((world.calls + nth, fault));
    }

    /// No more faults. Answers whether the armed one is still to come.
    pub(crate) fn disarm(&self) -> bool {
        let mut world = self.world();
        let calls = world.calls;
        world.fault.take().is_some_and(|(at, _)| at > calls)
    }

    /// A copy with the same content, for trying out another fate.
    pub(crate) fn fork(&self) -> Self {
        let world = self.world();
        Self(Arc::new(Mutex::new(World {
            inodes: world.inodes.clone(),
            names: world.names.clone(),
            durable_names: world.durable_names.clone(),
            name_changes: world.name_changes.clone(),
            fault: None,
            ..*world
        })))
    }

    /// The process has ended, and another begins: the kernel still has all that was written.
    pub(crate) fn restart(&self) {
        self.disarm();
        self.restart_armed();
    }

    /// The same, and the armed fault is still to come.
    pub(crate) fn restart_armed(&self) {
        let mut world = self.world();
        world.is_dead = false;
        world.is_locked = false;
        world.life += 1;
    }

    /// The machine has ended, and another begins with what is on the disk.
    pub(crate) fn power_cut(&self, seed: u64) {
        let mut world = self.world();
        let dice = &mut Dice::new(seed);
        let mut names = world.durable_names.clone();
        // All, nothing, or any of them.
        let style = dice.below(3);
        for change in &world.name_changes {
            if style == 0 || (style == 1 && dice.below(2) == 0) {
                apply_names(&mut names, change);
            }
        }
        for inode in &mut world.inodes {
            for pending in std::mem::take(&mut inode.pending) {
                pending.apply_some(&mut inode.durable, dice);
            }
            inode.content.clone_from(&inode.durable);
        }
        world.names.clone_from(&names);
        world.durable_names = names;
        world.name_changes.clear();
        drop(world);
        self.restart();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.world().names.keys().cloned().collect()
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let world = self.world();
        world.inodes[world.names[name]].content.clone()
    }

    /// Puts a file there, durably.
    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        let mut world = self.world();
        let inode = world.inodes.len();
        world.inodes.push(Inode {
            content: content.to_vec(),
            durable: content.to_vec(),
            pending: Vec::new(),
        });
        world.names.insert(name.to_owned(), inode);
        world.durable_names.insert(name.to_owned(), inode);
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut world = self.world();
        assert!(world.names.remove(name).is_some(), "{name}");
        world.durable_names.remove(name);
    }
}

fn apply_names(names: &mut BTreeMap<String, usize>, change: &[(String, Option<usize>)]) {
    for (name, inode) in change {
        match inode {
            Some(inode) => names.insert(name.clone(), *inode),
            None => names.remove(name),
        };
    }
}

impl World {
    /// Counts a call. Answers how much of it is done and how it ends.
    fn enter(&mut self, needs_room: bool) -> (Done, io::Result<()>) {
        if self.is_dead {
            return (Done::Nothing, Err(io::Error::other("the process is dead")));
        }
        self.calls += 1;
        match self.fault {
            Some((at, Fault::Kill(done))) if at == self.calls => {
                self.is_dead = true;
                (done, Err(io::Error::other("killed")))
            }
            Some((at, Fault::Fail(done))) if at == self.calls => {
                (done, Err(io::Error::other("made to fail")))
            }
            Some((at, Fault::FailOn(done))) if at <= self.calls => {
                (done, Err(io::Error::other("made to fail")))
            }
            Some((at, Fault::Full)) if at <= self.calls && needs_room => {
                (Done::Part, Err(io::Error::from(io::ErrorKind::StorageFull)))
            }
            _ => (Done::All, Ok(())),
        }
    }

    fn change_names(&mut self, change: Vec<(String, Option<usize>)>) {
        apply_names(&mut self.names, &change);
        self.name_changes.push(change);
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        (self.names.get(name).copied()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn write(&mut self, inode: usize, pending: Pending) {
        let inode = &mut self.inodes[inode];
        pending.apply(&mut inode.content);
        inode.pending.push(pending);
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

struct SimFile {
    sim: Sim,
    inode: usize,
}

struct SimLock {
    sim: Sim,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.sim.world();
        if world.life == self.life {
            world.is_locked = false;
        }
    }
}

impl StateFs for Sim {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.world().enter(false).1
    }

    fn lock(&self, _path: &Path) -> io::Result<Lock> {
        let mut world = self.world();
        world.enter(false).1?;
        if world.is_locked {
            return Ok(Lock::Busy(Some(1234)));
        }
        world.is_locked = true;
        let life = world.life;
        Ok(Lock::Held(Box::new(SimLock {
            sim: self.clone(),
            life,
        })))
    }

    fn list(&self, _directory: &Path) -> io::Result<Vec<String>> {
        let mut world = self.world();
        world.enter(false).1?;
        Ok(world.names.keys().cloned().collect())
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut world = self.world();
        world.enter(false).1?;
        let inode = world.find(&name_of(path))?;
        let content = world.inodes[inode].content.clone();
        assert!(content.len() as u64 <= limit);
        world.read_bytes += content.len() as u64;
        Ok(content)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StateFile>> {
        let mut world = self.world();
        let (done, result) = world.enter(true);
        let name = name_of(path);
        let inode = match world.names.get(&name).copied() {
            Some(inode) if done != Done::Nothing => {
                world.write(inode, Pending::Cut(0));
                inode
            }
            None if done == Done::All => {
                let inode = world.inodes.len();
                world.inodes.push(Inode::default());
                world.change_names(vec![(name, Some(inode))]);
                inode
            }
            _ => 0,
        };
        result?;
        Ok(Box::new(SimFile {
            sim: self.clone(),
            inode,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StateFile>> {
        let mut world = self.world();
        world.enter(false).1?;
        let inode = world.find(&name_of(path))?;
        Ok(Box::new(SimFile {
            sim: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let (done, result) = world.enter(false);
        let inode = world.find(&name_of(from))?;
        if done == Done::All {
            world.change_names(vec![(name_of(from), None), (name_of(to), Some(inode))]);
        }
        result
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let (done, result) = world.enter(false);
        world.find(&name_of(path))?;
        if done == Done::All {
            world.change_names(vec![(name_of(path), None)]);
        }
        result
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let (done, result) = world.enter(false);
        let all = world.name_changes.len();
        let synced = match done {
            Done::Nothing => 0,
            Done::Part => all / 2,
            Done::All => all,
        };
        let rest = world.name_changes.split_off(synced);
        for change in std::mem::replace(&mut world.name_changes, rest) {
            apply_names(&mut world.durable_names, &change);
        }
        result
    }

    fn random(&self) -> io::Result<u64> {
        let mut world = self.world();
        world.enter(false).1?;
        world.salt += 1;
        Ok(Dice::new(world.salt).below(1 << 50))
    }
}

impl StateFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        let mut world = self.sim.world();
        let (done, result) = world.enter(true);
        let length = match done {
            Done::Nothing => 0,
            Done::Part => bytes.len() * 2 / 3,
            Done::All => bytes.len(),
        };
        let bytes = bytes[..length].to_vec();
        if length > 0 {
            world.write(
                self.inode,
                Pending::Write {
                    offset: offset_bytes as usize,
                    bytes,
                },
            );
        }
        result
    }

    fn set_len(&self, length_bytes: u64) -> io::Result<()> {
        let mut world = self.sim.world();
        let (done, result) = world.enter(false);
        if done == Done::All {
            world.write(self.inode, Pending::Cut(length_bytes as usize));
        }
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.sim.world();
        let is_dying = matches!(world.fault, Some((at, Fault::Kill(_))) if at == world.calls + 1);
        let (done, result) = world.enter(false);
        let dead_before = world.is_dead && !is_dying;
        let inode = &mut world.inodes[self.inode];
        // The kernel counts what it failed to write as written; what it did not come to write stays to be written.
        let is_forgotten = result.is_err() && !is_dying && !dead_before;
        let mut left = Vec::new();
        for (index, pending) in std::mem::take(&mut inode.pending).into_iter().enumerate() {
            match done {
                Done::All => pending.apply(&mut inode.durable),
                Done::Part if index == 0 => {
                    pending.apply_some(&mut inode.durable, &mut Dice::new(index as u64));
                    left.push(pending);
                }
                Done::Part | Done::Nothing => left.push(pending),
            }
        }
        if !is_forgotten {
            inode.pending = left;
        }
        result
    }
}
