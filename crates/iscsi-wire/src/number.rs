//! Values of keys as text: numbers, ranges, booleans and binary strings (RFC 7143 §6.1).

use core::fmt;

/// Why a value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberError {
    /// There are no digits.
    Empty,
    /// A character is no digit of the encoding, or stands where none may.
    IllegalDigit,
    /// A number does not fit 64 bits.
    TooLarge,
    /// A binary string is longer than its key allows.
    TooLong,
    /// A binary string has not the length its key wants.
    WrongLength,
    /// A binary string is written in decimal where its length is not known.
    LengthUnknown,
    /// A range has its larger end first, or only one end.
    IllegalRange,
    /// A boolean is neither `Yes` nor `No`.
    NotBoolean,
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "value has no digits",
            Self::IllegalDigit => "value has an illegal digit",
            Self::TooLarge => "number does not fit 64 bits",
            Self::TooLong => "binary value is too long",
            Self::WrongLength => "binary value has the wrong length",
            Self::LengthUnknown => "binary value of unknown length is written in decimal",
            Self::IllegalRange => "range is not low~high",
            Self::NotBoolean => "value is neither Yes nor No",
        })
    }
}

impl core::error::Error for NumberError {}

/// Reads a numerical-value: a decimal-constant or a hex-constant below 2^64. RFC 7143 §6.1 gives it no base64 form.
///
/// # Errors
/// What is no such constant, a decimal with leading zeroes included.
pub fn parse_number(text: &str) -> Result<u64, NumberError> {
    if let Some(digits) = strip_hex(text) {
        return parse_digits(digits, 16);
    }
    // RFC 7143 §6.1: a decimal-constant is the digit 0 or starts with a digit that is not 0.
    if text.len() > 1 && text.starts_with('0') {
        return Err(NumberError::IllegalDigit);
    }
    parse_digits(text, 10)
}

/// Reads a numeric-range, `low~high` (RFC 7143 §6.1). A single number stands for itself.
///
/// # Errors
/// What is no number, and ends in the wrong order.
pub fn parse_range(text: &str) -> Result<(u64, u64), NumberError> {
    let Some((low, high)) = text.split_once('~') else {
        let number = parse_number(text)?;
        return Ok((number, number));
    };
    let (low, high) = (parse_number(low)?, parse_number(high)?);
    if low <= high {
        Ok((low, high))
    } else {
        Err(NumberError::IllegalRange)
    }
}

/// Reads a boolean-value: `Yes` or `No`, in this spelling only (RFC 7143 §6.1).
///
/// # Errors
/// Anything else.
pub fn parse_boolean(text: &str) -> Result<bool, NumberError> {
    match text {
        "Yes" => Ok(true),
        "No" => Ok(false),
        _ => Err(NumberError::NotBoolean),
    }
}

/// `Yes` or `No`.
#[must_use]
pub const fn boolean(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

/// Reads a binary string whose length the encoding tells: a hex-constant or a base64-constant, of 1 to `max_bytes`
/// bytes (RFC 7143 §6.1, large-binary-value).
///
/// # Errors
/// Wrong digits, too many of them, or a decimal-constant, which has no implicit length.
pub fn parse_binary(text: &str, max_bytes: usize) -> Result<Vec<u8>, NumberError> {
    if let Some(digits) = strip_hex(text) {
        return parse_hex(digits, max_bytes);
    }
    if let Some(digits) = strip_prefix(text, "0b", "0B") {
        return parse_base64(digits, max_bytes);
    }
    let decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Err(if decimal {
        NumberError::LengthUnknown
    } else {
        NumberError::IllegalDigit
    })
}

/// Reads a binary string of exactly `bytes` bytes, in decimal too where it fits 64 bits (RFC 7143 §6.1,
/// regular-binary-value).
///
/// # Errors
/// As [`parse_binary`], and any other length.
pub fn parse_binary_exact(text: &str, bytes: usize) -> Result<Vec<u8>, NumberError> {
    match parse_binary(text, bytes) {
        // RFC 7143 §6.1: decimal-constants MUST NOT be used for binary strings that can be longer than 64 bits.
        Err(NumberError::LengthUnknown) if bytes <= 8 => {
            let number = parse_number(text)?.to_be_bytes();
            let (unused, kept) = number.split_at(8 - bytes);
            if unused.iter().any(|byte| *byte != 0) {
                return Err(NumberError::TooLong);
            }
            Ok(kept.to_vec())
        }
        Ok(read) if read.len() != bytes => Err(NumberError::WrongLength),
        other => other,
    }
}

/// `bytes` as a hex-constant: `0x` and two lower-case digits for each.
#[must_use]
pub fn encode_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
    "0x".chars()
        .chain(digits.map(|digit| char::from(HEX_DIGITS[usize::from(digit)])))
        .collect()
}

