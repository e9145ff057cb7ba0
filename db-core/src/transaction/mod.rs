//! Where can a transaction start from?

mod conversion;
pub(crate) mod hooks;
mod queryable;
pub(crate) mod retry_loop;
pub(crate) mod rows;

use std::any::type_name_of_val;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use parking_lot::{Mutex, MutexGuard};

use crate::session::Session;
use crate::session::shared::Database;
use crate::telemetry::event::event;
use crate::telemetry::outcome::{Cause, End};
use crate::telemetry::span::Watch;
use crate::transaction::hooks::{On, Owner};
use crate::transaction::retry_loop::Call;
use crate::{Attempt, Error, ErrorKind, Result, RetryPolicy, TxOptions};

/// What a transaction can start from: a [`Db`](crate::Db), or a [`Transaction`] that is open already.
///
/// Both dereference to it, so that a function that takes `&Scope<'_>`, as every `#[transactional]` function does for its
/// callers, is called with `&db` for a transaction of its own, and with `tx` to become part of that one.
pub struct Scope<'a>(Inner<'a>);

enum Inner<'a> {
    Database(Box<Database>),
    Open(Mutex<Open<'a>>),
}

/// An open transaction's hold on the connection.
struct Open<'a> {
    session: &'a mut Session,
    database: usize,
    owner: Owner,
}

/// An open transaction, or a scope inside one.
///
/// It runs statements: the methods of [`mysql::prelude::Queryable`] are here twice, as the trait, and as methods of the same
/// names that return this crate's [`Error`]. Each reads its result to the end, so that no error in it is lost, and a row that
/// does not convert is an error, where the driver panics.
///
/// It stays on the thread that began it.
pub struct Transaction<'a> {
    scope: Scope<'a>,
    rollback_only: bool,
    owner: Owner,
    /// Hooks wait in a place of this thread.
    _thread: PhantomData<*const ()>,
}

