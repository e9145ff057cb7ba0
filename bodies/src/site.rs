//! A worker's databases: made once, read after each call, and put back after each program.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use db_testkit::mysql::{Conn, prelude::Queryable as _};
use db_testkit::{FaultProxy, Flavor, Server};

use crate::program::Procedure;
use crate::sql::{Names, TABLES};

/// Errors of the test's own connections.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What is in the tables of one database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tables {
    pub(crate) accounts: BTreeMap<u8, i64>,
    /// Sorted: the order of notes is not promised.
    pub(crate) notes: Vec<String>,
    pub(crate) items: BTreeMap<u8, Option<String>>,
    pub(crate) tight: Vec<(u32, i64)>,
}

/// What is in the database and in its archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct World(pub(crate) [Tables; 2]);

impl World {
    pub(crate) fn new() -> Self {
        let accounts = (1..=10).map(|id| (id, 100)).collect();
        let tables = Tables { accounts, notes: Vec::new(), items: BTreeMap::new(), tight: Vec::new() };
        Self([tables.clone(), tables])
    }
}

/// What differs from the untouched tables.
impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (tables, prefix) in self.0.iter().zip(["", "archive."]) {
            parts.extend(
                tables.accounts.iter().filter(|(_, balance)| **balance != 100).map(|(id, balance)| format!("{prefix}{id}: {balance}")),
            );
            parts.extend(tables.notes.iter().map(|note| format!("{prefix}{note:?}")));
            parts.extend(tables.items.iter().map(|(k, v)| format!("{prefix}item {k}: {}", v.as_deref().unwrap_or("NULL"))));
            parts.extend(tables.tight.iter().map(|(n, v)| format!("{prefix}tight {n}: {v}")));
        }
        write!(f, "[{}]", parts.join(", "))
    }
}

/// One worker's part of a server.
pub(crate) struct Site {
    pub(crate) names: Names,
    pub(crate) proxy: FaultProxy,
    pub(crate) direct_url: String,
    pub(crate) proxy_url: String,
    pub(crate) rival: Rival,
    admin: Conn,
    audit: String,
    audit_locking: String,
}

impl Site {
    pub(crate) fn new(server: &Server, number: usize) -> Result<Self> {
        let names = Names { main: format!("bodies{number}"), archive: format!("bodies{number}_archive"), flavor: server.flavor() };
        let mut admin = server.connect()?;
        for database in [&names.main, &names.archive] {
            admin.query_drop(format!("CREATE DATABASE {database} CHARACTER SET utf8mb4"))?;
            admin.query_drop(format!("USE {database}"))?;
            for table in TABLES {
                admin.query_drop(table)?;
            }
            let rows: Vec<String> = (1..=10).map(|id| format!("({id}, 100)")).collect();
            admin.query_drop(format!("INSERT INTO account VALUES {}", rows.join(", ")))?;
            admin.query_drop("CREATE TABLE ballast (n INT NOT NULL) ENGINE=InnoDB")?;
            for procedure in Procedure::ALL {
                admin.query_drop(procedure.create())?;
            }
        }
        let direct_url = server.url_for(&names.main);
        db_core::Db::connect(&direct_url)?.install_ledger()?;
        let proxy = server.proxy()?;
        let proxy_url = proxy.url(&direct_url)?;
        let rival = Rival::new(server.connect()?, &names.main);
        let part = |number: usize, database: &str, locking: &str| {
            [
                format!("(SELECT {number} d, 'a' t, id k, CONVERT(balance, CHAR) COLLATE utf8mb4_bin v FROM {database}.account {locking})"),
                format!("(SELECT {number}, 'j', 0, note COLLATE utf8mb4_bin FROM {database}.journal {locking})"),
                format!("(SELECT {number}, 'i', k, v COLLATE utf8mb4_bin FROM {database}.item {locking})"),
                format!("(SELECT {number}, 't', n, CONVERT(v, CHAR) COLLATE utf8mb4_bin FROM {database}.tight {locking})"),
            ]
            .join(" UNION ALL ")
        };
        let [audit, audit_locking] = ["", "LOCK IN SHARE MODE"]
            .map(|locking| format!("{} UNION ALL {}", part(0, &names.main, locking), part(1, &names.archive, locking)));
        Ok(Self { names, proxy, direct_url, proxy_url, rival, admin, audit, audit_locking })
    }

    /// A proxy that has no faults.
    pub(crate) fn renew_proxy(&mut self, server: &Server) -> Result<()> {
        self.proxy = server.proxy()?;
        self.proxy_url = self.proxy.url(&self.direct_url)?;
        Ok(())
    }

