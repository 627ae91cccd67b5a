//! From what was typed to what the engine runs: one target, and a LUN for each disk.

mod changes;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use auth::Secret;
use engine::EngineConfig;
use iscsi_wire::IscsiName;
use model::{ChapCredential, Tree};

use self::changes::Wanted;
use super::args::Args;
use super::name::target_name;
use super::size::parse_size;
use daemon::SecretFile;

/// The secrets of both directions.
#[derive(Clone, Debug)]
struct Pair {
    chap: ChapCredential,
    mutual: Option<ChapCredential>,
}

/// The port of iSCSI (RFC 7143 §4.2.7.1).
const ISCSI_PORT: u16 = 3260;

/// All that a command line asks for, checked as far as it can be without touching a disk or a port.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: EngineConfig,
    pub(crate) tree: Tree,
    pub(crate) target: IscsiName,
    /// Where to listen, in the order of the command line.
    pub(crate) listen: Vec<SocketAddr>,
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
    Cdrom(PathBuf),
}

impl Disk {
    /// What the operator knows it by.
    pub(crate) fn label(&self, lun: usize) -> String {
        match self {
            Self::Path(path) | Self::Cdrom(path) => path.display().to_string(),
            Self::Ram { .. } => format!("RAM disk at LUN {lun}"),
        }
    }
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
        disks.extend(args.cdrom.iter().cloned().map(Disk::Cdrom));
        let target = target_name(
            args.name.as_deref(),
            host,
            args.disks
                .first()
                .or_else(|| args.cdrom.first())
                .map(PathBuf::as_path),
        )?;
        let initiators = initiators(&args.initiator)?;
        let mut notes = Vec::new();
        let (credentials, chap) = chap(args, &mut notes)?.unzip();
        check_serials(&args.serial, disks.len())?;
        let listen = portals(&args.listen)?;
        let wanted = Wanted {
            args,
            target: &target,
            listen: &listen,
            disks: &disks,
            create_bytes,
            initiators: &initiators,
            credentials: credentials.as_ref(),
        };
        Ok(Self {
            config: config(args)?,
            tree: wanted.tree()?,
            target,
            listen,
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
        // Port 0 is another one each time.
        if address.port() == 0 || !portals.contains(&address) {
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
