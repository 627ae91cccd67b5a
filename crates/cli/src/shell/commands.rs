//! The commands there are, where each works and what it takes: for the grammar, for completion and for `help`.

use anyhow::{Result, anyhow, bail};
use model::attributes::nearest;

use super::grammar::Line;
use super::path::{Place, segments};

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// What stands behind its name; of `create` and `delete`, where they differ from place to place, nothing.
    pub(crate) usage: &'static str,
    pub(crate) help: &'static str,
    pub(crate) works: Works,
}

/// Where a command works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Works {
    Everywhere,
    /// On what has attributes.
    OnObjects,
    On(&'static [Place]),
}

/// What stands behind a command, by position or as `name=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) needed: bool,
    pub(crate) offers: Offers,
}

/// What a parameter's values are, for completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offers {
    Nothing,
    YesNo,
    Files,
    /// Paths of backstores, or files.
    Backstores,
    /// LUNs of the portal group, or paths of backstores.
    Luns,
    /// Names of what stands at the place.
    Children,
}

const fn needed(name: &'static str, offers: Offers) -> Parameter {
    Parameter {
        name,
        needed: true,
        offers,
    }
}

const fn may(name: &'static str, offers: Offers) -> Parameter {
    Parameter {
        name,
        needed: false,
        offers,
    }
}

use Offers::{Backstores, Children, Files, Luns, Nothing, YesNo};

const FILE: &[Parameter] = &[
    needed("name", Nothing),
    needed("file_or_dev", Files),
    may("size", Nothing),
    may("write_back", YesNo),
    may("sparse", YesNo),
    may("wwn", Nothing),
];
const BLOCK: &[Parameter] = &[
    needed("name", Nothing),
    needed("dev", Files),
    may("readonly", YesNo),
    may("wwn", Nothing),
    may("exclusive", YesNo),
];
const RAM: &[Parameter] = &[
    needed("name", Nothing),
    needed("size", Nothing),
    may("nullio", YesNo),
    may("wwn", Nothing),
];
const ALUA_GROUP: &[Parameter] = &[needed("name", Nothing), needed("tag", Nothing)];
const TARGET: &[Parameter] = &[may("wwn", Nothing)];
const TPG: &[Parameter] = &[may("tag", Nothing)];
const PORTAL: &[Parameter] = &[may("ip_address", Nothing), may("ip_port", Nothing)];
const LUN: &[Parameter] = &[
    needed("storage_object", Backstores),
    may("lun", Nothing),
    may("add_mapped_luns", YesNo),
];
const ACL: &[Parameter] = &[needed("wwn", Nothing), may("add_mapped_luns", YesNo)];
const MAPPED_LUN: &[Parameter] = &[
    needed("mapped_lun", Nothing),
    needed("tpg_lun_or_backstore", Luns),
    may("write_protect", YesNo),
];

/// What `create` takes at a path, as targetcli has it. `None`: nothing is made there by name.
pub(crate) fn create_parameters(path: &str) -> Option<&'static [Parameter]> {
    Some(match Place::of(path) {
        Place::BackstoreType => match segments(path).nth(1) {
            Some("file") => FILE,
            Some("block") => BLOCK,
            Some("ram" | "null") => RAM,
            _ => return None,
        },
        Place::AluaGroups => ALUA_GROUP,
        Place::Targets => TARGET,
        Place::Target | Place::Tpgs => TPG,
        Place::Portals => PORTAL,
        Place::Luns => LUN,
        Place::Acls => ACL,
        Place::Acl | Place::MappedLuns => MAPPED_LUN,
        _ => return None,
    })
}

const BY_NAME: &[Parameter] = &[needed("name", Children)];
const BY_WWN: &[Parameter] = &[needed("wwn", Children)];
const BY_TAG: &[Parameter] = &[needed("tag", Children)];
const BY_ADDRESS: &[Parameter] = &[needed("ip_address", Children), may("ip_port", Nothing)];
const BY_LUN: &[Parameter] = &[needed("lun", Children)];
const BY_MAPPED_LUN: &[Parameter] = &[needed("mapped_lun", Children)];

