//! `Scope` and `Transaction`: what a transaction starts from, and one that is open.

mod conversion;
mod hooks;
mod once;
mod queryable;
pub(crate) mod retry_loop;
mod run;

use std::any::type_name_of_val;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use self::hooks::{On, Waiting};
use self::retry_loop::Call;
use self::run::Done;
use crate::retry::deadline;
use crate::session::Session;
use crate::session::shared::Database;
use crate::telemetry::span::Watch;
use crate::{Attempt, Error, ErrorKind, Result, RetryPolicy, TxOptions};

/// What a transaction can start from: a [`Db`](crate::Db), a [`Pool`](crate::Pool), or a [`Transaction`] that is open already.
///
/// All dereference to it, so a function that takes `&Scope<'_>`, as every `#[transactional]` function does for its callers, is called
/// with `&db` or `&pool` to begin a transaction, and with `tx` to join that one.
///
/// The second parameter is never written. It makes the type one without a size, so that in `f(&pool.get()?)` and
/// `f(&if reading { replica } else { primary })` the compiler finds the type of what is borrowed first, and dereferences it to a `Scope` then.
pub struct Scope<'a, Size: ?Sized = [()]> {
    inner: Inner<'a>,
    _size: Size,
}

/// A scope by value.
type SizedScope<'a> = Scope<'a, [(); 0]>;

enum Inner<'a> {
    Database(Box<Database>),
    Open(Mutex<Open<'a>>),
}

/// An open transaction's hold on the connection.
struct Open<'a> {
    session: &'a mut Session,
    database: usize,
    waiting: Waiting,
}

/// An open transaction, or a scope inside one.
///
/// It runs statements by the methods of [`mysql::prelude::Queryable`], as the trait and as methods of the same names that return this crate's
/// [`Error`]. Each reads its result to the end, so that no error in it is lost. A row that does not convert is an error, where the driver
/// panics.
///
/// It stays on the thread that began it.
pub struct Transaction<'a> {
    scope: SizedScope<'a>,
    rollback_only: bool,
    waiting: Waiting,
    /// Hooks wait in a place of this thread.
    _thread: PhantomData<*const ()>,
}

