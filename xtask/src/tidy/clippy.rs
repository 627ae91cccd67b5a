//! The sans-I/O crates carry one and the same clippy.toml, which forbids them files, clocks, threads and sleep.

use std::path::Path;

use anyhow::{Context, Result};

/// Crates to which time, randomness and limits come as arguments.
const SANS_IO: &[&str] = &[
    "iscsi-wire",
    "iscsi-proto",
    "auth",
    "block",
    "scsi",
    "model",
    "initiator",
    "isns",
];

/// What each of them carries.
const WANTED: &str = include_str!("sans-io.clippy.toml");

/// Compares each crate's file.
///
/// # Errors
/// A crate has none.
pub(crate) fn check(root: &Path, breaches: &mut Vec<String>) -> Result<()> {
    for name in SANS_IO {
        let path = root.join("crates").join(name).join("clippy.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        compare(name, &text, breaches);
    }
    Ok(())
}

fn compare(name: &str, text: &str, breaches: &mut Vec<String>) {
    if text != WANTED {
        breaches.push(format!(
            "crates/{name}/clippy.toml differs from xtask/src/tidy/sans-io.clippy.toml"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_allows_a_clock_is_a_breach() {
        let mut breaches = Vec::new();
        compare("scsi", WANTED, &mut breaches);
        assert_eq!(breaches, Vec::<String>::new());
        let relaxed: String = WANTED
            .lines()
            .filter(|line| !line.contains("Instant::now"))
            .collect();
        compare("scsi", &relaxed, &mut breaches);
        assert_eq!(breaches.len(), 1);
    }

    #[test]
    fn wanted_file_names_what_the_architecture_forbids() {
        for path in [
            "Instant::now",
            "SystemTime::now",
            "thread::spawn",
            "thread::sleep",
            "File::open",
        ] {
            assert!(WANTED.contains(path), "{path}");
        }
    }
}
