//! `#[tracing::instrument]` above and below: around the whole call, or in it.

use db_core::prelude::*;

#[tracing::instrument]
#[retry_on_disconnect]
#[transactional]
fn above(tx: &mut Transaction<'_>, id: u64, attempt: Attempt) -> db_core::Result<u32> {
    tx.exec_drop("DO ?", (id,))?;
    Ok(attempt.number())
}

#[retry_on_disconnect]
#[transactional]
#[tracing::instrument(skip(tx), err)]
fn below(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (id,))
}

#[derive(Debug, Clone)]
struct Store {
    db: Db,
}

impl Store {
    #[tracing::instrument(skip_all, fields(id))]
    #[transactional(on = self.db)]
    fn method(&self, tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
        tx.exec_drop("DO ?", (id,))
    }

    #[retry_on_disconnect]
    #[transactional]
    #[tracing::instrument]
    fn by_value(self, tx: &mut Transaction<'_>, names: Vec<String>) -> db_core::Result<Self> {
        tx.exec_drop("DO ?", (names.len(),))?;
        Ok(self)
    }
}

fn calls(db: &Db) -> db_core::Result<()> {
    let _: u32 = above(db, 1)?;
    below(db, 1)?;
    let store = Store { db: db.clone() };
    store.method(1)?;
    store.by_value(db, vec![])?;
    Ok(())
}

fn main() {
    let _ = calls;
}
