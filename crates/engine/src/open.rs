//! Opens a backstore of the tree. May wait for disks: never called by a worker.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstores::{
    Backstore, Expect, Identity, IdentityHints, MachineId, OpenError, OpenProblem, Opened,
    PathOptions, ProtectedStore, ResizeError, open_null, open_path, open_ram,
};
use model::Backing;
use scsi::lu::ModeChange;
use scsi::{Interlock, LuIdentity};

use crate::engine::{UnitReport, patiently};

/// A backstore, open and locked.
pub(crate) struct OpenedUnit {
    pub(crate) store: Arc<dyn Backstore>,
    pub(crate) identity: Arc<LuIdentity>,
    pub(crate) report: UnitReport,
}

/// Why a backstore cannot be had, or not as it was asked for. Displays as `reason; hint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreProblem {
    /// Its file, device or memory cannot be opened.
    Open(OpenError),
    /// It cannot have the size asked for.
    Resize(ResizeError),
    /// The device does not answer.
    NoAnswer,
    /// The system starts no thread to open it on.
    NoThread(std::io::ErrorKind),
    /// Another backstore has its serial: initiators would take the two for one disk.
    SameSerial {
        /// The unit serial number.
        serial: String,
        /// Canonical path of the other.
        other: String,
    },
    /// Its file is still in use by a backstore that was removed.
    StillInUse {
        /// The file or device.
        file: PathBuf,
        /// Canonical path of that one.
        by: String,
    },
}

impl StoreProblem {
    /// What is wrong, in words.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Open(error) => format!("{}: {}", error.path.display(), error.reason()),
            Self::Resize(error) => format!("{}: {}", error.path.display(), error.reason()),
            Self::NoAnswer => "it does not answer".to_owned(),
            Self::NoThread(kind) => format!("no thread could be started to open it: {kind}"),
            Self::SameSerial { serial, other } => format!("{other} has the same serial {serial}"),
            Self::StillInUse { file, by } => format!(
                "{} is still in use by {by}, which was removed and waits for its last I/O",
                file.display()
            ),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open(error) => error.hint(),
            Self::Resize(error) => error.hint(),
            Self::NoAnswer => "see to the device or the network behind it",
            Self::NoThread(_) => "see to the limits of the process",
            Self::SameSerial { .. } => "give one of them a serial of its own",
            Self::StillInUse { .. } => "see to the device behind it",
        }
    }
}

impl fmt::Display for StoreProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason(), self.hint())
    }
}

/// Whether a missing file is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Create {
    /// It is: the backstore is new.
    IfMissing,
    /// It is not: what was there once has to come back, or an empty disk would stand in its place.
    Never,
}

/// Opens one, for this many workers.
pub(crate) fn open_unit(
    backstore: &model::Backstore,
    workers: usize,
    create: Create,
) -> Result<OpenedUnit, StoreProblem> {
    let machine_id = MachineId::read();
    let locked = |error: &OpenError| matches!(error.problem, OpenProblem::Locked);
    let open = || open(backstore, machine_id.clone(), workers, create);
    let opened = patiently(open, locked).map_err(StoreProblem::Open)?;
    Ok(unit(backstore, &opened))
}

fn open(
    backstore: &model::Backstore,
    machine_id: Option<MachineId>,
    workers: usize,
    create: Create,
) -> Result<Opened, OpenError> {
    let hints = hints(backstore, machine_id)?;
    let block_size = backstore.block_size_bytes();
    let protection = backstore.protection();
    let options = |expect, create_bytes, direct| PathOptions {
        name: Some(backstore.name.clone()),
        expect,
        create_bytes,
        block_size_bytes: block_size,
        direct,
        read_only: backstore.read_only(),
        write_cache: backstore.write_cache(),
        thin: backstore.thin(),
        protection,
        workers,
    };
    let at = |path: &Path, options: PathOptions| open_path(path, &options, &hints);
    match backstore.backing() {
        Backing::File {
            path,
            create_bytes,
            direct,
        } => {
            let create_bytes = create_bytes.filter(|_| create == Create::IfMissing);
            at(&path, options(Expect::File, create_bytes, direct))
        }
        Backing::Block { path, direct } => at(&path, options(Expect::BlockDevice, None, direct)),
        Backing::Ram { bytes } => {
            let opened = open_ram(&backstore.name, bytes, block_size, &hints)?;
            match protection {
                Some(kind) => ProtectedStore::in_memory(opened, kind),
                None => Ok(opened),
            }
        }
        Backing::Null { .. } if protection.is_some() => Err(OpenError {
            path: backstore.name.clone().into(),
            problem: OpenProblem::NoProtection,
        }),
        Backing::Null { bytes } => open_null(&backstore.name, bytes, block_size, &hints),
    }
}

/// What identifies the store, where the tree says it or the machine does.
pub(crate) fn hints(
    backstore: &model::Backstore,
    machine_id: Option<MachineId>,
) -> Result<IdentityHints, OpenError> {
    let mut entropy = [0; 8];
    getrandom::fill(&mut entropy).map_err(|_| OpenError {
        path: backstore.name.clone().into(),
        problem: OpenProblem::SerialNeeded,
    })?;
    Ok(IdentityHints {
        serial: backstore.serial().map(str::to_owned),
        entropy,
        machine_id,
    })
}

pub(crate) fn unit(backstore: &model::Backstore, opened: &Opened) -> OpenedUnit {
    let caps = opened.store.caps();
    let identity = opened.store.identity();
    let report = UnitReport {
        backstore: backstore.id,
        serial: identity.serial().to_owned(),
        naa: identity.naa(),
        size_bytes: caps.geometry.size_bytes(),
        block_size_bytes: caps.geometry.block_size_bytes,
        copy_of: opened.copy_of().map(str::to_owned),
    };
    OpenedUnit {
        store: Arc::clone(&opened.store),
        identity: Arc::new(lu_identity(backstore, identity)),
        report,
    }
}

/// What INQUIRY tells of a store.
pub(crate) fn lu_identity(backstore: &model::Backstore, identity: &Identity) -> LuIdentity {
    // SPC-5 "NAA Locally Assigned designator format": 8 bytes; the rest of the field is for longer formats.
    let mut naa = [0; 16];
    naa[..8].copy_from_slice(&identity.naa().to_be_bytes());
    LuIdentity {
        vendor: padded(&backstore.inquiry_text("vendor")),
        product: padded(&backstore.inquiry_text("product")),
        revision: padded(&backstore.inquiry_text("revision")),
        serial: identity.serial().to_owned(),
        naa,
    }
}

/// What the tree says of the values of mode pages, but for the write cache's.
pub(crate) fn mode_defaults(backstore: &model::Backstore) -> ModeChange {
    ModeChange {
        task_aborted_status: Some(backstore.task_aborted_status()),
        interlock: Some(match backstore.unit_attention_interlock() {
            1 => Interlock::Kept,
            2 => Interlock::KeptAndEstablished,
            _ => Interlock::Cleared,
        }),
        ..ModeChange::default()
    }
}

/// SPC-5 "Left justified, right padded with spaces": printable ASCII only.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let printable = text.bytes().filter(|byte| (0x20..0x7f).contains(byte));
    for (to, from) in field.iter_mut().zip(printable) {
        *to = from;
    }
    field
}