impl<'a> Scope<'a> {
    pub(crate) fn of(database: Database) -> Scope<'static> {
        Scope(Inner::Database(Box::new(database)))
    }

    /// The database, unless this is an open transaction.
    pub(crate) fn database(&self) -> Option<&Database> {
        match &self.0 {
            Inner::Database(database) => Some(database),
            Inner::Open(_) => None,
        }
    }

    /// Runs `body` in a transaction: committed if it returns `Ok`, rolled back if it returns `Err` or panics.
    ///
    /// On a [`Db`](crate::Db) the transaction is one of its own. On a [`Transaction`] it is a part of that one, with a savepoint:
    /// an `Err` undoes the part, and the whole may go on.
    ///
    /// # Errors
    ///
    /// The body's error, whatever else fails on the way out. If the body returned `Ok`, and the transaction cannot be committed:
    ///
    /// - [`ConnectFailed`], [`Unavailable`], [`AccessDenied`], [`UnknownDatabase`]: no connection, and the body did not run.
    /// - [`AlreadyInTransaction`]: the database's connection is in a transaction of this thread; [`LockTimeout`]: in another thread's.
    /// - The cause that ended the transaction on the server, though the body swallowed it: [`Deadlock`], [`LockWaitTimeout`],
    ///   [`ConnectionLost`] and others.
    /// - [`RollbackOnly`]: a part that had [joined](TxOptions::join) failed.
    /// - [`ImplicitCommit`]: a statement of the body committed what went before it.
    /// - [`CommitUnknown`]: the connection was lost while the COMMIT was under way.
    ///
    /// [`ConnectFailed`]: ErrorKind::ConnectFailed
    /// [`Unavailable`]: ErrorKind::Unavailable
    /// [`AccessDenied`]: ErrorKind::AccessDenied
    /// [`UnknownDatabase`]: ErrorKind::UnknownDatabase
    /// [`AlreadyInTransaction`]: ErrorKind::AlreadyInTransaction
    /// [`LockTimeout`]: ErrorKind::LockTimeout
    /// [`Deadlock`]: ErrorKind::Deadlock
    /// [`LockWaitTimeout`]: ErrorKind::LockWaitTimeout
    /// [`ConnectionLost`]: ErrorKind::ConnectionLost
    /// [`RollbackOnly`]: ErrorKind::RollbackOnly
    /// [`ImplicitCommit`]: ErrorKind::ImplicitCommit
    /// [`CommitUnknown`]: ErrorKind::CommitUnknown
    ///
    /// ```
    /// # use db_core::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = db_testkit::Server::start()?;
    /// # server.connect()?.query_drop("CREATE TABLE account (id INT AUTO_INCREMENT PRIMARY KEY, owner VARCHAR(10) NOT NULL) ENGINE=InnoDB")?;
    /// # let db = Db::connect(&server.url())?;
    /// let id = db.transaction(|tx| {
    ///     tx.exec_drop("INSERT INTO account (owner) VALUES (?)", ("alice",))?;
    ///     Ok::<_, db_core::Error>(tx.last_insert_id())
    /// })?;
    /// # assert_eq!(id, Some(1));
    /// # Ok(()) }
    /// ```
    pub fn transaction<T, E: From<Error>>(&self, body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>) -> Result<T, E> {
        self.run(type_name_of_val(&body), &TxOptions::new(), |_| None, body)
    }

    /// As [`transaction`](Self::transaction), with options.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction), and [`ErrorKind::Config`] where a part asks for an isolation level that the whole did not ask for.
    pub fn transaction_with<T, E: From<Error>>(
        &self,
        options: &TxOptions,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(type_name_of_val(&body), options, |_| None, body)
    }

    /// Runs `body`, and runs it again after a fault that a replay can cure: a lost connection, a deadlock, a lock wait timeout,
    /// a server that restarts or fails over.
    ///
    /// What counts is what was seen on this database's connection during the run, whatever error the body made of it. A run in
    /// which something was committed is not repeated: that would do it twice. For the same reason one in which a statement may have
    /// committed implicitly (DDL, CALL, the body's own COMMIT) is not.
    ///
    /// On an open [`Transaction`], and inside another retry of the same database, the body runs once: only the outermost call
    /// can replay the whole. (Once that one has committed something, and so cannot be replayed any more, an inner call retries on its own.)
    ///
    /// # Errors
    ///
    /// The last run's error; [`ErrorKind::ConnectFailed`] or [`ErrorKind::Unavailable`] if the server could not be reached again in time.
    pub fn retry<T, E: From<Error>>(&self, policy: &RetryPolicy, body: impl FnMut(Attempt) -> Result<T, E>) -> Result<T, E> {
        self.run_retrying(type_name_of_val(&body), |_| *policy, |_| None, body)
    }

    /// `name` is that of the type of the body the caller has written.
    pub(crate) fn run<T, E: From<Error>>(
        &self,
        name: &'static str,
        options: &TxOptions,
        inspect: impl Fn(&E) -> Option<Error>,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.0 {
            Inner::Database(database) => {
                let watch = Watch::transaction(&database.settings, &database.counters, name, options);
                outermost(database, options, &watch, inspect, body)
            }
            Inner::Open(open) => nested(open, options, inspect, body),
        }
    }

    pub(crate) fn run_retrying<T, E: From<Error>>(
        &self,
        name: &'static str,
        policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
        inspect: impl Fn(&E) -> Option<Error>,
        mut body: impl FnMut(Attempt) -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.0 {
            Inner::Database(database) => {
                let policy = policy(database.settings.retry);
                let watch = Watch::retry(&database.settings, &database.counters, name);
                retry_loop::drive(database, &policy, Call { body, inspect, watch: &watch })
            }
            Inner::Open(open) => body(joined_attempt(open)),
        }
    }

    pub(crate) fn run_retrying_transaction<T, E: From<Error>>(
        &self,
        name: &'static str,
        policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
        options: &TxOptions,
        inspect: impl Fn(&E) -> Option<Error>,
        mut body: impl FnMut(Attempt, &mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.0 {
            Inner::Database(database) => {
                let policy = policy(database.settings.retry);
                let watch = Watch::transaction(&database.settings, &database.counters, name, options);
                let run = |attempt| outermost(database, options, &watch, &inspect, |tx| body(attempt, tx));
                retry_loop::drive(database, &policy, Call { body: run, inspect: &inspect, watch: &watch })
            }
            Inner::Open(open) => {
                let attempt = joined_attempt(open);
                nested(open, options, inspect, |tx| body(attempt, tx))
            }
        }
    }
}

