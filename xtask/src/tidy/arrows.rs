//! Who may use whom: the arrows of ARCHITECTURE.md, checked against `cargo metadata`.
//!
//! Development dependencies are free: a test may look at a crate from both sides.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::output_of;

/// A crate of the workspace and those of the workspace that it may use.
struct Arrow {
    from: &'static str,
    to: &'static [&'static str],
}

const ARROWS: &[Arrow] = &[
    Arrow {
        from: "iscsi-wire",
        to: &[],
    },
    Arrow {
        from: "auth",
        to: &["iscsi-wire"],
    },
    Arrow {
        from: "iscsi-proto",
        to: &["iscsi-wire", "auth"],
    },
    Arrow {
        from: "block",
        to: &[],
    },
    // scsi and iscsi-proto never see each other: engine alone is where a task tag meets an LBA.
    Arrow {
        from: "scsi",
        to: &["block"],
    },
    Arrow {
        from: "reactor",
        to: &["block"],
    },
    Arrow {
        from: "backstores",
        to: &["block", "reactor"],
    },
    Arrow {
        from: "model",
        to: &["iscsi-wire", "auth", "block"],
    },
    Arrow {
        from: "initiator",
        to: &["iscsi-wire"],
    },
    Arrow {
        from: "isns",
        to: &["iscsi-wire"],
    },
    Arrow {
        from: "engine",
        to: &[
            "iscsi-wire",
            "iscsi-proto",
            "auth",
            "block",
            "scsi",
            "reactor",
            "backstores",
            "model",
        ],
    },
    Arrow {
        from: "control-api",
        to: &[],
    },
    Arrow {
        from: "daemon",
        to: &[
            "engine",
            "backstores",
            "model",
            "auth",
            "control-api",
            "reactor",
            "iscsi-wire",
            "isns",
        ],
    },
    // It speaks the helper protocol, and nothing else of ours.
    Arrow {
        from: "auth-radius",
        to: &[],
    },
    Arrow {
        from: "cli",
        to: &[
            "daemon",
            "control-api",
            "engine",
            "backstores",
            "reactor",
            "model",
            "auth",
            "block",
            "iscsi-wire",
            "initiator",
        ],
    },
    Arrow {
        from: "interop",
        // The floor of loopback TCP logs initiators in.
        to: &["auth", "initiator", "iscsi-proto", "iscsi-wire"],
    },
    Arrow {
        from: "xtask",
        to: &[],
    },
];

/// A foreign crate that only some of ours may use.
struct Fence {
    name: &'static str,
    only: &'static [&'static str],
    reason: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        name: "anyhow",
        only: &["cli", "xtask", "interop"],
        reason: "libraries have error types of their own",
    },
    Fence {
        name: "serde",
        only: &["cli", "model", "control-api", "daemon", "auth-radius"],
        reason: "no serialised form in the data path",
    },
    Fence {
        name: "serde_json",
        only: &[
            "cli",
            "xtask",
            "interop",
            "model",
            "control-api",
            "daemon",
            "auth-radius",
        ],
        reason: "no serialised form in the data path",
    },
    Fence {
        name: "libc",
        only: &["reactor"],
        reason: "what it is for is unsafe",
    },
    Fence {
        name: "io-uring",
        only: &["reactor"],
        reason: "what it is for is unsafe",
    },
    Fence {
        name: "tokio",
        only: &["daemon"],
        reason: "no runtime in the data path",
    },
    Fence {
        name: "getrandom",
        only: &["engine", "cli", "daemon", "auth-radius"],
        reason: "randomness comes in as an argument",
    },
];

/// One `[dependencies]` entry: crate, what it uses, whether that is of the workspace.
struct Dependency {
    from: String,
    to: String,
    is_ours: bool,
}

