//! What the black-box tests need beside Rust: Debian packages, installed where we are root and said so.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{answers, output_of, run};
use crate::say;

/// What the black-box tests can use here.
pub(crate) struct Tools {
    /// The test binaries that can run.
    pub(crate) tests: Vec<&'static str>,
    /// Environment for them.
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
    /// What is left out and why.
    pub(crate) left_out: Vec<String>,
}

/// A test binary of `interop` that needs a program; one with several rows needs each.
struct Need {
    test: &'static str,
    program: &'static str,
    package: &'static str,
}

/// The test binaries that need nothing but the built `quintain`.
const NEEDS_NOTHING: &[&str] = &[
    "initiator",
    "crash",
    "serve",
    "login",
    "hostile",
    "mcs",
    "recovery",
    "soak",
    "protection",
];

const NEEDS: &[Need] = &[
    Need {
        test: "libiscsi",
        program: "iscsi-ls",
        package: "libiscsi-bin",
    },
    Need {
        test: "test_cu",
        program: "iscsi-test-cu",
        package: "libiscsi-bin",
    },
    Need {
        test: "redirect",
        program: "iscsi-readcapacity16",
        package: "libiscsi-bin",
    },
    Need {
        test: "isns",
        program: "isnsd",
        package: "open-isns-server",
    },
    Need {
        test: "isns",
        program: "isnsadm",
        package: "open-isns-utils",
    },
    Need {
        test: "refused",
        program: "strace",
        package: "strace",
    },
    Need {
        test: "radius",
        program: "freeradius",
        package: "freeradius",
    },
];

/// Installs what is missing where that can be done, and says which tests can run.
///
/// # Errors
/// As root on a machine with apt-get: a package cannot be installed.
pub(crate) fn interop_tools(target: &Path) -> Result<Tools> {
    let mut missing: Vec<&str> = NEEDS
        .iter()
        .filter(|need| !has(need.program))
        .map(|need| need.package)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() && can_install() {
        install(&missing)?;
    }
    let mut tools = Tools {
        tests: NEEDS_NOTHING.to_vec(),
        environment: Vec::new(),
        left_out: Vec::new(),
    };
    let mut lacking = Vec::new();
    for need in NEEDS.iter().filter(|need| !has(need.program)) {
        lacking.push(need.test);
        tools.left_out.push(left_out(need.test, need.package));
    }
    let mut tests: Vec<&str> = NEEDS.iter().map(|need| need.test).collect();
    tests.dedup();
    tests.retain(|test| !lacking.contains(test));
    tools.tests.extend(tests);
    if is_root() && Path::new("/dev/fuse").exists() {
        tools.tests.push("stuck");
    } else {
        tools
            .left_out
            .push("tests/interop/tests/stuck.rs (it needs root and /dev/fuse)".to_owned());
    }
    match qemu_img(&target.join("qemu-img"))? {
        Some(path) => {
            tools.tests.push("qemu");
            tools.environment.push(("QUINTAIN_QEMU_IMG", path));
        }
        None => tools
            .left_out
            .push(left_out("qemu", "qemu-utils qemu-block-extra")),
    }
    Ok(tools)
}

/// Installs valgrind where it is missing and that can be done.
///
/// # Errors
/// As root on a machine with apt-get: it cannot be installed.
pub(crate) fn install_valgrind() -> Result<()> {
    if !has("valgrind") && can_install() {
        install(&["valgrind"])?;
    }
    Ok(())
}

fn left_out(test: &str, packages: &str) -> String {
    format!("tests/interop/tests/{test}.rs (not root: apt-get install {packages})")
}

fn has(program: &str) -> bool {
    answers("sh", &["-c", &format!("command -v {program}")])
}

fn is_root() -> bool {
    answers("sh", &["-c", "[ \"$(id -u)\" = 0 ]"])
}

fn can_install() -> bool {
    is_root() && has("apt-get")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["-qq", "-o", "DPkg::Lock::Timeout=300"]);
    command
}

fn install(packages: &[&str]) -> Result<()> {
    say(&format!(
        "installing the Debian packages that the tests need: {}",
        packages.join(" ")
    ));
    run(apt_get().arg("update"))?;
    run(apt_get()
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages))
}

/// A `qemu-img` that speaks iscsi://, installed or unpacked into `folder`.
///
/// The protocol is a module in a package of its own that must be of the very build of `qemu-img`. Where the installed
/// one comes from elsewhere, the pair from the archive is unpacked, not installed: the machine keeps its own.
fn qemu_img(folder: &Path) -> Result<Option<PathBuf>> {
    let installed = PathBuf::from("qemu-img");
    let unpacked = folder.join("usr/bin/qemu-img");
    for path in [&installed, &unpacked] {
        if speaks_iscsi(path) {
            return Ok(Some(path.clone()));
        }
    }
    if !can_install() {
        return Ok(None);
    }
    if install(&["qemu-utils", "qemu-block-extra"]).is_ok() && speaks_iscsi(&installed) {
        return Ok(Some(installed));
    }
    say(
        "the installed qemu-img has no iscsi module: unpacking the archive's pair beside the build",
    );
    unpack_qemu(folder)?;
    if !speaks_iscsi(&unpacked) {
        bail!("{} does not speak iscsi://", unpacked.display());
    }
    Ok(Some(unpacked))
}

fn unpack_qemu(folder: &Path) -> Result<()> {
    let candidate = output_of(Command::new("apt-cache").args(["policy", "qemu-block-extra"]))?;
    let version = candidate
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))
        .context("qemu-block-extra has no candidate: apt-get update")?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let pair = ["qemu-utils", "qemu-block-extra"].map(|name| format!("{name}={version}"));
    run(apt_get()
        .args(["-o", "APT::Sandbox::User=root", "download"])
        .args(pair)
        .current_dir(folder))?;
    run(apt_get().args(["install", "-y", "--no-install-recommends", "libiscsi7"]))?;
    for entry in std::fs::read_dir(folder)? {
        let package = entry?.path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(folder))?;
            std::fs::remove_file(&package)?;
        }
    }
    Ok(())
}

/// Asks for a target where none listens: with the module the answer is about the connection, not the protocol.
fn speaks_iscsi(qemu_img: &Path) -> bool {
    let output = Command::new(qemu_img)
        .args(["info", "iscsi://127.0.0.1:1/iqn.2026-11.org.example:none/0"])
        .output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("connect"))
}
