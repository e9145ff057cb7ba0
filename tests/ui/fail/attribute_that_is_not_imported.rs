use db_core::{Transaction, retry_on_disconnect};

#[retry_on_disconnect]
#[transactional]
fn without_the_import(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
