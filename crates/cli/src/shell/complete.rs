//! What could stand where the cursor is: commands, paths, parameters, attributes and their values. Asks the daemon for what is
//! there now; what cannot be had is not offered.

use std::collections::BTreeMap;
use std::path::Path;

use control_api::AttributeInfo;

use super::commands::{COMMANDS, Offers, create_parameters, delete_parameters, is_command};
use super::grammar::{Word, assignment, looks_like_path, quote, split};
use super::path::{
    Place, Spelling, child, last_name, prefix, resolve, shown_container, shown_name, spelling_of,
};
use super::state::Preferences;
use super::translate::{Group, groups, lio_names};
use crate::client::plane::Plane;

/// What completion knows of the shell.
pub(crate) struct View<'a> {
    pub(crate) plane: &'a dyn Plane,
    pub(crate) current: &'a str,
    pub(crate) bookmarks: &'a BTreeMap<String, String>,
    pub(crate) folder: &'a Path,
}

/// Something that could stand there, as it has to be typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) text: String,
    /// Nothing belongs behind it: a blank may follow.
    pub(crate) whole: bool,
}

/// More than anybody reads.
const MOST: usize = 2_000;

/// What could stand at the end of `line`, and where in it that begins.
pub(crate) fn complete(line: &str, view: &View<'_>) -> (usize, Vec<Candidate>) {
    let Ok(mut words) = split(line) else {
        return (line.len(), Vec::new());
    };
    let open = words
        .last()
        .is_some_and(|_| !line.ends_with(char::is_whitespace));
    if !open {
        words.push(Word {
            text: String::new(),
            at: line.len(),
            quoted: false,
        });
    }
    let Some((last, before)) = words.split_last() else {
        return (line.len(), Vec::new());
    };
    let mut candidates = view.offers(before, &last.text);
    candidates.retain(|candidate| candidate.text.starts_with(&last.text));
    candidates.sort_by(|a, b| a.text.cmp(&b.text));
    candidates.dedup();
    candidates.truncate(MOST);
    for candidate in &mut candidates {
        candidate.text = quote(&candidate.text);
    }
    (last.at, candidates)
}

fn whole(text: impl Into<String>) -> Candidate {
    Candidate {
        text: text.into(),
        whole: true,
    }
}

fn part(text: impl Into<String>) -> Candidate {
    Candidate {
        text: text.into(),
        whole: false,
    }
}

