//! Transactions for MariaDB and MySQL: an annotated function is committed once or not at all, on a connection that reconnects automatically.
//!
//! ```
//! use db_core::prelude::*;
//!
//! #[retry_on_disconnect]
//! #[transactional]
//! fn transfer(tx: &mut Transaction<'_>, from: u64, to: u64, cents: i64) -> db_core::Result<()> {
//!     add(tx, from, -cents)?; // joins this transaction
//!     add(tx, to, cents)
//! }
//!
//! #[transactional]
//! fn add(tx: &mut Transaction<'_>, id: u64, cents: i64) -> db_core::Result<()> {
//!     tx.exec_drop("UPDATE account SET balance = balance + ? WHERE id = ?", (cents, id))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = db_testkit::Server::start()?;
//! # server.connect()?.query_drop("CREATE TABLE account (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB")?;
//! # let url = server.url();
//! let db = Db::connect(&url)?; // mysql://user:password@host/database
//! transfer(&db, 1, 2, 500)?; // one transaction
//! add(&db, 1, 500)?; // called alone: a transaction as well
//! # Ok(()) }
//! ```
//!
//! # How it works
//!
//! - [`#[transactional]`](macro@transactional) makes the function callable with a [`Db`], a [`Pool`] or an open [`Transaction`]: all of them
//!   dereference to [`Scope`]. With a database the call begins a transaction, with a transaction it sets a savepoint.
//! - `Ok` commits. `Err` and a panic roll back.
//! - After a deadlock or a lost connection the transaction is aborted: it is not committed, even if the function ignores the error.
//! - Before COMMIT the library verifies that the transaction is still the one that it began.
//! - Statements are those of the [`mysql`] crate. A transaction of n statements takes n + 1 round trips.
//!
//! # Threads
//!
//! A [`Db`] is one connection behind a lock; its clones take turns. [`Db::fork`] opens another connection. A [`Pool`] is for servers and thread pools.
//! Calls block their thread: in `async` code use `spawn_blocking`. See [threads, pools and async](guide::threads).
//!
//! # Retry
//!
//! [`#[retry_on_disconnect]`](macro@retry_on_disconnect) retries lost connections, deadlocks and other [transient faults](guide::retrying). By default a
//! call makes up to three attempts within 10 seconds, with randomized exponential backoff. The whole function may run more than once: side effects go
//! into [`after_commit`](Transaction::after_commit).
//!
//! # The commit ledger
//!
//! If the reply to COMMIT is lost, the call ends in [`CommitUnknown`](ErrorKind::CommitUnknown) and is not retried. With the [commit
//! ledger](guide::ledger), a table in the database, the library looks up the outcome:
//!
//! ```
//! # use db_core::prelude::*;
//! # fn main() -> db_core::Result<()> {
//! # let server = db_testkit::Server::start().expect("a server");
//! # let url = &server.url();
//! Db::connect(url)?.install_ledger()?; // once
//! let db = Db::builder(url).commit_ledger(true).connect()?;
//! # db.ping() }
//! ```
//!
//! # Errors
//!
//! An [`Error`] means that nothing was committed, with two [exceptions](guide::errors#exceptions). [`ErrorKind`] says what happened:
//!
//! ```
//! use db_core::{Error, ErrorKind};
//!
//! fn advice(error: &Error) -> &'static str {
//!     match error.kind() {
//!         ErrorKind::UniqueViolation => "the name is taken",
//!         ErrorKind::CommitUnknown => "look whether it was done",
//!         _ if error.is_transient() => "try again later",
//!         _ => "failed",
//!     }
//! }
//! # assert_eq!(advice(&Error::retry("the version has changed")), "try again later");
//! ```
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! |---|---|---|
//! | `rustls` or `native-tls` | no | [TLS](guide::connections#tls): pick one |
//! | `tracing` | yes | [Spans and events](guide::observability) |
//! | `metrics` | no | [Counters and histograms](guide::observability#metrics) |
//! | `serde` | no | [Configuration files](guide::connections#configuration-files) |
//! | `idempotency` | no | Values other than `()` under [idempotency keys](guide::idempotency) |
//!
//! # Documentation
//!
//! The [guide] has a page per topic, from [getting started](guide::getting_started) to [clusters](guide::clusters) and
//! [testing](guide::testing). The repository has examples and a change log.

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
mod idempotency;
mod listener;
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
pub use idempotency::{IdempotencyKey, StoredValue, ToIdempotencyKey};
pub use listener::{Event, Resolved};
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
        Attempt, Db, DbBuilder, ErrorKind, IdempotencyKey, Isolation, LockGuard, Pool, RetryPolicy, Scope, SharedLock, Transaction,
        TxOptions, retry_on_disconnect, transactional,
    };
}
