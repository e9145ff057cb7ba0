//! The error types that people derive and import.

use db_core::prelude::*;

#[derive(Debug, thiserror::Error)]
enum Own {
    #[error("the database failed")]
    Database(#[from] db_core::Error),
    #[error("no account {0}")]
    Missing(u64),
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Transparent(#[from] db_core::Error);

#[derive(Debug, thiserror::Error)]
enum Outer {
    #[error(transparent)]
    Own(#[from] Own),
    #[error(transparent)]
    Database(#[from] db_core::Error),
}

type Result<T, E = Outer> = std::result::Result<T, E>;

#[retry_on_disconnect]
#[transactional]
fn derived(tx: &mut Transaction<'_>, id: u64) -> Result<u64, Own> {
    tx.exec_first("SELECT ?", (id,))?.ok_or(Own::Missing(id))
}

#[retry_on_disconnect]
#[transactional]
fn transparent(tx: &mut Transaction<'_>) -> Result<(), Transparent> {
    tx.query_drop("DO 1")?;
    Ok(())
}

#[transactional]
fn by_alias(tx: &mut Transaction<'_>) -> Result<u64> {
    tx.query_drop("DO 1")?;
    Ok(derived(tx, 1)?)
}

#[retry_on_disconnect]
#[transactional]
fn dynamic(tx: &mut Transaction<'_>) -> anyhow::Result<u64> {
    tx.query_drop("DO 1")?;
    let id = "1".parse()?;
    anyhow::ensure!(id > 0, "no such id");
    derived(tx, id)?;
    Ok(by_alias(tx)?)
}

#[retry_on_disconnect]
#[transactional]
fn boxed(tx: &mut Transaction<'_>) -> Result<(), Box<dyn std::error::Error>> {
    dynamic(tx)?;
    transparent(tx)?;
    Err("no".into())
}

fn main() {
    let _ = |db: &Db| boxed(db);
}
