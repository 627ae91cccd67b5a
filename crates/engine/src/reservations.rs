//! Persistent reservations and settings that are to outlast the process: a file of each for a logical unit, written before a change
//! counts.
//!
//! A thread of its own writes them, so that no worker waits for the disk; a home has one save under way at most, so that its queue
//! is bounded by the logical units. What stands in a file is `scsi`'s to say. The directory is the caller's alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use reactor::mailbox::Sender;
use scsi::lu::{Save, SaveKind};
use scsi::{LuCondition, LuIdentity, LuSnapshot, PersistentReservations};

use crate::shared::{Message, UnitIndex};

/// More than 4,096 registrations of the longest names take.
const MAX_FILE_BYTES: u64 = 2 << 20;

/// Where reservations are kept.
pub(crate) struct Reservations {
    directory: PathBuf,
    queue: mpsc::Sender<Job>,
}

/// One save.
struct Job {
    file: PathBuf,
    save: Save,
    /// Who hears how it ended.
    home: HomeName,
    reply: Sender<Message>,
}

/// A home, not to be taken for another that has its place later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HomeName {
    pub(crate) unit: UnitIndex,
    pub(crate) epoch: u64,
}

impl Reservations {
    /// Makes the directory, if it is not there, and starts to write.
    pub(crate) fn open(directory: PathBuf) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)?;
        let (queue, jobs) = mpsc::channel();
        std::thread::Builder::new()
            .name("reservations".into())
            .spawn(move || work(&jobs))?;
        Ok(Self { directory, queue })
    }

    /// What was in force for a logical unit when it was last heard of. Where that cannot be known, it says so: somebody may
    /// have to be kept out.
    pub(crate) fn load(&self, identity: &LuIdentity) -> PersistentReservations {
        let file = self.file(identity, SaveKind::Reservations);
        let read = match read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return PersistentReservations::default();
            }
            Err(error) => Err(error.to_string()),
            Ok(bytes) => PersistentReservations::restore(&bytes).map_err(|error| error.to_string()),
        };
        read.unwrap_or_else(|error| {
            tracing::error!(
                file = %file.display(),
                %error,
                "the persistent reservations of a disk are lost: it is kept from everybody until an initiator sends REPLACE LOST \
                 RESERVATION, or the file is taken away and the disk is opened again"
            );
            PersistentReservations::lost()
        })
    }

    /// A logical unit with the settings that it had when it was last heard of. Where these cannot be known, it is not fit for use:
    /// it may be half erased.
    fn load_settings(&self, lu: LuSnapshot) -> LuSnapshot {
        let file = self.file(&lu.identity, SaveKind::Settings);
        let restored = match read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return lu,
            Err(error) => Err(error.to_string()),
            Ok(bytes) => {
                (lu.clone().with_saved_settings(&bytes)).map_err(|error| error.to_string())
            }
        };
        restored.unwrap_or_else(|error| {
            tracing::error!(
                file = %file.display(),
                %error,
                "the settings of a disk are lost, and it may have been half erased: it is kept from everybody until the file is taken \
                 away and the disk is opened again"
            );
            LuSnapshot {
                condition: LuCondition::Failed,
                ..lu
            }
        })
    }

    /// Makes a save durable, off this thread; `reply` then gets [`Message::Saved`].
    pub(crate) fn save(
        &self,
        identity: &LuIdentity,
        save: Save,
        home: HomeName,
        reply: Sender<Message>,
    ) {
        let file = self.file(identity, save.kind);
        let job = Job {
            file,
            save,
            home,
            reply,
        };
        if let Err(mpsc::SendError(job)) = self.queue.send(job) {
            job.answer(false);
        }
    }

    /// By the name that a logical unit keeps when it moves.
    fn file(&self, identity: &LuIdentity, kind: SaveKind) -> PathBuf {
        let digits: String = identity.naa[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.directory.join(match kind {
            SaveKind::Reservations => format!("naa-{digits}"),
            SaveKind::Settings => format!("naa-{digits}.settings"),
        })
    }
}

fn work(jobs: &mpsc::Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        let stored = store(&job.file, job.save.content.as_deref());
        if let Err(error) = &stored {
            tracing::error!(
                file = %job.file.display(),
                %error,
                "what is to outlast the process cannot be saved; the initiator is told, and what was before stays in force"
            );
        }
        job.answer(stored.is_ok());
    }
}

impl Job {
    fn answer(self, durable: bool) {
        let message = Message::Saved {
            home: self.home,
            id: self.save.id,
            durable,
        };
        // A worker that has ended needs no answer.
        let _gone = self.reply.send(message);
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Durable on return. A crash on the way leaves the content from before, or this.
fn store(file: &Path, content: Option<&[u8]>) -> io::Result<()> {
    let directory = file.parent().unwrap_or_else(|| Path::new("."));
    match content {
        Some(content) => {
            let unfinished = file.with_extension("tmp");
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&unfinished)
                .and_then(|mut to| {
                    to.write_all(content)?;
                    to.sync_all()
                })?;
            std::fs::rename(&unfinished, file)?;
        }
        None => match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        },
    }
    File::open(directory)?.sync_all()
}

/// What a logical unit begins with, by whether there is a place to keep reservations.
pub(crate) fn restored(
    lu: scsi::LuSnapshot,
    reservations: Option<&Reservations>,
) -> scsi::LuSnapshot {
    let Some(reservations) = reservations else {
        return lu;
    };
    let persistent = Arc::new(reservations.load(&lu.identity));
    let mut lu = lu.with_persistent(persistent);
    lu.ptpl_capable = true;
    reservations.load_settings(lu)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Vec<u8> {
        // APTPL in force, and nobody registered.
        PersistentReservations::lost().save().unwrap_or_default()
    }

    fn identity() -> LuIdentity {
        let mut naa = [0; 16];
        naa[..8].copy_from_slice(&0x3001_4051_f7c1_94e0_u64.to_be_bytes());
        LuIdentity {
            vendor: *b"QUINTAIN",
            product: [b' '; 16],
            revision: [b' '; 4],
            serial: "1".into(),
            naa,
        }
    }

    #[test]
    fn store_replaces_and_removes_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let reservations = Reservations::open(directory.path().join("new/there")).unwrap();
        let file = reservations.file(&identity(), SaveKind::Reservations);
        let settings = reservations.file(&identity(), SaveKind::Settings);
        assert!(settings.ends_with("new/there/naa-30014051f7c194e0.settings"));
        assert!(file.ends_with("new/there/naa-30014051f7c194e0"));
        assert_eq!(
            reservations.load(&identity()),
            PersistentReservations::default()
        );
        store(&file, Some(b"first")).unwrap();
        store(&file, Some(&saved())).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), saved());
        assert!(reservations.load(&identity()).persists());
        store(&file, None).unwrap();
        store(&file, None).unwrap();
        let left = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(left, 0);
    }

    #[test]
    fn load_of_what_cannot_be_read_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let reservations = Reservations::open(directory.path().to_owned()).unwrap();
        let file = reservations.file(&identity(), SaveKind::Reservations);
        std::fs::write(&file, b"QUINTRSV").unwrap();
        assert!(reservations.load(&identity()).is_lost());
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(reservations.load(&identity()).is_lost());
        assert!(store(&file, Some(&saved())).is_err());
        assert!(store(&file, None).is_err());
    }
}
