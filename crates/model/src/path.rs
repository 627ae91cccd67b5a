//! Where an object stands in the tree: one canonical spelling for every face, error and audit line.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use iscsi_wire::IscsiName;

use crate::attributes::ObjectKind;
use crate::tree::{BackstoreType, LogicalUnitNumber};

/// Names one object. Ordered so that an object comes before what stands below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectPath {
    /// `/`: what holds for the whole daemon.
    Daemon,
    /// `/discovery`: what a discovery session has to prove.
    Discovery,
    /// `/backstores/<type>/<name>`
    Backstore(BackstoreType, String),
    /// `/backstores/<type>/<name>/alua/<group>`
    AluaGroup(BackstoreType, String, String),
    /// `/targets/<iqn>`
    Target(IscsiName),
    /// `/targets/<iqn>/tpgs/<tag>`
    Tpg(IscsiName, u16),
    /// `/targets/<iqn>/tpgs/<tag>/portals/<addr:port>`
    Portal(IscsiName, u16, SocketAddr),
    /// `/targets/<iqn>/tpgs/<tag>/luns/<n>`
    Lun(IscsiName, u16, LogicalUnitNumber),
    /// `/targets/<iqn>/tpgs/<tag>/acls/<iqn>`
    Acl(IscsiName, u16, IscsiName),
    /// `/targets/<iqn>/tpgs/<tag>/acls/<iqn>/luns/<n>`
    MappedLun(IscsiName, u16, IscsiName, LogicalUnitNumber),
}

/// Why a text names no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// What is wrong with it.
    pub reason: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.hint)
    }
}

impl std::error::Error for PathError {}

impl ObjectPath {
    /// What kind of object it names.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Daemon => ObjectKind::Daemon,
            Self::Discovery => ObjectKind::Discovery,
            Self::Backstore(..) => ObjectKind::Backstore,
            Self::AluaGroup(..) => ObjectKind::AluaGroup,
            Self::Target(_) => ObjectKind::Target,
            Self::Tpg(..) => ObjectKind::Tpg,
            Self::Portal(..) => ObjectKind::Portal,
            Self::Lun(..) => ObjectKind::Lun,
            Self::Acl(..) => ObjectKind::Acl,
            Self::MappedLun(..) => ObjectKind::MappedLun,
        }
    }

    /// The object that it belongs to: it goes when that goes.
    #[must_use]
    pub fn owner(&self) -> Option<Self> {
        match self {
            Self::Daemon => None,
            Self::Discovery | Self::Backstore(..) | Self::Target(_) => Some(Self::Daemon),
            Self::AluaGroup(kind, name, _) => Some(Self::Backstore(*kind, name.clone())),
            Self::Tpg(target, _) => Some(Self::Target(target.clone())),
            Self::Portal(target, tag, _)
            | Self::Lun(target, tag, _)
            | Self::Acl(target, tag, _) => Some(Self::Tpg(target.clone(), *tag)),
            Self::MappedLun(target, tag, initiator, _) => {
                Some(Self::Acl(target.clone(), *tag, initiator.clone()))
            }
        }
    }

    /// The portal group that it is, or stands in.
    #[must_use]
    pub fn group(&self) -> Option<(&IscsiName, u16)> {
        match self {
            Self::Tpg(target, tag)
            | Self::Portal(target, tag, _)
            | Self::Lun(target, tag, _)
            | Self::Acl(target, tag, _)
            | Self::MappedLun(target, tag, ..) => Some((target, *tag)),
            _ => None,
        }
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon => f.write_str("/"),
            Self::Discovery => f.write_str("/discovery"),
            Self::Backstore(kind, name) => write!(f, "/backstores/{kind}/{name}"),
            Self::AluaGroup(kind, name, group) => {
                write!(f, "/backstores/{kind}/{name}/alua/{group}")
            }
            Self::Target(name) => write!(f, "/targets/{name}"),
            Self::Tpg(name, tag) => write!(f, "/targets/{name}/tpgs/{tag}"),
            Self::Portal(name, tag, at) => write!(f, "/targets/{name}/tpgs/{tag}/portals/{at}"),
            Self::Lun(name, tag, lun) => write!(f, "/targets/{name}/tpgs/{tag}/luns/{}", lun.0),
            Self::Acl(name, tag, initiator) => {
                write!(f, "/targets/{name}/tpgs/{tag}/acls/{initiator}")
            }
            Self::MappedLun(name, tag, initiator, lun) => {
                write!(
                    f,
                    "/targets/{name}/tpgs/{tag}/acls/{initiator}/luns/{}",
                    lun.0
                )
            }
        }
    }
}

impl FromStr for ObjectPath {
    type Err = PathError;

    /// Reads a canonical path, its segments not percent-encoded.
    fn from_str(text: &str) -> Result<Self, PathError> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(error(
                format!("{text} is no path"),
                "a path begins with /".to_owned(),
            ));
        };
        let segments: Vec<&str> = rest.split('/').filter(|s| !s.is_empty()).collect();
        match segments.as_slice() {
            [] => Ok(Self::Daemon),
            ["discovery"] => Ok(Self::Discovery),
            ["backstores", kind, name] => Ok(Self::Backstore(kind.parse()?, backstore_name(name)?)),
            ["backstores", kind, name, "alua", group] => Ok(Self::AluaGroup(
                kind.parse()?,
                backstore_name(name)?,
                backstore_name(group)?,
            )),
            ["targets", name] => Ok(Self::Target(iscsi_name(name)?)),
            ["targets", name, "tpgs", tag, below @ ..] => {
                below_group(text, iscsi_name(name)?, group_tag(tag)?, below)
            }
            _ => Err(unknown(text)),
        }
    }
}

