//! An authentication helper that asks a RADIUS server.
//!
//! It listens on a Unix socket, speaks the helper protocol with whoever connects (`line`), and turns each question about a
//! CHAP response into an Access-Request (`packet`), asked of several servers in order (`exchange`). `serve` does the I/O.
#![forbid(unsafe_code)]

mod connection;
mod exchange;
mod line;
mod packet;
mod serve;
mod settings;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use exchange::Exchange;
use serve::Service;
use settings::Settings;

fn main() -> ExitCode {
    let settings = match Settings::try_parse() {
        Ok(settings) => settings,
        Err(error) => {
            // Help and version come this way too, with exit code 0; usage is 2. If nobody reads it, the code still tells.
            let _unread = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let told = match run(&settings) {
        Err(told) => told,
        Ok(never) => match never {},
    };
    tell(&told);
    ExitCode::FAILURE
}

/// Serves until it cannot.
fn run(settings: &Settings) -> Result<std::convert::Infallible, String> {
    let exchange = Exchange::new(settings.secrets()?, settings.nas(), settings.patience());
    settings::keep_to_the_owner();
    let listener = settings::listen(&settings.socket)?;
    let mut service = Service::new(listener, &settings.servers, exchange)
        .map_err(|error| format!("no socket for a RADIUS server: {error}"))?;
    loop {
        service
            .turn()
            .map_err(|error| format!("cannot wait: {error}"))?;
    }
}

/// One line for the operator.
fn tell(line: &str) {
    // Nobody may be reading.
    let _unread = writeln!(std::io::stderr(), "quintain-auth-radius: {line}");
}
