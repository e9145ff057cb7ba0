//! Transactions for MySQL-family servers that end once.
//!
//! Annotate a function. It runs in a transaction, on a connection that reconnects automatically, and every call ends in one of two ways:
//! `Ok`, and the work is in the database once; or `Err`, and none of it is.
//!
//! ```
//! use db_core::prelude::*;
//!
//! #[retry_on_disconnect]
//! #[transactional]
//! fn transfer(tx: &mut Transaction<'_>, from: u64, to: u64, cents: i64) -> db_core::Result<()> {
//!     tx.exec_drop("UPDATE account SET balance = balance - ? WHERE id = ?", (cents, from))?;
//!     tx.exec_drop("UPDATE account SET balance = balance + ? WHERE id = ?", (cents, to))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = db_testkit::Server::start()?;
//! # server.connect()?.query_drop("CREATE TABLE account (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB")?;
//! # let url = server.url();
//! let db = Db::connect(&url)?; // mysql://user:password@host/database
//! transfer(&db, 1, 2, 500)?;
//! # Ok(()) }
//! ```
//!
//! Write the function against a [`Transaction`]; call it with anything a transaction can start from. Called with `&db`, it has a
//! transaction of its own. Called with the `tx` of another such function, it is a part of that one. The [guide] has a page for each
//! question that goes beyond one item.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "tracing"), allow(dead_code, unused_variables, reason = "some are there for events alone"))]
#![allow(
    unreachable_pub,
    reason = "every module is private: what is public is listed here, and elsewhere a member reaches as far as its type"
)]

extern crate self as db_core;

#[doc(hidden)]
#[path = "macro_support/mod.rs"]
pub mod __private;
mod config;
mod db;
mod error;
#[cfg(any(doc, doctest))]
pub mod guide;
mod options;
mod per_process;
mod pool;
mod retry;
mod session;
mod sql;
mod telemetry;
mod transaction;

pub use db::{Db, DbBuilder};
#[doc = include_str!("../docs/retry_on_disconnect.md")]
#[doc(inline)]
pub use db_macros::retry_on_disconnect;
#[doc = include_str!("../docs/transactional.md")]
#[doc(inline)]
pub use db_macros::transactional;
pub use error::constraint::Constraint;
pub use error::kind::ErrorKind;
pub use error::{Error, Result};
pub use mysql;
pub use options::{Isolation, TxOptions};
pub use pool::Pool;
pub use retry::attempts::{Attempt, FailedAttempt};
pub use retry::policy::RetryPolicy;
pub use session::lock::{LockGuard, SharedLock};
pub use session::rows::{ResultRows, Rows};
pub use session::sessions::PoolStatus;
pub use telemetry::stats::Stats;
pub use transaction::{Scope, Transaction};

/// Private parsers, for the fuzz targets.
#[cfg(fuzzing)]
#[doc(hidden)]
#[allow(missing_docs, reason = "not part of the library")]
pub mod __fuzz {
    pub fn may_commit(sql: &str) -> bool {
        crate::sql::kind::of(sql).may_commit()
    }

    pub fn shown(sql: &str) -> String {
        crate::sql::sanitize::QueryText(sql).to_string()
    }

    pub fn url(url: &str) -> crate::Result<()> {
        let parsed = crate::config::Settings::parse(url)?;
        crate::config::Settings::new(parsed.driver, crate::RetryPolicy::default(), std::time::Duration::MAX, true).map(drop)
    }
}

/// What a module that talks to a database imports.
pub mod prelude {
    pub use mysql::prelude::Queryable;

    pub use crate::{
        Attempt, Db, DbBuilder, ErrorKind, Isolation, LockGuard, Pool, RetryPolicy, Scope, SharedLock, Transaction, TxOptions,
        retry_on_disconnect, transactional,
    };
}
