//! The one table of negotiation keys: RFC 7143 §13, §12.1 (authentication), and RFC 7145 (iSER).
//!
//! One row is one key: where it may be used, by whom, what its values look like and how two of them become one. The
//! negotiation itself, and which values this implementation offers, stand elsewhere.

use self::Combine::{And, Declarative, FirstCommon, Max, Min, Obsolete, Or, Request};
use self::Phase::{
    AnyStage, FullFeatureOnly, Initialization, LoginAndFullFeature, LoginOperational, Security,
};
use self::Scope::{ConnectionOnly, SessionWide};
use self::Sender::{Both, Initiator, Target};
use self::ValueKind::{Address, Boolean, ListOf, Name, OneOf, Text};
use crate::Stage;

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

const fn number(min: u64, max: u64) -> ValueKind {
    ValueKind::Numerical { min, max }
}

/// Bytes of a segment or burst: 512 to 2^24 - 1.
const LENGTH: ValueKind = number(512, 0x00ff_ffff);
const SECONDS: ValueKind = number(0, 3600);
const COUNT: ValueKind = number(1, 65535);
const MARK_INTERVAL: ValueKind = ValueKind::Range { min: 1, max: 65535 };
const DIGESTS: ValueKind = ListOf(&["CRC32C", "None"]);
const AUTH_METHODS: ValueKind = ListOf(&["KRB5", "SRP", "CHAP", "None"]);
const CHAP_ALGORITHMS: ValueKind = ListOf(&["5", "6", "7", "8"]);
/// The longest CHAP challenge or response (RFC 7143 §12.1.3).
const CHAP_BINARY: ValueKind = ValueKind::Binary { max_bytes: 1024 };
const TASK_REPORTING: ValueKind = ListOf(&["RFC3720", "ResponseFence", "FastAbort"]);
const SESSION_TYPES: ValueKind = OneOf(&["Discovery", "Normal"]);

/// `Variant "name": phase, sender, scope; kind, combination; citation; more of the row`.
macro_rules! keys {
    ($(
        $key:ident $name:literal: $phase:expr, $sender:expr, $scope:expr; $value:expr, $combine:expr;
        $citation:literal; $(.$more:ident($($argument:expr)?))*
    )*) => {
        /// A key the table knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Key {
            $(
                #[doc = concat!("`", $name, "`, ", $citation, ".")]
                $key,
            )*
        }

        /// Every key, in the order of [`Key`].
        pub static KEYS: &[KeyRow] = &[
            $(KeyRow {
                key: Key::$key,
                name: $name,
                phase: $phase,
                sender: $sender,
                scope: $scope,
                value: $value,
                default: None,
                combine: $combine,
                leading_only: false,
                discovery: true,
                citation: $citation,
            }
            $(.$more($($argument)?))*,)*
        ];
    };
}

