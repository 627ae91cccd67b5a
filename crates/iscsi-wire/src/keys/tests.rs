//! The table against the RFCs, key by key.

use std::collections::HashSet;

use super::*;
use crate::number::{parse_boolean, parse_number};

#[test]
fn rows_stand_in_the_order_of_the_keys_and_are_found_by_name() {
    let mut names = HashSet::new();
    for (at, row) in KEYS.iter().enumerate() {
        assert_eq!(row.key as usize, at, "{}", row.name);
        assert_eq!(row.key.row(), row);
        assert_eq!(row.key.name(), row.name);
        assert_eq!(lookup(row.name), Some(row));
        assert!(names.insert(row.name), "{}", row.name);
    }
    assert_eq!(Key::ChapR as usize + 1, KEYS.len());
    assert_eq!(lookup("initiatorname"), None, "keys are case-sensitive");
    assert_eq!(lookup("X-com.example.flow"), None);
}

// RFC 7143 §13 in its order, §12.1 and RFC 7145: name, default, whether Irrelevant in a discovery session.
#[test]
fn table_has_each_key_of_the_rfcs_with_its_default() {
    let expected = [
        ("HeaderDigest", Some("None"), false),
        ("DataDigest", Some("None"), false),
        ("MaxConnections", Some("1"), true),
        ("SendTargets", None, false),
        ("TargetName", None, false),
        ("InitiatorName", None, false),
        ("TargetAlias", None, false),
        ("InitiatorAlias", None, false),
        ("TargetAddress", None, false),
        ("TargetPortalGroupTag", None, false),
        ("InitialR2T", Some("Yes"), true),
        ("ImmediateData", Some("Yes"), true),
        ("MaxRecvDataSegmentLength", Some("8192"), false),
        ("MaxBurstLength", Some("262144"), true),
        ("FirstBurstLength", Some("65536"), true),
        ("DefaultTime2Wait", Some("2"), false),
        ("DefaultTime2Retain", Some("20"), false),
        ("MaxOutstandingR2T", Some("1"), true),
        ("DataPDUInOrder", Some("Yes"), true),
        ("DataSequenceInOrder", Some("Yes"), true),
        ("ErrorRecoveryLevel", Some("0"), false),
        ("SessionType", Some("Normal"), false),
        ("TaskReporting", Some("RFC3720"), true),
        ("iSCSIProtocolLevel", Some("1"), true),
        ("IFMarker", Some("No"), false),
        ("OFMarker", Some("No"), false),
        ("IFMarkInt", None, false),
        ("OFMarkInt", None, false),
        ("X#NodeArchitecture", None, false),
        ("AuthMethod", Some("None"), false),
        ("CHAP_A", None, false),
        ("CHAP_I", None, false),
        ("CHAP_C", None, false),
        ("CHAP_N", None, false),
        ("CHAP_R", None, false),
        ("RDMAExtensions", Some("No"), true),
        ("TargetRecvDataSegmentLength", Some("8192"), true),
        ("InitiatorRecvDataSegmentLength", Some("8192"), true),
        ("MaxOutstandingUnexpectedPDUs", Some("0"), true),
    ];
    assert_eq!(expected.len(), KEYS.len());
    for (name, default, irrelevant) in expected {
        let row = lookup(name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(
            (row.default, !row.discovery),
            (default, irrelevant),
            "{name}"
        );
    }
}

#[test]
fn defaults_are_legal_values_and_combinations_fit_their_kind() {
    for row in KEYS {
        let fits = match row.value {
            ValueKind::Numerical { min, max } => {
                let in_range = |text| parse_number(text).is_ok_and(|n| (min..=max).contains(&n));
                assert!(row.default.is_none_or(in_range), "{}", row.name);
                matches!(
                    row.combine,
                    Combine::Min | Combine::Max | Combine::Declarative
                )
            }
            ValueKind::Boolean => {
                assert!(
                    row.default.is_some_and(|text| parse_boolean(text).is_ok()),
                    "{}",
                    row.name
                );
                matches!(
                    row.combine,
                    Combine::And | Combine::Or | Combine::Obsolete(_)
                )
            }
            ValueKind::ListOf(values) => {
                assert!(
                    row.default.is_none_or(|text| values.contains(&text)),
                    "{}",
                    row.name
                );
                row.combine == Combine::FirstCommon
            }
            ValueKind::OneOf(values) => {
                assert!(
                    row.default.is_none_or(|text| values.contains(&text)),
                    "{}",
                    row.name
                );
                row.combine == Combine::Declarative
            }
            ValueKind::Range { .. } => matches!(row.combine, Combine::Obsolete("Reject")),
            ValueKind::Text => matches!(row.combine, Combine::Declarative | Combine::Request),
            ValueKind::Name | ValueKind::Address | ValueKind::Binary { .. } => {
                row.combine == Combine::Declarative
            }
        };
        assert!(fits, "{}", row.name);
    }
}

// RFC 7143 §12: the keys of the security negotiation stage.
#[test]
fn security_stage_allows_exactly_the_keys_the_rfc_lists() {
    let allowed: HashSet<_> = [
        Key::SessionType,
        Key::InitiatorName,
        Key::TargetName,
        Key::TargetAddress,
        Key::InitiatorAlias,
        Key::TargetAlias,
        Key::TargetPortalGroupTag,
        Key::AuthMethod,
        Key::ChapA,
        Key::ChapI,
        Key::ChapC,
        Key::ChapN,
        Key::ChapR,
    ]
    .into();
    for row in KEYS {
        assert_eq!(
            row.phase.allows(Stage::Security),
            allowed.contains(&row.key),
            "{}",
            row.name
        );
        assert!(!row.phase.allows(Stage::Other(2)));
    }
}

#[test]
fn full_feature_phase_allows_only_keys_of_all_stages_and_send_targets() {
    let allowed: Vec<_> = KEYS
        .iter()
        .filter(|row| row.phase.allows(Stage::FullFeature))
        .map(|row| row.name)
        .collect();
    let expected = [
        "InitiatorAlias",
        "TargetAlias",
        "TargetAddress",
        "SendTargets",
        "MaxRecvDataSegmentLength",
    ];
    assert_eq!(allowed, expected);
    assert!(!Key::SendTargets.row().phase.allows(Stage::Operational));
    assert!(!Key::AuthMethod.row().phase.allows(Stage::Operational));
    assert!(
        Key::MaxRecvDataSegmentLength
            .row()
            .phase
            .allows(Stage::Operational)
    );
}
