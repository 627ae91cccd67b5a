//! `quintain import`: another target's configuration as a desired-state file.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use model::Tree;
use model::desired::{is_saveconfig, to_toml};

use super::check::refuse;
use super::wanted::Wanted;
use crate::log::tell;

/// Turn LIO's saveconfig.json into a desired-state file on standard output
///
/// What has no counterpart is told on standard error and left out. The output holds the secrets that the file holds: send it
/// into a file that only its owner may read.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The saveconfig.json
    file: PathBuf,
}

/// Imports the file.
///
/// # Errors
/// It cannot be read, is of no kind that is known, or has mistakes, which are told.
pub(crate) fn run(args: &Args) -> Result<()> {
    let wanted = Wanted::read(&args.file)?;
    let shown = args.file.display();
    if !is_saveconfig(&wanted.text) {
        bail!("{shown}: it is no saveconfig.json; a desired-state file needs no import");
    }
    let desired = match &wanted.parsed {
        Ok(desired) => desired,
        Err(mistakes) => return refuse(&wanted, mistakes),
    };
    let plan = match Tree::default().plan(&desired.changes) {
        Ok(plan) => plan,
        Err(mistakes) => return refuse(&wanted, &desired.locate(mistakes)),
    };
    for warning in desired.warnings.iter().chain(&plan.warnings) {
        tell(&format!("note: {shown}: {warning}"));
    }
    let text = to_toml(&plan.tree, true);
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("standard output cannot be written")
}
