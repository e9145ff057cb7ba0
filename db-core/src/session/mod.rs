//! A session: one connection, and the transaction that is open on it.

mod batch;
mod commit;
mod connection;
mod held;
mod keyed;
mod ledger;
pub(crate) mod lock;
mod resend;
pub(crate) mod rows;
mod sentinel;
pub(crate) mod sessions;
pub(crate) mod shared;
mod state;
mod watch;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql::prelude::{AsStatement, Protocol, Queryable as _};
use mysql::{Binary, Params, QueryResult, Row, Statement, Text};

pub(crate) use self::commit::{Ended, Ending, Wish};
pub(crate) use self::connection::Opened;
pub(crate) use self::ledger::keyed::Call;
use self::state::Left;
pub(crate) use self::state::State;
use crate::config::Settings;
use crate::error::classify::{self, After};
use crate::retry::deadline;
use crate::session::connection::response::{Reply, driver_panicked};
use crate::session::connection::{Link, prepared};
use crate::session::ledger::Recorder;
use crate::session::ledger::keyed::Keys;
use crate::session::watch::watched::Watched;
use crate::sql::kind::{self, StatementKind};
#[cfg(feature = "tracing")]
use crate::telemetry::event::text;
use crate::telemetry::event::{event, statement};
use crate::telemetry::span;
use crate::telemetry::stats::Counters;
use crate::{Error, ErrorKind, Result, TxOptions};

/// Parameters of so many bytes may be sent in requests of their own, which have no reply.
const LONG: usize = (1 << 24) - 1;

/// A `Db`'s connection, open or not, and the transaction on it.
pub(crate) struct Session {
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    link: Option<Link>,
    /// It has had a connection.
    was_connected: bool,
    /// Opened in place of `link` while a result that might borrow `link` could still be alive.
    fresh: Option<Link>,
    state: State,
    /// Where COMMITs are recorded.
    recorder: Recorder,
    /// What its COMMIT stores under idempotency keys.
    keys: Keys,
    /// When this transaction met a fault that was, or may yet be, cured inside it.
    faulted: Option<Instant>,
    /// How long the resolution of its COMMIT took.
    resolving: Duration,
}

impl Session {
    pub fn new(settings: Arc<Settings>, counters: Arc<Counters>) -> Self {
        let recorder = Recorder::new(&settings);
        let keys = Keys::new(&settings);
        Self {
            settings,
            counters,
            link: None,
            was_connected: false,
            fresh: None,
            state: State::new(),
            recorder,
            keys,
            faulted: None,
            resolving: Duration::ZERO,
        }
    }

    /// As [`connect`](Self::connect), to a server that accepts writes.
    pub fn connect_writable(&mut self) -> Result<()> {
        self.connect()?;
        match &self.link {
            Some(link) if link.is_read_only() => {
                self.close();
                Err(Error::new(ErrorKind::ReadOnlyServer, "the server does not accept writes yet").transient(true))
            }
            _ => Ok(()),
        }
    }

    /// Opens a connection unless there is one that works, as far as can be told without a round trip.
    pub fn connect(&mut self) -> Result<()> {
        if let Some(link) = self.link.as_mut().filter(|link| link.usable()) {
            link.ends_with_the_call();
            match self.recorder.enroll(link) {
                // It did not work.
                Err(error) if error.kind() == ErrorKind::ConnectionLost => {}
                enrolled => return enrolled,
            }
        }
        if let Some(dead) = self.link.as_mut().filter(|link| !link.inherited()) {
            dead.abandon();
        }
        self.close();
        let mut link = Link::open(&self.settings)?;
        span::opened(&self.settings, &self.counters, link.conn(), self.was_connected);
        self.was_connected = true;
        self.recorder.enroll(&mut link)?;
        self.link = Some(link);
        Ok(())
    }

    pub fn close(&mut self) {
        self.fresh = None;
        self.link = None;
    }

    /// One round trip. A connection that is found dead is replaced, once.
    pub fn ping(&mut self) -> Result<()> {
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

    pub fn install_ledger(&mut self) -> Result<()> {
        self.connect()?;
        let Some(link) = &mut self.link else { return Err(closed()) };
        Recorder::install(&self.settings, link)
    }

    /// Begins a transaction: its first statement does so on the server.
    pub fn begin(&mut self, options: TxOptions) {
        self.state.begin(options);
        self.keys.clear();
        self.faulted = None;
    }

    /// `raw`: the driver's result goes to a caller who may drop it half read, and an error in its rest with it.
    pub fn query(&mut self, sql: &str, raw: bool) -> mysql::Result<QueryResult<'_, '_, '_, Text>> {
        Ok(self.query_beside_state(sql, raw)?.0)
    }