fn joined_attempt(open: &Mutex<Open<'_>>) -> Attempt {
    open.try_lock().map_or_else(Attempt::only, |open| retry_loop::attempt_of(open.database))
}

fn outermost<T, E: From<Error>>(
    database: &Database,
    options: &TxOptions,
    watch: &Watch<'_>,
    inspect: impl Fn(&E) -> Option<Error>,
    body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let mut entered = database.enter().inspect_err(|error| watch.failed(error))?;
    let session = &mut *entered.session;
    if let Err(error) = session.connect() {
        retry_loop::saw_unreachable(database, &error);
        watch.failed(&error);
        return Err(error.into());
    }
    session.begin(*options);
    let owner = Owner::new();
    let began = watch.attempt();
    let (outcome, rollback_only) = Transaction::run(session, database.id(), owner, body);
    let mut on = Some(On::Rollback);
    let end;
    let outcome = match outcome {
        Ok(Ok(value)) if rollback_only => {
            session.roll_back();
            // What cannot be undone is said, even to a caller who was to get an `Ok`.
            let broken = session.state.doom.take_if(|doom| doom.kind() == ErrorKind::ImplicitCommit);
            end = broken.as_ref().map_or(End::rolled_back(None), |broken| End::failed(Cause::of(broken)));
            Ok(broken.map_or(Ok(value), |broken| Err(E::from(broken))))
        }
        Ok(Ok(value)) => match session.commit() {
            Ok(()) => {
                on = Some(On::Commit);
                end = End::COMMITTED;
                Ok(Ok(value))
            }
            Err(error) => {
                // Neither end is known to have been the end.
                on = on.filter(|_| !error.is_commit_unknown());
                end = End::not_committed(&error);
                Ok(Err(E::from(error)))
            }
        },
        Ok(Err(error)) => {
            session.learn(|| inspect(&error));
            session.roll_back();
            end = match &session.state.doom {
                Some(doom) => End::failed(Cause::of(doom)),
                None => {
                    End::rolled_back(Some(watch.heard().then(|| inspect(&error)).flatten().map_or(Cause::Opaque, |seen| Cause::of(&seen))))
                }
            };
            Ok(Err(error))
        }
        Err(panic) => {
            session.roll_back();
            end = End::rolled_back(Some(Cause::Panic));
            Err(panic)
        }
    };
    retry_loop::saw_end(database, session.aftermath());
    watch.faulted(session.faulted.take());
    let connection = if watch.heard() { session.conn().map(mysql::Conn::connection_id) } else { None };
    let doom = session.state.doom.as_ref().map(Cause::of);
    // Hooks run outside of the lock, and so does whoever listens.
    drop(entered);
    watch.attempted(began, connection, end);
    if let Some(doom) = doom {
        event!(
            info,
            "db_core.doom",
            { error.type = %doom, db.response.status_code = doom.code().map(tracing::field::display), db_core.connection_id = connection },
            "nothing of the transaction could be committed"
        );
    }
    let mut hooks = owner.take(on);
    if on == Some(On::Rollback) && outcome.is_ok() {
        hooks = retry_loop::keep_hooks(database, hooks);
    }
    match outcome {
        Ok(result) => {
            hooks::run(hooks);
            result
        }
        Err(panic) => {
            hooks::run_while_panicking(hooks);
            resume_unwind(panic)
        }
    }
}

