//! What an operator is told: the object, what is wrong with it, and what to do.

use std::fmt;

/// A stable name for each kind of mistake, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigCode {
    /// A LUN, mapped LUN or reference names an object that does not exist.
    NoSuchObject,
    /// Two objects claim what only one can have.
    Conflict,
    /// A value is outside what the object allows.
    OutOfRange,
}

/// One mistake in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Canonical path of the object, e.g. `/targets/iqn.../tpgs/1/luns/0`.
    pub path: String,
    pub code: ConfigCode,
    pub reason: &'static str,
    pub hint: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.reason, self.hint)
    }
}

impl std::error::Error for ConfigError {}
