//! `quintain check`: whether a file can be applied, without a daemon.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use model::{FileError, Plan};

use super::wanted::Wanted;
use crate::log::tell;

/// Read a desired-state file, or LIO's saveconfig.json, and tell every mistake in it
///
/// Needs no daemon and changes nothing. Each mistake is one line of standard error, FILE:LINE: what is wrong; what to write.
/// Secrets that the file names are read too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file, in TOML or as saveconfig.json
    file: PathBuf,
}

/// Checks the file.
///
/// # Errors
/// It cannot be read, or has mistakes, which are told.
pub(crate) fn run(args: &Args) -> Result<()> {
    let wanted = Wanted::read(&args.file)?;
    let shown = args.file.display();
    let checked = match &wanted.parsed {
        Ok(desired) => desired.rehearse().map(|plan| (plan, &desired.warnings)),
        Err(mistakes) => Err(mistakes.clone()),
    };
    match checked {
        Ok((plan, warnings)) => {
            for warning in warnings.iter().chain(&plan.warnings) {
                tell(&format!("note: {shown}: {warning}"));
            }
            let line = format!("{shown}: {}\n", summary(&plan));
            let mut stdout = io::stdout().lock();
            stdout
                .write_all(line.as_bytes())
                .context("standard output cannot be written")
        }
        Err(mistakes) => refuse(&wanted, &mistakes),
    }
}

/// Tells every mistake, and ends in an error.
pub(super) fn refuse(wanted: &Wanted, mistakes: &[FileError]) -> Result<()> {
    wanted.tell(mistakes);
    let count = match mistakes.len() {
        1 => "1 mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    bail!("{}: {count}; nothing was changed", wanted.file.display())
}

fn summary(plan: &Plan) -> String {
    let tree = &plan.tree;
    format!(
        "no mistakes: {} backstores, {} targets",
        tree.backstores().count(),
        tree.target_count()
    )
}
