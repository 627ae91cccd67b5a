//! Values of attributes: as an operator gives them, and as the tree holds them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use auth::Secret;

/// A value as the tree holds it: of its attribute's type, within its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A number; of bytes where the attribute is a size.
    Integer(i64),
    /// Text, or one of the attribute's choices.
    Text(Arc<str>),
    /// Never shown.
    Secret(Secret),
}

impl Value {
    /// Text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// The value as a yes or no, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(yes) => Some(*yes),
            _ => None,
        }
    }

    /// The value as a number, if it is one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The value as text, if it is text and no secret.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A value as somebody gives it: from a command line, a file or the API. Its text may be a secret, so that `Debug` shows none.
#[derive(Clone, PartialEq, Eq)]
pub enum Raw {
    /// A yes or no.
    Bool(bool),
    /// A number.
    Integer(i64),
    /// Text; also numbers, sizes and booleans where they come as text.
    Text(String),
    /// A secret whose bytes need not be text.
    Secret(Secret),
    /// What is set already, whatever it is: for secrets that a file does not show.
    Kept,
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(yes) => write!(f, "Bool({yes})"),
            Self::Integer(number) => write!(f, "Integer({number})"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Secret(_) => f.write_str("Secret"),
            Self::Kept => f.write_str("Kept"),
        }
    }
}

impl From<bool> for Raw {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

impl From<i64> for Raw {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Raw {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Raw {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Value> for Raw {
    fn from(value: Value) -> Self {
        match value {
            Value::Bool(yes) => Self::Bool(yes),
            Value::Integer(number) => Self::Integer(number),
            Value::Text(text) => Self::Text(text.as_ref().to_owned()),
            Value::Secret(secret) => Self::Secret(secret),
        }
    }
}

/// The attributes of an object that were set; what is not here has its default. Keys are names of the attribute table.
pub type Attributes = BTreeMap<&'static str, Value>;
