//! What a face asks to be changed, and what came of it.

use serde::{Deserialize, Serialize};

use crate::tree::AttributeMap;

/// One change of one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Makes an object; it must not exist.
    Create {
        /// Where.
        path: String,
        /// What it is made with; the rest takes its defaults.
        #[serde(default)]
        #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, Value>))]
        attributes: AttributeMap,
    },
    /// Sets some attributes of an object that exists.
    Set {
        /// Which object.
        path: String,
        /// The new values; `null` goes back to the default.
        #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, Value>))]
        attributes: AttributeMap,
    },
    /// Removes an object.
    Delete {
        /// Which object.
        path: String,
        /// Removes with it what stands below it and what refers to it; without, either refuses the change.
        #[serde(default)]
        cascade: bool,
    },
}

impl Change {
    /// The object that it changes.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Create { path, .. } | Self::Set { path, .. } | Self::Delete { path, .. } => path,
        }
    }
}

/// Changes that are made together or not at all, in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// The changes.
    pub changes: Vec<Change>,
    /// Refuse with a conflict unless this generation is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_generation: Option<u64>,
}

/// On what terms the whole tree is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Only tell what would change.
    pub dry_run: bool,
    /// Refuse with a conflict unless this generation is in force.
    pub if_generation: Option<u64>,
}

impl Terms {
    /// Only tell what would change.
    pub const DRY_RUN: Self = Self {
        dry_run: true,
        if_generation: None,
    };
}

/// A way back to an earlier generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollback {
    /// The generation whose tree is wanted, as the history numbers it.
    pub generation: u64,
    /// Backstores that have grown since keep the size that they have. Without it they are in the way: none ever shrinks.
    pub keep_sizes: bool,
    /// On what terms.
    pub terms: Terms,
}

impl Rollback {
    /// All the way, at once.
    #[must_use]
    pub fn to(generation: u64) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }
}

/// The body of a PUT or PATCH on one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// Values by dotted name.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, Value>))]
    pub attributes: AttributeMap,
}

/// What happens, or would happen, to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Effect {
    /// Which object.
    pub path: String,
    /// What happens to it.
    pub action: EffectAction,
    /// The attributes whose value changes, by name; never their values, which may be secrets.
    #[serde(default)]
    pub attributes: Vec<String>,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EffectAction {
    /// It comes into being.
    Create,
    /// Some of its attributes change.
    Modify,
    /// It goes.
    Delete,
}

/// A live session that a change touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionBrief {
    /// As in [`Session::id`](crate::Session).
    pub id: u64,
    /// The initiator's name.
    pub initiator: String,
    /// The target's name.
    pub target: String,
    /// The portal group's tag.
    pub tpg: u16,
    /// What becomes of it, for a person: "is asked to log out", "sees another LUN map".
    pub what: String,
}

/// What a change did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Outcome {
    /// The generation now in force; of a dry run, the one it was computed on.
    pub generation: u64,
    /// Nothing was changed: this tells what would be.
    #[serde(default)]
    pub dry_run: bool,
    /// Object by object. Empty: everything was already so, and no generation was made.
    #[serde(default)]
    pub effects: Vec<Effect>,
    /// The live sessions that it touches.
    #[serde(default)]
    pub sessions: Vec<SessionBrief>,
    /// What an operator should know though nothing is refused.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What a drain left behind at its deadline: I/O that a backstore never answered.
    #[serde(default)]
    pub remnants: Vec<String>,
}
