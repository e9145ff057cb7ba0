use db_core::prelude::*;

#[transactional(isolaton = ReadCommitted)]
fn near(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(patience = 5)]
fn far(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(attempts = 5, jitter)]
#[transactional(max_attempts = 5)]
fn several(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn calls(db: &Db) -> db_core::Result<()> {
    near(db)?;
    far(db)?;
    several(db)
}

fn main() {}