/// What `delete` takes at a path, as targetcli has it. `None`: there it removes the object itself.
pub(crate) fn delete_parameters(path: &str) -> Option<&'static [Parameter]> {
    Some(match Place::of(path) {
        Place::BackstoreType | Place::AluaGroups => BY_NAME,
        Place::Targets | Place::Acls => BY_WWN,
        Place::Target | Place::Tpgs => BY_TAG,
        Place::Portals => BY_ADDRESS,
        Place::Luns => BY_LUN,
        Place::Acl | Place::MappedLuns => BY_MAPPED_LUN,
        _ => return None,
    })
}

/// What a line gives to each parameter, and what else it sets by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bound {
    given: Vec<(&'static str, String)>,
    pub(crate) others: Vec<(String, String)>,
}

impl Bound {
    /// Gives values to parameters in their order, but for those that are given by name.
    ///
    /// # Errors
    /// Too much, too little, or one twice; the error tells what belongs there.
    pub(crate) fn bind(
        command: &str,
        parameters: &'static [Parameter],
        line: &Line,
    ) -> Result<Self> {
        let wrong =
            |what: &str| anyhow!("{command}: {what}; write: {}", usage(command, parameters));
        let mut bound = Self::default();
        for (name, value) in &line.named {
            match parameters.iter().find(|parameter| parameter.name == name) {
                Some(parameter) if bound.value(parameter.name).is_none() => {
                    bound.given.push((parameter.name, value.clone()));
                }
                Some(_) => return Err(wrong(&format!("{name} is given twice"))),
                None => bound.others.push((name.clone(), value.clone())),
            }
        }
        let mut values = line.values.iter();
        for parameter in parameters {
            if bound.value(parameter.name).is_some() {
                continue;
            }
            match values.next() {
                Some(value) => bound.given.push((parameter.name, value.clone())),
                None if parameter.needed => {
                    return Err(wrong(&format!("{} is missing", parameter.name)));
                }
                None => {}
            }
        }
        match values.next() {
            None => Ok(bound),
            Some(more) => Err(wrong(&format!("{more} is too much"))),
        }
    }

    /// The value of a parameter, if it was given one that is not empty.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let found = self.given.iter().find(|(given, _)| *given == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The value of a parameter that is needed.
    ///
    /// # Errors
    /// It is empty.
    pub(crate) fn needed(&self, name: &str) -> Result<&str> {
        self.value(name)
            .ok_or_else(|| anyhow!("{name}: it is empty; give it a value"))
    }

    /// The value of a parameter that is yes or no.
    ///
    /// # Errors
    /// It is neither.
    pub(crate) fn yes_no(&self, name: &str) -> Result<Option<bool>> {
        self.value(name)
            .map(|value| yes_no(name, value))
            .transpose()
    }
}

/// Reads yes or no as people write it.
///
/// # Errors
/// It is neither.
pub(crate) fn yes_no(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "no" | "n" | "off" | "0" => Ok(false),
        _ => bail!("{name}: {value} is neither yes nor no; write true or false"),
    }
}

/// A command with its parameters, those in brackets not needed.
pub(crate) fn usage(command: &str, parameters: &[Parameter]) -> String {
    let mut text = command.to_owned();
    for parameter in parameters {
        match parameter.needed {
            true => text.push_str(&format!(" {}", parameter.name)),
            false => text.push_str(&format!(" [{}]", parameter.name)),
        }
    }
    text
}

/// The command of a name.
///
/// # Errors
/// There is none, or it does not work at this place.
pub(crate) fn find(name: &str, path: &str) -> Result<&'static Command> {
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        let known = COMMANDS.iter().map(|command| command.name);
        return Err(match nearest(name, known) {
            Some(near) => anyhow!("{name}: there is no such command; did you mean {near}?"),
            None => anyhow!("{name}: there is no such command; `help` lists them"),
        });
    };
    if command.works_at(path) {
        return Ok(command);
    }
    let places = match command.works {
        Works::On(places) => places.iter().map(|place| described(*place)).collect(),
        _ => vec!["an object"],
    };
    bail!(
        "{name}: not at {path}; it works on {}",
        places.join(" and ")
    )
}

/// Whether a word is a command, wherever.
pub(crate) fn is_command(word: &str) -> bool {
    COMMANDS.iter().any(|command| command.name == word)
}

impl Command {
    pub(crate) fn works_at(&self, path: &str) -> bool {
        let place = Place::of(path);
        match self.works {
            Works::Everywhere => true,
            Works::OnObjects => place.kind().is_some(),
            Works::On(places) => places.contains(&place),
        }
    }

