//! Prints the reference page of commands and pages.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().lock().write_all(scsi::reference().as_bytes())
}
