//! The table of attributes: one row for each that an object can have, with its type, range, both columns of defaults, help and
//! origin. Parsers, the shell's help and completion, the API's schema and the reference page are made from it.

mod acl;
mod alua;
mod backstore;
mod daemon;
mod lio;
mod nearest;
mod parse;
mod recovery;
mod reference;
mod tpg;

use auth::Secret;

pub use self::lio::LIO_CREDENTIALS;
pub use self::nearest::nearest;
pub use self::parse::{ValueError, parse_size};
pub use self::reference::reference;
use crate::value::{Attributes, Value};

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    Daemon,
    Discovery,
    Backstore,
    AluaGroup,
    Target,
    Tpg,
    Portal,
    Lun,
    Acl,
    MappedLun,
}

impl ObjectKind {
    /// All of them, owners before what they own.
    pub const ALL: [Self; 10] = [
        Self::Daemon,
        Self::Discovery,
        Self::Backstore,
        Self::AluaGroup,
        Self::Target,
        Self::Tpg,
        Self::Portal,
        Self::Lun,
        Self::Acl,
        Self::MappedLun,
    ];

    /// The name that every face shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Discovery => "discovery",
            Self::Backstore => "backstore",
            Self::AluaGroup => "alua_group",
            Self::Target => "target",
            Self::Tpg => "tpg",
            Self::Portal => "portal",
            Self::Lun => "lun",
            Self::Acl => "acl",
            Self::MappedLun => "mapped_lun",
        }
    }

    /// The rows of this kind, by name.
    #[must_use]
    pub fn attributes(self) -> &'static [Attribute] {
        match self {
            Self::Daemon => daemon::DAEMON,
            Self::Discovery => daemon::DISCOVERY,
            Self::Backstore => backstore::BACKSTORE,
            Self::AluaGroup => alua::ALUA_GROUP,
            Self::Target => daemon::TARGET,
            Self::Tpg => tpg::TPG,
            Self::Portal => tpg::PORTAL,
            Self::Lun => tpg::LUN,
            Self::Acl => acl::ACL,
            Self::MappedLun => acl::MAPPED_LUN,
        }
    }

    /// The row of an attribute.
    #[must_use]
    pub fn attribute(self, name: &str) -> Option<&'static Attribute> {
        let rows = self.attributes();
        let at = rows.binary_search_by(|row| row.name.cmp(name)).ok()?;
        rows.get(at)
    }
}

/// Which column of defaults holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Column {
    /// Quintain's own: fast, and demo mode writable where it is chosen.
    #[default]
    Ours,
    /// LIO's, for objects made through its tools.
    Lio,
}

impl Column {
    /// What the attribute `defaults` says.
    pub(crate) fn of(attributes: &Attributes) -> Self {
        match attributes.get("defaults").and_then(Value::as_text) {
            Some("lio") => Self::Lio,
            _ => Self::Ours,
        }
    }
}

/// What values an attribute takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    /// Inclusive.
    Integer {
        min: i64,
        max: i64,
    },
    /// Bytes, given as a number or as text such as `10GiB`. Inclusive, in bytes.
    Size {
        min: i64,
        max: i64,
    },
    /// At most so many bytes.
    Text {
        max_bytes: usize,
    },
    /// A host, or `host:port`: an IPv4 address, an IPv6 address in brackets, or a DNS name; kept with its port.
    Address {
        default_port: u16,
    },
    /// One of these, in any case of letters.
    Choice(&'static [&'static str]),
    /// At most so many bytes; never shown.
    Secret {
        max_bytes: usize,
    },
}

/// A default. `Unset` where the absence itself means something, or the value is found when the object is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    Bool(bool),
    Integer(i64),
    Text(&'static str),
    Unset,
}

impl Default {
    fn value(self) -> Option<Value> {
        match self {
            Self::Bool(yes) => Some(Value::Bool(yes)),
            Self::Integer(number) => Some(Value::Integer(number)),
            Self::Text(text) => Some(Value::text(text)),
            Self::Unset => None,
        }
    }
}

/// When a change of an attribute takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// At once.
    Live,
    /// With each session that logs in from then on.
    NextLogin,
    /// Only when the object is made: it cannot be changed afterwards.
    Creation,
    /// Kept and shown for tools that expect it; it has no effect here.
    Stored,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Dotted, as every face spells it.
    pub name: &'static str,
    pub kind: Kind,
    pub ours: Default,
    pub lio: Default,
    pub takes: Takes,
    /// One sentence for people.
    pub help: &'static str,
    /// Where it comes from: a section of the RFC, a clause of T10, LIO's file, or Quintain.
    pub origin: &'static str,
    /// LIO's file for it, below the object's directory, where that is not the name with `/` for its dot.
    pub lio_file: Option<&'static str>,
}

impl Attribute {
    /// The default in a column.
    #[must_use]
    pub fn default_in(&self, column: Column) -> Option<Value> {
        match column {
            Column::Ours => self.ours.value(),
            Column::Lio => self.lio.value(),
        }
    }

