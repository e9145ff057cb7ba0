//! Prepared statements, and the connection that each belongs to.
//!
//! A driver's `Statement` is a pair of numbers, the connection's id and the statement's. Servers start both anew when
//! they restart, and two servers share them, so that another connection's statement can be executed in place of one's own.
//! Here each pair handed out belongs to one connection of the process for good.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use mysql::prelude::{AsStatement, Queryable};
use mysql::{Params, QueryResult, Statement};
use parking_lot::Mutex;

use crate::session::connection::Link;
use crate::sql::kind::{self, StatementKind};
#[cfg(feature = "tracing")]
use crate::telemetry::event as events;
use crate::telemetry::event::statement;
use crate::{Error, ErrorKind};

/// Done in front of a request to prepare or to close a statement, which Galera takes without telling of an abort that came before it.
pub(in crate::session) type Before<'b> = dyn FnMut(&mut Link) -> mysql::Result<()> + 'b;

/// The numbers of the connection and of the statement.
type Pair = (u32, u32);

/// The connection a statement was prepared on, by the number this process gave it, and what the statement may do.
type Origin = (u64, StatementKind);

/// Never shrinks: a `Statement` may be kept for as long as its owner likes. An entry is made by an explicit `prep` only.
static OWNERS: LazyLock<Mutex<HashMap<Pair, Origin>>> = LazyLock::new(Mutex::default);

/// Prepares `sql` for a caller who keeps the statement.
pub(in crate::session) fn prepare(link: &mut Link, sql: &str, before: &mut Before<'_>) -> mysql::Result<Statement> {
    let mut text = Cow::Borrowed(sql);
    loop {
        let (statement, kind) = prepared(link, &text, before)?;
        let pair = (statement.connection_id(), statement.id());
        let owner = OWNERS.lock().entry(pair).or_insert((link.serial(), kind)).0;
        if owner == link.serial() {
            link.prepared_mut()?.1.add_handle(statement.id());
            statement!("db_core.prepare", { db.query.text = events::text(sql), db_core.statement_id = statement.id() }, "prepare");
            return Ok(statement);
        }
        // The numbers are another connection's: the next text, one space longer, gets the next number.
        text.to_mut().push(' ');
    }
}

/// The statement of this text, which is prepared unless it is known.
fn prepared(link: &mut Link, sql: &str, before: &mut Before<'_>) -> mysql::Result<(Statement, StatementKind)> {
    let (_, statements) = link.prepared_mut()?;
    match statements.find(sql) {
        Some(found) => Ok(found),
        None => newly_prepared(link, sql, before),
    }
}

fn newly_prepared(link: &mut Link, sql: &str, before: &mut Before<'_>) -> mysql::Result<(Statement, StatementKind)> {
    before(link)?;
    let (conn, statements) = link.prepared_mut()?;
    let kind = kind::of(sql);
    let statement = conn.prep(sql)?;
    if let Some(evicted) = statements.add(sql, &statement, kind) {
        conn.close(evicted)?;
    }
    Ok((statement, kind))
}

/// Closes what is not to be kept, once its result is read. On Galera it is closed when the next statement is prepared.
pub(in crate::session) fn release(link: &mut Link) -> mysql::Result<()> {
    if link.is_galera() {
        return Ok(());
    }
    let (conn, statements) = link.prepared_mut()?;
    match statements.surplus() {
        Some(surplus) => conn.close(surplus),
        None => Ok(()),
    }
}

/// Whether the server has executed nothing, since it could not prepare the statement again after a change of its tables.
pub(in crate::session) fn is_stale(error: &mysql::Error) -> bool {
    const NEED_REPREPARE: u16 = 1615;
    matches!(error, mysql::Error::MySqlError(error) if error.code == NEED_REPREPARE)
}

/// Prepares the statement anew. `None`: its text is not known.
pub(in crate::session) fn prepare_again(
    link: &mut Link,
    statement: &Statement,
    before: &mut Before<'_>,
) -> mysql::Result<Option<Statement>> {
    before(link)?;
    let (conn, statements) = link.prepared_mut()?;
    let Some((sql, closes)) = statements.forget(statement.id()) else { return Ok(None) };
    if closes {
        conn.close(statement.clone())?;
    }
    Ok(Some(newly_prepared(link, &sql, before)?.0))
}

/// The statement to execute, and its kind.
pub(in crate::session) fn resolve<'s, S: AsStatement>(
    link: &mut Link,
    statement: &'s S,
    before: &mut Before<'_>,
) -> mysql::Result<(Cow<'s, Statement>, StatementKind)> {
    let mut preparer = Preparer { link, before, kind: None };
    let resolved = statement.as_statement(&mut preparer)?;
    let Preparer { link, kind, .. } = preparer;
    if let Some(kind) = kind {
        return Ok((resolved, kind));
    }
    match owner(&resolved) {
        Some((owner, kind)) if owner == link.serial() => {
            statement!("db_core.statement", { db_core.statement_id = resolved.id() }, "execute");
            Ok((resolved, kind))
        }
        _ => Err(foreign().into()),
    }
}

/// Closes a statement of this connection's.
pub(in crate::session) fn close(link: &mut Link, statement: &Statement, before: &mut Before<'_>) -> mysql::Result<()> {
    match owner(statement) {
        Some((owner, _)) if owner == link.serial() => {
            before(link)?;
            let (conn, statements) = link.prepared_mut()?;
            if statements.drop_handle(statement.id()) { conn.close(statement.clone()) } else { Ok(()) }
        }
        _ => Err(foreign().into()),
    }
}

fn owner(statement: &Statement) -> Option<Origin> {
    OWNERS.lock().get(&(statement.connection_id(), statement.id())).copied()
}

fn foreign() -> Error {
    let message =
        "the prepared statement belongs to another connection, or to this one before it was reopened; prepare it again, or pass its text";
    Error::new(ErrorKind::Driver, message)
}

/// Lets a text prepare itself, and tells that it did.
struct Preparer<'l, 'b> {
    link: &'l mut Link,
    before: &'l mut Before<'b>,
    kind: Option<StatementKind>,
}

impl Queryable for Preparer<'_, '_> {
    fn prep<Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<Statement> {
        statement!("db_core.statement", { db.query.text = events::text(query.as_ref()) }, "execute");
        let (statement, kind) = prepared(self.link, query.as_ref(), self.before)?;
        self.kind = Some(kind);
        Ok(statement)
    }

    fn query_iter<Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<QueryResult<'_, '_, '_, mysql::Text>> {
        self.link.conn_mut()?.query_iter(query)
    }

    fn close(&mut self, statement: Statement) -> mysql::Result<()> {
        self.link.conn_mut()?.close(statement)
    }

    fn exec_iter<S: AsStatement, P: Into<Params>>(
        &mut self,
        statement: S,
        params: P,
    ) -> mysql::Result<QueryResult<'_, '_, '_, mysql::Binary>> {
        self.link.conn_mut()?.exec_iter(statement, params)
    }

    fn exec_batch<S, P, I>(&mut self, statement: S, params: I) -> mysql::Result<()>
    where
        S: AsStatement,
        P: Into<Params>,
        I: IntoIterator<Item = P>,
    {
        self.link.conn_mut()?.exec_batch(statement, params)
    }
}
