//! The saved form: JSON, for a checkpoint (every object) and for a journal record (the objects that a change touched). Holds
//! secrets: whoever keeps it keeps it from others.

use std::collections::BTreeMap;
use std::fmt;

use auth::Secret;
use serde::{Deserialize, Serialize};

use crate::change::Plan;
use crate::path::ObjectPath;
use crate::tree::{Node, ObjectId, Tree};
use crate::value::{Attributes, Raw, Value};

/// Why a saved form cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// It is not what was saved.
    Syntax(String),
    /// It was saved by a version that knows more.
    Version(u32),
    /// An object in it cannot be.
    Object { path: String, reason: String },
    /// A record is for another generation than the one before it.
    Generation { expected: u64, found: u64 },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) => write!(f, "it cannot be read: {why}"),
            Self::Version(found) => {
                write!(f, "it has format {found}, and this version reads {VERSION}")
            }
            Self::Object { path, reason } => write!(f, "{path}: {reason}"),
            Self::Generation { expected, found } => {
                write!(f, "generation {found} stands where {expected} is due")
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// Grows when an older version could no longer read what is written.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    generation: u64,
    last_id: u64,
    objects: Vec<Object>,
}

#[derive(Serialize, Deserialize)]
struct Object {
    path: String,
    /// Absent for the daemon and discovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    /// `None` in a record: the object went.
    set: Option<BTreeMap<String, SavedValue>>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SavedValue {
    Bool(bool),
    Integer(i64),
    Text(String),
    Secret { secret: String },
}

impl Tree {
    /// The whole tree.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let object = |path: ObjectPath| {
            let node = self.find(&path)?;
            Some(saved_object(&path, Some(&node)))
        };
        let objects = self.paths().into_iter().filter_map(object).collect();
        self.write(objects)
    }

    /// A tree that was saved whole.
    ///
    /// # Errors
    /// It is damaged, or of a newer version.
    pub fn load(bytes: &[u8]) -> Result<Self, LoadError> {
        let saved = read(bytes)?;
        let mut tree = Self::default();
        tree.replay_objects(saved)?;
        Ok(tree)
    }

    /// This tree after a record of the next generation.
    ///
    /// # Errors
    /// It is damaged, of a newer version, or not the next one; the tree is then not to be used.
    pub fn replay(&mut self, record: &[u8]) -> Result<(), LoadError> {
        let saved = read(record)?;
        let expected = self.generation + 1;
        if saved.generation != expected {
            return Err(LoadError::Generation {
                expected,
                found: saved.generation,
            });
        }
        self.replay_objects(saved)
    }

    fn write(&self, objects: Vec<Object>) -> Vec<u8> {
        let saved = Saved {
            version: VERSION,
            generation: self.generation,
            last_id: self.last_id,
            objects,
        };
        // Strings, numbers and maps of them: there is nothing in it that cannot be written.
        serde_json::to_vec(&saved).unwrap_or_default()
    }

    fn replay_objects(&mut self, saved: Saved) -> Result<(), LoadError> {
        for object in saved.objects {
            let error = |reason: String| LoadError::Object {
                path: object.path.clone(),
                reason,
            };
            let path: ObjectPath = object.path.parse().map_err(|e| error(format!("{e}")))?;
            match object.set {
                None => self.remove(&path),
                Some(set) => {
                    let attributes = read_attributes(&path, set).map_err(error)?;
                    let id = ObjectId(object.id.unwrap_or_default());
                    // One of the same name but another id is another object, and what stood below is not its.
                    if self
                        .find(&path)
                        .is_some_and(|node| node.id() != object.id.map(ObjectId))
                    {
                        self.remove(&path);
                    }
                    if !self.put(&path, id, attributes) {
                        return Err(error("what it belongs to does not exist".to_owned()));
                    }
                }
            }
        }
        self.last_id = self.last_id.max(saved.last_id);
        self.generation = saved.generation;
        Ok(())
    }
}

impl Plan {
    /// What is to be durable before the plan's generation is in force: [`Tree::replay`] makes its tree of the one before.
    #[must_use]
    pub fn record(&self) -> Vec<u8> {
        // What goes comes first, children before owners; then what is there, owners before what they own. Values found
        // since the plan was made are in the tree.
        let gone = self.touched.iter().rev();
        let gone = gone
            .filter(|touched| touched.before.is_some() && self.tree.find(&touched.path).is_none());
        let mut objects: Vec<Object> = gone
            .map(|touched| saved_object(&touched.path, None))
            .collect();
        for touched in &self.touched {
            if let Some(node) = self.tree.find(&touched.path) {
                objects.push(saved_object(&touched.path, Some(&node)));
            }
        }
        self.tree.write(objects)
    }
}

fn saved_object(path: &ObjectPath, node: Option<&Node>) -> Object {
    let value = |value: &Value| match value {
        Value::Bool(yes) => SavedValue::Bool(*yes),
        Value::Integer(number) => SavedValue::Integer(*number),
        Value::Text(text) => SavedValue::Text(text.as_ref().to_owned()),
        Value::Secret(secret) => SavedValue::Secret {
            secret: hex(secret.expose()),
        },
    };
    let set = |node: &Node| {
        let entry = |(name, one): (&&'static str, &Value)| ((*name).to_owned(), value(one));
        node.attributes().iter().map(entry).collect()
    };
    Object {
        path: path.to_string(),
        id: node.and_then(Node::id).map(|id| id.0),
        set: node.map(set),
    }
}

fn read(bytes: &[u8]) -> Result<Saved, LoadError> {
    /// What every version begins with.
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let syntax = |error: serde_json::Error| LoadError::Syntax(error.to_string());
    let head: Head = serde_json::from_slice(bytes).map_err(syntax)?;
    if head.version != VERSION {
        return Err(LoadError::Version(head.version));
    }
    serde_json::from_slice(bytes).map_err(syntax)
}

fn read_attributes(
    path: &ObjectPath,
    set: BTreeMap<String, SavedValue>,
) -> Result<Attributes, String> {
    let mut attributes = Attributes::new();
    for (name, saved) in set {
        let Some(row) = path.kind().attribute(&name) else {
            return Err(format!("it has no attribute {name}"));
        };
        let raw = match saved {
            SavedValue::Bool(yes) => Raw::Bool(yes),
            SavedValue::Integer(number) => Raw::Integer(number),
            SavedValue::Text(text) => Raw::Text(text),
            SavedValue::Secret { secret } => {
                let bytes = unhex(&secret).ok_or_else(|| format!("{name} is damaged"))?;
                Raw::Secret(Secret::new(bytes))
            }
        };
        let value = row.parse(&raw).map_err(|error| error.to_string())?;
        attributes.insert(row.name, value);
    }
    Ok(attributes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}
