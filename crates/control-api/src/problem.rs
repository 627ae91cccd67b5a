//! Every error of the API: a problem document (RFC 9457).

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

/// Where the pages that a problem's `type` names stand.
const TYPE_BASE: &str = "https://example.org/quintain/problems/";

/// Why a request was refused. One pointer, so that a `Result` with it is small; its members are those of
/// [`ProblemDocument`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Problem(#[cfg_attr(feature = "schema", schema(inline))] Box<ProblemDocument>);

/// The members of a problem document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProblemDocument {
    /// A URI made of `code`; `about:blank` where there is no code.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// What the status means; the same for each problem of that status.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// One line for a person.
    pub detail: String,
    /// The object it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Stable, snake_case: what a program compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why, where `detail` does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Of a conflict: the generation in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Every mistake, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemItem>,
}

/// One mistake of several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProblemItem {
    /// The object or the key it is about.
    pub path: String,
    /// Stable, snake_case.
    pub code: String,
    /// What is wrong, with the legal values.
    pub reason: String,
    /// What to do about it; may be empty.
    #[serde(default)]
    pub hint: String,
    /// Where in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// In which file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Problem {
    /// A problem of this HTTP status and code.
    #[must_use]
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemDocument {
            type_uri: format!("{TYPE_BASE}{code}"),
            title: title(status).to_owned(),
            status,
            detail: detail.into(),
            code: Some(code.to_owned()),
            ..ProblemDocument::default()
        }))
    }

    /// 404: there is no such object.
    #[must_use]
    pub fn no_such_object(path: &str) -> Self {
        Self::new(404, "no_such_object", format!("there is no object {path}")).with_path(path)
    }

    /// 409: the tree has moved on since the caller looked.
    #[must_use]
    pub fn stale_generation(asked: u64, current: u64) -> Self {
        let detail = format!("generation {asked} is no longer in force: {current} is");
        let mut problem = Self::new(409, "stale_generation", detail);
        problem.generation = Some(current);
        problem.with_hint("look at the tree again and repeat the change on what it is now")
    }

    /// 422: one or more mistakes in a change or a file. The first one is told in `detail` too.
    #[must_use]
    pub fn invalid(errors: Vec<ProblemItem>) -> Self {
        let detail = match errors.as_slice() {
            [] => "the change is invalid".to_owned(),
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        let mut problem = Self::new(422, "invalid_change", detail);
        if let [only] = errors.as_slice() {
            problem.path = Some(only.path.clone());
            problem.reason = Some(only.reason.clone());
            problem.hint = (!only.hint.is_empty()).then(|| only.hint.clone());
        }
        problem.errors = errors;
        problem
    }

    /// 403: the caller lacks the role.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "forbidden", detail)
    }

    /// 503: the daemon is stopping.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::new(503, "shutting_down", "the daemon is shutting down")
    }

    /// 500: a fault of the daemon itself.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, "internal", detail).with_hint("the daemon's log tells more")
    }

    /// With the object it is about.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// With why.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// With what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether its code is this one.
    #[must_use]
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

impl Deref for Problem {
    type Target = ProblemDocument;

    fn deref(&self) -> &ProblemDocument {
        &self.0
    }
}

impl DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut ProblemDocument {
        &mut self.0
    }
}

impl fmt::Display for Problem {
    /// One line: what, why, what to do. The items of `errors` are the caller's to list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        if let Some(reason) = self
            .reason
            .as_deref()
            .filter(|reason| !self.detail.contains(reason))
        {
            write!(f, ": {reason}")?;
        }
        if let Some(hint) = self
            .hint
            .as_deref()
            .filter(|hint| !self.detail.contains(hint))
        {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for ProblemItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, Some(line)) => write!(f, "line {line}: ")?,
            (None, None) => {}
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)?;
        if self.hint.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.hint)
        }
    }
}

/// RFC 9457 §3.1.3: a title does not change from occurrence to occurrence.
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad request",
        403 => "Forbidden",
        404 => "Not found",
        405 => "Method not allowed",
        408 => "Request timeout",
        409 => "Conflict",
        412 => "Precondition failed",
        413 => "Body too large",
        422 => "Invalid change",
        500 => "Internal error",
        503 => "Unavailable",
        504 => "Timed out",
        _ => "Error",
    }
}
