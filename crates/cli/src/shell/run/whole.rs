//! Commands that are about the whole tree: files, generations, and starting anew.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use control_api::{Change, ExportFormat, Outcome};
use serde_json::Value;

use super::{Done, Shell};
use crate::client::DesiredFile;
use crate::client::refused::Refused;
use crate::client::show::{effects_text, outcome_text};
use crate::shell::commands::yes_no;
use crate::shell::grammar::Line;
use crate::shell::state::write_private;

impl Shell {
    pub(super) fn whole(&mut self, command: &str, line: &Line) -> Result<Done> {
        match command {
            "saveconfig" => self.saveconfig(line),
            "restoreconfig" => self.restoreconfig(line),
            "clearconfig" => self.clearconfig(line),
            "plan" => {
                let outcome = self.apply(line, true)?;
                Ok(outcome_text(&outcome).into())
            }
            "apply" => {
                let outcome = self.apply(line, false)?;
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

    fn apply(&self, line: &Line, dry_run: bool) -> Result<Outcome> {
        let file = self
            .file(line)
            .ok_or_else(|| anyhow!("which file? write its name"))?;
        Ok(DesiredFile::read(&file)?.apply(&*self.plane, dry_run)?)
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
        if !clear && !self.is_empty()? {
            bail!(
                "there are targets or backstores already, and the file would replace them; write clear_existing=true, and `plan FILE` to see what that changes"
            );
        }
        let outcome = self.apply(line, false)?;
        Ok(outcome_text(&outcome).into())
    }

    fn is_empty(&self) -> Result<bool> {
        let (targets, backstores) = (self.object("/targets", 1)?, self.object("/backstores", 1)?);
        let stores: usize = backstores
            .children
            .iter()
            .map(|kind| kind.child_count)
            .sum();
        Ok(targets.child_count == 0 && stores == 0)
    }

    fn clearconfig(&mut self, line: &Line) -> Result<Done> {
        let named = line.named.iter().find(|(name, _)| name == "confirm");
        let confirmed = named
            .map(|(_, value)| value)
            .or_else(|| line.values.first());
        if !confirmed.is_some_and(|text| yes_no("confirm", text).unwrap_or(false)) {
            bail!("clearconfig removes every target and backstore; write confirm=True to do it");
        }
        let targets = self.object("/targets", 1)?.children;
        let stores = self.object("/backstores", 2)?.children;
        let stores = stores.into_iter().flat_map(|kind| kind.children);
        let delete = |object: control_api::Object| Change::Delete {
            path: object.path,
            cascade: true,
        };
        let mut changes: Vec<Change> = targets.into_iter().chain(stores).map(delete).collect();
        let discovery = self.object("/discovery", 0)?;
        if !discovery.set.is_empty() {
            let names = discovery.set.into_iter();
            changes.push(Change::Set {
                path: discovery.path,
                attributes: names.map(|name| (name, Value::Null)).collect(),
            });
        }
        let done = self.commit(changes)?;
        self.went("/".to_owned());
        Ok(done)
    }

    fn rollback(&mut self, line: &Line) -> Result<Done> {
        let generation = line.values.first().and_then(|number| number.parse().ok());
        let generation =
            generation.ok_or_else(|| anyhow!("rollback: write a number that `history` lists"))?;
        let outcome = self
            .plane
            .rollback(generation, false)
            .map_err(Refused::from)?;
        let (text, notes) = effects_text(&outcome);
        Ok(Done {
            text: format!("{text}generation {} is in force\n", outcome.generation),
            notes,
            exit: false,
        })
    }
}
