//! What the attributes of an object mean: typed, with defaults resolved.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use auth::Secret;
use block::ProtectionType;

use super::{Backstore, BackstoreType, Lun, MappedLun, NodeAcl, Portal, PortalGroup, Target, Tree};
use crate::attributes::{
    Column, ObjectKind, effective, effective_bool, effective_integer, secret_of, text_of,
};
use crate::value::{Attributes, Value};

/// Which kind of place, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A regular file. `create_bytes` is the size, in bytes, that a missing file is created with, sparse.
    File {
        path: PathBuf,
        create_bytes: Option<u64>,
        direct: bool,
    },
    /// A block device.
    Block { path: PathBuf, direct: bool },
    /// Memory, sparse; the contents end with the process.
    Ram { bytes: u64 },
    /// Reads zeroes, forgets writes.
    Null { bytes: u64 },
}

impl Backstore {
    /// What it is made of.
    #[must_use]
    pub fn backing(&self) -> Backing {
        let path =
            || crate::filename::path_of_text(text_of(&self.attributes, "path").unwrap_or_default());
        let bytes = self.size_bytes();
        let direct = self.flag("direct");
        match self.kind {
            BackstoreType::File => Backing::File {
                path: path(),
                create_bytes: bytes,
                direct,
            },
            BackstoreType::Block => Backing::Block {
                path: path(),
                direct,
            },
            BackstoreType::Ram => Backing::Ram {
                bytes: bytes.unwrap_or(0),
            },
            BackstoreType::Null => Backing::Null {
                bytes: bytes.unwrap_or(0),
            },
        }
    }

    /// The size that was asked for, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        let size = self.attributes.get("size").and_then(Value::as_integer)?;
        u64::try_from(size).ok()
    }

    /// A CD or DVD drive, and not a disk.
    #[must_use]
    pub fn is_cdrom(&self) -> bool {
        is_cdrom(&self.attributes)
    }

    /// The disc of a drive is out.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.is_cdrom() && self.flag("ejected")
    }

    /// 512 or 4096; of a disc 2048.
    #[must_use]
    pub fn block_size_bytes(&self) -> u32 {
        if self.is_cdrom() {
            return CDROM_BLOCK_BYTES;
        }
        let size = effective_integer(
            ObjectKind::Backstore,
            &self.attributes,
            "block_size",
            self.column(),
        );
        u32::try_from(size).unwrap_or(512)
    }

    /// Which column of defaults holds.
    #[must_use]
    pub fn column(&self) -> Column {
        Column::of(&self.attributes)
    }

    /// Whether an acknowledged write may still be in a volatile cache (WCE).
    #[must_use]
    pub fn write_cache(&self) -> bool {
        !self.is_cdrom() && self.flag("write_cache")
    }

    /// Whether nothing may be written.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.is_cdrom() || self.flag("read_only")
    }

    /// UNMAP and WRITE SAME release space where the store can.
    #[must_use]
    pub fn thin(&self) -> bool {
        !self.is_cdrom() && self.flag("thin")
    }

    /// The type of protection information that is kept beside the blocks.
    #[must_use]
    pub fn protection(&self) -> Option<ProtectionType> {
        let value = effective_integer(
            ObjectKind::Backstore,
            &self.attributes,
            "attrib.pi_prot_type",
            self.column(),
        );
        ProtectionType::of_number(u8::try_from(value).ok()?)
    }

    /// TAS of the Control mode page, at the start and after a reset.
    #[must_use]
    pub fn task_aborted_status(&self) -> bool {
        self.flag("attrib.emulate_tas")
    }

    /// LIO's `emulate_ua_intlck_ctrl`, 0 to 2, for UA_INTLCK_CTRL of the Control mode page: 00b, 10b or 11b.
    #[must_use]
    pub fn unit_attention_interlock(&self) -> u8 {
        let value = effective_integer(
            ObjectKind::Backstore,
            &self.attributes,
            "attrib.emulate_ua_intlck_ctrl",
            self.column(),
        );
        u8::try_from(value).unwrap_or(0)
    }

    /// Third-party copies are offered.
    #[must_use]
    pub fn third_party_copy(&self) -> bool {
        !self.is_cdrom() && self.flag("attrib.emulate_3pc")
    }

    /// The unit serial number, where it is known.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        text_of(&self.attributes, "serial")
    }

    /// An identifying text of INQUIRY: `vendor`, `product` or `revision`.
    #[must_use]
    pub fn inquiry_text(&self, name: &str) -> String {
        if name == "product" && !self.attributes.contains_key("product") {
            if self.flag("attrib.emulate_model_alias") {
                return printable(&self.name, MODEL_ALIAS_MAX_BYTES);
            }
            if self.is_cdrom() {
                return CDROM_PRODUCT.to_owned();
            }
            if self.column() == Column::Lio {
                return self.kind.lio_product().to_owned();
            }
        }
        effective(ObjectKind::Backstore, &self.attributes, name, self.column())
            .and_then(|value| value.as_text().map(str::to_owned))
            .unwrap_or_default()
    }

    /// As LUNs name it.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    fn flag(&self, name: &str) -> bool {
        effective_bool(ObjectKind::Backstore, &self.attributes, name, self.column())
    }
}

