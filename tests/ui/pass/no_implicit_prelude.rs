//! Nothing of the standard prelude is needed, nor of ours.

#![no_implicit_prelude]

use ::db_core::{Attempt, Db, Transaction, retry_on_disconnect, transactional};
use ::std::clone::Clone;
use ::std::convert::From;
use ::std::result::Result::{self, Ok};
use ::std::string::String;

#[transactional(isolation = ReadCommitted)]
fn once(tx: &mut Transaction<'_>, id: u64) -> ::db_core::Result<()> {
    tx.exec_drop("DO ?", (id,))
}

#[retry_on_disconnect(max_attempts = 2)]
#[transactional]
fn again(tx: &mut Transaction<'_>, name: String, rows: &mut [u64], attempt: Attempt) -> Result<u32, ::db_core::Error> {
    tx.exec_drop("DO ?", (name, rows[0]))?;
    Ok(attempt.number())
}

struct Failure;

impl From<::db_core::Error> for Failure {
    fn from(_: ::db_core::Error) -> Self {
        Failure
    }
}

#[retry_on_disconnect]
fn alone(db: &Db) -> Result<(), Failure> {
    once(db, 1)?;
    Ok(())
}

fn calls(db: &Db) -> ::db_core::Result<()> {
    once(db, 1)?;
    again(&db.clone(), String::new(), &mut [1])?;
    let _ = alone(db);
    Ok(())
}

fn main() {
    let _ = calls;
}
