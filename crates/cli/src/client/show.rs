//! Answers as text for people. Pure, but for [`put`].

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};
use control_api::{EffectAction, Object, Outcome};
use serde_json::Value;

use crate::log::one_line;
use crate::serve::size::show_size;
use crate::shell::path::{last_name, segments};

/// Writes to standard output. That nobody reads on (`| head`) is no error.
///
/// # Errors
/// It cannot be written.
pub(crate) fn put(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output cannot be written"),
    }
}

/// A value without quotes, on one line.
pub(crate) fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => one_line(text),
        Value::Null => String::new(),
        value => one_line(&value.to_string()),
    }
}

/// What a change did or would do, a line each.
pub(crate) fn outcome_text(outcome: &Outcome) -> String {
    let (mut text, notes) = effects_text(outcome);
    let notes: Vec<String> = notes.iter().map(|note| format!("note: {note}")).collect();
    text.push_str(&text_of(&notes));
    let generation = outcome.generation;
    text.push_str(&match (outcome.dry_run, outcome.effects.is_empty()) {
        (true, true) => format!("nothing would change in generation {generation}\n"),
        (true, false) => {
            format!("nothing was changed: this is what generation {generation} would become\n")
        }
        (false, true) => format!("nothing to change; generation {generation} is in force\n"),
        (false, false) => format!("generation {generation} is in force\n"),
    });
    text
}

/// Objects and sessions, a line each, and what the operator should know besides.
pub(crate) fn effects_text(outcome: &Outcome) -> (String, Vec<String>) {
    let mut lines = Vec::new();
    for effect in &outcome.effects {
        let verb = match (effect.action, outcome.dry_run) {
            (EffectAction::Create, false) => "created",
            (EffectAction::Create, true) => "would create",
            (EffectAction::Modify, false) => "changed",
            (EffectAction::Modify, true) => "would change",
            (EffectAction::Delete, false) => "deleted",
            (EffectAction::Delete, true) => "would delete",
        };
        let mut line = format!("{verb} {}", effect.path);
        if effect.action == EffectAction::Modify && !effect.attributes.is_empty() {
            line.push_str(&format!(": {}", effect.attributes.join(", ")));
        }
        lines.push(line);
    }
    for session in &outcome.sessions {
        lines.push(format!(
            "session {} of {} with {} (portal group {}) {}",
            session.id, session.initiator, session.target, session.tpg, session.what
        ));
    }
    let remnants = outcome.remnants.iter().map(|what| {
        format!("{what} has not given back its I/O by the deadline; `status` tells when it has")
    });
    let notes = outcome.warnings.iter().cloned().chain(remnants).collect();
    (text_of(&lines), notes)
}

/// The lines, each safe to print and with its end.
pub(crate) fn text_of<T: AsRef<str>>(lines: &[T]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&one_line(line.as_ref()));
        text.push('\n');
    }
    text
}

/// An object and what stands below it, indented, with what matters most about each.
pub(crate) fn tree_text(root: &Object, name_of: &dyn Fn(&Object) -> String) -> String {
    let mut lines = Vec::new();
    add_lines(root, 0, name_of, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0).min(MOST_NAME_COLUMNS);
    let mut text = String::new();
    for (name, summary) in &lines {
        if summary.is_empty() {
            text.push_str(name);
        } else {
            text.push_str(&format!("{name:width$}  {summary}"));
        }
        text.push('\n');
    }
    text
}

/// A name that is longer does not push the summaries of all others out of sight.
const MOST_NAME_COLUMNS: usize = 64;

fn add_lines(
    object: &Object,
    level: usize,
    name_of: &dyn Fn(&Object) -> String,
    lines: &mut Vec<(String, String)>,
) {
    let name = one_line(&name_of(object));
    lines.push((
        format!("{:indent$}{name}", "", indent = 2 * level),
        one_line(&summary(object)),
    ));
    for child in &object.children {
        add_lines(child, level + 1, name_of, lines);
    }
}

/// The last name of its path; the root is `/`.
pub(crate) fn canonical_name(object: &Object) -> String {
    match last_name(&object.path) {
        "" => "/".to_owned(),
        name => name.to_owned(),
    }
}