/// `bytes` as a base64-constant: `0b` and RFC 4648 base64 with padding.
#[must_use]
pub fn encode_base64(bytes: &[u8]) -> String {
    let mut text = String::from("0b");
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let index = (word >> (18 - 6 * digit)) as usize & 0x3f;
            text.push(if digit <= chunk.len() {
                char::from(BASE64_DIGITS[index])
            } else {
                '='
            });
        }
    }
    text
}

fn strip_prefix<'a>(text: &'a str, lower: &str, upper: &str) -> Option<&'a str> {
    text.strip_prefix(lower)
        .or_else(|| text.strip_prefix(upper))
}

fn strip_hex(text: &str) -> Option<&str> {
    strip_prefix(text, "0x", "0X")
}

fn parse_digits(digits: &str, radix: u32) -> Result<u64, NumberError> {
    if digits.is_empty() {
        return Err(NumberError::Empty);
    }
    digits.chars().try_fold(0u64, |number, digit| {
        let digit = digit.to_digit(radix).ok_or(NumberError::IllegalDigit)?;
        let shifted = number.checked_mul(u64::from(radix));
        shifted
            .and_then(|n| n.checked_add(u64::from(digit)))
            .ok_or(NumberError::TooLarge)
    })
}

/// RFC 7143 §6.1: n hexadecimal digits, leading zeroes included, are (n+1)/2 bytes.
fn parse_hex(digits: &str, max_bytes: usize) -> Result<Vec<u8>, NumberError> {
    if digits.is_empty() {
        return Err(NumberError::Empty);
    }
    if digits.len().div_ceil(2) > max_bytes {
        return Err(NumberError::TooLong);
    }
    let value = |digit: &u8| {
        let value = char::from(*digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok());
        value.ok_or(NumberError::IllegalDigit)
    };
    let (first, pairs) = digits.as_bytes().split_at(digits.len() % 2);
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    for digit in first {
        bytes.push(value(digit)?);
    }
    for pair in pairs.chunks_exact(2) {
        let [high, low] = pair else {
            return Err(NumberError::IllegalDigit);
        };
        bytes.push(value(high)? << 4 | value(low)?);
    }
    Ok(bytes)
}

/// RFC 7143 §6.1: n base64 digits without the padding are n*3/4 bytes. Padding may be left out, but not be wrong; the
/// bits that belong to no byte are zero, so that each string has one spelling.
fn parse_base64(text: &str, max_bytes: usize) -> Result<Vec<u8>, NumberError> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if digits.is_empty() {
        return Err(NumberError::Empty);
    }
    if digits.len() / 4 > max_bytes / 3 + 1 {
        return Err(NumberError::TooLong);
    }
    if digits.len() % 4 == 1 || (padding > 0 && digits.len() % 4 + padding != 4) {
        return Err(NumberError::IllegalDigit);
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.as_bytes().chunks(4) {
        let mut word = 0u32;
        for digit in chunk {
            word = word << 6 | base64_value(*digit).ok_or(NumberError::IllegalDigit)?;
        }
        word <<= 6 * (4 - chunk.len());
        let [_, decoded @ ..] = word.to_be_bytes();
        let (kept, unused) = decoded.split_at(chunk.len() * 3 / 4);
        if unused.iter().any(|byte| *byte != 0) {
            return Err(NumberError::IllegalDigit);
        }
        bytes.extend_from_slice(kept);
    }
    if bytes.len() > max_bytes {
        Err(NumberError::TooLong)
    } else {
        Ok(bytes)
    }
}

