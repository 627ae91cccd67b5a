//! A desired-state file, or LIO's saveconfig.json, with the secrets that it names.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use auth::Secret;
use model::desired::parse;
use model::{ConfigCode, Desired, FileError};

use crate::log::one_line;
use crate::serve::secret::SecretFile;

/// The largest file that is read: a hundred thousand objects have room in it.
const MOST_BYTES: u64 = 256 << 20;

/// Permissions of a secret's file that only its owner may have.
const OTHERS: u32 = 0o077;

/// A file that is there, and what it says or what is wrong with it.
pub(crate) struct Wanted {
    pub(crate) file: PathBuf,
    pub(crate) text: String,
    pub(crate) parsed: Result<Desired, Vec<FileError>>,
}

impl Wanted {
    /// Reads the file and the secrets that it names.
    ///
    /// # Errors
    /// It cannot be read, or is no text. What is wrong in it is in [`Self::parsed`].
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let shown = file.display();
        let text = match read_text(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!(
                    "{shown}: there is no such file; name a desired-state file or a saveconfig.json"
                )
            }
            Err(error) => bail!("{shown}: it cannot be read: {error}; name a file of text"),
        };
        let base = std::path::absolute(file)?;
        let base = base.parent().unwrap_or_else(|| Path::new("/"));
        let parsed = parse(&text, base).and_then(with_secrets);
        Ok(Self {
            file: file.to_owned(),
            text,
            parsed,
        })
    }

    /// Tells every mistake to standard error, each on a line that begins with file and line.
    pub(crate) fn tell(&self, mistakes: &[FileError]) {
        let mut stderr = io::stderr().lock();
        for mistake in mistakes {
            let place = match mistake.line {
                Some(line) => format!("{}:{line}", self.file.display()),
                None => self.file.display().to_string(),
            };
            let line = format!("{}\n", one_line(&format!("{place}: {mistake}")));
            // Standard error is the last place that could hear of an error.
            let _unheard = stderr.write_all(line.as_bytes());
        }
    }
}

fn read_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(MOST_BYTES + 1)
        .read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MOST_BYTES {
        return Err(io::Error::other("it is larger than 256 MiB"));
    }
    Ok(text)
}

fn with_secrets(mut desired: Desired) -> Result<Desired, Vec<FileError>> {
    let mut mistakes = Vec::new();
    for (index, file) in desired.secrets.clone().into_iter().enumerate() {
        match read_secret(&file.path) {
            Ok(secret) => desired.fill(index, secret),
            Err(reason) => mistakes.push(FileError {
                line: Some(file.line),
                column: None,
                path: None,
                code: ConfigCode::BadValue,
                reason: format!("{}: {reason}", file.attribute),
                hint: "name a file that holds the secret and nothing else, and that only its owner may read"
                    .to_owned(),
            }),
        }
    }
    if mistakes.is_empty() {
        Ok(desired)
    } else {
        Err(mistakes)
    }
}

/// Reads a secret that nobody else can: others have read one that they may read.
fn read_secret(path: &Path) -> Result<Secret, String> {
    if let Ok(found) = std::fs::metadata(path)
        && found.is_file()
        && found.permissions().mode() & OTHERS != 0
    {
        let mode = found.permissions().mode() & 0o777;
        return Err(format!(
            "{}: others may read or write the secret (mode {mode:04o}): chmod 600 keeps it to its owner",
            path.display()
        ));
    }
    let file = SecretFile::read(path).map_err(|error| format!("{error:#}"))?;
    Ok(Secret::new(file.secret))
}
