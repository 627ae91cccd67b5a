//! Standard error: the log, and the program's own lines to its operator.

use std::io::{self, IsTerminal, Write};

use anyhow::{Result, anyhow};
use tracing_subscriber::EnvFilter;

/// What is logged, as `warn` or `info,engine=debug`.
const FILTER_VARIABLE: &str = "QUINTAIN_LOG";
const DEFAULT_FILTER: &str = "warn";

/// Goes to the line's begin and clears it: a status line that is never ended may stand there.
pub(crate) const CLEAR_LINE: &str = "\r\x1b[K";

/// Sends the log to standard error from now on.
///
/// # Errors
/// The filter of the environment cannot be read.
pub(crate) fn start() -> Result<()> {
    let filter = match std::env::var_os(FILTER_VARIABLE) {
        None => DEFAULT_FILTER.to_owned(),
        Some(filter) => filter.to_string_lossy().into_owned(),
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        anyhow!("{FILTER_VARIABLE}: {error}; use a level such as warn, info or engine=debug")
    })?;
    let on_terminal = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(on_terminal)
        .with_writer(move || LogWriter { on_terminal })
        .init();
    Ok(())
}

/// Writes `quintain: ` and `text` as one line to standard error, whatever the text holds.
pub(crate) fn tell(text: &str) {
    let clear = if io::stderr().is_terminal() {
        CLEAR_LINE
    } else {
        ""
    };
    let line = format!("{clear}quintain: {}\n", one_line(text));
    // Standard error is the last place that could hear of an error.
    let _unheard = io::stderr().lock().write_all(line.as_bytes());
}

/// The text without line breaks and other control characters: it may hold names of files, which may hold anything.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for (index, part) in text.lines().filter(|part| !part.is_empty()).enumerate() {
        if index > 0 {
            line.push_str("; ");
        }
        for c in part.chars() {
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
    }
    line
}

/// Standard error, with the status line cleared before each event. The formatter writes an event in one piece.
struct LogWriter {
    on_terminal: bool,
}

impl Write for LogWriter {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        if self.on_terminal {
            stderr.write_all(CLEAR_LINE.as_bytes())?;
        }
        stderr.write_all(event)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_any_text_is_one_line_without_control_characters() {
        let table = [
            ("plain text", "plain text"),
            ("two\nlines\r\n", "two; lines"),
            ("\n\nfirst\n\nsecond", "first; second"),
            (
                "bell \x07, escape \x1b[2J",
                "bell \\u{7}, escape \\u{1b}[2J",
            ),
            ("ümlaut", "ümlaut"),
        ];
        for (text, line) in table {
            assert_eq!(one_line(text), line);
        }
    }
}
