//! A file on a file system of the test's own (FUSE) whose calls can be made to hang for as long as the test likes.
//!
//! Linux gives no other way to have a read, write or fdatasync wait in the kernel at will. The file system is this process:
//! it answers the few requests that one file needs, in the kernel's own framing (`fuse.h`, protocol 7.31). Needs root and
//! `/dev/fuse`.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const ROOT_NODE: u64 = 1;
const FILE_NODE: u64 = 2;
const FILE_NAME: &[u8] = b"disk.img\0";

const IN_HEADER_BYTES: usize = 40;
const WRITE_IN_BYTES: usize = 40;
const MAX_WRITE_BYTES: usize = 128 * 1024;

const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;

/// Why no file system can be mounted here; `None` where one can.
#[must_use]
pub fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root can mount a file system");
    }
    (!Path::new("/dev/fuse").exists()).then_some("there is no /dev/fuse")
}

/// The mounted file. Dropped, the file system is unmounted.
#[derive(Debug)]
pub struct StuckFile {
    folder: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    device: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    contents: Vec<u8>,
    is_stuck: bool,
    /// Answers that wait for the release.
    held: Vec<Vec<u8>>,
}

impl StuckFile {
    /// Mounts at `folder`, which is there and empty, a file system with one file of this length.
    ///
    /// # Errors
    /// Not root, or no `/dev/fuse`.
    pub fn mount(folder: &Path, bytes: usize) -> Result<Self> {
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .context("/dev/fuse")?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount(
            "quintain-test",
            folder,
            "fuse",
            flags,
            CString::new(options)?.as_c_str(),
        )
        .context("mounting the test's file system")?;
        let state = State {
            contents: vec![0; bytes],
            is_stuck: false,
            held: Vec::new(),
        };
        let shared = Arc::new(Shared {
            device,
            state: Mutex::new(state),
        });
        let server = Arc::clone(&shared);
        std::thread::spawn(move || server.serve());
        Ok(Self {
            folder: folder.to_owned(),
            shared,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// From now on its reads, writes and flushes hang, until the value given back is dropped. Drop it before a process that
    /// uses the file is waited for: not even a kill ends one whose call hangs.
    #[must_use]
    pub fn stick(&self) -> Hang<'_> {
        self.shared.state().is_stuck = true;
        Hang(self)
    }

    /// How many calls hang.
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.state().held.len()
    }

    fn release(&self) {
        let mut state = self.shared.state();
        state.is_stuck = false;
        for answer in state.held.drain(..) {
            self.shared.send(&answer);
        }
    }
}

/// While it lives, the file's calls hang.
#[derive(Debug)]
pub struct Hang<'a>(&'a StuckFile);

impl Drop for Hang<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Drop for StuckFile {
    fn drop(&mut self) {
        // Detached: whoever still has the file open does not keep the folder busy.
        let _unmounted = unmount(&self.folder, UnmountFlags::DETACH);
    }
}