    /// What is in the database now. `settled`: once every transaction that has changed it has ended.
    pub(crate) fn world(&mut self, settled: bool) -> Result<World> {
        // The locks of what is still being undone may meet those of the audit.
        let world = (1..4).find_map(|_| self.read_world(settled).ok());
        world.map_or_else(|| self.read_world(settled), Ok)
    }

    fn read_world(&mut self, settled: bool) -> Result<World> {
        let audit = if settled { &self.audit_locking } else { &self.audit };
        let mut world = World::new();
        world.0.iter_mut().for_each(|tables| tables.accounts.clear());
        for (database, table, key, value) in self.admin.query::<(usize, String, u32, Option<String>), _>(audit)? {
            let tables = &mut world.0[database];
            let number = || value.as_deref().unwrap_or_default().parse::<i64>();
            match table.as_str() {
                "a" => _ = tables.accounts.insert(u8::try_from(key)?, number()?),
                "j" => tables.notes.push(value.unwrap_or_default()),
                "i" => _ = tables.items.insert(u8::try_from(key)?, value),
                _ => tables.tight.push((key, number()?)),
            }
        }
        for tables in &mut world.0 {
            tables.notes.sort();
            tables.tight.sort_unstable();
        }
        Ok(world)
    }

    /// Waits until the server has noticed that connections were cut: what they sent last is done, or undone.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let Names { main, archive, .. } = &self.names;
        let count = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE db IN ('{main}', '{archive}')");
        for _ in 0..1000 {
            // The rival's session and this one are among them.
            if self.admin.query_first(&count)? == Some(self.proxy.connections() + 2) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(2));
        }
        let sessions: Vec<String> =
            self.admin.query("SELECT CONCAT_WS(' ', id, db, command, time, state, info) FROM information_schema.processlist")?;
        Err(format!("the server keeps sessions whose connections were cut: {} {sessions:#?}", self.proxy.connections()).into())
    }

    /// Puts back what differs from the untouched tables.
    pub(crate) fn reset(&mut self, world: &World) -> Result<()> {
        let untouched = World::new();
        let databases = [self.names.main.clone(), self.names.archive.clone()];
        for ((tables, old), database) in world.0.iter().zip(&untouched.0).zip(databases) {
            let wanted = [
                (tables.accounts != old.accounts, format!("UPDATE {database}.account SET balance = 100")),
                (!tables.notes.is_empty(), format!("DELETE FROM {database}.journal")),
                (!tables.items.is_empty(), format!("DELETE FROM {database}.item")),
                (!tables.tight.is_empty(), format!("DELETE FROM {database}.tight")),
            ];
            for (_, statement) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
                if let Err(error) = self.admin.query_drop(statement) {
                    let sessions: Vec<String> = self
                        .admin
                        .query("SELECT CONCAT_WS(' ', id, db, command, time, state, info) FROM information_schema.processlist")?;
                    return Err(format!("{error}; the sessions are {sessions:#?}").into());
                }
            }
        }
        Ok(())
    }

    pub(crate) fn mariadb(&self) -> bool {
        self.names.flavor == Flavor::MariaDb
    }
}

/// Another session that holds account 10 and much else, and asks for account 9. Whoever holds 9 and asks for 10 meets a deadlock, and is the
/// one that is rolled back, having changed less: whichever of the two waits first, so that nothing has to be observed.
pub(crate) struct Rival {
    go: Sender<Duration>,
    holds: Receiver<()>,
    done: Receiver<()>,
}

impl Rival {
    fn new(mut conn: Conn, database: &str) -> Self {
        let (go, told) = channel::<Duration>();
        let (held, holds) = channel();
        let (ended, done) = channel();
        let database = database.to_owned();
        thread::spawn(move || {
            let ballast = format!("INSERT INTO ballast VALUES {}", vec!["(0)"; 200].join(", "));
            // An error is a deadlock or a lock wait timeout of the rival's: the program met none then.
            let mut run = |statement: &str| drop(conn.query_drop(statement));
            run(&format!("USE {database}"));
            for delay in told {
                run("BEGIN");
                run("UPDATE account SET balance = balance + 1000 WHERE id = 10");
                run(&ballast);
                if held.send(()).is_err() {
                    return;
                }
                thread::sleep(delay);
                run("UPDATE account SET balance = balance WHERE id = 9");
                run("ROLLBACK");
                if ended.send(()).is_err() {
                    return;
                }
            }
        });
        Self { go, holds, done }
    }

    /// Returns when the rival holds account 10. After the delay it asks for account 9.
    pub(crate) fn start(&self, delay: Duration) -> Result<()> {
        self.go.send(delay)?;
        Ok(self.holds.recv()?)
    }

    /// Returns when a rival that was started holds nothing any more.
    pub(crate) fn wait(&self) -> Result<()> {
        Ok(self.done.recv()?)
    }
}
