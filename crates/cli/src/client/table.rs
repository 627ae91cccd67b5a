//! Columns for people: as wide as what stands in them, two blanks apart.

use crate::log::one_line;

/// Rows below a line of titles.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(titles: &[&str]) -> Self {
        Self {
            rows: vec![titles.iter().map(|title| (*title).to_owned()).collect()],
        }
    }

    /// Adds a row. What peers chose may stand in it: control characters are shown as escapes.
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(|cell| one_line(cell.as_ref()));
        self.rows.push(cells.collect());
    }

    /// The text, each line with its end; of a table without rows nothing, not even the titles.
    pub(crate) fn text(&self) -> String {
        if self.rows.len() < 2 {
            return String::new();
        }
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - width_of(cell) + GAP));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| width_of(cell)).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

/// In characters: names in the tree are of letters that take one place each.
fn width_of(cell: &str) -> usize {
    cell.chars().count()
}

const GAP: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_columns_are_aligned_and_lines_end_without_blanks() {
        let mut table = Table::new(&["ID", "NAME", "WHAT"]);
        table.row(["1", "ümlaut", ""]);
        table.row(["1000", "a", "x\ny\x1b[2J"]);
        assert_eq!(
            table.text(),
            "ID    NAME    WHAT\n\
             1     ümlaut\n\
             1000  a       x; y\\u{1b}[2J\n"
        );
    }

    #[test]
    fn table_without_rows_is_empty() {
        assert_eq!(Table::new(&["ID"]).text(), "");
    }
}
