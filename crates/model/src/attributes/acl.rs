//! Rows of node ACLs and mapped LUNs.

use super::Default::{Bool, Integer, Unset};
use super::{
    Attribute, CHAP_SECRET, CHAP_USER, Kind, LINK_ALIAS, MUTUAL_SECRET, MUTUAL_USER, Takes, row,
    tpg,
};

pub(super) static ACL: &[Attribute] = &[
    row(
        "attrib.authentication",
        Kind::Integer { min: -1, max: 1 },
        Integer(-1),
        Takes::Live,
        "whether this initiator has to prove itself: -1 as the group says, 0 no, 1 yes",
        "LIO acls attrib/authentication",
    ),
    row(
        "attrib.dataout_timeout",
        Kind::Integer { min: 2, max: 60 },
        Integer(3),
        Takes::Stored,
        "seconds until LIO asks again for Data-Out that does not come",
        "LIO acls attrib/dataout_timeout",
    ),
    row(
        "attrib.dataout_timeout_retries",
        Kind::Integer { min: 1, max: 15 },
        Integer(5),
        Takes::Stored,
        "how often LIO asks again",
        "LIO acls attrib/dataout_timeout_retries",
    ),
    row(
        "attrib.default_erl",
        Kind::Integer { min: 0, max: 2 },
        Integer(0),
        Takes::Stored,
        "the error recovery level of LIO's timers",
        "LIO acls attrib/default_erl",
    ),
    row(
        "attrib.nopin_response_timeout",
        Kind::Integer { min: 3, max: 60 },
        Integer(30),
        Takes::Stored,
        "seconds that LIO waits for the answer to its NOP-In",
        "LIO acls attrib/nopin_response_timeout",
    ),
    row(
        "attrib.nopin_timeout",
        Kind::Integer { min: 0, max: 60 },
        Integer(15),
        Takes::Stored,
        "seconds of silence after which LIO sends a NOP-In; 0: never",
        "LIO acls attrib/nopin_timeout",
    ),
    row(
        "attrib.random_datain_pdu_offsets",
        Kind::Bool,
        Bool(false),
        Takes::Stored,
        "a debugging aid of LIO",
        "LIO acls attrib/random_datain_pdu_offsets",
    ),
    row(
        "attrib.random_datain_seq_offsets",
        Kind::Bool,
        Bool(false),
        Takes::Stored,
        "a debugging aid of LIO",
        "LIO acls attrib/random_datain_seq_offsets",
    ),
    row(
        "attrib.random_r2t_offsets",
        Kind::Bool,
        Bool(false),
        Takes::Stored,
        "a debugging aid of LIO",
        "LIO acls attrib/random_r2t_offsets",
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
    )
    .file("cmdsn_depth"),
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
    tpg::DATA_DIGEST.of_acl(),
    tpg::DATA_PDU_IN_ORDER.of_acl(),
    tpg::DATA_SEQUENCE_IN_ORDER.of_acl(),
    tpg::DEFAULT_TIME2RETAIN.of_acl(),
    tpg::DEFAULT_TIME2WAIT.of_acl(),
    tpg::ERROR_RECOVERY_LEVEL.of_acl(),
    tpg::FIRST_BURST_LENGTH.of_acl(),
    tpg::HEADER_DIGEST.of_acl(),
    tpg::IMMEDIATE_DATA.of_acl(),
    tpg::INITIAL_R2T.of_acl(),
    tpg::MAX_BURST_LENGTH.of_acl(),
    tpg::MAX_CONNECTIONS.of_acl(),
    tpg::MAX_OUTSTANDING_R2T.of_acl(),
    tpg::MAX_RECV_DATA_SEGMENT_LENGTH.of_acl(),
    row(
        "tag",
        Kind::Text { max_bytes: 63 },
        Unset,
        Takes::Live,
        "ACLs with one tag are a group for the tools",
        "LIO acls tag",
    )
    .file("tag"),
];

pub(super) static MAPPED_LUN: &[Attribute] = &[
    LINK_ALIAS,
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
    )
    .file("write_protect"),
];
