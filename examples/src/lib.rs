//! What the demo and the torture have in common: how their tables say whether a promise was kept.

use comfy_table::{Cell, CellAlignment, Table};

/// Adds a row for each name and value. Where the value is about a promise, a mark says whether that was kept.
pub fn add_rows<'r>(table: &mut Table, rows: impl IntoIterator<Item = (&'r str, String, Option<bool>)>) {
    for (name, value, kept) in rows {
        let value = match kept {
            Some(true) => format!("{value} \u{2713}"),
            Some(false) => format!("{value} \u{2717}"),
            None => format!("{value}  "),
        };
        table.add_row([Cell::new(name), Cell::new(value).set_alignment(CellAlignment::Right)]);
    }
}
