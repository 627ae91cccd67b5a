//! A file whose calls block until told otherwise, for tests: a FUSE file system of one file, served by this process.
//!
//! Reads, writes, flushes and hole punching on it wait, as on a disk that has stopped answering, until
//! [`StuckFile::release`]; opening it and asking for its size do not. Mounting needs the right to mount (root).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The file. Unmounted when dropped: what is still waiting then fails.
#[derive(Debug)]
pub struct StuckFile {
    path: PathBuf,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    device: File,
    size_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    released: bool,
    held: Vec<Request>,
}

/// What is needed to answer later.
#[derive(Debug, Clone, Copy)]
struct Request {
    unique: u64,
    opcode: u32,
    bytes: u32,
}

// The numbers of the kernel's FUSE protocol, <linux/fuse.h>.
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
const FALLOCATE: u32 = 43;
const REQUEST_HEADER_BYTES: usize = 40;
const MAX_WRITE_BYTES: u32 = 1 << 20;

impl StuckFile {
    /// Makes an empty file at `path` and mounts a stuck one of `size_bytes` over it.
    ///
    /// # Errors
    /// Where FUSE or mounting is not to be had: `NotFound`, `PermissionDenied`.
    pub fn mount(path: impl Into<PathBuf>, size_bytes: u64) -> io::Result<Self> {
        let path = path.into();
        let device = File::options().read(true).write(true).open("/dev/fuse")?;
        File::create_new(&path)?;
        let options = format!(
            "fd={},rootmode=100644,user_id=0,group_id=0,allow_other\0",
            device.as_raw_fd()
        );
        let target = c_path(&path)?;
        // SAFETY: all four are C strings; the kernel reads them during the call.
        let result = unsafe {
            libc::mount(
                c"stuck".as_ptr(),
                target.as_ptr(),
                c"fuse".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                options.as_ptr().cast(),
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let shared = Arc::new(Shared {
            device,
            size_bytes,
            state: Mutex::default(),
        });
        let server = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.serve()
        });
        Ok(Self {
            path,
            shared,
            server: Some(server),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many calls are waiting.
    pub fn held(&self) -> usize {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .held
            .len()
    }

    /// Answers what waits, and everything from now on: reads find zeroes, the rest succeeds.
    pub fn release(&self) {
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.released = true;
        for request in state.held.drain(..) {
            self.shared.succeed(request);
        }
    }
}

impl Drop for StuckFile {
    fn drop(&mut self) {
        self.release();
        if let Ok(target) = c_path(&self.path) {
            // SAFETY: a C string, read during the call.
            unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        }
        // The server ends with the last user of the file, who may be another test's: it is not waited for.
        self.server.take();
    }
}

impl Shared {
    fn serve(&self) {
        let mut request = vec![0; MAX_WRITE_BYTES as usize + 4096];
        loop {
            match (&self.device).read(&mut request) {
                Ok(bytes) => self.handle(&request[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(_) => return,
            }
        }
    }

    fn handle(&self, request: &[u8]) {
        if request.len() < REQUEST_HEADER_BYTES {
            return;
        }
        let body = &request[REQUEST_HEADER_BYTES..];
        let opcode = word(request, 4);
        let unique = u64::from(word(request, 8)) | u64::from(word(request, 12)) << 32;
        // Both reads and writes say how much at the same place.
        let request = Request {
            unique,
            opcode,
            bytes: word(body, 16),
        };
        match opcode {
            FORGET | BATCH_FORGET | INTERRUPT => {}
            INIT => self.answer(unique, 0, &init_answer(body)),
            GETATTR => self.answer(unique, 0, &self.attributes()),
            OPEN => self.answer(unique, 0, &[0; 16]),
            RELEASE => self.answer(unique, 0, &[]),
            READ | WRITE | FSYNC | FALLOCATE => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.released {
                    self.succeed(request);
                } else {
                    state.held.push(request);
                }
            }
            _ => self.answer(unique, -libc::ENOSYS, &[]),
        }
    }

    fn succeed(&self, request: Request) {
        match request.opcode {
            READ => self.answer(request.unique, 0, &vec![0; request.bytes as usize]),
            WRITE => {
                let written = [request.bytes.to_ne_bytes(), [0; 4]].concat();
                self.answer(request.unique, 0, &written);
            }
            _ => self.answer(request.unique, 0, &[]),
        }
    }

    fn answer(&self, unique: u64, error: i32, body: &[u8]) {
        let bytes = u32::try_from(16 + body.len()).unwrap_or(16);
        let mut answer = bytes.to_ne_bytes().to_vec();
        answer.extend(error.to_ne_bytes());
        answer.extend(unique.to_ne_bytes());
        answer.extend(body);
        // Fails when the asker is gone, which is none of ours.
        let _ = (&self.device).write_all(&answer);
    }

    /// `fuse_attr_out`: a regular file that keeps its attributes for ever.
    fn attributes(&self) -> Vec<u8> {
        let valid_s = 3600_u64;
        let mut out = valid_s.to_ne_bytes().to_vec();
        out.extend([0; 8]);
        for number in [1, self.size_bytes, self.size_bytes / 512, 0, 0, 0] {
            out.extend(number.to_ne_bytes());
        }
        out.extend([0; 12]);
        for number in [libc::S_IFREG | 0o644, 1, 0, 0, 0, 4096, 0] {
            out.extend(number.to_ne_bytes());
        }
        out
    }
}

/// `fuse_init_out`, of protocol 7.31 or the kernel's own if that is older.
fn init_answer(request: &[u8]) -> Vec<u8> {
    let minor = word(request, 4).min(31);
    let mut out = Vec::new();
    for number in [
        7,
        minor,
        word(request, 8),
        0,
        0x0010_0010,
        MAX_WRITE_BYTES,
        1,
    ] {
        out.extend(number.to_ne_bytes());
    }
    out.resize(64, 0);
    out
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_ne_bytes)
}

fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    Ok(std::ffi::CString::new(path.as_os_str().as_bytes())?)
}
