//! Resolution of a COMMIT whose reply was lost.
//!
//! The row of the commit ledger is read under its lock, on a new connection. If it holds the attempt's target, the work is done. If it
//! holds the base, the work is not done, but a late packet might still do it: so the base is swapped for a *fence*, a target that belongs
//! to no work, and once that is committed the late packet's own compare-and-swap fails. A fence whose answer is lost is resolved like any
//! other. Every step leaves what is true to be read from the row, so any of them can be repeated.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::connection::{COMMIT, Link, PacketError, ROLLBACK};
use crate::ledger::Recorder;
use crate::ledger::row::{Evidence, Judgement, Row, Table};
use crate::retry::policy::Failure;
use crate::telemetry::event::event;
use crate::retry::pace::{Pace, pause};
use crate::{Error, Result};

/// The old session may hold the row for as long as its COMMIT takes. The wait for it is cut in slices, so that a server that stops
/// answering is noticed.
const LOCK_WAIT: &str = "SET innodb_lock_wait_timeout = 2";

const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// What became of a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    Committed,
    /// And it never will be.
    NotCommitted,
    /// And why that is so.
    Unknown(&'static str),
}

const NOT_READ: &str = "the row of the commit ledger could not be read in time";
const UNEXPLAINED: &str = "the row of the commit ledger is gone, or holds a value that this client has not written";
const EARLIER: &str = "the row of the commit ledger says that an earlier attempt of this client was committed, which had been reported as failed";

/// A session whose answer was lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost {
    connection: u32,
    port: Option<u16>,
    /// Connections that may still be spent on ending it. Whether that works does not matter to what is true.
    tries: u8,
}

impl Lost {
    pub(crate) fn of(link: &Link) -> Self {
        Self { connection: link.conn().connection_id(), port: link.local_port(), tries: 3 }
    }

    /// Ends the session, if it is there, so that its locks are free at once: a server that never hears of the loss keeps them for hours.
    /// Numbers begin anew with the server, so the client's port has to match, too. `Err`: the link is of no use any more.
    fn kill(&self, link: &mut Link) -> Result<()> {
        let Self { connection, port: Some(port), .. } = self else { return Ok(()) };
        let found = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {connection} AND host LIKE '%:{port}'");
        let killed = link.ask::<u64>(&found).and_then(|found| {
            if found == [1] {
                link.packet(&[&format!("KILL {connection}")]).map_err(|failed| failed.error)?;
                event!(debug, "db_core.kill", { db_core.connection_id = connection }, "ended the session whose answer was lost");
            }
            Ok(())
        });
        match killed {
            // It may not be for this user to see, or may have ended meanwhile.
            Err(mysql::Error::MySqlError(_)) => Ok(()),
            killed => Ok(killed?),
        }
    }
}

/// Ends every session that may hold the row's lock.
fn kill_all(lost: &mut Vec<Lost>, link: &mut Link) -> Result<()> {
    while let Some(mut session) = lost.pop() {
        if let Err(error) = session.kill(link) {
            session.tries -= 1;
            if session.tries > 0 {
                lost.push(session);
            }
            return Err(error);
        }
    }
    Ok(())
}

impl Recorder {
    /// Finds out, for as long as the policy allows.
    pub(crate) fn resolve(&mut self, attempt: u64, lost: Option<Lost>) -> Resolution {
        let (Some(table), Some(mut ledger)) = (self.settings.ledger.clone(), self.row.take()) else { return Resolution::Unknown(NOT_READ) };
        // Patience is counted in time. Giving up leaves the caller not knowing, however few attempts the policy allows.
        let mut pace = Pace::new(self.settings.retry.max_attempts(u32::MAX));
        let mut fences = Vec::new();
        let mut lost = Vec::from_iter(lost);
        loop {
            let failure = match self.read_row(&table, &mut ledger, attempt, &mut fences, &mut lost) {
                Ok(Judgement::Unexplained) => return Resolution::Unknown(UNEXPLAINED),
                Ok(judgement) => {
                    self.row = Some(ledger);
                    return if judgement == Judgement::Committed { Resolution::Committed } else { Resolution::NotCommitted };
                }
                Err(error) => error,
            };
            event!(
                debug,
                "db_core.resolve_retry",
                { error.type = ?failure.kind(), db.response.status_code = failure.code().map(tracing::field::display) },
                "the commit ledger cannot be read yet"
            );
            // Not even an error that looks final is: a server that comes back may refuse logins for a moment.
            match pace.next(Failure::Unreachable, 0) {
                Some(delay) => pause(delay),
                // The client is never used again: what its row says from now on would be said of two attempts.
                None => return Resolution::Unknown(NOT_READ),
            }
        }
    }

