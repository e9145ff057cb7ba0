//! The recorder of commits: one row of the ledger, its position, and the connection that takes no row.

#[cfg(test)]
mod explore;
pub(super) mod keyed;
#[cfg(test)]
mod model;
mod resolve;
mod row;
mod sweep;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub(in crate::session) use self::resolve::{Evidence, Lost, Resolution};
use self::row::{Row, Table};
use crate::config::Settings;
use crate::error::classify;
use crate::session::connection::{COMMIT, Link, PacketError, ROLLBACK};
use crate::telemetry::event::event;
use crate::{Error, ErrorKind, Result};

/// A statement of the request of COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// If autocommit was switched on, each statement of the request would commit itself.
    NoAutocommit,
    /// The compare-and-swap.
    Swap,
    /// Of the sentinel savepoint.
    Release,
    Commit,
}

/// The request of COMMIT, of which some statements may not be needed. COMMIT comes last, and RELEASE directly before it: a cluster reports an
/// abort as the reply to the last statement of a request, and a compare-and-swap behind a failed RELEASE would begin a new transaction
/// for COMMIT to commit. The model explores this order.
pub(super) const REQUEST: [Step; 4] = [Step::NoAutocommit, Step::Swap, Step::Release, Step::Commit];

/// Records a client's COMMITs, if the settings say so.
pub(super) struct Recorder {
    settings: Arc<Settings>,
    /// `None`: COMMITs are not recorded.
    table: Option<Table>,
    /// This client's row, once there is one.
    row: Option<Row>,
    /// The connection, by its serial number, whose server takes no row: it is read-only.
    unrecorded: Option<u64>,
    /// The compare-and-swap to the target given out last. The memory is reused.
    statement: String,
}

impl Recorder {
    pub(super) fn new(settings: &Arc<Settings>) -> Self {
        let table = settings.ledger.as_deref().map(Table::within);
        Self { settings: Arc::clone(settings), table, row: None, unrecorded: None, statement: String::new() }
    }

    /// Makes sure that there is a row this client may rely on, or that the server takes none. Mostly there is one already, and nothing is
    /// sent. It leaves no transaction open, and no sentinel savepoint.
    pub(super) fn enroll(&mut self, link: &mut Link) -> Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        if self.row.as_mut().is_some_and(|row| row.reliable(link.identity())) || self.unrecorded == Some(link.serial()) {
            return Ok(());
        }
        let row = Row::new(new_number(), link.identity());
        let Err(failed) = link.packet(&[&row.insert(table), COMMIT]) else {
            self.row = Some(row);
            sweep::sweep(table, link);
            return Ok(());
        };
        let takes_none = classify::is_read_only_transaction(&failed.error);
        match refused(failed) {
            // Nothing can be committed here, and nothing has to be recorded.
            error if takes_none || error.kind() == ErrorKind::ReadOnlyServer => {
                self.row = None;
                self.unrecorded = Some(link.serial());
                link.packet(&[ROLLBACK]).map(drop).map_err(refused)
            }
            error => Err(match error.kind() {
                ErrorKind::UnknownTable => {
                    error.hint("the commit ledger's table is missing; create it with Db::install_ledger, on a Db without commit_ledger")
                }
                ErrorKind::AccessDenied => error.hint("the commit ledger needs SELECT, INSERT, UPDATE and DELETE on its table"),
                _ => error,
            }),
        }
    }

    /// A target for a COMMIT that no other has had. [`statement`](Self::statement) is its compare-and-swap from then on. `None`: the COMMIT
    /// is not recorded.
    pub(super) fn next(&mut self) -> Option<u64> {
        let (table, row) = (self.table.as_ref()?, self.row.as_mut()?);
        let target = row.target();
        self.statement.clear();
        row.swap(table, target, &mut self.statement);
        Some(target)
    }

    /// The statement that goes first in the COMMIT request.
    pub(super) fn statement(&self) -> &str {
        &self.statement
    }

    /// COMMIT succeeded, and with it the compare-and-swap to this target, if there was one, which changed so many rows.
    pub(super) fn committed(&mut self, target: Option<u64>, changed: u64) {
        let (Some(target), Some(row)) = (target, &mut self.row) else { return };
        if changed == 1 {
            row.holds(target);
        } else {
            event!(warn, "db_core.ledger_row", { db_core.found = "deleted" }, "the row of the commit ledger was deleted while in use");
            self.row = None;
        }
    }

    /// The COMMIT request failed with an error of this kind, and nothing was committed.
    pub(super) fn refused(&mut self, kind: ErrorKind) {
        // A server that has become read-only takes no compare-and-swap, and enrolling for a new row finds that out. Without it no
        // transaction that may have written could end there.
        if kind == ErrorKind::ReadOnlyServer {
            self.row = None;
        }
    }

    /// Creates the table, unless it exists.
    pub(super) fn install(settings: &Settings, link: &mut Link) -> Result<()> {
        let table = Table::within(&Settings::ledger_database(&settings.options)?);
        link.packet(&[&table.create()]).map(drop).map_err(refused)
    }
}

/// A number that no other client, attempt or fence has; if another client had it, the key would refuse the row. What is drawn is drawn by every
/// child of a fork(2) again, hence the process and the time.
fn new_number() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    fastrand::u64(..) ^ (now.as_nanos() as u64) ^ (u64::from(std::process::id()) << 32)
}

fn refused(failed: PacketError) -> Error {
    Error::seen(&failed.error)
}
