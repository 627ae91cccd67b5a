//! Requests: bodies with a bound in size and time, JSON read strictly, preconditions.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use control_api::Problem;
use serde::de::DeserializeOwned;

/// What must be so for a change to be made (RFC 9110 §13.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Preconditions {
    pub(super) if_match: Option<IfMatch>,
    /// `If-None-Match: *`.
    pub(super) must_be_absent: bool,
}

/// `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// `*`: the object exists.
    Exists,
    /// This generation is in force.
    Generation(u64),
}

impl Preconditions {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let if_match = match single(headers, &IF_MATCH)? {
            None => None,
            Some("*") => Some(IfMatch::Exists),
            Some(tag) => {
                let generation = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                let generation = generation.and_then(|digits| digits.parse().ok());
                Some(IfMatch::Generation(generation.ok_or_else(|| {
                    bad_precondition("If-Match names no generation")
                        .with_hint("send the ETag of an answer as it came: \"17\"")
                })?))
            }
        };
        let must_be_absent = match single(headers, &IF_NONE_MATCH)? {
            None => false,
            Some("*") => true,
            Some(_) => {
                return Err(bad_precondition("If-None-Match can only be *")
                    .with_hint("to change what has not changed since, use If-Match"));
            }
        };
        Ok(Self {
            if_match,
            must_be_absent,
        })
    }

    /// Where an object cannot be asked to be absent.
    pub(super) fn of_existing(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
        let preconditions = Self::of(headers)?;
        if preconditions.must_be_absent {
            return Err(bad_precondition("If-None-Match belongs to PUT"));
        }
        Ok(preconditions.generation())
    }

    /// Where nothing can be asked: a condition that would go unheeded is refused.
    pub(super) fn refuse(headers: &HeaderMap) -> Result<(), Problem> {
        if headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH) {
            return Err(bad_precondition(
                "this request takes no If-Match or If-None-Match",
            ));
        }
        Ok(())
    }

    pub(super) fn generation(self) -> Option<u64> {
        match self.if_match {
            Some(IfMatch::Generation(generation)) => Some(generation),
            Some(IfMatch::Exists) | None => None,
        }
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(bad_precondition("a precondition stands twice"));
    }
    first
        .map(|value| value.to_str().map(str::trim))
        .transpose()
        .map_err(|_| bad_precondition("a precondition is not text"))
}

fn bad_precondition(detail: &str) -> Problem {
    Problem::new(400, "bad_precondition", detail)
}

/// The whole body, if it comes in time and is not too long.
pub(super) async fn read_body(
    body: Body,
    limit_bytes: usize,
    timeout: Duration,
) -> Result<Vec<u8>, Problem> {
    let too_long = || {
        Problem::new(
            413,
            "body_too_large",
            format!("the body is longer than {limit_bytes} bytes"),
        )
    };
    if body.size_hint().lower() > limit_bytes as u64 {
        return Err(too_long());
    }
    let read = tokio::time::timeout(timeout, async move {
        let mut body = body;
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let frame = frame.map_err(|_| {
                Problem::new(400, "bad_body", "the body ended early or is badly framed")
            })?;
            // Trailers carry nothing for us.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > limit_bytes {
                return Err(too_long());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    });
    read.await.unwrap_or_else(|_| {
        Err(Problem::new(
            408,
            "slow_body",
            "the body did not come in time",
        ))
    })
}

/// A JSON object as this type, with the place of a mistake, and the nearest known name for an unknown one.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Serde would take a list for a struct, field by field: that is nobody's wish.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(first, Some(b'[')) {
        return Err(explain_mismatch(
            "the body",
            "invalid type: list, expected an object at line 1",
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            return explain_mismatch("the body", &error.to_string());
        }
        let (line, column) = (error.line(), error.column());
        Problem::new(
            400,
            "bad_json",
            format!("the body is no JSON at line {line}, column {column}"),
        )
        .with_reason(reason_of(&error.to_string()).to_owned())
    })
}

/// A query as its type, or why not.
pub(super) fn query<T>(
    query: Result<axum::extract::Query<T>, QueryRejection>,
) -> Result<T, Problem> {
    query
        .map(|axum::extract::Query(query)| query)
        .map_err(|rejection| {
            let text = rejection.body_text();
            let reason = text
                .rsplit_once("query string: ")
                .map_or(text.as_str(), |(_, reason)| reason);
            // The parameter's name comes first.
            let reason = match reason.split_once(": ") {
                Some((name, reason)) if !name.contains(' ') => reason,
                _ => reason,
            };
            explain_mismatch("the query", reason)
        })
}

/// Serde's word on a value that is JSON but not what was asked for. The value itself is not repeated: it may be a secret.
fn explain_mismatch(what: &str, error: &str) -> Problem {
    let (reason, place) = match error.rsplit_once(" at line ") {
        Some((reason, place)) => (
            reason,
            format!(" at line {}", place.replacen(" column", ", column", 1)),
        ),
        None => (error, String::new()),
    };
    let code = if reason.starts_with("unknown field") {
        "unknown_field"
    } else {
        "bad_body"
    };
    let problem = Problem::new(400, code, format!("{what} is not what belongs here{place}"))
        .with_reason(without_value(reason));
    match nearest_known(reason) {
        Some(name) => problem.with_hint(format!("did you mean `{name}`?")),
        None => problem,
    }
}

