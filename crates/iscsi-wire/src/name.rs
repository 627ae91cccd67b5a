//! iSCSI names: `iqn.`, `eui.` and `naa.` (RFC 7143 §4.2.7), compared in their one normalised form.

use core::fmt;
use std::sync::Arc;

/// The longest iSCSI name in bytes (RFC 7143 §4.2.7.2).
pub const MAX_NAME_BYTES: usize = 223;

/// The name of an iSCSI node. Lower case, so that comparing bytes compares names. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IscsiName(Arc<str>);

/// Why text is no iSCSI name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// There is no text.
    Empty,
    /// More than [`MAX_NAME_BYTES`].
    TooLong,
    /// A character that no name may hold.
    IllegalCharacter(char),
    /// Letters that run from right to left beside others.
    MixedDirections,
    /// It starts with none of `iqn.`, `eui.` and `naa.`.
    UnknownType,
    /// After `iqn.` there is no year and month, as `2026-01`, with a dot behind.
    IqnDate,
    /// After the date there is no reversed domain name, or an empty part in it.
    IqnAuthority,
    /// After the colon there is nothing.
    IqnEmptySuffix,
    /// After `eui.` there are not 16 hexadecimal digits.
    EuiDigits,
    /// After `naa.` there are not 16 or 32 hexadecimal digits.
    NaaDigits,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self {
            Self::IllegalCharacter(found) => {
                return write!(f, "iSCSI name has an illegal character: {found:?}");
            }
            Self::Empty => "iSCSI name is empty",
            Self::TooLong => "iSCSI name is longer than 223 bytes",
            Self::MixedDirections => "iSCSI name has letters of both directions",
            Self::UnknownType => "iSCSI name starts with none of iqn., eui. and naa.",
            Self::IqnDate => "iqn. is not followed by a year and month and a dot, as 2026-01.",
            Self::IqnAuthority => "iqn. name has no reversed domain name after its date",
            Self::IqnEmptySuffix => "iqn. name has nothing after its colon",
            Self::EuiDigits => "eui. is not followed by 16 hexadecimal digits",
            Self::NaaDigits => "naa. is not followed by 16 or 32 hexadecimal digits",
        };
        f.write_str(reason)
    }
}

impl core::error::Error for NameError {}

impl IscsiName {
    /// Reads a name as the RFC defines it, for names that are given out here.
    ///
    /// # Errors
    /// What RFC 7143 §4.2.7 does not allow.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = normalise(text, is_legal)?;
        check_structure(&name)?;
        Ok(Self(name.into()))
    }

    /// Reads a name that a peer or its operator chose: any characters a name may have, whatever their structure, and
    /// the underscore, which RFC 3722 forbids and initiators named after their hosts send all the same.
    ///
    /// # Errors
    /// No text, too much of it, or blanks, control characters and other punctuation.
    pub fn parse_peer(text: &str) -> Result<Self, NameError> {
        normalise(text, |c| c == '_' || is_legal(c)).map(|name| Self(name.into()))
    }

    /// The normalised text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for IscsiName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn normalise(text: &str, legal: impl Fn(char) -> bool) -> Result<String, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    // RFC 7143 §4.2.7.2: an iSCSI name is at most 223 bytes. Checked before and after: the normal form may be longer.
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    // RFC 7143 §4.2.7.2: names are compared in the normal form of RFC 3722. Of plain ASCII that is lower case.
    let name = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        prepare(text)?
    };
    if let Some(found) = name.chars().find(|c| !legal(*c)) {
        return Err(NameError::IllegalCharacter(found));
    }
    match name.len() {
        0 => Err(NameError::Empty),
        1..=MAX_NAME_BYTES => Ok(name),
        _ => Err(NameError::TooLong),
    }
}

/// The stringprep profile of RFC 3722 but for what it prohibits beyond Nameprep, which [`is_legal`] does: the same mapping
/// (its §3), normal form KC (§4), prohibited tables (§5), check of directions (§6) and no unassigned code points (§7).
fn prepare(text: &str) -> Result<String, NameError> {
    let reason = || {
        let alone = |c: &char| stringprep::nameprep(c.encode_utf8(&mut [0; 4])).is_err();
        let found = text.chars().find(alone);
        found.map_or(NameError::MixedDirections, NameError::IllegalCharacter)
    };
    stringprep::nameprep(text)
        .map(|name| name.into_owned())
        .map_err(|_| reason())
}

