//! `Db`: a database as a program holds it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt};

use mysql::OptsBuilder;

use crate::config::Settings;
use crate::config::hosts::Hosts;
use crate::config::pool::PoolOptions;
use crate::listener::{Event, Listener};
use crate::session::Session;
use crate::session::lock::{LockGuard, SharedLock};
use crate::session::shared::Database;
use crate::transaction::retry_loop;
use crate::{Error, ErrorKind, Pool, Result, RetryPolicy, Scope, Stats};

/// As the servers' own `long_query_time`.
const SLOW_TRANSACTION: Duration = Duration::from_secs(10);

/// A database: one connection that reconnects automatically, behind a lock.
///
/// Clones share connection and lock, and their threads take turns. [`fork`](Self::fork) opens another connection with another lock, for threads
/// that work in parallel. For servers and thread pools use a [`Pool`].
///
/// A `Db` dereferences to [`Scope`], which has [`transaction`](Scope::transaction) and [`retry`](Scope::retry), and which every
/// `#[transactional]` function takes.
///
/// The session runs with `autocommit = 0` and `utf8mb4`. What a body sets in it (`USE`, `SET`, user variables, temporary tables,
/// `GET_LOCK`, `LOCK TABLES`, `PREPARE`) ends with the body's transaction. Settings that last belong into the URL or into the `init`
/// statements of [`driver_options`](DbBuilder::driver_options). See [the guide](crate::guide::connections#session-state).
///
/// ```
/// use db_core::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = db_testkit::Server::start()?;
/// # server.connect()?.query_drop("CREATE TABLE account (id INT PRIMARY KEY) ENGINE=InnoDB")?;
/// # let url = server.url();
/// let db = Db::connect(&url)?; // mysql://user:password@host/database
/// let accounts: Option<u64> = db.transaction(|tx| tx.query_first("SELECT COUNT(*) FROM account"))?;
/// # assert_eq!(accounts, Some(0));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Db(Arc<Scope<'static>>);

impl Db {
    /// Connects with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// As [`DbBuilder::connect`].
    pub fn connect(url: &str) -> Result<Self> {
        Self::builder(url).connect()
    }

    /// Connects to the database whose URL is in the environment variable `DATABASE_URL`.
    ///
    /// # Errors
    ///
    /// As [`DbBuilder::from_env`] and [`DbBuilder::connect`].
    pub fn from_env() -> Result<Self> {
        DbBuilder::from_env("DATABASE_URL")?.connect()
    }

    /// Begins to describe a database by its URL: `mysql://user:password@host:port/database?option=value`, with one host or
    /// [several](crate::guide::connections), and these [options](crate::guide::connections).
    pub fn builder(url: &str) -> DbBuilder {
        DbBuilder {
            url: url.into(),
            lock: None,
            retry: None,
            lock_timeout: None,
            timeout: None,
            silence: None,
            commit_timeout: None,
            slow_transaction: SLOW_TRANSACTION,
            listener: Listener::default(),
            ledger: false,
            resolve_timeout: None,
            pool: PoolOptions::default(),
            driver: Vec::new(),
        }
    }

    /// The same settings, with a connection and a lock of its own, connected.
    ///
    /// # Errors
    ///
    /// As [`DbBuilder::connect`].
    pub fn fork(&self) -> Result<Self> {
        let forked = Self::open(Arc::clone(&self.database().settings), SharedLock::new());
        retry_loop::told(self.database(), forked)
    }

