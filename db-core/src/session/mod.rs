//! How does a statement of the body get to the server, and what is learned on the way?

mod batch;
pub(crate) mod commit;
pub(crate) mod lock;
pub(crate) mod resend;
pub(crate) mod shared;
pub(crate) mod state;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use mysql::prelude::{AsStatement, Protocol, Queryable};
use mysql::{Binary, Params, QueryResult, Row, Statement, Text};

use crate::config::Settings;
use crate::connection::Link;
use crate::connection::prepared;
use crate::connection::response::{Reply, caught};
use crate::error::classify::{self, After};
use crate::ledger::row::Ledger;
use crate::session::state::State;
use crate::sql::kind::{self, StatementKind};
#[cfg(feature = "tracing")]
use crate::telemetry::event::text;
use crate::telemetry::event::{event, statement};
use crate::telemetry::span;
use crate::telemetry::stats::Counters;
use crate::{Error, ErrorKind, Result, TxOptions};

/// A `Db`'s connection, open or not, and the transaction on it.
pub(crate) struct Session {
    pub(crate) settings: Arc<Settings>,
    counters: Arc<Counters>,
    pub(crate) link: Option<Link>,
    /// Opened in place of `link` while a result that might borrow `link` could still be alive.
    fresh: Option<Link>,
    pub(crate) state: State,
    /// Somebody does what only the guard can watch, so that it is set again together with each COMMIT.
    pub(crate) keeps_guard: bool,
    /// This client's row of the commit ledger, once it has one.
    pub(crate) ledger: Option<Ledger>,
    /// The link, by its number, whose server is read-only and takes no row.
    pub(crate) unrecorded: Option<u64>,
    /// Where the statement for that row is put together.
    pub(crate) swap: String,
    /// When this transaction met a fault that was, or may yet be, cured inside it.
    pub(crate) faulted: Option<Instant>,
}

/// What is to be known of a transaction that has ended, by whoever might run it again.
pub(crate) struct Aftermath {
    /// What was seen on the connection.
    pub(crate) fault: Option<Error>,
    /// Some of its work is, or may be, in the database.
    pub(crate) committed: bool,
}

impl Session {
    pub(crate) fn new(settings: Arc<Settings>, counters: Arc<Counters>) -> Self {
        Self {
            settings,
            counters,
            link: None,
            fresh: None,
            state: State::new(TxOptions::new()),
            keeps_guard: false,
            ledger: None,
            unrecorded: None,
            swap: String::new(),
            faulted: None,
        }
    }

    /// Opens a connection unless there is one that works, as far as can be told without a round trip.
    pub(crate) fn connect(&mut self) -> Result<()> {
        if self.link.as_ref().is_some_and(Link::usable) {
            match self.enroll() {
                // It did not work.
                Err(error) if error.kind() == ErrorKind::ConnectionLost => {}
                enrolled => return enrolled,
            }
        }
        self.close();
        let link = Link::open(&self.settings)?;
        span::opened(&self.settings, &self.counters, link.conn());
        self.link = Some(link);
        self.enroll().inspect_err(|_| self.close())
    }

    pub(crate) fn close(&mut self) {
        self.fresh = None;
        self.link = None;
    }

    /// One round trip. A connection that is found dead is replaced, once.
    pub(crate) fn ping(&mut self) -> Result<()> {
        self.connect()?;
        let Some(link) = &mut self.link else { return Err(closed()) };
        let Err(error) = link.ping() else { return Ok(()) };
        if !went_with_its_session(&error) {
            return Err(error.into());
        }
        self.connect()?;
        let Some(link) = &mut self.link else { return Err(closed()) };
        Ok(link.ping()?)
    }

