//! The project's own chores.
//!
//! ```text
//! cargo xtask test            what a person runs: installs what the tests need, then runs every test
//! cargo xtask ci [PART...]    what CI runs: every part, or the named ones
//! cargo xtask tidy            the rules of the house alone
//! cargo xtask conformance     writes docs/conformance.md anew
//! cargo xtask bench [...]     instructions per command, against their budget; `--record` writes it anew;
//!                             with `--floor`, operations beside the least that loopback TCP costs
//! cargo xtask setup           only installs what the black-box tests need
//! ```
//!
//! Each part is one row of [`part::PARTS`].

mod command;
mod conformance;
mod count;
mod part;
mod setup;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::part::{PARTS, Part};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all went well.
fn run(arguments: &[String]) -> Result<bool> {
    std::env::set_current_dir(root()?).context("the workspace's folder")?;
    let (verb, rest) = arguments
        .split_first()
        .map_or(("", arguments), |(v, r)| (v.as_str(), r));
    let parts = match verb {
        "ci" if rest.is_empty() => PARTS.iter().collect(),
        "ci" => named(rest)?,
        "test" if rest.is_empty() => PARTS.iter().filter(|part| part.is_test).collect(),
        "tidy" if rest.is_empty() => named(&["tidy".to_owned()])?,
        "conformance" if rest.is_empty() => {
            return conformance::run(Path::new("."), conformance::Mode::Write).map(|()| true);
        }
        "bench" => return part::run_bench(rest).map(|()| true),
        "setup" if rest.is_empty() => {
            let tools = setup::interop_tools(&part::target_folder()?)?;
            tools
                .left_out
                .iter()
                .for_each(|line| say(&format!("left out: {line}")));
            return Ok(tools.left_out.is_empty());
        }
        _ => bail!("{}", usage()),
    };
    Ok(part::run_all(&parts))
}

fn named(names: &[String]) -> Result<Vec<&'static Part>> {
    names
        .iter()
        .map(|name| {
            PARTS
                .iter()
                .find(|part| part.name == name)
                .with_context(|| format!("no such part: {name}\n{}", usage()))
        })
        .collect()
}

fn usage() -> String {
    let mut text =
        "usage: cargo xtask test | tidy | conformance | setup | bench [OPTIONS] | ci [PART...]\nparts:\n"
            .to_owned();
    for part in PARTS {
        text.push_str(&format!("  {:11} {}\n", part.name, part.about));
    }
    text
}

/// The workspace's folder: of the `cargo run` that started us, for the binary may have been built in another clone that shares
/// the target folder.
fn root() -> Result<PathBuf> {
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = own
        .parent()
        .context("xtask stands in the workspace's folder")?;
    Ok(root.to_owned())
}

/// One line for the person who watches.
#[expect(clippy::print_stdout, reason = "a chore's report is its output")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_with_an_unknown_part_says_which_parts_there_are() {
        let error = named(&["fmt".to_owned(), "fnord".to_owned()])
            .unwrap_err()
            .to_string();
        assert!(error.contains("no such part: fnord"), "{error}");
        assert!(
            PARTS.iter().all(|part| error.contains(part.name)),
            "{error}"
        );
    }

    #[test]
    fn parts_have_names_of_their_own() {
        let mut names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PARTS.len());
    }
}
