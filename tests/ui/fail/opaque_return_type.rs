use db_core::prelude::*;

#[transactional]
fn numbers(tx: &mut Transaction<'_>) -> impl Iterator<Item = u64> {
    tx.query("SELECT 1").unwrap().into_iter()
}

fn calls(db: &Db) -> u64 {
    numbers(db).sum()
}

fn main() {}
