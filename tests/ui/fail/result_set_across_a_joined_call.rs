use db_core::prelude::*;

#[transactional]
fn insert(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
    tx.exec_drop("INSERT INTO copy VALUES (?)", (id,))
}

#[transactional]
fn copy(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    let mut rows = tx.query_iter("SELECT id FROM original")?;
    while let Some(row) = rows.next() {
        let id: u64 = db_core::mysql::from_row(row?);
        insert(tx, id)?;
    }
    Ok(())
}

fn main() {}
