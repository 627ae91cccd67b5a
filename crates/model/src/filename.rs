//! Names of files as text: what text cannot hold, or no line should, is written as `\\xNN`, and a backslash twice.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A path as the attribute `path` holds it.
#[must_use]
pub fn text_of_path(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => escape(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// The path that such a text stands for. A backslash that begins nothing stands for itself.
#[must_use]
pub fn path_of_text(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.strip_prefix(b"x").and_then(|hex| {
            let digits = std::str::from_utf8(hex.get(..2)?).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        rest = match (first, hex) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                after.get(3..).unwrap_or_default()
            }
            (b'\\', None) if after.first() == Some(&b'\\') => {
                bytes.push(b'\\');
                after.get(1..).unwrap_or_default()
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_of_path_shows_plain_names_as_they_are() {
        assert_eq!(
            text_of_path(Path::new("/srv/dísk 1.img")),
            "/srv/dísk 1.img"
        );
        assert_eq!(text_of_path(Path::new("a\nb\\c")), "a\\x0ab\\\\c");
        assert_eq!(path_of_text("a\\b"), Path::new("a\\b"));
    }

    proptest! {
        #[test]
        fn path_of_text_of_path_is_the_path(bytes in proptest::collection::vec(1_u8.., 0..40)) {
            let path = PathBuf::from(OsString::from_vec(bytes));
            let text = text_of_path(&path);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert_eq!(path_of_text(&text), path);
        }
    }
}
