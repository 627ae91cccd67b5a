//! libiscsi's conformance suite, families SCSI and iSCSI, with a list that says what each of its tests is expected to do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use interop::test_cu::{Results, differences, parse_expected, run_suite, suites};
use interop::{Driver, Serve, on_each_driver};

/// One line for each test; a SKIP and a FAIL with its reason.
const EXPECTED: &str = include_str!("../test-cu.expected");

/// For one suite; the slowest takes a few seconds.
const SUITE_LIMIT: Duration = Duration::from_secs(60);

on_each_driver! { every_test_does_what_the_list_says }

/// Each suite gets a fresh target, so that one which leaves a reservation or a mode behind spoils no other.
fn every_test_does_what_the_list_says(driver: Driver) -> Result<()> {
    let expected = parse_expected(EXPECTED)?;
    let mut results = Results::new();
    for suite in suites()? {
        let folder = tempfile::tempdir()?;
        let serve = Serve::new(folder.path(), driver);
        // `serve` keeps no state: a file is not sanitized, since a restart would forget that it is half erased.
        let target = match suite.as_str() {
            "SCSI.Sanitize" => serve.ram("100MiB"),
            _ => serve.file("disk.img", "100MiB"),
        }
        .start()?;
        results.extend(run_suite(&suite, &target.url(0), SUITE_LIMIT)?);
        ensure!(
            target.drain()?.success(),
            "{suite}: the target did not exit 0 afterwards"
        );
    }
    if let Some(folder) = std::env::var_os("QUINTAIN_TEST_CU_RESULTS") {
        write_results(Path::new(&folder), driver, &results)?;
    }
    let lines = differences(&expected, &results);
    ensure!(
        lines.is_empty(),
        "{} of {} tests:\n{}",
        lines.len(),
        results.len(),
        lines.join("\n")
    );
    Ok(())
}

/// In the form of the list: to be read beside it, or to become it with reasons added.
fn write_results(folder: &Path, driver: Driver, results: &Results) -> Result<()> {
    let line = |(name, entry): (&String, &interop::test_cu::Entry)| {
        format!("{name}\t{}\t{}\n", entry.verdict, entry.reason)
    };
    let text: String = results.iter().map(line).collect();
    Ok(std::fs::write(
        folder.join(format!("test-cu.{driver:?}.tsv")),
        text,
    )?)
}
