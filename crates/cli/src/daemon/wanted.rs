//! A desired-state file, or LIO's saveconfig.json, with the secrets that it names.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use daemon::fill_secrets;
use model::desired::parse;
use model::{Desired, FileError};

use crate::log::one_line;

/// The largest file that is read: a hundred thousand objects have room in it.
const MOST_BYTES: u64 = 256 << 20;

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
        let text = text_of_file(file)?;
        let base = std::path::absolute(file)?;
        let base = base.parent().unwrap_or_else(|| Path::new("/"));
        let parsed = parse(&text, base).and_then(fill_secrets);
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

/// The text of a desired-state file or a saveconfig.json.
///
/// # Errors
/// It cannot be read, or is no text.
pub(crate) fn text_of_file(file: &Path) -> Result<String> {
    let shown = file.display();
    match read_text(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{shown}: there is no such file; name a desired-state file or a saveconfig.json")
        }
        Err(error) => bail!("{shown}: it cannot be read: {error}; name a file of text"),
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
