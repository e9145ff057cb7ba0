//! Which texts has this connection prepared already?
//!
//! The driver keeps prepared statements too, and finds one again by parsing its text once more. That is a quarter of all that
//! a short transaction costs the client. Here a text is found by comparing it.

use mysql::Statement;

use crate::sql::kind::StatementKind;

/// A longer list would take longer to go through than it saves.
const MOST: usize = 32;

pub(crate) struct Texts {
    known: Vec<Text>,
    /// How many texts the driver was asked to prepare.
    asked: usize,
    /// How many statements the driver keeps. Asked for one more, it closes the one that it was not asked for the longest.
    kept: usize,
}

struct Text {
    sql: Box<str>,
    statement: Statement,
    kind: StatementKind,
}

impl Texts {
    /// Of a driver that keeps so many statements.
    pub(crate) fn new(kept: usize) -> Self {
        Self { known: Vec::new(), asked: 0, kept }
    }

    pub(crate) fn find(&self, sql: &str) -> Option<(Statement, StatementKind)> {
        let text = self.known.iter().find(|text| *text.sql == *sql)?;
        Some((text.statement.clone(), text.kind))
    }

    /// The driver was asked to prepare a text that is not known here.
    pub(crate) fn learn(&mut self, sql: &str, statement: &Statement, kind: StatementKind) {
        self.asked += 1;
        if self.asked > self.kept || self.known.len() == MOST {
            // It may have closed any of them, but not the last.
            self.known.clear();
        }
        if self.kept > 0 {
            self.known.push(Text { sql: sql.into(), statement: statement.clone(), kind });
        }
    }

    /// The statement with this number is closed.
    pub(crate) fn forget(&mut self, statement: u32) {
        self.known.retain(|text| text.statement.id() != statement);
    }
}
