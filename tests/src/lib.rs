//! The fixture of the tests: a bank on its own server, and ways to break its connections.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests panic when something is not as it should be")]
#![allow(missing_docs, reason = "read by those who write the tests")]

use std::env;
use std::fmt::Debug;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use db_core::mysql::{self, Conn, prelude::Queryable as _};
use db_core::prelude::*;
use db_core::{DbBuilder, Error};
use db_testkit::{Action, Fault, FaultProxy, Flavor, Injection, Point, Server, Topology};

/// As the library sends it.
pub const COMMIT: &str = "COMMIT AND NO CHAIN NO RELEASE";

/// A server, and a table `account` with ten accounts (1 to 10) of 100 each.
pub struct Bank {
    pub server: Server,
    pub db: Db,
}

pub fn bank() -> Bank {
    bank_on(Server::start().unwrap())
}

pub fn bank_on(server: Server) -> Bank {
    let mut admin = server.connect().unwrap();
    admin.query_drop("USE test").unwrap();
    admin.query_drop("CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL) ENGINE=InnoDB").unwrap();
    admin.query_drop("CREATE TABLE journal (n BIGINT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(100) NOT NULL) ENGINE=InnoDB").unwrap();
    let rows: Vec<String> = (1..=10).map(|id| format!("({id}, 100)")).collect();
    admin.query_drop(format!("INSERT INTO account VALUES {}", rows.join(", "))).unwrap();
    let db = Db::builder(&server.url()).retry(quick()).connect().unwrap();
    Bank { server, db }
}

/// Three attempts, close together.
pub fn quick() -> RetryPolicy {
    RetryPolicy::default().base_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(20))
}

impl Bank {
    /// A connection beside the library's, with autocommit.
    pub fn admin(&self) -> Conn {
        let mut conn = self.server.connect().unwrap();
        conn.query_drop("USE test").unwrap();
        conn
    }

    /// A database that is reached through a proxy, with the bank's retry policy and these options.
    pub fn proxied(&self, options: impl FnOnce(DbBuilder) -> DbBuilder) -> (FaultProxy, Db) {
        let proxy = self.server.proxy().unwrap();
        let builder = Db::builder(&proxy.url(&self.server.url()).unwrap()).retry(quick());
        let db = options(builder).connect().unwrap();
        (proxy, db)
    }

    /// What a transaction returns that commits.
    pub fn commits<T>(&self, body: impl FnOnce(&mut Transaction<'_>) -> db_core::Result<T>) -> T {
        self.db.transaction(body).unwrap()
    }

    /// The error of a transaction that fails.
    pub fn fails<T: Debug>(&self, body: impl FnOnce(&mut Transaction<'_>) -> db_core::Result<T>) -> Error {
        self.db.transaction(body).unwrap_err()
    }

    /// Another session that has locked this account until it ends its transaction.
    pub fn locked(&self, id: u32) -> Conn {
        let mut session = self.admin();
        session.query_drop("BEGIN").unwrap();
        session.query_drop(format!("SELECT * FROM account WHERE id = {id} FOR UPDATE")).unwrap();
        session
    }

    pub fn admin_query(&self, sql: &str) {
        self.admin().query_drop(sql).unwrap();
    }

    pub fn balance(&self, id: u32) -> i64 {
        self.admin().exec_first("SELECT balance FROM account WHERE id = ?", (id,)).unwrap().unwrap()
    }

    /// How many rows a table has.
    pub fn admin_count(&self, table: &str) -> u64 {
        self.admin().query_first(format!("SELECT COUNT(*) FROM {table}")).unwrap().unwrap()
    }

    pub fn balances<const N: usize>(&self, ids: [u32; N]) -> [i64; N] {
        ids.map(|id| self.balance(id))
    }

    pub fn notes(&self) -> Vec<String> {
        self.admin().query("SELECT note FROM journal ORDER BY n").unwrap()
    }

    /// Ends a session as an operator would, and waits until it is gone.
    pub fn kill(&self, connection: u32) {
        let mut admin = self.admin();
        admin.query_drop(format!("KILL {connection}")).unwrap();
        let gone = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {connection}");
        eventually("the killed session is gone", || admin.query_first(&gone).unwrap() == Some(0));
    }

    /// The next two-row conflict with the caller ends in a deadlock that the caller loses.
    pub fn rival(&self) -> Rival {
        Rival::new(self.admin(), self.admin())
    }
}

/// The number, in the proxy's count, of the connection that the database uses.
pub fn connection_of(proxy: &FaultProxy, db: &Db) -> usize {
    db.ping().unwrap();
    let asked = |text: &String| text.contains("db_core_check") && !text.contains("SET NAMES");
    proxy.requests().into_iter().rfind(|request| request.text.as_ref().is_some_and(asked)).unwrap().connection
}

/// What the next request with this text meets on `db`'s connection. Connections that are opened later come through.
pub fn cut(proxy: &FaultProxy, db: &Db, text: &str, point: Point, action: Action) -> Injection {
    proxy.inject(Fault::new(point, action).matching(text).on_connection(connection_of(proxy, db)))
}

pub fn cut_commit(proxy: &FaultProxy, db: &Db, point: Point, action: Action) -> Injection {
    cut(proxy, db, "COMMIT", point, action)
}

/// What a request with this text meets on each of the next so many connections.
pub fn cut_next(proxy: &FaultProxy, connections: usize, text: &str, point: Point, action: Action) -> Vec<Injection> {
    let opened = usize::try_from(proxy.counts().connections).unwrap();
    (1..=connections).map(|later| proxy.inject(Fault::new(point, action).matching(text).on_connection(opened + later))).collect()
}

/// Changes an account, and leaves a note: what went missing, or came twice, shows in both.
pub fn deposit(tx: &mut Transaction<'_>, id: u32, amount: i64) -> db_core::Result<()> {
    tx.exec_drop("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, id))?;
    tx.exec_drop("INSERT INTO journal (note) VALUES (?)", (format!("{id} {amount:+}"),))
}

pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(10), "never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Fails instead of hanging.
pub fn within<R: Send + 'static>(limit: Duration, work: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, result) = channel();
    let worker = thread::spawn(move || drop(done.send(work())));
    match result.recv_timeout(limit) {
        Ok(value) => value,
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("still not done after {limit:?}"),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the worker sends before it ends"),
        },
    }
}

/// Another session that holds account 10 and much else, and goes for account 9 when told. A transaction that holds 9 and then wants 10
/// deadlocks with it, and loses, having changed less.
pub struct Rival {
    go: Sender<()>,
    thread: Option<JoinHandle<()>>,
    watch: Conn,
    id: u32,
}

impl Rival {
    fn new(mut conn: Conn, watch: Conn) -> Self {
        let (go, told): (Sender<()>, Receiver<()>) = channel();
        let (ready, holds) = channel();
        let id = conn.connection_id();
        let thread = thread::spawn(move || {
            conn.query_drop("BEGIN").unwrap();
            conn.query_drop("UPDATE account SET balance = balance + 1000 WHERE id = 10").unwrap();
            let many = vec!["('ballast')"; 200].join(", ");
            conn.query_drop(format!("INSERT INTO journal (note) VALUES {many}")).unwrap();
            ready.send(()).unwrap();
            if told.recv().is_ok() {
                // It waits for 9 until the other session has lost.
                conn.query_drop("UPDATE account SET balance = balance WHERE id = 9").unwrap();
            }
            conn.query_drop("ROLLBACK").unwrap();
        });
        holds.recv().unwrap();
        Self { go, thread: Some(thread), watch, id }
    }

