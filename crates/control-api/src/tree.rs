//! One object of the tree as a face sees it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Values by dotted name (`chap.user`, `param.InitialR2T`): booleans, integers and strings.
pub type AttributeMap = BTreeMap<String, Value>;

/// What stands for a secret in an answer. As a value to set it means "leave the secret that is there", so that an answer
/// may be sent back as it came.
pub const SECRET_MARK: &str = "***";

/// One object: a backstore, a target, a LUN, or a container that only holds others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = TreeObject))]
pub struct Object {
    /// Canonical, e.g. `/targets/iqn.2026-11.org.example:vm1/tpgs/1`.
    pub path: String,
    /// `daemon`, `discovery`, `backstore`, `alua_group`, `target`, `tpg`, `portal`, `lun`, `acl`, `mapped_lun` or
    /// `container`.
    pub kind: String,
    /// A number never used again in the life of the saved state. Containers have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The values in force, defaults included.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, Value>))]
    pub attributes: AttributeMap,
    /// The attributes that were set by somebody and are not merely the default.
    #[serde(default)]
    pub set: Vec<String>,
    /// Facts that cannot be set: `size_bytes`, `status`, `sessions`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, Value>))]
    pub state: AttributeMap,
    /// What stands directly below, down to the depth asked for.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(no_recursion))]
    pub children: Vec<Self>,
    /// How many stand directly below, whether told or not.
    #[serde(default)]
    pub child_count: usize,
}

// The schema derive reads a type called `Object` as "any JSON object"; under another name it is this one.
type TreeObject = Object;

/// An object, and the generation of the tree it was read from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TreeAnswer {
    /// The generation: what `If-Match` and [`Transaction::if_generation`](crate::Transaction) compare.
    pub generation: u64,
    /// The object asked for.
    pub object: TreeObject,
}
