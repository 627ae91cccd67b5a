//! Rows of portal groups, and of their portals and LUNs.

use super::Default::{Bool, Integer, Text, Unset};
use super::daemon::{AUTH_HELPER, REDIRECT_ADDRESS, REDIRECT_AFTER, REDIRECT_PERMANENT};
use super::recovery::{
    ASK_TO_NEGOTIATE, DATA_IN_TIMEOUT, DATA_OUT_TIMEOUT, REPORT_UNIT_ATTENTIONS, STATUS_TIMEOUT,
};
use super::{
    Attribute, CHAP_SECRET, CHAP_USER, Kind, LINK_ALIAS, MUTUAL_SECRET, MUTUAL_USER, Takes, row,
};

const YES_NO: Kind = Kind::Choice(&["Yes", "No"]);
const SEGMENT: Kind = Kind::Integer {
    min: 512,
    max: 16_777_215,
};

pub(super) static TPG: &[Attribute] = &[
    ASK_TO_NEGOTIATE,
    row(
        "attrib.cache_dynamic_acls",
        Kind::Bool,
        Bool(false),
        Takes::Stored,
        "LIO keeps what it made for an initiator that no ACL names after its sessions end",
        "LIO attrib/cache_dynamic_acls",
    ),
    row(
        "attrib.default_cmdsn_depth",
        Kind::Integer { min: 1, max: 512 },
        Integer(128),
        Takes::NextLogin,
        "commands that one session may have outstanding",
        "RFC 7143 §4.2.2.1; LIO attrib/default_cmdsn_depth",
    )
    .lio(Integer(64)),
    row(
        "attrib.default_erl",
        Kind::Integer { min: 0, max: 2 },
        Integer(0),
        Takes::Stored,
        "the error recovery level of LIO's timers",
        "LIO attrib/default_erl",
    ),
    row(
        "attrib.demo_mode_discovery",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "SendTargets tells of the target to initiators that no ACL names",
        "LIO attrib/demo_mode_discovery",
    )
    .lio(Bool(true)),
    row(
        "attrib.demo_mode_write_protect",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "an initiator that no ACL names may only read",
        "LIO attrib/demo_mode_write_protect",
    )
    .lio(Bool(true)),
    row(
        "attrib.fabric_prot_type",
        Kind::Integer { min: 0, max: 0 },
        Integer(0),
        Takes::Stored,
        "protection information of the fabric: none here, a backstore has it for all",
        "LIO attrib/fabric_prot_type",
    ),
    row(
        "attrib.login_keys_workaround",
        Kind::Bool,
        Bool(true),
        Takes::Stored,
        "LIO answers initiators that send some keys late",
        "LIO attrib/login_keys_workaround",
    ),
    row(
        "attrib.login_timeout",
        Kind::Integer { min: 5, max: 30 },
        Integer(15),
        Takes::NextLogin,
        "seconds that a whole login may take",
        "LIO attrib/login_timeout",
    ),
    row(
        "attrib.prod_mode_write_protect",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "an initiator that an ACL names may only read, unless the ACL maps the LUN itself",
        "LIO attrib/prod_mode_write_protect",
    ),
    row(
        "attrib.t10_pi",
        Kind::Integer { min: 0, max: 0 },
        Integer(0),
        Takes::Stored,
        "protection information of the fabric: none here, a backstore has it for all",
        "LIO attrib/t10_pi",
    ),
    row(
        "attrib.tpg_enabled_sendtargets",
        Kind::Bool,
        Bool(true),
        Takes::Stored,
        "SendTargets tells of enabled groups only; here that is always so",
        "LIO attrib/tpg_enabled_sendtargets",
    ),
    AUTH_HELPER,
    row(
        "authentication",
        Kind::Choice(&["none", "chap"]),
        Unset,
        Takes::Live,
        "what an initiator has to prove; found when the group is made: chap if that names any secret, else none",
        "Quintain; LIO attrib/authentication",
    )
    .file("attrib/authentication"),
    CHAP_SECRET,
    CHAP_USER,
    row(
        "defaults",
        Kind::Choice(&["quintain", "lio"]),
        Text("quintain"),
        Takes::Creation,
        "which column of defaults holds for the group: lio for groups made by LIO's tools",
        "Quintain",
    ),
    row(
        "enabled",
        Kind::Bool,
        Bool(true),
        Takes::Live,
        "initiators may log in",
        "LIO enable",
    )
    .file("enable")
    .lio(Bool(false)),
    row(
        "generate_node_acls",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "any initiator may log in and sees every LUN",
        "LIO attrib/generate_node_acls",
    )
    .file("attrib/generate_node_acls"),
    row(
        "lio_defaults",
        Kind::Bool,
        Bool(false),
        Takes::NextLogin,
        "negotiate LIO's slow defaults literally where its tools left them",
        "Quintain",
    ),
    MUTUAL_SECRET,
    MUTUAL_USER,
    DATA_DIGEST,
    DATA_PDU_IN_ORDER,
    DATA_SEQUENCE_IN_ORDER,
    DEFAULT_TIME2RETAIN,
    DEFAULT_TIME2WAIT,
    ERROR_RECOVERY_LEVEL,
    FIRST_BURST_LENGTH,
    HEADER_DIGEST,
    IF_MARK_INT,
    IF_MARKER,
    IMMEDIATE_DATA,
    INITIAL_R2T,
    MAX_BURST_LENGTH,
    MAX_CONNECTIONS,
    MAX_OUTSTANDING_R2T,
    MAX_RECV_DATA_SEGMENT_LENGTH,
    MAX_XMIT_DATA_SEGMENT_LENGTH,
    OF_MARK_INT,
    OF_MARKER,
    DATA_IN_TIMEOUT,
    DATA_OUT_TIMEOUT,
    STATUS_TIMEOUT,
    REDIRECT_ADDRESS,
    REDIRECT_AFTER,
    REDIRECT_PERMANENT,
    row(
        "relative_target_port",
        Kind::Integer {
            min: 1,
            max: 65_535,
        },
        Unset,
        Takes::Creation,
        "the relative target port identifier, unique in the daemon; found when the group is made unless given",
        "SPC-5 Relative target port identifier; LIO rtpi",
    )
    .file("rtpi"),
    REPORT_UNIT_ATTENTIONS,
];