    /// Its usage at a path.
    pub(crate) fn usage_at(&self, path: &str) -> String {
        let parameters = match self.name {
            "create" => create_parameters(path),
            "delete" => delete_parameters(path),
            _ => None,
        };
        match parameters {
            Some(parameters) if self.name == "create" => {
                format!("{} [ATTRIBUTE=VALUE ...]", usage(self.name, parameters))
            }
            Some(parameters) => usage(self.name, parameters),
            None if self.usage.is_empty() => self.name.to_owned(),
            None => format!("{} {}", self.name, self.usage),
        }
    }
}

fn described(place: Place) -> &'static str {
    match place {
        Place::Backstore => "a backstore",
        Place::Target => "a target",
        Place::Tpg => "a portal group",
        Place::Tpgs => "a target's portal groups",
        Place::Acls => "the acls of a portal group",
        Place::Targets => "/targets",
        _ => "other objects",
    }
}

const fn everywhere(name: &'static str, usage: &'static str, help: &'static str) -> Command {
    Command {
        name,
        usage,
        help,
        works: Works::Everywhere,
    }
}

const fn on(
    name: &'static str,
    usage: &'static str,
    places: &'static [Place],
    help: &'static str,
) -> Command {
    Command {
        name,
        usage,
        help,
        works: Works::On(places),
    }
}

/// In the order of `help`.
pub(crate) static COMMANDS: &[Command] = &[
    everywhere(
        "ls",
        "[PATH] [DEPTH]",
        "Shows what stands at a path and below it; without DEPTH, or with 0, all of it.",
    ),
    everywhere(
        "cd",
        "[PATH|<|>|..|@BOOKMARK]",
        "Goes to a path. < goes back to where you were, > forward again.",
    ),
    everywhere("pwd", "", "Tells the current path."),
    everywhere(
        "create",
        "PATH [ATTRIBUTE=VALUE ...]",
        "Makes an object. Where things are made by name it takes what targetcli's create takes there, and makes what that makes along with it; elsewhere it takes a path and makes that object alone.",
    ),
    everywhere(
        "delete",
        "[PATH]",
        "Removes an object with all that stands below it and refers to it. Where things are removed by name it takes the name.",
    ),
    everywhere(
        "set",
        "[GROUP] NAME=VALUE ...",
        "Sets attributes of the object: by our names (`set param.InitialR2T=No`), or by targetcli's groups `attribute`, `parameter`, `auth`, `alua` and, at /targets, `discovery_auth`. `set global` sets preferences of this shell. A secret is never kept in the history; NAME=- asks for it unseen.",
    ),
    everywhere(
        "get",
        "[GROUP] [NAME ...]",
        "Shows attributes of the object, by our names or by targetcli's groups.",
    ),
    Command {
        name: "unset",
        usage: "NAME ...",
        help: "Sets attributes back to their defaults.",
        works: Works::OnObjects,
    },
    everywhere("info", "", "Tells everything about the object."),
    on(
        "enable",
        "",
        &[Place::Target, Place::Tpgs, Place::Tpg],
        "Lets initiators in.",
    ),
    on(
        "disable",
        "",
        &[Place::Target, Place::Tpgs, Place::Tpg],
        "Keeps initiators out; who is logged in is asked to leave.",
    ),
    on(
        "resize",
        "SIZE",
        &[Place::Backstore],
        "Gives the backstore another size, such as 20GiB.",
    ),
    on(
        "tag",
        "WWN_OR_TAG NEW_TAG",
        &[Place::Acls],
        "Gives ACLs a common name, by which they are set and mapped together. ACLs that join a tag take over its LUNs and settings.",
    ),
    on(
        "untag",
        "WWN_OR_TAG",
        &[Place::Acls],
        "Takes the common name from ACLs; their settings stay.",
    ),
    everywhere(
        "sessions",
        "[list|detail|end] [ID]",
        "Lists who is logged in. `end` asks one session to log out, and drops it where it does not.",
    ),
    everywhere(
        "explain",
        "initiator=IQN target=IQN [portal=ADDRESS:PORT]",
        "Tells whether a login would work, rule by rule.",
    ),
    everywhere(
        "refused",
        "",
        "Lists the last logins that were refused, with the rule that refused each.",
    ),
    everywhere("status", "", "Tells how the daemon is."),
    everywhere(
        "saveconfig",
        "[FILE]",
        "Writes the tree, with its secrets, to a file in LIO's format. Without FILE there is nothing to do: every change is saved when it is made.",
    ),
    everywhere(
        "restoreconfig",
        "FILE [clear_existing=true]",
        "Makes the tree what a saveconfig.json or a desired-state file says, as one transaction. Where there are objects already, only with clear_existing=true.",
    ),
    everywhere(
        "clearconfig",
        "confirm=True",
        "Removes every target and backstore, and discovery authentication.",
    ),
    everywhere(
        "plan",
        "FILE",
        "Tells what `apply` would change, and which sessions it would touch.",
    ),
    everywhere(
        "apply",
        "FILE",
        "Makes the tree what a file says, as one transaction.",
    ),
    everywhere("history", "", "Lists the last generations of the tree."),
    everywhere(
        "rollback",
        "GENERATION [keep_sizes=true]",
        "Makes the tree what it was in an earlier generation. No disk ever shrinks: with keep_sizes=true those that have grown since stay as they are.",
    ),
    everywhere(
        "attributes",
        "[KIND]",
        "Lists what can be set, of one kind of object or of the current one's.",
    ),
    everywhere(
        "bookmarks",
        "add|del|go NAME, show",
        "Gives the current path a name, which stands for it as @NAME.",
    ),
    everywhere("refresh", "", "Nothing: what is shown is always what is."),
    everywhere("version", "", "Tells the daemon's version."),
    everywhere(
        "help",
        "[COMMAND|ATTRIBUTE]",
        "Tells what there is, or what a command or an attribute of the object does.",
    ),
    everywhere("exit", "", "Leaves the shell. Everything is saved already."),
    everywhere("quit", "", "As exit."),
];