/// What matters most about an object, in a few words.
pub(crate) fn summary(object: &Object) -> String {
    let mut parts = match object.kind.as_str() {
        "container" => count(object),
        "backstore" => backstore(object),
        "target" => prefixed("alias ", text(object, "alias")),
        "tpg" => tpg(object),
        "portal" => prefixed("told as ", text(object, "advertise")),
        "lun" => vec![text(object, "backstore").unwrap_or_default()],
        "acl" => acl(object),
        "mapped_lun" => prefixed("lun ", text(object, "lun")),
        "discovery" if is(object, "enforce") => vec!["CHAP".to_owned()],
        _ => Vec::new(),
    };
    if matches!(object.kind.as_str(), "lun" | "mapped_lun") && is(object, "write_protect") {
        parts.push("write-protected".to_owned());
    }
    match object.state.get("sessions").and_then(Value::as_u64) {
        None | Some(0) => {}
        Some(1) => parts.push("1 session".to_owned()),
        Some(many) => parts.push(format!("{many} sessions")),
    }
    if let Some(status) = object.state.get("status").and_then(Value::as_str)
        && status != "ready"
    {
        parts.push(status.to_owned());
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn count(object: &Object) -> Vec<String> {
    // The types of backstores are always there: their number says nothing.
    match (segments(&object.path).count(), object.child_count) {
        (1, _) if object.path == "/backstores" => Vec::new(),
        (_, 0) => vec!["none".to_owned()],
        (_, many) => vec![many.to_string()],
    }
}

fn backstore(object: &Object) -> Vec<String> {
    let bytes = object
        .state
        .get("size_bytes")
        .or_else(|| object.attributes.get("size"));
    vec![
        text(object, "path").unwrap_or_default(),
        bytes
            .and_then(Value::as_u64)
            .map(show_size)
            .unwrap_or_default(),
        if is(object, "read_only") {
            "read-only"
        } else {
            ""
        }
        .to_owned(),
    ]
}

fn tpg(object: &Object) -> Vec<String> {
    let mut parts = vec![
        if is(object, "enabled") {
            "enabled"
        } else {
            "disabled"
        }
        .to_owned(),
        match text(object, "authentication").as_deref() {
            Some("chap") => "CHAP",
            _ => "no authentication",
        }
        .to_owned(),
    ];
    if is(object, "generate_node_acls") {
        parts.push("any initiator".to_owned());
    }
    parts
}

fn acl(object: &Object) -> Vec<String> {
    let mut parts = prefixed("tag ", text(object, "tag"));
    if is(object, "default_luns") {
        parts.push("every LUN".to_owned());
    }
    if text(object, "mutual_chap.user").is_some() {
        parts.push("mutual CHAP".to_owned());
    } else if text(object, "chap.user").is_some() {
        parts.push("CHAP".to_owned());
    }
    parts
}

fn prefixed(prefix: &str, value: Option<String>) -> Vec<String> {
    value
        .map(|value| format!("{prefix}{value}"))
        .into_iter()
        .collect()
}

fn text(object: &Object, name: &str) -> Option<String> {
    let value = value_text(object.attributes.get(name)?);
    (!value.is_empty()).then_some(value)
}

fn is(object: &Object, name: &str) -> bool {
    object.attributes.get(name) == Some(&Value::Bool(true))
}

/// A time of the log as people write it, in UTC: the same on every machine.
pub(crate) fn time_text(unix_time_ms: u64) -> String {
    let seconds = unix_time_ms / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day after 1970-01-01. Years begin in March here, so that the leap day is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // 0000-03-01 is 719,468 days before 1970-01-01.
    let days = days + 719_468;
    let (era, of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let (month, carry) = if march_month < 10 {
        (march_month + 3, 0)
    } else {
        (march_month - 9, 1)
    };
    (era * 400 + year_of_era + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::{Effect, SessionBrief};

    #[test]
    fn time_text_of_known_instants_is_their_date() {
        let table = [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399_999, "2000-02-28 23:59:59Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_709_164_800_000, "2024-02-29 00:00:00Z"),
            (1_735_689_599_000, "2024-12-31 23:59:59Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
        ];
        for (unix_time_ms, text) in table {
            assert_eq!(time_text(unix_time_ms), text);
        }
        // Whatever a daemon says is shown.
        assert!(time_text(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn outcome_text_tells_objects_sessions_and_the_generation() {
        let effect = |path: &str, action, attributes: &[&str]| Effect {
            path: path.to_owned(),
            action,
            attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
        };
        let mut outcome = Outcome {
            generation: 7,
            effects: vec![
                effect("/a", EffectAction::Create, &["x"]),
                effect("/b", EffectAction::Modify, &["x", "y"]),
                effect("/c", EffectAction::Delete, &[]),
            ],
            sessions: vec![SessionBrief {
                id: 3,
                initiator: "iqn.i".to_owned(),
                target: "iqn.t".to_owned(),
                tpg: 1,
                what: "is asked to log out".to_owned(),
            }],
            warnings: vec!["careful".to_owned()],
            ..Outcome::default()
        };
        assert_eq!(
            outcome_text(&outcome),
            "created /a\nchanged /b: x, y\ndeleted /c\n\
             session 3 of iqn.i with iqn.t (portal group 1) is asked to log out\n\
             note: careful\ngeneration 7 is in force\n"
        );
        outcome.dry_run = true;
        let text = outcome_text(&outcome);
        assert!(text.starts_with("would create /a\nwould change /b: x, y\nwould delete /c\n"));
        assert!(text.ends_with("nothing was changed: this is what generation 7 would become\n"));
        assert_eq!(
            outcome_text(&Outcome {
                generation: 7,
                ..Outcome::default()
            }),
            "nothing to change; generation 7 is in force\n"
        );
    }
}
