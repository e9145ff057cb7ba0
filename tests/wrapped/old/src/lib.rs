//! An edition in which `::core` is no path.

#![deny(warnings)]

extern crate db_core;

use db_core::{Attempt, Db, Transaction, retry_on_disconnect, transactional};

/// Inserts.
#[transactional(isolation = ReadCommitted)]
pub fn insert(tx: &mut Transaction, id: u64) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (id,))
}

/// Inserts again.
#[retry_on_disconnect(max_attempts = 2)]
#[transactional]
pub fn insert_again(tx: &mut Transaction, name: String, rows: &mut Vec<u8>, attempt: Attempt) -> db_core::Result<()> {
    rows.push(1);
    tx.exec_drop("DO ?", (name, attempt.number()))
}

/// Watches.
#[retry_on_disconnect]
pub fn both(db: &Db) -> db_core::Result<()> {
    insert(db, 1)?;
    insert_again(db, String::new(), &mut Vec::new())
}
