//! A Rust file as tidy sees it: its text, its text with comments and literals blanked, its functions and its test code.
//!
//! Not a parser: a scanner that knows comments, strings, characters, lifetimes and braces, which is all that sizes and
//! bans need.

use std::ops::Range;

/// A source file.
pub(crate) struct Source {
    /// Relative to the workspace's folder, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// `text` with every comment and literal turned to blanks; lines and columns are the same.
    pub(crate) code: String,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line it begins on, counted from 1.
    pub(crate) line: usize,
    /// From the line of `fn` to the line of its closing brace.
    pub(crate) lines: usize,
    /// Whether it is test code.
    pub(crate) is_test: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let code = blank(&text);
        Self {
            path: path.to_owned(),
            text,
            code,
        }
    }

    /// Whether the whole file is test code: below a `tests` or `benches` folder, or the sibling file of a module.
    pub(crate) fn is_test_file(&self) -> bool {
        let (folders, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        file == "tests.rs"
            || file.ends_with("_tests.rs")
            || folders
                .split('/')
                .any(|folder| folder == "tests" || folder == "benches")
    }

    /// How many lines are not test code.
    pub(crate) fn non_test_lines(&self) -> usize {
        if self.is_test_file() {
            return 0;
        }
        let all = self.text.lines().count();
        let tests: usize = self
            .test_regions()
            .iter()
            .map(|region| self.lines_in(region))
            .sum();
        all.saturating_sub(tests)
    }

    /// The bytes of each `#[cfg(test)]` item that has a body.
    pub(crate) fn test_regions(&self) -> Vec<Range<usize>> {
        let mut regions: Vec<Range<usize>> = Vec::new();
        for (at, _) in self.code.match_indices("#[cfg(test)]") {
            if regions.last().is_some_and(|last| last.contains(&at)) {
                continue;
            }
            if let Some(end) = self.body_end(at) {
                regions.push(at..end);
            }
        }
        regions
    }

    /// Every function with a body, nested ones too.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let tests = self.test_regions();
        let is_test_file = self.is_test_file();
        let mut found = Vec::new();
        for at in words(&self.code, "fn") {
            let rest = self.code[at + 2..].trim_start();
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            // `fn(u8) -> u8` is a type.
            let (false, Some(end)) = (name.is_empty(), self.body_end(at)) else {
                continue;
            };
            found.push(Function {
                name,
                line: self.line_of(at),
                lines: self.lines_in(&(at..end)),
                is_test: is_test_file || tests.iter().any(|region| region.contains(&at)),
            });
        }
        found
    }

    /// The line of a byte, counted from 1.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    fn lines_in(&self, region: &Range<usize>) -> usize {
        self.code[region.clone()].matches('\n').count() + 1
    }

    /// One past the brace that closes the first body after `at`; none where a `;` comes first.
    fn body_end(&self, at: usize) -> Option<usize> {
        let mut brackets = 0_usize;
        let mut braces = 0_usize;
        for (offset, byte) in self.code.as_bytes()[at..].iter().enumerate() {
            match byte {
                b'(' | b'[' => brackets += 1,
                b')' | b']' => brackets = brackets.saturating_sub(1),
                b';' if braces == 0 && brackets == 0 => return None,
                b'{' => braces += 1,
                b'}' => {
                    braces = braces.saturating_sub(1);
                    if braces == 0 {
                        return Some(at + offset + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Where `word` stands as a whole word in `code`.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_word =
        |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let bytes = code.as_bytes();
            let before = at.checked_sub(1).and_then(|index| bytes.get(index));
            !part_of_word(before) && !part_of_word(bytes.get(at + word.len()))
        })
}

/// Turns comments and literals to blanks, keeping every line break.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment_end(bytes, at);
        if end == at {
            at += 1;
            continue;
        }
        for byte in out
            .iter_mut()
            .take(end)
            .skip(at)
            .filter(|byte| **byte != b'\n')
        {
            *byte = b' ';
        }
        at = end;
    }
    // Only whole literals and comments were replaced, each byte by a blank.
    String::from_utf8_lossy(&out).into_owned()
}

/// One past the comment or literal that begins at `at`; `at` itself where none does.
fn literal_or_comment_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return at
            + rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return block_comment_end(bytes, at);
    }
    let begins_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest.first() {
        Some(b'"') => quoted_end(bytes, at + 1, b'"'),
        Some(b'r') if begins_word => raw_end(bytes, at, 1),
        Some(b'b') if begins_word && rest.get(1) == Some(&b'r') => raw_end(bytes, at, 2),
        Some(b'\'') => character_end(bytes, at),
        _ => at,
    }
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = at;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at.min(bytes.len())
}

