//! The attributes cannot know where `db-core` is: nothing says `crate = infra::db_core`.

use infra::prelude::*;

#[retry_on_disconnect(max_attempts = 5)]
#[transactional(isolation = ReadCommitted)]
fn insert(tx: &mut Transaction<'_>, name: String) -> infra::db_core::Result<()> {
    tx.exec_drop("DO ?", (name,))
}

fn calls(db: &Db) -> infra::db_core::Result<()> {
    insert(db, String::new())
}
