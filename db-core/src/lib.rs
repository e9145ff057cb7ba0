//! Transactions for MySQL-family servers that end once.
//!
//! Annotate a function. It runs in a transaction, on a connection that heals itself, and every call ends in one of two ways:
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
//!
//! # Reading order
//!
//! A call goes one way through these modules, and each answers one question:
//! `scope` (where does it start?), `retry` and `policy` (again?), `database` and `lock` (who has the connection?), `session` and `state`
//! (how does a statement get there, what is known?), `ending` (COMMIT or ROLLBACK), `link` (the connection). What is decided from an error
//! is decided in `classify`; what is decided from a statement's text, in `statement_kind`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "tracing"), allow(dead_code, unused_variables, reason = "some are there for events alone"))]

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
mod meters;
mod observe;
mod options;
mod outcome;
mod policy;
mod prepared;
#[cfg(feature = "tracing")]
mod query_text;
mod redact;
mod reply;
mod resolve;
mod retry;
mod scope;
mod session;
mod settings;
mod socket;
mod spare;
mod state;
mod statement_kind;
mod statements;
mod stats;
mod texts;
#[cfg(feature = "serde")]
mod written;

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
pub use stats::Stats;

/// What a module that talks to a database imports.
pub mod prelude {
    pub use mysql::prelude::Queryable;

    pub use crate::{
        Attempt, Db, DbBuilder, ErrorKind, Isolation, LockGuard, RetryPolicy, Scope, SharedLock, Transaction, TxOptions,
        retry_on_disconnect, transactional,
    };
}

#[cfg(any(doc, doctest))]
pub mod guide {
    //! What does not fit beside one item, a page for each question. In reading order:
    //!
    //! | Page | The question |
    //! |---|---|
    //! | [`connecting`] | How is a database named, and reached over TLS or a socket? |
    //! | [`composing`] | How do small functions become one transaction? |
    //! | [`retry`] | What is run again, and what must a body be to bear it? |
    //! | [`side_effects`] | What becomes of mails and messages? |
    //! | [`isolation`] | Which level, and which lock? |
    //! | [`locks`] | One connection for several threads, or several? |
    //! | [`ledger`] | What happens when the answer to COMMIT is lost? |
    //! | [`testing`] | How is all this tested? |
    //! | [`operating`] | What does a running program tell? |
    //! | [`hostile`] | What can a server do that means harm? |
    //! | [`moving`], [`python`] | What corresponds to what elsewhere? |
    //! | [`versions`] | What stays, and what may change? |

    #[doc = include_str!("../docs/guide/connecting.md")]
    pub mod connecting {}

    #[doc = include_str!("../docs/guide/composing.md")]
    pub mod composing {}

    #[doc = include_str!("../docs/guide/retry.md")]
    pub mod retry {}

    #[doc = include_str!("../docs/guide/side_effects.md")]
    pub mod side_effects {}

    #[doc = include_str!("../docs/guide/isolation.md")]
    pub mod isolation {}

    #[doc = include_str!("../docs/guide/locks.md")]
    pub mod locks {}

    #[doc = include_str!("../docs/guide/ledger.md")]
    pub mod ledger {}

    #[doc = include_str!("../docs/guide/testing.md")]
    pub mod testing {}

    #[doc = include_str!("../docs/operating.md")]
    pub mod operating {}

    #[doc = include_str!("../docs/guide/hostile.md")]
    pub mod hostile {}

    #[doc = include_str!("../docs/guide/moving.md")]
    pub mod moving {}

    #[doc = include_str!("../docs/guide/python.md")]
    pub mod python {}

    #[doc = include_str!("../docs/guide/versions.md")]
    pub mod versions {}
}

/// What the attributes expand to. Not for use by hand, and not stable.
#[doc(hidden)]
pub mod __private {
    use std::any::type_name_of_val;

    pub use crate::inspect::{Fault, Inspect};
    use crate::outcome::{Outcome, TakesFault};
    pub use crate::{Attempt, Error, Isolation, RetryPolicy, Scope, Transaction, TxOptions};

    /// `#[transactional]`
    pub fn transactional<R: Outcome<Error: TakesFault>>(
        scope: &Scope<'_>,
        options: TxOptions,
        body: impl FnOnce(&mut Transaction<'_>) -> R,
        inspect: impl Fn(&R::Error) -> Option<Fault>,
    ) -> R {
        R::from_result(scope.run(type_name_of_val(&body), &options, inspect, |tx| body(tx).into_result()))
    }

    /// `#[retry_on_disconnect]`
    pub fn retrying<R: Outcome<Error: TakesFault>>(
        scope: &Scope<'_>,
        policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
        mut body: impl FnMut(Attempt) -> R,
        inspect: impl Fn(&R::Error) -> Option<Fault>,
    ) -> R {
        R::from_result(scope.run_retrying(type_name_of_val(&body), policy, inspect, |attempt| body(attempt).into_result()))
    }

    /// `#[retry_on_disconnect]` above `#[transactional]`
    pub fn retrying_transactional<R: Outcome<Error: TakesFault>>(
        scope: &Scope<'_>,
        policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
        options: TxOptions,
        mut body: impl FnMut(Attempt, &mut Transaction<'_>) -> R,
        inspect: impl Fn(&R::Error) -> Option<Fault>,
    ) -> R {
        R::from_result(
            scope.run_retrying_transaction(type_name_of_val(&body), policy, &options, inspect, |attempt, tx| {
                body(attempt, tx).into_result()
            }),
        )
    }

    /// The policy of `#[retry_on_disconnect]` without options: the database's own.
    pub fn unchanged(policy: RetryPolicy) -> RetryPolicy {
        policy
    }

    /// What a function that the attributes refuse, and that is never run, has in place of its transaction.
    pub fn refused<T>() -> T {
        unreachable!("the attribute is a compile error")
    }
}
