//! Why a login works or does not.

use serde::{Deserialize, Serialize};

/// A login to think through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The initiator's name.
    pub initiator: String,
    /// The target's name.
    pub target: String,
    /// The portal, `address:port`. Without one, every portal of the target is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal: Option<String>,
}

/// What would come of a login, and which rules decide it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// It would become a session (given the right secrets, where some are asked for).
    pub admitted: bool,
    /// The login status it would get otherwise, e.g. `0203h target not found` (RFC 7143 §11.13.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_status: Option<String>,
    /// The rules in the order they are asked.
    #[serde(default)]
    pub steps: Vec<ExplainStep>,
    /// The LUNs that it would see.
    #[serde(default)]
    pub luns: Vec<ExplainLun>,
}

/// One rule's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExplainStep {
    /// The rule's stable name.
    pub rule: String,
    /// The object whose attribute it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What it says.
    pub outcome: ExplainOutcome,
    /// For a person.
    pub text: String,
}

/// What a rule says about a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExplainOutcome {
    /// Nothing against it.
    Passes,
    /// The login ends here.
    Refuses,
    /// It settles something: which portal group, what must be proved.
    Decides,
}

/// A LUN as an initiator would see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExplainLun {
    /// The number that the initiator sees.
    pub lun: u64,
    /// The backstore behind it, `<type>/<name>`.
    pub backstore: String,
    /// Writes are refused.
    pub write_protect: bool,
}
