use db_core::prelude::*;

#[transactional(isolation = NO_SUCH_LEVEL)]
fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