    /// Holds the lock over several calls: no other thread uses the connection meanwhile, and transactions of this thread still work.
    ///
    /// It waits for as long as it takes; [`SharedLock::try_lock_for`] does not.
    pub fn lock(&self) -> LockGuard<'_> {
        match self.database().lock() {
            Some(lock) => lock,
            None => unreachable!("a Db is made of one session"),
        }
    }

    /// This database's lock, for another builder, or for anything else that must exclude this database.
    #[must_use]
    pub fn shared_lock(&self) -> SharedLock {
        self.database().shared_lock().cloned().unwrap_or_default()
    }

    /// Counters of this database and its clones. A [fork](Self::fork) has its own. It never blocks, and needs no feature.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.database().counters.stats()
    }

    /// Asks the server whether it is there: one round trip. A connection that is found dead is replaced.
    ///
    /// # Errors
    ///
    /// As [`DbBuilder::connect`], and [`AlreadyInTransaction`](crate::ErrorKind::AlreadyInTransaction),
    /// [`LockTimeout`](crate::ErrorKind::LockTimeout), [`ConnectionLost`](crate::ErrorKind::ConnectionLost).
    pub fn ping(&self) -> Result<()> {
        retry_loop::with_session(self.database(), Session::ping)
    }

    /// Makes the commit ledger's table in the URL's database, unless it is there. To be called once, on a `Db` without
    /// [`commit_ledger`](DbBuilder::commit_ledger), by a user with the privilege CREATE. The statement is
    ///
    /// ```sql
    /// CREATE TABLE IF NOT EXISTS db_core_ledger (
    ///     client BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    ///     seq BIGINT UNSIGNED NOT NULL,
    ///     touched TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    ///     KEY (touched)
    /// ) ENGINE=InnoDB
    /// ```
    ///
    /// Do not write to the table, and delete nothing from it: the library deletes old rows itself. If the row of a running client is deleted
    /// after a COMMIT was resolved as not committed, and before its late request arrives, its work is done twice. Otherwise a row that was
    /// deleted or changed costs at worst a [`CommitUnknown`](crate::ErrorKind::CommitUnknown); see the [guide](crate::guide::ledger).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping), and [`Config`](crate::ErrorKind::Config): the URL names no database.
    pub fn install_ledger(&self) -> Result<()> {
        retry_loop::with_session(self.database(), Session::install_ledger)
    }

    /// Makes the table of the [idempotency keys](crate::guide::idempotency) in the URL's database, unless it is there. To be called once, by a user
    /// with the privilege CREATE. The statement is
    ///
    /// ```sql
    /// CREATE TABLE IF NOT EXISTS db_core_idempotency (
    ///     `key` VARBINARY(255) NOT NULL PRIMARY KEY,
    ///     attempt BIGINT UNSIGNED NOT NULL,
    ///     `function` VARCHAR(1000) CHARACTER SET utf8mb4,
    ///     fingerprint BINARY(32),
    ///     result LONGTEXT CHARACTER SET utf8mb4,
    ///     `at` TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    ///     KEY (`at`)
    /// ) ENGINE=InnoDB
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping), and [`Config`](crate::ErrorKind::Config): the URL names no database.
    pub fn install_idempotency(&self) -> Result<()> {
        retry_loop::with_session(self.database(), Session::install_idempotency)
    }

    /// Forgets the idempotency keys that are older, and returns how many there were. A call with a key that was forgotten does its work again:
    /// `older_than` is longer than any client repeats a request, and longer than any network keeps one. A day is usual.
    ///
    /// It needs the privilege DELETE on the table. The statement is the following, repeated with a COMMIT after each while it finds 1,000 rows:
    ///
    /// ```sql
    /// DELETE FROM db_core_idempotency WHERE `at` < NOW() - INTERVAL 86400 SECOND ORDER BY `at` LIMIT 1000
    /// ```
    ///
    /// # Errors
    ///
    /// As [`install_idempotency`](Self::install_idempotency).
    pub fn sweep_idempotency(&self, older_than: Duration) -> Result<u64> {
        retry_loop::with_session(self.database(), |session| session.sweep_idempotency(older_than))
    }

    /// Closes the connection now. The next use opens another one.
    ///
    /// It waits for a transaction of another thread; inside one of this thread's, it closes when that has ended.
    pub fn disconnect(&self) {
        self.database().disconnect();
    }

    fn open(settings: Arc<Settings>, lock: SharedLock) -> Result<Self> {
        let database = Database::new(settings, lock);
        database.connect_first()?;
        Ok(Self(Arc::new(Scope::of(database))))
    }

    fn database(&self) -> &Database {
        self.0.database()
    }
}

