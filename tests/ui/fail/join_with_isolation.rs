use db_core::prelude::*;

#[transactional(join, isolation = Serializable, read_only)]
fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
