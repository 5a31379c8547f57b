//! Lays rows out in columns: cells in, lines out.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Widest line of a table that is to fit a terminal.
const COLUMNS: u16 = 80;

/// How one column is laid out.
#[derive(Clone, Copy)]
pub enum Column {
    /// Words; wrapped between them.
    Text(&'static str),
    /// A name; wrapped at its hyphens, so that nothing of it is lost.
    Name(&'static str),
    /// A number; right-aligned.
    Number(&'static str),
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Text(title) | Self::Name(title) | Self::Number(title) => title,
        }
    }
}

/// The lines of a table, its header first. `wide` lets lines be as long as they are.
pub fn lines(columns: &[Column], rows: Vec<Vec<String>>, wide: bool) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if wide {
        table.set_content_arrangement(ContentArrangement::Disabled);
    } else {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(COLUMNS);
    }
    table.set_header(columns.iter().map(|column| column.title()));
    table.add_rows(rows);
    let last = columns.len().saturating_sub(1);
    for (index, column) in columns.iter().enumerate() {
        let Some(laid_out) = table.column_mut(index) else {
            continue;
        };
        laid_out.set_padding((0, if index == last { 0 } else { 2 }));
        match column {
            Column::Text(_) => {}
            Column::Name(_) => {
                laid_out.set_delimiter('-');
            }
            Column::Number(_) => laid_out.set_cell_alignment(CellAlignment::Right),
        }
    }
    table.trim_fmt().lines().map(str::to_owned).collect()
}
