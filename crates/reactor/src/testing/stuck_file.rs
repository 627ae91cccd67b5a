//! A file whose calls can be made to hang for as long as a test likes: a FUSE file system of one file, served by this process.
//!
//! Linux gives no other way to have a read, write, flush or hole punch wait in the kernel at will. Opening it and asking for its size
//! never hang. Mounting needs root and `/dev/fuse`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file, which holds what is written to it. Unmounted when dropped: what still waits then is answered.
#[derive(Debug)]
pub struct StuckFile {
    path: PathBuf,
    shared: Arc<Shared>,
}

/// While it lives, the file's calls hang. Drop it before a process that uses the file is waited for: not even a kill ends one whose
/// call hangs.
#[derive(Debug)]
pub struct Hang<'a>(&'a StuckFile);

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

// The numbers of the kernel's FUSE protocol, <linux/fuse.h>.
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;
const FALLOCATE: u32 = 43;
const MAY_HANG: [u32; 4] = [READ, WRITE, FSYNC, FALLOCATE];
const UNANSWERED: [u32; 3] = [FORGET, INTERRUPT, BATCH_FORGET];
/// `FOPEN_DIRECT_IO`: no page cache answers in our place.
const DIRECT_IO: u32 = 1;
const REQUEST_HEADER_BYTES: usize = 40;
const WRITE_HEADER_BYTES: usize = 40;
const MAX_WRITE_BYTES: u32 = 1 << 20;

impl StuckFile {
    /// Why none can be mounted here; `None` where one can.
    #[must_use]
    pub fn missing() -> Option<&'static str> {
        // SAFETY: takes nothing and always succeeds.
        if unsafe { libc::geteuid() } != 0 {
            return Some("only root can mount a file system");
        }
        (!Path::new("/dev/fuse").exists()).then_some("there is no /dev/fuse")
    }

    /// Makes an empty file at `path` and mounts one of `size_bytes` zeroes over it, which hangs only once it is told to.
    ///
    /// # Errors
    /// Where FUSE or mounting is not to be had ([`Self::missing`]), or something is at `path` already.
    pub fn mount(path: impl Into<PathBuf>, size_bytes: usize) -> io::Result<Self> {
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
            state: Mutex::new(State {
                contents: vec![0; size_bytes],
                is_stuck: false,
                held: Vec::new(),
            }),
        });
        // It ends with the last user of the file, who may be another process: nobody waits for it.
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.serve()
        });
        // A first open and close teaches the kernel that nothing happens at a close (FLUSH is not answered with success): it would
        // wait for this process' answer while the process ends.
        drop(File::open(&path)?);
        Ok(Self { path, shared })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on its reads, writes, flushes and hole punches hang, until what is given back is dropped.
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

impl Drop for Hang<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Drop for StuckFile {
    fn drop(&mut self) {
        self.release();
        if let Ok(target) = c_path(&self.path) {
            // SAFETY: a C string, read during the call.
            unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        }
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
        let mut request = vec![0; MAX_WRITE_BYTES as usize + 4096];
        loop {
            match (&self.device).read(&mut request) {
                Ok(bytes) => self.handle(&request[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A request that was taken back before it was read.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(_) => return,
            }
        }
    }

    fn handle(&self, request: &[u8]) {
        let Some(body) = request.get(REQUEST_HEADER_BYTES..) else {
            return;
        };
        let (opcode, unique) = (word(request, 4), long(request, 8));
        if UNANSWERED.contains(&opcode) {
            return;
        }
        let mut state = self.state();
        let (error, body) = match answer_to(opcode, body, &mut state.contents) {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut answer = u32::try_from(16 + body.len())
            .unwrap_or(u32::MAX)
            .to_ne_bytes()
            .to_vec();
        answer.extend(error.to_ne_bytes());
        answer.extend(unique.to_ne_bytes());
        answer.extend(body);
        if state.is_stuck && MAY_HANG.contains(&opcode) {
            state.held.push(answer);
        } else {
            self.send(&answer);
        }
    }
}

/// The body of the answer, or an error number.
fn answer_to(opcode: u32, body: &[u8], contents: &mut [u8]) -> Result<Vec<u8>, i32> {
    match opcode {
        INIT => Ok(init_answer(body)),
        GETATTR | SETATTR => Ok(attributes(contents.len())),
        OPEN => Ok([[0; 8], u64::from(DIRECT_IO).to_ne_bytes()].concat()),
        RELEASE | FSYNC | DESTROY => Ok(Vec::new()),
        READ => read(body, contents).ok_or(libc::EIO),
        WRITE => write(body, contents).ok_or(libc::EIO),
        FALLOCATE => allocate(body, contents).ok_or(libc::EIO),
        _ => Err(libc::ENOSYS),
    }
}

fn read(body: &[u8], contents: &[u8]) -> Option<Vec<u8>> {
    let offset = usize::try_from(long(body, 8)).ok()?;
    let size = usize::try_from(word(body, 16)).ok()?;
    let end = offset.saturating_add(size).min(contents.len());
    Some(contents.get(offset.min(end)..end)?.to_vec())
}

fn write(body: &[u8], contents: &mut [u8]) -> Option<Vec<u8>> {
    let offset = usize::try_from(long(body, 8)).ok()?;
    let size = word(body, 16);
    let data = body.get(WRITE_HEADER_BYTES..)?;
    let data = data.get(..usize::try_from(size).ok()?)?;
    let end = offset.checked_add(data.len())?;
    contents.get_mut(offset..end)?.copy_from_slice(data);
    Some([size.to_ne_bytes(), [0; 4]].concat())
}

fn allocate(body: &[u8], contents: &mut [u8]) -> Option<Vec<u8>> {
    let offset = usize::try_from(long(body, 8)).ok()?;
    let length = usize::try_from(long(body, 16)).ok()?;
    let mode = libc::c_int::try_from(word(body, 24)).ok()?;
    if mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) != 0 {
        let end = offset.checked_add(length)?.min(contents.len());
        contents.get_mut(offset.min(end)..end)?.fill(0);
    }
    Some(Vec::new())
}

/// `fuse_attr_out`: a regular file that keeps its attributes for ever.
fn attributes(size_bytes: usize) -> Vec<u8> {
    let valid_s = 3600_u64;
    let size_bytes = size_bytes as u64;
    let mut out = valid_s.to_ne_bytes().to_vec();
    out.extend([0; 8]);
    for number in [1, size_bytes, size_bytes / 512, 0, 0, 0] {
        out.extend(number.to_ne_bytes());
    }
    out.extend([0; 12]);
    for number in [libc::S_IFREG | 0o644, 1, 0, 0, 0, 4096, 0] {
        out.extend(number.to_ne_bytes());
    }
    out
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

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_ne_bytes)
}

fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    Ok(std::ffi::CString::new(path.as_os_str().as_bytes())?)
}
