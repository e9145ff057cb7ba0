use std::time::Duration;

use db_core::prelude::*;

const SECONDS: u64 = 3;

#[transactional(timeout = 5)]
fn number(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(timeout = SECONDS)]
fn constant(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(timeout = SECONDS)]
fn retry_alone(db: &Db) -> db_core::Result<()> {
    db.ping()
}

#[retry_on_disconnect(timeout = "5s")]
fn text(db: &Db) -> db_core::Result<()> {
    db.ping()
}

#[transactional(timeout)]
fn nothing(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(time_out = Duration::from_secs(5))]
fn misspelt(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(timeout = Duration::from_secs(5))]
#[transactional(timeout = Duration::from_secs(6))]
fn two(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