/// Checks every `[dependencies]` and `[build-dependencies]` entry of the workspace.
///
/// # Errors
/// `cargo metadata` cannot be run or read.
pub(crate) fn check(root: &Path, breaches: &mut Vec<String>) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root);
    let metadata: Value = serde_json::from_str(&output_of(&mut command)?)?;
    let (crates, dependencies) =
        dependencies_of(&metadata).context("cargo metadata: unknown shape")?;
    check_crates(&crates, breaches);
    check_dependencies(&dependencies, breaches);
    Ok(())
}

fn dependencies_of(metadata: &Value) -> Option<(Vec<String>, Vec<Dependency>)> {
    let mut crates = Vec::new();
    let mut dependencies = Vec::new();
    for package in metadata["packages"].as_array()? {
        let from = package["name"].as_str()?;
        crates.push(from.to_owned());
        for dependency in package["dependencies"].as_array()? {
            if dependency["kind"] != "dev" {
                dependencies.push(Dependency {
                    from: from.to_owned(),
                    to: dependency["name"].as_str()?.to_owned(),
                    is_ours: dependency["path"].is_string(),
                });
            }
        }
    }
    Some((crates, dependencies))
}

/// A new crate gets its arrows with its first commit.
fn check_crates(crates: &[String], breaches: &mut Vec<String>) {
    for name in crates {
        if !ARROWS.iter().any(|arrow| arrow.from == name) {
            breaches.push(format!(
                "crate {name}: not in the table of arrows (xtask/src/tidy/arrows.rs)"
            ));
        }
    }
}

fn check_dependencies(dependencies: &[Dependency], breaches: &mut Vec<String>) {
    for Dependency { from, to, is_ours } in dependencies {
        let arrow = ARROWS.iter().find(|arrow| arrow.from == from);
        if *is_ours && arrow.is_some_and(|arrow| !arrow.to.contains(&to.as_str())) {
            breaches.push(format!(
                "crate {from} uses {to}: no such arrow in ARCHITECTURE.md"
            ));
        }
        if let Some(fence) = FENCES.iter().find(|fence| fence.name == to)
            && !fence.only.contains(&from.as_str())
        {
            breaches.push(format!("crate {from} uses {to}: {}", fence.reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(metadata: &str) -> Vec<String> {
        let (crates, dependencies) =
            dependencies_of(&serde_json::from_str(metadata).unwrap()).unwrap();
        let mut breaches = Vec::new();
        check_crates(&crates, &mut breaches);
        check_dependencies(&dependencies, &mut breaches);
        breaches
    }

    fn package(name: &str, dependency: &str) -> String {
        format!(r#"{{"packages":[{{"name":"{name}","dependencies":[{dependency}]}}]}}"#)
    }

    #[test]
    fn arrow_that_the_table_lacks_is_a_breach() {
        let used = r#"{"name":"iscsi-proto","kind":null,"path":"/x"}"#;
        assert_eq!(breaches(&package("engine", used)), Vec::<String>::new());
        let found = breaches(&package("scsi", used));
        assert!(
            found.len() == 1 && found[0].contains("scsi uses iscsi-proto"),
            "{found:?}"
        );
    }

    #[test]
    fn development_dependency_is_free() {
        let used = r#"{"name":"initiator","kind":"dev","path":"/x"}"#;
        assert_eq!(
            breaches(&package("iscsi-proto", used)),
            Vec::<String>::new()
        );
    }

    #[test]
    fn fenced_foreign_crate_is_a_breach_outside_its_fence() {
        let used = r#"{"name":"libc","kind":null}"#;
        assert_eq!(breaches(&package("reactor", used)), Vec::<String>::new());
        let found = breaches(&package("engine", used));
        assert!(
            found.len() == 1 && found[0].contains("engine uses libc"),
            "{found:?}"
        );
    }

    #[test]
    fn crate_without_a_row_is_a_breach() {
        let found = breaches(&package("newcomer", ""));
        assert!(
            found.len() == 1 && found[0].contains("newcomer"),
            "{found:?}"
        );
    }
}
