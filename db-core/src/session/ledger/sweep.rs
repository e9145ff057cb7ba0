//! The sweep of rows whose clients are long gone.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::session::connection::{COMMIT, Link, ROLLBACK};
use crate::session::ledger::row::Table;
use crate::telemetry::event::event;

/// How often a process looks for such rows.
const EVERY: Duration = Duration::from_secs(3600);

/// Deletes stale rows. A failure is ignored: another client, or the next hour, sweeps them. It waits for no lock, and leaves no transaction
/// open.
pub(super) fn sweep(table: &Table, link: &mut Link) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    {
        let Some(mut last) = LAST.try_lock() else { return };
        if last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        *last = Some(Instant::now());
    }
    // Servers without SKIP LOCKED (MySQL before 8.0, MariaDB before 10.6) refuse the statement, and nothing is swept.
    let stale: Vec<u64> = link.ask(&table.lock_stale()).unwrap_or_default();
    // What has been read, locked or refused is in a transaction, which is not the body's that comes next.
    let swept = if stale.is_empty() { None } else { link.packet(&[&table.delete(&stale), COMMIT]).ok() };
    if swept.is_none() && link.packet(&[ROLLBACK]).is_err() {
        link.abandon();
    }
    event!(debug, "db_core.sweep", { db_core.rows = swept.unwrap_or(0) }, "swept the commit ledger");
}
