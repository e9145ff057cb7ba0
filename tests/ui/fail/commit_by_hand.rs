use db_core::prelude::*;

#[transactional]
fn commits(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")?;
    tx.commit()?;
    Ok(())
}

#[transactional]
fn rolls_back(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.rollback()
}

fn closure(db: &Db) -> db_core::Result<()> {
    db.transaction(|tx| tx.commit())
}

fn main() {}
