use db_core::prelude::*;

async fn ready() {}

#[transactional]
fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    ready().await;
    tx.query_drop("DO 1")
}

fn main() {}