    /// The result, and where the errors in it are noted.
    pub fn query_beside_state(&mut self, sql: &str, raw: bool) -> mysql::Result<(QueryResult<'_, '_, '_, Text>, &mut State)> {
        let kind = kind::of(sql);
        self.execute_beside_state(raw, move |link, state| {
            check_size(link, sql.len())?;
            admit(link, state, kind, raw)?;
            statement!("db_core.statement", { db.query.text = text(sql) }, "query");
            link.conn_mut()?.query_iter(sql)
        })
    }

    pub fn exec<S: AsStatement>(&mut self, statement: &S, params: Params, raw: bool) -> mysql::Result<QueryResult<'_, '_, '_, Binary>> {
        Ok(self.exec_beside_state(statement, params, raw)?.0)
    }

    /// The result, and where the errors in it are noted.
    pub fn exec_beside_state<S: AsStatement>(
        &mut self,
        statement: &S,
        params: Params,
        raw: bool,
    ) -> mysql::Result<(QueryResult<'_, '_, '_, Binary>, &mut State)> {
        self.state.resend.keep(&params);
        let mut params = Some(params);
        self.execute_beside_state(raw, move |link, state| {
            let (statement, kind) = prepared::resolve(link, statement, &mut |link| vouch(link, state))?;
            admit(link, state, kind, raw)?;
            // The second time, those that were kept. Parameters too large to keep are sent once.
            let params = params.take().or_else(|| state.resend.again()).ok_or_else(mysql::Error::server_disconnected)?;
            let bytes = batch::size(&params, statement.num_params()).0;
            check_size(link, bytes)?;
            if bytes >= LONG {
                vouch(link, state)?;
            }
            link.conn_mut()?.exec_iter(statement.as_ref(), params)
        })
    }

    /// Executes a statement that is known to be this connection's.
    fn exec_own(
        &mut self,
        statement: &Statement,
        kind: StatementKind,
        params: Params,
    ) -> mysql::Result<(QueryResult<'_, '_, '_, Binary>, &mut State)> {
        let mut params = Some(params);
        self.execute_beside_state(false, move |link, state| {
            admit(link, state, kind, false)?;
            let params = params.take().ok_or_else(mysql::Error::server_disconnected)?;
            link.conn_mut()?.exec_iter(statement, params)
        })
    }

    pub fn prepare(&mut self, sql: &str) -> mysql::Result<Statement> {
        self.execute(false, move |link, state| prepared::prepare(link, sql, &mut |link| vouch(link, state)))
    }

    pub fn close_statement(&mut self, statement: &Statement) -> mysql::Result<()> {
        self.execute(false, move |link, state| prepared::close(link, statement, &mut |link| vouch(link, state)))
    }

    /// Executes a prepared statement that the server could not prepare again: it executed nothing.
    fn exec_again<S: AsStatement>(
        &mut self,
        statement: &S,
        params: Params,
    ) -> mysql::Result<(QueryResult<'_, '_, '_, Binary>, &mut State)> {
        let mut params = Some(params);
        self.execute_beside_state(false, move |link, state| {
            let (stale, kind) = prepared::resolve(link, statement, &mut |link| vouch(link, state))?;
            let fresh = prepared::prepare_again(link, &stale, &mut |link| vouch(link, state))?;
            admit(link, state, kind, false)?;
            let params = params.take().ok_or_else(mysql::Error::server_disconnected)?;
            link.conn_mut()?.exec_iter(fresh.as_ref().unwrap_or(&stale), params)
        })
    }

    /// As [`fold`](Self::fold), of a prepared statement.
    pub fn fold_prepared<S: AsStatement, U>(
        &mut self,
        statement: &S,
        params: Params,
        init: U,
        step: impl FnMut(U, Row) -> mysql::Result<U>,
    ) -> mysql::Result<U> {
        // Of the two results at most one is read.
        let mut fold = Some((init, step));
        let mut read_once = |(result, state): (QueryResult<'_, '_, '_, Binary>, &mut State)| {
            let (init, step) = fold.take().ok_or_else(mysql::Error::server_disconnected)?;
            read_all(Reply::new(result, state.watched.as_deref()), init, step)
        };
        let read = match self.exec_beside_state(statement, params, false).map(&mut read_once) {
            Ok(read) => read,
            Err(error) => match self.state.resend.again() {
                Some(params) if prepared::is_stale(&error) => read_once(self.exec_again(statement, params)?),
                _ => return Err(error),
            },
        };
        let folded = self.folded(read);
        if let Some(link) = self.fresh.as_mut().or(self.link.as_mut()) {
            // A failure is met again by whoever comes next.
            drop(prepared::release(link));
        }
        folded
    }

    /// Folds the rows of the first result, and reads all that follows for the errors in it.
    ///
    /// A panic of `step` does not keep the rest from being read: it goes on once all errors are known.
    pub fn fold<T: Protocol, U>(
        &mut self,
        start: impl FnOnce(&mut Session) -> mysql::Result<(QueryResult<'_, '_, '_, T>, &mut State)>,
        init: U,
        step: impl FnMut(U, Row) -> mysql::Result<U>,
    ) -> mysql::Result<U> {
        let read = match start(self) {
            Ok((result, state)) => read_all(Reply::new(result, state.watched.as_deref()), init, step),
            Err(error) => return Err(error),
        };
        self.folded(read)
    }

    /// What became of a result, all of which was read.
    fn folded<U>(&mut self, read: mysql::Result<Folded<U>>) -> mysql::Result<U> {
        let read = read.map_err(|error| self.state.met(error))?;
        self.notice_session_change();
        match read {
            Folded::Value(value) => Ok(value),
            Folded::Refused(error) => Err(error),
            Folded::Panicked(panic) => resume_unwind(panic),
        }
    }

    /// The last reply may say that the session has changed: by a trigger, for instance, of which the statement's text knows nothing.
    fn notice_session_change(&mut self) {
        let link = self.fresh.as_ref().or(self.link.as_ref());
        self.state.session_changed |= link.is_some_and(Link::session_changed);
    }

    /// The connection, where no transaction is open.
    pub fn opened(&self) -> Option<Opened<'_>> {
        self.link.as_ref().map(Link::opened)
    }

    /// The last error that a statement of the last transaction met.
    pub fn last_error(&self) -> Option<ErrorKind> {
        self.state.last_error().map(Error::kind)
    }

    pub fn conn(&self) -> Option<&mysql::Conn> {
        self.fresh.as_ref().or(self.link.as_ref()).map(Link::conn)
    }

    /// Runs one statement. The first one of a transaction is sent again if its connection turns out to be dead: what it
    /// did, if it was executed at all, went with its session, and there was nothing else to lose.
    fn execute<'s, R: 's>(&'s mut self, raw: bool, run: impl FnMut(&'s mut Link, &mut State) -> mysql::Result<R>) -> mysql::Result<R> {
        Ok(self.execute_beside_state(raw, run)?.0)
    }

    /// As [`execute`](Self::execute), with the part of the session that the result does not borrow.
    fn execute_beside_state<'s, R: 's>(
        &'s mut self,
        raw: bool,
        mut run: impl FnMut(&'s mut Link, &mut State) -> mysql::Result<R>,
    ) -> mysql::Result<(R, &'s mut State)> {
        self.settle();
        let Self { settings, counters, link, fresh, state, recorder, faulted, .. } = self;
        if state.streaming {
            state.lose(unread());
        }
        if deadline::passed() {
            state.abort(deadline::exceeded("no time was left to send a statement"));
        }
        if let Some(cause) = state.cause_now() {
            return Err(cause.into());
        }
        let first = state.statements == 0;
        state.count_statement();
        // `link` stays borrowed for as long as the result, on every path: a second try needs a place of its own.
        let result = match link.as_mut() {
            Some(link) => attempt(link, state, raw, &mut run),
            None => Err(closed().into()),
        };
        let error = match result {
            Ok(result) => {
                state.answered();
                return Ok((result, state));
            }
            Err(error) => error,
        };
        if !first
            || state.may_have_committed()
            || state.is_of_infile_handler(&error)
            || !went_with_its_session(&error)
            || deadline::passed()
        {
            return Err(state.met(error));
        }
        faulted.get_or_insert_with(Instant::now);
        event!(
            info,
            "db_core.resend",
            { error.type = ?ErrorKind::ConnectionLost },
            "the first statement of a transaction met a closed connection, and is sent again on a new one"
        );
        state.start_over();
        let again = Link::open(settings).map_err(mysql::Error::from).and_then(|mut opened| {
            span::opened(settings, counters, opened.conn(), true);
            recorder.enroll(&mut opened)?;
            attempt(fresh.insert(opened), state, raw, &mut run)
        });
        match again {
            Ok(result) => {
                state.answered();
                Ok((result, state))
            }
            Err(error) => Err(state.met(error)),
        }
    }

    /// Whether a nested call with these options can run inside the open transaction.
    fn check_nested(&self, options: &TxOptions) -> Result<()> {
        if !self.state.is_this_threads() {
            let message = "the transaction belongs to another thread; begin one on a fork of the database";
            return Err(Error::new(ErrorKind::AlreadyInTransaction, message));
        }
        match options.isolation {
            Some(level) if self.state.options.isolation != Some(level) => {
                let message =
                    format!("the open transaction was not begun with isolation level {level}; ask for it where the transaction begins");
                Err(Error::new(ErrorKind::Config, message))
            }
            _ => Ok(()),
        }
    }

    /// Enters a nested call. What is returned has to be handed to [`leave_nested`](Self::leave_nested).
    pub fn enter_nested(&mut self, options: &TxOptions) -> Result<Nested> {
        self.check_nested(options)?;
        // A savepoint clears an abort where a group has several primaries: there every nested call joins.
        let savepoint = !options.join && !self.link.as_ref().is_some_and(Link::is_multi_primary);
        let read_only = options.read_only && !self.state.options.read_only;
        self.state.enter(savepoint, read_only);
        Ok(Nested { savepoint, read_only, keys: self.keys.len() })
    }

    /// Leaves a nested call. `undo`: its work is not to be committed. Returns why nothing of the transaction can be committed any more,
    /// or nothing of the call, if the body did not say so itself.
    pub fn leave_nested(&mut self, nested: Nested, undo: bool) -> Option<Error> {
        self.settle();
        let Nested { savepoint, read_only, keys } = nested;
        let cause = self.state.cause_now();
        let undo = undo || cause.is_some();
        if undo {
            self.keys.truncate(keys);
        }
        match (savepoint, undo) {
            (true, true) => self.undo(read_only),
            (true, false) => self.state.leave(read_only),
            (false, undone) => self.state.leave_joined(read_only, undone),
        }
        cause
    }

    /// A panic of the caller's own code, in the middle of a nested call's end: what belongs to the call cannot be told apart any more.
    pub fn abort_nested(&mut self, nested: Nested) {
        let message = "a panic interrupted the end of a nested call, and was caught inside the transaction";
        self.state.abort(Error::new(ErrorKind::RollbackOnly, message));
        self.leave_nested(nested, true);
    }

    /// Undoes the innermost nested transaction.
    fn undo(&mut self, read_only: bool) {
        let level = match self.state.leave_undone(read_only) {
            Left::To(level) => level,
            Left::Unknown(level) => {
                self.state.forget(level);
                return;
            }
        };
        if !self.state.can_be_undone(level) {
            return;
        }
        let Some(link) = &mut self.link else { return };
        if let Err(error) = link.verify() {
            self.state.met(error);
            return;
        }
        match link.packet(&[&format!("ROLLBACK TO SAVEPOINT {}", state::savepoint(level))]) {
            Ok(_) => self.state.was_undone(level),
            Err(failed) if failed.is_missing_savepoint(0) => drop(self.state.ended_unseen()),
            Err(failed) => {
                let cause = Error::seen(&failed.error);
                self.state.met(failed.error);
                // Refused for whatever reason: the work is still there, and must not be committed.
                self.state.abort(cause);
            }
        }
    }

    /// Keeps a fault that the body's own error knew of: it came with a row of a result that the driver handed out.
    pub fn learn_from_body(&mut self, fault: impl FnOnce() -> Option<Error>) {
        if self.state.cause().is_none()
            && self.state.sentinel.unread()
            && let Some(fault) = fault().filter(Error::is_transient)
        {
            self.state.abort(fault);
        }
    }

    /// No result borrows a link any more: the fresh one, if there is one, takes the other's place.
    fn settle(&mut self) {
        if let Some(fresh) = self.fresh.take()
            && let Some(mut dead) = self.link.replace(fresh)
        {
            dead.abandon();
        }
        if self.link.as_ref().is_some_and(Link::inherited) {
            self.link = None;
            let message = "the transaction was begun in the parent process, which alone can go on with it";
            self.state.abort(Error::new(ErrorKind::ConnectionLost, message));
        }
        if self.state.lost
            && let Some(mut link) = self.link.take()
        {
            link.abandon();
        }
    }
}

