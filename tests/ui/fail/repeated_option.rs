use db_core::prelude::*;

#[retry_on_disconnect(max_attempts = 5, max_attempts = 6)]
#[transactional(read_only, isolation = ReadCommitted, read_only)]
fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