impl Deref for Db {
    type Target = Scope<'static>;

    fn deref(&self) -> &Scope<'static> {
        &self.0
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.database().settings.options;
        f.debug_struct("Db")
            .field("host", &options.get_ip_or_hostname())
            .field("port", &options.get_tcp_port())
            .field("database", &options.get_db_name())
            .finish_non_exhaustive()
    }
}

/// Describes a database that is to be connected. Made by [`Db::builder`].
///
/// ```
/// use std::time::Duration;
/// use db_core::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = db_testkit::Server::start()?;
/// # let url = server.url();
/// let db = Db::builder(&url)
///     .retry(RetryPolicy::default().max_attempts(5))
///     .lock_timeout(Duration::from_secs(2))
///     .driver_options(|options| options.read_timeout(Some(Duration::from_secs(30))))
///     .connect()?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is connected before `connect`"]
pub struct DbBuilder {
    url: String,
    lock: Option<SharedLock>,
    retry: Option<RetryPolicy>,
    lock_timeout: Option<Duration>,
    timeout: Option<Duration>,
    silence: Option<Duration>,
    commit_timeout: Option<Duration>,
    slow_transaction: Duration,
    listener: Listener,
    ledger: bool,
    resolve_timeout: Option<Duration>,
    pool: PoolOptions,
    driver: Vec<Box<dyn FnOnce(OptsBuilder) -> OptsBuilder>>,
}

impl DbBuilder {
    /// Begins to describe the database whose URL is in an environment variable.
    ///
    /// ```no_run
    /// use db_core::prelude::*;
    ///
    /// # fn main() -> db_core::Result<()> {
    /// let db = DbBuilder::from_env("BANK_URL")?.commit_ledger(true).connect()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): the variable is not set, is empty, or is no text.
    pub fn from_env(variable: &str) -> Result<Self> {
        let wrong = match env::var(variable) {
            Ok(url) if !url.is_empty() => return Ok(Db::builder(&url)),
            Ok(_) => "is empty",
            Err(env::VarError::NotPresent) => "is not set",
            Err(env::VarError::NotUnicode(_)) => "is not UTF-8",
        };
        let message = format!("the environment variable {variable}, which should contain the database's URL, {wrong}");
        Err(Error::new(ErrorKind::Config, message))
    }

    /// Shares a lock with other databases, so that they exclude each other. Default: a lock of its own.
    pub fn lock(mut self, lock: SharedLock) -> Self {
        self.lock = Some(lock);
        self
    }

