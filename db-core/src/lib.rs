//! Transactions for MySQL-family servers that end once.
//!
//! Annotate a function. It runs in a transaction, on a connection that heals itself, and every call ends in one of two ways:
//! `Ok`, and the work is in the database once; or `Err`, and none of it is.
//!
//! ```no_run
//! use db_core::prelude::*;
//!
//! #[retry_on_disconnect]
//! #[transactional]
//! fn transfer(tx: &mut Transaction<'_>, from: u64, to: u64, cents: i64) -> db_core::Result<()> {
//!     tx.exec_drop("UPDATE account SET balance = balance - ? WHERE id = ?", (cents, from))?;
//!     tx.exec_drop("UPDATE account SET balance = balance + ? WHERE id = ?", (cents, to))
//! }
//!
//! # fn main() -> db_core::Result<()> {
//! let db = Db::connect("mysql://app:secret@db1.example/bank")?;
//! transfer(&db, 1, 2, 500)?;
//! # Ok(()) }
//! ```
//!
//! Write the function against a [`Transaction`]; call it with anything a transaction can start from. Called with `&db`, it has a
//! transaction of its own. Called with the `tx` of another such function, it is a part of that one.
//!
//! # Reading order
//!
//! A call goes one way through these modules, and each answers one question:
//! `scope` (where does it start?), `retry` and `policy` (again?), `database` and `lock` (who has the connection?), `session` and `state`
//! (how does a statement get there, what is known?), `ending` (COMMIT or ROLLBACK), `link` (the connection). What is decided from an error
//! is decided in `classify`; what is decided from a statement's text, in `statement_kind`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "some are there for events alone"))]

extern crate self as db_core;

mod classify;
mod constraint;
mod database;
mod db;
mod ending;
mod error;
mod hooks;
mod inspect;
mod ledger;
mod link;
mod lock;
mod options;
mod policy;
mod prepared;
mod redact;
mod resolve;
mod retry;
mod scope;
mod session;
mod settings;
mod socket;
mod state;
mod statement_kind;
mod statements;
mod trace;

pub use classify::ErrorKind;
pub use constraint::Constraint;
pub use db::{Db, DbBuilder};
#[doc = include_str!("../docs/retry_on_disconnect.md")]
#[doc(inline)]
pub use db_macros::retry_on_disconnect;
#[doc = include_str!("../docs/transactional.md")]
#[doc(inline)]
pub use db_macros::transactional;
pub use error::{Error, Result};
pub use lock::{LockGuard, SharedLock};
pub use mysql;
pub use options::{Isolation, TxOptions};
pub use policy::{Attempt, RetryPolicy};
pub use scope::{Scope, Transaction};

/// What a module that talks to a database imports.
pub mod prelude {
    pub use mysql::prelude::Queryable;

    pub use crate::{
        Attempt, Db, DbBuilder, ErrorKind, Isolation, LockGuard, RetryPolicy, Scope, SharedLock, Transaction, TxOptions,
        retry_on_disconnect, transactional,
    };
}

/// What does not fit beside one item.
#[cfg(any(doc, doctest))]
pub mod guide {
    #[doc = include_str!("../docs/commit_unknown.md")]
    pub mod commit {}
}

/// What the attributes expand to. Not for use by hand, and not stable.
#[doc(hidden)]
pub mod __private {
    pub use crate::inspect::{Boxed, BoxedHere, Chained, Fault, Inspect, Opaque};
    pub use crate::{Attempt, Error, Isolation, RetryPolicy, Scope, Transaction, TxOptions};

    /// `#[transactional]`
    pub fn transactional<T, E: From<Error>>(
        scope: &Scope<'_>,
        options: TxOptions,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
        inspect: impl Fn(&E) -> Option<Fault>,
    ) -> Result<T, E> {
        scope.run(&options, inspect, body)
    }

    /// `#[retry_on_disconnect]`
    pub fn retrying<T, E: From<Error>>(
        scope: &Scope<'_>,
        policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
        body: impl FnMut(Attempt) -> Result<T, E>,
        inspect: impl Fn(&E) -> Option<Fault>,
    ) -> Result<T, E> {
        scope.run_retrying(policy, inspect, body)
    }

    /// `#[retry_on_disconnect]` above `#[transactional]`
    pub fn retrying_transactional<T, E: From<Error>>(
        scope: &Scope<'_>,
        policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
        options: TxOptions,
        body: impl FnMut(Attempt, &mut Transaction<'_>) -> Result<T, E>,
        inspect: impl Fn(&E) -> Option<Fault>,
    ) -> Result<T, E> {
        scope.run_retrying_transaction(policy, &options, inspect, body)
    }
}