fn below_group(
    text: &str,
    target: IscsiName,
    tag: u16,
    below: &[&str],
) -> Result<ObjectPath, PathError> {
    match below {
        [] => Ok(ObjectPath::Tpg(target, tag)),
        ["portals", at] => Ok(ObjectPath::Portal(target, tag, portal_address(at)?)),
        ["luns", lun] => Ok(ObjectPath::Lun(target, tag, lun_number(lun)?)),
        ["acls", initiator] => Ok(ObjectPath::Acl(target, tag, initiator_name(initiator)?)),
        ["acls", initiator, "luns", lun] => Ok(ObjectPath::MappedLun(
            target,
            tag,
            initiator_name(initiator)?,
            lun_number(lun)?,
        )),
        _ => Err(unknown(text)),
    }
}

/// An initiator's name: as login takes it, so that an ACL can be written for each that comes.
pub(crate) fn initiator_name(text: &str) -> Result<IscsiName, PathError> {
    IscsiName::parse_peer(text).map_err(|why| {
        error(
            format!("{text}: {why}"),
            "write a name such as iqn.2026-11.org.example:host".to_owned(),
        )
    })
}

pub(crate) fn iscsi_name(text: &str) -> Result<IscsiName, PathError> {
    IscsiName::parse(text).map_err(|why| {
        error(
            format!("{text}: {why}"),
            "write a name such as iqn.2026-11.org.example:disk".to_owned(),
        )
    })
}

pub(crate) fn group_tag(text: &str) -> Result<u16, PathError> {
    let tag = text.parse().ok().filter(|tag| *tag > 0);
    // RFC 7143 §13.9: a tag is 0 to 65535; 0 is kept for "none" by discovery sessions here, and LIO begins at 1.
    tag.ok_or_else(|| {
        error(
            format!("{text} is no portal group tag"),
            "use 1 to 65535".to_owned(),
        )
    })
}

pub(crate) fn lun_number(text: &str) -> Result<LogicalUnitNumber, PathError> {
    let number = text.parse().ok().map(LogicalUnitNumber);
    number
        .filter(|number| *number <= LogicalUnitNumber::MAX)
        .ok_or_else(|| error(format!("{text} is no LUN"), "use 0 to 16383".to_owned()))
}

pub(crate) fn portal_address(text: &str) -> Result<SocketAddr, PathError> {
    text.parse().map_err(|_| {
        error(
            format!("{text} is no address and port"),
            "write 192.0.2.1:3260 or [2001:db8::1]:3260".to_owned(),
        )
    })
}

/// The longest name of a backstore, in bytes.
const NAME_MAX_BYTES: usize = 200;

pub(crate) fn backstore_name(text: &str) -> Result<String, PathError> {
    let legal = |c: char| !c.is_control() && !c.is_whitespace() && c != '/';
    let fine =
        text.len() <= NAME_MAX_BYTES && text.chars().all(legal) && !matches!(text, "." | "..");
    if fine {
        Ok(text.to_owned())
    } else {
        Err(error(
            format!("{text:?} cannot be a name"),
            format!("use at most {NAME_MAX_BYTES} bytes without blanks and /"),
        ))
    }
}

fn unknown(text: &str) -> PathError {
    error(
        format!("{text} names no object"),
        "objects are /backstores/<type>/<name>, /targets/<iqn>/tpgs/<tag> and portals/, luns/ and acls/ below that, /discovery and /"
            .to_owned(),
    )
}

pub(crate) fn error(reason: String, hint: String) -> PathError {
    PathError { reason, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_canonical_paths_round_trips() {
        for text in [
            "/",
            "/discovery",
            "/backstores/file/vm1",
            "/backstores/block/a:b@c",
            "/backstores/ram/r/alua/default_tg_pt_gp",
            "/targets/iqn.2026-11.org.example:t",
            "/targets/iqn.2026-11.org.example:t/tpgs/1",
            "/targets/iqn.2026-11.org.example:t/tpgs/65535/portals/127.0.0.1:3260",
            "/targets/iqn.2026-11.org.example:t/tpgs/1/portals/[::1]:3260",
            "/targets/iqn.2026-11.org.example:t/tpgs/1/luns/16383",
            "/targets/iqn.2026-11.org.example:t/tpgs/1/acls/iqn.2026-11.org.example:h",
            "/targets/iqn.2026-11.org.example:t/tpgs/1/acls/iqn.2026-11.org.example:h/luns/0",
        ] {
            let path: ObjectPath = text.parse().expect(text);
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn parse_nonsense_is_refused_with_a_hint() {
        for text in [
            "",
            "targets",
            "/targets",
            "/backstores/file",
            "/backstores/tape/x",
            "/targets/nonsense",
            "/targets/iqn.2026-11.org.example:t/tpgs/0",
            "/targets/iqn.2026-11.org.example:t/tpgs/65536",
            "/targets/iqn.2026-11.org.example:t/tpgs/1/luns/16384",
            "/targets/iqn.2026-11.org.example:t/tpgs/1/portals/localhost:3260",
            "/targets/iqn.2026-11.org.example:t/tpgs/1/what/1",
            "/backstores/file/..",
        ] {
            let error = text.parse::<ObjectPath>().expect_err(text);
            assert!(!error.hint.is_empty());
        }
    }

    #[test]
    fn owner_of_each_path_ends_at_the_daemon() {
        let path: ObjectPath =
            "/targets/iqn.2026-11.org.example:t/tpgs/1/acls/iqn.2026-11.org.example:h/luns/0"
                .parse()
                .expect("a path");
        let chain: Vec<_> = std::iter::successors(Some(path), ObjectPath::owner).collect();
        assert_eq!(chain.len(), 5);
        assert_eq!(chain.last(), Some(&ObjectPath::Daemon));
    }
}
