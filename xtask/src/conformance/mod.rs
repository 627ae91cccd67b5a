//! What the RFCs ask of a target, rule by rule, and where each is kept: `docs/conformance/*.rules` into
//! `docs/conformance.md`.
//!
//! [`rules`] reads the lists, [`check`] holds them to the sources (a named place or test exists, a kept rule has a test),
//! [`page`] writes the page. Nothing is built or run.

mod check;
mod page;
mod rules;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::conformance::check::Sources;
use crate::conformance::rules::{Section, State};
use crate::{say, tidy};

/// The lists, in the order of the page.
const LISTS: &[&str] = &[
    "docs/conformance/rfc7143.rules",
    "docs/conformance/rfc7144.rules",
];

const PAGE: &str = "docs/conformance.md";

/// What is done with the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is written anew.
    Write,
    /// It has to be what it would be written as.
    Check,
}

/// Checks the lists, and writes or checks the page.
///
/// # Errors
/// A list cannot be read or contradicts the sources, or the page is stale.
pub(crate) fn run(root: &Path, mode: Mode) -> Result<()> {
    let mut sections: Vec<Section> = Vec::new();
    let mut breaches = Vec::new();
    for list in LISTS {
        let text = std::fs::read_to_string(root.join(list)).with_context(|| (*list).to_owned())?;
        sections.extend(rules::parse(list, &text, &mut breaches));
    }
    let sources = Sources::new(tidy::sources(root)?);
    check::check(&sections, &sources, &mut breaches);
    let page = page::write(&sections);
    let stale = std::fs::read_to_string(root.join(PAGE)).ok().as_ref() != Some(&page);
    if breaches.is_empty() && stale && mode == Mode::Write {
        std::fs::write(root.join(PAGE), &page).context(PAGE)?;
    }
    if stale && mode == Mode::Check {
        breaches.push(format!("{PAGE} is stale: cargo xtask conformance"));
    }
    breaches
        .iter()
        .for_each(|line| say(&format!("conformance: {line}")));
    let rules = || sections.iter().flat_map(|section| &section.rules);
    let kept = rules().filter(|rule| matches!(rule.state, State::Kept | State::Built(_)));
    let not = rules().filter(|rule| matches!(rule.state, State::Not(_)));
    say(&format!(
        "conformance: {} rules, {} kept, {} not kept, {} breaches",
        rules().count(),
        kept.count(),
        not.count(),
        breaches.len()
    ));
    if breaches.is_empty() {
        Ok(())
    } else {
        bail!("{} breaches", breaches.len())
    }
}
