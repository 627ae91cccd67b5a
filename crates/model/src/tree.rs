//! The objects. Maps hold `Arc`s, so that a changed tree shares every branch that the change did not touch.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use iscsi_wire::IscsiName;

/// Names an object for the whole life of the process; never reused, so that a login can tell an object from its successor
/// of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// A logical unit number as the single-level addressing methods can express it: 0 to 16,383 (SAM-5, *Single level LUN
/// structure*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogicalUnitNumber(pub u16);

impl LogicalUnitNumber {
    /// The largest number that flat space addressing expresses.
    pub const MAX: Self = Self(16_383);
}

/// Commands that one session may have outstanding, unless a portal group says otherwise.
pub const DEFAULT_QUEUE_DEPTH: u16 = 128;

/// One generation of the whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Grows by one with each committed change.
    pub generation: u64,
    /// By id.
    pub backstores: BTreeMap<ObjectId, Arc<Backstore>>,
    /// By name.
    pub targets: BTreeMap<IscsiName, Arc<Target>>,
    /// What a discovery session must prove.
    pub discovery: Authentication,
}

/// A place where blocks are kept.
#[derive(Clone, Debug)]
pub struct Backstore {
    pub id: ObjectId,
    /// Unique per type.
    pub name: String,
    pub kind: BackstoreKind,
    /// 512 or 4096.
    pub block_size_bytes: u32,
    /// Whether an acknowledged write may still be in a volatile cache (WCE).
    pub write_cache: bool,
    pub read_only: bool,
    /// UNMAP and WRITE SAME release space where the store can.
    pub thin: bool,
    /// The unit serial number (VPD page 80h); `None`: kept with the store, or made when it is opened.
    pub serial: Option<String>,
}

/// Which kind of place, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackstoreKind {
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

/// An iSCSI target node.
#[derive(Clone, Debug)]
pub struct Target {
    pub id: ObjectId,
    pub name: IscsiName,
    /// RFC 7143 §13.7.
    pub alias: Option<String>,
    /// By portal group tag.
    pub tpgs: BTreeMap<u16, Arc<PortalGroup>>,
}

/// A target portal group: a SCSI target port.
#[derive(Clone, Debug)]
pub struct PortalGroup {
    pub id: ObjectId,
    /// RFC 7143 §13.9.
    pub tag: u16,
    /// Unique in the daemon, 1 to 65,535 (SPC-5, *Relative target port identifier*).
    pub relative_target_port: u16,
    pub enabled: bool,
    pub portals: Vec<Portal>,
    pub luns: BTreeMap<LogicalUnitNumber, Lun>,
    /// By initiator name.
    pub acls: BTreeMap<IscsiName, Arc<NodeAcl>>,
    /// Any initiator may log in and sees every LUN.
    pub generate_node_acls: bool,
    pub authentication: Authentication,
    pub settings: SessionSettings,
}

/// An address and port where a portal group is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    pub address: SocketAddr,
    /// `host:port` told to initiators instead of the local address (NAT, Kubernetes).
    pub advertise: Option<String>,
}

/// A LUN of a portal group: a number for a backstore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lun {
    pub id: ObjectId,
    pub backstore: ObjectId,
    pub write_protect: bool,
}

/// What one initiator may do in a portal group.
#[derive(Clone, Debug)]
pub struct NodeAcl {
    pub id: ObjectId,
    pub initiator: IscsiName,
    /// `None`: every LUN of the group under its own number.
    pub mapped_luns: Option<BTreeMap<LogicalUnitNumber, MappedLun>>,
    /// This initiator's own credentials, in place of the group's.
    pub credentials: Option<Credentials>,
}

/// A LUN of the group as one initiator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedLun {
    pub lun: LogicalUnitNumber,
    pub write_protect: bool,
}

/// What an initiator has to prove, and with which credentials.
#[derive(Clone, Debug, Default)]
pub struct Authentication {
    /// CHAP is required; `false`: AuthMethod None is enough.
    pub required: bool,
    pub credentials: Option<Credentials>,
    /// Changes with any edit of the above or of an ACL's credentials, so that a login under way notices.
    pub version: u64,
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
    pub secret: Vec<u8>,
}

impl fmt::Debug for ChapCredential {
    /// Shows the name only: a secret never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChapCredential")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The negotiable side of a portal group. `Default` is Quintain's own column: fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    pub max_recv_data_segment_length: u32,
    pub max_burst_length: u32,
    pub first_burst_length: u32,
    pub initial_r2t: bool,
    pub immediate_data: bool,
    pub max_outstanding_r2t: u16,
    /// Commands that one session may have outstanding.
    pub queue_depth: u16,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            max_recv_data_segment_length: 262_144,
            max_burst_length: 1_048_576,
            first_burst_length: 262_144,
            initial_r2t: false,
            immediate_data: true,
            max_outstanding_r2t: 8,
            queue_depth: DEFAULT_QUEUE_DEPTH,
        }
    }
}
