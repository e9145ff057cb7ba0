//! The bare driver: `mysql::Conn`, and the pool that comes with it.

use mysql::prelude::Queryable;
use mysql::{Conn, Opts, OptsBuilder, PoolConstraints, PoolOpts, TxOpts};

use crate::error::{Cause, Outcome};
use crate::peer::{Client, Midway, Peer, Session};
use crate::work::{DEPTH, SELECT, UPDATE, Work};

/// `Conn::start_transaction`, a connection per thread.
pub(crate) struct Bare;

/// `Pool::start_transaction`.
pub(super) struct Pool {
    /// Without the reset at each return and the ping at each checkout.
    pub(super) tuned: bool,
}

struct Opener(Opts);

struct Connection {
    options: Opts,
    conn: Conn,
}

struct Pooled(mysql::Pool);

/// By TCP to the address given: the driver would leave it for a Unix socket, which nobody has whose server is elsewhere.
pub(crate) fn options(url: &str) -> Outcome<OptsBuilder> {
    Ok(OptsBuilder::from_opts(Opts::from_url(url)?).prefer_socket(false))
}

impl Peer for Bare {
    fn name(&self) -> &'static str {
        super::BASE
    }

    fn client(&self, url: &str, _sessions: usize) -> Outcome<Box<dyn Client>> {
        Ok(Box::new(Opener(options(url)?.into())))
    }
}

impl Client for Opener {
    fn session(&self) -> Outcome<Box<dyn Session>> {
        Ok(Box::new(Connection { conn: Conn::new(self.0.clone())?, options: self.0.clone() }))
    }
}

impl Session for Connection {
    fn once(&mut self, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
        transaction(self.conn.start_transaction(TxOpts::default())?, work, row, midway)
    }

    fn reopen(&mut self) -> Outcome<()> {
        self.conn = Conn::new(self.options.clone())?;
        Ok(())
    }
}

impl Peer for Pool {
    fn name(&self) -> &'static str {
        if self.tuned { "mysql::Pool, tuned" } else { "mysql::Pool" }
    }

    fn client(&self, url: &str, sessions: usize) -> Outcome<Box<dyn Client>> {
        let mut pool = PoolOpts::default();
        if self.tuned {
            pool = pool.with_reset_connection(false).with_check_health(false);
        }
        if sessions > 1 {
            let constraints = PoolConstraints::new(sessions.min(10), sessions.max(10)).ok_or("the pool's size")?;
            pool = pool.with_constraints(constraints);
        }
        Ok(Box::new(Pooled(mysql::Pool::new(options(url)?.pool_opts(pool))?)))
    }
}

impl Client for Pooled {
    fn session(&self) -> Outcome<Box<dyn Session>> {
        Ok(Box::new(Pooled(self.0.clone())))
    }
}

impl Session for Pooled {
    fn once(&mut self, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
        transaction(self.0.start_transaction(TxOpts::default())?, work, row, midway)
    }
}

/// The work in an open transaction of the driver's, and COMMIT.
pub(crate) fn transaction(mut tx: mysql::Transaction<'_>, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
    statements(&mut tx, work, row, midway)?;
    Ok(tx.commit()?)
}

/// What is between BEGIN and COMMIT.
pub(super) fn statements(tx: &mut impl Queryable, work: Work, row: u32, midway: Midway<'_>) -> mysql::Result<()> {
    match work {
        Work::Update => tx.exec_drop(UPDATE, (1, row)),
        Work::Transfer => {
            let _balance: Option<i64> = tx.exec_first(SELECT, (row,))?;
            tx.exec_drop(UPDATE, (-1, row))?;
            tx.exec_drop(UPDATE, (1, row + 1))
        }
        Work::Ten => (row..row + 10).try_for_each(|row| tx.exec_drop(UPDATE, (1, row))),
        Work::Read => tx.exec_first::<i64, _, _>(SELECT, (row,)).map(drop),
        Work::Empty => Ok(()),
        Work::Nested => nested(tx, row, DEPTH),
        Work::Interrupted => {
            tx.exec_drop(UPDATE, (1, row))?;
            midway();
            tx.exec_drop(UPDATE, (1, row + 1))
        }
    }
}

/// The driver does not nest: savepoints by hand, set and released as the object mappers do.
fn nested(tx: &mut impl Queryable, row: u32, depth: u32) -> mysql::Result<()> {
    tx.exec_drop(UPDATE, (1, row))?;
    if depth > 1 {
        tx.query_drop(format!("SAVEPOINT part_{depth}"))?;
        nested(tx, row + 1, depth - 1)?;
        tx.query_drop(format!("RELEASE SAVEPOINT part_{depth}"))?;
    }
    Ok(())
}

/// An error for a peer that cannot be told why.
pub(super) fn cause(text: impl Into<String>) -> Cause {
    text.into().into()
}
