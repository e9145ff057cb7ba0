//! A function written against a transaction is called with a database, or with a transaction.

use db_core::prelude::*;

#[transactional]
fn transfer(tx: &mut Transaction<'_>, from: u64, to: u64, cents: i64) -> Result<(), db_core::Error> {
    debit(tx, from, cents)?;
    credit(to, cents, tx)
}

#[transactional]
fn debit(tx: &mut Transaction<'_>, id: u64, cents: i64) -> Result<(), db_core::Error> {
    if cents == 0 {
        return Ok(());
    }
    tx.exec_drop("UPDATE account SET balance = balance - ? WHERE id = ?", (cents, id))?;
    Ok(())
}

#[transactional]
fn credit(id: u64, cents: i64, tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.exec_drop("UPDATE account SET balance = balance + ? WHERE id = ?", (cents, id))
}

#[transactional]
fn mutable(mut tx: &mut Transaction<'_>) -> db_core::Result<()> {
    let again = &mut tx;
    debit(again, 1, 1)
}

#[transactional]
fn unused(_tx: &mut Transaction<'_>) -> db_core::Result<()> {
    Ok(())
}

#[transactional]
fn unnamed(_: &mut db_core::Transaction<'_>) -> db_core::Result<()> {
    Ok(())
}

#[transactional]
fn lifetime_not_written(tx: &mut Transaction) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect]
#[transactional]
fn body_of_every_kind(tx: &mut Transaction<'_>, limit: u64) -> db_core::Result<u64> {
    const STEP: u64 = 2;
    fn double(value: u64) -> u64 {
        value * STEP
    }
    let mut sum = 0;
    let found = 'search: loop {
        for id in 0..limit {
            tx.exec_drop("DO ?", (id,))?;
            sum += double(id);
            if sum > 10 {
                break 'search sum;
            }
        }
        if limit == 0 {
            return Ok(0);
        }
    };
    let halved = 'block: {
        if found % 2 == 1 {
            break 'block 0;
        }
        found / 2
    };
    Ok(halved)
}

#[transactional]
fn not_written_yet(_tx: &mut Transaction<'_>) -> db_core::Result<()> {
    todo!()
}

fn calls(db: &Db) -> db_core::Result<()> {
    transfer(db, 1, 2, 500)?;
    unused(db)?;
    unnamed(db)?;
    mutable(db)?;
    lifetime_not_written(db)?;
    body_of_every_kind(db, 3)?;
    db.transaction(|tx| {
        transfer(tx, 1, 2, 500)?;
        credit(2, 1, tx)?;
        tx.query_drop("DO 1")
    })?;
    not_written_yet(db)
}

fn main() {
    let _: fn(&Scope<'_>, u64, u64, i64) -> Result<(), db_core::Error> = transfer;
    let _ = calls;
}