/// One request of the kernel's.
struct Request<'a> {
    opcode: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        Some(Self {
            opcode: u32_at(bytes, 4)?,
            unique: u64_at(bytes, 8)?,
            node: u64_at(bytes, 16)?,
            body: bytes.get(IN_HEADER_BYTES..)?,
        })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel takes an answer whole; one for a request that is gone is refused, which is no matter.
    fn send(&self, answer: &[u8]) {
        let _sent = (&self.device).write(answer);
    }

    /// Until the file system is unmounted.
    fn serve(&self) {
        let mut buffer = vec![0; MAX_WRITE_BYTES + 8192];
        loop {
            let bytes = match (&self.device).read(&mut buffer) {
                Ok(count) => buffer.get(..count).unwrap_or_default(),
                // A request that was taken back before we read it.
                Err(error) if error.raw_os_error() == Some(ENOENT) => continue,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            if let Some(request) = Request::parse(bytes) {
                self.handle(&request);
            }
        }
    }

    fn handle(&self, request: &Request<'_>) {
        /// READ, WRITE, FSYNC.
        const MAY_HANG: [u32; 3] = [15, 16, 20];
        /// FORGET, INTERRUPT, BATCH_FORGET.
        const UNANSWERED: [u32; 3] = [2, 36, 42];
        if UNANSWERED.contains(&request.opcode) {
            return;
        }
        let mut state = self.state();
        let result = answer_to(request, &mut state.contents);
        let mut answer = Vec::new();
        let (error, body) = match result {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        answer.extend(length.to_ne_bytes());
        answer.extend(error.to_ne_bytes());
        answer.extend(request.unique.to_ne_bytes());
        answer.extend(body);
        if state.is_stuck && MAY_HANG.contains(&request.opcode) {
            state.held.push(answer);
        } else {
            self.send(&answer);
        }
    }
}

/// The body of the answer, or an error number.
fn answer_to(request: &Request<'_>, contents: &mut [u8]) -> Result<Vec<u8>, i32> {
    const EIO: i32 = 5;
    let body = request.body;
    match request.opcode {
        // LOOKUP
        1 if request.node == ROOT_NODE && body == FILE_NAME => Ok(entry(contents.len())),
        1 => Err(ENOENT),
        // GETATTR, SETATTR
        3 | 4 => Ok(attributes_answer(request.node, contents.len())),
        // OPEN, OPENDIR: direct I/O, so that no page cache answers in our place.
        14 | 27 => Ok([0_u64.to_ne_bytes(), 1_u64.to_ne_bytes()].concat()),
        // READ
        15 => read(body, contents).ok_or(EIO),
        // WRITE
        16 => write(body, contents).ok_or(EIO),
        // STATFS
        17 => Ok(vec![0; 80]),
        // RELEASE, FSYNC, FLUSH, RELEASEDIR, DESTROY
        18 | 20 | 25 | 29 | 38 => Ok(Vec::new()),
        // INIT
        26 => Ok(init()),
        _ => Err(ENOSYS),
    }
}

/// Protocol 7.31; the only flag is big writes.
fn init() -> Vec<u8> {
    const BIG_WRITES: u32 = 1 << 5;
    let mut out = Vec::new();
    let max_write = u32::try_from(MAX_WRITE_BYTES).unwrap_or(4096);
    // major, minor, max_readahead, flags, max_background and congestion_threshold, max_write, time_gran
    for word in [7, 31, 0, BIG_WRITES, 0x0010_0010, max_write, 1] {
        out.extend(u32::to_ne_bytes(word));
    }
    out.resize(64, 0);
    out
}

fn read(body: &[u8], contents: &[u8]) -> Option<Vec<u8>> {
    let offset = usize::try_from(u64_at(body, 8)?).ok()?;
    let size = usize::try_from(u32_at(body, 16)?).ok()?;
    let end = offset.saturating_add(size).min(contents.len());
    Some(contents.get(offset.min(end)..end)?.to_vec())
}

fn write(body: &[u8], contents: &mut [u8]) -> Option<Vec<u8>> {
    let offset = usize::try_from(u64_at(body, 8)?).ok()?;
    let size = u32_at(body, 16)?;
    let data = body
        .get(WRITE_IN_BYTES..)?
        .get(..usize::try_from(size).ok()?)?;
    let end = offset.checked_add(data.len())?;
    contents.get_mut(offset..end)?.copy_from_slice(data);
    Some([size.to_ne_bytes(), 0_u32.to_ne_bytes()].concat())
}

fn entry(bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    // nodeid, generation, entry_valid, attr_valid; then their nanoseconds
    for word in [FILE_NODE, 0, 3600, 3600, 0] {
        out.extend(u64::to_ne_bytes(word));
    }
    out.extend(attributes(FILE_NODE, bytes));
    out
}

fn attributes_answer(node: u64, bytes: usize) -> Vec<u8> {
    // attr_valid, its nanoseconds and a dummy
    let mut out = [3600_u64.to_ne_bytes(), 0_u64.to_ne_bytes()].concat();
    out.extend(attributes(node, bytes));
    out
}

fn attributes(node: u64, bytes: usize) -> Vec<u8> {
    let (mode, links) = if node == ROOT_NODE {
        (0o040_755, 2)
    } else {
        (0o100_600, 1)
    };
    let bytes = bytes as u64;
    let mut out = Vec::new();
    // ino, size, blocks, atime, mtime, ctime
    for word in [node, bytes, bytes / 512, 0, 0, 0] {
        out.extend(u64::to_ne_bytes(word));
    }
    // three times nanoseconds, mode, nlink, uid, gid, rdev, blksize, flags
    for word in [0, 0, 0, mode, links, 0, 0, 0, 4096, 0] {
        out.extend(u32::to_ne_bytes(word));
    }
    out
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
