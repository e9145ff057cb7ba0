use db_core::prelude::*;

#[retry_on_disconnect(max_attempts = 0)]
#[transactional]
fn never(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(max_attempts = 5_000_000_000)]
#[transactional]
fn too_often(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(max_attempts = -1)]
#[transactional]
fn negative(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
