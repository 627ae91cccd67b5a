//! The command line of `quintain serve`, as typed. What it means is the plan's to find out.
//!
//! Values that people write freely (sizes, names, addresses) stay text here: a mistake in them gets the program's one line
//! with a hint, not a page of usage.

use std::path::PathBuf;

use clap::ArgGroup;
use clap::builder::PossibleValuesParser;

/// Serve files, block devices and memory as the disks of one iSCSI target, until Ctrl-C.
///
/// Each DISK is a LUN: the first is LUN 0, the next LUN 1. RAM disks follow, then discs. It needs no root, nothing is configured before,
/// and nothing is left behind but the disk.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("what to serve").required(true).multiple(true).args(["disks", "ram", "cdrom"]))]
pub(crate) struct Args {
    /// Disk images and block devices, in the order of their LUNs
    #[arg(value_name = "DISK")]
    pub(crate) disks: Vec<PathBuf>,

    /// Create a missing file with this size, sparse; an existing one keeps its own. As 10GiB, 512MiB, 1G or a number of bytes
    #[arg(long, value_name = "SIZE", requires = "disks")]
    pub(crate) size: Option<String>,

    /// A RAM disk of this size as a further LUN; its contents end with the program. May be given several times
    #[arg(long, value_name = "SIZE")]
    pub(crate) ram: Vec<String>,

    /// An ISO image, shown as the disc of a CD or DVD drive, as a further LUN. May be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) cdrom: Vec<PathBuf>,

    /// Where to listen; IPv6 as `[::1]:3260`, port 0 for a free one. May be given several times
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3260")]
    pub(crate) listen: Vec<String>,

    /// The target's iSCSI name [default: made from the names of the host and of the first disk]
    #[arg(long, value_name = "IQN")]
    pub(crate) name: Option<String>,

    /// Let no initiator write
    #[arg(long)]
    pub(crate) read_only: bool,

    /// The disk's serial number, in place of the one that is kept with it. With several disks, once for each
    #[arg(long, value_name = "TEXT")]
    pub(crate) serial: Vec<String>,

    /// Bytes in a block
    #[arg(long, value_name = "BYTES", default_value = "512",
          value_parser = PossibleValuesParser::new(["512", "4096"]))]
    pub(crate) block_size: String,

    /// How sockets and files are driven: auto takes the best that the system allows
    #[arg(long, value_name = "DRIVER", default_value = "auto",
          value_parser = PossibleValuesParser::new(["auto", "uring", "epoll", "mixed"]))]
    pub(crate) driver: String,

    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,

    /// Ask initiators for CHAP, as this user
    #[arg(long, value_name = "USER", requires = "chap_secret_file")]
    pub(crate) chap: Option<String>,

    /// The file that holds the user's secret, 12 bytes or more
    #[arg(long, value_name = "FILE", requires = "chap")]
    pub(crate) chap_secret_file: Option<PathBuf>,

    /// Prove the target to initiators that ask for it, as this user
    #[arg(long, value_name = "USER", requires_all = ["mutual_chap_secret_file", "chap"])]
    pub(crate) mutual_chap: Option<String>,

    /// The file that holds the target's own secret, another than the user's
    #[arg(long, value_name = "FILE", requires = "mutual_chap")]
    pub(crate) mutual_chap_secret_file: Option<PathBuf>,

    /// Ask for CHAP before discovery too, not only before a login to the target
    #[arg(long, requires = "chap")]
    pub(crate) discovery_chap: bool,

    /// Let only this initiator log in, and see the target. May be given several times
    #[arg(long, value_name = "IQN")]
    pub(crate) initiator: Vec<String>,

    /// Tell where it listens and what it serves in one line of JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  quintain serve disk.img --size 10GiB         a new disk, for initiators on this machine
  quintain serve --ram 1GiB                    a disk in memory
  quintain serve disk.img --cdrom install.iso  a disk, and what to install on it from
  quintain serve disk.img --listen 0.0.0.0:3260 --chap alice --chap-secret-file alice.secret

QUINTAIN_LOG=info in the environment logs more (error, warn, info, debug).";
