//! Secrets from standard input: typed unseen at a terminal, else a line of what is piped in.

use std::borrow::Cow;
use std::io::{IsTerminal, stdin};

use anyhow::{Context, Result, bail};
use rustyline::completion::Completer;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{ColorMode, Config, Editor, Helper};

/// Asks for the secret of an attribute.
///
/// # Errors
/// There is none, or it cannot be read.
pub(crate) fn from_input(name: &str) -> Result<String> {
    if stdin().is_terminal() {
        return from_terminal(name);
    }
    let mut line = String::new();
    stdin()
        .read_line(&mut line)
        .with_context(|| format!("{name}: standard input cannot be read"))?;
    let secret = line.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        bail!("{name}: standard input holds no secret; write it there, on a line of its own");
    }
    Ok(secret.to_owned())
}

fn from_terminal(name: &str) -> Result<String> {
    // The mask is drawn as a highlight: it needs the editor to highlight whatever the terminal.
    let config = Config::builder().color_mode(ColorMode::Forced).build();
    let mut editor: Editor<Unseen, MemHistory> = Editor::with_history(config, MemHistory::new())?;
    editor.set_helper(Some(Unseen));
    let secret = editor
        .readline(&format!("{name}: "))
        .with_context(|| format!("{name}: no secret was typed"))?;
    if secret.is_empty() {
        bail!("{name}: no secret was typed");
    }
    Ok(secret)
}

/// Shows blanks for what is typed.
struct Unseen;

impl Highlighter for Unseen {
    fn highlight<'l>(&self, line: &'l str, _pos: usize) -> Cow<'l, str> {
        Cow::Owned(" ".repeat(line.chars().count()))
    }

    fn highlight_char(&self, _line: &str, _pos: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

impl Completer for Unseen {
    type Candidate = String;
}

impl Hinter for Unseen {
    type Hint = String;
}

impl Validator for Unseen {}
impl Helper for Unseen {}
