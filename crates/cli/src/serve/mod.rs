//! `quintain serve`: one target from one command line, in the foreground, until a signal ends it.

mod announce;
mod args;
mod end;
mod hints;
pub(crate) mod name;
mod plan;
mod quote;
mod reach;
pub(crate) mod size;
mod status;
mod words;

use std::io::{self, Write};

use anyhow::{Context, Result, anyhow};
use engine::{Engine, UnitReport};
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

pub(crate) use args::Args;

use announce::{Running, json_line, page};
use plan::{Disk, Plan};
use size::show_size;

use crate::log::tell;
use crate::signals;

/// Serves what the command line asks for, until SIGINT or SIGTERM, and drains.
///
/// # Errors
/// A mistake in the command line, a disk, address or driver that cannot be had, or an end out of order.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut plan = Plan::new(args, &host_name())?;
    raise_file_limit();
    let (config, tree) = (plan.config.clone(), std::mem::take(&mut plan.tree));
    let engine = Engine::start(config, tree)
        .map_err(|error| anyhow!(words::of_start(&plan.disks, &error)))?;
    // Not before: until here Ctrl-C has to end a start that waits for a disk which hangs.
    let signals = signals::listen(&[SIGINT, SIGTERM])?;
    let running = Running::of(&engine, &plan.listen);
    announce(&if args.json {
        json_line(&plan, &running) + "\n"
    } else {
        page(&plan, &running)
    })?;
    for note in plan.notes.iter().chain(&notes_of(&plan, &running.units)) {
        tell(&format!("note: {note}"));
    }
    end::run_to_the_end(engine, &signals)
}

fn announce(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("standard output cannot be written")
}

/// What opening the disks has brought to light.
fn notes_of(plan: &Plan, units: &[UnitReport]) -> Vec<String> {
    let mut notes = Vec::new();
    for (lun, (disk, unit)) in plan.disks.iter().zip(units).enumerate() {
        notes.extend(words::of_copy(&disk.label(lun), unit));
        if let (Disk::Path(path), Some(asked)) = (disk, plan.create_bytes)
            && asked != unit.size_bytes
        {
            notes.push(format!(
                "{}: it exists and keeps its size of {}; --size is for files that do not exist yet",
                path.display(),
                show_size(unit.size_bytes)
            ));
        }
    }
    notes
}

/// As the kernel has it; without /proc, none.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Each connection and each disk takes descriptors, and the usual soft limit of 1024 is for programs that use select(2).
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Without it fewer initiators fit; that is no reason not to serve.
    let _kept = setrlimit(Resource::Nofile, limit);
}
