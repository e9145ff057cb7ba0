use db_core::prelude::*;

#[transactional]
fn insert(tx: &mut Transaction<'_>) -> Result<(), String> {
    tx.query_drop("DO 1").map_err(|error| error.to_string())
}

fn main() {}
