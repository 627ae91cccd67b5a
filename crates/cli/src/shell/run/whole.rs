//! Commands that are about the whole tree: files, generations, and starting anew.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use control_api::{Change, ExportFormat, Object, Outcome, Rollback, Terms};
use serde_json::Value;

use super::{Done, Shell};
use crate::client::DesiredFile;
use crate::client::refused::Refused;
use crate::client::show::{effects_text, outcome_text};
use crate::shell::commands::yes_no;
use crate::shell::grammar::Line;
use crate::shell::state::write_private;
use crate::shell::translate::{Snapshot, Wish};

impl Shell {
    pub(super) fn whole(&mut self, command: &str, line: &Line) -> Result<Done> {
        match command {
            "saveconfig" => self.saveconfig(line),
            "restoreconfig" => self.restoreconfig(line),
            "clearconfig" => self.clearconfig(line),
            "plan" => {
                let outcome = self.apply(line, Terms::DRY_RUN)?;
                Ok(outcome_text(&outcome).into())
            }
            "apply" => {
                let outcome = self.apply(line, Terms::default())?;
                Ok(outcome_text(&outcome).into())
            }
            _ => self.rollback(line),
        }
    }

    /// The file that a line names, by position or as targetcli's `savefile=`.
    fn file(&self, line: &Line) -> Option<PathBuf> {
        let named = line.named.iter().find(|(name, _)| name == "savefile");
        let name = line
            .values
            .first()
            .or_else(|| named.map(|(_, value)| value))?;
        Some(match (name.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(below), Some(home)) => Path::new(&home).join(below),
            _ => self.surroundings.folder.join(name),
        })
    }

    fn saveconfig(&self, line: &Line) -> Result<Done> {
        let Some(file) = self.file(line) else {
            let status = self.plane.status().map_err(Refused::from)?;
            return Ok(format!(
                "generation {} is saved: every change is, when it is made\n",
                status.generation
            )
            .into());
        };
        let text = self
            .plane
            .export(ExportFormat::Saveconfig, true)
            .map_err(Refused::from)?;
        write_private(&file, text.as_bytes())
            .with_context(|| format!("{}: cannot be written", file.display()))?;
        Ok(format!("saved to {}\n", file.display()).into())
    }

    fn apply(&self, line: &Line, terms: Terms) -> Result<Outcome> {
        let file = self
            .file(line)
            .ok_or_else(|| anyhow!("which file? write its name"))?;
        Ok(DesiredFile::read(&file)?.apply(&*self.plane, terms)?)
    }

    fn restoreconfig(&self, line: &Line) -> Result<Done> {
        let value = |wanted: &str, at: usize| {
            let named = line.named.iter().find(|(name, _)| name == wanted);
            named
                .map(|(_, value)| value)
                .or_else(|| line.values.get(at))
        };
        if value("target", 2)
            .or_else(|| value("storage_object", 3))
            .is_some()
        {
            bail!(
                "restoreconfig: a file is restored whole; take a part of it into a file of its own and use that"
            );
        }
        let clear = value("clear_existing", 1);
        let clear = clear.is_some_and(|text| yes_no("clear_existing", text).unwrap_or(false));
        let mut terms = Terms::default();
        if !clear {
            let (tree, generation) = self.read(&whole_tree())?;
            if targets_and_backstores(&tree).next().is_some() {
                bail!(
                    "there are targets or backstores already, and the file would replace them; write clear_existing=true, and `plan FILE` to see what that changes"
                );
            }
            // What another makes meanwhile is not replaced either.
            terms.if_generation = generation;
        }
        let outcome = self.apply(line, terms)?;
        Ok(outcome_text(&outcome).into())
    }

    fn clearconfig(&mut self, line: &Line) -> Result<Done> {
        let named = line.named.iter().find(|(name, _)| name == "confirm");
        let confirmed = named
            .map(|(_, value)| value)
            .or_else(|| line.values.first());
        if !confirmed.is_some_and(|text| yes_no("confirm", text).unwrap_or(false)) {
            bail!("clearconfig removes every target and backstore; write confirm=True to do it");
        }
        let done = self.wish(&whole_tree(), |_, tree| Ok(clear(tree)))?;
        self.went("/".to_owned());
        Ok(done)
    }

    fn rollback(&mut self, line: &Line) -> Result<Done> {
        let generation = line.values.first().and_then(|number| number.parse().ok());
        let generation =
            generation.ok_or_else(|| anyhow!("rollback: write a number that `history` lists"))?;
        let named = line.named.iter().find(|(name, _)| name == "keep_sizes");
        let keep = named.map(|(name, value)| yes_no(name, value)).transpose()?;
        let back = Rollback {
            keep_sizes: keep.unwrap_or(false),
            ..Rollback::to(generation)
        };
        let outcome = self.plane.rollback(back).map_err(Refused::from)?;
        let (text, notes) = effects_text(&outcome);
        Ok(Done {
            text: format!("{text}generation {} is in force\n", outcome.generation),
            notes,
            exit: false,
        })
    }
}

/// What has to be read to see everything that a file would replace.
fn whole_tree() -> Vec<(String, u32)> {
    let read = |(path, depth): (&str, u32)| (path.to_owned(), depth);
    [("/targets", 1), ("/backstores", 2), ("/discovery", 0)]
        .map(read)
        .into()
}

fn targets_and_backstores(tree: &Snapshot) -> impl Iterator<Item = &Object> {
    let below = |path| tree.find(path).map_or(&[][..], |object| &object.children);
    let stores = below("/backstores").iter().flat_map(|kind| &kind.children);
    below("/targets").iter().chain(stores)
}

/// What removes every target and backstore, and what discovery asks for.
fn clear(tree: &Snapshot) -> Wish {
    let delete = |object: &Object| Change::Delete {
        path: object.path.clone(),
        cascade: true,
    };
    let mut changes: Vec<Change> = targets_and_backstores(tree).map(delete).collect();
    if let Some(discovery) = tree
        .find("/discovery")
        .filter(|found| !found.set.is_empty())
    {
        let names = discovery.set.iter().cloned();
        changes.push(Change::Set {
            path: discovery.path.clone(),
            attributes: names.map(|name| (name, Value::Null)).collect(),
        });
    }
    Wish {
        changes,
        ..Wish::default()
    }
}
