//! Commands that change objects one by one.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Result, bail};
use control_api::{AttributeMap, Change, Transaction};
use serde_json::Value;

use super::looks::group_names;
use super::{Done, Shell};
use crate::client::refused::Refused;
use crate::client::show::effects_text;
use crate::client::{is_secret, literal_secret, secret_of_file, verbs};
use crate::shell::commands::{Bound, create_parameters, delete_parameters};
use crate::shell::grammar::Line;
use crate::shell::path::{Place, parent, resolve};
use crate::shell::state::Preferences;
use crate::shell::translate::{
    FileFact, Group, Setting, Snapshot, Wish, create, deleted, groups, needs, set, tag, untag,
};

/// How often a change is tried again that another one has overtaken.
const MOST_TRIES: usize = 8;

impl Shell {
    pub(super) fn change(&mut self, command: &str, path: &str, line: &Line) -> Result<Done> {
        let line = self.with_secrets(line)?;
        match command {
            "create" => self.create(path, &line),
            "delete" => self.delete(path, &line),
            "set" => self.set(path, &line),
            "unset" => self.unset(path, &line),
            "resize" => match line.values.as_slice() {
                [size] => self.commit(vec![verbs::resize(path, size)?]),
                _ => bail!("resize: write the new size, such as 20GiB"),
            },
            "tag" | "untag" => self.tag(command, path, &line),
            _ => {
                let changes = verbs::switch(&*self.plane, path, command == "enable")?;
                self.commit(changes)
            }
        }
    }

    /// The line with the secrets that it names in place of where they stand.
    fn with_secrets(&self, line: &Line) -> Result<Line> {
        let mut line = line.clone();
        for (name, value) in &mut line.named {
            let plain = name.strip_suffix("_file").filter(|name| names_secret(name));
            if let Some(plain) = plain {
                *value = secret_of_file(&self.surroundings.folder.join(&*value))?;
                *name = plain.to_owned();
            } else if names_secret(name) && value == "-" {
                *value = (self.surroundings.read_secret)(name)?;
            } else if names_secret(name) && self.surroundings.public && !value.is_empty() {
                bail!("{}", literal_secret(name));
            }
        }
        Ok(line)
    }

    fn create(&mut self, path: &str, line: &Line) -> Result<Done> {
        let Some(parameters) = create_parameters(path) else {
            return self.create_at(path, line);
        };
        let bound = Bound::bind("create", parameters, line)?;
        let paths = self.expand_tag(path)?;
        let done = self.wish(&needs("create", path), |shell, tree| {
            let probe = &probe;
            let setting = Setting {
                folder: &shell.surroundings.folder,
                probe,
                new_target: &*shell.surroundings.new_target,
                preferences: &shell.state.preferences,
            };
            let mut wish = Wish::default();
            for path in &paths {
                wish = wish.and(create(path, &bound, tree, &setting)?);
            }
            Ok(wish)
        })?;
        Ok(done)
    }

    /// Our own form: the whole path, and attributes. It makes that object and nothing else.
    fn create_at(&mut self, path: &str, line: &Line) -> Result<Done> {
        let [typed] = line.values.as_slice() else {
            bail!(
                "create: nothing is made by name at {path}; write create PATH [ATTRIBUTE=VALUE ...]"
            );
        };
        let made = resolve(path, &self.state.expand(typed)?);
        let change = verbs::create(made, text_map(&line.named), &self.surroundings.folder);
        self.commit(vec![change])
    }

    fn delete(&mut self, path: &str, line: &Line) -> Result<Done> {
        let target = match (line.values.as_slice(), delete_parameters(path)) {
            ([typed], _) if typed.starts_with(['/', '@']) => {
                resolve("/", &self.state.expand(typed)?)
            }
            (_, Some(parameters)) => deleted(path, &Bound::bind("delete", parameters, line)?)?,
            ([], None) if Place::of(path).kind().is_some() => path.to_owned(),
            ([typed], None) => resolve(path, &self.state.expand(typed)?),
            _ => bail!("delete: nothing is removed at {path}; write delete PATH"),
        };
        let delete = |path: String| Change::Delete {
            path,
            cascade: true,
        };
        let changes = self.expand_tag(&target)?.into_iter().map(delete).collect();
        let done = self.commit(changes)?;
        if is_within(&self.current, &target) {
            self.leave(&target);
        }
        Ok(done)
    }

    /// Goes to what is still there above something that is gone.
    fn leave(&mut self, gone: &str) {
        let mut path = parent(gone);
        while path != "/" && self.stand_at(&path).is_err() {
            path = parent(&path);
        }
        self.went(path);
    }

    fn set(&mut self, path: &str, line: &Line) -> Result<Done> {
        let group = match line.values.as_slice() {
            [] => None,
            [name] => match groups(path).into_iter().find(|group| group.name() == name) {
                Some(group) => Some(group),
                None => bail!(
                    "set: there is no group {name} at {path}; {}",
                    group_names(path).trim_end()
                ),
            },
            _ => bail!("set: write [GROUP] NAME=VALUE ..., and quote a value with blanks"),
        };
        match (group, line.named.as_slice()) {
            (None, []) => Ok(group_names(path).into()),
            (Some(Group::Global), []) => Ok(Preferences::help().into()),
            (Some(Group::Global), named) => {
                let mut preferences = self.state.preferences.clone();
                for (name, value) in named {
                    preferences.set(name, value)?;
                }
                self.state.preferences = preferences;
                self.state.save().map(|()| Done::default())
            }
            (Some(group), []) => Ok(self.group_help(path, group)?.into()),
            (group, named) => {
                if Place::of(path).kind().is_none() && group.is_none() {
                    bail!(
                        "set: {path} has no attributes; {}",
                        group_names(path).trim_end()
                    );
                }
                let mut changes = Vec::new();
                for path in self.expand_tag(path)? {
                    match group {
                        Some(group) => changes.extend(set(&path, group, named)?),
                        None => changes.push(Change::Set {
                            path,
                            attributes: text_map(named),
                        }),
                    }
                }
                self.commit(changes)
            }
        }
    }

