//! Why a login ends without a session, and the one map from that to a status.

use core::fmt;

use auth::{ChapError, Refusal};
use iscsi_wire::{LoginStatus, ParseError};

use crate::negotiate::KeyError;

/// Why a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginError {
    /// The first PDU is no Login Request.
    NotALogin,
    /// A PDU other than a Login Request came during the login; its opcode.
    InvalidDuringLogin(u8),
    /// The header is malformed.
    Header(ParseError),
    /// The initiator speaks only versions we do not.
    UnsupportedVersion,
    /// A header field, by its RFC name, differs from the first request's.
    Changed(&'static str),
    /// C and T are both set.
    ContinueAndTransit,
    /// The current stage is not the one the login is in, or is none.
    WrongStage,
    /// The next stage is not one that can follow.
    IllegalTransition,
    /// A data segment is longer than a target takes during login.
    SegmentTooLong,
    /// The text is longer than the limit.
    TextTooLong,
    /// More requests than the limit.
    TooManyRequests,
    /// Text came where an empty request should have asked for the rest of our answer.
    AnswerInterrupted,
    /// A key, or its value.
    Key(KeyError),
    /// This key is missing in the first request.
    Missing(&'static str),
    /// This name or alias is malformed.
    MalformedName(&'static str),
    /// SessionType is neither Normal nor Discovery.
    SessionType,
    /// A discovery session has one connection, and a TSIH asks for another.
    NoSuchSession,
    /// The initiator goes past authentication that the policy requires.
    AuthenticationRequired,
    /// No method in AuthMethod is one that the policy allows.
    NoCommonMethod,
    /// The CHAP exchange failed.
    Chap(ChapError),
    /// The policy lets nobody in.
    Denied(Refusal),
    /// The authenticator gave no answer.
    NoAnswer,
    /// The authenticator redirects a discovery session, which has no target that could be elsewhere.
    NothingToRedirect,
    /// Refused by the login's owner, or redirected, with this status.
    Refused(LoginStatus),
    /// The whole-login deadline has passed.
    DeadlinePassed,
}

impl LoginError {
    /// The status that tells the initiator; `None` where the connection is closed without a response.
    // RFC 7143 §11.13.5. Class 02h tells an initiator not to try again, so it is for what somebody must change.
    #[must_use]
    pub const fn status(self) -> Option<LoginStatus> {
        Some(match self {
            // RFC 7143 §6.3: before the Login Phase has started, any other PDU ends the connection at once.
            Self::NotALogin | Self::DeadlinePassed => return None,
            // RFC 7143 §6.3: after it has started, any other PDU is answered with this status first.
            Self::InvalidDuringLogin(_) => LoginStatus::INVALID_DURING_LOGIN,
            Self::UnsupportedVersion => LoginStatus::UNSUPPORTED_VERSION,
            Self::Header(_)
            | Self::Changed(_)
            | Self::ContinueAndTransit
            | Self::WrongStage
            | Self::IllegalTransition
            | Self::SegmentTooLong
            | Self::TextTooLong
            | Self::TooManyRequests
            | Self::AnswerInterrupted
            | Self::MalformedName(_)
            | Self::Key(_) => LoginStatus::INITIATOR_ERROR,
            Self::Missing(_) => LoginStatus::MISSING_PARAMETER,
            Self::SessionType => LoginStatus::SESSION_TYPE_NOT_SUPPORTED,
            Self::NoSuchSession => LoginStatus::SESSION_DOES_NOT_EXIST,
            Self::AuthenticationRequired | Self::NoCommonMethod => {
                LoginStatus::AUTHENTICATION_FAILURE
            }
            Self::Chap(error) => chap_status(error),
            Self::Denied(refusal) => refused(refusal),
            Self::NothingToRedirect => LoginStatus::TARGET_ERROR,
            Self::NoAnswer => LoginStatus::SERVICE_UNAVAILABLE,
            // A refusal cannot succeed, whatever its owner says.
            Self::Refused(status) if status.is_success() => LoginStatus::TARGET_ERROR,
            Self::Refused(status) => status,
        })
    }
}

// RFC 7143 §9.2: keys that are not as the step has them are the initiator's error, or a parameter that is missing; what
// they prove, or fail to, is a matter of authentication.
const fn chap_status(error: ChapError) -> LoginStatus {
    match error {
        ChapError::MissingKey(_) => LoginStatus::MISSING_PARAMETER,
        ChapError::OutOfTurn | ChapError::Malformed(_) => LoginStatus::INITIATOR_ERROR,
        ChapError::NoCommonAlgorithm
        | ChapError::WrongResponseLength
        | ChapError::MutualNotAllowed
        | ChapError::MutualMissing
        | ChapError::ReflectedChallenge
        | ChapError::Redirected => LoginStatus::AUTHENTICATION_FAILURE,
        ChapError::Denied(refusal) => refused(refusal),
        ChapError::UnusableAnswer => LoginStatus::TARGET_ERROR,
    }
}

const fn refused(refusal: Refusal) -> LoginStatus {
    match refusal {
        Refusal::NotAuthorized => LoginStatus::AUTHORIZATION_FAILURE,
        Refusal::UnknownUser
        | Refusal::WrongResponse
        | Refusal::SameSecret
        | Refusal::MutualNotConfigured => LoginStatus::AUTHENTICATION_FAILURE,
        Refusal::Unavailable => LoginStatus::SERVICE_UNAVAILABLE,
    }
}

impl From<KeyError> for LoginError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<ChapError> for LoginError {
    fn from(error: ChapError) -> Self {
        Self::Chap(error)
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALogin => f.write_str("the first PDU is no Login Request"),
            Self::InvalidDuringLogin(opcode) => {
                write!(f, "PDU not allowed during login: opcode {opcode:#04x}")
            }
            Self::Header(error) => error.fmt(f),
            Self::UnsupportedVersion => f.write_str("no iSCSI version in common"),
            Self::Changed(field) => write!(f, "field changed during login: {field}"),
            Self::ContinueAndTransit => f.write_str("the C and T bits are both set"),
            Self::WrongStage => f.write_str("request in a stage the login is not in"),
            Self::IllegalTransition => f.write_str("illegal transition between stages"),
            Self::SegmentTooLong => f.write_str("data segment is too long for a login"),
            Self::TextTooLong => f.write_str("text is too long for a login"),
            Self::TooManyRequests => f.write_str("too many requests in one login"),
            Self::AnswerInterrupted => f.write_str("text instead of an empty request"),
            Self::Key(error) => error.fmt(f),
            Self::Missing(key) => write!(f, "key missing in the first request: {key}"),
            Self::MalformedName(key) => write!(f, "malformed value: {key}"),
            Self::SessionType => f.write_str("unknown SessionType"),
            Self::NoSuchSession => f.write_str("connection for a session that does not exist"),
            Self::AuthenticationRequired => f.write_str("authentication is required"),
            Self::NoCommonMethod => f.write_str("no authentication method in common"),
            Self::Chap(error) => error.fmt(f),
            Self::Denied(refusal) => refusal.fmt(f),
            Self::NoAnswer => f.write_str("the authenticator gave no answer"),
            Self::NothingToRedirect => f.write_str("a discovery session was redirected"),
            Self::Refused(status) => write!(f, "refused: {status}"),
            Self::DeadlinePassed => f.write_str("the login took too long"),
        }
    }
}

impl core::error::Error for LoginError {}
