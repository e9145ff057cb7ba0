use db_core::prelude::*;

#[transactional]
fn insert(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (id,))
}

fn calls(given: &mut db_core::mysql::Conn) -> db_core::Result<()> {
    insert(given, 1)
}

fn main() {}
