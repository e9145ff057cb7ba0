use db_core::prelude::*;

#[transactional]
struct Store;

#[retry_on_disconnect]
#[transactional]
impl Store {
    fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }
}

fn main() {}
