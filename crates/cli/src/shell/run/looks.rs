//! Commands that change nothing.

use anyhow::{Result, anyhow, bail};
use control_api::{AttributeInfo, ExplainQuery, Object};
use model::attributes::nearest;

use super::{Done, Shell};
use crate::client::refused::Refused;
use crate::client::reports;
use crate::client::show::{canonical_name, text_of, tree_text, value_text};
use crate::client::verbs::values_text;
use crate::shell::commands::{COMMANDS, Command};
use crate::shell::grammar::Line;
use crate::shell::path::{Place, resolve};
use crate::shell::state::Preferences;
use crate::shell::translate::{Group, groups, lio_names, lio_value};

/// Deeper than any tree.
const ALL_LEVELS: u32 = 32;

impl Shell {
    pub(super) fn look(&mut self, command: &Command, path: &str, line: &Line) -> Result<Done> {
        let text = match command.name {
            "pwd" => format!("{path}\n"),
            "ls" => self.ls(path, line)?,
            "get" => self.get(path, line)?,
            "info" => self.info(path)?,
            "sessions" => self.sessions(line)?,
            "explain" => self.explain(line)?,
            "refused" => reports::refused(&self.plane.refused().map_err(Refused::from)?),
            "status" => reports::status(&self.plane.status().map_err(Refused::from)?),
            "version" => {
                let status = self.plane.status().map_err(Refused::from)?;
                format!("quintain {}\n", status.version)
            }
            "history" => reports::history(&self.plane.history().map_err(Refused::from)?),
            "attributes" => {
                let kind = line
                    .values
                    .first()
                    .map(String::as_str)
                    .or_else(|| Place::of(path).kind());
                reports::attributes(&self.plane.attributes(kind).map_err(Refused::from)?)
            }
            "help" => self.help(path, line)?,
            // `refresh`: nothing is kept that could be stale.
            _ => String::new(),
        };
        Ok(text.into())
    }

    fn ls(&self, path: &str, line: &Line) -> Result<String> {
        let (target, depth) = match line.values.as_slice() {
            [] => (path.to_owned(), None),
            [typed] => (self.beside(path, typed)?, None),
            [typed, depth] => {
                let depth = depth
                    .parse::<u32>()
                    .map_err(|_| anyhow!("{depth}: no number of levels; write 0 for all"))?;
                (self.beside(path, typed)?, Some(depth))
            }
            _ => bail!("ls: too much; write ls [PATH] [DEPTH]"),
        };
        let depth = match depth.unwrap_or_else(|| self.state.preferences.depth()) {
            0 => ALL_LEVELS,
            depth => depth.min(ALL_LEVELS),
        };
        let mut text = String::new();
        for path in self.expand_tag(&target)? {
            text.push_str(&tree_text(&self.object(&path, depth)?, &canonical_name));
        }
        Ok(text)
    }

    /// A typed path seen from where a command runs.
    fn beside(&self, path: &str, typed: &str) -> Result<String> {
        Ok(resolve(path, &self.state.expand(typed)?))
    }

    /// By group, as targetcli has it, or by our names.
    fn get(&self, path: &str, line: &Line) -> Result<String> {
        let named = line.values.first().map(String::as_str);
        let group = groups(path)
            .into_iter()
            .find(|group| Some(group.name()) == named);
        let names = line.values.get(1..).unwrap_or_default();
        match group {
            Some(Group::Global) => return self.state.preferences.show(names),
            Some(group) => return self.show_group(path, group, names),
            None => {}
        }
        if Place::of(path).kind().is_none() {
            return Ok(group_names(path));
        }
        let mut text = String::new();
        for path in self.expand_tag(path)? {
            let object = self.object(&path, 0)?;
            text.push_str(&match line.values.as_slice() {
                [] => reports::values(&object.attributes, &object.set),
                [name] => format!(
                    "{name}={}",
                    values_text(&*self.plane, &object, std::slice::from_ref(name))?
                ),
                names => values_text(&*self.plane, &object, names)?,
            });
        }
        Ok(text)
    }

    fn show_group(&self, path: &str, group: Group, names: &[String]) -> Result<String> {
        let mut text = String::new();
        for path in self.expand_tag(path)? {
            let object = self.object(&group.object(&path), 0)?;
            let infos = self.infos(&object)?;
            let known = lio_names(&path, group, &infos);
            for name in names {
                if !known.iter().any(|(theirs, _)| theirs == name) {
                    return Err(not_in_group(
                        name,
                        group,
                        known.iter().map(|(name, _)| name.as_str()),
                    ));
                }
            }
            for (name, info) in &known {
                if names.is_empty() || names.contains(name) {
                    text.push_str(&format!("{name}={}\n", lio_value(&object, info)));
                }
            }
        }
        Ok(text)
    }

    /// What objects of this one's kind can be set to.
    pub(super) fn infos(&self, object: &Object) -> Result<Vec<AttributeInfo>> {
        Ok(self
            .plane
            .attributes(Some(&object.kind))
            .map_err(Refused::from)?)
    }

