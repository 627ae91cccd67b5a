//! What the shell keeps between its runs: preferences, bookmarks and where the history of lines stands. Files of its user alone.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use model::attributes::nearest;
use serde_json::{Map, Value};

use super::commands::yes_no;
use super::grammar::{Word, assignment, split};

/// targetcli's preferences, as far as they mean something here, and our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Preferences {
    values: BTreeMap<String, String>,
}

/// Name, default, meaning. What targetcli has besides is taken and does nothing.
const PREFERENCES: &[(&str, &str, &str)] = &[
    (
        "auto_add_default_portal",
        "true",
        "a new target gets a portal on all IPv4 addresses",
    ),
    (
        "auto_add_mapped_luns",
        "true",
        "a new LUN is mapped for every ACL, and every LUN for a new ACL",
    ),
    ("auto_cd_after_create", "false", "go to what was made"),
    ("auto_enable_tpgt", "true", "a new portal group is enabled"),
    ("color_mode", "true", "colours, where the terminal has them"),
    (
        "defaults",
        "lio",
        "whose defaults new backstores and portal groups take: lio or quintain",
    ),
    (
        "export_backstore_name_as_model",
        "true",
        "initiators see the backstore's name as the product",
    ),
    ("tree_max_depth", "0", "how many levels `ls` shows; 0: all"),
];

const IGNORED: &[&str] = &[
    "auto_save_on_exit",
    "auto_use_daemon",
    "color_command",
    "color_default",
    "color_keyword",
    "color_parameter",
    "color_path",
    "completions_in_columns",
    "daemon_use_batch_mode",
    "logfile",
    "loglevel_console",
    "loglevel_file",
    "max_backup_files",
    "prompt_length",
    "tree_round_nodes",
    "tree_show_root",
    "tree_status_mode",
];

impl Default for Preferences {
    fn default() -> Self {
        let default =
            |(name, value, _): &(&str, &str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            values: PREFERENCES.iter().map(default).collect(),
        }
    }
}

impl Preferences {
    /// Whether a preference is on.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| value == "true")
    }

    /// New objects take LIO's defaults.
    pub(crate) fn lio_defaults(&self) -> bool {
        self.values
            .get("defaults")
            .is_none_or(|value| value == "lio")
    }

    /// How many levels `ls` shows where nobody says.
    pub(crate) fn depth(&self) -> u32 {
        self.values
            .get("tree_max_depth")
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }

    /// Sets one.
    ///
    /// # Errors
    /// There is no such preference, or no such value of it.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let value = match name {
            "defaults" if matches!(value, "lio" | "quintain") => value.to_owned(),
            "defaults" => bail!("{name}: {value} is none; write lio or quintain"),
            "tree_max_depth" => value
                .parse::<u32>()
                .map_err(|_| anyhow!("{name}: {value} is no number of levels; write 0 for all"))?
                .to_string(),
            _ if self.values.contains_key(name) => yes_no(name, value)?.to_string(),
            _ if IGNORED.contains(&name) => return Ok(()),
            _ => return Err(unknown(name)),
        };
        self.values.insert(name.to_owned(), value);
        Ok(())
    }

    /// A line for each of these, or for all.
    ///
    /// # Errors
    /// There is no such preference.
    pub(crate) fn show(&self, names: &[String]) -> Result<String> {
        if let Some(name) = names.iter().find(|name| !self.values.contains_key(*name)) {
            return Err(unknown(name));
        }
        let asked = |name: &str| names.is_empty() || names.iter().any(|one| one == name);
        let lines = self.values.iter().filter(|(name, _)| asked(name));
        Ok(lines
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect())
    }

    /// Their names, for completion.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        PREFERENCES.iter().map(|(name, _, _)| *name)
    }

    /// What each means.
    pub(crate) fn help() -> String {
        let line = |(name, value, help): &(&str, &str, &str)| format!("{name}={value}  {help}\n");
        PREFERENCES.iter().map(line).collect()
    }
}

fn unknown(name: &str) -> anyhow::Error {
    match nearest(name, Preferences::names()) {
        Some(near) => anyhow!("{name}: there is no such preference; did you mean {near}?"),
        None => anyhow!("{name}: there is no such preference; `set global` lists them"),
    }
}