pub(super) static PORTAL: &[Attribute] = &[row(
    "advertise",
    Kind::Address {
        default_port: iscsi_wire::DEFAULT_PORT,
    },
    Unset,
    Takes::Live,
    "host:port that initiators are told instead of the local address",
    "Quintain",
)];

pub(super) static LUN: &[Attribute] = &[
    LINK_ALIAS,
    row(
        "alua_group",
        Kind::Text { max_bytes: 200 },
        Text("default_tg_pt_gp"),
        Takes::Live,
        "the ALUA group of the backstore that this port is in",
        "SPC-5 Target port groups; LIO alua_tg_pt_gp",
    )
    .file("alua_tg_pt_gp"),
    row(
        "backstore",
        Kind::Text { max_bytes: 210 },
        Unset,
        Takes::Live,
        "what is behind it: <type>/<name>, or the name where only one type has it",
        "Quintain",
    ),
    row(
        "write_protect",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "nobody may write through it",
        "Quintain",
    ),
];

const DIGESTS: Kind = Kind::Choice(&["CRC32C,None", "None,CRC32C", "CRC32C", "None"]);
const SECONDS: Kind = Kind::Integer { min: 0, max: 3_600 };

/// A key that is negotiated when an initiator logs in.
const fn key(
    name: &'static str,
    kind: Kind,
    default: super::Default,
    help: &'static str,
    origin: &'static str,
) -> Attribute {
    row(name, kind, default, Takes::NextLogin, help, origin)
}

/// A key that LIO's tools keep.
const fn kept(
    name: &'static str,
    kind: Kind,
    default: super::Default,
    help: &'static str,
    origin: &'static str,
) -> Attribute {
    row(name, kind, default, Takes::Stored, help, origin)
}

// The RFC's keys, for groups and, where they are negotiated, for ACLs.

