//! The binary beside the floor of loopback TCP: see [`interop::floor`].
//!
//! ```text
//! floor                                       every row, three rounds of two seconds
//! floor --rounds 9 --seconds 5                longer
//! floor --rows 4k-randread-qd32,4k-mix70-qd32 these rows
//! floor serve                                 the floor alone, on a free port that it prints
//! ```

use std::io::Write;
use std::net::TcpListener;

use anyhow::{Context, Result, bail};
use interop::floor::{LOADS, Options, compare, serve};

const DISK_BYTES: usize = 256 << 20;

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return serve_alone();
    }
    let mut options = Options {
        binary: interop::target::binary()?,
        floor: std::env::current_exe()?,
        rounds: 3,
        seconds: 2,
        rows: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--rounds" => options.rounds = value()?.parse::<u32>()?.max(1),
            "--seconds" => options.seconds = value()?.parse::<u32>()?.max(1),
            "--rows" => options.rows = value()?.split(',').map(str::to_owned).collect(),
            _ => bail!("unknown argument: {word}"),
        }
    }
    for row in &options.rows {
        let known: Vec<&str> = LOADS.iter().map(|load| load.name).collect();
        if !known.contains(&row.as_str()) {
            bail!("no row {row}: {}", known.join(", "));
        }
    }
    compare(&options, say)
}

fn serve_alone() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(&listener.local_addr()?.to_string());
    serve(&listener, DISK_BYTES)
}

fn say(line: &str) {
    // Nobody is left to tell where standard output is closed.
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
