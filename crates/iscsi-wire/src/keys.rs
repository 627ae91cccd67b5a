//! The one table of negotiation keys: RFC 7143 §13, §12.1 (authentication), RFC 7144 and RFC 7145.
//!
//! One row is one key: where it may be used, by whom, what its values look like and how two of them become one. The
//! negotiation itself, and which values this implementation offers, stand elsewhere.

use crate::Stage;

/// A key the table knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each variant is the key of its name, described by its row"
)]
pub enum Key {
    InitiatorName,
    InitiatorAlias,
    TargetName,
    TargetAlias,
    TargetAddress,
    TargetPortalGroupTag,
    SessionType,
    AuthMethod,
    HeaderDigest,
    DataDigest,
    MaxConnections,
    SendTargets,
    InitialR2T,
    ImmediateData,
    MaxRecvDataSegmentLength,
    MaxBurstLength,
    FirstBurstLength,
    DefaultTime2Wait,
    DefaultTime2Retain,
    MaxOutstandingR2T,
    DataPduInOrder,
    DataSequenceInOrder,
    ErrorRecoveryLevel,
    TaskReporting,
    IscsiProtocolLevel,
    IfMarker,
    OfMarker,
    IfMarkInt,
    OfMarkInt,
    RdmaExtensions,
    TargetRecvDataSegmentLength,
    InitiatorRecvDataSegmentLength,
    MaxOutstandingUnexpectedPdus,
    NodeArchitecture,
    ChapA,
    ChapI,
    ChapC,
    ChapN,
    ChapR,
}

impl Key {
    /// The key's row.
    #[must_use]
    pub const fn row(self) -> &'static KeyRow {
        // The rows stand in the order of the variants; a test holds them to it.
        &KEYS[self as usize]
    }

    /// The key as it is spelled on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }
}

/// What a key's result holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// SW: the whole session.
    SessionWide,
    /// CO: the connection it was negotiated on.
    ConnectionOnly,
}

/// Who may send a key first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The initiator only.
    Initiator,
    /// The target only.
    Target,
    /// Either.
    Both,
}

/// When a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Any stage of the login phase and never after it: "IO" or "LO" with "Any-Stage".
    Initialization,
    /// The security negotiation stage.
    Security,
    /// The operational negotiation stage.
    LoginOperational,
    /// FFPO: the full feature phase only.
    FullFeatureOnly,
    /// The operational negotiation stage and the full feature phase: "ALL".
    LoginAndFullFeature,
    /// Any stage of the login phase, and the full feature phase: "ALL" with "Any-Stage".
    AnyStage,
}

impl Phase {
    /// Whether a key of this phase may be sent in `stage`. The full feature phase counts as one; the reserved stage
    /// allows nothing.
    #[must_use]
    pub const fn allows(self, stage: Stage) -> bool {
        match stage {
            Stage::Security => {
                matches!(self, Self::Initialization | Self::Security | Self::AnyStage)
            }
            Stage::Operational => !matches!(self, Self::Security | Self::FullFeatureOnly),
            Stage::FullFeature => {
                matches!(
                    self,
                    Self::FullFeatureOnly | Self::LoginAndFullFeature | Self::AnyStage
                )
            }
            Stage::Other(_) => false,
        }
    }
}

/// What a key's values look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// UTF-8 text.
    Text,
    /// An iSCSI name.
    Name,
    /// A TargetAddress.
    Address,
    /// A number, both ends included.
    Numerical {
        /// The smallest legal.
        min: u64,
        /// The largest legal.
        max: u64,
    },
    /// `low~high`, both ends within these.
    Range {
        /// The smallest legal.
        min: u64,
        /// The largest legal.
        max: u64,
    },
    /// `Yes` or `No`.
    Boolean,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A list in order of preference; members not among these are legal and never chosen.
    ListOf(&'static [&'static str]),
    /// A binary string.
    Binary {
        /// The most bytes it may decode to.
        max_bytes: usize,
    },
}