    /// To be called by the transaction that holds 9: returns when the rival waits for it, so that touching 10 is a deadlock.
    pub fn wait_for_nine(&mut self) {
        self.go.send(()).unwrap();
        let waits = format!(
            "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = {} AND trx_state = 'LOCK WAIT'",
            self.id
        );
        for _ in 0..50 {
            // The server renews this table only if nobody has read it for a tenth of a second.
            thread::sleep(Duration::from_millis(110));
            if self.watch.query_first(&waits).unwrap() == Some(1) {
                return;
            }
        }
        panic!("the rival does not wait for account 9");
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // An unspent rival gives up as its channel closes.
        let (closed, _) = channel();
        self.go = closed;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// What the child did, as the exit status of a process that leaves the test's harness alone.
#[allow(unsafe_code, reason = "there is no safe fork(2)")]
pub fn in_a_forked_child(work: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child calls nothing but `work` and `_exit`; no other thread of this process holds a lock that `work` takes.
    unsafe {
        match libc::fork() {
            0 => {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
                libc::_exit(i32::from(!done))
            }
            child => {
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                status == 0
            }
        }
    }
}

/// Does this while the calling thread gets a signal every half a millisecond, whose handler lets no system call go on (no `SA_RESTART`).
#[allow(unsafe_code, reason = "there is no safe pthread_kill(3)")]
pub fn while_signals_arrive<R>(work: impl FnOnce() -> R) -> R {
    extern "C" fn ignore(_: libc::c_int) {}
    // SAFETY: the handler does nothing, and a zeroed `sigaction` is a valid one without flags.
    let thread = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()), 0);
        libc::pthread_self()
    };
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // SAFETY: the thread waits for this one below, so that it lives.
                unsafe { libc::pthread_kill(thread, libc::SIGALRM) };
                thread::sleep(Duration::from_micros(500));
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A command that runs the program of a package of the workspace.
pub fn program(package: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // The directory of this run's artifacts, where the programs have been compiled already.
    let target = env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["run", "--quiet", "--package", package, "--target-dir"]).arg(target);
    command
}

/// A command that runs an example.
pub fn example(name: &str) -> Command {
    let mut command = program("examples");
    command.args(["--example", name]);
    command
}

/// The code of the server's error, if it is one.
pub fn code(error: &mysql::Error) -> Option<u16> {
    if let mysql::Error::MySqlError(error) = error { Some(error.code) } else { None }
}

/// The programs in the READMEs compile.
#[cfg(doctest)]
mod readme {
    #[doc = include_str!("../../README.md")]
    mod of_the_workspace {}

    #[doc = include_str!("../../db-macros/README.md")]
    mod of_db_macros {}
}

/// Whether the server under test can form a cluster with this topology.
pub fn can_form(topology: Topology) -> bool {
    match (topology, Flavor::from_env().unwrap()) {
        // Galera runs on the MariaDB of this machine only.
        (Topology::Galera, Flavor::MariaDb) => env::var_os("DB_TESTKIT_MARIADB_ROOT").is_none(),
        (Topology::Asynchronous, Flavor::MariaDb) => true,
        (Topology::GroupSinglePrimary | Topology::GroupMultiPrimary, Flavor::MySql) => true,
        _ => false,
    }
}

/// A cluster that is written to on every node, if the server under test can form one.
pub fn several_writers() -> Option<Topology> {
    [Topology::Galera, Topology::GroupMultiPrimary].into_iter().find(|topology| can_form(*topology))
}
