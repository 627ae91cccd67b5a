//! From what was typed to what the engine runs: one target with one portal group, and a LUN for each disk.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use engine::EngineConfig;
use iscsi_wire::IscsiName;
use model::{
    Authentication, Backstore, BackstoreKind, ChapCredential, Credentials, LogicalUnitNumber, Lun,
    NodeAcl, ObjectId, Portal, PortalGroup, SessionSettings, Target, Tree,
};

use super::args::Args;
use super::name::target_name;
use super::secret::SecretFile;
use super::size::parse_size;

/// The port of iSCSI (RFC 7143 §4.2.7.1).
const ISCSI_PORT: u16 = 3260;
const GROUP_TAG: u16 = 1;

/// All that a command line asks for, checked as far as it can be without touching a disk or a port.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: EngineConfig,
    pub(crate) tree: Tree,
    pub(crate) target: IscsiName,
    /// In the order of their LUNs.
    pub(crate) disks: Vec<Disk>,
    /// What a missing file is created with.
    pub(crate) create_bytes: Option<u64>,
    pub(crate) chap: Option<Chap>,
    /// Who may log in; none: any initiator.
    pub(crate) initiators: Vec<IscsiName>,
    /// What the operator should hear, once it serves.
    pub(crate) notes: Vec<String>,
}

/// What stands behind a LUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Path(PathBuf),
    Ram { bytes: u64 },
}

/// What initiators have to be told of CHAP; the secrets themselves are in the tree alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chap {
    pub(crate) user: ChapFile,
    pub(crate) mutual: Option<ChapFile>,
    /// Discovery asks for it too.
    pub(crate) discovery: bool,
}

/// A user, and the file with its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChapFile {
    pub(crate) user: String,
    pub(crate) file: PathBuf,
    pub(crate) has_line_end: bool,
}

impl Plan {
    /// Makes the plan; `host` is the machine's name.
    ///
    /// # Errors
    /// The first mistake of the command line, with what to do.
    pub(crate) fn new(args: &Args, host: &str) -> Result<Self> {
        let create_bytes = match &args.size {
            Some(text) => Some(parse_size(text).context("--size")?),
            None => None,
        };
        let mut disks: Vec<Disk> = args.disks.iter().cloned().map(Disk::Path).collect();
        for text in &args.ram {
            let bytes = parse_size(text).context("--ram")?;
            disks.push(Disk::Ram { bytes });
        }
        let target = target_name(
            args.name.as_deref(),
            host,
            args.disks.first().map(PathBuf::as_path),
        )?;
        let initiators = initiators(&args.initiator)?;
        let mut notes = Vec::new();
        let (credentials, chap) = chap(args, &mut notes)?.unzip();
        let mut ids = (1..).map(ObjectId);
        let backstores = backstores(args, &disks, create_bytes, &mut ids)?;
        let group = group(
            args,
            portals(&args.listen)?,
            &backstores,
            &initiators,
            credentials.clone(),
            &mut ids,
        )?;
        let discovery = match &chap {
            Some(Chap {
                discovery: true, ..
            }) => authentication(credentials),
            _ => Authentication::default(),
        };
        Ok(Self {
            config: config(args)?,
            tree: tree(&target, group, backstores, discovery, &mut ids),
            target,
            disks,
            create_bytes,
            chap,
            initiators,
            notes,
        })
    }
}

fn config(args: &Args) -> Result<EngineConfig> {
    Ok(EngineConfig {
        workers: args.workers.map(usize::from),
        driver: args
            .driver
            .parse()
            .map_err(|error| anyhow!("--driver: {error}"))?,
        ..EngineConfig::default()
    })
}

