//! The `quintain` program: reads the command line, runs what it asks for, tells every error in one line.
//!
//! It knows people: flags, files of secrets, terminals, signals. It deliberately knows no protocol and does no I/O on a
//! disk; that is the engine's.
#![forbid(unsafe_code)]

mod bench;
mod client;
mod daemon;
mod log;
#[cfg(test)]
mod reference;
mod secret;
mod serve;
mod shell;
mod signals;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An iSCSI target, all in user space.
#[derive(Debug, Parser)]
#[command(name = "quintain", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Daemon(daemon::run::Args),
    Check(daemon::check::Args),
    Import(daemon::import::Args),
    #[command(flatten)]
    Client(client::Command),
    Shell(shell::Args),
    Bench(bench::Args),
    Secret(secret::Args),
}

fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            // Help and version come this way too, with exit code 0; usage is 2. If nobody reads it, the code still tells.
            let _unread = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let outcome = log::start().and_then(|()| match command_line.command {
        Command::Serve(args) => serve::run(&args).map(done),
        Command::Daemon(args) => daemon::run::run(&args).map(done),
        Command::Check(args) => daemon::check::run(&args).map(done),
        Command::Import(args) => daemon::import::run(&args).map(done),
        Command::Client(command) => client::run(&command),
        Command::Shell(args) => shell::run(&args),
        Command::Bench(args) => bench::run(&args).map(done),
        Command::Secret(args) => secret::run(&args).map(done),
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            log::tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_one_that_clap_accepts() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }
}
