//! The generated code relies on no name of the module it is in, and takes none from the body.

#![allow(dead_code, non_camel_case_types)]

use ::db_core::{Attempt, Transaction, retry_on_disconnect};

type Outcome<T> = ::std::result::Result<T, db_core::Error>;

struct Result;
struct Option;
struct Scope;
struct TxOptions;
struct RetryPolicy;
struct Isolation;
trait Clone {}
trait From {}
mod core {}
mod std {}
mod db_core {
    pub type Error = ::db_core::Error;
    pub type Db = ::db_core::Db;
}
fn drop() {}
#[allow(non_snake_case)]
fn Ok() {}
#[allow(non_snake_case)]
fn Err() {}
#[allow(non_snake_case)]
fn Some() {}
fn transactional() {}
fn retrying_transactional() {}

#[derive(::std::clone::Clone)]
struct Store(u8);

impl Store {
    #[retry_on_disconnect(max_attempts = 2)]
    #[::db_core::transactional(isolation = ReadCommitted)]
    fn retried(
        self,
        attempt: Attempt,
        transaction: &mut Transaction<'_>,
        name: ::std::string::String,
        (a, b): (u8, u8),
    ) -> Outcome<u8> {
        let (argument4, scope, policy, error, this, body) = (a, b, 1, 2, 3, 4);
        let sum = self.0 + argument4 + scope + policy + error + this + body;
        transaction.query_drop(name)?;
        Outcome::Ok(sum + attempt.number() as u8)
    }
}

#[::db_core::transactional]
fn once(tx: &mut Transaction<'_>) -> Outcome<u8> {
    tx.query_drop("DO 1")?;
    let (scope, error, body) = (1, 2, 3);
    Outcome::Ok(scope + error + body)
}

fn calls(db: &db_core::Db) -> Outcome<u8> {
    Store(1).retried(db, "name".into(), (1, 2))?;
    once(db)
}

fn main() {
    let _ = calls;
}