    /// `raw`: the result goes to a caller who may drop it half read, and an error in its rest with it.
    pub(crate) fn query(&mut self, sql: &str, raw: bool) -> mysql::Result<QueryResult<'_, '_, '_, Text>> {
        Ok(self.query_beside_state(sql, raw)?.0)
    }

    /// The result, and where the errors in it are noted.
    pub(crate) fn query_beside_state(&mut self, sql: &str, raw: bool) -> mysql::Result<(QueryResult<'_, '_, '_, Text>, &mut State)> {
        let kind = kind::of(sql);
        self.execute_beside_state(move |link, state| {
            state.watch(link, kind, raw)?;
            statement!("db_core.statement", { db.query.text = text(sql) }, "query");
            link.conn_mut()?.query_iter(sql)
        })
    }

    pub(crate) fn exec<S: AsStatement>(
        &mut self,
        statement: &S,
        params: Params,
        raw: bool,
    ) -> mysql::Result<QueryResult<'_, '_, '_, Binary>> {
        Ok(self.exec_beside_state(statement, params, raw)?.0)
    }

    /// The result, and where the errors in it are noted.
    pub(crate) fn exec_beside_state<S: AsStatement>(
        &mut self,
        statement: &S,
        params: Params,
        raw: bool,
    ) -> mysql::Result<(QueryResult<'_, '_, '_, Binary>, &mut State)> {
        self.state.spare.keep(&params);
        let mut params = Some(params);
        self.execute_beside_state(move |link, state| {
            let (statement, kind) = prepared::resolve(link, statement)?;
            state.watch(link, kind, raw)?;
            // The second time, those that were kept. Parameters too large to keep are sent once.
            let params = params.take().or_else(|| state.spare.again()).ok_or_else(mysql::Error::server_disconnected)?;
            link.conn_mut()?.exec_iter(statement.as_ref(), params)
        })
    }

    /// Executes a statement that is known to be this connection's.
    fn exec_own(&mut self, statement: &Statement, kind: StatementKind, params: Params) -> mysql::Result<QueryResult<'_, '_, '_, Binary>> {
        let mut params = Some(params);
        self.execute(move |link, state| {
            state.watch(link, kind, false)?;
            let params = params.take().ok_or_else(mysql::Error::server_disconnected)?;
            link.conn_mut()?.exec_iter(statement, params)
        })
    }

    pub(crate) fn prepare(&mut self, sql: &str) -> mysql::Result<Statement> {
        self.execute(move |link, _| prepared::prepare(link, sql))
    }

    pub(crate) fn close_statement(&mut self, statement: &Statement) -> mysql::Result<()> {
        self.execute(move |link, _| prepared::close(link, statement))
    }

    /// Executes a prepared statement that the server could not prepare again: it executed nothing.
    fn exec_again<S: AsStatement>(&mut self, statement: &S, params: Params) -> mysql::Result<QueryResult<'_, '_, '_, Binary>> {
        let mut params = Some(params);
        self.execute(move |link, state| {
            let (stale, kind) = prepared::resolve(link, statement)?;
            let fresh = prepared::prepare_again(link, &stale)?;
            state.watch(link, kind, false)?;
            let params = params.take().ok_or_else(mysql::Error::server_disconnected)?;
            link.conn_mut()?.exec_iter(fresh.as_ref().unwrap_or(&stale), params)
        })
    }

    /// As [`fold`](Self::fold), of a prepared statement.
    pub(crate) fn fold_prepared<S: AsStatement, U>(
        &mut self,
        statement: &S,
        params: Params,
        init: U,
        step: impl FnMut(U, Row) -> mysql::Result<U>,
    ) -> mysql::Result<U> {
        self.state.reading = true;
        // Of the two results at most one is read.
        let mut fold = Some((init, step));
        let mut read_once = |result: QueryResult<'_, '_, '_, Binary>| {
            let (init, step) = fold.take().ok_or_else(mysql::Error::server_disconnected)?;
            read_all(result, init, step)
        };
        let read = match self.exec(statement, params, false).map(&mut read_once) {
            Ok(read) => read,
            Err(error) => match self.state.spare.again() {
                Some(params) if prepared::is_stale(&error) => self.exec_again(statement, params).and_then(read_once),
                _ => Err(error),
            },
        };
        self.state.reading = false;
        let read = self.note(read);
        if let Some(link) = self.fresh.as_mut().or(self.link.as_mut()) {
            // A failure is met again by whoever comes next.
            drop(prepared::release(link));
        }
        read
    }

    /// Folds the rows of the first result, and reads all that follows for the errors in it.
    pub(crate) fn fold<T: Protocol, U>(
        &mut self,
        start: impl FnOnce(&mut Session) -> mysql::Result<QueryResult<'_, '_, '_, T>>,
        init: U,
        step: impl FnMut(U, Row) -> mysql::Result<U>,
    ) -> mysql::Result<U> {
        self.state.reading = true;
        let read = start(self).and_then(|result| read_all(result, init, step));
        self.state.reading = false;
        self.note(read)
    }

    pub(crate) fn conn(&self) -> Option<&mysql::Conn> {
        self.fresh.as_ref().or(self.link.as_ref()).map(Link::conn)
    }

    /// Runs one statement. The first one of a transaction is sent again if its connection turns out to be dead: what it
    /// did, if it was executed at all, went with its session, and there was nothing else to lose.
    fn execute<'s, R: 's>(&'s mut self, run: impl FnMut(&'s mut Link, &mut State) -> mysql::Result<R>) -> mysql::Result<R> {
        Ok(self.execute_beside_state(run)?.0)
    }

    /// As [`execute`](Self::execute), with the part of the session that the result does not borrow.
    fn execute_beside_state<'s, R: 's>(
        &'s mut self,
        mut run: impl FnMut(&'s mut Link, &mut State) -> mysql::Result<R>,
    ) -> mysql::Result<(R, &'s mut State)> {
        self.settle();
        let Self { settings, counters, link, fresh, state, faulted, .. } = self;
        if let Some(doom) = &state.doom {
            return Err(doom.clone().into());
        }
        let first = state.statements == 0;
        state.statements += 1;
        // `link` stays borrowed for as long as the result, on every path: a second try needs a place of its own.
        let error = match link.as_mut().ok_or_else(|| closed().into()).and_then(|link| {
            state.precede(link)?;
            caught(|| run(link, state))
        }) {
            Ok(result) => return Ok((result, state)),
            Err(error) => error,
        };
        if !first || state.may_have_committed || !went_with_its_session(&error) {
            state.note(&error);
            return Err(error);
        }
        faulted.get_or_insert_with(Instant::now);
        event!(
            info,
            "db_core.resend",
            { error.type = ?ErrorKind::ConnectionLost },
            "the connection was found dead by a transaction's first statement, which is sent again"
        );
        state.start_over();
        let again = Link::open(settings).map_err(mysql::Error::from).and_then(|opened| {
            span::opened(settings, counters, opened.conn());
            let link = fresh.insert(opened);
            state.precede(link)?;
            caught(|| run(link, state))
        });
        match again {
            Ok(result) => Ok((result, state)),
            Err(error) => {
                state.note(&error);
                Err(error)
            }
        }
    }

    fn note<R>(&mut self, result: mysql::Result<R>) -> mysql::Result<R> {
        result.inspect_err(|error| self.state.note(error))
    }

    /// The connection is the new transaction's.
    pub(crate) fn begin(&mut self, options: TxOptions) {
        self.state.begin(options);
    }

    /// Whether a part with these options can run inside the open transaction.
    pub(crate) fn admits(&self, options: &TxOptions) -> Result<()> {
        match options.isolation {
            Some(level) if self.state.options.isolation != Some(level) => {
                let message =
                    format!("the open transaction was not begun with isolation level {level}; ask for it where the transaction begins");
                Err(Error::new(ErrorKind::Config, message))
            }
            _ => Ok(()),
        }
    }

    /// Keeps a fault that the body's own error knew of, since it came with a row that was streamed.
    pub(crate) fn learn(&mut self, fault: impl FnOnce() -> Option<Error>) {
        if self.state.doom.is_none() && self.state.guarded.is_some() {
            self.state.doom = fault().filter(Error::is_transient);
        }
    }

    pub(crate) fn aftermath(&self) -> Aftermath {
        let state = &self.state;
        Aftermath { fault: state.doom.clone(), committed: (state.committed && !state.options.read_only) || state.may_have_committed }
    }

    /// No result borrows a link any more: the fresh one, if there is one, takes the other's place.
    pub(crate) fn settle(&mut self) {
        if let Some(fresh) = self.fresh.take()
            && let Some(mut dead) = self.link.replace(fresh)
        {
            dead.abandon();
        }
        if self.link.as_ref().is_some_and(Link::inherited) {
            self.link = None;
            let message = "the transaction was begun in the parent process, which alone can go on with it";
            self.state.doom.get_or_insert_with(|| Error::new(ErrorKind::ConnectionLost, message));
        }
        if self.state.lost
            && let Some(mut link) = self.link.take()
        {
            link.abandon();
        }
    }
}