fn quoted_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A raw string: its `r` or `br` is `prefix` bytes long.
fn raw_end(bytes: &[u8], at: usize, prefix: usize) -> usize {
    let hashes = bytes[at + prefix..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    let open = at + prefix + hashes;
    if bytes.get(open) != Some(&b'"') {
        return at; // an identifier that begins with r, or a raw identifier
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let body = &bytes[open + 1..];
    body.windows(close.len())
        .position(|window| window == close)
        .map_or(bytes.len(), |found| open + 1 + found + close.len())
}

/// A character literal; a lifetime is none.
fn character_end(bytes: &[u8], at: usize) -> usize {
    match (bytes.get(at + 1), bytes.get(at + 2)) {
        (Some(b'\\'), _) => quoted_end(bytes, at + 1, b'\''),
        (Some(_), Some(b'\'')) => at + 3,
        // One character of several bytes.
        (Some(byte), _) if !byte.is_ascii() => quoted_end(bytes, at + 1, b'\''),
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("crates/x/src/lib.rs", text.to_owned()).code
    }

    /// Each row is a text in pieces: kept, blanked, kept, ...
    #[test]
    fn blank_removes_comments_and_literals_and_keeps_the_rest() {
        let table: &[&[&str]] = &[
            &["a ", "// unsafe {", "\nb"],
            &["a ", "/* { /* } */ unsafe */", " b"],
            &["f(", r#""unsafe \" {""#, ") }"],
            &["f(", r##"r#"a " {"#"##, ") }"],
            &["f(b", "'{'", ", ", r"'\''", ", ", r"'\u{7d}'", ") }"],
            &["fn f<'a>(x: &'a str) { ", "'é'", " }"],
            &["error r r#type"],
        ];
        for pieces in table {
            let blanked = pieces.iter().enumerate().map(|(index, piece)| {
                if index % 2 == 0 {
                    (*piece).to_owned()
                } else {
                    " ".repeat(piece.len())
                }
            });
            assert_eq!(
                code(&pieces.concat()),
                blanked.collect::<String>(),
                "{pieces:?}"
            );
        }
    }

    #[test]
    fn functions_of_all_shapes_are_measured() {
        let text = "fn one() {}\nfn two(\n  a: [u8; 3],\n) -> u8\n{\n  a[0]\n}\ntrait T { fn three(&self); fn four(&self) {\n} }\ntype F = fn(u8);\n";
        let found: Vec<_> = Source::new("x.rs", text.to_owned())
            .functions()
            .into_iter()
            .map(|f| (f.name, f.line, f.lines))
            .collect();
        assert_eq!(
            found,
            [
                ("one".to_owned(), 1, 1),
                ("two".to_owned(), 2, 6),
                ("four".to_owned(), 8, 2)
            ]
        );
    }

    #[test]
    fn non_test_lines_leave_out_test_modules_and_test_files() {
        let text = "fn one() {}\n#[cfg(test)]\nmod tests {\n  fn t() {}\n}\n".to_owned();
        assert_eq!(
            Source::new("crates/x/src/a.rs", text.clone()).non_test_lines(),
            1
        );
        assert_eq!(
            Source::new("crates/x/src/a/tests.rs", text.clone()).non_test_lines(),
            0
        );
        assert_eq!(
            Source::new("crates/x/tests/a.rs", text.clone()).non_test_lines(),
            0
        );
        assert_eq!(
            Source::new("tests/interop/src/a.rs", text).non_test_lines(),
            0
        );
        let declared = "#[cfg(test)]\nmod tests;\nfn one() {\n}\n".to_owned();
        assert_eq!(
            Source::new("crates/x/src/a.rs", declared).non_test_lines(),
            4
        );
    }

    #[test]
    fn words_are_whole() {
        let code = "unsafe_code unsafe { x_unsafe } unsafe";
        assert_eq!(words(code, "unsafe").collect::<Vec<_>>(), [12, 32]);
    }
}
