use db_core::prelude::*;

#[transactional]
fn longest(tx: &mut Transaction<'_>, text: &str) -> db_core::Result<&str> {
    tx.query_drop("DO 1")?;
    Ok(text)
}

fn main() {}