/// Reads every row of every result. The server's first error is the outcome; then the first row that `step` refused.
fn read_all<T: Protocol, U>(
    result: QueryResult<'_, '_, '_, T>,
    init: U,
    mut step: impl FnMut(U, Row) -> mysql::Result<U>,
) -> mysql::Result<U> {
    let mut reply = Reply::new(result);
    let mut folded = Ok(init);
    let mut first = true;
    while reply.next_result()? {
        while let Some(row) = reply.next_row()? {
            if first {
                folded = folded.and_then(|so_far| step(so_far, row));
            }
        }
        first = false;
    }
    folded
}

/// Whether the error means that the session, and an open transaction with it, is gone for certain.
/// A timeout does not: the server goes on executing for a client that stopped listening.
fn went_with_its_session(error: &mysql::Error) -> bool {
    if Error::carried_by(error).is_some() {
        return false;
    }
    let verdict = classify::statement(error);
    verdict.after == After::Dead && verdict.kind == ErrorKind::ConnectionLost && !timed_out(error)
}

fn timed_out(error: &mysql::Error) -> bool {
    let io = match error {
        mysql::Error::IoError(io) => Some(io),
        mysql::Error::CodecError(codec) => std::error::Error::source(codec).and_then(|source| source.downcast_ref::<io::Error>()),
        _ => None,
    };
    io.is_some_and(|io| matches!(io.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
}

fn closed() -> Error {
    Error::new(ErrorKind::ConnectionLost, "the connection is closed").transient(true)
}
