use db_core::prelude::*;

#[transactional(crate = "infra::db_core")]
fn string(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(crate = 5)]
fn number(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(crate)]
fn nothing(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(crate = db_core)]
#[transactional(crate = crate::infra)]
fn two(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
