//! Signals as a stream, and the drain that they begin and cut short: the same for whatever serves in the foreground.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;

/// How long the last I/O may take to come back from a disk after a drain's deadline.
const GRACE: Duration = Duration::from_secs(5);
/// How often the end of the drain is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// These signals, from now on, in place of what they did.
///
/// # Errors
/// The system does not let us.
pub(crate) fn listen(to: &[i32]) -> Result<Receiver<i32>> {
    let told = "signals cannot be listened to";
    let mut signals = Signals::new(to).context(told)?;
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if sender.send(signal).is_err() {
                    break;
                }
            }
        })
        .context(told)?;
    Ok(receiver)
}

/// Waits for the end of a drain that has begun, with `within` until its deadline. Another signal that ends the process cuts
/// it short.
///
/// # Errors
/// A disk has not given back its I/O in time.
pub(crate) fn see_off(
    within: Duration,
    signals: &Receiver<i32>,
    start_drain: impl Fn(Duration),
    is_drained: impl Fn() -> bool,
) -> Result<()> {
    let mut last = Instant::now() + within + GRACE;
    while !is_drained() {
        if Instant::now() >= last {
            bail!(
                "a disk has not given back its I/O: ended without it; no acknowledged write is lost, but see to that disk"
            );
        }
        match signals.recv_timeout(LOOK) {
            Ok(SIGHUP) | Err(RecvTimeoutError::Timeout) => {}
            Ok(_) => {
                start_drain(Duration::ZERO);
                last = last.min(Instant::now() + GRACE);
            }
            // Without the thread that listens there is only waiting.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
    }
    Ok(())
}
