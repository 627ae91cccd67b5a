//! One measurement: the binary under callgrind, driven by the client.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Workload;
use super::client::{Client, wait_until_asleep};
use crate::{Driver, Serve};

/// glibc picks its copies by processor; these leave the baseline of x86-64, which every machine has.
pub const GLIBC_TUNABLES: &str =
    "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";

/// Rounds before the first that counts: tables, slabs and TCP windows have grown to their size by then.
const WARM_UP_ROUNDS: u32 = 40;
/// Rounds that count, at least.
const ROUNDS: u32 = 100;
/// Commands that count, at least.
const COMMANDS: u32 = 800;

/// Whether there is a valgrind to run.
#[must_use]
pub fn has_valgrind() -> bool {
    let mut command = Command::new("valgrind");
    command.arg("--version").stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Measures a binary.
#[derive(Clone, Debug)]
pub struct Meter {
    binary: PathBuf,
    folder: PathBuf,
}

impl Meter {
    /// A meter of this binary that keeps its files in `folder`.
    #[must_use]
    pub fn new(binary: &Path, folder: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
        }
    }

    /// Instructions for one command of this kind.
    ///
    /// # Errors
    /// The binary does not start under callgrind, a command fails, or callgrind leaves no counts.
    pub fn instructions_per_command(&self, driver: Driver, workload: &Workload) -> Result<f64> {
        let rounds = ROUNDS.max(COMMANDS.div_ceil(workload.depth));
        let without = self.run(driver, workload, 0)?.instructions;
        let with = self.run(driver, workload, rounds)?.instructions;
        let between = with
            .checked_sub(without)
            .with_context(|| format!("{with} instructions with the rounds, {without} without"))?;
        let commands = f64::from(rounds) * f64::from(workload.depth);
        // A run has far fewer than 2^52 instructions: exact.
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^52")]
        let between = between as f64;
        Ok(between / commands)
    }

    /// One run to its end: what callgrind counted for the busiest thread.
    ///
    /// # Errors
    /// As [`Self::instructions_per_command`].
    pub fn run(&self, driver: Driver, workload: &Workload, rounds: u32) -> Result<CallgrindOutput> {
        let folder = tempfile::tempdir_in(&self.folder)?.keep();
        let output = folder.join("callgrind");
        let output_flag = format!("--callgrind-out-file={}", output.display());
        let wrapper = [
            "env",
            GLIBC_TUNABLES,
            "valgrind",
            "--tool=callgrind",
            "--quiet",
            "--separate-threads=yes",
            // Else a thread that calls often may keep the others from running at all.
            "--fair-sched=try",
            &output_flag,
        ];
        let target = Serve::new(&folder, driver)
            .binary(&self.binary)
            .ram("64MiB")
            .argument("--workers")
            .argument("1")
            .through(&wrapper)
            .start()?;
        let mut client = Client::login(target.portal, workload.digests)?;
        for _ in 0..WARM_UP_ROUNDS + rounds {
            wait_until_asleep(target.process_id())?;
            client.round(workload)?;
        }
        wait_until_asleep(target.process_id())?;
        drop(client);
        let status = target.drain()?;
        ensure!(status.success(), "the target ended with {status}");
        CallgrindOutput::busiest(&folder)
    }
}

/// What callgrind left for one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallgrindOutput {
    /// Instructions of this thread's life.
    pub instructions: u64,
    /// For `callgrind_annotate`.
    pub file: PathBuf,
}

impl CallgrindOutput {
    /// The thread with the most instructions.
    fn busiest(folder: &Path) -> Result<Self> {
        let mut threads = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let file = entry?.path();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with("callgrind-") {
                continue;
            }
            let text = std::fs::read_to_string(&file)?;
            let instructions = total(&text).with_context(|| file.display().to_string())?;
            threads.push(Self { instructions, file });
        }
        let busiest = threads.into_iter().max_by_key(|thread| thread.instructions);
        busiest.context("callgrind left no counts")
    }
}

/// The line `totals: N` (`summary: N` in files of one part) of a file in callgrind's format.
fn total(text: &str) -> Option<u64> {
    let value = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: "))
        .or_else(|| text.lines().find_map(|line| line.strip_prefix("summary: ")));
    value?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busiest_of_several_threads_is_the_one_with_the_largest_total() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            (
                "callgrind-01",
                "events: Ir\nsummary: 12\n\nfn=(1)\n1 12\ntotals: 12\n",
            ),
            ("callgrind-02", "events: Ir\n\nfn=(1)\n1 900\ntotals: 900\n"),
            ("callgrind", "not of a thread"),
            ("quintain.log", "totals: 4000"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let busiest = CallgrindOutput::busiest(folder.path()).unwrap();
        assert_eq!(busiest.instructions, 900);
        assert!(busiest.file.ends_with("callgrind-02"));
    }

    #[test]
    fn busiest_without_counts_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(CallgrindOutput::busiest(folder.path()).is_err());
        std::fs::write(folder.path().join("callgrind-01"), "events: Ir\n").unwrap();
        assert!(CallgrindOutput::busiest(folder.path()).is_err());
    }
}
