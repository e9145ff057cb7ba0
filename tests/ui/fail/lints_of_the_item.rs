#![deny(dead_code, unreachable_pub, missing_docs)]
//! A lint about an annotated function is reported where it is for a plain one.

use db_core::prelude::*;

#[transactional]
fn unused(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect]
#[transactional]
fn unused_and_retried(tx: &mut Transaction<'_>, id: String) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (id,))
}

#[retry_on_disconnect]
fn unused_with_retry_alone(db: &Db) -> db_core::Result<()> {
    db.ping()
}

struct Store {
    db: Db,
}

impl Store {
    #[transactional(on = self.db)]
    fn unused_method(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }
}

mod inner {
    use db_core::prelude::*;

    #[transactional]
    pub fn unreachable(tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }
}

/// A trait.
pub trait Accounts {
    #[transactional]
    fn undocumented(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }
}

fn calls(db: &Db) -> db_core::Result<()> {
    inner::unreachable(db)
}

fn main() {
    let _ = (calls, |store: Store| store.db);
}