fn tree(
    target: &IscsiName,
    group: PortalGroup,
    backstores: Vec<Backstore>,
    discovery: Authentication,
    ids: &mut impl Iterator<Item = ObjectId>,
) -> Tree {
    let node = Target {
        id: fresh(ids),
        name: target.clone(),
        alias: None,
        tpgs: BTreeMap::from([(group.tag, Arc::new(group))]),
    };
    Tree {
        generation: 1,
        backstores: backstores
            .into_iter()
            .map(|b| (b.id, Arc::new(b)))
            .collect(),
        targets: BTreeMap::from([(target.clone(), Arc::new(node))]),
        discovery,
    }
}

fn group(
    args: &Args,
    portals: Vec<Portal>,
    backstores: &[Backstore],
    initiators: &[IscsiName],
    credentials: Option<Credentials>,
    ids: &mut impl Iterator<Item = ObjectId>,
) -> Result<PortalGroup> {
    let mut luns = BTreeMap::new();
    for (index, backstore) in backstores.iter().enumerate() {
        let lun = Lun {
            id: fresh(ids),
            backstore: backstore.id,
            write_protect: args.read_only,
        };
        luns.insert(lun_number(index)?, lun);
    }
    let acl = |initiator: &IscsiName| {
        let acl = NodeAcl {
            id: fresh(ids),
            initiator: initiator.clone(),
            mapped_luns: None,
            credentials: None,
        };
        (initiator.clone(), Arc::new(acl))
    };
    Ok(PortalGroup {
        acls: initiators.iter().map(acl).collect(),
        id: fresh(ids),
        tag: GROUP_TAG,
        relative_target_port: 1,
        enabled: true,
        portals,
        luns,
        generate_node_acls: initiators.is_empty(),
        authentication: match credentials {
            Some(credentials) => authentication(Some(credentials)),
            None => Authentication::default(),
        },
        settings: SessionSettings::default(),
    })
}

fn authentication(credentials: Option<Credentials>) -> Authentication {
    Authentication {
        required: true,
        credentials,
        version: 1,
    }
}

fn backstores(
    args: &Args,
    disks: &[Disk],
    create_bytes: Option<u64>,
    ids: &mut impl Iterator<Item = ObjectId>,
) -> Result<Vec<Backstore>> {
    check_serials(&args.serial, disks.len())?;
    let block_size_bytes = args.block_size.parse().context("--block-size")?;
    let mut backstores = Vec::new();
    for (index, disk) in disks.iter().enumerate() {
        let (name, kind) = match disk {
            Disk::Path(path) => (path.display().to_string(), path_kind(path, create_bytes)?),
            Disk::Ram { bytes } => {
                let name = format!("RAM disk at LUN {}", lun_number(index)?.0);
                (name, BackstoreKind::Ram { bytes: *bytes })
            }
        };
        backstores.push(Backstore {
            id: fresh(ids),
            name,
            kind,
            block_size_bytes,
            write_cache: true,
            read_only: args.read_only,
            thin: true,
            serial: args.serial.get(index).cloned(),
        });
    }
    Ok(backstores)
}

/// A block device is one only if it is there; a missing path is a file to be created.
fn path_kind(path: &Path, create_bytes: Option<u64>) -> Result<BackstoreKind> {
    let path = path.to_owned();
    match std::fs::metadata(&path) {
        Ok(found) if found.file_type().is_block_device() => {
            return Ok(BackstoreKind::Block {
                path,
                direct: false,
            });
        }
        // A regular file in /dev, made by a slip of the pen, would fill the machine's memory.
        Err(_) if path.starts_with("/dev") && !path.starts_with("/dev/shm") => {
            bail!(
                "{}: there is no such device; lsblk lists those of this machine",
                path.display()
            )
        }
        // What else is wrong with it comes out when it is opened.
        _ => {}
    }
    Ok(BackstoreKind::File {
        path,
        create_bytes,
        direct: false,
    })
}

