use db_core::prelude::*;

#[retry_on_disconnect]
#[transactional]
async fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

async fn calls(db: &Db) -> db_core::Result<()> {
    insert(db).await
}

fn main() {}
