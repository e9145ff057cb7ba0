//! Execution of one prepared statement for many rows of parameters.
//!
//! MariaDB has a command for it that takes one list of types for all rows, so that rows are grouped by their types. Elsewhere, over TLS
//! (1295), and for statements that return rows (the driver would lose an error among them), each row is executed by itself.

mod plan;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mysql::prelude::{AsStatement, Queryable};
use mysql::{DriverError, Params, Statement};

use crate::connection::prepared;
use crate::connection::response::caught;
use crate::error::classify::{self, After};
use crate::session::batch::plan::{Plan, size};
use crate::session::{Session, closed};
use crate::sql::kind::{Effect, StatementKind};
use crate::{Error, ErrorKind};

const SAVEPOINT: &str = "SAVEPOINT db_core_batch";
const ROLLBACK_TO: &str = "ROLLBACK TO SAVEPOINT db_core_batch";

/// No server's limit is below.
const SMALL: usize = 1000;

impl Session {
    /// Executes a statement for each row, in order. After a failure nothing of the batch is left.
    pub(crate) fn exec_batch<S, P, I>(&mut self, statement: &S, rows: I) -> mysql::Result<()>
    where
        S: AsStatement,
        P: Into<Params>,
        I: IntoIterator<Item = P>,
    {
        let (statement, kind) = self.execute(|link, _| prepared::resolve(link, statement).map(|(s, kind)| (s.into_owned(), kind)))?;
        // Preparing may have opened another connection.
        self.settle();
        let mut saved = false;
        // The rows are the caller's to make, and may panic.
        let rows = rows.into_iter().map(Into::into);
        let result = catch_unwind(AssertUnwindSafe(|| self.send_rows(&statement, kind, rows, &mut saved)));
        if saved && !matches!(result, Ok(Ok(()))) {
            self.undo_batch();
        }
        if let Some(link) = &mut self.link {
            // A failure is met again by whoever comes next.
            drop(prepared::release(link));
        }
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn send_rows(
        &mut self,
        statement: &Statement,
        kind: StatementKind,
        rows: impl Iterator<Item = Params>,
        saved: &mut bool,
    ) -> mysql::Result<()> {
        let Some(link) = &self.link else { return Err(closed().into()) };
        let bulk = link.takes_bulk()
            && kind.effect == Effect::Writes
            && !kind.returning
            && statement.num_columns() == 0
            && statement.num_params() > 0;
        let mut rows = rows.peekable();
        let mut plan = Plan::default();
        let mut limit = None;
        while let Some(row) = rows.next() {
            if let Params::Positional(values) = &row
                && values.len() != usize::from(statement.num_params())
            {
                let mismatch = DriverError::MismatchedStmtParams(statement.num_params(), values.len());
                return Err(mysql::Error::DriverError(mismatch));
            }
            if !*saved && rows.peek().is_some() && matches!(kind.effect, Effect::Writes | Effect::Compound) {
                self.save_batch(kind)?;
                *saved = true;
            }
            let (least, most) = size(&row, statement.num_params());
            if plan.bytes() + most > SMALL {
                let limit = match limit {
                    Some(limit) => limit,
                    None => *limit.insert(self.packet_limit()?),
                };
                if least > limit {
                    return Err(too_large(least, limit).into());
                }
                if plan.bytes() + most > limit {
                    self.send_group(statement, plan.take())?;
                }
            }
            if !bulk {
                self.fold(|session| session.exec_own(statement, kind, row), (), |(), _| Ok(()))?;
            } else if let Some(row) = plan.add(row, most) {
                self.send_group(statement, plan.take())?;
                plan.start(row, most);
            }
        }
        self.send_group(statement, plan.take())
    }

    /// In one request.
    fn send_group(&mut self, statement: &Statement, group: Vec<Params>) -> mysql::Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        // The reply is a single packet: there is no rest for the driver to lose an error in.
        let sent = match &mut self.link {
            Some(link) => link.conn_mut().and_then(|conn| caught(|| conn.exec_batch(statement, group))),
            None => Err(closed().into()),
        };
        self.note(sent)
    }

    fn packet_limit(&mut self) -> mysql::Result<usize> {
        let limit = match &mut self.link {
            Some(link) => link.packet_limit(),
            None => Err(closed().into()),
        };
        self.note(limit)
    }

    fn save_batch(&mut self, kind: StatementKind) -> mysql::Result<()> {
        let Self { link: Some(link), state, .. } = self else { return Err(closed().into()) };
        // The sentinel savepoint has to be there before, or it would go with this one.
        let saved = state.watch(link, kind, false).and_then(|()| link.packet(&[SAVEPOINT]).map(drop).map_err(|failed| failed.error));
        self.note(saved)
    }

    fn undo_batch(&mut self) {
        self.settle();
        let Self { link: Some(link), state, .. } = self else { return };
        if state.doom.is_some() {
            return;
        }
        match link.packet(&[ROLLBACK_TO]) {
            Ok(_) => {}
            Err(failed) if failed.no_such_savepoint() => state.doom = Some(state.broken()),
            Err(failed) => {
                state.note(&failed.error);
                // The batch's work is still there, and must not be committed.
                if classify::statement(&failed.error).after == After::Intact {
                    state.doom.get_or_insert_with(|| Error::seen(&failed.error));
                }
            }
        }
    }
}

fn too_large(bytes: usize, limit: usize) -> Error {
    let message = format!("a row of the batch takes {bytes} bytes, and max_allowed_packet allows {limit}");
    Error::new(ErrorKind::Driver, message)
}
