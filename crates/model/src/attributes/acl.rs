//! Rows of node ACLs and mapped LUNs.

use super::Default::{Bool, Integer, Unset};
use super::{Attribute, CHAP_SECRET, CHAP_USER, Kind, MUTUAL_SECRET, MUTUAL_USER, Takes, row};

pub(super) static ACL: &[Attribute] = &[
    row(
        "attrib.authentication",
        Kind::Integer { min: -1, max: 1 },
        Integer(-1),
        Takes::Live,
        "whether this initiator has to prove itself: -1 as the group says, 0 no, 1 yes",
        "LIO acls attrib/authentication",
    ),
    CHAP_SECRET,
    CHAP_USER,
    row(
        "cmdsn_depth",
        Kind::Integer { min: 1, max: 512 },
        Unset,
        Takes::NextLogin,
        "commands that a session of this initiator may have outstanding, in place of the group's",
        "LIO acls cmdsn_depth",
    ),
    row(
        "default_luns",
        Kind::Bool,
        Bool(true),
        Takes::Live,
        "the initiator sees every LUN of the group; the first LUN mapped for it ends this",
        "Quintain",
    )
    .lio(Bool(false)),
    MUTUAL_SECRET,
    MUTUAL_USER,
    row(
        "tag",
        Kind::Text { max_bytes: 63 },
        Unset,
        Takes::Live,
        "ACLs with one tag are a group for the tools",
        "LIO acls tag",
    ),
];

pub(super) static MAPPED_LUN: &[Attribute] = &[
    row(
        "lun",
        Kind::Integer {
            min: 0,
            max: 16_383,
        },
        Unset,
        Takes::Live,
        "the LUN of the group that is shown under this number",
        "LIO acls lun_N",
    ),
    row(
        "write_protect",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "this initiator may only read",
        "LIO acls lun_N/write_protect",
    ),
];
