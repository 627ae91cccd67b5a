//! What an operator is told: the object, what is wrong with it, and what to do.

use std::borrow::Cow;
use std::fmt;

/// A stable name for each kind of mistake, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigCode {
    /// A path, LUN, mapped LUN or reference names an object that does not exist.
    NoSuchObject,
    /// The object that is to be made exists.
    Exists,
    /// Two objects claim what only one can have.
    Conflict,
    /// Something else still uses the object.
    InUse,
    /// No attribute has this name.
    UnknownAttribute,
    /// A value is not of the attribute's type.
    BadValue,
    /// A value is outside what the object allows.
    OutOfRange,
    /// A backstore would become smaller.
    WouldShrink,
    /// The attribute is fixed when the object is made.
    Fixed,
    /// Something that the object cannot do without is missing.
    Missing,
    /// The text is no path.
    BadPath,
    /// The file cannot be read as what it is meant to be.
    Syntax,
}

impl ConfigCode {
    /// The name that scripts see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchObject => "no_such_object",
            Self::Exists => "exists",
            Self::Conflict => "conflict",
            Self::InUse => "in_use",
            Self::UnknownAttribute => "unknown_attribute",
            Self::BadValue => "bad_value",
            Self::OutOfRange => "out_of_range",
            Self::WouldShrink => "would_shrink",
            Self::Fixed => "fixed",
            Self::Missing => "missing",
            Self::BadPath => "bad_path",
            Self::Syntax => "syntax",
        }
    }
}

/// One mistake in a tree, or in a change of it. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Canonical path of the object, e.g. `/targets/iqn.../tpgs/1/luns/0`.
    pub path: String,
    pub code: ConfigCode,
    pub reason: Cow<'static, str>,
    pub hint: Cow<'static, str>,
    /// Of the file that the change came from, from 1.
    pub line: Option<u32>,
}

impl ConfigError {
    /// A mistake that no line of a file stands for.
    pub fn new(
        path: impl fmt::Display,
        code: ConfigCode,
        reason: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            path: path.to_string(),
            code,
            reason: reason.into(),
            hint: hint.into(),
            line: None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.reason, self.hint)
    }
}

impl std::error::Error for ConfigError {}
