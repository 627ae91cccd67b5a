//! The commands that ask a running daemon: one look or one change each, for people and for scripts.
//!
//! They know the control socket's client and how answers look; what an attribute means and what is legal the daemon says.

mod assign;
mod desired;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod plane;
pub(crate) mod refused;
pub(crate) mod reports;
pub(crate) mod secrets;
pub(crate) mod show;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use control_api::{Change, Client, ExplainQuery, ExportFormat, Rollback, Terms, Transaction};

pub(crate) use assign::{is_secret, literal_secret, secret_of_file};
pub(crate) use desired::DesiredFile;

use crate::daemon::places::default_socket;
use crate::log::tell;
use plane::Plane;
use refused::Refused;
use show::{canonical_name, put, tree_text};
use verbs::object_path;

/// Which daemon.
#[derive(Debug, clap::Args)]
pub(crate) struct At {
    /// The daemon's control socket [default: $QUINTAIN_SOCKET, else where `quintain daemon` of this user puts it]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl At {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.socket.clone().unwrap_or_else(default_socket))
    }
}

/// How the answer is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct As {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A change.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// Only tell what would change, and exit with 3 where something would
    #[arg(long)]
    dry_run: bool,
    /// Refuse it unless this generation is in force: nothing that somebody else changed meanwhile is overwritten
    #[arg(long, value_name = "GENERATION")]
    if_generation: Option<u64>,
    #[command(flatten)]
    print: As,
}

impl How {
    fn terms(&self) -> Terms {
        Terms {
            dry_run: self.dry_run,
            if_generation: self.if_generation,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what stands at a path
    Ls {
        /// The object; targetcli's spelling works too
        #[arg(default_value = "/")]
        path: String,
        /// How many levels below it
        #[arg(long, value_name = "N", default_value_t = 1)]
        depth: u32,
        #[command(flatten)]
        print: As,
        #[command(flatten)]
        at: At,
    },
    /// Show attributes of an object
    Get {
        /// The object
        path: String,
        /// Names of attributes; one alone prints its bare value
        names: Vec<String>,
        #[command(flatten)]
        print: As,
        #[command(flatten)]
        at: At,
    },
    /// Set attributes of an object
    ///
    /// A secret is not given here, where every user could read it: chap.secret_file=FILE reads it from a file, and
    /// chap.secret=- from a line of standard input.
    Set {
        /// The object
        path: String,
        /// What to set
        #[arg(value_name = "NAME=VALUE", required_unless_present = "default")]
        values: Vec<String>,
        /// Set this attribute back to its default. May be given several times
        #[arg(long, value_name = "NAME")]
        default: Vec<String>,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        at: At,
    },
    /// Make an object
    ///
    /// Secrets as with `set`.
    Create {
        /// Where it shall stand
        path: String,
        /// What it is made with; the rest takes its defaults
        #[arg(value_name = "NAME=VALUE")]
        values: Vec<String>,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        at: At,
    },
    /// Remove an object, with what stands below it
    Delete {
        /// The object
        path: String,
        /// Also what refers to it: the LUNs that show a backstore
        #[arg(long)]
        cascade: bool,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        at: At,
    },
    /// Let initiators into a portal group, or into all of a target's
    Enable {
        /// The target or portal group
        path: String,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        at: At,
    },
    /// Keep initiators out of a portal group, or of all of a target's; who is logged in is asked to leave
    Disable {
        /// The target or portal group
        path: String,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        at: At,
    },
    /// Give a backstore another size
    Resize {
        /// The backstore
        path: String,
        /// Its new size, such as 20GiB
        size: String,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        at: At,
    },
    /// Tell what applying a file would change, and which sessions it would touch; exits with 3 where something would
    Plan {
        /// The desired-state file, or LIO's saveconfig.json; - is standard input
        file: PathBuf,
        #[command(flatten)]
        print: As,
        #[command(flatten)]
        at: At,
    },
    /// Make the tree what a file says, as one transaction
    Apply {
        /// The desired-state file, or LIO's saveconfig.json; - is standard input
        file: PathBuf,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        at: At,
    },
    /// Print the running tree as a file
    Export {
        /// What to write: toml is the desired-state file, saveconfig LIO's saveconfig.json
        #[arg(long, value_name = "FORMAT", default_value = "toml",
              value_parser = ["toml", "saveconfig"])]
        format: String,
        /// With its secrets, which only an admin may see
        #[arg(long)]
        with_secrets: bool,
        #[command(flatten)]
        at: At,
    },
    /// List the last generations of the tree
    History {
        #[command(flatten)]
        print: As,
        #[command(flatten)]
        at: At,
    },
    /// Make the tree what it was in an earlier generation
    Rollback {
        /// A number that `history` lists
        generation: u64,
        /// Backstores that have grown since keep the size that they have: no disk ever shrinks
        #[arg(long)]
        keep_sizes: bool,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        at: At,
    },
    /// List who is logged in
    Sessions {
        /// Everything about each: negotiated keys, connections, counters
        #[arg(long)]
        detail: bool,
        #[command(flatten)]
        print: As,
        #[command(flatten)]
        at: At,
    },
    /// Tell whether a login would work, rule by rule
    Explain {
        /// The initiator's name
        #[arg(long, value_name = "IQN")]
        initiator: String,
        /// The target's name
        #[arg(long, value_name = "IQN")]
        target: String,
        /// The portal it comes to; without one, all of them are looked at
        #[arg(long, value_name = "ADDRESS:PORT")]
        portal: Option<String>,
        #[command(flatten)]
        print: As,
        #[command(flatten)]
        at: At,
    },
    /// List what was refused
    Log {
        /// Refused logins, each with the rule that refused it
        #[arg(long, required = true)]
        refused: bool,
        #[command(flatten)]
        print: As,
        #[command(flatten)]
        at: At,
    },
    /// Tell how the daemon is
    Status {
        #[command(flatten)]
        print: As,
        #[command(flatten)]
        at: At,
    },
    /// List what can be set, with values, defaults and meaning
    Attributes {
        /// Of this kind of object only, such as tpg or backstore
        kind: Option<String>,
        #[command(flatten)]
        print: As,
        #[command(flatten)]
        at: At,
    },
}