pub(super) const DATA_DIGEST: Attribute = key(
    "param.DataDigest",
    DIGESTS,
    Text("CRC32C,None"),
    "which digests of data may be agreed on; the initiator's order decides",
    "RFC 7143 §13.1; LIO param/DataDigest",
);
pub(super) const DATA_PDU_IN_ORDER: Attribute = key(
    "param.DataPDUInOrder",
    YES_NO,
    Text("Yes"),
    "the PDUs of a Data-Out sequence come in the order of their bytes; No leaves it to the initiator",
    "RFC 7143 §13.18; LIO param/DataPDUInOrder",
);
pub(super) const DATA_SEQUENCE_IN_ORDER: Attribute = key(
    "param.DataSequenceInOrder",
    YES_NO,
    Text("Yes"),
    "Data-Out sequences come in the order of their R2Ts; No leaves it to the initiator",
    "RFC 7143 §13.19; LIO param/DataSequenceInOrder",
);
pub(super) const DEFAULT_TIME2RETAIN: Attribute = key(
    "param.DefaultTime2Retain",
    SECONDS,
    Integer(20),
    "seconds that the tasks of a lost connection may be kept for its return",
    "RFC 7143 §13.16; LIO param/DefaultTime2Retain",
);
pub(super) const DEFAULT_TIME2WAIT: Attribute = key(
    "param.DefaultTime2Wait",
    SECONDS,
    Integer(2),
    "seconds that an initiator waits before it logs in again",
    "RFC 7143 §13.15; LIO param/DefaultTime2Wait",
);
pub(super) const ERROR_RECOVERY_LEVEL: Attribute = key(
    "param.ErrorRecoveryLevel",
    Kind::Integer { min: 0, max: 2 },
    Integer(0),
    "the highest error recovery level: 1 recovers lost PDUs, 2 connections",
    "RFC 7143 §13.20; LIO param/ErrorRecoveryLevel",
);
pub(super) const FIRST_BURST_LENGTH: Attribute = key(
    "param.FirstBurstLength",
    SEGMENT,
    Integer(262_144),
    "bytes of unsolicited data with one command",
    "RFC 7143 §13.14; LIO param/FirstBurstLength",
)
.lio(Integer(65_536));
pub(super) const HEADER_DIGEST: Attribute = key(
    "param.HeaderDigest",
    DIGESTS,
    Text("CRC32C,None"),
    "which digests of headers may be agreed on; the initiator's order decides",
    "RFC 7143 §13.1; LIO param/HeaderDigest",
);
const IF_MARK_INT: Attribute = kept(
    "param.IFMarkInt",
    Kind::Text { max_bytes: 32 },
    Text("Reject"),
    "markers are obsolete",
    "RFC 7143 §13.25; LIO param/IFMarkInt",
);
const IF_MARKER: Attribute = kept(
    "param.IFMarker",
    YES_NO,
    Text("No"),
    "markers are obsolete",
    "RFC 7143 §13.25; LIO param/IFMarker",
);
pub(super) const IMMEDIATE_DATA: Attribute = key(
    "param.ImmediateData",
    YES_NO,
    Text("Yes"),
    "a write may carry its first data",
    "RFC 7143 §13.11; LIO param/ImmediateData",
);
pub(super) const INITIAL_R2T: Attribute = key(
    "param.InitialR2T",
    YES_NO,
    Text("No"),
    "a write waits for an R2T before it sends more",
    "RFC 7143 §13.10; LIO param/InitialR2T",
)
.lio(Text("Yes"));
pub(super) const MAX_BURST_LENGTH: Attribute = key(
    "param.MaxBurstLength",
    SEGMENT,
    Integer(1_048_576),
    "bytes of one Data-In or solicited Data-Out sequence",
    "RFC 7143 §13.13; LIO param/MaxBurstLength",
)
.lio(Integer(262_144));
pub(super) const MAX_CONNECTIONS: Attribute = key(
    "param.MaxConnections",
    Kind::Integer {
        min: 1,
        max: 65_535,
    },
    Integer(1),
    "connections of one session; at most 32 are agreed on",
    "RFC 7143 §13.2; LIO param/MaxConnections",
);
pub(super) const MAX_OUTSTANDING_R2T: Attribute = key(
    "param.MaxOutstandingR2T",
    Kind::Integer {
        min: 1,
        max: 65_535,
    },
    Integer(8),
    "R2Ts of one write at a time",
    "RFC 7143 §13.17; LIO param/MaxOutstandingR2T",
)
.lio(Integer(1));
pub(super) const MAX_RECV_DATA_SEGMENT_LENGTH: Attribute = key(
    "param.MaxRecvDataSegmentLength",
    SEGMENT,
    Integer(262_144),
    "bytes of data that one PDU to the target may carry",
    "RFC 7143 §13.12; LIO param/MaxRecvDataSegmentLength",
)
.lio(Integer(8_192));
const MAX_XMIT_DATA_SEGMENT_LENGTH: Attribute = kept(
    "param.MaxXmitDataSegmentLength",
    SEGMENT,
    Integer(262_144),
    "bytes of data in one PDU from LIO; here as many as the initiator takes",
    "LIO param/MaxXmitDataSegmentLength",
);
const OF_MARK_INT: Attribute = kept(
    "param.OFMarkInt",
    Kind::Text { max_bytes: 32 },
    Text("Reject"),
    "markers are obsolete",
    "RFC 7143 §13.25; LIO param/OFMarkInt",
);
const OF_MARKER: Attribute = kept(
    "param.OFMarker",
    YES_NO,
    Text("No"),
    "markers are obsolete",
    "RFC 7143 §13.25; LIO param/OFMarker",
);
