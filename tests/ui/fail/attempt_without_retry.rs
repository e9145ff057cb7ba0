use db_core::prelude::*;

#[transactional]
fn insert(tx: &mut Transaction<'_>, attempt: Attempt) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (attempt.number(),))
}

fn calls(db: &Db) -> db_core::Result<()> {
    insert(db)
}

fn main() {}
