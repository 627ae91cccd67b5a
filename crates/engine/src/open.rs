//! Opens a tree's backstores. May wait for disks: never called by a worker.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use backstores::{
    Backstore, Expect, Identity, IdentityHints, MachineId, OpenError, OpenProblem, Opened,
    PathOptions, open_null, open_path, open_ram,
};
use model::{Backing, ConfigCode, ConfigError, ObjectId, Tree};
use scsi::LuIdentity;

use crate::config::StartError;
use crate::engine::{UnitReport, patiently};

/// Who made the disk, as INQUIRY says (SPC-5 "Standard INQUIRY data"; T10 vendor identification, 8 bytes).
const VENDOR: [u8; 8] = *b"QUINTAIN";
const REVISION: [u8; 4] = *b"0001";

/// A backstore, open and locked.
pub(crate) struct OpenedUnit {
    pub(crate) store: Arc<dyn Backstore>,
    pub(crate) identity: Arc<LuIdentity>,
    pub(crate) report: UnitReport,
}

/// Opens all of them, in the tree's order, each for this many workers.
pub(crate) fn open_units(tree: &Tree, workers: usize) -> Result<Vec<OpenedUnit>, StartError> {
    let machine_id = MachineId::read();
    let mut serials: BTreeMap<String, String> = BTreeMap::new();
    let mut units = Vec::new();
    for backstore in tree.backstores() {
        let locked = |error: &OpenError| matches!(error.problem, OpenProblem::Locked);
        let open = || open(backstore, machine_id.clone(), workers);
        let opened = patiently(open, locked).map_err(StartError::Backstore)?;
        let serial = opened.store.identity().serial().to_owned();
        if let Some(other) = serials.insert(serial, backstore.reference()) {
            // Two disks of one identity look like two paths to one disk, and multipath would write one's data to the other.
            return Err(StartError::Tree(vec![ConfigError::new(
                format!(
                    "/backstores/{} and /backstores/{other}",
                    backstore.reference()
                ),
                ConfigCode::Conflict,
                "both disks have the same serial",
                "give one of them a serial of its own",
            )]));
        }
        units.push(unit(backstore.id, &opened));
    }
    Ok(units)
}

fn open(
    backstore: &model::Backstore,
    machine_id: Option<MachineId>,
    workers: usize,
) -> Result<Opened, OpenError> {
    let mut entropy = [0; 8];
    getrandom::fill(&mut entropy).map_err(|_| OpenError {
        path: backstore.name.clone().into(),
        problem: OpenProblem::SerialNeeded,
    })?;
    let hints = IdentityHints {
        serial: backstore.serial().map(str::to_owned),
        entropy,
        machine_id,
    };
    let block_size = backstore.block_size_bytes();
    let options = |expect, create_bytes, direct| PathOptions {
        name: Some(backstore.reference()),
        expect,
        create_bytes,
        block_size_bytes: block_size,
        direct,
        read_only: backstore.read_only(),
        write_cache: backstore.write_cache(),
        thin: backstore.thin(),
        workers,
    };
    let at = |path: &Path, options: PathOptions| open_path(path, &options, &hints);
    match backstore.backing() {
        Backing::File {
            path,
            create_bytes,
            direct,
        } => at(&path, options(Expect::File, create_bytes, direct)),
        Backing::Block { path, direct } => at(&path, options(Expect::BlockDevice, None, direct)),
        Backing::Ram { bytes } => open_ram(&backstore.name, bytes, block_size, &hints),
        Backing::Null { bytes } => open_null(&backstore.name, bytes, block_size, &hints),
    }
}

fn unit(id: ObjectId, opened: &Opened) -> OpenedUnit {
    let caps = opened.store.caps();
    let identity = opened.store.identity();
    let report = UnitReport {
        backstore: id,
        serial: identity.serial().to_owned(),
        naa: identity.naa(),
        size_bytes: caps.geometry.size_bytes(),
        block_size_bytes: caps.geometry.block_size_bytes,
        notice: opened.notice(),
    };
    OpenedUnit {
        store: Arc::clone(&opened.store),
        identity: Arc::new(lu_identity(identity)),
        report,
    }
}

fn lu_identity(identity: &Identity) -> LuIdentity {
    // SPC-5 "NAA Locally Assigned designator format": 8 bytes; the rest of the field is for longer formats.
    let mut naa = [0; 16];
    naa[..8].copy_from_slice(&identity.naa().to_be_bytes());
    LuIdentity {
        vendor: VENDOR,
        product: *b"VIRTUAL-DISK    ",
        revision: REVISION,
        serial: identity.serial().to_owned(),
        naa,
    }
}
