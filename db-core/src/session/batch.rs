//! Execution of one prepared statement for many rows of parameters.
//!
//! MariaDB has a command for it that takes one list of types for all rows, so that rows are grouped by their types. Elsewhere, over TLS
//! (1295), and for statements that return rows (the driver would lose an error among them), each row is executed by itself.

mod plan;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mysql::prelude::{AsStatement, Queryable};
use mysql::{DriverError, Params, Statement};

use crate::Error;
use crate::session::batch::plan::Plan;
pub(super) use crate::session::batch::plan::size;
use crate::session::connection::prepared;
use crate::session::connection::response::caught;
use crate::session::watch::watched::Waiting;
use crate::session::{Session, admit, closed, too_large, vouch};
use crate::sql::kind::{Effect, StatementKind};

const SAVEPOINT: &str = "SAVEPOINT db_core_batch";
const ROLLBACK_TO: &str = "ROLLBACK TO SAVEPOINT db_core_batch";

/// No server's limit is below.
const SMALL: usize = 1000;

impl Session {
    /// Executes a statement for each row, in order. After a failure nothing of the batch is left.
    pub fn exec_batch<S, P, I>(&mut self, statement: &S, rows: I) -> mysql::Result<()>
    where
        S: AsStatement,
        P: Into<Params>,
        I: IntoIterator<Item = P>,
    {
        let (statement, kind) = self.execute(false, |link, state| {
            let (statement, kind) = prepared::resolve(link, statement, &mut |link| vouch(link, state))?;
            Ok((statement.into_owned(), kind))
        })?;
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
        let limit = link.packet_limit();
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
            if plan.bytes() + most > SMALL
                && let Some(limit) = limit
            {
                if least > limit {
                    return Err(too_large(least, limit).into());
                }
                if plan.bytes() + most > limit {
                    self.send_group(statement, kind, plan.take())?;
                }
            }
            if !bulk {
                self.fold(|session| session.exec_own(statement, kind, row), (), |(), _| Ok(()))?;
            } else if let Some(row) = plan.add(row, most) {
                self.send_group(statement, kind, plan.take())?;
                plan.start(row, most);
            }
        }
        self.send_group(statement, kind, plan.take())
    }

    /// In one request.
    fn send_group(&mut self, statement: &Statement, kind: StatementKind, group: Vec<Params>) -> mysql::Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        let Self { link: Some(link), state, .. } = self else { return Err(closed().into()) };
        // The reply is a single packet: there is no rest for the driver to lose an error in.
        let sent = admit(link, state, kind, false).and_then(|()| link.watched_conn()).and_then(|(conn, watched)| {
            let _waiting = Waiting::on(watched);
            caught(|| conn.exec_batch(statement, group))
        });
        sent.map_err(|error| self.state.met(error))?;
        self.notice_session_change();
        Ok(())
    }

    fn save_batch(&mut self, kind: StatementKind) -> mysql::Result<()> {
        let Self { link: Some(link), state, .. } = self else { return Err(closed().into()) };
        // The sentinel savepoint has to be there before, or it would go with this one.
        let saved = admit(link, state, kind, false).and_then(|()| link.packet(&[SAVEPOINT]).map(drop).map_err(|failed| failed.error));
        saved.map_err(|error| state.met(error))
    }

    fn undo_batch(&mut self) {
        self.settle();
        let Self { link: Some(link), state, .. } = self else { return };
        if state.cause().is_some() {
            return;
        }
        match link.packet(&[ROLLBACK_TO]) {
            Ok(_) => {}
            Err(failed) if failed.is_missing_savepoint(0) => drop(state.ended_unseen()),
            Err(failed) => {
                let cause = Error::seen(&failed.error);
                state.met(failed.error);
                // The batch's work is still there, and must not be committed.
                state.abort(cause);
            }
        }
    }
}