    /// The policy of `#[retry_on_disconnect]` where the attribute says nothing else. Default: [`RetryPolicy::default`].
    ///
    /// How long a COMMIT is resolved has [a limit of its own](Self::resolve_timeout).
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// How long a call waits for the lock before it fails with [`LockTimeout`](crate::ErrorKind::LockTimeout), whose text names the function
    /// that has it. Default: 30 seconds. [`Duration::MAX`]: without end.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = Some(timeout);
        self
    }

    /// How long a call may take as a whole, unless [`TxOptions::timeout`](crate::TxOptions::timeout) says otherwise. Default: no limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long a statement may be without a reply before the server is asked about it, on another connection. Default: 20 seconds.
    ///
    /// If the server still works on the statement, the wait goes on: a long query is not cut. If it does not (the reply was lost), or cannot be
    /// asked either for as long again, the connection is taken for lost. If another server replies, or one that hides the sessions' numbers (as
    /// some proxies do), nothing is concluded, and only a [`timeout`](Self::timeout) ends the wait.
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = Some(silence);
        self
    }

    /// How long COMMIT may take before its connection is taken for lost, and the COMMIT is [resolved](Self::commit_ledger). Default: 60 seconds.
    /// A member of a replication group that has lost its majority never replies to COMMIT.
    pub fn commit_timeout(mut self, timeout: Duration) -> Self {
        self.commit_timeout = Some(timeout);
        self
    }

    /// How long a transaction may be open, COMMIT included, before a warning says so at its end. Default: 10 seconds.
    /// [`Duration::MAX`]: never. It needs the feature `tracing`.
    pub fn slow_transaction(mut self, threshold: Duration) -> Self {
        self.slow_transaction = threshold;
        self
    }

    /// Tells `listener` of what a program may want to log or count: retries, reconnects, failovers, lost COMMITs that were looked up, and slow
    /// transactions. It needs no feature. Without a listener it costs a branch where such a thing happens, and nothing elsewhere.
    ///
    /// It is called on the thread of the call that met the event, which waits for it, and may hold the lock: it is to be quick, and not to use the
    /// database. If it panics, the panic is caught. Forks share it. A later call of `on_event` replaces it.
    ///
    /// ```
    /// use db_core::prelude::*;
    /// use db_core::Event;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = db_testkit::Server::start()?;
    /// # let url = server.url();
    /// let db = Db::builder(&url)
    ///     .on_event(|event| match event {
    ///         Event::Retry { attempts, kind, .. } => eprintln!("attempt {attempts} ended in {kind:?}"),
    ///         event => eprintln!("{event:?}"),
    ///     })
    ///     .connect()?;
    /// # Ok(()) }
    /// ```
    pub fn on_event(mut self, listener: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.listener = Listener::new(listener);
        self
    }

    /// Whether COMMITs are recorded, so that one whose reply is lost is resolved instead of ending in [`CommitUnknown`]. Default false.
    ///
    /// It costs no round trip, and one more statement in the COMMIT of each transaction that does more than read. While a COMMIT is resolved the
    /// lock stays held, for up to the [`resolve_timeout`](Self::resolve_timeout). It needs the table that [`Db::install_ledger`] makes, in the URL's database, and the privileges
    /// SELECT, INSERT, UPDATE and DELETE on it.
    ///
    /// [`CommitUnknown`]: crate::ErrorKind::CommitUnknown
    pub fn commit_ledger(mut self, on: bool) -> Self {
        self.ledger = on;
        self
    }

    /// For how long a COMMIT whose outcome is not known is [resolved](Self::commit_ledger), before the call ends in [`CommitUnknown`].
    /// Default: 60 seconds, whatever the retry policy's limits are. An attempt to read the ledger that has begun is not interrupted.
    ///
    /// [`CommitUnknown`]: crate::ErrorKind::CommitUnknown
    pub fn resolve_timeout(mut self, timeout: Duration) -> Self {
        self.resolve_timeout = Some(timeout);
        self
    }

    /// The most connections that a [pool](Self::connect_pool) has open at a time. Default 10. In the URL: `max_connections`, or `pool_max`.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.pool.max_connections = Some(connections);
        self
    }

    /// How many connections a [pool](Self::connect_pool) opens at once, and keeps although they are idle. Default 0: it opens one, and closes it
    /// when it is idle. In the URL: `min_connections`, or `pool_min`.
    pub fn min_connections(mut self, connections: u32) -> Self {
        self.pool.min_connections = Some(connections);
        self
    }

    /// How long a call waits for a connection of a [pool](Self::connect_pool) before it fails with
    /// [`PoolTimeout`](crate::ErrorKind::PoolTimeout). Default: 30 seconds. In the URL: `acquire_timeout_ms`.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.pool.acquire_timeout = Some(timeout);
        self
    }

    /// How long a connection of a [pool](Self::connect_pool) is used before it is closed, between two transactions. Default: 30 minutes. Up to
    /// a fifth of it is taken off at random, so that connections that were opened together are not closed together. In the URL: `max_lifetime_ms`.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.pool.max_lifetime = Some(lifetime);
        self
    }

    /// How long a connection of a [pool](Self::connect_pool) may be idle before it is closed. Default: 10 minutes. It is looked at when
    /// a call takes a connection. In the URL: `idle_timeout_ms`.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.pool.idle_timeout = Some(timeout);
        self
    }

    /// Changes the driver's own options, for what a URL cannot say: timeouts, TLS, a handler for LOCAL INFILE.
    ///
    /// Where they are silent, a dead server is noticed by TCP keepalive (10 seconds idle, then 3 probes 5 seconds apart) and, on Linux,
    /// TCP_USER_TIMEOUT (25 seconds), a connection is made within 5 seconds, and packets may have 64 MiB.
    /// `prefer_socket` is always off: the address given is the address used.
    pub fn driver_options(mut self, change: impl FnOnce(OptsBuilder) -> OptsBuilder + 'static) -> Self {
        self.driver.push(Box::new(change));
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// - [`Config`](crate::ErrorKind::Config): the URL is not valid, or names no database for the commit ledger to be in.
    /// - [`ConnectFailed`](crate::ErrorKind::ConnectFailed): no server replies, or none that speaks the protocol.
    /// - [`Unavailable`](crate::ErrorKind::Unavailable): the server is full, or going down.
    /// - [`AccessDenied`](crate::ErrorKind::AccessDenied), [`UnknownDatabase`](crate::ErrorKind::UnknownDatabase): it refuses.
    /// - [`UnknownTable`](crate::ErrorKind::UnknownTable): the commit ledger's table is missing; see [`Db::install_ledger`].
    pub fn connect(mut self) -> Result<Db> {
        let lock = self.lock.take().unwrap_or_default();
        let (settings, _) = self.settings()?;
        Db::open(Arc::new(settings), lock)
    }

    /// Connects a [`Pool`]: opens one connection, or [`min_connections`](Self::min_connections). A lock has no effect on it.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect). [`Config`](crate::ErrorKind::Config), too: `max_connections` is 0, or less than `min_connections`.
    pub fn connect_pool(self) -> Result<Pool> {
        let (settings, pool) = self.settings()?;
        Pool::open(Arc::new(settings), pool.limits()?)
    }

    fn settings(self) -> Result<(Settings, PoolOptions)> {
        let parsed = Settings::parse(&self.url)?;
        let pool = self.pool.or(parsed.own.pool);
        let options = self.driver.into_iter().fold(OptsBuilder::from_opts(parsed.driver), |options, change| change(options));
        let mut settings = Settings::new(options.into(), self.retry.unwrap_or_default(), self.slow_transaction, self.ledger)?;
        settings.hosts = Arc::new(Hosts::new(&settings.options, &parsed.others, parsed.own.target, parsed.own.balance));
        settings.lock_timeout = self.lock_timeout.unwrap_or(settings.lock_timeout);
        settings.listener = self.listener;
        settings.timeout = self.timeout;
        settings.silence = self.silence.unwrap_or(settings.silence);
        settings.commit_timeout = self.commit_timeout.unwrap_or(settings.commit_timeout);
        settings.resolve_timeout = self.resolve_timeout.unwrap_or(settings.resolve_timeout);
        Ok((settings, pool))
    }
}

