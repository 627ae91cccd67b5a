//! Rows of ALUA groups.

use super::Default::{Bool, Integer};
use super::backstore::stored_bool;
use super::{Attribute, Kind, Takes, row};

/// A row of ALUA groups that takes effect; LIO spells them all alike.
const fn live(
    name: &'static str,
    max: i64,
    default: i64,
    help: &'static str,
    origin: &'static str,
) -> Attribute {
    let kind = Kind::Integer { min: 0, max };
    row(name, kind, Integer(default), Takes::Live, help, origin).file(name)
}

/// A row that takes effect, and says yes or no.
const fn live_bool(
    name: &'static str,
    default: bool,
    help: &'static str,
    origin: &'static str,
) -> Attribute {
    row(name, Kind::Bool, Bool(default), Takes::Live, help, origin).file(name)
}

/// A row of ALUA groups that is kept.
const fn alua(
    name: &'static str,
    max: i64,
    default: i64,
    help: &'static str,
    origin: &'static str,
) -> Attribute {
    let kind = Kind::Integer { min: 0, max };
    row(name, kind, Integer(default), Takes::Stored, help, origin).file(name)
}

const SUPPORT: &str = "SPC-5 REPORT TARGET PORT GROUPS (support bits); LIO alua";

pub(super) static ALUA_GROUP: &[Attribute] = &[
    live(
        "alua_access_state",
        14,
        0,
        "0 active/optimized, 1 active/non-optimized, 2 standby, 3 unavailable, 14 offline",
        "SPC-5 Target port group access state; LIO alua_access_state",
    ),
    alua(
        "alua_access_status",
        2,
        0,
        "what changed the state last: 0 nothing, 1 SET TARGET PORT GROUPS, 2 the operator",
        "SPC-5 REPORT TARGET PORT GROUPS (status code); LIO alua_access_status",
    ),
    live(
        "alua_access_type",
        3,
        3,
        "who may change the state: 0 nobody, 1 the target, 2 the initiator, 3 both",
        "SPC-5 Standard INQUIRY data (TPGS); LIO alua_access_type",
    ),
    live_bool(
        "alua_support_active_nonoptimized",
        true,
        "the state active/non-optimized may be",
        SUPPORT,
    ),
    live_bool(
        "alua_support_active_optimized",
        true,
        "the state active/optimized may be",
        SUPPORT,
    ),
    stored_bool(
        "alua_support_lba_dependent",
        false,
        "the state LBA dependent may be",
        SUPPORT,
    )
    .file("alua_support_lba_dependent"),
    live_bool(
        "alua_support_offline",
        true,
        "the state offline may be",
        SUPPORT,
    ),
    live_bool(
        "alua_support_standby",
        true,
        "the state standby may be",
        SUPPORT,
    ),
    live_bool(
        "alua_support_transitioning",
        true,
        "the state transitioning is told to be there, where a transition takes time",
        SUPPORT,
    ),
    live_bool(
        "alua_support_unavailable",
        true,
        "the state unavailable may be",
        SUPPORT,
    ),
    stored_bool(
        "alua_write_metadata",
        false,
        "LIO writes the state to a file",
        "LIO alua_write_metadata",
    )
    .file("alua_write_metadata"),
    live(
        "implicit_trans_secs",
        255,
        0,
        "the longest implicit transition that initiators are told of, in seconds",
        "SPC-5 REPORT TARGET PORT GROUPS (implicit transition time); LIO implicit_trans_secs",
    ),
    alua(
        "nonop_delay_msecs",
        10_000,
        100,
        "how much later commands of the state active/non-optimized are done, in milliseconds",
        "LIO nonop_delay_msecs",
    ),
    live_bool(
        "preferred",
        false,
        "initiators are asked to prefer the group",
        "SPC-5 REPORT TARGET PORT GROUPS (PREF); LIO preferred",
    ),
    live(
        "tg_pt_gp_id",
        65_535,
        0,
        "the target port group, unique in the backstore",
        "SPC-5 Target port groups; LIO tg_pt_gp_id",
    ),
    live(
        "trans_delay_msecs",
        30_000,
        0,
        "how long a change of the state takes, in milliseconds; initiators find the group transitioning meanwhile",
        "SPC-5 Transitions between target port asymmetric access states; LIO trans_delay_msecs",
    ),
];
