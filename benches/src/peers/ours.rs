//! The library under test: annotated functions, as its users write them.

use db_core::prelude::*;

use crate::error::Outcome;
use crate::peer::{Client, Midway, Peer, Session};
use crate::work::{DEPTH, SELECT, UPDATE, Work};

/// `Db`, one fork per thread.
pub(crate) struct Ours {
    pub(crate) ledger: bool,
}

struct Root(Db);
struct Fork(Db);

impl Peer for Ours {
    fn name(&self) -> &'static str {
        if self.ledger { super::OURS_LEDGER } else { super::OURS }
    }

    fn client(&self, url: &str, _sessions: usize) -> Outcome<Box<dyn Client>> {
        let db = Db::builder(url).commit_ledger(self.ledger).connect()?;
        // The forks do the work; this one would be a connection more than the others have.
        db.disconnect();
        Ok(Box::new(Root(db)))
    }
}

impl Client for Root {
    fn session(&self) -> Outcome<Box<dyn Session>> {
        Ok(Box::new(Fork(self.0.fork()?)))
    }
}

impl Session for Fork {
    fn once(&mut self, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
        Ok(run(&self.0, work, row, midway)?)
    }
}

/// One transaction on any handle.
pub(crate) fn run(db: &Db, work: Work, row: u32, midway: Midway<'_>) -> db_core::Result<()> {
    match work {
        Work::Update => update(db, row),
        Work::Transfer => transfer(db, row, row + 1),
        Work::Ten => ten(db, row),
        Work::Read => read(db, row).map(drop),
        Work::Empty => empty(db),
        Work::Nested => nested(db, row, DEPTH),
        Work::Interrupted => interrupted(db, row, midway),
    }
}

#[retry_on_disconnect]
#[transactional]
fn update(tx: &mut Transaction<'_>, row: u32) -> db_core::Result<()> {
    tx.exec_drop(UPDATE, (1, row))
}

#[retry_on_disconnect]
#[transactional]
fn transfer(tx: &mut Transaction<'_>, from: u32, to: u32) -> db_core::Result<()> {
    let _balance: Option<i64> = tx.exec_first(SELECT, (from,))?;
    tx.exec_drop(UPDATE, (-1, from))?;
    tx.exec_drop(UPDATE, (1, to))
}

#[retry_on_disconnect]
#[transactional]
fn ten(tx: &mut Transaction<'_>, row: u32) -> db_core::Result<()> {
    (row..row + 10).try_for_each(|row| tx.exec_drop(UPDATE, (1, row)))
}

#[retry_on_disconnect]
#[transactional]
fn read(tx: &mut Transaction<'_>, row: u32) -> db_core::Result<Option<i64>> {
    tx.exec_first(SELECT, (row,))
}

#[retry_on_disconnect]
#[transactional]
fn empty(_tx: &mut Transaction<'_>) -> db_core::Result<()> {
    Ok(())
}

#[retry_on_disconnect]
#[transactional]
fn nested(tx: &mut Transaction<'_>, row: u32, depth: u32) -> db_core::Result<()> {
    tx.exec_drop(UPDATE, (1, row))?;
    if depth > 1 { nested(tx, row + 1, depth - 1) } else { Ok(()) }
}

#[retry_on_disconnect]
#[transactional]
fn interrupted(tx: &mut Transaction<'_>, row: u32, midway: Midway<'_>) -> db_core::Result<()> {
    tx.exec_drop(UPDATE, (1, row))?;
    midway();
    tx.exec_drop(UPDATE, (1, row + 1))
}