/// How an offer and an answer become a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// No answer is given: the sender declares it. Part of an authentication exchange is counted here too.
    Declarative,
    /// The smaller number.
    Min,
    /// The larger number.
    Max,
    /// Yes where both say so.
    And,
    /// Yes where one says so.
    Or,
    /// The first member of the offered list that the answerer supports.
    FirstCommon,
    /// Not a parameter but a question; the answer is made of other keys.
    Request,
    /// RFC 7143 obsoletes the key. The answer is this constant and never `NotUnderstood`.
    Obsolete(&'static str),
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Which.
    pub key: Key,
    /// As spelled on the wire. Keys are case-sensitive.
    pub name: &'static str,
    /// When it may be used.
    pub phase: Phase,
    /// Who may send it first.
    pub sender: Sender,
    /// What its result holds for.
    pub scope: Scope,
    /// What its values look like.
    pub value: ValueKind,
    /// The value where it is not negotiated.
    pub default: Option<&'static str>,
    /// How a result comes about.
    pub combine: Combine,
    /// "LO": only in the login of a session's first connection.
    pub leading_only: bool,
    /// Whether it has a meaning in a discovery session. Where not, it is answered `Irrelevant`.
    pub discovery: bool,
    /// Where it is defined.
    pub citation: &'static str,
}

impl KeyRow {
    const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    const fn leading_only(mut self) -> Self {
        self.leading_only = true;
        self
    }

    const fn normal_session_only(mut self) -> Self {
        self.discovery = false;
        self
    }
}

/// The row of the key with this name.
#[must_use]
pub fn lookup(name: &str) -> Option<&'static KeyRow> {
    KEYS.iter().find(|row| row.name == name)
}