    /// What `set GROUP` without more tells.
    fn group_help(&self, path: &str, group: Group) -> Result<String> {
        use crate::client::reports::{help_line, legal_values};
        let Some(path) = self.expand_tag(path)?.into_iter().next() else {
            return Ok(String::new());
        };
        let infos = self.infos(&self.object(&group.object(&path), 0)?)?;
        let names = crate::shell::translate::lio_names(&path, group, &infos);
        let line = |(name, info): &(String, &control_api::AttributeInfo)| {
            format!("{name}={}  {}\n", legal_values(info), help_line(info))
        };
        Ok(names.iter().map(line).collect())
    }

    fn unset(&mut self, path: &str, line: &Line) -> Result<Done> {
        if line.values.is_empty() || !line.named.is_empty() {
            bail!("unset: write the names of attributes, without values");
        }
        let null = |name: &String| (name.clone(), Value::Null);
        let attributes: AttributeMap = line.values.iter().map(null).collect();
        let set = |path: String| Change::Set {
            path,
            attributes: attributes.clone(),
        };
        let changes = self.expand_tag(path)?.into_iter().map(set).collect();
        self.commit(changes)
    }

    fn tag(&mut self, command: &str, path: &str, line: &Line) -> Result<Done> {
        let done = match (command, line.values.as_slice()) {
            ("tag", [name, new_tag]) => self.wish(&needs(command, path), |_, tree| {
                tag(path, name, new_tag, tree)
            }),
            ("untag", [name]) => {
                self.wish(&needs(command, path), |_, tree| untag(path, name, tree))
            }
            ("tag", _) => bail!("tag: write tag WWN_OR_TAG NEW_TAG"),
            _ => bail!("untag: write untag WWN_OR_TAG"),
        }?;
        Ok(done)
    }

    /// Makes what a command asks for on the tree as it is; again where another change came between.
    pub(super) fn wish(
        &mut self,
        needs: &[(String, u32)],
        translate: impl Fn(&Self, &Snapshot) -> Result<Wish>,
    ) -> Result<Done> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (tree, if_generation) = self.read(needs)?;
            let wish = translate(self, &tree)?;
            let transaction = Transaction {
                changes: wish.changes,
                if_generation,
            };
            match self.plane.transact(&transaction, false) {
                Err(error) if tries < MOST_TRIES && is_overtaken(&error) => {}
                Err(error) => return Err(Refused::from(error).into()),
                Ok(outcome) => {
                    if let Some(made) = wish
                        .made
                        .filter(|_| self.state.preferences.is("auto_cd_after_create"))
                    {
                        self.went(made);
                    }
                    let (text, mut notes) = effects_text(&outcome);
                    notes.splice(0..0, wish.notes);
                    return Ok(Done {
                        text,
                        notes,
                        exit: false,
                    });
                }
            }
        }
    }

    /// Reads what a translation needs, all of one generation if there is anything.
    pub(super) fn read(&self, needs: &[(String, u32)]) -> Result<(Snapshot, Option<u64>)> {
        let mut tree = Snapshot::default();
        let mut generation: Option<u64> = None;
        for (path, depth) in needs {
            let answer = self.plane.tree(path, *depth).map_err(Refused::from)?;
            // Of two generations the older one is refused, and both are read again.
            let older = generation.map_or(answer.generation, |other| other.min(answer.generation));
            generation = Some(older);
            tree.objects.push(answer.object);
        }
        Ok((tree, generation))
    }

    pub(super) fn commit(&mut self, changes: Vec<Change>) -> Result<Done> {
        let transaction = verbs::transaction(changes);
        let outcome = self
            .plane
            .transact(&transaction, false)
            .map_err(Refused::from)?;
        let (text, notes) = effects_text(&outcome);
        Ok(Done {
            text,
            notes,
            exit: false,
        })
    }
}

/// Whether another change came between reading and writing.
fn is_overtaken(error: &control_api::ClientError) -> bool {
    error
        .problem()
        .is_some_and(|problem| problem.is("stale_generation"))
}

/// Of ours (`chap.secret`) or of targetcli's (`password`).
fn names_secret(name: &str) -> bool {
    is_secret(name) || matches!(name, "password" | "mutual_password")
}

fn is_within(path: &str, top: &str) -> bool {
    path.strip_prefix(top)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn text_map(named: &[(String, String)]) -> AttributeMap {
    let entry = |(name, value): &(String, String)| (name.clone(), Value::from(value.as_str()));
    named.iter().map(entry).collect()
}

/// What a file is, as this side sees it.
fn probe(file: &Path) -> FileFact {
    match std::fs::metadata(file) {
        Ok(found) if found.is_file() => FileFact::Regular,
        Ok(found) if found.file_type().is_block_device() => FileFact::BlockDevice,
        Ok(_) => FileFact::Other,
        Err(_) => FileFact::Absent,
    }
}
