//! The saved state: what was committed last, read at the start; each change, durable before it is in force; and which of the
//! saved state and the desired-state file wins.
//!
//! A record's and a checkpoint's payload is one line of JSON, which says who, what and by which file, and behind it the model's own
//! bytes.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control_api::HistoryEntry;
use model::{FileError, Plan, Tree};
use serde::{Deserialize, Serialize};

use super::unix_time_ms;
use crate::state::{DiskFs, OpenOptions, Record, StateDir, StateError};

/// Generations that are remembered for history and rollback.
const REMEMBERED: usize = 128;

/// A desired-state file that was read.
#[derive(Debug)]
pub struct ConfigFile {
    /// Where it stands.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// Why the daemon cannot start.
#[derive(Debug)]
pub enum BootError {
    /// The saved state.
    State(StateError),
    /// What is saved cannot be read as a tree.
    Saved(model::LoadError),
    /// The desired-state file cannot be read.
    Config(PathBuf, std::io::Error),
    /// It has mistakes.
    Mistakes(PathBuf, Vec<FileError>),
    /// What it asks for cannot be had, or the engine does not start.
    Problem(String),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => write!(f, "{error}; {}", error.hint()),
            Self::Saved(error) => write!(
                f,
                "the saved state: {error}; start with another --state-dir, or with the version that wrote it"
            ),
            Self::Config(path, error) => write!(f, "{}: {error}; see --config", path.display()),
            Self::Mistakes(path, errors) => {
                let line = |error: &FileError| match error.line {
                    Some(line) => format!("{}:{line}: {error}", path.display()),
                    None => format!("{}: {error}", path.display()),
                };
                let lines: Vec<String> = errors.iter().map(line).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Problem(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for BootError {}

/// What stands before the model's bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Head {
    who: String,
    what: Vec<String>,
    /// Of the desired-state file that was applied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<String>,
}

/// The state directory, and what is remembered of earlier generations.
pub(super) struct Saved {
    directory: Option<StateDir>,
    history: VecDeque<(HistoryEntry, Option<Tree>)>,
    /// Of the desired-state file that was applied last.
    config: Option<String>,
}

/// Record kinds. One today; a reader refuses what it does not know.
const KIND_TREE: u8 = 1;

impl Saved {
    /// Opens what is saved. `None` for the tree: nothing is.
    pub(super) fn open(
        path: Option<&Path>,
        recover: bool,
    ) -> Result<(Self, Option<Tree>), BootError> {
        let mut saved = Self {
            directory: None,
            history: VecDeque::new(),
            config: None,
        };
        let Some(path) = path else {
            return Ok((saved, None));
        };
        let options = OpenOptions {
            keep_generations: REMEMBERED as u64,
            recover,
        };
        let (directory, loaded) =
            StateDir::open(path, options, Arc::new(DiskFs)).map_err(BootError::State)?;
        if loaded.cut_bytes > 0 {
            tracing::warn!(
                bytes = loaded.cut_bytes,
                "a change that was being saved when the daemon ended is gone"
            );
        }
        for aside in &loaded.set_aside {
            tracing::warn!(file = %aside.display(), "damaged; it was set aside");
        }
        let mut tree = None;
        if let Some((_, payload)) = &loaded.checkpoint {
            let (head, bytes) = split(payload).map_err(BootError::Saved)?;
            saved.config = head.config;
            tree = Some(Tree::load(bytes).map_err(BootError::Saved)?);
        }
        for record in &loaded.records {
            let (head, bytes) = split(&record.payload).map_err(BootError::Saved)?;
            let next = tree.get_or_insert_with(Tree::default);
            next.replay(bytes).map_err(BootError::Saved)?;
            if head.config.is_some() {
                saved.config.clone_from(&head.config);
            }
            saved.remember(entry(record.generation, record.unix_time_ms, &head), next);
        }
        saved.directory = Some(directory);
        Ok((saved, tree))
    }

    /// Makes a plan's record durable: from then on the plan is what a restart finds.
    pub(super) fn append(
        &mut self,
        plan: &Plan,
        who: &str,
        what: Vec<String>,
        config: Option<&str>,
    ) -> Result<(), String> {
        let head = Head {
            who: who.to_owned(),
            what,
            config: config.map(str::to_owned),
        };
        let record = Record {
            generation: plan.tree.generation,
            unix_time_ms: unix_time_ms(),
            kind: KIND_TREE,
            payload: join(&head, &plan.record()),
        };
        if let Some(directory) = &mut self.directory {
            directory
                .append(&record)
                .map_err(|error| format!("{error}; {}", error.hint()))?;
        }
        if config.is_some() {
            self.config = head.config.clone();
        }
        let told = entry(record.generation, record.unix_time_ms, &head);
        self.remember(told, &plan.tree);
        Ok(())
    }

    /// Writes a checkpoint where the journal has grown enough for one. That it fails loses nothing.
    pub(super) fn checkpoint(&mut self, tree: &Tree) {
        let Some(directory) = &mut self.directory else {
            return;
        };
        if !directory.wants_checkpoint() {
            return;
        }
        let head = Head {
            config: self.config.clone(),
            ..Head::default()
        };
        if let Err(error) = directory.checkpoint(tree.generation, &join(&head, &tree.save())) {
            tracing::warn!(%error, "a checkpoint could not be written; the journal holds everything");
        }
    }

    fn remember(&mut self, told: HistoryEntry, tree: &Tree) {
        if self.history.len() >= REMEMBERED {
            self.history.pop_front();
        }
        self.history.push_back((told, Some(tree.clone())));
    }

    /// The last generations, oldest first.
    pub(super) fn history(&self) -> Vec<HistoryEntry> {
        let mut entries = self.older();
        entries.extend(self.history.iter().map(|(entry, _)| entry.clone()));
        entries
    }

    /// Those that only the directory remembers.
    fn older(&self) -> Vec<HistoryEntry> {
        let first = self.history.front().map(|(entry, _)| entry.generation);
        let Some(directory) = &self.directory else {
            return Vec::new();
        };
        let heads = directory.history().unwrap_or_else(|error| {
            tracing::warn!(%error, "older generations cannot be read");
            Vec::new()
        });
        let unknown = heads
            .into_iter()
            .filter(|head| first.is_none_or(|first| head.generation < first));
        unknown
            .filter_map(|head| {
                let record = directory.read(head.generation).ok()??;
                let (told, _) = split(&record.payload).ok()?;
                Some(entry(record.generation, record.unix_time_ms, &told))
            })
            .collect()
    }

    /// The tree of an earlier generation, if it is remembered.
    pub(super) fn tree_of(&self, generation: u64) -> Option<Tree> {
        let held = self
            .history
            .iter()
            .find(|(entry, _)| entry.generation == generation);
        if let Some((_, tree)) = held {
            return tree.clone();
        }
        let base = self
            .directory
            .as_ref()?
            .checkpoint_at_or_before(generation)
            .ok()??;
        let mut tree = match &base.checkpoint {
            Some((_, payload)) => Tree::load(split(payload).ok()?.1).ok()?,
            None => Tree::default(),
        };
        for record in &base.records {
            tree.replay(split(&record.payload).ok()?.1).ok()?;
        }
        (tree.generation == generation).then_some(tree)
    }

    /// Whether the file differs from the one that was applied last.
    pub(super) fn is_news(&self, config: &ConfigFile) -> bool {
        self.config.as_deref() != Some(fingerprint(&config.text).as_str())
    }
}

impl ConfigFile {
    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<Self, BootError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| BootError::Config(path.to_owned(), error))?;
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }
}

/// Tells one text of a file from another. Not against a forger: whoever can write the file can say anything in it.
pub(super) fn fingerprint(text: &str) -> String {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, text.as_bytes());
    format!("{sum:016x}-{}", text.len())
}

fn entry(generation: u64, unix_time_ms: u64, head: &Head) -> HistoryEntry {
    HistoryEntry {
        generation,
        unix_time_ms,
        who: head.who.clone(),
        what: head.what.clone(),
    }
}

fn join(head: &Head, bytes: &[u8]) -> Vec<u8> {
    // Strings in a struct: there is nothing in it that cannot be written, and JSON has no line end inside.
    let mut payload = serde_json::to_vec(head).unwrap_or_default();
    payload.push(b'\n');
    payload.extend_from_slice(bytes);
    payload
}

fn split(payload: &[u8]) -> Result<(Head, &[u8]), model::LoadError> {
    let syntax = |why: &str| model::LoadError::Syntax(why.to_owned());
    let at = payload
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(|| syntax("it has no first line"))?;
    let (line, rest) = payload.split_at(at);
    let head = serde_json::from_slice(line).map_err(|error| syntax(&error.to_string()))?;
    Ok((head, rest.get(1..).unwrap_or_default()))
}
