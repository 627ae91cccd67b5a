//! `iscsi-test-cu`: running its suites, reading what they print, and comparing it with the list of what is expected.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::tool;

/// The families that concern us, of those the tool knows.
const FAMILIES: [&str; 2] = ["SCSI", "iSCSI"];

/// What became of one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Passed, nothing skipped.
    Pass,
    /// Passed for the tool, but the test skipped itself, wholly or in part.
    Skip,
    /// Failed.
    Fail,
    /// No verdict: the suite hung or died in it.
    Hang,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Skip => "SKIP",
            Self::Fail => "FAIL",
            Self::Hang => "HANG",
        })
    }
}

/// A verdict and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What became of it, or is expected to.
    pub verdict: Verdict,
    /// The tool's own words, or the list's reason.
    pub reason: String,
}

/// Tests by their full name, `FAMILY.SUITE.TEST`.
pub type Results = BTreeMap<String, Entry>;

/// The suites of both families.
///
/// # Errors
/// The tool cannot be run.
pub fn suites() -> Result<Vec<String>> {
    let listed = tool::run(
        Command::new("iscsi-test-cu").arg("--list"),
        Duration::from_secs(60),
    )?;
    let mut suites: Vec<String> = listed.text.lines().filter_map(suite_of).collect();
    suites.sort();
    suites.dedup();
    if suites.is_empty() {
        bail!("iscsi-test-cu lists no suite: {}", listed.text);
    }
    Ok(suites)
}

/// `SCSI.Read10` of the listed name `SCSI.Read10.Simple`.
fn suite_of(name: &str) -> Option<String> {
    let mut parts = name.trim().split('.');
    let (family, suite, _test) = (parts.next()?, parts.next()?, parts.next()?);
    FAMILIES
        .contains(&family)
        .then(|| format!("{family}.{suite}"))
}

/// Runs one suite against the LUN, a process of its own: one that hangs or dies costs that suite alone.
///
/// # Errors
/// The tool cannot be run.
pub fn run_suite(suite: &str, url: &str, limit: Duration) -> Result<Results> {
    let mut command = Command::new("timeout");
    let seconds = limit.as_secs().to_string();
    command.args(["-k", "5", &seconds, "iscsi-test-cu"]);
    command.args(["--dataloss", "--allow-sanitize"]);
    command.arg(format!("--test={suite}"));
    // The same unit by a second path, for the tests that want one. Those of SANITIZE make one of their own, whose reservation ends with
    // it; that of a path that stays would keep the last test out for ever.
    let paths = if suite == "SCSI.Sanitize" { 1 } else { 2 };
    command.args(std::iter::repeat_n(url, paths));
    let outcome = tool::run(&mut command, limit + Duration::from_secs(10))?;
    let results = parse(suite, &outcome.text);
    if results.is_empty() {
        bail!("{suite}: no test ran: {}", outcome.text);
    }
    Ok(results)
}

/// Reads the output of one suite.
#[must_use]
pub fn parse(suite: &str, text: &str) -> Results {
    let mut results = Results::new();
    let mut current: Option<(String, String)> = None;
    for line in text.lines() {
        if let Some(rest) = line.trim_start().strip_prefix("Test: ") {
            close(suite, current.take(), &mut results);
            let (name, told) = rest.split_once(" ...").unwrap_or((rest, ""));
            current = Some((name.trim().to_owned(), format!("{told}\n")));
        } else if line.starts_with("Run Summary") || line.starts_with("Suite:") {
            close(suite, current.take(), &mut results);
        } else if let Some((_, told)) = &mut current {
            told.push_str(line);
            told.push('\n');
        }
    }
    close(suite, current, &mut results);
    results
}

fn close(suite: &str, test: Option<(String, String)>, results: &mut Results) {
    let Some((name, told)) = test else { return };
    results.insert(format!("{suite}.{name}"), judge(&told));
}

