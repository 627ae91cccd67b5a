//! Why something was not done, as lines for standard error: one for a refusal, one each for the mistakes of a file.

use std::error::Error;
use std::fmt;

use control_api::{ClientError, Problem};

/// One or more lines, each with its hint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) Vec<String>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Error for Refused {}

impl From<ClientError> for Refused {
    fn from(error: ClientError) -> Self {
        Self::of(&error, None)
    }
}

impl Refused {
    /// The lines of an error; of mistakes in a text that was read from `file`, with its name.
    pub(crate) fn of(error: &ClientError, file: Option<&str>) -> Self {
        match error.problem() {
            Some(problem) if !problem.errors.is_empty() => Self(mistakes(problem, file)),
            _ => Self(vec![with_sources(error)]),
        }
    }
}

fn mistakes(problem: &Problem, file: Option<&str>) -> Vec<String> {
    let line = |item: &control_api::ProblemItem| {
        let mut item = item.clone();
        if item.file.is_none() && item.line.is_some() {
            item.file = file.map(ToOwned::to_owned);
        }
        item.to_string()
    };
    problem.errors.iter().map(line).collect()
}

fn with_sources(error: &ClientError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // A message may hold its cause already.
        if !text.contains(&cause_text) {
            text.push_str(&format!(": {cause_text}"));
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::ProblemItem;

    fn item(line: Option<u32>) -> ProblemItem {
        ProblemItem {
            path: "/targets/t".to_owned(),
            code: "bad_value".to_owned(),
            reason: "colour cannot be set".to_owned(),
            hint: "there is no such attribute".to_owned(),
            line,
            file: None,
        }
    }

    #[test]
    fn refused_file_is_a_line_for_each_mistake_with_its_place() {
        let problem = Problem::invalid(vec![item(Some(3)), item(None)]);
        let error = ClientError::Problem(problem);
        assert_eq!(
            Refused::of(&error, Some("a.toml")).0,
            [
                "a.toml:3: /targets/t: colour cannot be set; there is no such attribute",
                "/targets/t: colour cannot be set; there is no such attribute",
            ]
        );
    }

    #[test]
    fn refused_change_is_one_line_with_its_hint() {
        let problem = Problem::no_such_object("/x").with_hint("look with ls");
        let error = ClientError::Problem(problem);
        assert_eq!(
            Refused::from(error).0,
            ["there is no object /x; look with ls"]
        );
        let error = ClientError::Io(std::io::Error::other("wire cut"));
        assert_eq!(
            Refused::from(error).0,
            ["talking to the daemon failed: wire cut"]
        );
    }
}
