//! Codes that stand in headers: one enum per code space, each with `Other` for the numbers the RFC gives no name, so
//! that the receiver can answer them instead of the parser.

use core::fmt;

/// Declares an enum of numbered codes with `Other(u8)` and conversions both ways. Equality is that of the numbers only
/// when values are built with `from`: `Other` never holds a number that has a name.
macro_rules! codes {
    ($(
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $value:literal),* $(,)?
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
            /// A number that the RFC reserves or leaves to vendors.
            Other(u8),
        }

        impl From<u8> for $name {
            fn from(value: u8) -> Self {
                match value {
                    $($value => Self::$variant,)*
                    other => Self::Other(other),
                }
            }
        }

        impl From<$name> for u8 {
            fn from(code: $name) -> Self {
                match code {
                    $($name::$variant => $value,)*
                    $name::Other(other) => other,
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::from(0)
            }
        }

        #[cfg(test)]
        impl $name {
            pub(crate) const NAMED: &'static [u8] = &[$($value),*];
        }
    )*};
}

codes! {
    /// Task attribute of a SCSI command (RFC 7143 §11.3.1, SAM-5 "Task attributes"). Three bits.
    pub enum TaskAttribute {
        /// Untagged; to a target the same as simple.
        Untagged = 0,
        /// SIMPLE.
        Simple = 1,
        /// ORDERED.
        Ordered = 2,
        /// HEAD OF QUEUE.
        HeadOfQueue = 3,
        /// ACA.
        Aca = 4,
    }

    /// Stage of a login (RFC 7143 §11.12.3). Two bits; 2 is reserved.
    pub enum Stage {
        /// SecurityNegotiation.
        Security = 0,
        /// LoginOperationalNegotiation.
        Operational = 1,
        /// FullFeaturePhase.
        FullFeature = 3,
    }

    /// Task management function (RFC 7143 §11.5.1, RFC 7144). Seven bits.
    pub enum TaskManagementFunction {
        /// ABORT TASK.
        AbortTask = 1,
        /// ABORT TASK SET.
        AbortTaskSet = 2,
        /// CLEAR ACA.
        ClearAca = 3,
        /// CLEAR TASK SET.
        ClearTaskSet = 4,
        /// LOGICAL UNIT RESET.
        LogicalUnitReset = 5,
        /// TARGET WARM RESET.
        TargetWarmReset = 6,
        /// TARGET COLD RESET.
        TargetColdReset = 7,
        /// TASK REASSIGN.
        TaskReassign = 8,
        /// QUERY TASK (iSCSIProtocolLevel 2).
        QueryTask = 9,
        /// QUERY TASK SET (iSCSIProtocolLevel 2).
        QueryTaskSet = 10,
        /// I_T NEXUS RESET (iSCSIProtocolLevel 2).
        ItNexusReset = 11,
        /// QUERY ASYNCHRONOUS EVENT (iSCSIProtocolLevel 2).
        QueryAsynchronousEvent = 12,
    }

    /// Outcome of a task management function (RFC 7143 §11.6.1, RFC 7144).
    pub enum TaskManagementResponseCode {
        /// Function complete.
        FunctionComplete = 0,
        /// Task does not exist.
        TaskDoesNotExist = 1,
        /// LUN does not exist.
        LunDoesNotExist = 2,
        /// Task still allegiant.
        TaskStillAllegiant = 3,
        /// Task allegiance reassignment not supported.
        TaskAllegianceReassignmentNotSupported = 4,
        /// Task management function not supported.
        FunctionNotSupported = 5,
        /// Function authorization failed.
        FunctionAuthorizationFailed = 6,
        /// Function succeeded: the affirmative answer of a query (iSCSIProtocolLevel 2).
        FunctionSucceeded = 7,
        /// Function rejected.
        FunctionRejected = 255,
    }

    /// iSCSI service response of a SCSI command (RFC 7143 §11.4.3).
    pub enum ResponseCode {
        /// Command completed at target: the status byte is valid.
        CommandCompleted = 0,
        /// Target failure.
        TargetFailure = 1,
    }

    /// Why an initiator logs out (RFC 7143 §11.14.1). Seven bits.
    pub enum LogoutReason {
        /// Close the session.
        CloseSession = 0,
        /// Close the connection.
        CloseConnection = 1,
        /// Remove the connection for recovery.
        RemoveConnectionForRecovery = 2,
    }

    /// Outcome of a logout (RFC 7143 §11.15.1).
    pub enum LogoutResponseCode {
        /// Connection or session closed successfully.
        Closed = 0,
        /// CID not found.
        CidNotFound = 1,
        /// Connection recovery not supported.
        RecoveryNotSupported = 2,
        /// Cleanup failed for various reasons.
        CleanupFailed = 3,
    }

    /// What a SNACK asks for (RFC 7143 §11.16.1). Four bits.
    pub enum SnackType {
        /// Data-In PDUs or R2Ts again.
        DataOrR2t = 0,
        /// Status PDUs again.
        Status = 1,
        /// Acknowledges Data-In.
        DataAck = 2,
        /// Data-In again, segmented anew.
        RData = 3,
    }

    /// Event of an Asynchronous Message (RFC 7143 §11.9.1).
    pub enum AsyncEvent {
        /// A SCSI asynchronous event with sense data.
        ScsiEvent = 0,
        /// The target requests logout.
        LogoutRequested = 1,
        /// The target will drop, or has dropped, a connection.
        ConnectionDropped = 2,
        /// The target will drop all connections of this session.
        SessionDropped = 3,
        /// The target requests parameter negotiation on this connection.
        NegotiationRequested = 4,
        /// All active tasks of a logical unit are being terminated.
        TasksTerminated = 5,
        /// Vendor-specific event.
        Vendor = 255,
    }

    /// Why a PDU is rejected (RFC 7143 §11.17.1).
    pub enum RejectReason {
        /// Data (payload) digest error.
        DataDigestError = 0x02,
        /// SNACK reject.
        SnackReject = 0x03,
        /// Protocol error.
        ProtocolError = 0x04,
        /// Command not supported.
        CommandNotSupported = 0x05,
        /// Immediate command reject: too many immediate commands.
        ImmediateCommandReject = 0x06,
        /// Task in progress.
        TaskInProgress = 0x07,
        /// Invalid data acknowledgement.
        InvalidDataAck = 0x08,
        /// Invalid PDU field.
        InvalidPduField = 0x09,
        /// Long operation reject: cannot generate a Target Transfer Tag, out of resources.
        LongOperationReject = 0x0a,
        /// Waiting for logout.
        WaitingForLogout = 0x0c,
    }
}