/// `invalid type: string "hush", expected a map` without the string.
fn without_value(reason: &str) -> String {
    if !reason.starts_with("invalid ") {
        return reason.to_owned();
    }
    let kind = reason.split_once(": ").map_or("", |(_, rest)| rest);
    let kind = kind.split([' ', '"', '`', ',']).next().unwrap_or_default();
    let expected = reason
        .rsplit_once(", expected ")
        .map_or("something else", |(_, rest)| rest);
    let expected = expected.split(" at line ").next().unwrap_or_default();
    format!("{kind} where {expected} is expected")
}

/// Serde's message names the unknown word first and the known ones after it, all in back quotes.
fn nearest_known(reason: &str) -> Option<&str> {
    if !reason.starts_with("unknown ") {
        return None;
    }
    let mut quoted = reason.split('`').skip(1).step_by(2);
    let given = quoted.next()?;
    let distances = quoted.map(|name| (edit_distance(given, name), name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= 2.max(given.len() / 3)).then_some(name)
}

/// Levenshtein's: how many letters have to change. Of texts cut at 64 bytes, so that its cost has a bound.
fn edit_distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let (left, right) = (&left[..left.len().min(64)], &right[..right.len().min(64)]);
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// What serde_json says, without the place, which is told otherwise.
fn reason_of(error: &str) -> &str {
    error
        .rsplit_once(" at line ")
        .map_or(error, |(reason, _)| reason)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use control_api::{Attributes, Transaction};

    use super::*;

    #[test]
    fn parse_broken_json_names_line_and_column() {
        let problem = parse_json::<Attributes>(b"{\n  \"attributes\": {,}\n}").unwrap_err();
        assert_eq!(
            (problem.status, problem.code.as_deref()),
            (400, Some("bad_json"))
        );
        assert!(
            problem.detail.ends_with("line 2, column 18"),
            "{}",
            problem.detail
        );
        let problem = parse_json::<Attributes>(b"{\"attributes\": {").unwrap_err();
        assert!(problem.is("bad_json"), "{problem}");
        assert!(
            parse_json::<Attributes>(b"\xff")
                .unwrap_err()
                .is("bad_json")
        );
    }

    #[test]
    fn parse_unknown_names_hint_at_the_nearest() {
        let table: [(&[u8], &str); 4] = [
            (br#"{"change":[]}"#, "did you mean `changes`?"),
            (
                br#"{"changes":[{"op":"craete","path":"/x"}]}"#,
                "did you mean `create`?",
            ),
            (
                br#"{"changes":[{"op":"delete","path":"/x","casacde":true}]}"#,
                "did you mean `cascade`?",
            ),
            (
                br#"{"changes":[],"if_generaton":1}"#,
                "did you mean `if_generation`?",
            ),
        ];
        for (body, hint) in table {
            let problem = parse_json::<Transaction>(body).unwrap_err();
            assert_eq!(problem.hint.as_deref(), Some(hint), "{problem}");
        }
        let problem = parse_json::<Transaction>(br#"{"zzz":[]}"#).unwrap_err();
        assert_eq!(
            (problem.code.as_deref(), problem.hint.as_deref()),
            (Some("unknown_field"), None)
        );
    }

    #[test]
    fn parse_wrong_type_does_not_repeat_the_value() {
        for body in [
            &br#"{"attributes":"hush, expected at line 1"}"#[..],
            br#"{"attributes":["hush"]}"#,
            br#""hush""#,
        ] {
            let problem = parse_json::<Attributes>(body).unwrap_err();
            assert_eq!(problem.status, 400);
            let text = serde_json::to_string(&problem).unwrap();
            assert!(!text.contains("hush"), "{text}");
            assert!(text.contains("is expected"), "{text}");
        }
    }

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn preconditions_are_read_strictly() {
        let of = |pairs: &[(HeaderName, &'static str)]| Preconditions::of(&headers(pairs)).ok();
        let matches = |if_match| Preconditions {
            if_match: Some(if_match),
            must_be_absent: false,
        };
        assert_eq!(of(&[]), Some(Preconditions::default()));
        assert_eq!(
            of(&[(IF_MATCH, "\"17\"")]),
            Some(matches(IfMatch::Generation(17)))
        );
        assert_eq!(of(&[(IF_MATCH, "*")]), Some(matches(IfMatch::Exists)));
        let absent = Preconditions {
            if_match: None,
            must_be_absent: true,
        };
        assert_eq!(of(&[(IF_NONE_MATCH, "*")]), Some(absent));
        for bad in [
            "17",
            "W/\"17\"",
            "\"17\", \"18\"",
            "\"\"",
            "\"-1\"",
            "\"x\"",
            "",
        ] {
            assert_eq!(of(&[(IF_MATCH, bad)]), None, "{bad}");
        }
        assert_eq!(of(&[(IF_NONE_MATCH, "\"17\"")]), None);
        assert!(Preconditions::of_existing(&headers(&[(IF_NONE_MATCH, "*")])).is_err());
        assert_eq!(
            Preconditions::of_existing(&headers(&[(IF_MATCH, "\"3\"")])),
            Ok(Some(3))
        );
        assert!(Preconditions::refuse(&headers(&[(IF_MATCH, "\"3\"")])).is_err());
        assert!(Preconditions::refuse(&headers(&[])).is_ok());
        let mut twice = headers(&[(IF_MATCH, "\"1\"")]);
        twice.append(IF_MATCH, HeaderValue::from_static("\"2\""));
        assert!(Preconditions::of(&twice).is_err());
    }

    #[test]
    fn edit_distance_counts_letters() {
        for (left, right, distance) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edit_distance(left, right), distance, "{left} {right}");
        }
        assert_eq!(edit_distance(&"a".repeat(5000), &"b".repeat(5000)), 64);
    }
}
