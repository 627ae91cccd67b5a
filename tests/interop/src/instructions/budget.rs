//! The recorded price of each row, and what has become of it.

use std::fmt::Write;

use anyhow::{Context, Result, bail};

/// A row may cost this much more or less than is recorded, in per cent.
pub const TOLERANCE_PERCENT: f64 = 3.0;

/// Recorded instructions per command, by driver and workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    driver: String,
    workload: String,
    instructions: f64,
}

/// How a measurement stands to the budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Within the tolerance of this recorded number.
    Kept(f64),
    /// It costs more than this allows.
    Dearer(f64),
    /// It costs so much less than this that the record is no longer true.
    Cheaper(f64),
    /// Nothing is recorded.
    Unknown,
}

impl Budget {
    /// Reads a file of lines `DRIVER WORKLOAD INSTRUCTIONS`; `#` begins a comment.
    ///
    /// # Errors
    /// A line that is something else, or a row that stands twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut budget = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let (driver, workload, number) = match words[..] {
                [] => continue,
                [driver, workload, number] => (driver, workload, number),
                _ => bail!("line {}: not DRIVER WORKLOAD INSTRUCTIONS", index + 1),
            };
            let number: f64 = number
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite() && *number > 0.0)
                .with_context(|| format!("line {}: not a count: {number}", index + 1))?;
            if budget.recorded(driver, workload).is_some() {
                bail!("line {}: {driver} {workload} stands twice", index + 1);
            }
            budget.record(driver, workload, number);
        }
        Ok(budget)
    }

    /// As a file, its comment first.
    #[must_use]
    pub fn to_text(&self, comment: &str) -> String {
        let mut text = String::new();
        for line in comment.lines() {
            let _infallible = writeln!(text, "# {line}");
        }
        for row in &self.rows {
            let _infallible = writeln!(
                text,
                "{:5} {:10} {:8.1}",
                row.driver, row.workload, row.instructions
            );
        }
        text
    }

    /// Notes what a row costs now.
    pub fn record(&mut self, driver: &str, workload: &str, instructions: f64) {
        let old = self
            .rows
            .iter_mut()
            .find(|row| row.driver == driver && row.workload == workload);
        match old {
            Some(row) => row.instructions = instructions,
            None => self.rows.push(Row {
                driver: driver.to_owned(),
                workload: workload.to_owned(),
                instructions,
            }),
        }
    }

    /// Whether a row still costs what is recorded.
    #[must_use]
    pub fn judge(&self, driver: &str, workload: &str, instructions: f64) -> Verdict {
        let Some(recorded) = self.recorded(driver, workload) else {
            return Verdict::Unknown;
        };
        let tolerance = recorded * TOLERANCE_PERCENT / 100.0;
        if instructions > recorded + tolerance {
            Verdict::Dearer(recorded)
        } else if instructions < recorded - tolerance {
            Verdict::Cheaper(recorded)
        } else {
            Verdict::Kept(recorded)
        }
    }

    fn recorded(&self, driver: &str, workload: &str) -> Option<f64> {
        let row = self
            .rows
            .iter()
            .find(|row| row.driver == driver && row.workload == workload)?;
        Some(row.instructions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# comment\nepoll read-4k   2000.0\n\nuring read-4k 3000 # more\n";

    #[test]
    fn parse_reads_rows_and_skips_comments() {
        let budget = Budget::parse(TEXT).unwrap();
        assert_eq!(
            budget.judge("epoll", "read-4k", 2000.0),
            Verdict::Kept(2000.0)
        );
        assert_eq!(
            budget.judge("uring", "read-4k", 3000.0),
            Verdict::Kept(3000.0)
        );
        assert_eq!(budget.judge("epoll", "write-4k", 1.0), Verdict::Unknown);
    }

    #[test]
    fn judge_allows_three_per_cent_each_way_and_no_more() {
        let budget = Budget::parse(TEXT).unwrap();
        for (instructions, verdict) in [
            (2060.0, Verdict::Kept(2000.0)),
            (2060.5, Verdict::Dearer(2000.0)),
            (1940.0, Verdict::Kept(2000.0)),
            (1939.5, Verdict::Cheaper(2000.0)),
        ] {
            assert_eq!(budget.judge("epoll", "read-4k", instructions), verdict);
        }
    }

    #[test]
    fn parse_of_what_is_no_budget_names_the_line() {
        for (text, wanted) in [
            ("epoll read-4k", "line 1"),
            ("# x\nepoll read-4k many", "line 2: not a count: many"),
            ("epoll read-4k -3", "not a count"),
            ("epoll read-4k NaN", "not a count"),
            ("epoll a 1\nepoll a 2", "line 2: epoll a stands twice"),
        ] {
            let error = Budget::parse(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn text_of_a_budget_is_read_back_equal() {
        let mut budget = Budget::parse(TEXT).unwrap();
        budget.record("epoll", "read-4k", 1900.5);
        budget.record("epoll", "write-64k", 12.0);
        let text = budget.to_text("two\nlines");
        assert!(text.starts_with("# two\n# lines\n"), "{text}");
        assert_eq!(Budget::parse(&text).unwrap(), budget);
    }
}