/// Preferences and bookmarks, and the folder they are kept in, if any.
#[derive(Debug, Default)]
pub(crate) struct State {
    folder: Option<PathBuf>,
    pub(crate) preferences: Preferences,
    /// Canonical paths by name.
    pub(crate) bookmarks: BTreeMap<String, String>,
}

const SETTINGS: &str = "settings.json";
const HISTORY: &str = "history";

impl State {
    /// Where this user's state is kept (the XDG base directory specification). `None`: there is no home.
    pub(crate) fn default_folder() -> Option<PathBuf> {
        let of = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let state = of("XDG_STATE_HOME").or_else(|| Some(of("HOME")?.join(".local/state")))?;
        Some(state.join("quintain/shell"))
    }

    /// What is kept in a folder. Nothing there: the defaults.
    ///
    /// # Errors
    /// What is there cannot be read.
    pub(crate) fn load(folder: Option<PathBuf>) -> Result<Self> {
        let mut state = Self {
            folder,
            ..Self::default()
        };
        let Some(file) = state.folder.as_ref().map(|folder| folder.join(SETTINGS)) else {
            return Ok(state);
        };
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(state),
            Err(error) => {
                return Err(error).with_context(|| format!("{}: cannot be read", file.display()));
            }
        };
        let broken = || anyhow!("{}: cannot be understood; remove it", file.display());
        let kept: Value = serde_json::from_slice(&text).map_err(|_| broken())?;
        for (name, value) in entries(&kept, "preferences") {
            // One that this version does not have any more is dropped.
            let _gone = state.preferences.set(name, value);
        }
        let bookmarks = entries(&kept, "bookmarks");
        state.bookmarks = bookmarks
            .map(|(name, path)| (name.to_owned(), path.to_owned()))
            .collect();
        Ok(state)
    }

    /// Keeps them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self) -> Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let text = |map: &BTreeMap<String, String>| -> Value {
            let entry =
                |(name, value): (&String, &String)| (name.clone(), Value::from(value.as_str()));
            Value::Object(map.iter().map(entry).collect::<Map<_, _>>())
        };
        let kept = serde_json::json!({
            "preferences": text(&self.preferences.values),
            "bookmarks": text(&self.bookmarks),
        });
        let file = folder.join(SETTINGS);
        let written = make_folder(folder)
            .and_then(|()| write_private(&file, format!("{kept:#}\n").as_bytes()));
        written.with_context(|| format!("{}: cannot be written", file.display()))
    }

    /// The file of the history of lines, there and private. `None`: none is kept.
    pub(crate) fn history_file(&self) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        let file = folder.join(HISTORY);
        // Without a history the shell works too.
        make_folder(folder).ok()?;
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(PRIVATE_FILE);
        let opened = options.open(&file).ok()?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(PRIVATE_FILE);
        opened.set_permissions(private).ok()?;
        Some(file)
    }

    /// The path behind `@NAME` at a path's beginning.
    ///
    /// # Errors
    /// There is no such bookmark.
    pub(crate) fn expand(&self, typed: &str) -> Result<String> {
        let Some(rest) = typed.strip_prefix('@') else {
            return Ok(typed.to_owned());
        };
        let (name, below) = rest.split_once('/').unwrap_or((rest, ""));
        match self.bookmarks.get(name) {
            Some(path) => Ok(format!("{path}/{below}")),
            None => bail!("@{name}: there is no such bookmark; `bookmarks show` lists them"),
        }
    }
}

fn entries<'a>(kept: &'a Value, what: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let map = kept.get(what).and_then(Value::as_object);
    let entries = map.into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}

const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

fn make_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_FOLDER)
        .create(folder)
}

/// Writes a file that its user alone can read: whole, or not at all.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_private(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = file.with_file_name(name);
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(PRIVATE_FILE);
    // What a run that was killed left under this name is nobody's.
    if let Err(error) = std::fs::remove_file(&fresh)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut opened = options.open(&fresh)?;
    let written = opened
        .write_all(bytes)
        .and_then(|()| opened.sync_all())
        .and_then(|()| std::fs::rename(&fresh, file));
    if written.is_err() {
        // The error that counts is the first.
        let _left = std::fs::remove_file(&fresh);
    }
    written
}

