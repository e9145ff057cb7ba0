use db_core::prelude::*;

#[transactional]
fn default_value(tx: &mut Transaction<'_>, id: u64 = 3) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional]
fn expression(tx: &mut Transaction<'_>) -> db_core::Result<()> = tx.query_drop("DO 1");

#[retry_on_disconnect]
#[transactional]
fn no_type(tx, id: u64) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
