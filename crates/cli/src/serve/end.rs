//! From the start to the end: the status line, the drain.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;
use engine::Engine;

use super::status::{INTERVAL, Status};
use crate::log::{CLEAR_LINE, tell};
use crate::signals;

/// How long initiators may take to log out.
const DRAIN: Duration = Duration::from_secs(10);

/// Lets the engine run until a signal comes, then drains it. A second signal cuts the drain short.
///
/// # Errors
/// A disk has not given back its I/O in time.
pub(crate) fn run_to_the_end(engine: Engine, signals: &Receiver<i32>) -> Result<()> {
    let on_terminal = io::stderr().is_terminal();
    run_until_signal(&engine, signals, on_terminal);
    engine.start_drain(DRAIN);
    if on_terminal && engine.counters().sessions > 0 {
        tell("initiators are asked to log out; Ctrl-C once more drops them");
    }
    let start = |within| engine.start_drain(within);
    signals::see_off(DRAIN, signals, start, || engine.is_drained())?;
    engine.join();
    Ok(())
}

fn run_until_signal(engine: &Engine, signals: &Receiver<i32>, on_terminal: bool) {
    if !on_terminal {
        // An error means that no signal can come any more: then the end must not be missed either.
        let _signal = signals.recv();
        return;
    }
    let mut status = Status::new(Instant::now(), engine.counters());
    while matches!(
        signals.recv_timeout(INTERVAL),
        Err(RecvTimeoutError::Timeout)
    ) {
        show(&status.line(Instant::now(), engine.counters()));
    }
    show("");
}

/// In place of what stands on the terminal's line.
fn show(line: &str) {
    let mut stderr = io::stderr().lock();
    // A terminal that went away is no reason to stop serving.
    let _unseen = stderr.write_all(format!("{CLEAR_LINE}{line}").as_bytes());
    let _unseen = stderr.flush();
}
