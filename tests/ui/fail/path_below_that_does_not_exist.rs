use db_core::{Transaction, retry_on_disconnect};

#[retry_on_disconnect]
#[no::such::path::transactional]
fn no_module(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
