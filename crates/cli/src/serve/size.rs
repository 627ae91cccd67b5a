//! Sizes as people write and read them.

use anyhow::{Result, anyhow};

/// Binary units, largest first. The bare letter is binary too, as `truncate` and `qemu-img` have it.
const BINARY: [(&str, u64); 5] = [
    ("PiB", 1 << 50),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

const UNITS: [(&[&str], u64); 11] = [
    (&["", "b"], 1),
    (&["k", "kib"], 1 << 10),
    (&["m", "mib"], 1 << 20),
    (&["g", "gib"], 1 << 30),
    (&["t", "tib"], 1 << 40),
    (&["p", "pib"], 1 << 50),
    (&["kb"], 1_000),
    (&["mb"], 1_000_000),
    (&["gb"], 1_000_000_000),
    (&["tb"], 1_000_000_000_000),
    (&["pb"], 1_000_000_000_000_000),
];

/// The largest file offset of Linux.
const MOST_BYTES: u64 = i64::MAX.unsigned_abs();

/// Reads a size in bytes: a whole number and a unit.
///
/// # Errors
/// No such number or unit, nothing at all, or more than a file can have.
pub(crate) fn parse_size(text: &str) -> Result<u64> {
    let malformed =
        || anyhow!("{text}: not a size; write it as 10GiB, 512MiB or a number of bytes");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    if number.is_empty() {
        return Err(malformed());
    }
    let (_, factor) = UNITS
        .iter()
        .find(|(names, _)| names.contains(&unit.as_str()))
        .ok_or_else(malformed)?;
    // All digits: what fails to parse is too large.
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .filter(|bytes| *bytes <= MOST_BYTES)
        .ok_or_else(|| anyhow!("{text}: too large; a disk has less than 8 EiB"))?;
    if bytes == 0 {
        return Err(anyhow!(
            "{text}: a disk of no bytes; give it a size such as 1GiB"
        ));
    }
    Ok(bytes)
}

/// Bytes in the largest unit that leaves a whole number, or one digit behind the point.
pub(crate) fn show_size(bytes: u64) -> String {
    let Some((unit, factor)) = BINARY.into_iter().find(|(_, factor)| bytes >= *factor) else {
        return format!("{bytes} bytes");
    };
    if bytes.is_multiple_of(factor) {
        return format!("{} {unit}", bytes / factor);
    }
    // Wide enough: ten times the bytes of the largest disk passes 64 bits.
    let tenths = u128::from(bytes) * 10 / u128::from(factor);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_size_with_each_kind_of_unit_is_bytes() {
        let table = [
            ("10GiB", 10 << 30),
            ("512MiB", 512 << 20),
            ("1G", 1 << 30),
            ("1g", 1 << 30),
            ("4 KiB", 4096),
            ("2TiB", 2 << 40),
            ("1p", 1 << 50),
            ("10GB", 10_000_000_000),
            ("1kb", 1000),
            ("1048576", 1 << 20),
            ("512b", 512),
            ("9223372036854775807", MOST_BYTES),
        ];
        for (text, bytes) in table {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn parse_size_of_anything_else_is_refused_with_the_text_and_what_to_write() {
        for text in [
            "", "GiB", "ten", "1.5GiB", "-1", "+1", "1GiBs", "1G G", "0x10", "١GiB", "1e3",
        ] {
            let error = parse_size(text).unwrap_err().to_string();
            assert!(
                error.starts_with(text) && error.contains("10GiB"),
                "{error}"
            );
        }
    }

    #[test]
    fn parse_size_beyond_a_file_or_of_nothing_is_refused() {
        for text in [
            "9223372036854775808",
            "8388608TiB",
            "99999999999999999999",
            "18446744073709551615p",
        ] {
            let error = parse_size(text).unwrap_err().to_string();
            assert!(error.contains("too large"), "{error}");
        }
        for text in ["0", "0GiB"] {
            assert!(
                parse_size(text)
                    .unwrap_err()
                    .to_string()
                    .contains("no bytes")
            );
        }
    }

    #[test]
    fn show_size_takes_the_largest_unit() {
        let table = [
            (512, "512 bytes"),
            (1 << 30, "1 GiB"),
            (64 << 20, "64 MiB"),
            (1536 << 20, "1.5 GiB"),
            (10_000_000_000, "9.3 GiB"),
            (u64::MAX, "16383.9 PiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(show_size(bytes), text);
        }
    }
}
