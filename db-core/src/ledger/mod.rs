//! The commit ledger: one row of this client's, in which each COMMIT leaves its mark.

mod resolve;
pub(crate) mod row;

use std::sync::Arc;

pub(crate) use self::resolve::{Lost, Resolution};
use self::row::Row;
use crate::config::Settings;
use crate::connection::{COMMIT, Link};
use crate::telemetry::event::event;
use crate::{ErrorKind, Result};

/// Records the COMMITs of one session.
pub(crate) struct Recorder {
    settings: Arc<Settings>,
    row: Option<Row>,
    /// The connection, by its number, whose server is read-only and takes no row.
    unrecorded: Option<u64>,
    /// Where the compare-and-swap is put together.
    statement: String,
}

impl Recorder {
    pub(crate) fn new(settings: &Arc<Settings>) -> Self {
        Self { settings: Arc::clone(settings), row: None, unrecorded: None, statement: String::new() }
    }

    /// Makes sure that this client has a row to record its COMMITs in.
    pub(crate) fn enroll(&mut self, link: &mut Link) -> Result<()> {
        let Some(table) = &self.settings.ledger else { return Ok(()) };
        if self.row.as_mut().is_some_and(Row::reliable) || self.unrecorded == Some(link.serial()) {
            return Ok(());
        }
        let row = Row::new(resolve::new_client());
        match link.packet(&[&row.insert(table), COMMIT]).map_err(resolve::refused) {
            Ok(_) => {
                self.row = Some(row);
                resolve::sweep(table, link);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::ReadOnlyServer || error.code() == Some(READ_ONLY_TRANSACTIONS) => {
                // Nothing can be committed here, and nothing has to be recorded.
                self.row = None;
                self.unrecorded = Some(link.serial());
                Ok(())
            }
            Err(error) => Err(match error.kind() {
                ErrorKind::UnknownTable => {
                    error.hint("create the commit ledger's table with Db::install_ledger, on a Db without commit_ledger")
                }
                ErrorKind::AccessDenied => error.hint("the commit ledger needs SELECT, INSERT, UPDATE and DELETE on its table"),
                _ => error,
            }),
        }
    }

    /// A fresh target for the next COMMIT, if it is recorded. The compare-and-swap to it is then the [`statement`](Self::statement).
    pub(crate) fn next(&mut self) -> Option<u64> {
        let (table, row) = (self.settings.ledger.as_ref()?, self.row.as_mut()?);
        let target = row.target();
        self.statement.clear();
        row.swap(table, target, &mut self.statement);
        Some(target)
    }

    pub(crate) fn statement(&self) -> &str {
        &self.statement
    }

    /// COMMIT succeeded, and with it the swap of so many rows.
    pub(crate) fn committed(&mut self, target: Option<u64>, changed: u64) {
        let (Some(target), Some(row)) = (target, &mut self.row) else { return };
        if changed == 1 {
            row.holds(target);
        } else {
            // Another program has deleted the row. The next transaction gets a new one.
            event!(warn, "db_core.ledger_row", { db_core.found = "deleted" }, "the row of the commit ledger was deleted while in use");
            self.row = None;
        }
    }

    /// Creates the table.
    pub(crate) fn install(settings: &Settings, link: &mut Link) -> Result<()> {
        let table = Settings::table(&settings.options)?;
        link.packet(&[&table.create()]).map_err(resolve::refused)?;
        Ok(())
    }
}

/// A server with `transaction_read_only = ON`.
const READ_ONLY_TRANSACTIONS: u16 = 1792;