/// Status class and detail of a Login Response (RFC 7143 §11.13.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LoginStatus {
    /// 0 success, 1 redirection, 2 initiator error, 3 target error.
    pub class: u8,
    /// The precise reason within the class.
    pub detail: u8,
}

impl LoginStatus {
    /// Login is proceeding OK.
    pub const SUCCESS: Self = Self::new(0, 0x00);
    /// The ITN has temporarily moved to the address provided.
    pub const TARGET_MOVED_TEMPORARILY: Self = Self::new(1, 0x01);
    /// The ITN has permanently moved to the address provided.
    pub const TARGET_MOVED_PERMANENTLY: Self = Self::new(1, 0x02);
    /// Miscellaneous iSCSI initiator errors.
    pub const INITIATOR_ERROR: Self = Self::new(2, 0x00);
    /// The initiator could not be authenticated, or CHAP is required.
    pub const AUTHENTICATION_FAILURE: Self = Self::new(2, 0x01);
    /// The initiator is not allowed access to the given target.
    pub const AUTHORIZATION_FAILURE: Self = Self::new(2, 0x02);
    /// The requested ITN does not exist at this address.
    pub const NOT_FOUND: Self = Self::new(2, 0x03);
    /// The requested ITN has been removed and no forwarding address is provided.
    pub const TARGET_REMOVED: Self = Self::new(2, 0x04);
    /// The requested iSCSI version range is not supported by the target.
    pub const UNSUPPORTED_VERSION: Self = Self::new(2, 0x05);
    /// Too many connections on this SSID.
    pub const TOO_MANY_CONNECTIONS: Self = Self::new(2, 0x06);
    /// Missing parameters, as InitiatorName or TargetName.
    pub const MISSING_PARAMETER: Self = Self::new(2, 0x07);
    /// The target does not support a session spanning to this connection.
    pub const CANNOT_INCLUDE_IN_SESSION: Self = Self::new(2, 0x08);
    /// The target does not support this type of session or not from this initiator.
    pub const SESSION_TYPE_NOT_SUPPORTED: Self = Self::new(2, 0x09);
    /// Attempt to add a connection to a nonexistent session.
    pub const SESSION_DOES_NOT_EXIST: Self = Self::new(2, 0x0a);
    /// Invalid request type during login.
    pub const INVALID_DURING_LOGIN: Self = Self::new(2, 0x0b);
    /// Target hardware or software error.
    pub const TARGET_ERROR: Self = Self::new(3, 0x00);
    /// The iSCSI service or target is not currently operational.
    pub const SERVICE_UNAVAILABLE: Self = Self::new(3, 0x01);
    /// The target has insufficient session, connection, or other resources.
    pub const OUT_OF_RESOURCES: Self = Self::new(3, 0x02);

    /// A status from its two bytes.
    #[must_use]
    pub const fn new(class: u8, detail: u8) -> Self {
        Self { class, detail }
    }

    /// Whether the login goes on.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.class == 0
    }
}

/// Class and detail as four hexadecimal digits: `0203h`.
impl fmt::Display for LoginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}h", self.class, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_numbers<T: From<u8> + Into<u8> + fmt::Debug>(named: &[u8]) {
        for value in 0..=u8::MAX {
            let code = T::from(value);
            let other = format!("{code:?}").starts_with("Other(");
            assert_eq!(named.contains(&value), !other, "{value} {code:?}");
            assert_eq!(code.into(), value);
        }
    }

    #[test]
    fn codes_every_number_survives_and_only_named_ones_have_names() {
        check_numbers::<TaskAttribute>(TaskAttribute::NAMED);
        check_numbers::<Stage>(Stage::NAMED);
        check_numbers::<TaskManagementFunction>(TaskManagementFunction::NAMED);
        check_numbers::<TaskManagementResponseCode>(TaskManagementResponseCode::NAMED);
        check_numbers::<ResponseCode>(ResponseCode::NAMED);
        check_numbers::<LogoutReason>(LogoutReason::NAMED);
        check_numbers::<LogoutResponseCode>(LogoutResponseCode::NAMED);
        check_numbers::<SnackType>(SnackType::NAMED);
        check_numbers::<AsyncEvent>(AsyncEvent::NAMED);
        check_numbers::<RejectReason>(RejectReason::NAMED);
    }

    #[test]
    fn login_status_displays_class_and_detail() {
        assert_eq!(LoginStatus::NOT_FOUND.to_string(), "0203h");
        assert!(!LoginStatus::NOT_FOUND.is_success());
        assert!(LoginStatus::SUCCESS.is_success());
    }
}
