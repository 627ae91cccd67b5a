//! Text as Login and Text PDUs carry it: `key=value` pairs, each ended by a NUL (RFC 7143 §6.1).
//!
//! Knows the format, not the keys: those are in [`crate::keys`]. Text split over several PDUs is put together before it
//! comes here.

use core::fmt;

/// The longest key name in bytes: RFC 7143 §6.1, a standard-label.
pub const MAX_KEY_BYTES: usize = 63;

/// The longest value in bytes, that of a list (RFC 7143 §6.1).
pub const MAX_VALUE_BYTES: usize = 8192;

/// Why text is not a run of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// The last pair has no NUL after it.
    Unterminated,
    /// There is no `=` between two NULs.
    NoEquals,
    /// Nothing stands before the `=`.
    EmptyKey,
    /// The key is longer than [`MAX_KEY_BYTES`].
    KeyTooLong,
    /// The key has a character that no key name has.
    IllegalKey,
    /// The value is longer than [`MAX_VALUE_BYTES`].
    ValueTooLong,
    /// The value is not UTF-8.
    NotUtf8,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unterminated => "text does not end with a NUL",
            Self::NoEquals => "pair has no equals sign",
            Self::EmptyKey => "key is empty",
            Self::KeyTooLong => "key is longer than 63 bytes",
            Self::IllegalKey => "key has an illegal character",
            Self::ValueTooLong => "value is longer than 8192 bytes",
            Self::NotUtf8 => "value is not UTF-8",
        })
    }
}

impl core::error::Error for TextError {}

/// The pairs in `bytes`, in their order. The same key may come twice: that is the reader's to judge. The first error
/// ends the walk.
#[must_use]
pub const fn parse_pairs(bytes: &[u8]) -> Pairs<'_> {
    Pairs { rest: bytes }
}

/// The iterator of [`parse_pairs`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a str, &'a str), TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = core::mem::take(&mut self.rest);
        let Some(end) = rest.iter().position(|byte| *byte == 0) else {
            // RFC 7143 §6.1: every pair, the last too, MUST be followed by at least one NUL.
            return Some(Err(TextError::Unterminated));
        };
        let pair = parse_pair(&rest[..end]);
        if pair.is_ok() {
            self.rest = &rest[end + 1..];
        }
        Some(pair)
    }
}

fn parse_pair(pair: &[u8]) -> Result<(&str, &str), TextError> {
    let equals = pair
        .iter()
        .position(|byte| *byte == b'=')
        .ok_or(TextError::NoEquals)?;
    let (key, value) = (&pair[..equals], &pair[equals + 1..]);
    if key.is_empty() {
        return Err(TextError::EmptyKey);
    }
    // RFC 7143 §6.1: a key-name is a standard-label and MUST NOT exceed 63 characters.
    if key.len() > MAX_KEY_BYTES {
        return Err(TextError::KeyTooLong);
    }
    if !key.iter().all(|byte| is_key_byte(*byte)) {
        return Err(TextError::IllegalKey);
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(TextError::ValueTooLong);
    }
    let key = str::from_utf8(key).map_err(|_| TextError::IllegalKey)?;
    let value = str::from_utf8(value).map_err(|_| TextError::NotUtf8)?;
    Ok((key, value))
}

/// RFC 7143 §6.1: letters, digits, dot, minus, plus, commercial at and underscore; `#` and `/` for the extension keys
/// of §13.22 and §13.26.
const fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'@' | b'_' | b'#' | b'/')
}

/// The members of a list-of-values (RFC 7143 §6.1). An empty value is an empty list.
pub fn split_list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').filter(move |_| !value.is_empty())
}

