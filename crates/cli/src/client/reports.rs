//! Lists and reports of the daemon as text: the same in commands and in the shell.

use control_api::{
    AttributeInfo, ConnectionState, ExplainOutcome, Explanation, HistoryEntry, Refusal, Session,
    SessionAuthentication, SessionConnection, SessionKind, SessionState, Status,
};
use serde_json::Value;

use super::show::{text_of, time_text, value_text};
use super::table::Table;

/// Who is logged in, a line each.
pub(crate) fn sessions(sessions: &[Session]) -> String {
    let titles = [
        "ID",
        "INITIATOR",
        "TARGET",
        "TPG",
        "FROM",
        "PORTAL",
        "AUTH",
        "LUNS",
        "COMMANDS",
        "UP",
    ];
    let mut table = Table::new(&titles);
    for session in sessions {
        let first = session.connections.first();
        table.row([
            session.id.to_string(),
            session.initiator.clone(),
            target_of(session),
            session.tpg.to_string(),
            from(session),
            first
                .map(|connection| connection.portal.clone())
                .unwrap_or_default(),
            authentication(session).to_owned(),
            session.luns.to_string(),
            session.counters.commands.to_string(),
            duration(session.since_s),
        ]);
    }
    or_else(table.text(), "no sessions")
}

/// Everything that is known of sessions.
pub(crate) fn session_details(sessions: &[Session]) -> String {
    let mut lines = Vec::new();
    for session in sessions {
        let alias = session.initiator_alias.as_deref();
        let alias = alias.map(|alias| format!(" ({alias})")).unwrap_or_default();
        lines.push(format!(
            "session {}: {}{alias}",
            session.id, session.initiator
        ));
        lines.push(format!(
            "    target: {}, portal group {}, {} LUNs",
            target_of(session),
            session.tpg,
            session.luns
        ));
        lines.push(format!(
            "    state: {}, {}, for {}, worker {}",
            match session.state {
                SessionState::FullFeature => "serving",
                SessionState::Draining => "draining",
            },
            match authentication(session) {
                "none" => "not authenticated".to_owned(),
                proof => format!("authenticated by {proof}"),
            },
            duration(session.since_s),
            session.worker
        ));
        lines.push(format!(
            "    isid: {}, tsih: {}",
            session.isid, session.tsih
        ));
        for connection in &session.connections {
            lines.push(format!(
                "    connection {}: from {} to {} (portal {}){}",
                connection.cid,
                connection.peer,
                connection.local,
                connection.portal,
                match connection.state {
                    ConnectionState::FullFeature => "",
                    ConnectionState::Closing => ", closing",
                    ConnectionState::Lost => ", lost and kept for recovery",
                }
            ));
        }
        let counters = &session.counters;
        lines.push(format!(
            "    commands: {}, read: {} bytes, written: {} bytes",
            counters.commands, counters.read_bytes, counters.written_bytes
        ));
        let more = counters.more.iter();
        lines.extend(more.map(|(name, count)| format!("    {name}: {count}")));
        let keys = session.parameters.iter();
        lines.extend(keys.map(|(key, value)| format!("    {key}={value}")));
    }
    or_else(text_of(&lines), "no sessions")
}

/// Where its first connection comes from, and how many more it has.
fn from(session: &Session) -> String {
    let mut connections = session.connections.iter();
    let serves = |one: &&SessionConnection| one.state == ConnectionState::FullFeature;
    let (Some(first), others) = (connections.find(serves), connections.filter(serves).count())
    else {
        return "-".to_owned();
    };
    match others {
        0 => first.peer.clone(),
        more => format!("{} +{more}", first.peer),
    }
}

fn target_of(session: &Session) -> String {
    match session.kind {
        SessionKind::Discovery => "(discovery)".to_owned(),
        SessionKind::Normal => session.target.clone(),
    }
}

fn authentication(session: &Session) -> &'static str {
    match session.authentication {
        SessionAuthentication::None => "none",
        SessionAuthentication::Chap => "chap",
        SessionAuthentication::ChapMutual => "chap+mutual",
    }
}