/// One for each LUN or none at all: which disk a single one belongs to would be a guess.
fn check_serials(serials: &[String], disks: usize) -> Result<()> {
    if !serials.is_empty() && serials.len() != disks {
        bail!(
            "--serial: given {} for {disks} LUNs; give one for each, in the order of the LUNs, or none",
            serials.len()
        );
    }
    for (index, serial) in serials.iter().enumerate() {
        if serials[..index].contains(serial) {
            bail!("--serial {serial}: given twice; two disks of one serial would be taken for one");
        }
    }
    Ok(())
}

fn lun_number(index: usize) -> Result<LogicalUnitNumber> {
    u16::try_from(index)
        .ok()
        .map(LogicalUnitNumber)
        .filter(|number| *number <= LogicalUnitNumber::MAX)
        .ok_or_else(|| anyhow!("more than 16384 disks; a target has LUNs 0 to 16383"))
}

fn initiators(texts: &[String]) -> Result<Vec<IscsiName>> {
    let mut names = Vec::new();
    for text in texts {
        let name = IscsiName::parse_peer(text).map_err(|error| {
            anyhow!(
                "--initiator {text}: {error}; on Linux the name stands in /etc/iscsi/initiatorname.iscsi"
            )
        })?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn portals(texts: &[String]) -> Result<Vec<Portal>> {
    let mut portals: Vec<Portal> = Vec::new();
    for text in texts {
        let portal = Portal {
            address: listen_address(text)?,
            advertise: None,
        };
        // Port 0 is another one each time.
        if portal.address.port() == 0 || !portals.contains(&portal) {
            portals.push(portal);
        }
    }
    Ok(portals)
}

fn listen_address(text: &str) -> Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse::<IpAddr>()
        .map(|address| SocketAddr::new(address, ISCSI_PORT))
        .map_err(|_| {
            anyhow!(
                "--listen {text}: not an address and port; write it as 127.0.0.1:3260, [::1]:3260, \
                 or 0.0.0.0:3260 for every address of this machine"
            )
        })
}

fn chap(args: &Args, notes: &mut Vec<String>) -> Result<Option<(Credentials, Chap)>> {
    // The parser has seen to it that each user comes with a file.
    let (Some(user), Some(file)) = (&args.chap, &args.chap_secret_file) else {
        return Ok(None);
    };
    let (credential, told) = credential("--chap", user, file, notes)?;
    let mutual = match (&args.mutual_chap, &args.mutual_chap_secret_file) {
        (Some(user), Some(file)) => Some(self::credential("--mutual-chap", user, file, notes)?),
        _ => None,
    };
    let (mutual_credential, mutual_told) = mutual.unzip();
    // RFC 7143 §9.2.1: the secrets of the two directions differ, or each side could answer with the other's response.
    if mutual_credential
        .as_ref()
        .is_some_and(|mutual| mutual.secret == credential.secret)
    {
        bail!(
            "--mutual-chap: its secret is that of --chap too; give the target a secret of its own"
        );
    }
    let credentials = Credentials {
        chap: credential,
        mutual: mutual_credential,
    };
    let told = Chap {
        user: told,
        mutual: mutual_told,
        discovery: args.discovery_chap,
    };
    Ok(Some((credentials, told)))
}

fn credential(
    flag: &str,
    user: &str,
    file: &Path,
    notes: &mut Vec<String>,
) -> Result<(ChapCredential, ChapFile)> {
    if user.is_empty() {
        bail!("{flag}: the user's name is empty; give it one");
    }
    let read = SecretFile::read(file)?;
    notes.extend(read.notes);
    let credential = ChapCredential {
        user: user.to_owned(),
        secret: read.secret,
    };
    let told = ChapFile {
        user: user.to_owned(),
        file: file.to_owned(),
        has_line_end: read.has_line_end,
    };
    Ok((credential, told))
}

fn fresh(ids: &mut impl Iterator<Item = ObjectId>) -> ObjectId {
    ids.next()
        .expect("2^64 ids are enough for one command line")
}

#[cfg(test)]
mod tests;
