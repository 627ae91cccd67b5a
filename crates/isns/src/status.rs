//! What a response says of its request (RFC 4171 §5.4).

use core::fmt;

/// A status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Processed normally.
    pub const SUCCESSFUL: Self = Self(0);
    /// The message breaks the rules of its format.
    pub const MESSAGE_FORMAT_ERROR: Self = Self(2);
    /// Nothing is registered under the key.
    pub const NO_SUCH_ENTRY: Self = Self(9);
    /// Nobody here knows the function.
    pub const MESSAGE_NOT_SUPPORTED: Self = Self(15);
    /// The server sends no notifications to this node.
    pub const SCN_REGISTRATION_REJECTED: Self = Self(17);
    /// The server does not inquire, or not as often.
    pub const ESI_NOT_AVAILABLE: Self = Self(21);
}

const NAMES: [(u32, &str); 23] = [
    (0, "successful"),
    (1, "unknown error"),
    (2, "message format error"),
    (3, "invalid registration"),
    (5, "invalid query"),
    (6, "source unknown"),
    (7, "source absent"),
    (8, "source unauthorized"),
    (9, "no such entry"),
    (10, "version not supported"),
    (11, "internal error"),
    (12, "busy"),
    (13, "option not understood"),
    (14, "invalid update"),
    (15, "message not supported"),
    (16, "SCN event rejected"),
    (17, "SCN registration rejected"),
    (18, "attribute not implemented"),
    (19, "FC_DOMAIN_ID not available"),
    (20, "FC_DOMAIN_ID not allocated"),
    (21, "ESI not available"),
    (22, "invalid deregistration"),
    (23, "registration feature not supported"),
];

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(code, _)| *code == self.0);
        let name = name.map_or("reserved", |(_, name)| name);
        write!(f, "{} ({name})", self.0)
    }
}