/// Runs a command. What the daemon refuses is told here, line by line.
///
/// # Errors
/// Whatever else went wrong.
pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    told(run_with(command, &command.at().client()))
}

/// Tells the lines of a refusal, which is then no error any more but an exit code.
///
/// # Errors
/// It was something else.
pub(crate) fn told(result: Result<ExitCode>) -> Result<ExitCode> {
    result.or_else(|error| match error.downcast::<Refused>() {
        Ok(refused) => {
            for line in &refused.0 {
                tell(line);
            }
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error),
    })
}

impl Command {
    fn at(&self) -> &At {
        match self {
            Self::Ls { at, .. }
            | Self::Get { at, .. }
            | Self::Set { at, .. }
            | Self::Create { at, .. }
            | Self::Delete { at, .. }
            | Self::Enable { at, .. }
            | Self::Disable { at, .. }
            | Self::Resize { at, .. }
            | Self::Plan { at, .. }
            | Self::Apply { at, .. }
            | Self::Export { at, .. }
            | Self::History { at, .. }
            | Self::Rollback { at, .. }
            | Self::Sessions { at, .. }
            | Self::Explain { at, .. }
            | Self::Log { at, .. }
            | Self::Status { at, .. }
            | Self::Attributes { at, .. } => at,
        }
    }
}

