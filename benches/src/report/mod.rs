//! What does the reader get?

pub(crate) mod markdown;
pub(crate) mod plot;
pub(crate) mod readme;

use self::plot::Plot;
use crate::stats::Spread;

/// What one part found out.
#[derive(Default)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) text: Vec<String>,
    pub(crate) tables: Vec<Table>,
    pub(crate) plots: Vec<Plot>,
    pub(crate) goals: Vec<Goal>,
    /// For the README.
    pub(crate) headline: Vec<Column>,
}

pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Something that was to be reached, and whether it was.
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) found: String,
    pub(crate) met: bool,
}

/// A column of the README's table: a cell per peer.
pub(crate) struct Column {
    pub(crate) title: String,
    pub(crate) cells: Vec<(&'static str, String)>,
}

impl Section {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    pub(crate) fn say(&mut self, text: impl Into<String>) {
        self.text.push(text.into());
    }

    pub(crate) fn goal(&mut self, what: impl Into<String>, found: impl Into<String>, met: bool) {
        self.goals.push(Goal { what: what.into(), found: found.into(), met });
    }
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, head: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { title: title.into(), head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

/// `1.21 (1.15–1.30)`: the median, the 10th and the 90th percentile.
pub(crate) fn ratio(spread: Spread) -> String {
    format!("{:.2} ({:.2}–{:.2})", spread.median, spread.low, spread.high)
}

/// A dash where there is no figure.
pub(crate) fn or_dash(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| "–".into())
}
