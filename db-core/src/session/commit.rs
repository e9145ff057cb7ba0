//! How does a transaction, or a scope inside it, end?

use std::io;
use std::time::Instant;

use crate::connection::{GUARD, NO_AUTOCOMMIT, PacketError, RELEASE_GUARD};
use crate::error::classify::{self, CommitVerdict};
use crate::ledger::resolve::{Lost, Resolution};
use crate::session::Session;
use crate::telemetry::event::event;
use crate::{Error, ErrorKind, Result};

const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

impl Session {
    /// Commits. `Err`: nothing was committed, [`ErrorKind::CommitUnknown`] and [`ErrorKind::ImplicitCommit`] excepted.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.settle();
        if self.state.reading && self.state.doom.is_none() {
            let message = "a panic left a result half read, and was caught inside the transaction: what the rest said is not known";
            self.state.doom = Some(Error::new(ErrorKind::RollbackOnly, message));
        }
        if let Some(mut doom) = self.state.doom.clone() {
            if self.state.may_have_committed {
                doom = doom.committed();
            }
            return Err(doom.and_rollback(self.roll_back()));
        }
        if self.state.rollback_only {
            let message =
                "a function that had joined the transaction without a savepoint returned an error, so that nothing can be committed";
            return Err(Error::new(ErrorKind::RollbackOnly, message).and_rollback(self.roll_back()));
        }
        if self.state.statements == 0 {
            return Ok(());
        }
        self.send_commit().inspect_err(|error| {
            if error.passes() {
                self.state.doom.get_or_insert_with(|| error.clone());
            }
        })
    }

    fn send_commit(&mut self) -> Result<()> {
        let guarded = self.state.needs_guard();
        self.keeps_guard |= self.state.guarded.is_some();
        // Before the first byte of COMMIT a dead connection is a certain "no".
        let Some(link) = self.link.as_mut().filter(|link| link.alive()) else {
            self.state.lost = true;
            return Err(Error::new(ErrorKind::ConnectionLost, "the connection was closed before COMMIT").transient(true));
        };
        let target = match (&self.settings.ledger, &mut self.ledger) {
            (Some(table), Some(ledger)) if !self.state.options.read_only => {
                let target = ledger.target();
                self.swap.clear();
                ledger.swap(table, target, &mut self.swap);
                Some(target)
            }
            _ => None,
        };
        let mut packet = Packet::default();
        packet.add_if(guarded, RELEASE_GUARD);
        packet.add_if(target.is_some(), &self.swap);
        let commit = packet.len;
        packet.add_if(true, COMMIT);
        packet.add_if(self.state.guarded.is_some(), NO_AUTOCOMMIT);
        packet.add_if(self.keeps_guard, GUARD);
        link.set_guard_armed(false);
        let failed = match link.packet(packet.statements()) {
            Ok(changed) => {
                link.set_guard_armed(self.keeps_guard);
                self.state.committed = true;
                self.recorded(target, changed);
                return Ok(());
            }
            Err(failed) => failed,
        };
        if failed.executed > commit {
            // Committed. What the session is like after a failure behind COMMIT is not worth finding out.
            link.abandon();
            self.state.committed = true;
            self.recorded(target, 1);
            return Ok(());
        }
        if guarded && failed.no_such_savepoint() {
            let broken = self.state.broken();
            return Err(broken.and_rollback(self.roll_back_unguarded()));
        }
        self.commit_failed(failed, commit, target)
    }

    /// What COMMIT's failure means, once all has been done to find out. `Ok`: it was executed after all.
    fn commit_failed(&mut self, failed: PacketError, commit: usize, target: Option<u64>) -> Result<()> {
        let PacketError { executed, sent, error } = failed;
        let verdict = classify::statement(&error);
        let refused_before = executed < commit && matches!(error, mysql::Error::MySqlError(_));
        if refused_before || sent <= commit || was_not_sent(&error) {
            self.state.note(&error);
            let mut cause = Error::seen(&error);
            if target.is_some() && self.moved(&error) {
                cause = cause.transient(true).hint(
                    "the commit ledger's row was changed by somebody else (restored from a backup?); another one is used from now on",
                );
            }
            return Err(cause.and_rollback(self.roll_back_unguarded()));
        }
        if let CommitVerdict::NotCommitted(verdict) = classify::commit(&error) {
            self.state.note(&error);
            let cause = Error::classified(&error, verdict.kind, verdict.transient);
            return Err(cause.and_rollback(self.roll_back_unguarded()));
        }
        // Nothing more is sent on this connection, which the server may still believe in.
        let lost = self.link.as_ref().map(Lost::of);
        self.state.lost = true;
        self.settle();
        if self.state.options.read_only {
            // There was nothing to commit.
            return Err(Error::classified(&error, verdict.kind, true));
        }
        self.faulted.get_or_insert_with(Instant::now);
        match target.map_or(Resolution::Unknown, |target| self.resolve(target, lost)) {
            Resolution::Committed => {
                event!(info, "db_core.resolve", { db_core.resolution = "committed" }, "the answer to COMMIT was lost");
                self.state.committed = true;
                Ok(())
            }
            Resolution::NotCommitted => {
                event!(info, "db_core.resolve", { db_core.resolution = "not_committed" }, "the answer to COMMIT was lost");
                Err(Error::classified(&error, verdict.kind, true))
            }
            Resolution::Unknown => {
                event!(warn, "db_core.resolve", { db_core.resolution = "unknown" }, "the answer to COMMIT was lost");
                self.state.committed = true;
                Err(Error::classified(&error, ErrorKind::CommitUnknown, false))
            }
        }
    }

    /// Rolls back. A failure is no danger to the promise: the connection is closed then, and the transaction ends with it.
    pub(crate) fn roll_back(&mut self) -> Option<Error> {
        self.settle();
        if self.state.statements == 0 {
            return None;
        }
        if self.state.guarded.is_none() || self.state.doom.is_some() {
            return self.roll_back_unguarded();
        }
        self.keeps_guard = true;
        let link = self.link.as_mut()?;
        link.set_guard_armed(false);
        match link.packet(&[RELEASE_GUARD, ROLLBACK, NO_AUTOCOMMIT, GUARD]) {
            Ok(_) => {
                link.set_guard_armed(true);
                self.state.may_have_committed = false;
                None
            }
            Err(failed) if failed.no_such_savepoint() => {
                let broken = self.state.broken();
                event!(warn, "db_core.ended_early", { error.type = ?broken.kind() }, "the transaction had ended before its ROLLBACK");
                self.state.doom = Some(broken);
                self.roll_back_unguarded()
            }
            Err(failed) => self.rollback_failed(&failed.error),
        }
    }

    /// Without asking the guard. A body that may have ended the transaction by hand may have changed the session's mode as well
    /// (`SET autocommit = 1`): the session is not used again then.
    fn roll_back_unguarded(&mut self) -> Option<Error> {
        self.settle();
        let keeps_guard = self.keeps_guard;
        let link = self.link.as_mut()?;
        link.set_guard_armed(false);
        let failure = match link.packet(if keeps_guard { &[ROLLBACK, GUARD] } else { &[ROLLBACK] }) {
            Ok(_) => {
                link.set_guard_armed(keeps_guard);
                None
            }
            Err(failed) => self.rollback_failed(&failed.error),
        };
        self.state.lost |= self.state.may_have_committed;
        self.settle();
        failure
    }

    fn rollback_failed(&mut self, error: &mysql::Error) -> Option<Error> {
        let error = Error::seen(error);
        event!(
            warn,
            "db_core.rollback_failed",
            { error.type = ?error.kind(), db.response.status_code = error.code().map(tracing::field::display) },
            "ROLLBACK failed: the connection is closed"
        );
        // What the body's error did not say: the connection was dead.
        self.state.doom.get_or_insert_with(|| error.clone());
        self.state.lost = true;
        self.settle();
        Some(error)
    }

    /// Leaves the innermost scope, whose work stays part of the transaction.
    pub(crate) fn leave_scope(&mut self) {
        self.state.leave_scope();
    }

    /// Leaves the innermost scope and undoes its work.
    pub(crate) fn undo_scope(&mut self) {
        self.settle();
        let set = self.state.leave_scope();
        let (Some((level, savepoint)), None, Some(link)) = (set, &self.state.doom, &mut self.link) else { return };
        match link.packet(&[&format!("ROLLBACK TO SAVEPOINT {savepoint}")]) {
            Ok(_) if self.state.guarded.is_some_and(|set_at| set_at >= level) => {
                // The guard went with the savepoint, and the savepoint's being there vouches as the guard would have.
                link.set_guard_armed(false);
                self.state.guarded = None;
                self.state.may_have_committed = false;
            }
            Ok(_) => {}
            Err(failed) if failed.no_such_savepoint() => self.state.doom = Some(self.state.broken()),
            Err(failed) => {
                self.state.note(&failed.error);
                // Refused for whatever reason: the scope's work is still there, and must not be committed.
                self.state.doom.get_or_insert_with(|| Error::seen(&failed.error));
            }
        }
    }
}

/// The statements of one round trip at the end of a transaction.
#[derive(Default)]
struct Packet<'s> {
    all: [&'s str; 5],
    len: usize,
}

impl<'s> Packet<'s> {
    fn add_if(&mut self, wanted: bool, statement: &'s str) {
        if wanted {
            self.all[self.len] = statement;
            self.len += 1;
        }
    }

    fn statements(&self) -> &[&'s str] {
        &self.all[..self.len]
    }
}

/// The kernel refused the first byte of a packet that fits into one write: nothing went out.
fn was_not_sent(error: &mysql::Error) -> bool {
    const EPIPE: i32 = 32;
    let mysql::Error::CodecError(codec) = error else { return false };
    let io = std::error::Error::source(codec).and_then(|source| source.downcast_ref::<io::Error>());
    io.and_then(io::Error::raw_os_error) == Some(EPIPE)
}