/// Appends pairs to a buffer.
#[derive(Debug)]
pub struct TextWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> TextWriter<'a> {
    /// Appends to `out`.
    #[must_use]
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends `key=value` and a NUL. NULs inside are left out: one would end the value early, and what follows it
    /// would pass for another key.
    pub fn push(&mut self, key: &str, value: &str) -> &mut Self {
        let without_nul = |text: &str, out: &mut Vec<u8>| {
            out.extend(text.bytes().filter(|byte| *byte != 0));
        };
        without_nul(key, self.out);
        self.out.push(b'=');
        without_nul(value, self.out);
        self.out.push(0);
        self
    }

    /// Appends a decimal number.
    pub fn push_number(&mut self, key: &str, value: u64) -> &mut Self {
        self.push(key, &value.to_string())
    }

    /// Appends `Yes` or `No`.
    pub fn push_boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.push(key, crate::number::boolean(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Vec<Result<(&str, &str), TextError>> {
        parse_pairs(bytes).collect()
    }

    #[test]
    fn parse_pairs_well_formed_keeps_order_repeats_and_empty_values() {
        let bytes =
            b"SendTargets=\0TargetAlias=a=b \xc3\xa9\0TargetAlias=x\0X#NodeArchitecture=Linux\0";
        let expected = [
            Ok(("SendTargets", "")),
            Ok(("TargetAlias", "a=b é")),
            Ok(("TargetAlias", "x")),
            Ok(("X#NodeArchitecture", "Linux")),
        ];
        assert_eq!(read(bytes), expected);
        assert_eq!(read(b""), []);
    }

    #[test]
    fn parse_pairs_malformed_names_the_reason_and_stops() {
        let long_key = [&[b'K'; 64][..], b"=v\0"].concat();
        let longest_key = [&[b'K'; 63][..], b"=v\0"].concat();
        let long_value = [b"K=", &[b'v'; 8193][..], b"\0"].concat();
        let longest_value = [b"K=", &[b'v'; 8192][..], b"\0"].concat();
        let table: [(&[u8], TextError); 10] = [
            (b"A=1", TextError::Unterminated),
            (b"A", TextError::Unterminated),
            (b"A\0", TextError::NoEquals),
            (b"\0", TextError::NoEquals),
            (b"=v\0", TextError::EmptyKey),
            (b"A B=v\0", TextError::IllegalKey),
            (b"\xc3\xa9=v\0", TextError::IllegalKey),
            (b"A=\xff\0", TextError::NotUtf8),
            (&long_key, TextError::KeyTooLong),
            (&long_value, TextError::ValueTooLong),
        ];
        for (bytes, error) in table {
            assert_eq!(
                read(bytes),
                [Err(error)],
                "{:?}",
                &bytes[..bytes.len().min(16)]
            );
        }
        assert!(read(&longest_key)[0].is_ok());
        assert!(read(&longest_value)[0].is_ok());
        assert_eq!(
            read(b"A=1\0B\0C=3\0"),
            [Ok(("A", "1")), Err(TextError::NoEquals)]
        );
    }

    #[test]
    fn split_list_members_and_the_empty_list() {
        assert_eq!(
            split_list("CRC32C,None").collect::<Vec<_>>(),
            ["CRC32C", "None"]
        );
        assert_eq!(split_list("None").collect::<Vec<_>>(), ["None"]);
        assert_eq!(split_list("a,,b").collect::<Vec<_>>(), ["a", "", "b"]);
        assert_eq!(split_list("").count(), 0);
    }

    #[test]
    fn writer_value_with_nul_cannot_smuggle_a_key() {
        let mut out = Vec::new();
        TextWriter::new(&mut out)
            .push("TargetAlias", "a\0MaxConnections=9")
            .push_number("MaxBurstLength", 512)
            .push_boolean("ImmediateData", true);
        assert_eq!(
            out,
            b"TargetAlias=aMaxConnections=9\0MaxBurstLength=512\0ImmediateData=Yes\0"
        );
    }

    proptest! {
        #[test]
        fn parse_pairs_any_bytes_ends_and_only_the_last_step_fails(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let steps = read(&bytes);
            prop_assert!(steps.len() <= bytes.len());
            if let Some((_, before)) = steps.split_last() {
                prop_assert!(before.iter().all(Result::is_ok));
            }
        }

        #[test]
        fn parse_pairs_of_written_pairs_gives_them_back(
            pairs in prop::collection::vec(("[A-Za-z][A-Za-z0-9.+@_#-]{0,62}", "[^\0]{0,64}"), 0..8),
        ) {
            let mut out = Vec::new();
            for (key, value) in &pairs {
                TextWriter::new(&mut out).push(key, value);
            }
            let read: Result<Vec<_>, _> = parse_pairs(&out).collect();
            let expected = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            prop_assert_eq!(read, Ok(expected));
        }
    }
}
