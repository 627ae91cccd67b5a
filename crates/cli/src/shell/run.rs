//! Runs lines: finds what they are about, asks the daemon, and says what came of it.

mod changes;
mod looks;
mod whole;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Result, anyhow, bail};
use control_api::Object;

use super::commands::{self, find};
use super::grammar::{Line, parse, parse_words};
use super::path::{Place, child, last_name, parent, prefix, resolve, segments};
use super::state::State;
use super::translate::{Snapshot, tagged};
use crate::client::plane::Plane;
use crate::client::refused::Refused;

/// A shell between two lines.
pub(crate) struct Shell {
    pub(crate) plane: Rc<dyn Plane>,
    pub(crate) state: State,
    /// Canonical.
    pub(crate) current: String,
    /// Where `cd` has been, and at which of these it is.
    trail: Vec<String>,
    at: usize,
    surroundings: Surroundings,
}

/// Asks for a secret, by what it is for.
pub(crate) type ReadSecret = Box<dyn Fn(&str) -> Result<String>>;

/// What a shell needs of its surroundings.
pub(crate) struct Surroundings {
    /// What relative file names are relative to.
    pub(crate) folder: PathBuf,
    /// Makes a name for a target that is given none.
    pub(crate) new_target: Box<dyn Fn() -> String>,
    /// Asks for the secret of an attribute.
    pub(crate) read_secret: ReadSecret,
    /// Lines come from where every user can read them: no secret may stand in one.
    pub(crate) public: bool,
}

/// What a line came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// For standard output.
    pub(crate) text: String,
    /// For standard error.
    pub(crate) notes: Vec<String>,
    /// The shell ends.
    pub(crate) exit: bool,
}

impl From<String> for Done {
    fn from(text: String) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }
}

impl Shell {
    pub(crate) fn new(plane: Rc<dyn Plane>, state: State, surroundings: Surroundings) -> Self {
        Self {
            plane,
            state,
            current: "/".to_owned(),
            trail: vec!["/".to_owned()],
            at: 0,
            surroundings,
        }
    }

    /// What relative file names are relative to.
    pub(crate) fn folder(&self) -> &Path {
        &self.surroundings.folder
    }

    /// Runs a line as it was typed.
    ///
    /// # Errors
    /// It cannot be understood or done.
    pub(crate) fn run(&mut self, line: &str) -> Result<Done> {
        match parse(line, commands::is_command)? {
            Some(line) => self.execute(line),
            None => Ok(Done::default()),
        }
    }

    /// Runs a line that comes as words.
    ///
    /// # Errors
    /// As [`Shell::run`].
    pub(crate) fn run_words(&mut self, words: &[String]) -> Result<Done> {
        // One word that is a whole line, as scripts quote it, is one.
        match words {
            [line] if line.contains(char::is_whitespace) => self.run(line),
            words => match parse_words(words, commands::is_command) {
                Some(line) => self.execute(line),
                None => Ok(Done::default()),
            },
        }
    }

    fn execute(&mut self, mut line: Line) -> Result<Done> {
        let path = match &line.path {
            Some(typed) => self.resolve(typed)?,
            None => self.current.clone(),
        };
        let Some(name) = line.command.take() else {
            return self.go(path);
        };
        let command = find(&name, &path)?;
        match command.name {
            "cd" => self.cd(&path, &line),
            "exit" | "quit" => Ok(Done {
                exit: true,
                ..Done::default()
            }),
            "bookmarks" => self.bookmarks(&path, &line),
            "create" | "delete" | "set" | "unset" | "enable" | "disable" | "resize" | "tag"
            | "untag" => self.change(command.name, &path, &line),
            "saveconfig" | "restoreconfig" | "clearconfig" | "plan" | "apply" | "rollback" => {
                self.whole(command.name, &line)
            }
            _ => self.look(command, &path, &line),
        }
    }

    /// A typed path, canonical.
    fn resolve(&self, typed: &str) -> Result<String> {
        let expanded = self.state.expand(typed)?;
        Ok(resolve(&self.current, &expanded))
    }