impl View<'_> {
    fn offers(&self, before: &[Word], typed: &str) -> Vec<Candidate> {
        let Some((first, rest)) = before.split_first() else {
            let mut offers = self.paths(self.current, typed);
            if !looks_like_path(typed) {
                offers.extend(self.commands(self.current));
            }
            return offers;
        };
        if !looks_like_path(&first.text) {
            return self.arguments(&first.text, self.current, rest, typed);
        }
        let path = self.resolve(&first.text);
        match rest.split_first() {
            Some((command, rest)) => self.arguments(&command.text, &path, rest, typed),
            None => {
                let joined = first
                    .text
                    .rsplit_once('/')
                    .filter(|(_, last)| is_command(last));
                match joined {
                    Some((place, command)) => {
                        self.arguments(command, &self.resolve(&format!("{place}/")), rest, typed)
                    }
                    None => self.commands(&path).collect(),
                }
            }
        }
    }

    fn resolve(&self, typed: &str) -> String {
        let expanded = typed.strip_prefix('@').and_then(|rest| {
            let (name, below) = rest.split_once('/').unwrap_or((rest, ""));
            Some(format!("{}/{below}", self.bookmarks.get(name)?))
        });
        resolve(self.current, expanded.as_deref().unwrap_or(typed))
    }

    fn commands(&self, path: &str) -> impl Iterator<Item = Candidate> {
        let here = COMMANDS
            .iter()
            .filter(move |command| command.works_at(path));
        here.map(|command| whole(command.name))
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn arguments(&self, command: &str, path: &str, before: &[Word], typed: &str) -> Vec<Candidate> {
        match command {
            "cd" | "ls" if before.is_empty() => self.paths(path, typed),
            "create" => self.create(path, before, typed),
            "delete" => self.delete(path, before, typed),
            "set" | "get" | "unset" => self.settings(command, path, before, typed),
            "help" => {
                let names = COMMANDS.iter().map(|command| whole(command.name));
                let infos = self.infos(Place::of(path).kind());
                names
                    .chain(infos.into_iter().map(|info| whole(info.name)))
                    .collect()
            }
            "sessions" if before.is_empty() => ["detail", "end", "list"].map(whole).into(),
            "bookmarks" if before.is_empty() => ["add", "del", "go", "show"].map(whole).into(),
            "bookmarks" => self.bookmarks.keys().map(whole).collect(),
            "saveconfig" | "restoreconfig" | "plan" | "apply" if before.is_empty() => {
                self.files(typed)
            }
            "restoreconfig" => values("clear_existing", &["true"]),
            "clearconfig" => values("confirm", &["True"]),
            "explain" => ["initiator=", "target=", "portal="].map(part).into(),
            "attributes" => model::attributes::ObjectKind::ALL
                .map(|kind| whole(kind.as_str()))
                .into(),
            "tag" | "untag" => self
                .children(path, Spelling::Canonical)
                .into_iter()
                .map(whole)
                .collect(),
            "rollback" => {
                let history = self.plane.history().unwrap_or_default();
                history
                    .iter()
                    .map(|entry| whole(entry.generation.to_string()))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Paths that begin as typed, one level further, in the spelling that was begun.
    fn paths(&self, from: &str, typed: &str) -> Vec<Candidate> {
        if typed.starts_with('@') && !typed.contains('/') {
            return self
                .bookmarks
                .keys()
                .map(|name| part(format!("@{name}")))
                .collect();
        }
        let (head, _) = typed.rsplit_once('/').map_or(("", typed), |(head, last)| {
            (typed.get(..=head.len()).unwrap_or(head), last)
        });
        let container = if head.starts_with('@') {
            self.resolve(head)
        } else {
            resolve(from, head)
        };
        let spelling = spelling_of(head);
        let theirs = typed == "/"
            || Place::of(&container) == Place::Root
            || Place::of(&container) == Place::Backstores;
        let mut names = self.children(&container, spelling);
        if theirs && spelling == Spelling::Canonical {
            // Who begins with a name that only targetcli has means that.
            let more = self.children(&container, Spelling::Targetcli);
            let begun = typed.get(head.len()..).unwrap_or_default();
            names.extend(
                more.into_iter()
                    .filter(|name| !begun.is_empty() && spelling_of(name) == Spelling::Targetcli),
            );
        }
        let leaf = matches!(
            Place::of(&child(&container, "x")),
            Place::Portal | Place::Lun | Place::MappedLun | Place::Discovery | Place::AluaGroup
        );
        let candidate = |name: String| match leaf {
            true => whole(format!("{head}{name}")),
            false => part(format!("{head}{name}/")),
        };
        names.into_iter().map(candidate).collect()
    }

    /// The names of what stands at a path.
    fn children(&self, path: &str, spelling: Spelling) -> Vec<String> {
        let container = shown_container(path, spelling);
        let Ok(answer) = self.plane.tree(&container, 1) else {
            return Vec::new();
        };
        let name =
            |object: control_api::Object| shown_name(&container, last_name(&object.path), spelling);
        answer.object.children.into_iter().map(name).collect()
    }

    fn create(&self, path: &str, before: &[Word], typed: &str) -> Vec<Candidate> {
        let Some(parameters) = create_parameters(path) else {
            return if before.is_empty() {
                self.paths(path, typed)
            } else {
                Vec::new()
            };
        };
        if let Some((name, _)) = assignment(typed) {
            let offered = parameters.iter().find(|parameter| parameter.name == name);
            return match offered.map(|parameter| parameter.offers) {
                Some(Offers::YesNo) => values(name, &["true", "false"]),
                Some(_) => Vec::new(),
                None => self.attribute_values(name, made_kind(path)),
            };
        }
        let named: Vec<&str> = before
            .iter()
            .filter_map(|word| Some(assignment(&word.text)?.0))
            .collect();
        let positional = before.len() - named.len();
        let mut open = parameters
            .iter()
            .filter(|parameter| !named.contains(&parameter.name))
            .skip(positional);
        let mut offers = open
            .clone()
            .map(|parameter| part(format!("{}=", parameter.name)))
            .collect::<Vec<_>>();
        if let Some(next) = open.next() {
            offers.extend(self.offered(next.offers, path, typed));
        }
        offers
    }

    fn delete(&self, path: &str, before: &[Word], typed: &str) -> Vec<Candidate> {
        if !before.is_empty() {
            return Vec::new();
        }
        match delete_parameters(path) {
            Some(_) if !typed.starts_with('/') => self.offered(Offers::Children, path, typed),
            _ => self.paths(path, typed),
        }
    }

    fn offered(&self, offers: Offers, path: &str, typed: &str) -> Vec<Candidate> {
        match offers {
            Offers::Nothing => Vec::new(),
            Offers::YesNo => ["true", "false"].map(whole).into(),
            Offers::Files => self.files(typed),
            Offers::Backstores => {
                let mut offers = self.paths(path, typed);
                if typed.is_empty() {
                    offers = vec![part("/backstores/")];
                } else if typed.starts_with('/') {
                    offers.extend(self.files(typed));
                }
                // A backstore is whole where it stands in a LUN, not a way to what is below it.
                for offer in &mut offers {
                    let shorter = offer.text.trim_end_matches('/');
                    if Place::of(&resolve("/", shorter)) == Place::Backstore
                        && offer.text.starts_with('/')
                    {
                        *offer = whole(shorter);
                    }
                }
                offers
            }
            Offers::Luns => {
                let luns = self.children(&child(&prefix(path, 4), "luns"), Spelling::Canonical);
                let luns = luns.into_iter().map(whole);
                luns.chain(self.offered(Offers::Backstores, path, typed))
                    .collect()
            }
            Offers::Children => {
                let container = match Place::of(path) {
                    Place::Target => child(path, "tpgs"),
                    Place::Acl => child(path, "luns"),
                    _ => path.to_owned(),
                };
                self.children(&container, Spelling::Canonical)
                    .into_iter()
                    .map(whole)
                    .collect()
            }
        }
    }

    fn settings(&self, command: &str, path: &str, before: &[Word], typed: &str) -> Vec<Candidate> {
        let group = before.first().and_then(|word| {
            let mut here = groups(path).into_iter().filter(|_| command != "unset");
            here.find(|group| group.name() == word.text)
        });
        let names: Vec<(String, Option<AttributeInfo>)> = match group {
            Some(Group::Global) => Preferences::names()
                .map(|name| (name.to_owned(), None))
                .collect(),
            Some(group) => {
                let infos = self.infos(Place::of(&group.object(path)).kind());
                let names = lio_names(path, group, &infos).into_iter();
                names
                    .map(|(name, info)| (name, Some(info.clone())))
                    .collect()
            }
            None => {
                let infos = self.infos(Place::of(path).kind()).into_iter();
                infos.map(|info| (info.name.clone(), Some(info))).collect()
            }
        };
        let mut offers = Vec::new();
        if before.is_empty() && command != "unset" {
            offers.extend(groups(path).into_iter().map(|group| whole(group.name())));
        }
        if command != "set" {
            offers.extend(names.into_iter().map(|(name, _)| whole(name)));
        } else if let Some((name, _)) = assignment(typed) {
            let found = names.iter().find(|(known, _)| known == name);
            offers.extend(match found.and_then(|(_, info)| info.as_ref()) {
                Some(info) => legal(name, info),
                None if group == Some(Group::Global) => values(name, &["true", "false"]),
                None => Vec::new(),
            });
        } else {
            offers.extend(names.into_iter().map(|(name, _)| part(format!("{name}="))));
        }
        offers
    }

    fn attribute_values(&self, name: &str, kind: Option<&str>) -> Vec<Candidate> {
        let infos = self.infos(kind);
        let info = infos.iter().find(|info| info.name == name);
        info.map(|info| legal(name, info)).unwrap_or_default()
    }

    fn infos(&self, kind: Option<&str>) -> Vec<AttributeInfo> {
        let Some(kind) = kind else {
            return Vec::new();
        };
        self.plane.attributes(Some(kind)).unwrap_or_default()
    }

    fn files(&self, typed: &str) -> Vec<Candidate> {
        let head = typed
            .rfind('/')
            .and_then(|at| typed.get(..=at))
            .unwrap_or("");
        let Ok(entries) = std::fs::read_dir(self.folder.join(head)) else {
            return Vec::new();
        };
        let candidate = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let is_folder = entry.metadata().is_ok_and(|found| found.is_dir());
            Some(match is_folder {
                true => part(format!("{head}{name}/")),
                false => whole(format!("{head}{name}")),
            })
        };
        entries.flatten().filter_map(candidate).take(MOST).collect()
    }
}

/// The kind of what is made at a path.
fn made_kind(path: &str) -> Option<&'static str> {
    match Place::of(path) {
        Place::Target => Some("tpg"),
        Place::Acl => Some("mapped_lun"),
        _ => Place::of(&child(path, "1")).kind(),
    }
}

fn values(name: &str, values: &[&str]) -> Vec<Candidate> {
    values
        .iter()
        .map(|value| whole(format!("{name}={value}")))
        .collect()
}

fn legal(name: &str, info: &AttributeInfo) -> Vec<Candidate> {
    if info.value_type == "bool" {
        return values(name, &["true", "false"]);
    }
    let choices: Vec<&str> = info.choices.iter().map(String::as_str).collect();
    values(name, &choices)
}
