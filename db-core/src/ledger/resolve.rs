//! The answer to COMMIT was lost: was it executed?
//!
//! The row of the commit ledger is read under its lock, on a new connection. If it holds the attempt's target, the work is done. If it
//! holds the base, the work is not done, but a late packet might still do it: so the base is swapped for a *fence*, a target that belongs
//! to no work, and once that is committed the late packet's own compare-and-swap fails. A fence whose answer is lost is resolved like any
//! other. Every step leaves what is true to be read from the row, so any of them can be repeated.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::connection::{GUARD, Link, PacketError};
use crate::error::classify;
use crate::ledger::row::{Judgement, Ledger, Table};
use crate::retry::policy::Failure;
use crate::session::Session;
use crate::telemetry::event::event;
use crate::transaction::retry_loop::{self, Pace};
use crate::{Error, ErrorKind, Result};

/// The old session may hold the row for as long as its COMMIT takes. The wait for it is cut in slices, so that a server that stops
/// answering is noticed.
const LOCK_WAIT: &str = "SET innodb_lock_wait_timeout = 2";

/// The sum in the compare-and-swap has overflowed: the row of the ledger holds another value than the base.
const MOVED: u16 = 1690;

const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// What became of a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    Committed,
    /// And it never will be.
    NotCommitted,
    /// The row could not be read in time, or has been tampered with.
    Unknown,
}

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

impl Session {
    /// Finds out, for as long as the policy allows.
    pub(crate) fn resolve(&mut self, attempt: u64, lost: Option<Lost>) -> Resolution {
        let (Some(table), Some(mut ledger)) = (self.settings.ledger.clone(), self.ledger.take()) else { return Resolution::Unknown };
        // Patience is counted in time. Giving up leaves the caller not knowing, however few attempts the policy allows.
        let mut pace = Pace::new(self.settings.retry.max_attempts(u32::MAX));
        let mut fences = Vec::new();
        let mut lost = Vec::from_iter(lost);
        loop {
            let failure = match self.read_row(&table, &mut ledger, attempt, &mut fences, &mut lost) {
                Ok(Judgement::Unexplained) => return Resolution::Unknown,
                Ok(judgement) => {
                    self.ledger = Some(ledger);
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
                Some(delay) => retry_loop::pause(delay),
                // The client is never used again: what its row says from now on would be said of two attempts.
                None => return Resolution::Unknown,
            }
        }
    }

    /// Reads the row under its lock, and puts a fence up if it says nothing yet.
    fn read_row(&self, table: &Table, ledger: &mut Ledger, attempt: u64, fences: &mut Vec<u64>, lost: &mut Vec<Lost>) -> Result<Judgement> {
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
                link.packet(&[&swap, "COMMIT"]).map_err(refused)?;
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

    /// COMMIT succeeded, and with it the swap of so many rows.
    pub(crate) fn recorded(&mut self, target: Option<u64>, changed: u64) {
        let (Some(target), Some(ledger)) = (target, &mut self.ledger) else { return };
        if changed == 1 {
            ledger.holds(target);
        } else {
            // Somebody has deleted the row. The next transaction gets another client.
            event!(warn, "db_core.ledger_row", { db_core.found = "deleted" }, "the row of the commit ledger was deleted while in use");
            self.ledger = None;
        }
    }

    /// Whether the swap was refused because the row is not what this client left: restored from a backup, for instance. A new client is
    /// the cure, and nothing was committed.
    pub(crate) fn moved(&mut self, error: &mysql::Error) -> bool {
        let moved = matches!(error, mysql::Error::MySqlError(error) if error.code == MOVED);
        if moved {
            event!(warn, "db_core.ledger_row", { db_core.found = "changed" }, "the row of the commit ledger was changed by somebody else");
        }
        // A server that has become read-only takes no swap. A new client finds that out when it connects, and records nothing.
        if moved || classify::statement(error).kind == ErrorKind::ReadOnlyServer {
            self.ledger = None;
        }
        moved
    }

    /// Makes sure that this client has a row to record its COMMITs in.
    pub(crate) fn enroll(&mut self) -> Result<()> {
        let (Some(table), Some(link)) = (&self.settings.ledger, &mut self.link) else { return Ok(()) };
        if self.ledger.as_mut().is_some_and(|ledger| ledger.reliable(link.process())) || self.unrecorded == Some(link.serial()) {
            return Ok(());
        }
        let ledger = Ledger::new(new_client());
        link.set_guard_armed(false);
        match link.packet(&[&ledger.insert(table), "COMMIT", GUARD]).map_err(refused) {
            Ok(_) => {
                link.set_guard_armed(true);
                self.ledger = Some(ledger);
                sweep(table, link);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::ReadOnlyServer => {
                // Nothing can be committed here, and nothing has to be recorded.
                self.unrecorded = Some(link.serial());
                Ok(())
            }
            Err(error) => Err(match error.kind() {
                ErrorKind::UnknownTable => {
                    error.hint("make the commit ledger's table with Db::install_ledger, on a Db without commit_ledger")
                }
                ErrorKind::AccessDenied => error.hint("the commit ledger needs SELECT, INSERT, UPDATE and DELETE on its table"),
                _ => error,
            }),
        }
    }

    pub(crate) fn install_ledger(&mut self, table: &Table) -> Result<()> {
        self.connect()?;
        let Some(link) = &mut self.link else { return Ok(()) };
        // DDL ends the transaction that the guard was set in.
        link.set_guard_armed(false);
        link.packet(&[&table.create(), GUARD]).map_err(refused)?;
        link.set_guard_armed(true);
        Ok(())
    }
}

/// A number that no other client has; if one had it, the key would refuse the row. What is drawn is drawn by every child of a fork(2)
/// again, hence the process and the time.
fn new_client() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    fastrand::u64(..) ^ (now.as_nanos() as u64) ^ (u64::from(std::process::id()) << 32)
}

fn refused(failed: PacketError) -> Error {
    Error::seen(&failed.error)
}

/// Deletes rows of clients long gone. It is nobody's concern if that fails.
fn sweep(table: &Table, link: &mut Link) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    {
        let Some(mut last) = LAST.try_lock() else { return };
        if last.is_some_and(|last| last.elapsed() < SWEEP_EVERY) {
            return;
        }
        *last = Some(Instant::now());
    }
    let stale: Vec<u64> = link.ask(&table.stale()).unwrap_or_default();
    let swept = stale.iter().filter(|&&client| link.packet(&[&table.delete(client), "COMMIT"]).is_ok()).count();
    link.set_guard_armed(false);
    event!(debug, "db_core.sweep", { db_core.rows = swept }, "swept the commit ledger");
    // The look at the table has begun a transaction, and its snapshot is not for the body that comes next.
    let rolled_back = link.packet(&["ROLLBACK", GUARD]);
    link.set_guard_armed(rolled_back.is_ok());
}