keys! {
    InitiatorName "InitiatorName": Initialization, Initiator, SessionWide;
        Name, Declarative; "RFC 7143 §13.5";
    InitiatorAlias "InitiatorAlias": AnyStage, Initiator, SessionWide;
        Text, Declarative; "RFC 7143 §13.7";
    TargetName "TargetName": Initialization, Initiator, SessionWide;
        Name, Declarative; "RFC 7143 §13.4";
    TargetAlias "TargetAlias": AnyStage, Target, SessionWide;
        Text, Declarative; "RFC 7143 §13.6";
    TargetAddress "TargetAddress": AnyStage, Target, SessionWide;
        Address, Declarative; "RFC 7143 §13.8";
    TargetPortalGroupTag "TargetPortalGroupTag": Initialization, Target, SessionWide;
        number(0, 65535), Declarative; "RFC 7143 §13.9";
    SessionType "SessionType": Initialization, Initiator, SessionWide;
        SESSION_TYPES, Declarative; "RFC 7143 §13.21"; .default("Normal").leading_only()
    AuthMethod "AuthMethod": Security, Both, ConnectionOnly;
        AUTH_METHODS, FirstCommon; "RFC 7143 §12.1"; .default("None")
    HeaderDigest "HeaderDigest": LoginOperational, Both, ConnectionOnly;
        DIGESTS, FirstCommon; "RFC 7143 §13.1"; .default("None")
    DataDigest "DataDigest": LoginOperational, Both, ConnectionOnly;
        DIGESTS, FirstCommon; "RFC 7143 §13.1"; .default("None")
    MaxConnections "MaxConnections": LoginOperational, Both, SessionWide;
        COUNT, Min; "RFC 7143 §13.2"; .default("1").leading_only().normal_session_only()
    SendTargets "SendTargets": FullFeatureOnly, Initiator, SessionWide;
        Text, Request; "RFC 7143 §13.3";
    InitialR2T "InitialR2T": LoginOperational, Both, SessionWide;
        Boolean, Or; "RFC 7143 §13.10"; .default("Yes").leading_only().normal_session_only()
    ImmediateData "ImmediateData": LoginOperational, Both, SessionWide;
        Boolean, And; "RFC 7143 §13.11"; .default("Yes").leading_only().normal_session_only()
    MaxRecvDataSegmentLength "MaxRecvDataSegmentLength": LoginAndFullFeature, Both, ConnectionOnly;
        LENGTH, Declarative; "RFC 7143 §13.12"; .default("8192")
    MaxBurstLength "MaxBurstLength": LoginOperational, Both, SessionWide;
        LENGTH, Min; "RFC 7143 §13.13"; .default("262144").leading_only().normal_session_only()
    FirstBurstLength "FirstBurstLength": LoginOperational, Both, SessionWide;
        LENGTH, Min; "RFC 7143 §13.14"; .default("65536").leading_only().normal_session_only()
    DefaultTime2Wait "DefaultTime2Wait": LoginOperational, Both, SessionWide;
        SECONDS, Max; "RFC 7143 §13.15"; .default("2").leading_only()
    DefaultTime2Retain "DefaultTime2Retain": LoginOperational, Both, SessionWide;
        SECONDS, Min; "RFC 7143 §13.16"; .default("20").leading_only()
    MaxOutstandingR2T "MaxOutstandingR2T": LoginOperational, Both, SessionWide;
        COUNT, Min; "RFC 7143 §13.17"; .default("1").leading_only().normal_session_only()
    DataPduInOrder "DataPDUInOrder": LoginOperational, Both, SessionWide;
        Boolean, Or; "RFC 7143 §13.18"; .default("Yes").leading_only().normal_session_only()
    DataSequenceInOrder "DataSequenceInOrder": LoginOperational, Both, SessionWide;
        Boolean, Or; "RFC 7143 §13.19"; .default("Yes").leading_only().normal_session_only()
    ErrorRecoveryLevel "ErrorRecoveryLevel": LoginOperational, Both, SessionWide;
        number(0, 2), Min; "RFC 7143 §13.20"; .default("0").leading_only()
    TaskReporting "TaskReporting": LoginOperational, Both, SessionWide;
        TASK_REPORTING, FirstCommon; "RFC 7143 §13.23"; .default("RFC3720").leading_only().normal_session_only()
    IscsiProtocolLevel "iSCSIProtocolLevel": LoginOperational, Both, SessionWide;
        number(0, 31), Min; "RFC 7143 §13.24"; .default("1").leading_only().normal_session_only()
    IfMarker "IFMarker": LoginOperational, Both, ConnectionOnly;
        Boolean, Obsolete("No"); "RFC 7143 §13.25"; .default("No")
    OfMarker "OFMarker": LoginOperational, Both, ConnectionOnly;
        Boolean, Obsolete("No"); "RFC 7143 §13.25"; .default("No")
    IfMarkInt "IFMarkInt": LoginOperational, Both, ConnectionOnly;
        MARK_INTERVAL, Obsolete("Reject"); "RFC 7143 §13.25";
    OfMarkInt "OFMarkInt": LoginOperational, Both, ConnectionOnly;
        MARK_INTERVAL, Obsolete("Reject"); "RFC 7143 §13.25";
    RdmaExtensions "RDMAExtensions": LoginOperational, Both, SessionWide;
        Boolean, And; "RFC 7145 §6.3"; .default("No").leading_only().normal_session_only()
    TargetRecvDataSegmentLength "TargetRecvDataSegmentLength": LoginOperational, Both, ConnectionOnly;
        LENGTH, Min; "RFC 7145 §6.4"; .default("8192").normal_session_only()
    InitiatorRecvDataSegmentLength "InitiatorRecvDataSegmentLength": LoginOperational, Both, ConnectionOnly;
        LENGTH, Min; "RFC 7145 §6.5"; .default("8192").normal_session_only()
    MaxOutstandingUnexpectedPdus "MaxOutstandingUnexpectedPDUs": LoginOperational, Both, SessionWide;
        number(0, 0xffff_ffff), Declarative; "RFC 7145 §6.7"; .default("0").leading_only().normal_session_only()
    NodeArchitecture "X#NodeArchitecture": LoginOperational, Both, SessionWide;
        Text, Declarative; "RFC 7143 §13.26";
    ChapA "CHAP_A": Security, Both, ConnectionOnly;
        CHAP_ALGORITHMS, FirstCommon; "RFC 7143 §12.1.3";
    ChapI "CHAP_I": Security, Both, ConnectionOnly;
        number(0, 255), Declarative; "RFC 7143 §12.1.3";
    ChapC "CHAP_C": Security, Both, ConnectionOnly;
        CHAP_BINARY, Declarative; "RFC 7143 §12.1.3";
    ChapN "CHAP_N": Security, Both, ConnectionOnly;
        Text, Declarative; "RFC 7143 §12.1.3";
    ChapR "CHAP_R": Security, Both, ConnectionOnly;
        CHAP_BINARY, Declarative; "RFC 7143 §12.1.3";
}

#[cfg(test)]
mod tests;