/// CUnit writes the verdict right after what the test itself prints, on the same line or the next.
fn judge(told: &str) -> Entry {
    let told = &without_teardown(told);
    let ends_in = |line: &str, word: &str| {
        line.trim_end().strip_suffix(word).is_some_and(|before| {
            before.is_empty() || before.ends_with([' ', '.', ']']) || before.ends_with("...")
        })
    };
    let starts_with = |line: &str, word: &str| {
        line.strip_prefix(word)
            .is_some_and(|after| after.is_empty() || after.starts_with(' '))
    };
    let says = |word: &str| {
        told.lines()
            .any(|line| starts_with(line, word) || ends_in(line, word))
    };
    let marked = |mark: &str| {
        told.lines().find_map(|line| {
            line.split_once(mark)
                .map(|(_, rest)| rest.trim().to_owned())
        })
    };
    let first_point = told
        .lines()
        .map(str::trim)
        .find_map(|line| line.strip_prefix("1. "));
    if says("FAILED") {
        let reasons = [marked("[FAILED]"), first_point.map(str::to_owned)];
        let reason = reasons.into_iter().flatten().collect::<Vec<_>>().join("; ");
        return Entry {
            verdict: Verdict::Fail,
            reason,
        };
    }
    if says("passed") {
        return match marked("[SKIPPED]") {
            Some(reason) => Entry {
                verdict: Verdict::Skip,
                reason,
            },
            None => Entry {
                verdict: Verdict::Pass,
                reason: String::new(),
            },
        };
    }
    Entry {
        verdict: Verdict::Hang,
        reason: marked("[FAILED]").unwrap_or_default(),
    }
}

/// Reads a list of what is expected: `TEST<TAB>PASS|SKIP|FAIL<TAB>reason`, `#` begins a comment.
///
/// # Errors
/// A line of another shape, a test named twice, or a SKIP or FAIL without its reason.
pub fn parse_expected(text: &str) -> Result<Results> {
    let mut expected = Results::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry =
            parse_expected_line(line).with_context(|| format!("line {}: {line}", index + 1))?;
        if expected.insert(entry.0.clone(), entry.1).is_some() {
            bail!("line {}: {} stands twice", index + 1, entry.0);
        }
    }
    Ok(expected)
}

fn parse_expected_line(line: &str) -> Result<(String, Entry)> {
    let mut fields = line.splitn(3, '\t');
    let name = fields.next().unwrap_or_default().to_owned();
    let verdict = match fields.next() {
        Some("PASS") => Verdict::Pass,
        Some("SKIP") => Verdict::Skip,
        Some("FAIL") => Verdict::Fail,
        _ => bail!("wanted TEST<TAB>PASS|SKIP|FAIL<TAB>reason"),
    };
    let reason = fields.next().unwrap_or_default().trim().to_owned();
    if verdict != Verdict::Pass && reason.is_empty() {
        bail!("a {verdict} needs its reason");
    }
    Ok((name, Entry { verdict, reason }))
}

/// What follows the verdict on its line is the suite's own end: it looks for persistent reservations to clear.
fn without_teardown(told: &str) -> String {
    let mut kept = String::new();
    let mut judged = false;
    for line in told.lines() {
        if judged && line.contains("[SKIPPED]") {
            continue;
        }
        let end = ["passed", "FAILED"].into_iter().find_map(|word| {
            let (before, after) = line.split_once(word)?;
            let after = after.trim_start();
            let verdict = after.is_empty() || after.starts_with("[SKIPPED]");
            let alone = before.is_empty() || before.ends_with([' ', '.', ']']);
            (verdict && alone).then_some(before.len() + word.len())
        });
        judged |= end.is_some();
        kept.push_str(end.map_or(line, |end| &line[..end]));
        kept.push('\n');
    }
    kept
}

