//! The rules of the house that a program can check. Each rule's module shows in its tests that it can fail.

mod arrows;
mod bans;
mod clippy;
mod sizes;
pub(crate) mod source;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::say;
use crate::tidy::source::Source;

/// Where Rust sources stand.
const FOLDERS: &[&str] = &["crates", "xtask", "tests"];

/// Checks every rule and prints each breach with its place.
///
/// # Errors
/// A rule is broken, or a file cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let sources = sources(root)?;
    let mut breaches = Vec::new();
    let mut warnings = Vec::new();
    for source in &sources {
        sizes::check(source, &mut breaches, &mut warnings);
        bans::check(source, &mut breaches);
    }
    sizes::check_exemptions(&sources, &mut breaches);
    arrows::check(root, &mut breaches)?;
    clippy::check(root, &mut breaches)?;
    warnings
        .iter()
        .for_each(|line| say(&format!("warning: {line}")));
    breaches
        .iter()
        .for_each(|line| say(&format!("tidy: {line}")));
    say(&format!(
        "tidy: {} files, {} breaches",
        sources.len(),
        breaches.len()
    ));
    if breaches.is_empty() {
        Ok(())
    } else {
        bail!("{} breaches", breaches.len())
    }
}

/// Every Rust file, by its path.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in FOLDERS {
        collect(root, &root.join(folder), &mut sources)?;
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let relative = path.strip_prefix(root).unwrap_or(&path);
            sources.push(Source::new(&relative.to_string_lossy(), text));
        }
    }
    Ok(())
}
