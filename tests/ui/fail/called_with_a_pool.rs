use db_core::prelude::*;

#[transactional]
fn insert(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (id,))
}

fn calls(given: &db_core::mysql::Pool) -> db_core::Result<()> {
    insert(given, 1)
}

fn main() {}
