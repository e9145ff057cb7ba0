//! How do the headline figures get into the README?

use std::fs;
use std::path::Path;

use super::{Column, Table, markdown, or_dash};
use crate::error::{Doing, Result};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// Every peer's row in the columns that the parts gave.
pub(crate) fn headline(peers: &[&'static str], columns: &[&Column]) -> Table {
    let head = std::iter::once(String::new()).chain(columns.iter().map(|column| column.title.clone()));
    let mut table = Table::new("Headline", head);
    for peer in peers {
        let cells = columns.iter().map(|column| or_dash(column.cells.iter().find(|(of, _)| of == peer).map(|(_, cell)| cell.clone())));
        table.row(std::iter::once((*peer).to_owned()).chain(cells));
    }
    table
}

/// Replaces what is between the markers. Says so if there are none.
pub(crate) fn update(readme: &Path, about: &str, table: &Table) -> Result<()> {
    let text = fs::read_to_string(readme).doing(|| format!("reading {}", readme.display()))?;
    match replaced(&text, &format!("{about}\n\n{}", markdown::table(table))) {
        Some(text) => fs::write(readme, text).doing(|| format!("writing {}", readme.display())),
        None => {
            eprintln!("{} has no lines `{BEGIN}` and `{END}`: its table was not written", readme.display());
            Ok(())
        }
    }
}

fn replaced(text: &str, figures: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{figures}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replaced(&text, "new\n").as_deref(), Some(format!("a\n{BEGIN}\nnew\n{END}\nb\n").as_str()));
        assert_eq!(replaced("a\nb\n", "new\n"), None);
    }
}