#[cfg(test)]
mod tests {
    use super::super::grammar::parse;
    use super::*;

    fn bind(text: &str, path: &str) -> Result<Bound> {
        let line = parse(text, is_command).unwrap().unwrap();
        Bound::bind("create", create_parameters(path).unwrap(), &line)
    }

    #[test]
    fn bind_values_by_position_and_by_name_is_the_same() {
        let table = [
            "create disk0 /srv/a.img 1G false",
            "create name=disk0 file_or_dev=/srv/a.img size=1G write_back=false",
            "create size=1G disk0 /srv/a.img write_back=false",
        ];
        for text in table {
            let bound = bind(text, "/backstores/file").unwrap();
            assert_eq!(bound.value("name"), Some("disk0"), "{text}");
            assert_eq!(bound.value("file_or_dev"), Some("/srv/a.img"), "{text}");
            assert_eq!(bound.value("size"), Some("1G"), "{text}");
            assert_eq!(bound.yes_no("write_back").unwrap(), Some(false), "{text}");
            assert_eq!(bound.value("wwn"), None, "{text}");
        }
        let bound = bind("create a /x block_size=4096", "/backstores/file").unwrap();
        assert_eq!(bound.others, [("block_size".to_owned(), "4096".to_owned())]);
    }

    #[test]
    fn bind_too_much_or_too_little_tells_what_belongs_there() {
        let table = [
            ("create", "name is missing"),
            ("create a", "dev is missing"),
            ("create a /x no w yes more", "more is too much"),
            ("create a /x name=b name=c", "name is given twice"),
        ];
        for (text, what) in table {
            let error = bind(text, "/backstores/block").unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
            assert!(
                error.contains("create name dev [readonly] [wwn]"),
                "{error}"
            );
        }
    }

    #[test]
    fn find_unknown_or_misplaced_command_says_what_is_meant() {
        let table = [
            ("craete", "/", "did you mean create?"),
            ("xyzzy", "/", "`help` lists them"),
            ("resize", "/targets", "a backstore"),
            ("unset", "/targets", "an object"),
            ("tag", "/", "the acls"),
        ];
        for (name, path, what) in table {
            let error = find(name, path).unwrap_err().to_string();
            assert!(error.contains(what), "{name}: {error}");
        }
        assert!(find("resize", "/backstores/file/a").is_ok());
    }

    #[test]
    fn commands_have_names_of_their_own_and_help() {
        let mut names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COMMANDS.len());
        assert!(COMMANDS.iter().all(|command| command.help.ends_with('.')));
    }
}