/// MMC-6 "Logical block": of a disc.
const CDROM_BLOCK_BYTES: u32 = 2048;

/// The product identification of a drive.
const CDROM_PRODUCT: &str = "VIRTUAL-CDROM";

/// Whether these are the attributes of a drive.
pub(crate) fn is_cdrom(attributes: &Attributes) -> bool {
    text_of(attributes, "device_type") == Some("cdrom")
}

impl BackstoreType {
    /// What LIO's plugin of the kind tells as the product identification.
    fn lio_product(self) -> &'static str {
        match self {
            Self::File => "FILEIO",
            Self::Block => "IBLOCK",
            Self::Ram | Self::Null => "RAMDISK-MCP",
        }
    }
}

/// As many bytes of its name as LIO tells of a backstore in place of the product identification.
const MODEL_ALIAS_MAX_BYTES: usize = 15;

/// SPC-5, *ASCII data field requirements*: 20h to 7Eh only.
fn printable(text: &str, max_bytes: usize) -> String {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    text.chars().take(max_bytes).map(plain).collect()
}

impl Target {
    /// RFC 7143 §13.7.
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        text_of(&self.attributes, "alias")
    }

    /// Whether an iSNS server is told of it.
    #[must_use]
    pub fn is_told_by_isns(&self) -> bool {
        effective_bool(ObjectKind::Target, &self.attributes, "isns", Column::Ours)
    }
}

impl Portal {
    /// `host:port` told to initiators instead of the local address (NAT, Kubernetes).
    #[must_use]
    pub fn advertise(&self) -> Option<&str> {
        text_of(&self.attributes, "advertise")
    }
}

impl Lun {
    /// Whether nobody may write through it.
    #[must_use]
    pub fn write_protect(&self) -> bool {
        effective_bool(
            ObjectKind::Lun,
            &self.attributes,
            "write_protect",
            Column::Ours,
        )
    }
}

impl MappedLun {
    /// Whether this initiator may only read.
    #[must_use]
    pub fn write_protect(&self) -> bool {
        effective_bool(
            ObjectKind::MappedLun,
            &self.attributes,
            "write_protect",
            Column::Ours,
        )
    }
}

/// The digests that may be agreed on (RFC 7143 §13.1). Of those the initiator lists, its first allowed one is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digests {
    /// None only.
    None,
    /// CRC32C only.
    Crc32c,
    /// As the initiator prefers.
    Either,
}

/// The negotiable side of a portal group. `Default` is Quintain's own column: fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    pub max_recv_data_segment_length: u32,
    pub max_burst_length: u32,
    pub first_burst_length: u32,
    pub initial_r2t: bool,
    pub immediate_data: bool,
    /// Whether the PDUs of a Data-Out sequence have to come in order.
    pub data_pdu_in_order: bool,
    /// Whether Data-Out sequences have to come in order.
    pub data_sequence_in_order: bool,
    pub max_outstanding_r2t: u16,
    /// 0 to 2.
    pub error_recovery_level: u8,
    /// Connections of one session.
    pub max_connections: u16,
    pub header_digest: Digests,
    pub data_digest: Digests,
    /// Seconds, 0 to 3,600.
    pub default_time2wait: u16,
    /// Seconds, 0 to 3,600.
    pub default_time2retain: u16,
    /// Commands that one session may have outstanding.
    pub queue_depth: u16,
    /// Unit attentions are reported by asynchronous messages too.
    pub report_unit_attentions: bool,
    /// From ErrorRecoveryLevel 1 on.
    pub recovery: RecoveryTimes,
}

/// How patient a session is that recovers lost PDUs. In seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryTimes {
    /// 1 to 60.
    pub data_out: u16,
    /// 1 to 60.
    pub status: u16,
    /// 1 to 3,600.
    pub data_in: u16,
}

