//! What has a database done so far? `Stats`, and the metrics for those who collect them.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::Settings;
use crate::telemetry::metrics::{self, Meters};
use crate::telemetry::outcome::Cause;
use crate::telemetry::outcome::Outcome;

/// What a [`Db`](crate::Db), with all its clones, has done since it was connected. Made by [`Db::stats`](crate::Db::stats).
///
/// Each number is exact. While other threads use the database, the numbers need not be consistent with each other.
///
/// ```no_run
/// # use db_core::Db;
/// # fn example(db: &Db) {
/// let stats = db.stats();
/// println!("{} committed, {} not known, {} reconnects", stats.committed, stats.unknown, stats.reconnects);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Transactions that were committed. Those that executed nothing count.
    pub committed: u64,
    /// Transactions that were rolled back by the function: by its own error, a panic, or
    /// [`set_rollback_only`](crate::Transaction::set_rollback_only).
    pub rolled_back: u64,
    /// Transactions that failed, after all attempts: no connection, no lock, a fault, a refused COMMIT.
    pub failed: u64,
    /// Transactions whose outcome is not known: [`CommitUnknown`](crate::ErrorKind::CommitUnknown).
    pub unknown: u64,
    /// Attempts of transactions. Those above the number of transactions are retries.
    pub attempts: u64,
    /// Connections that replaced an earlier one.
    pub reconnects: u64,
    /// How often a thread had to wait for the lock, or for a connection of the pool.
    pub lock_waits: u64,
    /// How long threads have waited for it, in all.
    pub lock_wait: Duration,
    /// How long transactions were open, in all: from the beginning of the body to the end of COMMIT or ROLLBACK, attempt by attempt.
    pub in_transaction: Duration,
    /// Calls that met a fault and succeeded anyway.
    pub recoveries: u64,
    /// How long those took from the first fault to success, in all.
    pub recovering: Duration,
}

/// The numbers behind [`Stats`].
pub(crate) struct Counters {
    committed: Count,
    rolled_back: Count,
    failed: Count,
    unknown: Count,
    attempts: Count,
    reconnects: Count,
    lock_waits: Count,
    lock_wait: Count,
    in_transaction: Count,
    recoveries: Count,
    recovering: Count,
    /// Which server answers: 0 while that is not known.
    system: AtomicU8,
    meters: Meters,
}

#[derive(Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::Relaxed)
    }

    fn add_time(&self, time: Duration) {
        // In 64 bits there is room for 584 years.
        self.add(time.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(time.subsec_nanos())));
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn time(&self) -> Duration {
        Duration::from_nanos(self.get())
    }
}

const MYSQL: u8 = 1;
const MARIADB: u8 = 2;

impl Counters {
    pub fn new(settings: &Settings) -> Self {
        Self {
            committed: Count::default(),
            rolled_back: Count::default(),
            failed: Count::default(),
            unknown: Count::default(),
            attempts: Count::default(),
            reconnects: Count::default(),
            lock_waits: Count::default(),
            lock_wait: Count::default(),
            in_transaction: Count::default(),
            recoveries: Count::default(),
            recovering: Count::default(),
            system: AtomicU8::new(0),
            meters: Meters::new(settings),
        }
    }

    pub fn stats(&self) -> Stats {
        Stats {
            committed: self.committed.get(),
            rolled_back: self.rolled_back.get(),
            failed: self.failed.get(),
            unknown: self.unknown.get(),
            attempts: self.attempts.get(),
            reconnects: self.reconnects.get(),
            lock_waits: self.lock_waits.get(),
            lock_wait: self.lock_wait.time(),
            in_transaction: self.in_transaction.time(),
            recoveries: self.recoveries.get(),
            recovering: self.recovering.time(),
        }
    }

    /// `db.system.name`, once there has been a connection.
    #[cfg(feature = "tracing")]
    pub(super) fn system(&self) -> Option<&'static str> {
        match self.system.load(Ordering::Relaxed) {
            MYSQL => Some("mysql"),
            MARIADB => Some("mariadb"),
            _ => None,
        }
    }

    /// A connection was opened. `again`: in place of an earlier one.
    pub(super) fn opened(&self, version: (u16, u16, u16), again: bool) {
        // MariaDB began to count at 10, where MySQL has not arrived; to older clients it introduces itself as 5.5.5.
        let mariadb = version.0 >= 10 || version == (5, 5, 5);
        self.system.store(if mariadb { MARIADB } else { MYSQL }, Ordering::Relaxed);
        if again {
            self.reconnects.add(1);
            self.meters.count(metrics::RECONNECTS);
        }
    }

    pub(super) fn attempt(&self) {
        self.attempts.add(1);
        self.meters.count(metrics::ATTEMPTS);
    }

    pub(super) fn ended(&self, outcome: Outcome, cause: Option<Cause>) {
        match outcome {
            Outcome::Committed => self.committed.add(1),
            Outcome::RolledBack => self.rolled_back.add(1),
            Outcome::Failed => self.failed.add(1),
            Outcome::Unknown => self.unknown.add(1),
            Outcome::Succeeded => return,
        };
        self.meters.transaction(outcome, cause);
    }

    pub(super) fn spent(&self, time: Duration) {
        self.in_transaction.add_time(time);
        self.meters.time(metrics::TRANSACTION_DURATION, time);
    }

    pub fn waited(&self, time: Duration) {
        self.lock_waits.add(1);
        self.lock_wait.add_time(time);
        self.meters.time(metrics::LOCK_WAIT, time);
    }

    /// For a connection of the pool.
    pub fn waited_for_connection(&self, time: Duration) {
        self.lock_waits.add(1);
        self.lock_wait.add_time(time);
    }

    pub(super) fn recovered(&self, time: Duration) {
        self.recoveries.add(1);
        self.recovering.add_time(time);
        self.meters.time(metrics::RECOVERY_DURATION, time);
    }
}
