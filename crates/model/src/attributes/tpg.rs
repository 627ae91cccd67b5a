//! Rows of portal groups, and of their portals and LUNs.

use super::Default::{Bool, Integer, Text, Unset};
use super::daemon::AUTH_HELPER;
use super::{Attribute, CHAP_SECRET, CHAP_USER, Kind, MUTUAL_SECRET, MUTUAL_USER, Takes, row};

const YES_NO: Kind = Kind::Choice(&["Yes", "No"]);
const SEGMENT: Kind = Kind::Integer {
    min: 512,
    max: 16_777_215,
};

pub(super) static TPG: &[Attribute] = &[
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
    AUTH_HELPER,
    row(
        "authentication",
        Kind::Choice(&["none", "chap"]),
        Unset,
        Takes::Live,
        "what an initiator has to prove; found when the group is made: chap if that names any secret, else none",
        "Quintain; LIO attrib/authentication",
    ),
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
    .lio(Bool(false)),
    row(
        "generate_node_acls",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "any initiator may log in and sees every LUN",
        "LIO attrib/generate_node_acls",
    ),
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
    row(
        "param.FirstBurstLength",
        SEGMENT,
        Integer(262_144),
        Takes::NextLogin,
        "bytes of unsolicited data with one command",
        "RFC 7143 §13.14; LIO param/FirstBurstLength",
    )
    .lio(Integer(65_536)),
    row(
        "param.ImmediateData",
        YES_NO,
        Text("Yes"),
        Takes::NextLogin,
        "a write may carry its first data",
        "RFC 7143 §13.11; LIO param/ImmediateData",
    ),
    row(
        "param.InitialR2T",
        YES_NO,
        Text("No"),
        Takes::NextLogin,
        "a write waits for an R2T before it sends more",
        "RFC 7143 §13.10; LIO param/InitialR2T",
    )
    .lio(Text("Yes")),
    row(
        "param.MaxBurstLength",
        SEGMENT,
        Integer(1_048_576),
        Takes::NextLogin,
        "bytes of one Data-In or solicited Data-Out sequence",
        "RFC 7143 §13.13; LIO param/MaxBurstLength",
    )
    .lio(Integer(262_144)),
    row(
        "param.MaxOutstandingR2T",
        Kind::Integer {
            min: 1,
            max: 65_535,
        },
        Integer(8),
        Takes::NextLogin,
        "R2Ts of one write at a time",
        "RFC 7143 §13.17; LIO param/MaxOutstandingR2T",
    )
    .lio(Integer(1)),
    row(
        "param.MaxRecvDataSegmentLength",
        SEGMENT,
        Integer(262_144),
        Takes::NextLogin,
        "bytes of data that one PDU to the target may carry",
        "RFC 7143 §13.12; LIO param/MaxRecvDataSegmentLength",
    )
    .lio(Integer(8_192)),
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
    ),
];

pub(super) static PORTAL: &[Attribute] = &[row(
    "advertise",
    Kind::Text { max_bytes: 255 },
    Unset,
    Takes::Live,
    "host:port that initiators are told instead of the local address",
    "Quintain",
)];

pub(super) static LUN: &[Attribute] = &[
    row(
        "alua_group",
        Kind::Text { max_bytes: 200 },
        Text("default_tg_pt_gp"),
        Takes::Stored,
        "the ALUA group of the backstore that this port is in",
        "SPC-5 Target port groups; LIO alua_tg_pt_gp",
    ),
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
