//! LIO's saveconfig.json, as rtslib and targetcli write it: an exchange format, read and written.
//!
//! What is read makes objects with LIO's column of defaults. What has LIO's default in the file is left unset, and written again
//! all the same, because a file of LIO's names every attribute. What cannot be told in the file is lost on the way: what each initiator sees by
//! default is written as its mapped LUNs, and serials as `wwn`; O_DIRECT, advertised addresses, redirections, the texts of INQUIRY and a file's
//! read-only state are not. A CD or DVD drive has a plugin of its own, which LIO's tools leave out. What the file has and Quintain has not is told as a warning, and left out.

mod in_place;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use self::in_place::in_place;
pub use self::read::parse;
pub use self::write::write;
use crate::tree::{Backstore, BackstoreType};

/// A drive with a file, or with a device, as its disc: LIO has none, and its tools leave out what they do not know.
const CDROM: &str = "cdrom";
const CDROM_DEVICE: &str = "cdrom_block";

/// LIO's name of a kind of backstores. Its ramdisk is both of ours that need no path.
fn plugin(store: &Backstore) -> &'static str {
    match store.kind {
        BackstoreType::File if store.is_cdrom() => CDROM,
        BackstoreType::Block if store.is_cdrom() => CDROM_DEVICE,
        BackstoreType::File => "fileio",
        BackstoreType::Block => "block",
        BackstoreType::Ram | BackstoreType::Null => "ramdisk",
    }
}

/// The group that each LUN is in unless told otherwise.
const DEFAULT_GROUP: &str = "default_tg_pt_gp";

/// What LIO tells as TargetAlias where nobody said anything.
const DEFAULT_ALIAS: &str = "LIO Target";

/// Behind the key of a secret that is set and not shown: true.
const KEPT: &str = "_kept";