    /// Reads the row under its lock, and puts a fence up if it says nothing yet.
    fn read_row(&self, table: &Table, ledger: &mut Row, attempt: u64, fences: &mut Vec<u64>, lost: &mut Vec<Lost>) -> Result<Judgement> {
        let mut link = Link::open_quick(&self.settings)?;
        kill_all(lost, &mut link)?;
        // It will hold the row's lock: if it is lost as well, the next one must not wait for it.
        lost.push(Lost::of(&link));
        link.packet(&[LOCK_WAIT]).map_err(refused)?;
        let found = link.ask::<u64>(&ledger.lock(table))?.first().copied();
        let judgement = ledger.judge(found, attempt, fences);
        match (judgement, found) {
            (Judgement::Committed | Judgement::Fenced, Some(value)) => ledger.holds(value),
            (Judgement::Open, _) => {
                let fence = ledger.target();
                // Before it is sent: it may be committed although its answer is lost.
                fences.push(fence);
                let mut swap = String::new();
                ledger.swap(table, fence, &mut swap);
                link.packet(&[&swap, COMMIT]).map_err(refused)?;
                ledger.holds(fence);
                event!(
                    info,
                    "db_core.fence",
                    { db_core.connection_id = link.conn().connection_id() },
                    "fenced the COMMIT off: if it still arrives, it is refused"
                );
                return Ok(Judgement::Fenced);
            }
            _ => {}
        }
        Ok(judgement)
    }

    /// The compare-and-swap of the attempt with this target was refused (1690), and its transaction is rolled back: what does the row say?
    /// `link`: the connection that was refused, if it can still be used.
    pub(crate) fn explain(&mut self, target: u64, link: Option<&mut Link>) -> Resolution {
        let (Some(table), Some(row)) = (&self.settings.ledger, &self.row) else { return Resolution::Unknown(NOT_READ) };
        let found = link.and_then(|link| {
            let found = link.ask::<u64>(&row.lock(table)).ok()?.first().copied();
            link.packet(&[ROLLBACK]).ok()?;
            Some(found)
        });
        let Some(found) = found else { return self.resolve(target, None) };
        match row.evidence(found, target) {
            Evidence::This => {
                self.committed(Some(target), 1);
                Resolution::Committed
            }
            Evidence::Earlier => {
                self.row = None;
                Resolution::Unknown(EARLIER)
            }
            Evidence::Behind => self.resolve(target, None),
            Evidence::Foreign => {
                event!(warn, "db_core.ledger_row", { db_core.found = "changed" }, "the row of the commit ledger was changed by another program");
                self.row = None;
                Resolution::NotCommitted
            }
        }
    }
}

/// A number that no other client has; if one had it, the key would refuse the row. What is drawn is drawn by every child of a fork(2)
/// again, hence the process and the time.
pub(super) fn new_client() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    fastrand::u64(..) ^ (now.as_nanos() as u64) ^ (u64::from(std::process::id()) << 32)
}

pub(super) fn refused(failed: PacketError) -> Error {
    Error::seen(&failed.error)
}

/// Deletes rows of clients long gone. A failure does not matter.
pub(super) fn sweep(table: &Table, link: &mut Link) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    {
        let Some(mut last) = LAST.try_lock() else { return };
        if last.is_some_and(|last| last.elapsed() < SWEEP_EVERY) {
            return;
        }
        *last = Some(Instant::now());
    }
    let stale: Vec<u64> = link.ask(&table.stale()).unwrap_or_default();
    let swept = stale.iter().filter(|&&client| link.packet(&[&table.delete(client), COMMIT]).is_ok()).count();
    event!(debug, "db_core.sweep", { db_core.rows = swept }, "swept the commit ledger");
    // The look at the table has begun a transaction, and its snapshot is not for the body that comes next.
    drop(link.packet(&[ROLLBACK]));
}