impl Default for SessionSettings {
    fn default() -> Self {
        settings(&Attributes::new(), Column::Ours, false, None)
    }
}

impl PortalGroup {
    /// Whether initiators may log in.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.flag("enabled")
    }

    /// Whether any initiator may log in and sees every LUN.
    #[must_use]
    pub fn generate_node_acls(&self) -> bool {
        self.flag("generate_node_acls")
    }

    /// Whether discovery tells of it to initiators that it has no ACL for.
    #[must_use]
    pub fn is_told_to_anybody(&self) -> bool {
        self.generate_node_acls() || self.flag("attrib.demo_mode_discovery")
    }

    /// Whether sessions are asked to negotiate what may be in the full feature phase, when it changes.
    #[must_use]
    pub fn asks_to_negotiate(&self) -> bool {
        self.flag("ask_to_negotiate")
    }

    /// Whether an initiator that no ACL names may only read.
    #[must_use]
    pub fn demo_mode_write_protect(&self) -> bool {
        self.flag("attrib.demo_mode_write_protect")
    }

    /// Whether an initiator that an ACL names may only read what the ACL does not map itself.
    #[must_use]
    pub fn prod_mode_write_protect(&self) -> bool {
        self.flag("attrib.prod_mode_write_protect")
    }

    /// Unique in the daemon, 1 to 65,535 (SPC-5, *Relative target port identifier*).
    #[must_use]
    pub fn relative_target_port(&self) -> u16 {
        let port = self.attributes.get("relative_target_port");
        let port = port.and_then(Value::as_integer).unwrap_or(0);
        u16::try_from(port).unwrap_or(0)
    }

    /// What is negotiated with an initiator.
    #[must_use]
    pub fn settings(&self, acl: Option<&NodeAcl>) -> SessionSettings {
        let literal = self.flag("lio_defaults");
        settings(&self.attributes, self.column(), literal, acl)
    }

    /// Whether the ACL shows every LUN of the group under its own number.
    #[must_use]
    pub fn shows_every_lun(&self, acl: &NodeAcl) -> bool {
        effective_bool(
            ObjectKind::Acl,
            &acl.attributes,
            "default_luns",
            self.column(),
        )
    }

    /// The value in force of one of its attributes.
    #[must_use]
    pub fn effective(&self, name: &str) -> Option<Value> {
        effective(ObjectKind::Tpg, &self.attributes, name, self.column())
    }

    fn flag(&self, name: &str) -> bool {
        effective_bool(ObjectKind::Tpg, &self.attributes, name, self.column())
    }
}

/// LIO's tools save every key at LIO's default, and nobody meant it: such a one counts as unset unless it is to be taken
/// literally.
fn settings(
    of: &Attributes,
    column: Column,
    literal: bool,
    acl: Option<&NodeAcl>,
) -> SessionSettings {
    let value = |name: &str| -> Option<Value> {
        // LIO's tools set no key of an ACL: whoever did meant it.
        if let Some(own) = acl.and_then(|acl| acl.attributes.get(name)) {
            return Some(own.clone());
        }
        let row = ObjectKind::Tpg.attribute(name)?;
        match of.get(name) {
            Some(set) if column == Column::Ours || literal => Some(set.clone()),
            Some(set) if row.default_in(Column::Lio).as_ref() != Some(set) => Some(set.clone()),
            _ if literal => row.default_in(column),
            _ => row.default_in(Column::Ours),
        }
    };
    let number = |name: &str| value(name).and_then(|v| v.as_integer()).unwrap_or(0);
    let bytes = |name: &str| u32::try_from(number(name)).unwrap_or(8_192);
    let small = |number: i64| u16::try_from(number).unwrap_or(1).max(1);
    let yes = |name: &str| value(name).is_some_and(|v| v.as_text() == Some("Yes"));
    let digests = |name: &str| match value(name).as_ref().and_then(Value::as_text) {
        Some("None") => Digests::None,
        Some("CRC32C") => Digests::Crc32c,
        _ => Digests::Either,
    };
    let seconds = |name: &str| u16::try_from(number(name)).unwrap_or(0);
    let own_depth = acl.and_then(|acl| acl.attributes.get("cmdsn_depth")?.as_integer());
    SessionSettings {
        max_recv_data_segment_length: bytes("param.MaxRecvDataSegmentLength"),
        max_burst_length: bytes("param.MaxBurstLength"),
        first_burst_length: bytes("param.FirstBurstLength"),
        initial_r2t: yes("param.InitialR2T"),
        immediate_data: yes("param.ImmediateData"),
        data_pdu_in_order: yes("param.DataPDUInOrder"),
        data_sequence_in_order: yes("param.DataSequenceInOrder"),
        max_outstanding_r2t: small(number("param.MaxOutstandingR2T")),
        error_recovery_level: u8::try_from(number("param.ErrorRecoveryLevel")).unwrap_or(0),
        max_connections: small(number("param.MaxConnections")),
        header_digest: digests("param.HeaderDigest"),
        data_digest: digests("param.DataDigest"),
        default_time2wait: seconds("param.DefaultTime2Wait"),
        default_time2retain: seconds("param.DefaultTime2Retain"),
        queue_depth: small(own_depth.unwrap_or_else(|| number("attrib.default_cmdsn_depth"))),
        report_unit_attentions: value("report_unit_attentions")
            .and_then(|v| v.as_bool())
            .unwrap_or(false),
        recovery: RecoveryTimes {
            data_out: small(number("recovery.data_out_timeout")),
            status: small(number("recovery.status_timeout")),
            data_in: small(number("recovery.data_in_timeout")),
        },
    }
}