/// A nested call under way.
#[derive(Clone, Copy)]
pub(crate) struct Nested {
    savepoint: bool,
    read_only: bool,
    /// How many idempotency keys the transaction had before.
    keys: usize,
}

/// A name as SQL has it.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Sends what has to come before the next statement.
fn open(link: &mut Link, state: &mut State) -> mysql::Result<()> {
    if state.is_opened() || state.looks {
        return Ok(());
    }
    let statements = state.opening();
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    link.packet(&statements).map_err(|failed| failed.error)?;
    state.was_opened();
    Ok(())
}

/// Refuses a request that the server would not take: it closes the connection then.
fn check_size(link: &Link, bytes: usize) -> mysql::Result<()> {
    match link.packet_limit() {
        Some(limit) if bytes >= limit => Err(too_large(bytes, limit).into()),
        _ => Ok(()),
    }
}

fn too_large(bytes: usize, limit: usize) -> Error {
    let message = format!("a statement takes {bytes} bytes with its parameters, and max_allowed_packet is {limit}");
    Error::new(ErrorKind::Driver, message)
}

/// Sets the sentinel, where the next request may hide that the transaction has ended before it.
fn vouch(link: &mut Link, state: &mut State) -> mysql::Result<()> {
    if let Some(sentinel) = state.before_unanswered(link.is_galera()) {
        link.packet(&[sentinel]).map_err(|failed| failed.error)?;
        state.sentinel_set();
    }
    Ok(())
}

