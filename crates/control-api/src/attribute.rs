//! What an attribute is: the one table of the daemon, as a face sees it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One attribute of one kind of object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AttributeInfo {
    /// The kind of object it belongs to.
    pub kind: String,
    /// Dotted, e.g. `param.MaxBurstLength`.
    pub name: String,
    /// `bool`, `integer`, `size`, `string`, `choice`.
    pub value_type: String,
    /// The legal range, for a person: `512..=16777215`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// The legal values, where they are few.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Its default; `null` where it has none.
    #[serde(default)]
    pub default: Value,
    /// Its default for objects made through LIO's faces, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lio_default: Option<Value>,
    /// What it does, in a sentence or two.
    pub help: String,
    /// Where it comes from: `RFC 7143 §13.13`, `LIO`, `Quintain`.
    pub origin: String,
    /// Write-only: an answer never tells it.
    #[serde(default)]
    pub secret: bool,
    /// It can be given when the object is made and never changed.
    #[serde(default)]
    pub create_only: bool,
    /// It does something. False: it is stored for the tools that write it.
    #[serde(default)]
    pub effective: bool,
}
