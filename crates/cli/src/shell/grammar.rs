//! A line as somebody typed it, taken apart: `[PATH] COMMAND [VALUE ...] [NAME=VALUE ...]`. Pure text: it knows the names of
//! commands and nothing of the tree.
//!
//! As targetcli has it, a path before the command says where it runs, and a path alone goes there. Beyond targetcli: quotes
//! and backslashes, `#` comments, and the command as the path's last name (`luns/create ...`).

use std::fmt;

/// A line with something to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Where the command runs; `None`: at the current path.
    pub(crate) path: Option<String>,
    /// `None`: go to the path.
    pub(crate) command: Option<String>,
    pub(crate) values: Vec<String>,
    pub(crate) named: Vec<(String, String)>,
}

/// One word, unquoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// Where it begins in the line, in bytes.
    pub(crate) at: usize,
    /// Some of it was quoted: it is no comment, no path and no command.
    pub(crate) quoted: bool,
}

/// Why a line cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrammarError {
    /// A quote is not closed.
    OpenQuote(char),
    /// A backslash with nothing behind it.
    OpenEscape,
}

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenQuote(quote) => write!(
                f,
                "a {quote} is not closed; close it, or write \\{quote} for the character itself"
            ),
            Self::OpenEscape => f.write_str(
                "the line ends with a backslash; write \\\\ for the character itself, and each command on one line",
            ),
        }
    }
}

impl std::error::Error for GrammarError {}

/// Takes a line apart. `None`: there is nothing in it.
///
/// # Errors
/// An open quote or escape.
pub(crate) fn parse(
    line: &str,
    is_command: impl Fn(&str) -> bool,
) -> Result<Option<Line>, GrammarError> {
    let words = split(line)?;
    Ok(of_words(&words, is_command))
}

/// As [`parse`], from words that are apart already (a command line of the operating system).
pub(crate) fn parse_words(words: &[String], is_command: impl Fn(&str) -> bool) -> Option<Line> {
    let words: Vec<Word> = words
        .iter()
        .map(|text| Word {
            text: text.clone(),
            at: 0,
            quoted: false,
        })
        .collect();
    of_words(&words, is_command)
}

fn of_words(words: &[Word], is_command: impl Fn(&str) -> bool) -> Option<Line> {
    let mut line = Line::default();
    let mut rest = words.iter().peekable();
    let first = rest.peek()?;
    if !first.quoted && looks_like_path(&first.text) {
        line.path = Some(first.text.clone());
        rest.next();
        match rest.peek() {
            Some(word) if !word.quoted && is_command(&word.text) => {}
            _ => split_command(&mut line, &is_command),
        }
    }
    if line.command.is_none() {
        line.command = rest.next().map(|word| word.text.clone());
    }
    for word in rest {
        match assignment(&word.text) {
            Some((name, value)) => line.named.push((name.to_owned(), value.to_owned())),
            None => line.values.push(word.text.clone()),
        }
    }
    Some(line)
}

/// The command as the last name of the path: `luns/create`.
fn split_command(line: &mut Line, is_command: impl Fn(&str) -> bool) {
    let Some((place, command)) = line.path.as_deref().and_then(|path| path.rsplit_once('/')) else {
        return;
    };
    if is_command(command) {
        let place = if place.is_empty() { "/" } else { place }.to_owned();
        line.command = Some(command.to_owned());
        line.path = Some(place);
    }
}

/// Whether a first word is a path and no command.
pub(crate) fn looks_like_path(word: &str) -> bool {
    word.contains('/') || matches!(word, "." | "..") || word.starts_with('@')
}

/// `name=value`, where the name is one that attributes and parameters have.
pub(crate) fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let fine = !name.is_empty() && !name.starts_with('-') && name.bytes().all(legal);
    fine.then_some((name, value))
}

