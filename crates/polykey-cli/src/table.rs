//! Aligned columns for people.
//!
//! Every cell is escaped here, so a table can be fed with names from anywhere. Widths are those that
//! a terminal shows (two columns for most East Asian characters and emoji).
//!
//! Always: one line a row, no trailing blanks, cells two blanks apart.

use unicode_width::UnicodeWidthStr;

use crate::escape;

/// A table of text, written row by row and printed at once.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Table::default()
    }

    /// A table whose first row is `headings`.
    pub fn with_headings(headings: &[&str]) -> Self {
        let mut table = Table::new();
        table.row(headings);
        table
    }

    /// Adds a row. An empty cell shows as `-`, so that the columns of a line can be counted.
    pub fn row(&mut self, cells: &[impl AsRef<str>]) {
        self.rows.push(
            cells
                .iter()
                .map(|cell| match cell.as_ref() {
                    "" => "-".to_owned(),
                    text => escape::name(text).into_owned(),
                })
                .collect(),
        );
    }

    /// True when no row was added.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text; each row ends with a line feed.
    pub fn to_text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            for (index, cell) in row.iter().enumerate() {
                text.push_str(cell);
                if index + 1 < row.len() {
                    let gap = widths[index] - cell.width() + 2;
                    text.extend(std::iter::repeat_n(' ', gap));
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::with_headings(&["NAME", "ID"]);
        table.row(&["work", "z1"]);
        table.row(&["a long name", "z2"]);
        table.row(&["", "z3"]);
        table.row(&["密码", "z4"]);
        assert_eq!(
            table.to_text(),
            "NAME         ID\nwork         z1\na long name  z2\n-            z3\n密码         z4\n"
        );
    }

    #[test]
    fn rows_may_differ_in_length() {
        let mut table = Table::new();
        table.row(&["a"]);
        table.row(&["bbb", "c", "d"]);
        let none: [&str; 0] = [];
        table.row(&none);
        assert_eq!(table.to_text(), "a\nbbb  c  d\n\n");
        assert_eq!(Table::new().to_text(), "");
        assert!(Table::new().is_empty());
    }

    #[test]
    fn hostile_cells_stay_in_their_row() {
        let mut table = Table::new();
        table.row(&["a\nb", "\u{1b}[2J"]);
        assert_eq!(table.to_text(), "\"a\\nb\"  \"\\u{1b}[2J\"\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_table_has_one_line_a_row(rows in proptest::collection::vec(proptest::collection::vec(any::<String>(), 0..4), 0..6)) {
            let mut table = Table::new();
            for row in &rows {
                table.row(row);
            }
            prop_assert_eq!(table.to_text().matches('\n').count(), rows.len());
            prop_assert!(!table.to_text().contains(" \n"));
        }
    }
}
