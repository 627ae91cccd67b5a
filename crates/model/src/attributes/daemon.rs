//! Rows of the daemon, of discovery, and of targets.

use iscsi_wire::DEFAULT_PORT;

use super::Default::{Bool, Integer, Unset};
use super::{Attribute, CHAP_SECRET, CHAP_USER, Kind, MUTUAL_SECRET, MUTUAL_USER, Takes, row};

pub(super) const AUTH_HELPER: Attribute = row(
    "auth_helper",
    Kind::Text { max_bytes: 107 },
    Unset,
    Takes::Live,
    "the socket of the authentication helper to ask; empty: the built-in store decides",
    "Quintain",
);

// Of targets and of portal groups: where a group has an address all three of its own hold, else the target's.

pub(super) const REDIRECT_ADDRESS: Attribute = row(
    "redirect.address",
    Kind::Address {
        default_port: DEFAULT_PORT,
    },
    Unset,
    Takes::NextLogin,
    "where initiators that log in are sent to instead; sessions that there are stay",
    "RFC 7143 §11.13.5, §13.8",
);
pub(super) const REDIRECT_AFTER: Attribute = row(
    "redirect.after_authentication",
    Kind::Bool,
    Bool(false),
    Takes::NextLogin,
    "only initiators that have proved themselves are told where to; false: any that is admitted",
    "Quintain",
);
pub(super) const REDIRECT_PERMANENT: Attribute = row(
    "redirect.permanent",
    Kind::Bool,
    Bool(false),
    Takes::NextLogin,
    "initiators may keep the new address for ever (0102h); false: they come here first again (0101h)",
    "RFC 7143 §11.13.5",
);

pub(super) static DAEMON: &[Attribute] = &[
    AUTH_HELPER,
    row(
        "auth_helper_timeout_ms",
        Kind::Integer {
            min: 100,
            max: 60_000,
        },
        Integer(5_000),
        Takes::Live,
        "how long a question to an authentication helper may take; then the login is refused",
        "Quintain",
    ),
    row(
        "drain_timeout_s",
        Kind::Integer { min: 0, max: 3_600 },
        Integer(10),
        Takes::Live,
        "how long what is removed may take to finish its commands and log out, before it is cut off",
        "Quintain",
    ),
    row(
        "isns.entity",
        Kind::Text { max_bytes: 255 },
        Unset,
        Takes::Live,
        "what the iSNS server knows this daemon as; unset: the machine's name",
        "RFC 4171 §6.2.1",
    ),
    row(
        "isns.esi_interval_s",
        Kind::Integer { min: 0, max: 3_600 },
        Integer(60),
        Takes::Live,
        "how often the iSNS server shall ask whether the portals are there; 0: never",
        "RFC 4171 §6.3.4",
    ),
    row(
        "isns.period_s",
        Kind::Integer {
            min: 3,
            max: 86_400,
        },
        Integer(600),
        Takes::Live,
        "how long the iSNS server shall remember a daemon that it hears nothing of",
        "RFC 4171 §6.2.6",
    ),
    row(
        "isns.server",
        Kind::Address { default_port: 3205 },
        Unset,
        Takes::Live,
        "the iSNS server that is told of targets and portals; unset: none",
        "RFC 4171",
    ),
];

pub(super) static DISCOVERY: &[Attribute] = &[
    CHAP_SECRET.file("password"),
    CHAP_USER.file("userid"),
    row(
        "enforce",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "discovery sessions have to prove themselves by CHAP",
        "LIO discovery_auth/enforce_discovery_auth",
    )
    .file("enforce_discovery_auth"),
    MUTUAL_SECRET.file("password_mutual"),
    MUTUAL_USER.file("userid_mutual"),
];

pub(super) static TARGET: &[Attribute] = &[
    row(
        "alias",
        Kind::Text { max_bytes: 255 },
        Unset,
        Takes::NextLogin,
        "what initiators are told as TargetAlias",
        "RFC 7143 §13.7; LIO param/TargetAlias of each group",
    ),
    row(
        "isns",
        Kind::Bool,
        Bool(true),
        Takes::Live,
        "the iSNS server is told of it",
        "RFC 4171",
    ),
    row(
        "param.cmd_completion_affinity",
        Kind::Integer {
            min: -2,
            max: 65_535,
        },
        Integer(-1),
        Takes::Stored,
        "the processor that completes LIO's commands: -1 as the session's, -2 any",
        "LIO param/cmd_completion_affinity",
    ),
    REDIRECT_ADDRESS,
    REDIRECT_AFTER,
    REDIRECT_PERMANENT,
];