/// The words of a line, without a comment.
///
/// # Errors
/// An open quote or escape.
pub(crate) fn split(line: &str) -> Result<Vec<Word>, GrammarError> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        if c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        if c == '#' && word.is_none() {
            break;
        }
        let open = word.get_or_insert_with(|| Word {
            text: String::new(),
            at,
            quoted: false,
        });
        match c {
            '\\' => {
                let (_, escaped) = chars.next().ok_or(GrammarError::OpenEscape)?;
                open.text.push(escaped);
                open.quoted = true;
            }
            '"' | '\'' => {
                open.quoted = true;
                quoted(c, &mut chars, &mut open.text)?;
            }
            c => open.text.push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Up to the closing quote. Within double quotes a backslash takes the next character as it is.
fn quoted(
    quote: char,
    chars: &mut std::str::CharIndices<'_>,
    text: &mut String,
) -> Result<(), GrammarError> {
    while let Some((_, c)) = chars.next() {
        match c {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => {
                let (_, escaped) = chars.next().ok_or(GrammarError::OpenQuote(quote))?;
                text.push(escaped);
            }
            c => text.push(c),
        }
    }
    Err(GrammarError::OpenQuote(quote))
}

/// A word as it has to be typed to come out as this text.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if c.is_whitespace() || matches!(c, '\\' | '"' | '\'') || (at == 0 && c == '#') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known(word: &str) -> bool {
        matches!(word, "create" | "ls" | "cd" | "set" | "delete" | "tag")
    }

    fn line(
        path: Option<&str>,
        command: Option<&str>,
        values: &[&str],
        named: &[(&str, &str)],
    ) -> Line {
        let own = |text: &&str| (*text).to_owned();
        Line {
            path: path.map(ToOwned::to_owned),
            command: command.map(ToOwned::to_owned),
            values: values.iter().map(own).collect(),
            named: named
                .iter()
                .map(|(name, value)| (own(name), own(value)))
                .collect(),
        }
    }

    #[test]
    fn parse_of_what_people_type_is_path_command_and_arguments() {
        let table = [
            ("ls", line(None, Some("ls"), &[], &[])),
            ("  ls  / 2  # all", line(None, Some("ls"), &["/", "2"], &[])),
            ("/iscsi", line(Some("/iscsi"), None, &[], &[])),
            ("..", line(Some(".."), None, &[], &[])),
            ("@home ls", line(Some("@home"), Some("ls"), &[], &[])),
            ("cd ..", line(None, Some("cd"), &[".."], &[])),
            ("cd <", line(None, Some("cd"), &["<"], &[])),
            (
                "/backstores/fileio create disk0 disk0.img 1G",
                line(
                    Some("/backstores/fileio"),
                    Some("create"),
                    &["disk0", "disk0.img", "1G"],
                    &[],
                ),
            ),
            (
                "/backstores/fileio create name=d file_or_dev=/x size=1G write_back=false",
                line(
                    Some("/backstores/fileio"),
                    Some("create"),
                    &[],
                    &[
                        ("name", "d"),
                        ("file_or_dev", "/x"),
                        ("size", "1G"),
                        ("write_back", "false"),
                    ],
                ),
            ),
            (
                "luns/create /backstores/fileio/disk0",
                line(
                    Some("luns"),
                    Some("create"),
                    &["/backstores/fileio/disk0"],
                    &[],
                ),
            ),
            ("/ls", line(Some("/"), Some("ls"), &[], &[])),
            (
                "acls/ tag a b",
                line(Some("acls/"), Some("tag"), &["a", "b"], &[]),
            ),
            // An object may have a command's name: a command behind it settles it.
            (
                "/backstores/file/create ls",
                line(Some("/backstores/file/create"), Some("ls"), &[], &[]),
            ),
            (
                "set auth userid=",
                line(None, Some("set"), &["auth"], &[("userid", "")]),
            ),
            (
                "set param.InitialR2T=No",
                line(None, Some("set"), &[], &[("param.InitialR2T", "No")]),
            ),
            (
                "set a='b c' \"d e\"",
                line(None, Some("set"), &["d e"], &[("a", "b c")]),
            ),
            (
                r#"set a=\"\\ b"#,
                line(None, Some("set"), &["b"], &[("a", "\"\\")]),
            ),
            (
                "create /dev/a=b",
                line(None, Some("create"), &["/dev/a=b"], &[]),
            ),
            (
                "/x nonsense y",
                line(Some("/x"), Some("nonsense"), &["y"], &[]),
            ),
            ("create a#b", line(None, Some("create"), &["a#b"], &[])),
        ];
        for (text, parsed) in table {
            assert_eq!(parse(text, known), Ok(Some(parsed)), "{text}");
        }
        for text in ["", "   ", "# a comment", "  # ls"] {
            assert_eq!(parse(text, known), Ok(None), "{text}");
        }
    }

    #[test]
    fn parse_of_open_quotes_is_refused() {
        let table = [
            ("set a='b", GrammarError::OpenQuote('\'')),
            ("set a=\"b\\\"", GrammarError::OpenQuote('"')),
            ("set a=\"b\\", GrammarError::OpenQuote('"')),
            ("ls \\", GrammarError::OpenEscape),
        ];
        for (text, error) in table {
            assert_eq!(parse(text, known), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn quoted_word_is_read_as_it_was(text in "\\PC{1,30}") {
            let words = split(&quote(&text)).unwrap();
            prop_assert_eq!(words.len(), 1);
            prop_assert_eq!(&words[0].text, &text);
        }

        #[test]
        fn parse_of_any_text_never_panics(text in "\\PC{0,60}") {
            drop(parse(&text, known));
        }
    }
}
