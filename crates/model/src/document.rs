//! A file that people write, as a tree of values that know their lines. TOML and JSON both become one, so that what reads them
//! can say where each mistake is.

mod json;

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) use self::json::parse_json;
use crate::error::ConfigCode;
use crate::file::FileError;
use crate::value::Raw;

/// Where something stands in a file. Both count from 1; the column counts characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value and its place.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) at: Place,
    pub(crate) value: Content,
}

/// What an item holds. Text may be a secret: there is no `Debug`.
#[derive(Clone)]
pub(crate) enum Content {
    Table(Vec<Entry>),
    Array(Vec<Item>),
    Text(String),
    Integer(i64),
    Bool(bool),
    /// JSON's null.
    Nothing,
    /// A kind of value that no attribute has, by its name.
    Other(&'static str),
}

/// A key of a table, and what it stands for.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Place,
    pub(crate) item: Item,
}

impl Item {
    /// What kind of value it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Content::Table(_) => "a table",
            Content::Array(_) => "a list",
            Content::Text(_) => "text",
            Content::Integer(_) => "a number",
            Content::Bool(_) => "true or false",
            Content::Nothing => "null",
            Content::Other(what) => what,
        }
    }

    /// The value as an attribute takes it.
    pub(crate) fn raw(&self) -> Option<Raw> {
        match &self.value {
            Content::Text(text) => Some(Raw::Text(text.clone())),
            Content::Integer(number) => Some(Raw::Integer(*number)),
            Content::Bool(yes) => Some(Raw::Bool(*yes)),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Content::Table(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> Option<&[Self]> {
        match &self.value {
            Content::Array(items) => Some(items),
            _ => None,
        }
    }

    /// What stands for `key`, if this is a table that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let entry = self.entries()?.iter().find(|entry| entry.key == key)?;
        Some(&entry.item)
    }
}

/// Where each line of a text begins.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(after).collect(),
        }
    }

    /// The place of a byte.
    pub(crate) fn place(&self, byte: usize) -> Place {
        let byte = byte.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= byte);
        let start = self.starts.get(line.saturating_sub(1)).copied();
        let before = self.text.get(start.unwrap_or(0)..byte).unwrap_or_default();
        Place {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX),
        }
    }
}

/// Reads TOML.
///
/// # Errors
/// It is none: every mistake that the parser can tell apart.
pub(crate) fn parse_toml(text: &str) -> Result<Item, Vec<FileError>> {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Item {
            at: Place { line: 1, column: 1 },
            value: entries(&lines, table.get_ref()),
        });
    }
    let error = |error: toml::de::Error| {
        let at = error.span().map(|span| lines.place(span.start));
        // The message alone: what stands in the file may be a secret.
        FileError::new(
            at,
            ConfigCode::Syntax,
            error.message(),
            "see toml.io for the syntax",
        )
    };
    Err(errors.into_iter().map(error).collect())
}

fn entries(lines: &Lines<'_>, table: &DeTable<'_>) -> Content {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &Spanned<std::borrow::Cow<'_, str>> = key;
        Entry {
            key: key.get_ref().as_ref().to_owned(),
            at: lines.place(key.span().start),
            item: item(lines, value),
        }
    };
    let mut entries: Vec<Entry> = table.iter().map(entry).collect();
    // In the order of the file, so that objects and mistakes keep it.
    entries.sort_by_key(|entry| entry.at);
    Content::Table(entries)
}

fn item(lines: &Lines<'_>, value: &Spanned<DeValue<'_>>) -> Item {
    let content = match value.get_ref() {
        DeValue::String(text) => Content::Text(text.as_ref().to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Content::Other("a number out of range"), Content::Integer),
        DeValue::Float(_) => Content::Other("a fraction"),
        DeValue::Boolean(yes) => Content::Bool(*yes),
        DeValue::Datetime(_) => Content::Other("a date"),
        DeValue::Array(array) => {
            Content::Array(array.iter().map(|value| item(lines, value)).collect())
        }
        DeValue::Table(table) => entries(lines, table),
    };
    Item {
        at: lines.place(value.span().start),
        value: content,
    }
}

/// A path that a file names, which is relative to the file's own directory.
pub(crate) fn beside(base: &Path, named: &str) -> String {
    base.join(named).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_items_know_their_lines_and_columns() {
        let text = "a = 1\n\n[[t]]\nb = { c = \"é\", d = true }\n[[t]]\nf = 1.5\n";
        let Ok(document) = parse_toml(text) else {
            panic!("legal")
        };
        let place = |item: &Item| (item.at.line, item.at.column);
        let tables = document.get("t").and_then(Item::items).expect("a list");
        assert_eq!(place(document.get("a").expect("a")), (1, 5));
        assert_eq!([tables[0].at.line, tables[1].at.line], [3, 5]);
        let inline = tables[0].get("b").expect("b");
        assert_eq!(place(inline.get("c").expect("c")), (4, 11));
        assert_eq!(place(inline.get("d").expect("d")), (4, 20));
        assert_eq!(tables[1].get("f").expect("f").kind(), "a fraction");
    }

    #[test]
    fn toml_with_mistakes_tells_each_at_its_line_and_shows_no_text() {
        let errors = parse_toml("a = hunter2\nb = 1\nb = 2\nc = \"open\n")
            .err()
            .expect("none");
        let lines: Vec<_> = errors.iter().map(|error| error.line).collect();
        assert!(lines.contains(&Some(1)) && lines.len() > 1, "{lines:?}");
        assert!(!format!("{errors:?}").contains("hunter2"));
    }
}