fn run_with(command: &Command, plane: &dyn Plane) -> Result<ExitCode> {
    let change = |change: Change, how: &How| commit(plane, vec![change], how);
    match command {
        Command::Ls { .. } | Command::Get { .. } => look(command, plane),
        Command::Set {
            path,
            values,
            default,
            how,
            ..
        } => {
            let attributes = assign::attributes(values, default, &mut secrets::from_input)?;
            let path = object_path(path);
            change(Change::Set { path, attributes }, how)
        }
        Command::Create {
            path, values, how, ..
        } => {
            let attributes = assign::attributes(values, &[], &mut secrets::from_input)?;
            let folder = std::env::current_dir().context("the current folder cannot be found")?;
            change(verbs::create(object_path(path), attributes, &folder), how)
        }
        Command::Delete {
            path, cascade, how, ..
        } => {
            let (path, cascade) = (object_path(path), *cascade);
            change(Change::Delete { path, cascade }, how)
        }
        Command::Enable { path, how, .. } => {
            commit(plane, verbs::switch(plane, &object_path(path), true)?, how)
        }
        Command::Disable { path, how, .. } => {
            commit(plane, verbs::switch(plane, &object_path(path), false)?, how)
        }
        Command::Resize {
            path, size, how, ..
        } => change(verbs::resize(&object_path(path), size)?, how),
        Command::Plan { file, print, .. } => {
            desired::apply(plane, file, Terms::DRY_RUN, print.json)
        }
        Command::Apply { file, how, .. } => {
            desired::apply(plane, file, how.terms(), how.print.json)
        }
        Command::Export {
            format,
            with_secrets,
            ..
        } => {
            let format = match format.as_str() {
                "saveconfig" => ExportFormat::Saveconfig,
                _ => ExportFormat::Toml,
            };
            desired::export(plane, format, *with_secrets)
        }
        Command::Rollback {
            generation,
            keep_sizes,
            how,
            ..
        } => {
            let back = Rollback {
                generation: *generation,
                keep_sizes: *keep_sizes,
                terms: how.terms(),
            };
            desired::rollback(plane, back, how.print.json)
        }
        _ => report(command, plane),
    }
}

fn commit(plane: &dyn Plane, changes: Vec<Change>, how: &How) -> Result<ExitCode> {
    let transaction = Transaction {
        changes,
        if_generation: how.if_generation,
    };
    let outcome = plane
        .transact(&transaction, how.dry_run)
        .map_err(Refused::from)?;
    desired::tell(&outcome, how.print.json)
}

fn look(command: &Command, plane: &dyn Plane) -> Result<ExitCode> {
    let text = match command {
        Command::Ls {
            path, depth, print, ..
        } => {
            let answer = plane
                .tree(&object_path(path), *depth)
                .map_err(Refused::from)?;
            if print.json {
                pretty(serde_json::to_string_pretty(&answer))?
            } else {
                tree_text(&answer.object, &canonical_name)
            }
        }
        Command::Get {
            path, names, print, ..
        } => {
            let answer = plane.tree(&object_path(path), 0).map_err(Refused::from)?;
            let object = &answer.object;
            match (print.json, names.as_slice()) {
                (true, []) => pretty(serde_json::to_string_pretty(object))?,
                (true, names) => {
                    let mut map = control_api::AttributeMap::new();
                    for name in names {
                        map.insert(name.clone(), verbs::value_of(plane, object, name)?);
                    }
                    pretty(serde_json::to_string_pretty(&map))?
                }
                (false, []) => reports::values(&object.attributes, &object.set),
                (false, names) => verbs::values_text(plane, object, names)?,
            }
        }
        _ => String::new(),
    };
    put(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The lists, each as text or as the JSON of the API.
fn report(command: &Command, plane: &dyn Plane) -> Result<ExitCode> {
    macro_rules! told {
        ($print:expr, $answer:expr, $text:expr) => {{
            let answer = $answer.map_err(Refused::from)?;
            if $print.json {
                pretty(serde_json::to_string_pretty(&answer))?
            } else {
                $text(&answer)
            }
        }};
    }
    let text = match command {
        Command::History { print, .. } => told!(print, plane.history(), reports::history),
        Command::Sessions {
            detail: true,
            print,
            ..
        } => {
            told!(print, plane.sessions(), reports::session_details)
        }
        Command::Sessions { print, .. } => told!(print, plane.sessions(), reports::sessions),
        Command::Explain {
            initiator,
            target,
            portal,
            print,
            ..
        } => {
            let query = ExplainQuery {
                initiator: initiator.clone(),
                target: target.clone(),
                portal: portal.clone(),
            };
            told!(print, plane.explain(&query), reports::explanation)
        }
        Command::Log { print, .. } => told!(print, plane.refused(), reports::refused),
        Command::Status { print, .. } => told!(print, plane.status(), reports::status),
        Command::Attributes { kind, print, .. } => {
            let answer = plane.attributes(kind.as_deref());
            told!(print, answer, reports::attributes)
        }
        _ => String::new(),
    };
    put(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn pretty(json: serde_json::Result<String>) -> Result<String> {
    Ok(json.context("the answer cannot be written as JSON")? + "\n")
}
