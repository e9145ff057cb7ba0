use db_core::prelude::*;

#[transactional]
#[retry_on_disconnect(max_attempts = 5)]
fn insert(tx: &mut Transaction<'_>, id: u64, attempt: Attempt) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (id, attempt.number()))
}

fn calls(db: &Db) -> db_core::Result<()> {
    insert(db, 1)
}

fn main() {}
