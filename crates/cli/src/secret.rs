//! `quintain secret`: a CHAP secret that nobody can guess (RFC 7143 §9.2.1).

use std::fs::File;
use std::io::{self, Read, Write};

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use iscsi_wire::number::encode_base64;

/// Make a random CHAP secret, on standard output
///
/// It is text of letters, digits, + and /: 16 characters of 96 random bits, which every initiator takes, or 22 of 128. Send it into
/// a file that only its owner may read, as by `umask 077`, and name that file where a secret is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Random bits in it. Windows takes no more than 16 characters, and RFC 7143 asks for no fewer than 96 bits
    #[arg(long, value_name = "BITS", default_value = "96",
          value_parser = PossibleValuesParser::new(["96", "128"]))]
    bits: String,
}

/// Writes one secret and a line end.
///
/// # Errors
/// There are no random numbers to be had, or nobody to take it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut random = File::open("/dev/urandom").context("/dev/urandom cannot be opened")?;
    let secret = secret(&args.bits, &mut random)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{secret}")
        .and_then(|()| stdout.flush())
        .context("standard output cannot be written")
}

// RFC 7143 §9.2.1: a secret is made by random generation only, all of its bits.
fn secret(bits: &str, random: &mut dyn Read) -> Result<String> {
    let bits: usize = bits.parse().context("a number of bits")?;
    let mut bytes = vec![0; bits / 8];
    random
        .read_exact(&mut bytes)
        .context("/dev/urandom has too few random numbers")?;
    let text = encode_base64(&bytes);
    let text = text.trim_start_matches("0b").trim_end_matches('=');
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_has_all_of_its_bits_in_as_many_characters_as_they_need() {
        let source: Vec<u8> = (0xf0..=0xff).chain(0xf0..=0xff).collect();
        let mut random = &source[..];
        assert_eq!(secret("96", &mut random).unwrap(), "8PHy8/T19vf4+fr7");
        assert_eq!(random.len(), 20);
        let long = secret("128", &mut random).unwrap();
        assert_eq!(long, "/P3+//Dx8vP09fb3+Pn6+w");
        assert!(secret("96", &mut random).is_err(), "none with fewer");
    }

    #[test]
    fn secrets_of_the_machines_random_numbers_differ() {
        let mut random = File::open("/dev/urandom").unwrap();
        let [one, other] = [0; 2].map(|_| secret("96", &mut random).unwrap());
        assert_eq!((one.len(), other.len()), (16, 16));
        assert_ne!(one, other);
    }
}
