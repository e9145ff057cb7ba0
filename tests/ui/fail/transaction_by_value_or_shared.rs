use db_core::prelude::*;

#[transactional]
fn by_value(tx: Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional]
fn shared(_: u64, tx: &Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
