//! Counting tests from the closing lines of the runners that we use.

/// How many tests a run had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Reads a closing line: of nextest (`Summary [ 1.2s] 3 tests run: 2 passed, 1 failed, 4 skipped`), of `cargo test`
    /// (`test result: ok. 2 passed; 0 failed; 1 ignored; ...`), or of the guest (`58 passed, 1 failed`).
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let line = line.trim();
        let tail = if line.starts_with("Summary [") {
            line.split_once(" run: ")?.1
        } else if let Some(rest) = line.strip_prefix("test result: ") {
            rest.split_once(". ")?.1
        } else if line.ends_with(" failed") && line.starts_with(|c: char| c.is_ascii_digit()) {
            line
        } else {
            return None;
        };
        let mut count = Self::default();
        let mut found = false;
        for item in tail.split([',', ';']) {
            let mut words = item.split_whitespace();
            let (Some(number), Some(word)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match word {
                "passed" => count.passed += number,
                "failed" | "timed" => count.failed += number,
                "skipped" | "ignored" => count.skipped += number,
                _ => continue,
            }
            found = true;
        }
        found.then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(passed: u64, failed: u64, skipped: u64) -> Option<Count> {
        Some(Count {
            passed,
            failed,
            skipped,
        })
    }

    #[test]
    fn from_line_of_each_runner_reads_its_counts() {
        let table = [
            (
                "     Summary [   0.005s] 2 tests run: 2 passed, 0 skipped",
                count(2, 0, 0),
            ),
            (
                "     Summary [   3.1s] 9 tests run: 5 passed (1 slow), 3 failed, 1 timed out, 4 skipped",
                count(5, 4, 4),
            ),
            (
                "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                count(3, 1, 2),
            ),
            ("58 passed, 1 failed", count(58, 1, 0)),
            ("not ok something: 1 failed", None),
            ("Compiling 3 passed", None),
            ("", None),
        ];
        for (line, wanted) in table {
            assert_eq!(Count::from_line(line), wanted, "{line}");
        }
    }
}
