//! `diesel`: one `MysqlConnection`, and its r2d2 pool at its defaults. Its query builder, which is what it caches statements for.

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};

use crate::error::Outcome;
use crate::peer::{Client, Midway, Peer, Session};
use crate::work::{DEPTH, Work};

diesel::table! {
    account (id) {
        id -> Integer,
        balance -> BigInt,
    }
}

pub(super) struct Bare;
pub(super) struct R2d2;

struct Opener(String);

struct Connected {
    url: String,
    conn: MysqlConnection,
}

struct Pooled(Pool<ConnectionManager<MysqlConnection>>);

impl Peer for Bare {
    fn name(&self) -> &'static str {
        "diesel"
    }

    fn client(&self, url: &str, _sessions: usize) -> Outcome<Box<dyn Client>> {
        Ok(Box::new(Opener(url.into())))
    }
}

impl Client for Opener {
    fn session(&self) -> Outcome<Box<dyn Session>> {
        Ok(Box::new(Connected { conn: MysqlConnection::establish(&self.0)?, url: self.0.clone() }))
    }
}

impl Session for Connected {
    fn once(&mut self, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
        transaction(&mut self.conn, work, row, midway)
    }

    fn reopen(&mut self) -> Outcome<()> {
        self.conn = MysqlConnection::establish(&self.url)?;
        Ok(())
    }
}

impl Peer for R2d2 {
    fn name(&self) -> &'static str {
        "diesel r2d2"
    }

    fn client(&self, url: &str, sessions: usize) -> Outcome<Box<dyn Client>> {
        let size = u32::try_from(sessions.max(10))?;
        Ok(Box::new(Pooled(
            Pool::builder().max_size(size).error_handler(Box::new(diesel::r2d2::NopErrorHandler)).build(ConnectionManager::new(url))?,
        )))
    }
}

impl Client for Pooled {
    fn session(&self) -> Outcome<Box<dyn Session>> {
        Ok(Box::new(Pooled(self.0.clone())))
    }
}

impl Session for Pooled {
    fn once(&mut self, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
        transaction(&mut *self.0.get()?, work, row, midway)
    }
}

fn transaction(conn: &mut MysqlConnection, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
    let row = i32::try_from(row)?;
    Ok(conn.transaction(|conn| statements(conn, work, row, midway))?)
}

fn statements(conn: &mut MysqlConnection, work: Work, row: i32, midway: Midway<'_>) -> QueryResult<()> {
    match work {
        Work::Update => add(conn, 1, row),
        Work::Transfer => {
            read(conn, row)?;
            add(conn, -1, row)?;
            add(conn, 1, row + 1)
        }
        Work::Ten => (row..row + 10).try_for_each(|row| add(conn, 1, row)),
        Work::Read => read(conn, row).map(drop),
        Work::Empty => Ok(()),
        Work::Nested => nested(conn, row, DEPTH),
        Work::Interrupted => {
            add(conn, 1, row)?;
            midway();
            add(conn, 1, row + 1)
        }
    }
}

fn add(conn: &mut MysqlConnection, cents: i64, row: i32) -> QueryResult<()> {
    diesel::update(account::table.find(row)).set(account::balance.eq(account::balance + cents)).execute(conn).map(drop)
}

fn read(conn: &mut MysqlConnection, row: i32) -> QueryResult<i64> {
    account::table.find(row).select(account::balance).first(conn)
}

fn nested(conn: &mut MysqlConnection, row: i32, depth: u32) -> QueryResult<()> {
    add(conn, 1, row)?;
    if depth > 1 { conn.transaction(|conn| nested(conn, row + 1, depth - 1)) } else { Ok(()) }
}