    fn info(&self, path: &str) -> Result<String> {
        let mut text = String::new();
        for path in self.expand_tag(path)? {
            let object = self.object(&path, 0)?;
            let mut lines = vec![
                format!("path: {}", object.path),
                format!("kind: {}", object.kind),
            ];
            lines.extend(object.id.map(|id| format!("id: {id}")));
            let facts = object.state.iter().chain(&object.attributes);
            let lines_of = facts.map(|(name, value)| format!("{name}: {}", value_text(value)));
            lines.extend(lines_of);
            text.push_str(&text_of(&lines));
        }
        Ok(text)
    }

    fn sessions(&self, line: &Line) -> Result<String> {
        let mut words = line.values.iter().map(String::as_str);
        let action = words.next().unwrap_or("list");
        let id = words.next().map(|id| {
            let number = id.parse::<u64>();
            number.map_err(|_| anyhow!("{id}: no number of a session; `sessions` lists them"))
        });
        let id = id.transpose()?;
        if action == "end" {
            let Some(id) = id else {
                bail!("sessions end: which one? write its ID, which `sessions` lists");
            };
            self.plane.end_session(id).map_err(Refused::from)?;
            return Ok(format!("session {id} has ended\n"));
        }
        let mut sessions = self.plane.sessions().map_err(Refused::from)?;
        if let Some(id) = id {
            sessions.retain(|session| session.id == id);
            if sessions.is_empty() {
                bail!("{id}: there is no such session; `sessions` lists them");
            }
        }
        match action {
            "list" => Ok(reports::sessions(&sessions)),
            "detail" => Ok(reports::session_details(&sessions)),
            _ => bail!("sessions: {action} is neither list, detail nor end; write one of these"),
        }
    }

    fn explain(&self, line: &Line) -> Result<String> {
        let value = |name: &str| {
            let found = line.named.iter().find(|(given, _)| given == name);
            found.map(|(_, value)| value.clone())
        };
        let (Some(initiator), Some(target)) = (value("initiator"), value("target")) else {
            bail!(
                "explain: write initiator=IQN target=IQN, and portal=ADDRESS:PORT where it matters"
            );
        };
        let query = ExplainQuery {
            initiator,
            target,
            portal: value("portal"),
        };
        let explanation = self.plane.explain(&query).map_err(Refused::from)?;
        Ok(reports::explanation(&explanation))
    }

    fn help(&self, path: &str, line: &Line) -> Result<String> {
        let Some(topic) = line.values.first() else {
            let here = COMMANDS.iter().filter(|command| command.works_at(path));
            let mut text = format!("At {path}:\n");
            for command in here {
                text.push_str(&format!("  {}\n", command.usage_at(path)));
            }
            text.push_str(
                "A path before a command says where it runs. `help COMMAND` tells more.\n",
            );
            return Ok(text);
        };
        if topic == "global" {
            return Ok(Preferences::help());
        }
        if let Some(command) = COMMANDS.iter().find(|command| command.name == topic) {
            return Ok(format!("{}\n{}\n", command.usage_at(path), command.help));
        }
        self.help_of_attribute(path, topic)
    }

    fn help_of_attribute(&self, path: &str, topic: &str) -> Result<String> {
        let infos = match Place::of(path).kind() {
            Some(kind) => self.plane.attributes(Some(kind)).map_err(Refused::from)?,
            None => Vec::new(),
        };
        let mut named: Vec<(String, &AttributeInfo)> =
            infos.iter().map(|info| (info.name.clone(), info)).collect();
        for group in groups(path) {
            if group.object(path) == path {
                named.extend(lio_names(path, group, &infos));
            }
        }
        if let Some((name, info)) = named.iter().find(|(name, _)| name == topic) {
            return Ok(attribute_help(name, info));
        }
        let known = COMMANDS.iter().map(|command| command.name);
        let known = known.chain(named.iter().map(|(name, _)| name.as_str()));
        match nearest(topic, known) {
            Some(near) => {
                bail!("{topic}: there is no such command or attribute here; did you mean {near}?")
            }
            None => bail!(
                "{topic}: there is no such command or attribute here; `help` and `attributes` list them"
            ),
        }
    }
}

fn attribute_help(name: &str, info: &AttributeInfo) -> String {
    let mut lines = vec![
        format!("{name}: {}", reports::help_line(info)),
        format!("values: {}", reports::legal_values(info)),
        format!("default: {}", value_text(&info.default)),
    ];
    let lio = info
        .lio_default
        .as_ref()
        .map(|value| format!("LIO's default: {}", value_text(value)));
    lines.extend(lio);
    lines.push(format!("from: {}", info.origin));
    if name != info.name {
        lines.push(format!("our name: {}", info.name));
    }
    text_of(&lines)
}

/// The groups at a path, as `set` and `get` without more list them.
pub(super) fn group_names(path: &str) -> String {
    let names: Vec<&str> = groups(path).into_iter().map(Group::name).collect();
    format!("groups: {}\n", names.join(" "))
}

pub(super) fn not_in_group<'a>(
    name: &str,
    group: Group,
    known: impl Iterator<Item = &'a str>,
) -> anyhow::Error {
    let group = group.name();
    match nearest(name, known) {
        Some(near) => anyhow!("{name}: not in group {group} here; did you mean {near}?"),
        None => anyhow!("{name}: not in group {group} here; `get {group}` lists it"),
    }
}
