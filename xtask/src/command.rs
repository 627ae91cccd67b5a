//! Running other programs: shown, checked, and read while they talk.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use anyhow::{Context, Result, bail};

use crate::say;

/// Runs the command with its output going where ours goes; an error when it does not end with 0.
///
/// # Errors
/// The program cannot be started, or ends with another status than 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = shown(command).status().with_context(|| describe(command))?;
    expect_success(command, status)
}

/// As [`run`], and also hands each line of its output and error output to `each`, after passing it on.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_watched(command: &mut Command, mut each: impl FnMut(&str)) -> Result<()> {
    shown(command).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| describe(command))?;
    let lines = lines_of(&mut child);
    for line in lines {
        say(&line);
        each(&line);
    }
    let status = child.wait().with_context(|| describe(command))?;
    expect_success(command, status)
}

/// Whether the program runs at all with these arguments, its output thrown away.
pub(crate) fn answers(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Its standard output as text.
///
/// # Errors
/// It cannot be started, ends with another status than 0, or prints what is not UTF-8.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| describe(command))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", describe(command), output.status, told.trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn shown(command: &mut Command) -> &mut Command {
    say(&format!("$ {}", describe(command)));
    command.stdin(Stdio::null())
}

fn expect_success(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() {
        Ok(())
    } else {
        bail!("{}: {status}", describe(command))
    }
}

fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// The lines of both output streams, as they come.
fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as _),
        child.stderr.take().map(|stream| Box::new(stream) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            // A line that is not UTF-8 is shown with marks rather than ending the report.
            while reader
                .read_until(b'\n', &mut line)
                .is_ok_and(|read| read > 0)
            {
                let text = String::from_utf8_lossy(&line)
                    .trim_end_matches(['\r', '\n'])
                    .to_owned();
                if sender.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_watched_hands_over_both_streams_and_reports_the_status() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let error = run_watched(&mut command, |line| lines.push(line.to_owned())).unwrap_err();
        lines.sort();
        assert_eq!(lines, ["err", "out"]);
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn output_of_a_failing_program_tells_what_it_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo broken >&2; exit 1"]);
        assert!(
            output_of(&mut command)
                .unwrap_err()
                .to_string()
                .contains("broken")
        );
    }
}