/// Whether a line may be kept in the history: a secret in it may not. A line that cannot be read is judged by its words.
pub(crate) fn may_be_kept(line: &str) -> bool {
    let words = split(line);
    // Where secrets are set, a misspelled name may well stand before one.
    let of_auth = |words: &[Word]| {
        words
            .iter()
            .any(|word| matches!(word.text.as_str(), "auth" | "discovery_auth"))
    };
    let in_auth = words.as_deref().is_ok_and(of_auth);
    let holds_secret = |word: &str| {
        assignment(word).is_some_and(|(name, value)| {
            let name = name.to_ascii_lowercase();
            let harmless = ["userid", "mutual_userid", "enable"].contains(&name.as_str())
                || name.ends_with("chap.user")
                || name.ends_with("_file");
            let secret = name.contains("password") || name.contains("secret");
            let beside = in_auth || name.contains("chap.");
            (secret || beside) && !harmless && !matches!(value, "" | "-")
        })
    };
    match words {
        Ok(words) => !words.iter().any(|word| holds_secret(&word.text)),
        Err(_) => {
            let line = line.to_ascii_lowercase();
            !line.contains("password") && !line.contains("secret")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn state_saved_is_loaded_again_by_its_user_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let mut state = State::load(Some(folder.clone())).unwrap();
        assert!(state.preferences.is("auto_add_mapped_luns"));
        state.preferences.set("auto_add_mapped_luns", "no").unwrap();
        state.preferences.set("defaults", "quintain").unwrap();
        state.preferences.set("loglevel_console", "debug").unwrap();
        state
            .bookmarks
            .insert("home".to_owned(), "/targets/t".to_owned());
        state.save().unwrap();
        let history = state.history_file().unwrap();

        let again = State::load(Some(folder.clone())).unwrap();
        assert_eq!(again.preferences, state.preferences);
        assert!(!again.preferences.is("auto_add_mapped_luns"));
        assert!(!again.preferences.lio_defaults());
        assert_eq!(again.expand("@home/tpgs/1").unwrap(), "/targets/t/tpgs/1");
        assert!(
            again
                .expand("@away")
                .unwrap_err()
                .to_string()
                .contains("bookmarks show")
        );
        for (path, mode) in [
            (folder.join(SETTINGS), PRIVATE_FILE),
            (history, PRIVATE_FILE),
            (folder, PRIVATE_FOLDER),
        ] {
            let found = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{}", path.display());
        }
    }

    #[test]
    fn state_that_cannot_be_understood_is_refused_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(SETTINGS), "not json").unwrap();
        let error = State::load(Some(root.path().to_owned())).unwrap_err();
        assert!(error.to_string().contains(SETTINGS), "{error}");
    }

    #[test]
    fn preferences_take_targetclis_names_and_no_others() {
        let mut preferences = Preferences::default();
        let table = [
            (
                "auto_add_maped_luns",
                "true",
                "did you mean auto_add_mapped_luns?",
            ),
            ("xyzzy", "true", "`set global` lists them"),
            ("auto_enable_tpgt", "perhaps", "true or false"),
            ("defaults", "windows", "lio or quintain"),
            ("tree_max_depth", "-1", "0 for all"),
        ];
        for (name, value, what) in table {
            let error = preferences.set(name, value).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        assert_eq!(preferences, Preferences::default());
        let names = ["defaults".to_owned()];
        assert_eq!(preferences.show(&names).unwrap(), "defaults=lio\n");
    }

    #[test]
    fn may_be_kept_of_lines_with_secrets_is_no() {
        for line in [
            "set auth userid=a password=hunter2",
            "/iscsi/x/tpg1 set auth mutual_password='a b'",
            "set chap.secret=hunter2",
            "set CHAP.SECRET=hunter2",
            "set auth userid=a passwrod=hunter2",
            "/iscsi set discovery_auth pasword=hunter2",
            "set mutual_chap.secert=hunter2",
            "set auth password='open",
        ] {
            assert!(!may_be_kept(line), "{line}");
        }
        for line in [
            "set auth userid=a password=-",
            "set auth password=",
            "set auth userid=a mutual_userid=b",
            "set discovery_auth enable=1",
            "set mutual_chap.user=u",
            "set chap.secret_file=/etc/a",
            "ls /",
            "create disk0 'open",
        ] {
            assert!(may_be_kept(line), "{line}");
        }
    }

    #[test]
    fn write_private_over_a_file_is_whole_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a");
        std::fs::write(&file, "old").unwrap();
        write_private(&file, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert!(write_private(&root.path().join("none/a"), b"new").is_err());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
