//! Which server is measured on, and what is in it?

use std::thread;
use std::time::{Duration, Instant};

use db_core::Db;
use db_testkit::{FaultProxy, Flavor, Server};
use mysql::Conn;
use mysql::prelude::Queryable;

use crate::error::{Error, Result};
use crate::work::{ROWS_PER_SESSION, SESSIONS, TABLE};

/// How long a killed session may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A throwaway server with the table of accounts and the commit ledger's.
pub(crate) struct Site {
    pub(crate) server: Server,
}

/// A session that watches and kills the others.
pub(crate) struct Admin(Conn);

impl Site {
    /// As `db-testkit` starts servers, but for the number of connections and the sizes: with its small log a round in ten waits for a
    /// checkpoint.
    pub(crate) fn start(flavor: Flavor, max_connections: u32) -> Result<Self> {
        let server = Server::builder()
            .flavor(flavor)
            .arg(format!("--max-connections={max_connections}"))
            .arg("--innodb-buffer-pool-size=256M")
            .arg(match flavor {
                Flavor::MariaDb => "--loose-innodb-log-file-size=256M",
                Flavor::MySql => "--loose-innodb-redo-log-capacity=256M",
            })
            .start()?;
        let mut conn = server.connect()?;
        conn.query_drop(TABLE)?;
        let rows: Vec<String> = (1..=SESSIONS * ROWS_PER_SESSION).map(|id| format!("({id}, 0)")).collect();
        conn.query_drop(format!("INSERT INTO account VALUES {}", rows.join(", ")))?;
        Db::connect(&server.url())?.install_ledger()?;
        Ok(Self { server })
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// `MariaDB 10.11.14`.
    pub(crate) fn name(&self) -> String {
        let version = self.server.version().split('-').next().unwrap_or_default();
        format!("{} {version}", self.server.flavor())
    }

    /// A proxy before the server that reads nothing: what each peer sends passes as it is.
    pub(crate) fn proxy(&self, latency: Duration) -> Result<FaultProxy> {
        Ok(FaultProxy::builder(self.server.address()).opaque().latency(latency).start()?)
    }

    pub(crate) fn admin(&self) -> Result<Admin> {
        Ok(Admin(self.server.connect()?))
    }
}

impl Admin {
    /// Kills every other session, and returns when they are gone.
    pub(crate) fn kill_all(&mut self) -> Result<()> {
        for id in self.others()? {
            match self.0.query_drop(format!("KILL {id}")) {
                // It went by itself.
                Err(mysql::Error::MySqlError(error)) if error.code == 1094 => {}
                result => result?,
            }
        }
        self.wait_alone()
    }

    /// Waits until no session but this one is left.
    pub(crate) fn wait_alone(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.others()?.is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn others(&mut self) -> Result<Vec<u64>> {
        self.0.query("SELECT id FROM information_schema.processlist WHERE user = 'root' AND id <> CONNECTION_ID()").map_err(Error::Admin)
    }
}
