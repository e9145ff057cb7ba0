use db_core::prelude::*;

#[transactional]
extern "C" fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn calls(db: &Db) -> db_core::Result<()> {
    insert(db)
}

fn main() {}