/// The two largest units.
fn duration(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m{rest:02}s"),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// Generations, newest last.
pub(crate) fn history(entries: &[HistoryEntry]) -> String {
    let mut table = Table::new(&["GENERATION", "WHEN", "WHO", "WHAT"]);
    for entry in entries {
        table.row([
            entry.generation.to_string(),
            time_text(entry.unix_time_ms),
            entry.who.clone(),
            entry.what.join("; "),
        ]);
    }
    or_else(table.text(), "no history")
}

/// Refused logins, newest last.
pub(crate) fn refused(refusals: &[Refusal]) -> String {
    let mut table = Table::new(&[
        "WHEN",
        "FROM",
        "TO",
        "INITIATOR",
        "TARGET",
        "STATUS",
        "RULE",
        "WHY",
    ]);
    for refusal in refusals {
        table.row([
            &time_text(refusal.unix_time_ms),
            &refusal.peer,
            &refusal.local,
            or_dash(&refusal.initiator),
            or_dash(&refusal.target),
            &refusal.status,
            &refusal.rule,
            &refusal.text,
        ]);
    }
    or_else(table.text(), "no login was refused")
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Rule by rule, and what comes of it.
pub(crate) fn explanation(explanation: &Explanation) -> String {
    let mut table = Table::new(&["RULE", "SAYS", "WHERE", "WHY"]);
    for step in &explanation.steps {
        let says = match step.outcome {
            ExplainOutcome::Passes => "passes",
            ExplainOutcome::Refuses => "refuses",
            ExplainOutcome::Decides => "decides",
        };
        table.row([
            &step.rule,
            says,
            or_dash(step.path.as_deref().unwrap_or("")),
            &step.text,
        ]);
    }
    let mut text = table.text();
    let verdict = match (explanation.admitted, &explanation.login_status) {
        (true, _) => "the login works, given the right secrets where some are asked for".to_owned(),
        (false, Some(status)) => format!("the login is refused: {status}"),
        (false, None) => "the login is refused".to_owned(),
    };
    text.push_str(&text_of(&[verdict]));
    let mut luns = Table::new(&["LUN", "BACKSTORE", "ACCESS"]);
    for lun in &explanation.luns {
        let access = if lun.write_protect {
            "read"
        } else {
            "read and write"
        };
        luns.row([&lun.lun.to_string(), &lun.backstore, access]);
    }
    text.push_str(&luns.text());
    text
}

/// How the daemon is.
pub(crate) fn status(status: &Status) -> String {
    let mut lines = vec![
        format!("version: {}", status.version),
        format!("generation: {}", status.generation),
        format!("ready: {}", if status.ready { "yes" } else { "no" }),
        format!("driver: {}, {} workers", status.driver, status.workers),
        format!("sessions: {}", status.sessions),
        format!("portals: {}", or_none(&status.portals)),
    ];
    lines.extend(
        status
            .degraded
            .iter()
            .map(|path| format!("degraded: {path}")),
    );
    lines.extend(
        status
            .remnants
            .iter()
            .map(|what| format!("remnant: {what}")),
    );
    text_of(&lines)
}

fn or_none(list: &[String]) -> String {
    if list.is_empty() {
        "none".to_owned()
    } else {
        list.join(", ")
    }
}

/// What attributes there are.
pub(crate) fn attributes(infos: &[AttributeInfo]) -> String {
    let titles = ["KIND", "NAME", "VALUES", "DEFAULT", "LIO'S", "WHAT IT DOES"];
    let mut table = Table::new(&titles);
    for info in infos {
        let lio = info
            .lio_default
            .as_ref()
            .map(value_text)
            .unwrap_or_default();
        table.row([
            &info.kind,
            &info.name,
            &legal_values(info),
            &value_text(&info.default),
            &lio,
            &help_line(info),
        ]);
    }
    or_else(table.text(), "no attributes")
}

/// The legal values, for people.
pub(crate) fn legal_values(info: &AttributeInfo) -> String {
    if !info.choices.is_empty() {
        return info.choices.join("|");
    }
    let kind = match info.value_type.as_str() {
        "bool" => "true|false",
        other => other,
    };
    match &info.range {
        Some(range) if info.secret => format!("secret, {range}"),
        Some(range) => format!("{kind}, {range}"),
        None => kind.to_owned(),
    }
}

/// The help, with what else a person should know before setting it.
pub(crate) fn help_line(info: &AttributeInfo) -> String {
    let mut text = info.help.clone();
    if info.create_only {
        text.push_str(" (only when the object is made)");
    }
    if !info.effective {
        text.push_str(" (stored, without effect here)");
    }
    text
}

/// Attributes with their values: `name=value`, those that somebody set marked.
pub(crate) fn values<'a>(
    values: impl IntoIterator<Item = (&'a String, &'a Value)>,
    set: &[String],
) -> String {
    let mut table = Table::new(&["NAME", "VALUE", "FROM"]);
    for (name, value) in values {
        let from = if set.contains(name) { "set" } else { "default" };
        table.row([name.as_str(), &value_text(value), from]);
    }
    or_else(table.text(), "no attributes")
}

fn or_else(text: String, otherwise: &str) -> String {
    if text.is_empty() {
        format!("{otherwise}\n")
    } else {
        text
    }
}

#[cfg(test)]
#[path = "reports_tests.rs"]
mod tests;