/// What an initiator has to prove, and with which credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// CHAP is required; `false`: AuthMethod None is enough.
    pub required: bool,
    pub credentials: Option<Credentials>,
    /// The helper that decides instead, by its socket.
    pub helper: Option<Arc<str>>,
    /// Where this was found.
    pub source: Source,
}

/// Which object a [`Requirement`] comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The daemon's discovery authentication.
    #[default]
    Discovery,
    /// The initiator's own ACL.
    Acl,
    /// The portal group: the initiator has no ACL.
    Group,
}

/// Both directions of CHAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The initiator's proof.
    pub chap: ChapCredential,
    /// The target's proof, where the initiator asks for one.
    pub mutual: Option<ChapCredential>,
}

/// A CHAP name and its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ChapCredential {
    pub user: String,
    pub secret: Secret,
}

impl fmt::Debug for ChapCredential {
    /// Shows the name only: a secret never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChapCredential")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

fn credentials(of: &Attributes) -> Option<Credentials> {
    let credential = |user: &str, secret: &str| {
        Some(ChapCredential {
            user: text_of(of, user)?.to_owned(),
            secret: secret_of(of, secret)?.clone(),
        })
    };
    Some(Credentials {
        chap: credential("chap.user", "chap.secret")?,
        mutual: credential("mutual_chap.user", "mutual_chap.secret"),
    })
}

impl Tree {
    /// What an initiator has to prove in a portal group. As LIO has it: an initiator with an ACL is asked for the ACL's own
    /// credentials, any other for the group's.
    #[must_use]
    pub fn requirement(&self, group: &PortalGroup, acl: Option<&NodeAcl>) -> Requirement {
        let of_group = group
            .effective("authentication")
            .is_some_and(|v| v.as_text() == Some("chap"));
        let own = acl.map_or(-1, |acl| {
            effective_integer(
                ObjectKind::Acl,
                &acl.attributes,
                "attrib.authentication",
                group.column(),
            )
        });
        let helper = text_of(&group.attributes, "auth_helper")
            .or_else(|| text_of(&self.daemon, "auth_helper"));
        Requirement {
            required: match own {
                0 => false,
                1 => true,
                _ => of_group,
            },
            credentials: credentials(acl.map_or(&group.attributes, |acl| &acl.attributes)),
            helper: helper.map(Arc::from),
            source: if acl.is_some() {
                Source::Acl
            } else {
                Source::Group
            },
        }
    }

    /// What a discovery session has to prove.
    #[must_use]
    pub fn discovery_requirement(&self) -> Requirement {
        Requirement {
            required: effective_bool(
                ObjectKind::Discovery,
                &self.discovery,
                "enforce",
                Column::Ours,
            ),
            credentials: credentials(&self.discovery),
            helper: text_of(&self.daemon, "auth_helper").map(Arc::from),
            source: Source::Discovery,
        }
    }

    /// The sockets of all authentication helpers that anything here names.
    #[must_use]
    pub fn auth_helpers(&self) -> std::collections::BTreeSet<String> {
        let groups = self.groups().map(|(_, group)| &group.attributes);
        groups
            .chain([&*self.daemon])
            .filter_map(|attributes| text_of(attributes, "auth_helper"))
            .map(str::to_owned)
            .collect()
    }

    /// The value in force of one of the daemon's attributes.
    #[must_use]
    pub fn daemon_setting(&self, name: &str) -> Option<Value> {
        effective(ObjectKind::Daemon, &self.daemon, name, Column::Ours)
    }
}
