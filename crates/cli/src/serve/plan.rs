//! From what was typed to what the engine runs: one target with one portal group, and a LUN for each disk.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use auth::Secret;
use engine::EngineConfig;
use iscsi_wire::IscsiName;
use model::{BackstoreType, Change, ChapCredential, LogicalUnitNumber, ObjectPath, Raw, Tree};

use super::args::Args;
use super::name::target_name;
use super::secret::SecretFile;
use super::size::parse_size;

/// The secrets of both directions.
#[derive(Clone, Debug)]
struct Pair {
    chap: ChapCredential,
    mutual: Option<ChapCredential>,
}

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
        check_serials(&args.serial, disks.len())?;
        let mut changes = vec![
            Change::create(ObjectPath::Target(target.clone()), []),
            group(&target, initiators.is_empty(), credentials.as_ref()),
        ];
        changes.extend(
            portals(&args.listen)?
                .into_iter()
                .map(|at| Change::create(ObjectPath::Portal(target.clone(), GROUP_TAG, at), [])),
        );
        for (index, disk) in disks.iter().enumerate() {
            changes.extend(lun(args, &target, index, disk, create_bytes)?);
        }
        for initiator in &initiators {
            let path = ObjectPath::Acl(target.clone(), GROUP_TAG, initiator.clone());
            // An initiator with an ACL is asked for the ACL's own credentials.
            changes.push(Change::create(path, proof(credentials.as_ref())));
        }
        if args.discovery_chap && credentials.is_some() {
            changes.push(Change::set(
                ObjectPath::Discovery,
                proof(credentials.as_ref()),
            ));
        }
        Ok(Self {
            config: config(args)?,
            tree: tree(&changes)?,
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

fn tree(changes: &[Change]) -> Result<Tree> {
    let plan = Tree::default().plan(changes);
    plan.map(|plan| plan.tree).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(|m| m.error.to_string()).collect();
        anyhow!(lines.join("\n"))
    })
}

fn group(target: &IscsiName, any_initiator: bool, credentials: Option<&Pair>) -> Change {
    let chap = if credentials.is_some() {
        "chap"
    } else {
        "none"
    };
    let mut attributes = vec![
        ("authentication", Raw::from(chap)),
        ("generate_node_acls", Raw::from(any_initiator)),
    ];
    if any_initiator {
        attributes.extend(proof(credentials));
    }
    Change::create(ObjectPath::Tpg(target.clone(), GROUP_TAG), attributes)
}

/// What an initiator proves, and what the target does, as attributes.
fn proof(credentials: Option<&Pair>) -> Vec<(&'static str, Raw)> {
    let mut attributes = Vec::new();
    if let Some(Pair { chap, mutual }) = credentials {
        attributes.push(("chap.user", Raw::from(chap.user.as_str())));
        attributes.push(("chap.secret", Raw::Secret(chap.secret.clone())));
        if let Some(mutual) = mutual {
            attributes.push(("mutual_chap.user", Raw::from(mutual.user.as_str())));
            attributes.push(("mutual_chap.secret", Raw::Secret(mutual.secret.clone())));
        }
    }
    attributes
}

/// A disk and the LUN that shows it.
fn lun(
    args: &Args,
    target: &IscsiName,
    index: usize,
    disk: &Disk,
    create_bytes: Option<u64>,
) -> Result<[Change; 2]> {
    let number = lun_number(index)?;
    let block_size: i64 = args.block_size.parse().context("--block-size")?;
    let mut attributes = vec![
        ("block_size", Raw::from(block_size)),
        ("read_only", Raw::from(args.read_only)),
    ];
    let kind = match disk {
        Disk::Ram { bytes } => {
            attributes.push(("size", size("--ram", *bytes, block_size)?));
            BackstoreType::Ram
        }
        Disk::Path(path) => {
            attributes.push(("path", Raw::from(model::text_of_path(path))));
            let kind = path_type(path)?;
            if let (BackstoreType::File, Some(bytes)) = (kind, create_bytes) {
                let of = path.display().to_string();
                attributes.push(("size", size(&of, bytes, block_size)?));
            }
            kind
        }
    };
    if let Some(serial) = args.serial.get(index) {
        attributes.push(("serial", Raw::from(serial.as_str())));
    }
    let name = format!("lun{}", number.0);
    let shown = [
        ("backstore", Raw::from(format!("{kind}/{name}"))),
        ("write_protect", Raw::from(args.read_only)),
    ];
    Ok([
        Change::create(ObjectPath::Backstore(kind, name), attributes),
        Change::create(ObjectPath::Lun(target.clone(), GROUP_TAG, number), shown),
    ])
}

fn size(of: &str, bytes: u64, block_size: i64) -> Result<Raw> {
    let bytes = i64::try_from(bytes).with_context(|| format!("{of}: a size is below 8 EiB"))?;
    if bytes % block_size != 0 {
        bail!("{of}: the size is not a multiple of {block_size} bytes; give a size such as 10GiB");
    }
    Ok(Raw::from(bytes))
}

/// A block device is one only if it is there; a missing path is a file to be created.
fn path_type(path: &Path) -> Result<BackstoreType> {
    match std::fs::metadata(path) {
        Ok(found) if found.file_type().is_block_device() => Ok(BackstoreType::Block),
        // A regular file in /dev, made by a slip of the pen, would fill the machine's memory.
        Err(_) if path.starts_with("/dev") && !path.starts_with("/dev/shm") => {
            bail!(
                "{}: there is no such device; lsblk lists those of this machine",
                path.display()
            )
        }
        // What else is wrong with it comes out when it is opened.
        _ => Ok(BackstoreType::File),
    }
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

fn portals(texts: &[String]) -> Result<Vec<SocketAddr>> {
    let mut portals: Vec<SocketAddr> = Vec::new();
    for text in texts {
        let address = listen_address(text)?;
        if !portals.contains(&address) {
            portals.push(address);
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

fn chap(args: &Args, notes: &mut Vec<String>) -> Result<Option<(Pair, Chap)>> {
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
    let credentials = Pair {
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
        secret: Secret::new(read.secret),
    };
    let told = ChapFile {
        user: user.to_owned(),
        file: file.to_owned(),
        has_line_end: read.has_line_end,
    };
    Ok((credential, told))
}

#[cfg(test)]
mod tests;
