//! `plan`, `apply`, `export` and `rollback`: the whole tree at once.

use std::io::{Read, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use control_api::{ExportFormat, Outcome, Rollback, Terms};

use super::plane::Plane;
use super::refused::Refused;
use super::show::{outcome_text, put};
use crate::daemon::wanted::text_of_file;

/// The code of a plan that would change something.
const CHANGES: u8 = 3;

/// A desired-state file as its author wrote it.
#[derive(Debug)]
pub(crate) struct DesiredFile {
    pub(crate) name: String,
    pub(crate) text: String,
    /// What relative paths in it are relative to.
    pub(crate) base: PathBuf,
}

impl DesiredFile {
    /// Reads it; `-` is standard input, whose paths are relative to the current folder.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let here = || std::env::current_dir().context("the current folder cannot be found");
        if path == Path::new("-") {
            let mut text = String::new();
            stdin()
                .read_to_string(&mut text)
                .context("standard input cannot be read as text")?;
            return Ok(Self {
                name: "standard input".to_owned(),
                text,
                base: here()?,
            });
        }
        let text = text_of_file(path)?;
        let whole = std::path::absolute(path)?;
        let base = whole.parent().map(Path::to_owned);
        Ok(Self {
            base: base.map_or_else(here, Ok)?,
            name,
            text,
        })
    }

    /// Makes the tree what the file says, or tells what that would change.
    ///
    /// # Errors
    /// The mistakes of the file, a line each; else what the daemon says.
    pub(crate) fn apply(&self, plane: &dyn Plane, terms: Terms) -> Result<Outcome, Refused> {
        plane
            .apply(&self.text, Some(&self.base), terms)
            .map_err(|error| Refused::of(&error, Some(&self.name)))
    }
}

pub(super) fn apply(plane: &dyn Plane, file: &Path, terms: Terms, json: bool) -> Result<ExitCode> {
    let outcome = DesiredFile::read(file)?.apply(plane, terms)?;
    tell(&outcome, json)
}

pub(super) fn rollback(plane: &dyn Plane, back: Rollback, json: bool) -> Result<ExitCode> {
    let outcome = plane.rollback(back).map_err(Refused::from)?;
    tell(&outcome, json)
}

pub(super) fn export(
    plane: &dyn Plane,
    format: ExportFormat,
    with_secrets: bool,
) -> Result<ExitCode> {
    let text = plane.export(format, with_secrets).map_err(Refused::from)?;
    put(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints an outcome; a dry run that found changes has an exit code of its own.
pub(super) fn tell(outcome: &Outcome, json: bool) -> Result<ExitCode> {
    if json {
        put(&(serde_json::to_string_pretty(outcome)? + "\n"))?;
    } else {
        put(&outcome_text(outcome))?;
    }
    Ok(if outcome.dry_run && !outcome.effects.is_empty() {
        ExitCode::from(CHANGES)
    } else {
        ExitCode::SUCCESS
    })
}
