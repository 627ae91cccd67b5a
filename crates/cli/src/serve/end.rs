//! From the start to the end: the status line, the signals, the drain.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use engine::Engine;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::status::{INTERVAL, Status};
use crate::log::{CLEAR_LINE, tell};

/// How long initiators may take to log out.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the last I/O may take to come back from a disk after that.
const GRACE: Duration = Duration::from_secs(5);
/// How often the end of the drain is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// SIGINT and SIGTERM, from now on, in place of what they did.
///
/// # Errors
/// The system does not let us.
pub(crate) fn listen_to_signals() -> Result<Receiver<()>> {
    let told = "signals cannot be listened to";
    let mut signals = Signals::new([SIGINT, SIGTERM]).context(told)?;
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _signal in signals.forever() {
                if sender.send(()).is_err() {
                    break;
                }
            }
        })
        .context(told)?;
    Ok(receiver)
}

/// Lets the engine run until a signal comes, then drains it. A second signal cuts the drain short.
///
/// # Errors
/// A disk has not given back its I/O in time.
pub(crate) fn run_to_the_end(engine: Engine, signals: &Receiver<()>) -> Result<()> {
    let on_terminal = io::stderr().is_terminal();
    run_until_signal(&engine, signals, on_terminal);
    engine.start_drain(DRAIN);
    if on_terminal && engine.counters().sessions > 0 {
        tell("initiators are asked to log out; Ctrl-C once more drops them");
    }
    let mut last = Instant::now() + DRAIN + GRACE;
    while !engine.is_drained() {
        if Instant::now() >= last {
            bail!(
                "a disk has not given back its I/O: ended without it; no acknowledged write is lost, but see to that disk"
            );
        }
        match signals.recv_timeout(LOOK) {
            Ok(()) => {
                engine.start_drain(Duration::ZERO);
                last = last.min(Instant::now() + GRACE);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Without the thread that listens there is only waiting.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
    }
    engine.join();
    Ok(())
}

fn run_until_signal(engine: &Engine, signals: &Receiver<()>, on_terminal: bool) {
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
