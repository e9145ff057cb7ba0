#![deny(unused_must_use, deprecated)]

use db_core::prelude::*;

#[retry_on_disconnect]
#[transactional]
fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[deprecated = "use `insert`"]
#[transactional]
fn add(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn calls(db: &Db) {
    insert(db);
    let _ = add(db);
}

fn main() {}
