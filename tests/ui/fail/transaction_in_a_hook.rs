use db_core::prelude::*;

#[transactional]
fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.after_commit(|| drop(tx.query_drop("DO 1")));
    Ok(())
}

fn main() {}
