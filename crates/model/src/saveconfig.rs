//! LIO's saveconfig.json, as rtslib and targetcli write it: an exchange format, read and written.
//!
//! What is read makes objects with LIO's column of defaults. What has LIO's default in the file is left unset, and written again
//! all the same, because a file of LIO's names every attribute. What cannot be told in the file is lost on the way: what each initiator sees by
//! default is written as its mapped LUNs, and serials as `wwn`; O_DIRECT, advertised addresses, redirections, the texts of INQUIRY and a file's
//! read-only state are not. What the file has and Quintain has not is told as a warning, and left out.

mod in_place;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use self::in_place::in_place;
pub use self::read::parse;
pub use self::write::write;
use crate::tree::BackstoreType;

/// LIO's name of a kind of backstores. Its ramdisk is both of ours that need no path.
fn plugin(kind: BackstoreType) -> &'static str {
    match kind {
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
