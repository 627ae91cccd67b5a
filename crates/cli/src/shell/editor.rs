//! The shell at a terminal: prompt, line editing, completion, history, colours.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::complete::{View, complete};
use super::run::Shell;
use super::state::may_be_kept;
use super::{lines_of, show};
use crate::client::plane::Plane;
use crate::log::tell;

/// Lines that the history keeps.
const MOST_LINES: usize = 2_000;

const BOLD_BLUE: &str = "\x1b[1;34m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Reads and runs lines until the end.
///
/// # Errors
/// The terminal cannot be read.
pub(super) fn run(mut shell: Shell, plane: Rc<dyn Plane>) -> Result<ExitCode> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .history_ignore_space(true)
        .max_history_size(MOST_LINES)?
        .build();
    let mut editor: Editor<Completion, DefaultHistory> = Editor::with_config(config)?;
    let seen = Rc::new(RefCell::new(Seen::default()));
    editor.set_helper(Some(Completion {
        plane,
        seen: Rc::clone(&seen),
    }));
    let history = shell.state.history_file();
    if let Some(file) = &history
        && let Err(error) = editor.load_history(file)
    {
        tell(&format!(
            "note: {}: the history cannot be read: {error}",
            file.display()
        ));
    }
    loop {
        seen.borrow_mut().look(&shell);
        let colours = use_colours(shell.state.preferences.is("color_mode"));
        let prompt = format!("{}> ", shell.current);
        let coloured = match colours {
            true => format!("{BOLD_BLUE}{}{PLAIN}> ", shell.current),
            false => prompt.clone(),
        };
        let line = match editor.readline(&(prompt, coloured)) {
            Ok(line) => line,
            // Ctrl-C leaves the line, not the shell.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error).context("the terminal cannot be read"),
        };
        if may_be_kept(&line) {
            keep(&mut editor, &line, history.as_ref());
        }
        match shell.run(&line) {
            Ok(done) => {
                show(&done)?;
                if done.exit {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Err(error) => {
                for text in lines_of(&error) {
                    match colours {
                        true => tell_red(&text),
                        false => tell(&text),
                    }
                }
            }
        }
    }
}

/// Keeps a line at once: a shell that is killed has lost none.
fn keep(editor: &mut Editor<Completion, DefaultHistory>, line: &str, file: Option<&PathBuf>) {
    // Without a history the shell works too.
    let added = editor.add_history_entry(line).unwrap_or(false);
    if let (true, Some(file)) = (added, file) {
        let _lost = editor.append_history(file);
    }
}

fn tell_red(text: &str) {
    let line = format!("{RED}{}{PLAIN}\n", crate::log::one_line(text));
    // Standard error is the last place that could hear of an error.
    let _unheard = std::io::Write::write_all(&mut std::io::stderr().lock(), line.as_bytes());
}

/// Whether to colour: <https://no-color.org>, and a terminal that knows colours.
fn use_colours(preferred: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let dumb = set("TERM").is_none_or(|term| term == "dumb");
    preferred && !dumb && set("NO_COLOR").is_none()
}

/// What completion knows of the shell between two lines.
#[derive(Default)]
struct Seen {
    current: String,
    bookmarks: BTreeMap<String, String>,
    folder: PathBuf,
}

impl Seen {
    fn look(&mut self, shell: &Shell) {
        self.current.clone_from(&shell.current);
        self.bookmarks.clone_from(&shell.state.bookmarks);
        shell.folder().clone_into(&mut self.folder);
    }
}

struct Completion {
    plane: Rc<dyn Plane>,
    seen: Rc<RefCell<Seen>>,
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let seen = self.seen.borrow();
        let view = View {
            plane: &*self.plane,
            current: &seen.current,
            bookmarks: &seen.bookmarks,
            folder: &seen.folder,
        };
        let (at, candidates) = complete(line.get(..pos).unwrap_or(line), &view);
        let alone = candidates.len() == 1;
        let pair = |candidate: super::complete::Candidate| Pair {
            replacement: match alone && candidate.whole {
                true => format!("{} ", candidate.text),
                false => candidate.text.clone(),
            },
            display: candidate.text,
        };
        Ok((at, candidates.into_iter().map(pair).collect()))
    }
}

impl Highlighter for Completion {
    fn highlight<'l>(&self, line: &'l str, _pos: usize) -> Cow<'l, str> {
        Cow::Borrowed(line)
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Validator for Completion {}
impl Helper for Completion {}
