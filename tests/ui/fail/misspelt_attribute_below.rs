use db_core::prelude::*;

#[retry_on_disconnect]
#[transactionl]
fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
