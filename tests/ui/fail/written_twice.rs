use db_core::prelude::*;

#[transactional(read_only)]
#[transactional]
fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect]
#[retry_on_disconnect]
#[transactional]
fn insert_again(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
