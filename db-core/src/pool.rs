//! `Pool`: several sessions that many threads share.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Settings;
use crate::config::pool::Limits;
use crate::session::Session;
use crate::session::shared::Database;
use crate::transaction::retry_loop;
use crate::{Db, PoolStatus, Result, Scope, Stats};

/// A pool of connections that reconnect automatically.
///
/// It is used as a [`Db`] is: it dereferences to [`Scope`], so that every `#[transactional]` function takes `&pool`. Each
/// attempt takes a connection and gives it back at its end: none is held while a call waits before the next attempt.
///
/// - **Order.** Callers that wait are served in the order in which they came. Idle connections are taken last in, first out.
/// - **No extra round trips.** There is no ping when a connection is taken, and no reset when it is given back. If an idle connection turns out
///   to be dead, the transaction's first statement is resent on a new one. A connection in an unknown state is closed.
/// - **Lazy.** A connection is opened when a call needs one and none is idle. One is opened by `connect`, so that a wrong URL or password is
///   reported there.
/// - **No second connection by mistake.** A call with `&pool` on a thread that has a transaction of the pool open fails with
///   [`AlreadyInTransaction`](crate::ErrorKind::AlreadyInTransaction): with all connections in use such calls would wait for each other. Pass `tx`
///   on, or use [`beside`](Self::beside).
/// - **Failover.** If a server refuses a write that accepted writes before, all idle connections to it are closed, and one caller at a time
///   looks for a server that accepts writes.
/// - **fork(2).** In a child process the pool begins empty, and leaves its parent's connections alone.
///
/// Clones share the connections. See [`DbBuilder`](crate::DbBuilder) for the limits, which may also be written in the URL.
///
/// ```
/// use std::thread;
///
/// use db_core::prelude::*;
///
/// #[retry_on_disconnect]
/// #[transactional]
/// fn count(tx: &mut Transaction<'_>) -> db_core::Result<()> {
///     tx.query_drop("UPDATE counter SET n = n + 1")
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = db_testkit::Server::start()?;
/// # let mut admin = server.connect()?;
/// # admin.query_drop("CREATE TABLE counter (n INT NOT NULL) ENGINE=InnoDB")?;
/// # admin.query_drop("INSERT INTO counter VALUES (0)")?;
/// # let url = server.url();
/// let pool = Db::builder(&url).max_connections(4).connect_pool()?;
/// thread::scope(|threads| {
///     for _ in 0..16 {
///         threads.spawn(|| count(&pool));
///     }
/// });
/// assert!(pool.status().open <= 4);
/// # assert_eq!(admin.query_first("SELECT n FROM counter")?, Some(16));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Scope<'static>>);

impl Pool {
    /// Connects with the defaults of [`builder`](Db::builder).
    ///
    /// # Errors
    ///
    /// As [`DbBuilder::connect_pool`](crate::DbBuilder::connect_pool).
    pub fn connect(url: &str) -> Result<Self> {
        Db::builder(url).connect_pool()
    }

    pub(crate) fn open(settings: Arc<Settings>, limits: Limits) -> Result<Self> {
        let database = Database::pool(settings, limits);
        database.connect_first()?;
        Ok(Self(Arc::new(Scope::of(database))))
    }

    /// The same pool, for independent work while a transaction of this pool is open on the thread.
    ///
    /// Such work takes a second connection. If every thread that holds one connection waits for a second one, none of them gets it before
    /// [`acquire_timeout`](crate::DbBuilder::acquire_timeout): `max_connections` has to be larger than the number of threads that do this at a time.
    ///
    /// ```
    /// use db_core::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = db_testkit::Server::start()?;
    /// # server.connect()?.query_drop("CREATE TABLE audit (note VARCHAR(20) NOT NULL) ENGINE=InnoDB")?;
    /// # let pool = Pool::connect(&server.url())?;
    /// let result = pool.transaction(|tx| {
    ///     // It stays, although the transaction around it is rolled back.
    ///     pool.beside().transaction(|audit| audit.query_drop("INSERT INTO audit VALUES ('tried')"))?;
    ///     tx.query_drop("INSERT INTO no_such_table VALUES (1)")
    /// });
    /// assert!(result.is_err());
    /// # assert_eq!(pool.transaction(|tx| tx.query_first::<u32, _>("SELECT COUNT(*) FROM audit"))?, Some(1));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn beside(&self) -> Self {
        match self.database().beside() {
            Some(database) => Self(Arc::new(Scope::of(database))),
            None => unreachable!("a Pool is made of a pool"),
        }
    }

    /// How many connections there are, and how many calls wait for one. It blocks only for the time of counting.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        match self.database().pool_status() {
            Some(status) => status,
            None => unreachable!("a Pool is made of a pool"),
        }
    }

    /// Counters of this pool and its clones.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.database().counters.stats()
    }

    /// Asks the server whether it is there, on a connection of the pool: one round trip. A connection that is found dead is replaced.
    ///
    /// # Errors
    ///
    /// As [`Db::ping`], with [`PoolTimeout`](crate::ErrorKind::PoolTimeout) in place of `LockTimeout`.
    pub fn ping(&self) -> Result<()> {
        retry_loop::with_session(self.database(), Session::ping)
    }

    /// Closes the pool permanently, with all its clones: idle connections now, connections in use when they are given back.
    ///
    /// It waits for those in use for up to [`acquire_timeout`](crate::DbBuilder::acquire_timeout), unless this thread has one of them. Calls that
    /// wait for a connection, and all later ones, fail with [`ConnectFailed`](crate::ErrorKind::ConnectFailed), and are not retried.
    pub fn close(&self) {
        self.database().disconnect();
    }

    /// Makes the commit ledger's table. See [`Db::install_ledger`].
    ///
    /// # Errors
    ///
    /// As [`Db::install_ledger`].
    pub fn install_ledger(&self) -> Result<()> {
        retry_loop::with_session(self.database(), Session::install_ledger)
    }

    /// Makes the table of the idempotency keys. See [`Db::install_idempotency`].
    ///
    /// # Errors
    ///
    /// As [`Db::install_idempotency`].
    pub fn install_idempotency(&self) -> Result<()> {
        retry_loop::with_session(self.database(), Session::install_idempotency)
    }

    /// Forgets the idempotency keys that are older. See [`Db::sweep_idempotency`].
    ///
    /// # Errors
    ///
    /// As [`Db::install_idempotency`].
    pub fn sweep_idempotency(&self, older_than: Duration) -> Result<u64> {
        retry_loop::with_session(self.database(), |session| session.sweep_idempotency(older_than))
    }

    fn database(&self) -> &Database {
        self.0.database()
    }
}

impl Deref for Pool {
    type Target = Scope<'static>;

    fn deref(&self) -> &Scope<'static> {
        &self.0
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.database().settings.options;
        f.debug_struct("Pool")
            .field("host", &options.get_ip_or_hostname())
            .field("port", &options.get_tcp_port())
            .field("database", &options.get_db_name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