/// Refuses a statement, or does what has to be done before it is sent.
fn admit(link: &mut Link, state: &mut State, kind: StatementKind, raw: bool) -> mysql::Result<()> {
    if let Some(sentinel) = state.admit(kind, raw, link.is_multi_primary())? {
        link.packet(&[sentinel]).map_err(|failed| failed.error)?;
        state.sentinel_set();
    }
    if kind.session {
        link.session_changes();
    }
    state.sending(kind, raw);
    Ok(())
}

/// Sends a statement of the body, and what has to come before it.
///
/// A panic of a handler for LOCAL INFILE is its author's, and goes on to the caller. Any other is the driver's, and becomes an error.
fn attempt<'l, R>(
    link: &'l mut Link,
    state: &mut State,
    raw: bool,
    run: impl FnOnce(&'l mut Link, &mut State) -> mysql::Result<R>,
) -> mysql::Result<R> {
    link.verify()?;
    open(link, state)?;
    link.hands_out(raw);
    state.is_watched_by(link.watched());
    state.waits(Watched::begins);
    let ran = catch_unwind(AssertUnwindSafe(|| run(link, state)));
    state.waits(Watched::ends);
    match ran {
        Ok(result) => result,
        Err(panic) if state.reads_local_file() => {
            let message = "the handler for LOCAL INFILE panicked, which was caught inside the transaction";
            state.lose(Error::new(ErrorKind::RollbackOnly, message));
            resume_unwind(panic)
        }
        Err(_) => Err(driver_panicked()),
    }
}

