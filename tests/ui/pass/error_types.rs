//! Any error type that a `db_core::Error` can become.

use db_core::prelude::*;

#[derive(Debug)]
enum Failure {
    Database(Box<db_core::Error>),
    Driver(db_core::mysql::Error),
    Missing(u64),
}

impl From<db_core::Error> for Failure {
    fn from(error: db_core::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

#[derive(Debug)]
struct Opaque;

impl<E: std::error::Error> From<E> for Opaque {
    fn from(_: E) -> Self {
        Self
    }
}

#[retry_on_disconnect]
#[transactional]
fn plain(tx: &mut Transaction<'_>, id: u64) -> Result<u64, Failure> {
    let found: Option<u64> = tx.exec_first("SELECT ?", (id,))?;
    found.ok_or(Failure::Missing(id))
}

#[retry_on_disconnect]
#[transactional]
fn boxed(tx: &mut Transaction<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tx.query_drop("DO 1")?;
    "1".parse::<u64>()?;
    Err("no")?
}

#[transactional]
fn boxed_for_one_thread(tx: &mut Transaction<'_>) -> Result<(), Box<dyn std::error::Error>> {
    tx.query_drop("DO 1")?;
    Ok(())
}

#[transactional]
fn without_display(tx: &mut Transaction<'_>) -> Result<(), Opaque> {
    tx.query_drop("DO 1")?;
    "1".parse::<u64>()?;
    Ok(())
}

#[transactional]
fn drivers_own(tx: &mut Transaction<'_>) -> Result<(), db_core::mysql::Error> {
    tx.query_drop("DO 1")?;
    Ok(())
}

fn calls(db: &Db) -> Result<(), Failure> {
    plain(db, 1)?;
    let _ = boxed(db);
    let _ = boxed_for_one_thread(db);
    let _ = without_display(db);
    drivers_own(db).map_err(Failure::Driver)
}

fn main() {
    let _ = |db: &Db| match calls(db) {
        Err(Failure::Database(error)) => println!("{error}"),
        Err(Failure::Driver(error)) => println!("{error}"),
        Err(Failure::Missing(id)) => println!("{id}"),
        Ok(()) => {}
    };
}
