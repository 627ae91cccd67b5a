//! `name=value` as it stands in a command line. A secret never stands there: it comes from a file or from standard input.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use control_api::AttributeMap;
use daemon::SecretFile;
use serde_json::Value;

use crate::log::tell;
use crate::shell::grammar::assignment;

/// Asks for a secret by the name of its attribute.
pub(crate) type ReadSecret<'a> = &'a mut dyn FnMut(&str) -> Result<String>;

/// Whether an attribute holds a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    name == "secret" || name.ends_with(".secret")
}

/// The attributes that words set, and those that go back to their defaults. Values are text: what type each has is for the
/// daemon to know.
///
/// # Errors
/// A word that is no assignment, a name twice, a literal secret, or a secret that cannot be read.
pub(crate) fn attributes(
    words: &[String],
    defaults: &[String],
    read_secret: ReadSecret<'_>,
) -> Result<AttributeMap> {
    let mut map = AttributeMap::new();
    for word in words {
        let (name, value) = assignment(word).ok_or_else(|| {
            anyhow!("{word}: no assignment; write NAME=VALUE, and quote a value with blanks")
        })?;
        let (name, value) = match name.strip_suffix("_file") {
            Some(secret) if is_secret(secret) => (secret, secret_of_file(Path::new(value))?),
            _ if is_secret(name) => match value {
                "-" => (name, read_secret(name)?),
                _ => bail!("{}", literal_secret(name)),
            },
            _ => (name, value.to_owned()),
        };
        insert(&mut map, name, Value::String(value))?;
    }
    for name in defaults {
        insert(&mut map, name, Value::Null)?;
    }
    Ok(map)
}

fn insert(map: &mut AttributeMap, name: &str, value: Value) -> Result<()> {
    match map.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => bail!("{name}: given twice; give it once"),
    }
}

/// What to answer to a secret that every process of the machine could have read.
pub(crate) fn literal_secret(name: &str) -> String {
    format!(
        "{name}: a secret on the command line can be read by every user; write {name}_file=FILE, or {name}=- for standard input"
    )
}

/// The secret in a file, but for a line break at its end.
///
/// # Errors
/// It cannot be read, or is no text.
pub(crate) fn secret_of_file(path: &Path) -> Result<String> {
    let file = SecretFile::read(path)?;
    for note in &file.notes {
        tell(&format!("note: {note}"));
    }
    String::from_utf8(file.secret).map_err(|_| {
        anyhow!(
            "{}: the secret is not UTF-8 text; use printable characters",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn no_input(name: &str) -> Result<String> {
        bail!("{name} is asked for")
    }

    #[test]
    fn attributes_of_assignments_are_text_and_defaults_are_null() {
        let map = attributes(
            &words(&["size=10GiB", "param.InitialR2T=No", "alias=a=b", "tag="]),
            &words(&["serial"]),
            &mut no_input,
        )
        .unwrap();
        let wanted = [
            ("alias", Value::from("a=b")),
            ("param.InitialR2T", Value::from("No")),
            ("serial", Value::Null),
            ("size", Value::from("10GiB")),
            ("tag", Value::from("")),
        ];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(map, AttributeMap::from(wanted));
    }

    #[test]
    fn attributes_of_a_literal_secret_are_refused_without_showing_it() {
        for name in ["chap.secret", "mutual_chap.secret"] {
            let word = format!("{name}=hunter2hunter2");
            let error = attributes(&[word], &[], &mut no_input).unwrap_err();
            let error = format!("{error:#}");
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains(&format!("{name}_file=FILE")), "{error}");
        }
    }

    #[test]
    fn attributes_of_secrets_from_file_and_input_are_what_stands_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "from a file 12\n").unwrap();
        let given = words(&[
            &format!("chap.secret_file={}", file.display()),
            "mutual_chap.secret=-",
        ]);
        let mut asked = Vec::new();
        let map = attributes(&given, &[], &mut |name| {
            asked.push(name.to_owned());
            Ok("from the input".to_owned())
        })
        .unwrap();
        assert_eq!(map["chap.secret"], "from a file 12");
        assert_eq!(map["mutual_chap.secret"], "from the input");
        assert_eq!(asked, ["mutual_chap.secret"]);
    }

    #[test]
    fn attributes_of_anything_else_are_refused_with_a_hint() {
        let table: [(&[&str], &[&str], &str); 4] = [
            (&["10GiB"], &[], "NAME=VALUE"),
            (&["a=1", "a=2"], &[], "twice"),
            (&["a=1"], &["a"], "twice"),
            (&["chap.secret_file=/nonexistent/file"], &[], "no such file"),
        ];
        for (given, defaults, hint) in table {
            let error = attributes(&words(given), &words(defaults), &mut no_input).unwrap_err();
            assert!(format!("{error:#}").contains(hint), "{error:#}");
        }
    }
}