/// What became of the rows of a result, all of which were read.
enum Folded<U> {
    Value(U),
    /// By the caller's step.
    Refused(mysql::Error),
    Panicked(Box<dyn Any + Send>),
}

/// Reads every row of every result. `Err`: the server's first error.
fn read_all<T: Protocol, U>(
    mut reply: Reply<'_, '_, '_, T>,
    init: U,
    mut step: impl FnMut(U, Row) -> mysql::Result<U>,
) -> mysql::Result<Folded<U>> {
    let mut folded = Folded::Value(init);
    let mut first = true;
    while reply.next_result()? {
        while let Some(row) = reply.next_row()? {
            if first && let Folded::Value(so_far) = folded {
                folded = match catch_unwind(AssertUnwindSafe(|| step(so_far, row))) {
                    Ok(Ok(value)) => Folded::Value(value),
                    Ok(Err(error)) => Folded::Refused(error),
                    Err(panic) => Folded::Panicked(panic),
                };
            }
        }
        first = false;
    }
    Ok(folded)
}

/// Whether the error means that the session, and an open transaction with it, is gone for certain.
/// A timeout does not: the server goes on executing for a client that stopped listening.
fn went_with_its_session(error: &mysql::Error) -> bool {
    if Error::carried_by(error).is_some() {
        return false;
    }
    let verdict = classify::statement(error);
    verdict.after == After::Dead && verdict.kind == ErrorKind::ConnectionLost && !classify::timed_out(error)
}

/// A result was forgotten (`mem::forget`) instead of being dropped.
fn unread() -> Error {
    Error::new(ErrorKind::RollbackOnly, "a result was not read to its end, where it may have an error")
}

fn closed() -> Error {
    Error::new(ErrorKind::ConnectionLost, "the connection is closed").transient(true)
}