impl<'a> Scope<'a> {
    pub(crate) fn of(database: Database) -> SizedScope<'static> {
        Scope { inner: Inner::Database(Box::new(database)), _size: [] }
    }

    /// The database that this was made of.
    pub(crate) fn database(&self) -> &Database {
        match &self.inner {
            Inner::Database(database) => database,
            Inner::Open(_) => unreachable!("only a Db and a Pool ask, and both are made of a database"),
        }
    }

    /// Runs `body` in a transaction: committed if it returns `Ok`, rolled back if it returns `Err` or panics.
    ///
    /// On a [`Db`](crate::Db) or a [`Pool`](crate::Pool) this begins a transaction. On a [`Transaction`] it is a nested transaction, with a savepoint:
    /// an `Err` undoes the nested transaction, and the outer one can go on.
    ///
    /// # Errors
    ///
    /// The body's error, even if the rollback fails as well. If the body returned `Ok`, and the transaction cannot be committed:
    ///
    /// - [`ConnectFailed`], [`Unavailable`], [`AccessDenied`], [`UnknownDatabase`]: no connection, and the body did not run.
    /// - [`AlreadyInTransaction`]: the database's connection is in a transaction of this thread; [`LockTimeout`]: in another thread's.
    /// - The error that aborted the transaction, even if the body ignored it: [`Deadlock`], [`LockWaitTimeout`], [`ConnectionLost`] and others.
    /// - [`RollbackOnly`]: a nested transaction that had [joined](TxOptions::join) failed.
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
    /// As [`transaction`](Self::transaction), and [`ErrorKind::Config`] if a nested transaction asks for an isolation level that the outer one did not ask for.
    pub fn transaction_with<T, E: From<Error>>(
        &self,
        options: &TxOptions,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(type_name_of_val(&body), options, |_| None, body)
    }

    /// Runs `body`, and retries it after a transient fault: a lost connection, a deadlock, a lock wait timeout, a server that restarts or fails
    /// over.
    ///
    /// The decision is made by what was seen on this database's connection during the attempt, whatever error the body returns. An attempt is not
    /// retried if it committed something, or if a statement may have committed implicitly (DDL, CALL, the body's own COMMIT): its work would be done
    /// twice.
    ///
    /// On an open [`Transaction`], and inside another retry of the same database, the body runs once: only the outermost call retries. (Once
    /// that one has committed something, and cannot be retried any more, an inner call retries.)
    ///
    /// # Errors
    ///
    /// The last attempt's error; [`ErrorKind::ConnectFailed`] or [`ErrorKind::Unavailable`] if the server could not be reached again in time.
    pub fn retry<T, E: From<Error>>(&self, policy: &RetryPolicy, body: impl FnMut(Attempt) -> Result<T, E>) -> Result<T, E> {
        self.run_retrying(type_name_of_val(&body), None, |_| *policy, |_| None, body)
    }

    /// `name` is that of the type of the body the caller has written.
    pub(crate) fn run<T, E: From<Error>>(
        &self,
        name: &'static str,
        options: &TxOptions,
        inspect: impl Fn(&E) -> Option<Error>,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.inner {
            Inner::Database(database) => {
                let _deadline = deadline::within(options.timeout.or(database.settings.timeout));
                let watch = Watch::transaction(&database.settings, &database.counters, name, options);
                outermost(database, options, &watch, inspect, body)
            }
            Inner::Open(open) => nested(open, options, inspect, body),
        }
    }

    pub(crate) fn run_retrying<T, E: From<Error>>(
        &self,
        name: &'static str,
        timeout: Option<Duration>,
        policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
        inspect: impl Fn(&E) -> Option<Error>,
        mut body: impl FnMut(Attempt) -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.inner {
            Inner::Database(database) => {
                let _deadline = deadline::within(timeout.or(database.settings.timeout));
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
        match &self.inner {
            Inner::Database(database) => {
                let _deadline = deadline::within(options.timeout.or(database.settings.timeout));
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
    run::outermost(database, options, watch, inspect, |session, waiting| Transaction::run(session, database.id(), waiting, body))
}

fn nested<T, E: From<Error>>(
    open: &Mutex<Open<'_>>,
    options: &TxOptions,
    inspect: impl FnOnce(&E) -> Option<Error>,
    body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let mut open = open_here(open)?;
    let Open { session, database, waiting } = &mut *open;
    let database = *database;
    run::nested(session, database, *waiting, options, inspect, |session, waiting| Transaction::run(session, database, waiting, body))
}

/// The transaction's session, if nothing inside it is using it.
fn open_here<'m, 'a>(open: &'m Mutex<Open<'a>>) -> Result<MutexGuard<'m, Open<'a>>> {
    open.try_lock().ok_or_else(|| {
        let message = "a nested transaction is running; inside it, use its own `tx`";
        Error::new(ErrorKind::AlreadyInTransaction, message)
    })
}

impl<'a> Transaction<'a> {
    fn run<T, E>(
        session: &'a mut Session,
        database: usize,
        waiting: Waiting,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Done<T, E> {
        let scope = Scope { inner: Inner::Open(Mutex::new(Open { session, database, waiting })), _size: [] };
        let mut tx = Transaction { scope, rollback_only: false, waiting, _thread: PhantomData };
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&mut tx)));
        Done { outcome, rollback_only: tx.rollback_only }
    }

    /// An error that a statement of this transaction met.
    fn own(&self, error: mysql::Error) -> Error {
        match &self.scope.inner {
            Inner::Open(open) => Error::from(error).at(open.try_lock().map_or(0, |open| open.database)),
            Inner::Database(_) => Error::from(error),
        }
    }

    fn session(&mut self) -> &mut Session {
        match &mut self.scope.inner {
            Inner::Open(open) => open.get_mut().session,
            Inner::Database(_) => unreachable!("a Transaction is made of an open scope only"),
        }
    }

    /// Rolls back at the end, even if the body returns `Ok`, which the caller gets. If a statement of the body has committed implicitly, the caller gets
    /// [`ErrorKind::ImplicitCommit`] instead.
    ///
    /// A nested transaction with a savepoint undoes its own work only. One that has [joined](TxOptions::join) undoes the outer transaction as well,
    /// whose caller gets [`ErrorKind::RollbackOnly`].
    pub fn set_rollback_only(&mut self) {
        self.rollback_only = true;
    }

    /// Runs `hook` after the outermost transaction has been committed and the lock released. The hooks of an attempt that is retried do not run.
    ///
    /// If the nested transaction that registered the hook is undone, the hook is dropped. A hook that panics does not keep the others from running.
    pub fn after_commit(&mut self, hook: impl FnOnce() + 'static) {
        self.waiting.add(On::Commit, Box::new(hook));
    }

    /// Runs `hook` after the outermost transaction has been rolled back and the lock released. The hooks of an attempt that is retried do not run. After
    /// [`ErrorKind::CommitUnknown`] no hook runs.
    ///
    /// If the nested transaction that registered the hook is undone, the hook is dropped. A hook that panics does not keep the others from running.
    pub fn after_rollback(&mut self, hook: impl FnOnce() + 'static) {
        self.waiting.add(On::Rollback, Box::new(hook));
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
        f.write_str(match self.inner {
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