/// Every difference between what came and what was expected, a line each; empty when all is as listed.
#[must_use]
pub fn differences(expected: &Results, results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, got) in results {
        match expected.get(name) {
            None => lines.push(format!(
                "{name}: {} ({}), not in the list",
                got.verdict, got.reason
            )),
            Some(wanted) if wanted.verdict != got.verdict => lines.push(format!(
                "{name}: {} ({}), the list says {} ({})",
                got.verdict, got.reason, wanted.verdict, wanted.reason
            )),
            Some(_) => {}
        }
    }
    for name in expected.keys().filter(|name| !results.contains_key(*name)) {
        lines.push(format!("{name}: in the list, but it did not run"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "
Suite: Reserve6
  Test: Simple ...passed
  Test: 2Initiators ...    Take out a RESERVE6
    [FAILED] MODESENSE6 successful but should have failed
    RELEASE6 from the second initiator
FAILED
    1. test_reserve6_2initiators.c:70  - CU_ASSERT_EQUAL(_r,0)
    2. other
  Test: Logout ...passed    [FAILED] PRIN command: failed with sense
  Test: TargetColdReset ...    [SKIPPED] not implemented here
passed
  Test: OneLine ...FAILED
    1. test_x.c:1  - CU_FAIL
  Test: Endless ...    [FAILED] no answer

";

    fn verdicts(results: &Results) -> Vec<(&str, Verdict)> {
        results
            .iter()
            .map(|(name, entry)| (name.as_str(), entry.verdict))
            .collect()
    }

    #[test]
    fn parse_finds_the_verdict_wherever_it_stands() {
        let results = parse("SCSI.Reserve6", PRINTED);
        assert_eq!(
            verdicts(&results),
            [
                ("SCSI.Reserve6.2Initiators", Verdict::Fail),
                ("SCSI.Reserve6.Endless", Verdict::Hang),
                ("SCSI.Reserve6.Logout", Verdict::Pass),
                ("SCSI.Reserve6.OneLine", Verdict::Fail),
                ("SCSI.Reserve6.Simple", Verdict::Pass),
                ("SCSI.Reserve6.TargetColdReset", Verdict::Skip),
            ]
        );
        let failed = &results["SCSI.Reserve6.2Initiators"].reason;
        assert!(
            failed.contains("MODESENSE6") && failed.contains("2initiators.c:70"),
            "{failed}"
        );
        assert_eq!(
            results["SCSI.Reserve6.TargetColdReset"].reason,
            "not implemented here"
        );
    }

    #[test]
    fn differences_tell_each_kind() {
        let expected = parse_expected(
            "# comment\nS.A.same\tPASS\t\nS.A.worse\tPASS\nS.A.better\tSKIP\tlater\nS.A.gone\tFAIL\twhy\n",
        )
        .unwrap();
        let text = "  Test: same ...passed\n  Test: worse ...FAILED\n  Test: better ...passed\n  Test: new ...passed\n";
        let lines = differences(&expected, &parse("S.A", text));
        let starts: Vec<&str> = lines
            .iter()
            .map(|line| line.split(' ').next().unwrap_or(""))
            .collect();
        assert_eq!(
            starts,
            ["S.A.better:", "S.A.new:", "S.A.worse:", "S.A.gone:"]
        );
        assert_eq!(
            differences(
                &parse_expected("S.A.x\tPASS").unwrap(),
                &parse("S.A", "  Test: x ...passed")
            ),
            [""; 0]
        );
    }

    #[test]
    fn parse_expected_refuses_a_skip_without_reason_and_a_test_twice() {
        for text in [
            "S.A.b\tSKIP\t",
            "S.A.b\tFAIL",
            "S.A.b\tHANG\twhy",
            "S.A.b",
            "S.A.b\tPASS\nS.A.b\tPASS",
        ] {
            assert!(parse_expected(text).is_err(), "{text}");
        }
    }

    #[test]
    fn suite_of_takes_full_names_of_our_families_only() {
        assert_eq!(
            suite_of("SCSI.Read10.Simple"),
            Some("SCSI.Read10".to_owned())
        );
        assert_eq!(suite_of("ALL.Read10.Simple"), None);
        assert_eq!(suite_of("SCSI.Read10"), None);
    }
}
