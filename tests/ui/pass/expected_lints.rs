//! A lint that a plain function gets is fulfilled on an annotated one, on the item and on its parameters.

#![deny(warnings, missing_docs, unreachable_pub)]

use db_core::prelude::*;

#[expect(dead_code)]
#[transactional]
fn unused(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect]
#[expect(dead_code)]
#[transactional]
fn unused_and_retried(tx: &mut Transaction<'_>, id: String) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (id,))
}

#[expect(dead_code)]
#[retry_on_disconnect]
fn unused_with_retry_alone(db: &Db) -> db_core::Result<()> {
    db.ping()
}

mod inner {
    use db_core::prelude::*;

    #[expect(unreachable_pub)]
    #[transactional]
    pub fn unreachable(tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }
}

/// A trait.
pub trait Accounts {
    #[expect(missing_docs)]
    #[retry_on_disconnect]
    #[transactional]
    fn undocumented(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }
}

#[retry_on_disconnect]
#[transactional]
fn parameters(
    tx: &mut Transaction<'_>,
    #[expect(unused_variables)] id: u64,
    #[cfg_attr(all(), expect(unused_variables))] name: String,
    #[expect(unused_mut)] mut count: u64,
) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (count,))
}

fn calls(db: &Db) -> db_core::Result<()> {
    inner::unreachable(db)?;
    parameters(db, 1, String::new(), 2)
}

fn main() {
    let _ = calls;
}
