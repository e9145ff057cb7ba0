use db_core::prelude::*;

#[transactional]
fn by_value(tx: Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional]
fn shared(_: u64, tx: &Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn calls(db: &Db) -> db_core::Result<()> {
    by_value(db)?;
    shared(1, db)
}

fn main() {}
