//! Resolution of a COMMIT: what the ledger's row says of an attempt whose outcome is not known.
//!
//! The row is read under its lock, on a new connection. If it holds the attempt's target, the work is committed. If it holds the base, the
//! work is not committed, but a late request might still commit it: so the base is swapped for a *fence*, a target that belongs to no work,
//! and once that is committed the late request's own compare-and-swap fails. A fence whose reply is lost is resolved like any other
//! COMMIT. If the row is missing or older than the base, the server is behind: it is read again. Every step leaves what is true to be read
//! from the row, so any of them can be retried.

use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::retry::deadline;
use crate::retry::pace::{Pace, pause};
use crate::retry::policy::Failure;
use crate::session::connection::{COMMIT, Link};
use crate::session::ledger::row::{Judgement, Row, Table};
use crate::session::ledger::{Recorder, refused};
use crate::telemetry::event::event;
use crate::{Error, Result};

/// The old session may hold the row for as long as its COMMIT takes. The wait for it is cut in slices, so that a server that stops
/// replying is noticed.
const LOCK_WAIT: &str = "SET innodb_lock_wait_timeout = 2";

/// A node of a cluster reads what every other has committed before.
const GALERA_WAITS: &str = "SET SESSION wsrep_sync_wait = 3";
const GROUP_WAITS: &str = "SET SESSION group_replication_consistency = 'BEFORE'";

/// Why an attempt's outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Evidence {
    /// The reply to COMMIT was lost, or says nothing of the transaction.
    ReplyLost,
    /// The compare-and-swap was refused with 1690, so that this request stopped before COMMIT. But nobody else writes this row: either the
    /// same request was executed before (a proxy has repeated it), or an attempt reported as not committed was committed, or the
    /// server is behind.
    Moved,
}

/// What became of an attempt to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Resolution {
    Committed,
    /// And it never will be.
    NotCommitted,
    /// Why, for the error's text. The row is not used again.
    Unknown(&'static str),
}

/// A session whose reply was lost.
#[derive(Debug, Clone)]
pub(in crate::session) struct Lost {
    /// Which server it was on: connection ids are a server's own.
    server: String,
    connection: u32,
    port: Option<u16>,
    opened: Instant,
    /// Connections that may still be spent on ending it. Whether that works does not matter to what is true.
    tries: u8,
}

impl Lost {
    pub fn of(link: &Link) -> Self {
        Self {
            server: link.identity().into(),
            connection: link.conn().connection_id(),
            port: link.local_port(),
            opened: link.opened().at,
            tries: 3,
        }
    }

    /// Ends the session, if it is there, so that its locks are free at once: a server that never notices the loss keeps them for hours.
    /// Connection ids start again with the server, so either the client's port has to match, which a proxy hides, or the server has to have
    /// been there before the session. `Err`: the link cannot be used any more.
    fn kill(&self, link: &mut Link) -> Result<()> {
        let Self { connection, port: Some(port), .. } = self else { return Ok(()) };
        let own = link.conn().connection_id();
        let sql = format!("SELECT id, host FROM information_schema.processlist WHERE id IN ({own}, {connection})");
        let killed = link.ask::<(u64, String)>(&sql).and_then(|rows| {
            let host = |id: u32| rows.iter().find(|(found, _)| *found == u64::from(id)).map(|(_, host)| host.as_str());
            let Some(found) = host(*connection) else { return Ok(()) };
            let is_port = found.rsplit_once(':').is_some_and(|(_, found)| found.parse() == Ok(*port));
            // The server counts whole seconds by the clock: its uptime may be said a second too long.
            if is_port || host(own).is_some() && link.uptime()? > self.opened.elapsed().as_secs() + 1 {
                link.packet(&[&format!("KILL {connection}")]).map_err(|failed| failed.error)?;
                event!(debug, "db_core.kill", { db_core.connection_id = connection }, "ended the session whose reply was lost");
            }
            Ok(())
        });
        match killed {
            // This user may not see it, or it has ended meanwhile.
            Err(mysql::Error::MySqlError(_)) => Ok(()),
            killed => Ok(killed?),
        }
    }
}

/// What the first request of a resolution asks for.
pub(super) fn first_in_a_resolution(link: &Link) -> &'static [&'static str] {
    match () {
        () if link.is_galera() => &[LOCK_WAIT, GALERA_WAITS],
        () if link.has_group_replication() => &[LOCK_WAIT, GROUP_WAITS],
        () => &[LOCK_WAIT],
    }
}

/// Asks on a new connection, and again until there is a reply, for up to the settings' `resolve_timeout`.
pub(super) fn ask_in_time<T>(settings: &Settings, mut ask: impl FnMut(Link) -> Result<T>) -> Option<T> {
    let mut pace = begin(settings);
    // What became of COMMIT is worth knowing also when the deadline has passed.
    let _lifted = deadline::lifted();
    loop {
        match Link::open_quick(settings).and_then(&mut ask) {
            Ok(reply) => return Some(reply),
            Err(error) => pause(cannot_be_read(&error, &mut pace)?),
        }
    }
}