fn nested<T, E: From<Error>>(
    open: &Mutex<Open<'_>>,
    options: &TxOptions,
    inspect: impl FnOnce(&E) -> Option<Error>,
    body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let mut open = open_here(open)?;
    let Open { session, database, owner } = &mut *open;
    session.admits(options)?;
    let mark = owner.mark();
    if !options.join {
        session.state.enter_scope();
    }
    let (outcome, rollback_only) = Transaction::run(session, *database, *owner, body);
    if let Ok(Err(error)) = &outcome {
        session.learn(|| inspect(error));
    }
    let undone = rollback_only || !matches!(outcome, Ok(Ok(_)));
    match (options.join, undone) {
        (false, true) => session.undo_scope(),
        (false, false) => session.leave_scope(),
        (true, true) => session.state.rollback_only = true,
        (true, false) => {}
    }
    if undone {
        owner.forget_since(mark);
    }
    match outcome {
        // A body may swallow the error that doomed the transaction; its caller shall not believe it.
        Ok(Ok(value)) => session.state.doom.clone().map_or(Ok(value), |doom| Err(doom.into())),
        Ok(Err(error)) => Err(error),
        Err(panic) => {
            drop(open);
            resume_unwind(panic)
        }
    }
}

/// The transaction's session, if it is this thread's to use now.
fn open_here<'m, 'a>(open: &'m Mutex<Open<'a>>) -> Result<MutexGuard<'m, Open<'a>>> {
    let refused = |message| Err(Error::new(ErrorKind::AlreadyInTransaction, message));
    match open.try_lock() {
        Some(open) if open.session.state.owner == thread::current().id() => Ok(open),
        Some(_) => refused("the transaction belongs to another thread; begin one on a fork of the database"),
        None => refused("a part of the transaction is running; inside it, use the part's own `tx`"),
    }
}

impl<'a> Transaction<'a> {
    /// Runs the body, and tells how it ended and whether it asked for a rollback.
    fn run<T, E>(
        session: &'a mut Session,
        database: usize,
        owner: Owner,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> (thread::Result<Result<T, E>>, bool) {
        let scope = Scope(Inner::Open(Mutex::new(Open { session, database, owner })));
        let mut tx = Transaction { scope, rollback_only: false, owner, _thread: PhantomData };
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&mut tx)));
        (outcome, tx.rollback_only)
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        match &mut self.scope.0 {
            Inner::Open(open) => open.get_mut().session,
            Inner::Database(_) => unreachable!("a Transaction is made of an open scope only"),
        }
    }

    /// Rolls back at the end, although the body may return `Ok`. Its caller gets that `Ok`.
    ///
    /// If a statement of the body has committed implicitly, its caller gets [`ErrorKind::ImplicitCommit`] instead.
    ///
    /// In a part with a savepoint the part is undone. In one that has [joined](TxOptions::join) the whole transaction is, and its
    /// caller gets [`ErrorKind::RollbackOnly`].
    pub fn set_rollback_only(&mut self) {
        self.rollback_only = true;
    }

    /// Runs `hook` once the outermost transaction is committed: after the lock has been released, and not for an attempt that is replayed.
    ///
    /// The hook of a part goes with the part: if that is undone, it is dropped. A hook that panics does not keep the others from running.
    pub fn after_commit(&mut self, hook: impl FnOnce() + 'static) {
        self.owner.add(On::Commit, Box::new(hook));
    }

    /// Runs `hook` once the outermost transaction is rolled back: after the lock has been released, and not for an attempt that is replayed.
    /// After [`ErrorKind::CommitUnknown`] no hook runs.
    ///
    /// The hook of a part goes with the part: if that is undone, it is dropped. A hook that panics does not keep the others from running.
    pub fn after_rollback(&mut self, hook: impl FnOnce() + 'static) {
        self.owner.add(On::Rollback, Box::new(hook));
    }
}

impl<'a> Deref for Transaction<'a> {
    type Target = Scope<'a>;

    fn deref(&self) -> &Scope<'a> {
        &self.scope
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Inner::Database(_) => "Scope(database)",
            Inner::Open(_) => "Scope(open transaction)",
        })
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("rollback_only", &self.rollback_only).finish_non_exhaustive()
    }
}
