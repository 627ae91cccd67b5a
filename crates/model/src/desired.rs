//! The desired-state file: what there is to be, as people write it. TOML, and LIO's saveconfig.json in its place.
//!
//! It knows the shape of the file. Names, ranges and defaults of attributes it takes from the
//! [attribute table](crate::attributes), and what can be from [`Tree::plan`](crate::Tree::plan); it has none of its own.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

pub use self::read::parse_toml;
pub use self::write::to_toml;
use crate::file::{Desired, FileError};

/// Reads a desired state, in TOML or as LIO's saveconfig.json, told apart by content. Paths in TOML are relative to `base`.
///
/// # Errors
/// Every mistake in it.
pub fn parse(text: &str, base: &Path) -> Result<Desired, Vec<FileError>> {
    if is_saveconfig(text) {
        crate::saveconfig::parse(text)
    } else {
        parse_toml(text, base)
    }
}

/// Whether a text can only be LIO's saveconfig.json: no TOML begins with a brace.
#[must_use]
pub fn is_saveconfig(text: &str) -> bool {
    text.trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with('{')
}
