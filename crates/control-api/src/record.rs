//! What happened: generations, audit lines, refused logins.

use serde::{Deserialize, Serialize};

/// One generation of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HistoryEntry {
    /// Its number.
    pub generation: u64,
    /// When it was committed, in milliseconds of Unix time.
    pub unix_time_ms: u64,
    /// Who made it, e.g. `uid 0 (pid 4711)`, `boot`.
    pub who: String,
    /// What it changed, a line each, without secrets.
    #[serde(default)]
    pub what: Vec<String>,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// When, in milliseconds of Unix time.
    pub unix_time_ms: u64,
    /// Who asked.
    pub who: String,
    /// The generation in force afterwards.
    pub generation: u64,
    /// What was asked for: `transaction`, `apply`, `rollback`, `end_session`.
    pub action: String,
    /// The objects it changed.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// A login that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Refusal {
    /// When, in milliseconds of Unix time.
    pub unix_time_ms: u64,
    /// The initiator's end, `address:port`.
    pub peer: String,
    /// Our end, `address:port`.
    pub local: String,
    /// The name it gave; empty where it gave none.
    pub initiator: String,
    /// The target it asked for; empty where it named none.
    pub target: String,
    /// The login status it got, e.g. `0202h` (RFC 7143 §11.13.5).
    pub status: String,
    /// The stable name of the rule that refused it, as in [`ExplainStep::rule`](crate::ExplainStep).
    pub rule: String,
    /// For a person.
    pub text: String,
}

/// What an export is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// Our desired-state file.
    #[default]
    Toml,
    /// LIO's saveconfig.json.
    Saveconfig,
}

impl ExportFormat {
    /// As it stands in a URL or an option.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::Saveconfig => "saveconfig",
        }
    }
}