/// RFC 7143 §4.2.7.2 and RFC 3722 §6.2: of ASCII only lower-case letters, digits, dash, dot and colon; no ideographic full
/// stop, which other programs take for a dot.
fn is_legal(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | ':')
    } else {
        c != '\u{3002}'
    }
}

fn check_structure(name: &str) -> Result<(), NameError> {
    if let Some(rest) = name.strip_prefix("iqn.") {
        check_iqn(rest)
    } else if let Some(rest) = name.strip_prefix("eui.") {
        // RFC 7143 §4.2.7.5: 16 hexadecimal digits.
        if is_hex(rest) && rest.len() == 16 {
            Ok(())
        } else {
            Err(NameError::EuiDigits)
        }
    } else if let Some(rest) = name.strip_prefix("naa.") {
        // RFC 7143 §4.2.7.6: 16 or 32 hexadecimal digits.
        if is_hex(rest) && matches!(rest.len(), 16 | 32) {
            Ok(())
        } else {
            Err(NameError::NaaDigits)
        }
    } else {
        Err(NameError::UnknownType)
    }
}

/// RFC 7143 §4.2.7.4: a date, a dot, a reversed domain name, and optionally a colon and text of the owner's.
fn check_iqn(rest: &str) -> Result<(), NameError> {
    let (date, rest) = rest.split_once('.').ok_or(NameError::IqnDate)?;
    let (year, month) = date.split_once('-').ok_or(NameError::IqnDate)?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let month_exists = month
        .parse()
        .is_ok_and(|month: u8| (1..=12).contains(&month));
    if year.len() != 4 || !digits(year) || month.len() != 2 || !digits(month) || !month_exists {
        return Err(NameError::IqnDate);
    }
    let (authority, suffix) = match rest.split_once(':') {
        Some((authority, suffix)) => (authority, Some(suffix)),
        None => (rest, None),
    };
    if authority.split('.').any(str::is_empty) {
        return Err(NameError::IqnAuthority);
    }
    if suffix == Some("") {
        Err(NameError::IqnEmptySuffix)
    } else {
        Ok(())
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_well_formed_names_are_lower_cased() {
        let long = format!("iqn.2026-01.org.example:{}", "x".repeat(199));
        assert_eq!(long.len(), MAX_NAME_BYTES);
        let table = [
            ("iqn.2001-04.com.example:storage:disk2.sys1.xyz", None),
            ("iqn.2001-04.com.example", None),
            (
                "IQN.1993-08.org.Debian:01:ABC-d",
                Some("iqn.1993-08.org.debian:01:abc-d"),
            ),
            (
                "iqn.2026-01.org.example:Überall",
                Some("iqn.2026-01.org.example:überall"),
            ),
            // Composed; sharp s as Nameprep folds it; full width; what shows nothing is nothing; the Kelvin sign.
            (
                "iqn.2026-01.org.example:u\u{308}ber",
                Some("iqn.2026-01.org.example:über"),
            ),
            (
                "iqn.2026-01.org.example:Straße",
                Some("iqn.2026-01.org.example:strasse"),
            ),
            (
                "iqn.2026-01.org.example:\u{ff24}isk",
                Some("iqn.2026-01.org.example:disk"),
            ),
            (
                "iqn.2026-01.org.example:a\u{200b}\u{ad}b",
                Some("iqn.2026-01.org.example:ab"),
            ),
            (
                "iqn.2026-01.org.example:\u{212a}",
                Some("iqn.2026-01.org.example:k"),
            ),
            ("eui.02004567A425678D", Some("eui.02004567a425678d")),
            ("naa.52004567BA64678D", Some("naa.52004567ba64678d")),
            (
                "naa.62004567BA64678D0123456789ABCDEF",
                Some("naa.62004567ba64678d0123456789abcdef"),
            ),
            (long.as_str(), None),
        ];
        for (text, normal) in table {
            let name = IscsiName::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(name.as_str(), normal.unwrap_or(text));
            assert_eq!(name.to_string(), name.as_str());
        }
    }

    #[test]
    fn parse_malformed_names_get_their_reason() {
        let long = format!("iqn.2026-01.org.example:{}", "x".repeat(200));
        let table = [
            ("", NameError::Empty),
            (long.as_str(), NameError::TooLong),
            ("disk", NameError::UnknownType),
            ("iqn", NameError::UnknownType),
            ("iqn.2026-1.org.example", NameError::IqnDate),
            ("iqn.2026-13.org.example", NameError::IqnDate),
            ("iqn.2026-00.org.example", NameError::IqnDate),
            ("iqn.26-01.org.example", NameError::IqnDate),
            ("iqn.2026-+1.org.example", NameError::IllegalCharacter('+')),
            ("iqn.2026-01", NameError::IqnDate),
            ("iqn.2026-01.", NameError::IqnAuthority),
            ("iqn.2026-01.org..example", NameError::IqnAuthority),
            ("iqn.2026-01.:x", NameError::IqnAuthority),
            ("iqn.2026-01.org.example:", NameError::IqnEmptySuffix),
            (
                "iqn.2026-01.org.example:a b",
                NameError::IllegalCharacter(' '),
            ),
            (
                "iqn.2026-01.org.example:a_b",
                NameError::IllegalCharacter('_'),
            ),
            (
                "iqn.2026-01.org.example:a/b",
                NameError::IllegalCharacter('/'),
            ),
            (
                "iqn.2026-01.org.example:a\u{a0}b",
                NameError::IllegalCharacter(' '),
            ),
            (
                "iqn.2026-01.org.example:a\u{3002}b",
                NameError::IllegalCharacter('\u{3002}'),
            ),
            // Half-width, of which the normal form is the same.
            (
                "iqn.2026-01.org.example:a\u{ff61}b",
                NameError::IllegalCharacter('\u{3002}'),
            ),
            // Unassigned in Unicode 3.2, private use, no character, a mark that changes the direction.
            (
                "iqn.2026-01.org.example:\u{221}",
                NameError::IllegalCharacter('\u{221}'),
            ),
            (
                "iqn.2026-01.org.example:\u{e000}",
                NameError::IllegalCharacter('\u{e000}'),
            ),
            (
                "iqn.2026-01.org.example:\u{fffe}",
                NameError::IllegalCharacter('\u{fffe}'),
            ),
            (
                "iqn.2026-01.org.example:\u{202e}x",
                NameError::IllegalCharacter('\u{202e}'),
            ),
            (
                "iqn.2026-01.org.example:\u{5d0}",
                NameError::MixedDirections,
            ),
            (
                "iqn.2026-01.org.example:a\0",
                NameError::IllegalCharacter('\0'),
            ),
            ("eui.02004567a425678", NameError::EuiDigits),
            ("eui.02004567a425678g", NameError::EuiDigits),
            ("naa.52004567ba64678d0", NameError::NaaDigits),
        ];
        for (text, error) in table {
            assert_eq!(IscsiName::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn parse_peer_takes_structureless_names_and_no_illegal_characters() {
        for text in [
            "iqn.1998-01.com.vmware:host_a-1",
            "iqn.bad",
            "x",
            "2.of:mine",
        ] {
            assert_eq!(
                IscsiName::parse_peer(text).map(|name| name.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!(IscsiName::parse_peer(""), Err(NameError::Empty));
        assert_eq!(
            IscsiName::parse_peer("a b"),
            Err(NameError::IllegalCharacter(' '))
        );
        assert_eq!(
            IscsiName::parse_peer("a\n"),
            Err(NameError::IllegalCharacter('\n'))
        );
        assert_eq!(
            IscsiName::parse_peer(&"x".repeat(224)),
            Err(NameError::TooLong)
        );
    }

    #[test]
    fn parse_peer_name_that_grows_in_lower_case_stays_bounded() {
        // U+0130 takes two bytes and its lower case three.
        let text = "\u{130}".repeat(111);
        assert_eq!(text.len(), 222);
        assert_eq!(IscsiName::parse_peer(&text), Err(NameError::TooLong));
    }

    #[test]
    fn names_that_differ_in_case_are_one_name() {
        let upper = IscsiName::parse("IQN.2026-01.ORG.EXAMPLE:A");
        assert_eq!(upper, IscsiName::parse("iqn.2026-01.org.example:a"));
    }

    proptest! {
        #[test]
        fn parse_any_text_is_bounded_and_reading_again_changes_nothing(text in "\\PC{0,80}") {
            if let Ok(name) = IscsiName::parse_peer(&text) {
                prop_assert!((1..=MAX_NAME_BYTES).contains(&name.as_str().len()));
                prop_assert_eq!(IscsiName::parse_peer(name.as_str()), Ok(name));
            }
        }
    }
}
