//! JSON (RFC 8259) whose values know their lines: the saved configuration of other targets, which an operator may have edited.

use super::{Content, Entry, Item, Lines};
use crate::error::ConfigCode;
use crate::file::FileError;

/// The deepest nesting that is read.
const DEPTH_MAX: u32 = 64;

/// Reads JSON.
///
/// # Errors
/// The first mistake.
pub(crate) fn parse_json(text: &str) -> Result<Item, Vec<FileError>> {
    let lines = Lines::new(text);
    let mut parser = Parser {
        lines: &lines,
        text,
        at: 0,
        depth: 0,
    };
    let parsed = parser.item().and_then(|item| {
        parser.skip_blanks();
        match parser.peek() {
            None => Ok(item),
            Some(_) => Err(("something stands after the end", parser.at)),
        }
    });
    parsed.map_err(|(reason, at)| {
        let place = Some(lines.place(at));
        vec![FileError::new(
            place,
            ConfigCode::Syntax,
            reason,
            "it is not JSON",
        )]
    })
}

struct Parser<'a> {
    lines: &'a Lines<'a>,
    text: &'a str,
    at: usize,
    depth: u32,
}

/// What is wrong, and at which byte.
type Wrong = (&'static str, usize);

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn item(&mut self) -> Result<Item, Wrong> {
        self.skip_blanks();
        let at = self.lines.place(self.at);
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::table)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b'"') => Content::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Content::Bool(true))?,
            Some(b'f') => self.word("false", Content::Bool(false))?,
            Some(b'n') => self.word("null", Content::Nothing)?,
            Some(_) => return Err(("a value does not begin so", self.at)),
            None => return Err(("it ends too early", self.at)),
        };
        Ok(Item { at, value })
    }

    fn nested(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<Content, Wrong>,
    ) -> Result<Content, Wrong> {
        if self.depth >= DEPTH_MAX {
            return Err(("it is nested too deeply", self.at));
        }
        self.depth += 1;
        self.at += 1;
        let content = inner(self)?;
        self.depth -= 1;
        Ok(content)
    }

    fn table(&mut self) -> Result<Content, Wrong> {
        let mut entries = Vec::new();
        if self.take(b'}') {
            return Ok(Content::Table(entries));
        }
        loop {
            self.skip_blanks();
            let at = self.lines.place(self.at);
            if self.peek() != Some(b'"') {
                return Err(("a key is to stand here, in quotes", self.at));
            }
            let key = self.string()?;
            if !self.take(b':') {
                return Err(("a colon is missing", self.at));
            }
            let item = self.item()?;
            entries.push(Entry { key, at, item });
            if self.take(b'}') {
                return Ok(Content::Table(entries));
            }
            if !self.take(b',') {
                return Err(("a comma or } is missing", self.at));
            }
        }
    }

    fn array(&mut self) -> Result<Content, Wrong> {
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Content::Array(items));
        }
        loop {
            items.push(self.item()?);
            if self.take(b']') {
                return Ok(Content::Array(items));
            }
            if !self.take(b',') {
                return Err(("a comma or ] is missing", self.at));
            }
        }
    }

    fn word(&mut self, word: &str, content: Content) -> Result<Content, Wrong> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(("a value does not begin so", self.at));
        }
        self.at += word.len();
        Ok(content)
    }

    fn number(&mut self) -> Result<Content, Wrong> {
        let start = self.at;
        let of_number = |byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
        while self.peek().is_some_and(of_number) {
            self.at += 1;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        // Whether it is a number at all the library knows; no attribute is a fraction.
        match text.parse::<i64>() {
            Ok(number) => Ok(Content::Integer(number)),
            Err(_) if serde_json::from_str::<f64>(text).is_ok() => {
                Ok(Content::Other("a fraction, or a number out of range"))
            }
            Err(_) => Err(("it is no number", start)),
        }
    }

    fn string(&mut self) -> Result<String, Wrong> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                // Whatever is escaped, it is no end of the string.
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(("a string has no end", start)),
            }
        }
        self.at += 1;
        let quoted = self.text.get(start..self.at).unwrap_or_default();
        serde_json::from_str(quoted).map_err(|_| ("a string holds what none may", start))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Item, Vec<FileError>> {
        parse_json(text)
    }

    #[test]
    fn json_values_know_their_lines() {
        let text = "{\n \"a\": [1, -2,\n {\"b\\u0041\": \"x\\\"y\"}],\n \"c\": null, \"d\": 1.5}\n";
        let Ok(document) = parse(text) else {
            panic!("legal")
        };
        let list = document.get("a").and_then(Item::items).expect("a list");
        assert_eq!(list[2].get("bA").and_then(Item::text), Some("x\"y"));
        assert_eq!(list[2].at.line, 3);
        assert_eq!(document.get("c").expect("c").kind(), "null");
        assert_eq!(document.get("d").expect("d").at.line, 4);
    }

    #[test]
    fn json_with_a_mistake_is_refused_at_its_line() {
        let deep = "[".repeat(100);
        for (text, line) in [
            ("", 1),
            ("{", 1),
            ("{\"a\" 1}", 1),
            ("{\n\"a\": 1\n\"b\": 2}", 3),
            ("[1,\n]", 2),
            ("{}\nx", 2),
            ("\"open", 1),
            ("\"open\\", 1),
            ("[1,\n2-3]", 2),
            ("tru", 1),
            (&deep, 1),
        ] {
            let errors = parse(text).err().expect(text);
            assert_eq!(errors[0].line, Some(line), "{text}");
        }
    }

    proptest! {
        #[test]
        fn json_of_any_text_never_panics_and_agrees_with_the_library(text in "[\\[\\]{}\",:0-9a-z\\\\ .\n-]{0,40}") {
            let ours = parse(&text).is_ok();
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            // A number as 01 is more than the library takes: no harm in it.
            prop_assert!(ours || !theirs, "{text}");
        }
    }
}