fn base64_value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
const BASE64_DIGITS: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_number_each_form_and_fault() {
        let table = [
            ("0", Ok(0)),
            ("8192", Ok(8192)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(NumberError::TooLarge)),
            ("0x0", Ok(0)),
            ("0X00fF", Ok(255)),
            ("0xffffffffffffffff", Ok(u64::MAX)),
            ("0x10000000000000000", Err(NumberError::TooLarge)),
            ("", Err(NumberError::Empty)),
            ("0x", Err(NumberError::Empty)),
            ("007", Err(NumberError::IllegalDigit)),
            ("+1", Err(NumberError::IllegalDigit)),
            ("-1", Err(NumberError::IllegalDigit)),
            ("1 ", Err(NumberError::IllegalDigit)),
            ("1a", Err(NumberError::IllegalDigit)),
            ("0xg", Err(NumberError::IllegalDigit)),
            ("0bAAAA", Err(NumberError::IllegalDigit)),
            ("٣", Err(NumberError::IllegalDigit)),
        ];
        for (text, expected) in table {
            assert_eq!(parse_number(text), expected, "{text}");
        }
    }

    #[test]
    fn parse_range_ends_in_order_or_alone() {
        assert_eq!(parse_range("512~0x1000"), Ok((512, 4096)));
        assert_eq!(parse_range("7"), Ok((7, 7)));
        assert_eq!(parse_range("2~1"), Err(NumberError::IllegalRange));
        assert_eq!(parse_range("1~2~3"), Err(NumberError::IllegalDigit));
        assert_eq!(parse_range("~3"), Err(NumberError::Empty));
    }

    #[test]
    fn parse_boolean_takes_two_spellings_only() {
        assert_eq!(
            (parse_boolean("Yes"), parse_boolean("No")),
            (Ok(true), Ok(false))
        );
        for text in ["yes", "NO", "", "1", "Yes "] {
            assert_eq!(parse_boolean(text), Err(NumberError::NotBoolean), "{text}");
        }
        assert_eq!((boolean(true), boolean(false)), ("Yes", "No"));
    }

    #[test]
    fn parse_binary_each_encoding_and_fault() {
        let table: [(&str, Result<&[u8], NumberError>); 16] = [
            ("0x00ff", Ok(&[0, 0xff])),
            ("0xabc", Ok(&[0x0a, 0xbc])),
            ("0XABCD", Ok(&[0xab, 0xcd])),
            ("0bAP8=", Ok(&[0, 0xff])),
            ("0BAP8", Ok(&[0, 0xff])),
            ("0bAQID", Ok(&[1, 2, 3])),
            ("0bAQIDBA==", Ok(&[1, 2, 3, 4])),
            ("0x", Err(NumberError::Empty)),
            ("0b", Err(NumberError::Empty)),
            ("0b====", Err(NumberError::Empty)),
            ("0x0102030405", Err(NumberError::TooLong)),
            ("0bAQIDBAU=", Err(NumberError::TooLong)),
            ("0bAP9=", Err(NumberError::IllegalDigit)),
            ("0bAP8==", Err(NumberError::IllegalDigit)),
            ("12", Err(NumberError::LengthUnknown)),
            ("xyz", Err(NumberError::IllegalDigit)),
        ];
        for (text, expected) in table {
            assert_eq!(
                parse_binary(text, 4),
                expected.map(<[u8]>::to_vec),
                "{text}"
            );
        }
    }

    #[test]
    fn parse_binary_exact_takes_decimal_up_to_64_bits() {
        assert_eq!(parse_binary_exact("258", 2), Ok(vec![1, 2]));
        assert_eq!(parse_binary_exact("0", 8), Ok(vec![0; 8]));
        assert_eq!(parse_binary_exact("65536", 2), Err(NumberError::TooLong));
        assert_eq!(parse_binary_exact("1", 9), Err(NumberError::LengthUnknown));
        assert_eq!(parse_binary_exact("0x01", 2), Err(NumberError::WrongLength));
        assert_eq!(parse_binary_exact("0x0102", 2), Ok(vec![1, 2]));
    }

    proptest! {
        #[test]
        fn parse_binary_of_encoded_bytes_gives_them_back(
            bytes in prop::collection::vec(any::<u8>(), 1..300),
        ) {
            prop_assert_eq!(parse_binary(&encode_hex(&bytes), 300), Ok(bytes.clone()));
            prop_assert_eq!(parse_binary(&encode_base64(&bytes), 300), Ok(bytes));
        }

        #[test]
        fn parse_number_of_a_number_gives_it_back(number: u64) {
            prop_assert_eq!(parse_number(&number.to_string()), Ok(number));
            prop_assert_eq!(parse_number(&format!("{number:#x}")), Ok(number));
        }

        #[test]
        fn parsers_any_text_stay_within_their_bounds(text in "(0[xXbB])?\\PC{0,40}", max in 0usize..20) {
            if let Ok(bytes) = parse_binary(&text, max) {
                prop_assert!((1..=max).contains(&bytes.len()));
            }
            if let Ok(bytes) = parse_binary_exact(&text, max) {
                prop_assert_eq!(bytes.len(), max);
            }
            if let Ok((low, high)) = parse_range(&text) {
                prop_assert!(low <= high);
            }
        }
    }
}
