//! The listener of `DbBuilder::on_event`: what a program is told without tracing.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::ErrorKind;

/// What a [listener](crate::DbBuilder::on_event) is told.
///
/// It holds no value of a statement, no password and no idempotency key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An attempt failed, and another one follows.
    #[non_exhaustive]
    Retry {
        /// The function, where its name is known.
        function: Option<&'static str>,
        /// The number of attempts so far. An attempt for which no connection could be made does not count.
        attempts: u32,
        /// What ended the attempt. `None`: an error of the body's own, of a type that this library cannot look into.
        kind: Option<ErrorKind>,
        /// The server's code for it.
        code: Option<u16>,
        /// The pause before the next attempt.
        delay: Duration,
    },
    /// A connection was opened in place of an earlier one.
    #[non_exhaustive]
    Reconnect {
        /// The host's address and port, or its socket.
        host: Cow<'a, str>,
        /// The server's number for the connection.
        connection: u32,
    },
    /// A COMMIT whose reply was lost, or says nothing, was looked up.
    #[non_exhaustive]
    Resolve {
        /// What was found out.
        resolution: Resolved,
        /// How long it took. Zero: there is no [commit ledger](crate::guide::ledger), and no idempotency key, to look it up in.
        took: Duration,
    },
    /// Of several hosts another one is used than before.
    #[non_exhaustive]
    Failover {
        /// The host that was used before. At the first connection, the first host of the URL.
        from: Cow<'a, str>,
        /// The host that is used now.
        to: Cow<'a, str>,
    },
    /// A transaction was open for longer than [`slow_transaction`](crate::DbBuilder::slow_transaction).
    #[non_exhaustive]
    SlowTransaction {
        /// The function, where its name is known.
        function: Option<&'static str>,
        /// From the beginning of the body to the end of COMMIT or ROLLBACK.
        took: Duration,
        /// Whether it was committed.
        committed: bool,
    },
}

/// What became of a COMMIT whose reply was lost. See [`Event::Resolve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolved {
    /// It was executed.
    Committed,
    /// It was not, and it never will be.
    NotCommitted,
    /// It could not be found out: the call ends in [`CommitUnknown`](ErrorKind::CommitUnknown).
    Unknown,
}

type OnEvent = dyn Fn(&Event<'_>) + Send + Sync;

/// Whom a database's events are told, if anybody.
#[derive(Clone, Default)]
pub(crate) struct Listener(Option<Arc<OnEvent>>);

impl Listener {
    pub fn new(listener: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    /// Without a listener this is one branch: the event is not made.
    #[inline]
    pub fn hears<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if let Some(listener) = &self.0 {
            tell(&**listener, event());
        }
    }

    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

/// A listener's panic must not come between a COMMIT and its caller. The panic hook has shown it.
#[cold]
fn tell(listener: &OnEvent, event: Event<'_>) {
    drop(catch_unwind(AssertUnwindSafe(|| listener(&event))));
}