impl fmt::Debug for DbBuilder {
    /// Without the URL, which holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DbBuilder")
            .field("retry", &self.retry)
            .field("lock_timeout", &self.lock_timeout)
            .field("timeout", &self.timeout)
            .field("silence", &self.silence)
            .field("commit_timeout", &self.commit_timeout)
            .field("slow_transaction", &self.slow_transaction)
            .field("on_event", &self.listener.is_there())
            .field("commit_ledger", &self.ledger)
            .field("resolve_timeout", &self.resolve_timeout)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_hosts_and_clusters_are_waited_for_longer_unless_the_policy_says_how_long() {
        let paced = |url: &str, policy: &RetryPolicy| {
            let (settings, _) = Db::builder(url).settings().expect("a valid URL");
            let at_first = settings.paced(policy);
            settings.hosts.found_node(true);
            [at_first, settings.paced(policy)]
        };
        let [default, ten, thirty] = [None, Some(10), Some(30)]
            .map(|seconds| seconds.map(Duration::from_secs).into_iter().fold(RetryPolicy::default(), RetryPolicy::max_elapsed));
        assert_eq!(paced("mysql://a/d", &default), [default, thirty]);
        assert_eq!(paced("mysql://a,b/d", &default), [thirty; 2]);
        assert_eq!(paced("mysql://a,b/d", &ten), [ten; 2]);
    }
}