/// The limit is a time only. To give up leaves the caller not knowing, however few attempts the policy allows.
fn begin(settings: &Settings) -> Pace {
    let mut limit = settings.resolve_timeout;
    if deadline::current().is_some() {
        limit = limit.min(settings.paced(&settings.retry).longest());
    }
    Pace::new(settings.retry.max_attempts(u32::MAX).max_elapsed(limit))
}

/// How long to wait before the row is read again. Not even an error that looks final is: a server that comes back may refuse logins for a
/// moment.
fn cannot_be_read(error: &Error, pace: &mut Pace) -> Option<Duration> {
    event!(
        debug,
        "db_core.resolve_retry",
        { error.type = ?error.kind(), db.response.status_code = error.code().map(tracing::field::display) },
        "the row that says what became of COMMIT cannot be read yet"
    );
    pace.next(Failure::Unreachable, 0)
}

/// Ends every session on this server that may hold the row's lock.
pub(super) fn kill_all(lost: &mut Vec<Lost>, link: &mut Link) -> Result<()> {
    while let Some(at) = lost.iter().rposition(|session| session.server == link.identity()) {
        let mut session = lost.swap_remove(at);
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
    /// Finds out what became of the attempt with this target, for up to the settings' `resolve_timeout`.
    ///
    /// `lost`: the session that may still hold the row's lock. One that is known has to be rolled back before.
    pub fn resolve(&mut self, target: u64, evidence: Evidence, lost: Option<Lost>) -> Resolution {
        // Unless the outcome is found, this client's row is not used again: its next value would be said of two attempts.
        let (Some(table), Some(mut row)) = (&self.table, self.row.take()) else {
            return Resolution::Unknown("the transaction was not recorded in the commit ledger");
        };
        let mut pace = begin(&self.settings);
        // What became of COMMIT is worth knowing also when the deadline has passed.
        let _lifted = deadline::lifted();
        let mut fences = Vec::new();
        let mut lost = Vec::from_iter(lost);
        loop {
            let read = Link::open_quick(&self.settings).and_then(|link| read_row(link, table, &mut row, target, &mut fences, &mut lost));
            let resolution = match read {
                Ok(Judgement::Committed) => Resolution::Committed,
                Ok(Judgement::Open | Judgement::Fenced) => Resolution::NotCommitted,
                Ok(Judgement::Earlier) => {
                    event!(
                        warn,
                        "db_core.ledger_row",
                        { db_core.found = "earlier" },
                        "the row of the commit ledger names an attempt that had been reported as not committed"
                    );
                    return Resolution::Unknown(
                        "the commit ledger says that an earlier attempt, which the server had reported as not committed, was committed",
                    );
                }
                // With 1690, this request did not commit. But if a proxy repeats requests, its first copy may have, before the row
                // was changed: the value that would say so is gone.
                Ok(Judgement::Foreign) => {
                    event!(
                        warn,
                        "db_core.ledger_row",
                        { db_core.found = "changed" },
                        "the row of the commit ledger was changed by another client"
                    );
                    return Resolution::Unknown("the commit ledger's row was changed by another client");
                }
                Ok(Judgement::Behind) => {
                    if let Some(delay) = pace.next(Failure::Unreachable, 0) {
                        event!(
                            debug,
                            "db_core.resolve_behind",
                            { db_core.delay = delay.as_secs_f64() },
                            "the server has not applied the last commit yet"
                        );
                        pause(delay);
                        continue;
                    }
                    event!(
                        error,
                        "db_core.lost_commits",
                        { db_core.evidence = ?evidence },
                        "the server lacks commits that had been acknowledged: a replica was promoted without them, or a backup restored"
                    );
                    return Resolution::Unknown(
                        "this server lost acknowledged commits: the commit ledger's row is missing or older than the last commit",
                    );
                }
                Err(error) => {
                    let Some(delay) = cannot_be_read(&error, &mut pace) else {
                        return Resolution::Unknown("the commit ledger could not be read in time");
                    };
                    pause(delay);
                    continue;
                }
            };
            self.row = Some(row);
            return resolution;
        }
    }
}

/// Reads the row under its lock, and puts a fence up if it says nothing yet.
fn read_row(mut link: Link, table: &Table, row: &mut Row, attempt: u64, fences: &mut Vec<u64>, lost: &mut Vec<Lost>) -> Result<Judgement> {
    kill_all(lost, &mut link)?;
    // It will hold the row's lock: if it is lost as well, the next one must not wait for it.
    lost.push(Lost::of(&link));
    link.packet(first_in_a_resolution(&link)).map_err(refused)?;
    let found = link.ask::<u64>(&row.lock(table))?.first().copied();
    let judgement = row.judge(found, attempt, fences);
    match (judgement, found) {
        (Judgement::Committed | Judgement::Fenced, Some(value)) => row.holds(value),
        (Judgement::Open, _) => {
            let fence = row.target();
            // Before it is sent: it may be committed although its reply is lost.
            fences.push(fence);
            let mut swap = String::new();
            row.swap(table, fence, &mut swap);
            link.packet(&[&swap, COMMIT]).map_err(refused)?;
            row.holds(fence);
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
