//! What may be asked of a transaction?

use std::fmt;
use std::time::Duration;

/// How a transaction is to run.
///
/// ```
/// use db_core::{Isolation, TxOptions};
///
/// let report = TxOptions::new().isolation(Isolation::RepeatableRead).read_only(true);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct TxOptions {
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub(crate) isolation: Option<Isolation>,
    pub(crate) read_only: bool,
    pub(crate) join: bool,
    #[cfg_attr(
        feature = "serde",
        serde(rename = "timeout_ms", with = "crate::config::serde::ms", skip_serializing_if = "Option::is_none")
    )]
    pub(crate) timeout: Option<Duration>,
}

impl TxOptions {
    /// The server's isolation level, reading and writing, a savepoint when inside another transaction.
    #[must_use]
    pub const fn new() -> Self {
        Self { isolation: None, read_only: false, join: false, timeout: None }
    }

    /// The isolation level. Default: the session's own, which is REPEATABLE READ unless the server is set up otherwise.
    ///
    /// Asking for one costs a round trip. Inside another transaction it must be the level that one asked for.
    #[must_use]
    pub const fn isolation(mut self, level: Isolation) -> Self {
        self.isolation = Some(level);
        self
    }

    /// Whether the server is to refuse writes. Default false. It costs a round trip, together with [`isolation`](Self::isolation).
    #[must_use]
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Inside another transaction: no savepoint, hence no round trip; an `Err` then rolls back the outer transaction. Default false.
    #[must_use]
    pub const fn join(mut self, join: bool) -> Self {
        self.join = join;
        self
    }

    /// How long the whole call may take: waiting for the lock or for a connection of the pool, connecting, all attempts, and the delays between
    /// them. Default: what the [builder](crate::DbBuilder::timeout) says, which is no limit. It has no effect inside another transaction, whose
    /// call has the limit.
    ///
    /// When the time is over, the running statement is killed, and the call ends in [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) with
    /// nothing committed. If COMMIT is under way then, and its reply does not come, the [commit ledger](crate::guide::ledger) is asked, for up to
    /// [`max_elapsed`](crate::RetryPolicy::max_elapsed) more. The body's own computations are not interrupted.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whether the server's defaults are what is wanted.
    pub(crate) fn asks_nothing(&self) -> bool {
        !self.read_only && self.isolation.is_none()
    }

    /// The statement that asks the server for what is not its default.
    pub(crate) fn set_transaction(&self) -> Option<String> {
        let mode = if self.read_only { ", READ ONLY" } else { "" };
        match self.isolation {
            Some(level) => Some(format!("SET TRANSACTION ISOLATION LEVEL {level}{mode}")),
            None if self.read_only => Some("SET TRANSACTION READ ONLY".into()),
            None => None,
        }
    }
}

/// Which changes of others a transaction may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Isolation {
    /// Changes not yet committed, too.
    ReadUncommitted,
    /// What was committed when each statement began.
    ReadCommitted,
    /// What was committed when the first statement began to read. The server's default.
    RepeatableRead,
    /// As if transactions ran one after another: every read locks.
    Serializable,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadUncommitted => "READ UNCOMMITTED",
            Self::ReadCommitted => "READ COMMITTED",
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        })
    }
}
