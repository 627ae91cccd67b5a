//! Object paths in URLs: the canonical spelling has its segments percent-encoded there, and only there.

use std::fmt;

/// Why a path of a URL names no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// `%` without two hexadecimal digits after it.
    Escape,
    /// The bytes are not UTF-8.
    Encoding,
    /// Two slashes in a row, or one at the end.
    EmptySegment,
    /// A segment holds an encoded slash or a control character, which no object's name has.
    Character,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Escape => "a % is not followed by two hexadecimal digits",
            Self::Encoding => "the path is not UTF-8",
            Self::EmptySegment => "the path has an empty segment",
            Self::Character => "a segment of the path holds a slash or a control character",
        })
    }
}

impl std::error::Error for PathError {}

/// One segment for a URL (RFC 3986 §3.3: what is no *unreserved* character is encoded, except `:`, which *pchar* allows
/// and of which iSCSI names are full).
#[must_use]
pub fn encode_segment(segment: &str) -> String {
    encode(segment, b":")
}

/// One value for a URL's query.
#[must_use]
pub fn encode_query(value: &str) -> String {
    encode(value, b":/")
}

/// A canonical path (`/targets/iqn.../tpgs/1`) for a URL. Its slashes stay; a leading one is added where it lacks.
#[must_use]
pub fn encode_path(path: &str) -> String {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .fold(String::new(), |mut url, segment| {
            url.push('/');
            url.push_str(&encode_segment(segment));
            url
        })
}

/// One segment of a URL as the text it stands for.
///
/// # Errors
/// A broken escape, bytes that are not UTF-8, or a character that no object's name has.
pub fn decode_segment(segment: &str) -> Result<String, PathError> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = rest.next().and_then(hex_digit).ok_or(PathError::Escape)?;
            let low = rest.next().and_then(hex_digit).ok_or(PathError::Escape)?;
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| PathError::Encoding)?;
    if text.chars().any(|c| c == '/' || c.is_control()) {
        Err(PathError::Character)
    } else {
        Ok(text)
    }
}

/// The path of a URL, below the point where the tree begins, as a canonical path. Empty and `/` are the root.
///
/// # Errors
/// Those of [`decode_segment`], and an empty segment.
pub fn decode_path(url: &str) -> Result<String, PathError> {
    let url = url.strip_prefix('/').unwrap_or(url);
    if url.is_empty() {
        return Ok("/".to_owned());
    }
    url.split('/').try_fold(String::new(), |mut path, segment| {
        if segment.is_empty() {
            return Err(PathError::EmptySegment);
        }
        path.push('/');
        path.push_str(&decode_segment(segment)?);
        Ok(path)
    })
}

fn encode(text: &str, also: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encode_names_of_every_kind_are_legible_and_safe() {
        let table = [
            ("/", ""),
            (
                "/targets/iqn.2026-11.org.example:vm1",
                "/targets/iqn.2026-11.org.example:vm1",
            ),
            ("/x/portals/[::1]:3260", "/x/portals/%5B::1%5D:3260"),
            ("/backstores/file/my disk%", "/backstores/file/my%20disk%25"),
            ("/backstores/file/é?#", "/backstores/file/%C3%A9%3F%23"),
            ("targets", "/targets"),
        ];
        for (path, url) in table {
            assert_eq!(encode_path(path), url, "{path}");
        }
        assert_eq!(encode_query("a b&c=/d"), "a%20b%26c%3D/d");
    }

    #[test]
    fn decode_of_a_broken_path_is_refused() {
        let table = [
            ("/a/%2", PathError::Escape),
            ("/a/%zz", PathError::Escape),
            ("/a/%+1", PathError::Escape),
            ("/a/%ff", PathError::Encoding),
            ("/a//b", PathError::EmptySegment),
            ("/a/", PathError::EmptySegment),
            ("//", PathError::EmptySegment),
            ("/a/b%2fc", PathError::Character),
            ("/a/%00", PathError::Character),
            ("/a/%0d%0a", PathError::Character),
        ];
        for (url, error) in table {
            assert_eq!(decode_path(url), Err(error), "{url}");
        }
        assert_eq!(decode_path(""), Ok("/".to_owned()));
        assert_eq!(decode_path("/"), Ok("/".to_owned()));
    }

    proptest! {
        #[test]
        fn encoded_path_decodes_to_itself(segments in prop::collection::vec("[^/\\p{Cc}]{1,12}", 0..5)) {
            let path = format!("/{}", segments.join("/"));
            let url = encode_path(&path);
            prop_assert!(url.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(decode_path(&url), Ok(path));
        }

        #[test]
        fn decode_of_any_text_never_panics(text in "\\PC{0,40}") {
            drop(decode_path(&text));
        }
    }
}
