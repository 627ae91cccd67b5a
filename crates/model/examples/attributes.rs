//! Prints the reference page of attributes.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout()
        .lock()
        .write_all(model::attributes::reference().as_bytes())
}
