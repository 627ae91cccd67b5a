//! Running a foreign program within a time limit.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Outcome {
    /// Its status.
    pub status: ExitStatus,
    /// Standard output and standard error, in the order they came in; what is not UTF-8 is marked.
    pub text: String,
}

/// Runs the program and waits for it; one that runs longer than `limit` is killed, which is an error.
///
/// # Errors
/// The program is not installed, or runs past the limit.
pub fn run(command: &mut Command, limit: Duration) -> Result<Outcome> {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| {
        format!("{name} cannot be started (cargo xtask ci interop installs it)")
    })?;
    let chunks = chunks_of(&mut child);
    let end = Instant::now() + limit;
    let mut bytes = Vec::new();
    loop {
        match chunks.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(chunk) => bytes.extend(chunk),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                bail!(
                    "{name} ran past {limit:?}; it said: {}",
                    String::from_utf8_lossy(&bytes)
                );
            }
        }
    }
    let status = child.wait()?;
    Ok(Outcome {
        status,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// As [`run`], and an error as well when it does not end with 0. Returns what it printed.
///
/// # Errors
/// As [`run`], or the program failed.
pub fn succeed(command: &mut Command, limit: Duration) -> Result<String> {
    let outcome = run(command, limit)?;
    if !outcome.status.success() {
        bail!("{command:?}: {}: {}", outcome.status, outcome.text);
    }
    Ok(outcome.text)
}

/// What both streams carry, until both are closed.
fn chunks_of(child: &mut Child) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as _),
        child.stderr.take().map(|stream| Box::new(stream) as _),
    ];
    for mut stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn succeed_returns_both_streams() {
        let text = succeed(
            &mut shell("echo out; echo err >&2"),
            Duration::from_secs(60),
        )
        .unwrap();
        assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
    }

    #[test]
    fn succeed_of_a_failing_program_is_an_error_with_its_words() {
        let error =
            succeed(&mut shell("echo broken; exit 3"), Duration::from_secs(60)).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
    }

    #[test]
    fn run_past_the_limit_kills_the_program() {
        let error = run(
            &mut shell("echo begun; exec sleep 600"),
            Duration::from_millis(200),
        )
        .unwrap_err();
        assert!(error.to_string().contains("ran past"), "{error}");
    }
}
