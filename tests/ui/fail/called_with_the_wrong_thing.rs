use db_core::prelude::*;

#[transactional]
fn insert(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (id,))
}

fn calls(db: &Db, pool: &String) -> db_core::Result<()> {
    insert(pool, 1)?;
    insert(db)?;
    insert(db, "one")
}

fn main() {}