    /// Whether its value is never shown.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret { .. })
    }
}

/// The value in force: the one set, else the column's default.
#[must_use]
pub fn effective(
    kind: ObjectKind,
    attributes: &Attributes,
    name: &str,
    column: Column,
) -> Option<Value> {
    attributes
        .get(name)
        .cloned()
        .or_else(|| kind.attribute(name)?.default_in(column))
}

/// As [`effective`], of a yes or no.
pub(crate) fn effective_bool(
    kind: ObjectKind,
    attributes: &Attributes,
    name: &str,
    column: Column,
) -> bool {
    effective(kind, attributes, name, column)
        .and_then(|v| v.as_bool())
        .unwrap_or(false)
}

/// As [`effective`], of a number.
pub(crate) fn effective_integer(
    kind: ObjectKind,
    attributes: &Attributes,
    name: &str,
    column: Column,
) -> i64 {
    effective(kind, attributes, name, column)
        .and_then(|v| v.as_integer())
        .unwrap_or(0)
}

pub(crate) fn text_of<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    attributes
        .get(name)
        .and_then(Value::as_text)
        .filter(|t| !t.is_empty())
}

pub(crate) fn secret_of<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a Secret> {
    match attributes.get(name) {
        Some(Value::Secret(secret)) => Some(secret),
        _ => None,
    }
}

/// A row whose columns agree.
const fn row(
    name: &'static str,
    kind: Kind,
    default: Default,
    takes: Takes,
    help: &'static str,
    origin: &'static str,
) -> Attribute {
    Attribute {
        name,
        kind,
        ours: default,
        lio: default,
        takes,
        help,
        origin,
        lio_file: None,
    }
}

impl Attribute {
    /// The row with another default in LIO's column.
    const fn lio(mut self, default: Default) -> Self {
        self.lio = default;
        self
    }

    /// The row with LIO's file for it.
    const fn file(mut self, file: &'static str) -> Self {
        self.lio_file = Some(file);
        self
    }

    /// A group's row as one of ACLs: unset, and then what the group has holds.
    const fn of_acl(mut self) -> Self {
        self.ours = Default::Unset;
        self.lio = Default::Unset;
        self
    }
}

/// The longest CHAP name and secret, in bytes (LIO's auth files; RFC 7143 §12.1.3 has text values up to 255).
const CHAP_MAX_BYTES: usize = 255;

const CHAP_USER: Attribute = row(
    "chap.user",
    Kind::Text {
        max_bytes: CHAP_MAX_BYTES,
    },
    Default::Unset,
    Takes::Live,
    "the CHAP name that the initiator proves itself by",
    "RFC 7143 §12.1.3; LIO auth/userid",
)
.file("auth/userid");
const CHAP_SECRET: Attribute = row(
    "chap.secret",
    Kind::Secret {
        max_bytes: CHAP_MAX_BYTES,
    },
    Default::Unset,
    Takes::Live,
    "the secret of that name; at least 12 bytes",
    "RFC 7143 §12.1.3; LIO auth/password",
)
.file("auth/password");
const MUTUAL_USER: Attribute = row(
    "mutual_chap.user",
    Kind::Text {
        max_bytes: CHAP_MAX_BYTES,
    },
    Default::Unset,
    Takes::Live,
    "the CHAP name that the target proves itself by, where the initiator asks",
    "RFC 7143 §12.1.3; LIO auth/userid_mutual",
)
.file("auth/userid_mutual");
const MUTUAL_SECRET: Attribute = row(
    "mutual_chap.secret",
    Kind::Secret {
        max_bytes: CHAP_MAX_BYTES,
    },
    Default::Unset,
    Takes::Live,
    "the secret of that name; another one than the initiator's",
    "RFC 7143 §12.1.3; LIO auth/password_mutual",
)
.file("auth/password_mutual");

/// The name of a LUN's link in LIO's tree.
const LINK_ALIAS: Attribute = row(
    "alias",
    Kind::Text { max_bytes: 255 },
    Default::Unset,
    Takes::Stored,
    "what LIO's tools call the link to what is behind it",
    "LIO lun_N",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_named_once_and_their_defaults_are_legal() {
        for kind in ObjectKind::ALL {
            let rows = kind.attributes();
            assert!(
                rows.windows(2).all(|pair| pair[0].name < pair[1].name),
                "{kind:?}: {:?}",
                rows.windows(2)
                    .find(|p| p[0].name >= p[1].name)
                    .map(|p| p[1].name)
            );
            for row in rows {
                assert!(
                    !row.help.is_empty() && !row.origin.is_empty(),
                    "{}",
                    row.name
                );
                for value in [Column::Ours, Column::Lio]
                    .into_iter()
                    .filter_map(|column| row.default_in(column))
                {
                    assert_eq!(
                        row.parse(&value.clone().into()).as_ref(),
                        Ok(&value),
                        "{}",
                        row.name
                    );
                }
            }
        }
    }
}
