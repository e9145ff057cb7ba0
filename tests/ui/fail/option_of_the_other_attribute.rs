use db_core::prelude::*;

#[retry_on_disconnect(isolation = Serializable)]
#[transactional(max_attempts = 5)]
fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
