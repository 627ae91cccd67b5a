//! A target under attack, and beside the attackers one session that does everything right and notices nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::{Client, Driver, Load, Serve, Target};

/// How long something that has to happen may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the target's resident memory may have grown by when all attackers are gone, in bytes: what its allocators keep for the
/// next.
pub const KEPT_BYTES: u64 = 16 << 20;

/// Lines in the log for all that attackers do in half a minute, at most: 20 in ten seconds from each of two workers, and one that
/// tells how many were left out.
const LOG_LINES: usize = 2 * 4 * 21;

/// Writes between two looks at all that was written.
const ROUND: u64 = 300;

/// A running target with a witness. LUN 0 is a file of 64 MiB, of which the witness has the first 4 MiB; LUN 1 is 4 MiB of memory.
#[derive(Debug)]
pub struct Siege {
    target: Target,
    shared: Arc<Shared>,
    witness: Option<JoinHandle<Result<()>>>,
    /// The target's resident memory when it began, in bytes.
    pub resident_bytes: u64,
    descriptors: usize,
    _folder: tempfile::TempDir,
}

#[derive(Debug, Default)]
struct Shared {
    acknowledged: AtomicU64,
    is_over: AtomicBool,
    failure: Mutex<String>,
}

impl Shared {
    /// What ended the witness too early.
    fn failure(&self) -> MutexGuard<'_, String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Siege {
    /// Starts the target with this many workers, and the witness.
    ///
    /// # Errors
    /// The target does not start, or the witness cannot log in.
    pub fn begin(driver: Driver, workers: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let target = Serve::new(folder.path(), driver)
            .file("disk.img", "64MiB")
            .ram("4MiB")
            .argument("--workers")
            .argument(workers.to_string())
            .start()?;
        let client = Client::login(target.portal, 1, &[("DataDigest", "CRC32C")])?;
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let witness = std::thread::spawn(move || {
            let end = witness(client, &seen);
            if let Err(error) = &end {
                *seen.failure() = format!("{error:#}");
            }
            end
        });
        let mut siege = Self {
            target,
            shared,
            witness: Some(witness),
            resident_bytes: 0,
            descriptors: 0,
            _folder: folder,
        };
        siege.witness_goes_on(2 * ROUND)?;
        siege.resident_bytes = siege.target.resident_bytes()?;
        siege.descriptors = siege.target.descriptors()?;
        Ok(siege)
    }

    /// Where to attack.
    #[must_use]
    pub const fn portal(&self) -> SocketAddr {
        self.target.portal
    }

    /// The target.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Waits until so many more writes of the witness have been acknowledged.
    ///
    /// # Errors
    /// They are not.
    pub fn witness_goes_on(&self, writes: u64) -> Result<()> {
        let acknowledged = || self.shared.acknowledged.load(Ordering::Relaxed);
        let wanted = acknowledged() + writes;
        let end = Instant::now() + PATIENCE;
        while acknowledged() < wanted {
            let has_ended = self.witness.as_ref().is_none_or(JoinHandle::is_finished);
            if has_ended {
                bail!("the witness was disturbed: {}", self.shared.failure());
            }
            ensure!(Instant::now() < end, "the witness waits");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The resident memory is not more than this above what it was at the start.
    ///
    /// # Errors
    /// It is.
    pub fn has_grown_at_most(&self, bytes: u64) -> Result<()> {
        let (before, now) = (self.resident_bytes, self.target.resident_bytes()?);
        ensure!(now <= before + bytes, "grew from {before} to {now} bytes");
        Ok(())
    }

    /// All attackers have gone: what they cost is given back, nobody was disturbed, nothing has panicked, and a
    /// new session is served.
    ///
    /// # Errors
    /// Something is left of them.
    pub fn lift(mut self) -> Result<()> {
        self.witness_goes_on(ROUND)?;
        Client::login(self.target.portal, 2, &[])?.logout()?;
        self.descriptors_are_back()?;
        self.shared.is_over.store(true, Ordering::Relaxed);
        let witness = self.witness.take().context("no witness")?;
        let joined = witness.join();
        joined.map_err(|_| anyhow!("the witness panicked"))??;
        // A worker gives memory back when it has nothing else to do.
        self.until("memory is not given back", || {
            Ok(self.target.resident_bytes()? <= self.resident_bytes + KEPT_BYTES)
        })?;
        let log = self.target.log_text();
        ensure!(!log.contains("panic"), "{log}");
        let lines = log.lines().count();
        ensure!(lines <= LOG_LINES, "{lines} lines: {log}");
        ensure!(self.target.drain()?.success(), "it did not exit 0");
        Ok(())
    }

    /// Waits until all connections but the witness' have given their descriptors back.
    ///
    /// # Errors
    /// They do not.
    pub fn descriptors_are_back(&self) -> Result<()> {
        self.until("descriptors are not given back", || {
            Ok(self.target.descriptors()? <= self.descriptors)
        })
    }

    /// Waits until it holds.
    fn until(&self, otherwise: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !holds()? {
            if Instant::now() >= end {
                let (descriptors, resident) =
                    (self.target.descriptors()?, self.target.resident_bytes()?);
                bail!(
                    "{otherwise}: {} of them, {} bytes at the start, {descriptors} and {resident} now",
                    self.descriptors,
                    self.resident_bytes
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Writes, and reads back what it wrote, until told that it is over.
fn witness(mut client: Client, shared: &Shared) -> Result<()> {
    let mut load = Load::new(0, 64, 128, 1);
    while !shared.is_over.load(Ordering::Relaxed) {
        let until = load.acknowledged + ROUND;
        load.run(&mut client, 8, |load, _| {
            shared
                .acknowledged
                .store(load.acknowledged, Ordering::Relaxed);
            load.acknowledged >= until
        })?;
        load.verify(&mut client)?;
        client.ping_now()?;
    }
    client.logout()
}
