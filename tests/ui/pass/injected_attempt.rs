//! `attempt` is for the body only, wherever it stands.

use db_core::prelude::*;

#[retry_on_disconnect]
#[transactional]
fn first(attempt: Attempt, tx: &mut Transaction<'_>, id: u64) -> db_core::Result<u32> {
    tx.exec_drop("DO ?", (id,))?;
    Ok(attempt.number())
}

#[retry_on_disconnect]
#[transactional]
fn last(tx: &mut Transaction<'_>, id: u64, mut current: db_core::Attempt) -> db_core::Result<u32> {
    tx.exec_drop("DO ?", (id,))?;
    let copy = &mut current;
    Ok(copy.count())
}

#[retry_on_disconnect]
#[transactional]
fn ignored(tx: &mut Transaction<'_>, _: Attempt) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect]
fn without_a_transaction_of_its_own(db: &Db, attempt: Attempt) -> db_core::Result<u32> {
    db.transaction(|tx| tx.query_drop("DO 1"))?;
    Ok(attempt.number())
}

fn calls(db: &Db) -> db_core::Result<()> {
    first(db, 1)?;
    last(db, 1)?;
    ignored(db)?;
    without_a_transaction_of_its_own(db)?;
    Ok(())
}

fn main() {
    let _: fn(&Scope<'_>, u64) -> db_core::Result<u32> = first;
    let _: fn(&Scope<'_>, u64) -> db_core::Result<u32> = last;
    let _: fn(&Scope<'_>) -> db_core::Result<()> = ignored;
    let _: fn(&Db) -> db_core::Result<u32> = without_a_transaction_of_its_own;
    let _ = calls;
}
