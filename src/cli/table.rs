//! Lays out rows in columns. Pure.
//!
//! A cell that is too wide for its column is wrapped after a blank, a hyphen or a slash, and never truncated, so that names
//! can be copied.

/// Blanks between two columns.
const GAP: usize = 2;

/// Minimum width of a column.
const NARROWEST: usize = 8;

/// A column: its title and alignment.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Left-aligned.
    Text(&'static str),
    /// Right-aligned, and never wrapped.
    Number(&'static str),
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Text(title) | Self::Number(title) => title,
        }
    }
}

/// Layout of a table.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Maximum width; `None` for any.
    pub width: Option<usize>,
    /// Whether the titles of the columns are the first row.
    pub headers: bool,
}

impl Layout {
    /// The lines of a table.
    pub fn lines(self, columns: &[Column], rows: Vec<Vec<String>>) -> Vec<String> {
        let titles = columns.iter().map(|column| column.title().to_owned());
        let header = self.headers.then(|| titles.collect());
        let rows: Vec<Vec<String>> = header.into_iter().chain(rows).collect();
        let mut widths = natural(columns.len(), &rows);
        if let Some(width) = self.width {
            shrink(columns, &mut widths, width);
        }
        rows.iter()
            .flat_map(|row| row_lines(columns, &widths, row))
            .collect()
    }
}

/// `text` in lines of at most `columns` columns, broken between words. The first one begins with `first`, the others with
/// `further`.
pub fn wrapped(text: &str, columns: usize, first: &str, further: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut is_empty) = (first.to_owned(), true);
    for word in text.split_whitespace() {
        if !is_empty && width(&line) + 1 + width(word) > columns {
            lines.push(std::mem::replace(&mut line, further.to_owned()));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
    lines
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn natural(columns: usize, rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths = vec![0; columns];
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    widths
}

/// Narrows the widest column of text until all fit into `available` columns.
fn shrink(columns: &[Column], widths: &mut [usize], available: usize) {
    let gaps = GAP * columns.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > available {
        let texts = columns.iter().zip(widths.iter_mut());
        let widest = texts
            .filter(|(column, _)| matches!(column, Column::Text(_)))
            .map(|(_, width)| width)
            .filter(|width| **width > NARROWEST)
            .max_by_key(|width| **width);
        let Some(widest) = widest else {
            return;
        };
        *widest -= 1;
    }
}

fn row_lines(columns: &[Column], widths: &[usize], row: &[String]) -> Vec<String> {
    let cells: Vec<Vec<String>> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| wrap(cell, *width))
        .collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or_default();
    (0..height)
        .map(|at| {
            let parts = columns
                .iter()
                .zip(widths)
                .zip(&cells)
                .map(|((column, width), cell)| {
                    let part = cell.get(at).map_or("", String::as_str);
                    match column {
                        Column::Text(_) => format!("{part:<width$}"),
                        Column::Number(_) => format!("{part:>width$}"),
                    }
                });
            let line = parts.collect::<Vec<_>>().join(&" ".repeat(GAP));
            line.trim_end().to_owned()
        })
        .collect()
}

/// Cuts `text` into pieces of at most `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    let width = width.max(1);
    while rest.len() > width {
        let (fits, _) = rest.split_at(width);
        let cut = fits
            .iter()
            .rposition(|c| matches!(c, ' ' | '-' | '/'))
            .map_or(width, |at| at + 1);
        let tail = rest.split_off(cut);
        pieces.push(rest.iter().collect::<String>().trim_end().to_owned());
        rest = tail;
    }
    pieces.push(rest.into_iter().collect());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[test]
    fn table_is_as_wide_as_allowed() {
        let columns = [
            Column::Text("NAME"),
            Column::Number("AGE"),
            Column::Text("MESSAGE"),
        ];
        let row = [
            "a-name-of-some-length",
            "5m",
            "waits for the leases to be taken over",
        ];
        let rows = vec![row.map(str::to_owned).to_vec()];
        let lines = |width, headers| Layout { width, headers }.lines(&columns, rows.clone());
        let whole = "a-name-of-some-length   5m  waits for the leases to be taken over";
        assert_eq!(lines(None, false), [whole.replace("   5m", "  5m")]);
        assert_eq!(lines(None, true)[1], whole);
        assert_eq!(lines(Some(65), true)[1..], [whole]);
        for narrow in [40, 64] {
            let lines = lines(Some(narrow), true);
            assert!(lines.len() > 2, "{lines:#?}");
            assert!(lines.iter().all(|line| width(line) <= narrow), "{lines:#?}");
        }
    }

    #[rstest]
    #[case("prowlarr", 8, &["prowlarr"])]
    #[case("replicationsource/prowlarr", 20, &["replicationsource/", "prowlarr"])]
    #[case("volsync-prowlarr-src", 10, &["volsync-", "prowlarr-", "src"])]
    #[case("waits for the leases", 11, &["waits for", "the leases"])]
    #[case("abcdefghij", 4, &["abcd", "efgh", "ij"])]
    #[case("", 4, &[""])]
    fn long_cell_is_wrapped_at_separators(
        #[case] text: &str,
        #[case] width: usize,
        #[case] pieces: &[&str],
    ) {
        assert_eq!(wrap(text, width), pieces);
    }

    proptest! {
        #[test]
        fn wrapping_loses_only_blanks_and_keeps_the_width(
            text in "[a-zé/ -]{0,60}", width in 1_usize..20,
        ) {
            let pieces = wrap(&text, width);
            prop_assert!(pieces.iter().all(|piece| piece.chars().count() <= width));
            let bare = |text: &str| text.replace(' ', "");
            prop_assert_eq!(bare(&pieces.concat()), bare(&text));
        }
    }
}
