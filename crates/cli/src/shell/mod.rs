//! `quintain shell`: the tree of a running daemon as something to walk through and to change, with targetcli's commands and
//! paths taken as typed.
//!
//! In its parts: `grammar` takes a line apart, `path` makes paths canonical, `commands` says what there is, `translate` turns a
//! command into changes (all of these pure), `run` asks the daemon, `complete` offers what could come next.

pub(crate) mod commands;
mod complete;
mod editor;
pub(crate) mod grammar;
pub(crate) mod path;
mod run;
mod state;
#[cfg(test)]
mod tests;
mod translate;

use std::io::{BufRead, IsTerminal, Read, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::client::refused::Refused;
use crate::client::show::put;
use crate::client::{At, secrets, told};
use crate::log::tell;
use crate::serve::host_name;
use crate::serve::name::default_target_name;
use run::{Done, Shell, Surroundings};
use state::State;

/// Walk through the tree of a running daemon and change it; targetcli's commands and paths work as typed
///
/// With a COMMAND it runs that and ends. Without, it reads lines: from the terminal with completion and history, else from
/// standard input until the first one that fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on after a line of standard input that fails; the exit code still tells
    #[arg(short = 'k', long)]
    keep_going: bool,
    #[command(flatten)]
    at: At,
    /// A command to run, such as `/backstores/fileio create disk0 /srv/disk0.img 1G`
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

/// Runs the shell.
///
/// # Errors
/// A line that cannot be done, or the terminal cannot be read.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let state = State::load(State::default_folder())?;
    let client = args.at.client();
    if !args.command.is_empty() {
        let mut shell = Shell::new(Rc::new(client), state, surroundings(true)?);
        return told(shell.run_words(&args.command).and_then(|done| {
            show(&done)?;
            Ok(ExitCode::SUCCESS)
        }));
    }
    if !stdin().is_terminal() || !stdout().is_terminal() {
        let mut shell = Shell::new(Rc::new(client), state, surroundings(false)?);
        return run_script(&mut shell, args.keep_going);
    }
    let patient = client.clone();
    // Who presses Tab does not wait.
    let hasty = client.with_timeouts(COMPLETION_PATIENCE, COMPLETION_PATIENCE);
    let shell = Shell::new(Rc::new(patient), state, surroundings(false)?);
    editor::run(shell, Rc::new(hasty))
}

const COMPLETION_PATIENCE: Duration = Duration::from_secs(2);

fn surroundings(public: bool) -> Result<Surroundings> {
    Ok(Surroundings {
        folder: std::env::current_dir().context("the current folder cannot be found")?,
        new_target: Box::new(|| new_target(&mut random_bytes())),
        read_secret: Box::new(secrets::from_input),
        public,
    })
}

/// A name that no other target has: as every name made here, with bytes drawn at random in place of a disk's name.
fn new_target(random: &mut dyn Iterator<Item = u8>) -> String {
    let digits: String = random.take(6).map(|byte| format!("{byte:02x}")).collect();
    default_target_name(&host_name(), Some(Path::new(&format!("sn-{digits}"))))
}

fn random_bytes() -> impl Iterator<Item = u8> {
    let source = std::fs::File::open("/dev/urandom").ok();
    let bytes = source.into_iter().flat_map(|file| {
        std::io::BufReader::with_capacity(16, file)
            .bytes()
            .map_while(Result::ok)
    });
    // Without that device a name is made of none: the daemon refuses it where there is one already.
    bytes
}

/// Runs the lines of standard input. The first that fails ends it, unless it is to go on.
fn run_script(shell: &mut Shell, keep_going: bool) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut number = 0_u64;
    loop {
        // Not locked for longer: a command may read a secret from the next line.
        let mut line = String::new();
        let length = stdin()
            .lock()
            .read_line(&mut line)
            .context("standard input cannot be read as text")?;
        if length == 0 {
            return Ok(code);
        }
        number += 1;
        match shell.run(&line) {
            Ok(done) => {
                show(&done)?;
                if done.exit {
                    return Ok(code);
                }
            }
            Err(error) => {
                for text in lines_of(&error) {
                    tell(&format!("line {number}: {text}"));
                }
                code = ExitCode::FAILURE;
                if !keep_going {
                    return Ok(code);
                }
            }
        }
    }
}

/// An error, a line each.
fn lines_of(error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref::<Refused>() {
        Some(refused) => refused.0.clone(),
        None => vec![format!("{error:#}")],
    }
}

fn show(done: &Done) -> Result<()> {
    put(&done.text)?;
    for note in &done.notes {
        tell(&format!("note: {note}"));
    }
    Ok(())
}
