//! The reference page of attributes, made from the table.

use std::fmt::Write as _;

use super::{Attribute, Column, Kind, ObjectKind, Takes};
use crate::value::Value;

const HEAD: &str = "\
# Attributes

Every attribute of every kind of object, made from the table that the programs read
(`cargo run -p model --example attributes > docs/reference/attributes.md`). A test holds the two together.

*Default* is Quintain's own, for objects made in TOML, by the API and by `quintain serve`. *LIO's* holds for portal groups and
backstores with `defaults = \"lio\"`: those that targetcli, rtslib, configfs or a saveconfig.json made. There a key that has
LIO's default counts as unset when a session is negotiated, because LIO's tools save every key, and Quintain's own is offered;
`lio_defaults = true` offers LIO's literally. `-`: there is no default, and what its absence means the text says.

*Takes effect*: *at once*; *at login*: for sessions that log in from then on; *when made*: it is fixed for the life of the
object; *kept*: it is stored and shown for tools that expect it, and has no effect here.
";

/// The page, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for kind in ObjectKind::ALL {
        // Writing to a string does not fail.
        let _written = write!(
            page,
            "\n## {}: `{}`\n\n| Attribute | Value | Default | LIO's | Takes effect | What it says | Origin | LIO's file |\n|---|---|---|---|---|---|---|---|\n",
            title(kind),
            path_of(kind)
        );
        for row in kind.attributes() {
            page.push_str(&line(row));
        }
    }
    page
}

fn line(row: &Attribute) -> String {
    let file = row
        .lio_path()
        .map_or_else(String::new, |file| format!("`{file}`"));
    format!(
        "| `{}` | {} | {} | {} | {} | {} | {} | {file} |\n",
        row.name,
        value(row),
        default(row, Column::Ours),
        default(row, Column::Lio),
        takes(row.takes),
        row.help,
        row.origin.replace('|', "\\|"),
    )
}

fn value(row: &Attribute) -> String {
    match row.kind {
        Kind::Bool => "yes or no".to_owned(),
        Kind::Integer { min, max } if min == max => format!("{min}"),
        Kind::Integer { min, max } => format!("{min} to {max}"),
        Kind::Size { .. } => "a size".to_owned(),
        Kind::Text { max_bytes } => format!("text, up to {max_bytes} bytes"),
        Kind::Address { default_port } => {
            format!("`host:port`, or a host with port {default_port}")
        }
        Kind::Choice(choices) => {
            let quoted: Vec<String> = choices.iter().map(|one| format!("`{one}`")).collect();
            quoted.join(", ")
        }
        Kind::Secret { max_bytes } => format!("a secret, up to {max_bytes} bytes; never shown"),
    }
}

fn default(row: &Attribute, column: Column) -> String {
    match row.default_in(column) {
        Some(Value::Bool(yes)) => yes.to_string(),
        Some(Value::Integer(number)) => number.to_string(),
        Some(Value::Text(text)) => format!("`{text}`"),
        Some(Value::Secret(_)) | None => "-".to_owned(),
    }
}

fn takes(takes: Takes) -> &'static str {
    match takes {
        Takes::Live => "at once",
        Takes::NextLogin => "at login",
        Takes::Creation => "when made",
        Takes::Stored => "kept",
    }
}

fn title(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Daemon => "The daemon",
        ObjectKind::Discovery => "Discovery",
        ObjectKind::Backstore => "Backstores",
        ObjectKind::AluaGroup => "ALUA groups",
        ObjectKind::Target => "Targets",
        ObjectKind::Tpg => "Portal groups",
        ObjectKind::Portal => "Portals",
        ObjectKind::Lun => "LUNs",
        ObjectKind::Acl => "Node ACLs",
        ObjectKind::MappedLun => "Mapped LUNs",
    }
}

fn path_of(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Daemon => "/",
        ObjectKind::Discovery => "/discovery",
        ObjectKind::Backstore => "/backstores/<type>/<name>",
        ObjectKind::AluaGroup => "/backstores/<type>/<name>/alua/<group>",
        ObjectKind::Target => "/targets/<iqn>",
        ObjectKind::Tpg => "/targets/<iqn>/tpgs/<tag>",
        ObjectKind::Portal => "/targets/<iqn>/tpgs/<tag>/portals/<addr:port>",
        ObjectKind::Lun => "/targets/<iqn>/tpgs/<tag>/luns/<n>",
        ObjectKind::Acl => "/targets/<iqn>/tpgs/<tag>/acls/<iqn>",
        ObjectKind::MappedLun => "/targets/<iqn>/tpgs/<tag>/acls/<iqn>/luns/<n>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_page_is_what_the_table_says() {
        let page = include_str!("../../../../docs/reference/attributes.md");
        assert!(
            page == reference(),
            "make it anew: cargo run -p model --example attributes > docs/reference/attributes.md"
        );
    }

    #[test]
    fn reference_has_a_line_for_each_row() {
        let lines = reference()
            .lines()
            .filter(|line| line.starts_with("| `"))
            .count();
        let rows: usize = ObjectKind::ALL
            .iter()
            .map(|kind| kind.attributes().len())
            .sum();
        assert_eq!(lines, rows);
    }
}