const fn row(
    (key, name): (Key, &'static str),
    phase: Phase,
    sender: Sender,
    scope: Scope,
    (value, combine): (ValueKind, Combine),
    citation: &'static str,
) -> KeyRow {
    KeyRow {
        key,
        name,
        phase,
        sender,
        scope,
        value,
        default: None,
        combine,
        leading_only: false,
        discovery: true,
        citation,
    }
}

/// An operational parameter of the session: negotiated by both, once, in the leading login.
const fn session_parameter(
    named: (Key, &'static str),
    kind: (ValueKind, Combine),
    default: &'static str,
    citation: &'static str,
) -> KeyRow {
    use Phase::LoginOperational;
    row(
        named,
        LoginOperational,
        Sender::Both,
        Scope::SessionWide,
        kind,
        citation,
    )
    .default(default)
    .leading_only()
}

const fn chap(named: (Key, &'static str), kind: (ValueKind, Combine)) -> KeyRow {
    row(
        named,
        Phase::Security,
        Sender::Both,
        Scope::ConnectionOnly,
        kind,
        "RFC 7143 §12.1.3",
    )
}

const fn number(min: u64, max: u64) -> ValueKind {
    ValueKind::Numerical { min, max }
}

/// Bytes of a segment or burst: 512 to 2^24 - 1.
const LENGTH: ValueKind = number(512, 0x00ff_ffff);
const SECONDS: ValueKind = number(0, 3600);
const COUNT: ValueKind = number(1, 65535);
const MARK_INTERVAL: ValueKind = ValueKind::Range { min: 1, max: 65535 };
const DIGESTS: (ValueKind, Combine) =
    (ValueKind::ListOf(&["CRC32C", "None"]), Combine::FirstCommon);
/// The longest CHAP challenge or response (RFC 7143 §12.1.3).
const CHAP_BINARY: (ValueKind, Combine) =
    (ValueKind::Binary { max_bytes: 1024 }, Combine::Declarative);

/// Every key, in the order of [`Key`].
pub static KEYS: &[KeyRow] = {
    use Combine::{And, Declarative, FirstCommon, Max, Min, Obsolete, Or, Request};
    use Key as K;
    use Phase::{
        AnyStage, FullFeatureOnly, Initialization, LoginAndFullFeature, LoginOperational, Security,
    };
    use Scope::{ConnectionOnly, SessionWide};
    use Sender::{Both, Initiator, Target};
    use ValueKind::{Address, Boolean, ListOf, Name, OneOf, Text};
    &[
        row(
            (K::InitiatorName, "InitiatorName"),
            Initialization,
            Initiator,
            SessionWide,
            (Name, Declarative),
            "RFC 7143 §13.5",
        ),
        row(
            (K::InitiatorAlias, "InitiatorAlias"),
            AnyStage,
            Initiator,
            SessionWide,
            (Text, Declarative),
            "RFC 7143 §13.7",
        ),
        row(
            (K::TargetName, "TargetName"),
            Initialization,
            Initiator,
            SessionWide,
            (Name, Declarative),
            "RFC 7143 §13.4",
        ),
        row(
            (K::TargetAlias, "TargetAlias"),
            AnyStage,
            Target,
            SessionWide,
            (Text, Declarative),
            "RFC 7143 §13.6",
        ),
        row(
            (K::TargetAddress, "TargetAddress"),
            AnyStage,
            Target,
            SessionWide,
            (Address, Declarative),
            "RFC 7143 §13.8",
        ),
        row(
            (K::TargetPortalGroupTag, "TargetPortalGroupTag"),
            Initialization,
            Target,
            SessionWide,
            (number(0, 65535), Declarative),
            "RFC 7143 §13.9",
        ),
        row(
            (K::SessionType, "SessionType"),
            Initialization,
            Initiator,
            SessionWide,
            (OneOf(&["Discovery", "Normal"]), Declarative),
            "RFC 7143 §13.21",
        )
        .default("Normal")
        .leading_only(),
        row(
            (K::AuthMethod, "AuthMethod"),
            Security,
            Both,
            ConnectionOnly,
            (ListOf(&["KRB5", "SRP", "CHAP", "None"]), FirstCommon),
            "RFC 7143 §12.1",
        )
        .default("None"),
        row(
            (K::HeaderDigest, "HeaderDigest"),
            LoginOperational,
            Both,
            ConnectionOnly,
            DIGESTS,
            "RFC 7143 §13.1",
        )
        .default("None"),
        row(
            (K::DataDigest, "DataDigest"),
            LoginOperational,
            Both,
            ConnectionOnly,
            DIGESTS,
            "RFC 7143 §13.1",
        )
        .default("None"),
        session_parameter(
            (K::MaxConnections, "MaxConnections"),
            (COUNT, Min),
            "1",
            "RFC 7143 §13.2",
        )
        .normal_session_only(),
        row(
            (K::SendTargets, "SendTargets"),
            FullFeatureOnly,
            Initiator,
            SessionWide,
            (Text, Request),
            "RFC 7143 §13.3",
        ),
        session_parameter(
            (K::InitialR2T, "InitialR2T"),
            (Boolean, Or),
            "Yes",
            "RFC 7143 §13.10",
        )
        .normal_session_only(),
        session_parameter(
            (K::ImmediateData, "ImmediateData"),
            (Boolean, And),
            "Yes",
            "RFC 7143 §13.11",
        )
        .normal_session_only(),
        row(
            (K::MaxRecvDataSegmentLength, "MaxRecvDataSegmentLength"),
            LoginAndFullFeature,
            Both,
            ConnectionOnly,
            (LENGTH, Declarative),
            "RFC 7143 §13.12",
        )
        .default("8192"),
        session_parameter(
            (K::MaxBurstLength, "MaxBurstLength"),
            (LENGTH, Min),
            "262144",
            "RFC 7143 §13.13",
        )
        .normal_session_only(),
        session_parameter(
            (K::FirstBurstLength, "FirstBurstLength"),
            (LENGTH, Min),
            "65536",
            "RFC 7143 §13.14",
        )
        .normal_session_only(),
        session_parameter(
            (K::DefaultTime2Wait, "DefaultTime2Wait"),
            (SECONDS, Max),
            "2",
            "RFC 7143 §13.15",
        ),
        session_parameter(
            (K::DefaultTime2Retain, "DefaultTime2Retain"),
            (SECONDS, Min),
            "20",
            "RFC 7143 §13.16",
        ),
        session_parameter(
            (K::MaxOutstandingR2T, "MaxOutstandingR2T"),
            (COUNT, Min),
            "1",
            "RFC 7143 §13.17",
        )
        .normal_session_only(),
        session_parameter(
            (K::DataPduInOrder, "DataPDUInOrder"),
            (Boolean, Or),
            "Yes",
            "RFC 7143 §13.18",
        )
        .normal_session_only(),
        session_parameter(
            (K::DataSequenceInOrder, "DataSequenceInOrder"),
            (Boolean, Or),
            "Yes",
            "RFC 7143 §13.19",
        )
        .normal_session_only(),
        session_parameter(
            (K::ErrorRecoveryLevel, "ErrorRecoveryLevel"),
            (number(0, 2), Min),
            "0",
            "RFC 7143 §13.20",
        ),
        session_parameter(
            (K::TaskReporting, "TaskReporting"),
            (
                ListOf(&["RFC3720", "ResponseFence", "FastAbort"]),
                FirstCommon,
            ),
            "RFC3720",
            "RFC 7143 §13.23",
        )
        .normal_session_only(),
        session_parameter(
            (K::IscsiProtocolLevel, "iSCSIProtocolLevel"),
            (number(0, 31), Min),
            "1",
            "RFC 7143 §13.24, RFC 7144 §5",
        )
        .normal_session_only(),
        row(
            (K::IfMarker, "IFMarker"),
            LoginOperational,
            Both,
            ConnectionOnly,
            (Boolean, Obsolete("No")),
            "RFC 7143 §13.25",
        )
        .default("No"),
        row(
            (K::OfMarker, "OFMarker"),
            LoginOperational,
            Both,
            ConnectionOnly,
            (Boolean, Obsolete("No")),
            "RFC 7143 §13.25",
        )
        .default("No"),
        row(
            (K::IfMarkInt, "IFMarkInt"),
            LoginOperational,
            Both,
            ConnectionOnly,
            (MARK_INTERVAL, Obsolete("Reject")),
            "RFC 7143 §13.25",
        ),
        row(
            (K::OfMarkInt, "OFMarkInt"),
            LoginOperational,
            Both,
            ConnectionOnly,
            (MARK_INTERVAL, Obsolete("Reject")),
            "RFC 7143 §13.25",
        ),
        session_parameter(
            (K::RdmaExtensions, "RDMAExtensions"),
            (Boolean, And),
            "No",
            "RFC 7145 §6.3",
        )
        .normal_session_only(),
        row(
            (
                K::TargetRecvDataSegmentLength,
                "TargetRecvDataSegmentLength",
            ),
            LoginOperational,
            Both,
            ConnectionOnly,
            (LENGTH, Min),
            "RFC 7145 §6.4",
        )
        .default("8192")
        .normal_session_only(),
        row(
            (
                K::InitiatorRecvDataSegmentLength,
                "InitiatorRecvDataSegmentLength",
            ),
            LoginOperational,
            Both,
            ConnectionOnly,
            (LENGTH, Min),
            "RFC 7145 §6.5",
        )
        .default("8192")
        .normal_session_only(),
        row(
            (
                K::MaxOutstandingUnexpectedPdus,
                "MaxOutstandingUnexpectedPDUs",
            ),
            LoginOperational,
            Both,
            SessionWide,
            (number(0, 0xffff_ffff), Declarative),
            "RFC 7145 §6.7",
        )
        .default("0")
        .leading_only()
        .normal_session_only(),
        row(
            (K::NodeArchitecture, "X#NodeArchitecture"),
            LoginOperational,
            Both,
            SessionWide,
            (Text, Declarative),
            "RFC 7143 §13.26",
        ),
        chap(
            (K::ChapA, "CHAP_A"),
            (ListOf(&["5", "6", "7", "8"]), FirstCommon),
        ),
        chap((K::ChapI, "CHAP_I"), (number(0, 255), Declarative)),
        chap((K::ChapC, "CHAP_C"), CHAP_BINARY),
        chap((K::ChapN, "CHAP_N"), (Text, Declarative)),
        chap((K::ChapR, "CHAP_R"), CHAP_BINARY),
    ]
};

#[cfg(test)]
mod tests {
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
                    let in_range =
                        |text| parse_number(text).is_ok_and(|n| (min..=max).contains(&n));
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
}
