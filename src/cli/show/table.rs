//! Tables: columns that line up whatever script their cells are in, and rows that fit the terminal.

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use super::{DIM, PLAIN, columns, cut, painted};
use crate::cli::show::visible_line;

/// Between two columns.
const GAP: usize = 2;
/// A column is not cut below this, and a terminal that is narrower than all of them together wraps.
const COLUMN_MIN: usize = 8;

/// What stands in a row under a heading.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text, of others too, in this style.
    pub(in crate::cli) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self { text: visible_line(text.as_ref()).into_owned(), style }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, PLAIN)
    }
}

/// A table with aligned columns, and a remark below a row that has one. On a terminal the widest columns are cut until
/// a row fits.
pub(in crate::cli) fn table<const N: usize, C: Into<Cell>>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = ([C; N], Option<String>)>,
) -> String {
    drawn(headings.map(|heading| Cell::styled(heading, DIM)), rows, columns())
}

fn drawn<const N: usize, C: Into<Cell>>(
    headings: [Cell; N],
    rows: impl IntoIterator<Item = ([C; N], Option<String>)>,
    columns: Option<usize>,
) -> String {
    let rows = rows.into_iter().map(|(cells, remark)| (cells.map(Into::into), remark));
    let lines: Vec<([Cell; N], Option<String>)> = std::iter::once((headings, None)).chain(rows).collect();
    let mut widths = [0; N];
    for (line, _) in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.text.width());
        }
    }
    if let Some(columns) = columns {
        fit(&mut widths, columns);
    }
    let mut text = String::new();
    for (line, remark) in &lines {
        let last = line.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or_default();
        for (at, (cell, width)) in line.iter().zip(widths).enumerate().take(last + 1) {
            let shown = cut(&cell.text, width);
            let padding = if at == last { 0 } else { width - shown.width() + GAP };
            text.push_str(&painted(cell.style, shown));
            text.push_str(&" ".repeat(padding));
        }
        text.push('\n');
        if let Some(remark) = remark {
            text.push_str(&format!("    {remark}\n"));
        }
    }
    text
}

/// Takes from the widest until all fit.
fn fit(widths: &mut [usize], columns: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > columns {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > COLUMN_MIN) else { return };
        *widest -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_fit() {
        let rows = || [(["日本", "a long text that is cut", "x"], Some("a remark".to_owned())), (["b", "c", ""], None)];
        let plain = |text: String| anstream::adapter::strip_str(&text).to_string();
        let headings = || ["ID", "TITLE", "END"].map(Cell::from);
        assert_eq!(
            plain(drawn(headings(), rows(), None)),
            "ID    TITLE                    END\n日本  a long text that is cut  x\n    a remark\nb     c\n"
        );
        assert_eq!(
            plain(drawn(headings(), rows(), Some(24))),
            "ID    TITLE          END\n日本  a long text…   x\n    a remark\nb     c\n"
        );
        // It gets no narrower than that.
        assert!(plain(drawn(headings(), rows(), Some(3))).starts_with("ID    TITLE     END\n"));
    }

    #[test]
    fn no_cell_writes_over_another() {
        let drawn = drawn(["A", "B"].map(Cell::from), [(["\u{1b}[2J\nx\u{202e}", "y"], None)], None);
        assert_eq!(drawn, "A                    B\n\\u{1b}[2J x\\u{202e}  y\n");
    }
}