    fn cd(&mut self, path: &str, line: &Line) -> Result<Done> {
        let [typed] = line.values.as_slice() else {
            return match line.values.as_slice() {
                [] if line.path.is_some() => self.go(path.to_owned()),
                [] => self.go("/".to_owned()),
                _ => bail!("cd: one path at a time; quote a path with blanks"),
            };
        };
        let step = match typed.as_str() {
            "<" => self.at.checked_sub(1),
            ">" => Some(self.at + 1),
            _ => {
                let expanded = self.state.expand(typed)?;
                return self.go(resolve(path, &expanded));
            }
        };
        let (at, there) = step
            .and_then(|at| Some((at, self.trail.get(at)?.clone())))
            .ok_or_else(|| anyhow!("cd {typed}: you have not been further; write a path"))?;
        self.stand_at(&there)?;
        self.at = at;
        self.current = there;
        Ok(Done::default())
    }

    /// Goes to a canonical path.
    fn go(&mut self, path: String) -> Result<Done> {
        self.stand_at(&path)?;
        self.went(path);
        Ok(Done::default())
    }

    /// Notes where the shell stands now.
    fn went(&mut self, path: String) {
        if path == self.current {
            return;
        }
        self.trail.truncate(self.at + 1);
        self.trail.push(path.clone());
        if self.trail.len() > MOST_STEPS {
            self.trail.remove(0);
        }
        self.at = self.trail.len() - 1;
        self.current = path;
    }

    /// Whether somebody can stand there.
    fn stand_at(&self, path: &str) -> Result<()> {
        self.object(path, 0).map(drop)
    }

    /// What stands at a path.
    fn object(&self, path: &str, depth: u32) -> Result<Object> {
        let answer = self.plane.tree(path, depth).map_err(Refused::from)?;
        Ok(answer.object)
    }

    fn bookmarks(&mut self, path: &str, line: &Line) -> Result<Done> {
        let words: Vec<&str> = line.values.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["show"] | [] => {
                let bookmarks = self.state.bookmarks.iter();
                Ok(bookmarks
                    .map(|(name, path)| format!("@{name}  {path}\n"))
                    .collect::<String>()
                    .into())
            }
            ["add", name] => {
                let legal = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
                if name.is_empty() || !name.chars().all(legal) {
                    bail!("{name}: no name for a bookmark; use letters, digits, _ and -");
                }
                self.state
                    .bookmarks
                    .insert((*name).to_owned(), path.to_owned());
                self.state.save()?;
                Ok(Done::default())
            }
            ["del", name] => {
                self.state.expand(&format!("@{name}"))?;
                self.state.bookmarks.remove(*name);
                self.state.save()?;
                Ok(Done::default())
            }
            ["go", name] => {
                let path = self.state.expand(&format!("@{name}"))?;
                self.go(resolve("/", &path))
            }
            _ => bail!("bookmarks: write add NAME, del NAME, go NAME or show"),
        }
    }

    /// The objects that a path names: itself, or where it goes through a tag of ACLs, one for each of them.
    fn expand_tag(&self, path: &str) -> Result<Vec<String>> {
        let below_acls = matches!(
            Place::of(path),
            Place::Acl | Place::MappedLuns | Place::MappedLun
        );
        let acl = prefix(path, ACL_DEPTH);
        // An initiator's name has a dot, a tag has none.
        if !below_acls || last_name(&acl).contains('.') {
            return Ok(vec![path.to_owned()]);
        }
        let acls = parent(&acl);
        let tree = Snapshot {
            objects: vec![self.object(&acls, 1)?],
        };
        let members = tagged(&tree, &acls, last_name(&acl));
        if members.is_empty() {
            bail!(
                "{}: no ACL has this tag; `ls {acls}` lists them",
                last_name(&acl)
            );
        }
        let below: Vec<&str> = segments(path).skip(ACL_DEPTH).collect();
        let path_of = |member: &&Object| {
            let add = |path: String, name: &&str| child(&path, name);
            below.iter().fold(member.path.clone(), add)
        };
        Ok(members.iter().map(path_of).collect())
    }
}

/// The names in the path of an ACL.
const ACL_DEPTH: usize = 6;

/// How many steps `cd <` goes back.
const MOST_STEPS: usize = 100;
