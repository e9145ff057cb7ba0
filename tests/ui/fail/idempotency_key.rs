use db_core::prelude::*;

#[transactional(idempotency_key = key, read_only)]
fn reads(tx: &mut Transaction<'_>, key: u64) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(idempotency_key)]
fn no_key(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(idempotency_key = price)]
fn what_is_no_key(tx: &mut Transaction<'_>, price: f64) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (price,))
}

struct Receipt;

#[transactional(idempotency_key = key)]
fn what_cannot_be_stored(tx: &mut Transaction<'_>, key: u64) -> db_core::Result<Receipt> {
    tx.query_drop("DO 1").map(|()| Receipt)
}

fn calls(db: &Db) -> db_core::Result<()> {
    reads(db, 1)?;
    no_key(db)?;
    what_is_no_key(db, 1.0)?;
    what_cannot_be_stored(db, 1).map(drop)
}

fn main() {}
