//! The end of a transaction: COMMIT or ROLLBACK, and what became of it.

use std::time::{Duration, Instant};

use crate::error::classify::{self, CommitVerdict};
use crate::listener::{Event, Resolved};
use crate::retry::{attempts, deadline};
use crate::session::connection::{COMMIT, Link, NO_AUTOCOMMIT, PacketError, ROLLBACK};
use crate::session::ledger::{Evidence, Lost, REQUEST, Resolution, Step};
use crate::session::{Session, sentinel, unread};
use crate::telemetry::event::event;
use crate::{Error, ErrorKind, Result};

/// What the body wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Commit,
    Rollback,
}

/// What became of a transaction, for telemetry, for the retry loop, and for the hooks.
pub(crate) struct Ended {
    pub ending: Ending,
    /// What the caller of a body that returned `Ok` is told instead.
    pub error: Option<Error>,
    /// What was seen on the connection, if another attempt may cure it.
    pub fault: Option<Error>,
    /// The last error that a statement met.
    pub last_error: Option<Error>,
    /// Some of the work is, or may be, in the database.
    pub spent: bool,
    /// Some of the work is in the database although the transaction was not committed.
    pub torn: bool,
    /// The driver handed out results, so that the body may know of a fault that the session does not.
    pub handed_out: bool,
    pub connection: Option<u32>,
    /// How long the resolution of a lost COMMIT took.
    pub resolving: Duration,
    /// When a fault was met that was cured inside the transaction.
    pub faulted: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It executed something.
    Committed,
    /// All there was to commit was nothing: it has only read.
    NothingToCommit,
    RolledBack,
    /// An earlier call with the same idempotency key has done the work: this one's was rolled back.
    Told,
    /// Nothing could be committed, or only by itself before COMMIT.
    Failed,
    Unknown,
}

impl Session {
    /// Ends the transaction.
    pub fn finish(&mut self, wish: Wish) -> Ended {
        if self.state.streaming {
            self.state.lose(unread());
        }
        self.settle();
        let result = match wish {
            Wish::Commit => self.commit(),
            Wish::Rollback => self.roll_back_as_wished(),
        };
        let wrote = self.state.has_written();
        let ending = match (&result, wish) {
            (Ok(()), Wish::Commit) if self.state.told => Ending::Told,
            (Ok(()), Wish::Commit) if wrote => Ending::Committed,
            (Ok(()), Wish::Commit) => Ending::NothingToCommit,
            (Ok(()), Wish::Rollback) => Ending::RolledBack,
            (Err(error), _) if error.is_commit_unknown() => Ending::Unknown,
            (Err(_), _) => Ending::Failed,
        };
        let ended = Ended {
            ending,
            fault: self.state.fault().filter(|_| ending != Ending::Unknown).cloned(),
            last_error: self.state.last_error().cloned(),
            error: result.err().map(|error| self.mark(error)),
            spent: self.state.is_spent(),
            torn: self.state.is_torn(),
            handed_out: self.state.sentinel.unread(),
            connection: self.conn().map(mysql::Conn::connection_id),
            resolving: std::mem::take(&mut self.resolving),
            faulted: self.faulted.take(),
        };
        self.settle();
        self.state.open = false;
        self.reset_if_changed();
        ended
    }

    /// Whether a transaction was begun and did not come to its end.
    pub(super) fn is_unfinished(&self) -> bool {
        self.state.open
    }

    /// The transaction's end was interrupted: its connection is not used again.
    pub(super) fn abandon(&mut self) {
        self.state.open = false;
        self.state.lost = true;
        self.settle();
    }

    /// What the body has set in the session ends with the transaction.
    fn reset_if_changed(&mut self) {
        if !self.state.session_changed {
            return;
        }
        let Some(link) = &mut self.link else { return };
        match link.reset(&self.settings) {
            Ok(true) => {}
            Ok(false) => self.close(),
            Err(error) => {
                event!(debug, "db_core.reset_failed", { error.type = ?error.kind() }, "the session could not be reset: its connection is closed");
                self.close();
            }
        }
    }

    /// `Err`: nothing was committed, [`ErrorKind::CommitUnknown`] and [`ErrorKind::ImplicitCommit`] excepted.
    fn commit(&mut self) -> Result<()> {
        if let Some(cause) = self.state.cause().cloned() {
            return Err(cause.and_rollback(self.roll_back()));
        }
        if self.state.is_rollback_only() {
            let message = "a nested call that had joined it without a savepoint failed, and its error was ignored";
            return Err(Error::new(ErrorKind::RollbackOnly, message).and_rollback(self.roll_back()));
        }
        if self.state.statements == 0 && self.keys.is_empty() {
            return Ok(());
        }
        if self.state.sentinel.split() {
            let cause = self.state.ended_unseen();
            return Err(cause.and_rollback(self.roll_back()));
        }
        if deadline::passed() {
            let cause = self.mark(deadline::exceeded("no time was left to send COMMIT"));
            self.state.abort(cause.clone());
            return Err(cause.and_rollback(self.roll_back()));
        }
        self.send_commit()
    }

    pub(super) fn send_commit(&mut self) -> Result<()> {
        // Before the first byte of COMMIT a dead connection is a certain "no".
        let closed = match self.link.as_mut().filter(|link| link.alive()).map(Link::verify) {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(Error::seen(&error)),
            None => Some(Error::new(ErrorKind::ConnectionLost, "the connection was closed before COMMIT").transient(true)),
        };
        if let Some(cause) = closed {
            let cause = self.mark(cause);
            self.state.lose(cause.clone());
            return Err(cause);
        }
        // Idempotency keys record the COMMIT as well.
        let keyed = !self.keys.is_empty();
        if keyed {
            self.state.count_statement();
        }
        let target = if self.state.needs_commit() && !keyed { self.recorder.next() } else { None };
        let vouched = self.state.sentinel.stands();
        let Some(link) = &mut self.link else { return Ok(()) };
        let mut request = [""; REQUEST.len()];
        let mut len = 0;
        for step in REQUEST {
            let statement = match step {
                Step::NoAutocommit => self.state.may_have_committed().then_some(NO_AUTOCOMMIT),
                Step::Swap if keyed => Some(self.keys.statement()),
                Step::Swap => target.map(|_| self.recorder.statement()),
                Step::Release => vouched.then_some(sentinel::RELEASE),
                Step::Commit => Some(COMMIT),
            };
            if let Some(statement) = statement {
                request[len] = statement;
                len += 1;
            }
        }
        let spoke_unasked = link.spoke_unasked();
        let failed = match link.commit(&request[..len]) {
            Ok(changed) => {
                self.state.committed = true;
                self.recorder.committed(target, changed);
                self.notice_session_change();
                return Ok(());
            }
            Err(failed) => failed,
        };
        let commit = len - 1;
        if target.is_some() && failed.executed == commit - 1 - usize::from(vouched) && classify::is_read_only_transaction(&failed.error) {
            // The body has made it so. By the server's word nothing can have been written, if it is the transaction that was begun: there
            // is nothing to record, or to commit.
            self.roll_back_as_wished()?;
            self.state.wrote_nothing();
            return self.state.cause().filter(|_| vouched).cloned().map_or(Ok(()), Err);
        }
        if keyed
            && failed.is_refusal()
            && failed.executed + 1 + usize::from(vouched) == commit
            && let Some(done) = self.key_refused(&failed)
        {
            return done;
        }
        if vouched && failed.is_missing_savepoint(commit - 1) {
            let cause = self.state.ended_unseen();
            return Err(cause.and_rollback(self.roll_back()));
        }
        self.commit_failed(failed, commit, target, spoke_unasked)
    }

    /// What COMMIT's failure means, once all has been done to find out. `Ok`: it was executed after all.
    fn commit_failed(&mut self, failed: PacketError, commit: usize, target: Option<u64>, spoke_unasked: bool) -> Result<()> {
        let stopped_before = failed.executed < commit && failed.is_refusal();
        let PacketError { executed, sent, error } = failed;
        let verdict = classify::statement(&error);
        if let Some(target) = target.filter(|_| stopped_before && classify::is_overflow(&error)) {
            return self.swap_refused(target, &error);
        }
        if stopped_before || sent <= commit || classify::was_not_sent(&error) {
            let cause = self.mark(Error::seen(&error));
            self.recorder.refused(verdict.kind);
            self.state.met(error);
            self.state.abort(cause.clone());
            return Err(cause.and_rollback(self.roll_back()));
        }
        let definite = match classify::commit(&error, spoke_unasked && executed == 0) {
            CommitVerdict::NotCommitted(verdict) => Some(verdict),
            // Certification may come after the writes were sent to the group: where it can be looked up, it is.
            CommitVerdict::Certified(verdict) if target.is_none() && self.keys.is_empty() => Some(verdict),
            CommitVerdict::Certified(_) | CommitVerdict::Unknown => None,
        };
        if let Some(verdict) = definite {
            let cause = self.mark(Error::classified(&error, verdict.kind, verdict.transient));
            self.state.met(error);
            self.state.abort(cause.clone());
            return Err(cause.and_rollback(self.roll_back()));
        }
        self.commit_lost(error, verdict.kind, target)
    }

    /// The reply to COMMIT says nothing, or never came.
    fn commit_lost(&mut self, error: mysql::Error, kind: ErrorKind, target: Option<u64>) -> Result<()> {
        let committed = self.look_up_commit(error, kind, target);
        if self.has_to_commit() {
            self.settings.listener.hears(|| Event::Resolve {
                resolution: match &committed {
                    Ok(()) if !self.state.told => Resolved::Committed,
                    Err(error) if error.is_commit_unknown() => Resolved::Unknown,
                    _ => Resolved::NotCommitted,
                },
                took: self.resolving,
            });
        }
        committed
    }

    /// Whether COMMIT has something to do, be it to store idempotency keys alone.
    fn has_to_commit(&self) -> bool {
        self.state.needs_commit() || !self.keys.is_empty()
    }

    fn look_up_commit(&mut self, error: mysql::Error, kind: ErrorKind, target: Option<u64>) -> Result<()> {
        // Nothing more is sent on this connection, which the server may still believe in.
        let lost = self.link.as_ref().map(Lost::of);
        self.state.lost = true;
        self.settle();
        self.faulted.get_or_insert_with(Instant::now);
        if !self.has_to_commit() {
            // There was nothing to commit. What was read is known, unless an error is hidden in the rest of a result.
            if !self.state.sentinel.unread() {
                return Ok(());
            }
            let cause = Error::classified(&error, kind, true);
            self.state.abort(cause.clone());
            return Err(cause);
        }
        if !self.keys.is_empty() {
            return self.keyed_commit_lost(&error, kind, lost);
        }
        let Some(target) = target else { return Err(self.unknown(Error::classified(&error, ErrorKind::CommitUnknown, false))) };
        let began = Instant::now();
        let resolution = self.recorder.resolve(target, Evidence::ReplyLost, lost);
        self.resolving = began.elapsed();
        match resolution {
            Resolution::Committed => {
                event!(info, "db_core.resolve", { db_core.resolution = "committed" }, "the reply to COMMIT was lost");
                self.state.committed = true;
                Ok(())
            }
            Resolution::NotCommitted => self.lost_and_not_committed(&error, kind),
            Resolution::Unknown(why) => Err(self.unknown(Error::classified(&error, ErrorKind::CommitUnknown, false).hint(why))),
        }
    }

    pub(super) fn lost_and_not_committed(&mut self, error: &mysql::Error, kind: ErrorKind) -> Result<()> {
        event!(info, "db_core.resolve", { db_core.resolution = "not_committed" }, "the reply to COMMIT was lost");
        let cause = self.mark(deadline::or_exceeded(Error::classified(error, kind, true)));
        self.state.abort(cause.clone());
        Err(cause)
    }

    /// The ledger's row does not hold what this client believes: that is evidence, and has to be read.
    fn swap_refused(&mut self, target: u64, error: &mysql::Error) -> Result<()> {
        let lost = self.link.as_ref().map(Lost::of);
        let failure = self.roll_back();
        let lost = lost.filter(|_| failure.is_some());
        let began = Instant::now();
        let resolution = self.recorder.resolve(target, Evidence::Moved, lost);
        self.resolving = began.elapsed();
        match resolution {
            Resolution::Committed => {
                self.state.committed = true;
                Ok(())
            }
            Resolution::NotCommitted => {
                let cause = self.mark(Error::seen(error).transient(true)).hint("the server had not applied this client's last commit yet");
                self.state.abort(cause.clone());
                Err(cause.and_rollback(failure))
            }
            Resolution::Unknown(why) => Err(self.unknown(Error::classified(error, ErrorKind::CommitUnknown, false).hint(why))),
        }
    }

    pub(super) fn unknown(&mut self, error: Error) -> Error {
        event!(warn, "db_core.resolve", { db_core.resolution = "unknown" }, "the reply to COMMIT was lost");
        self.state.committed = true;
        error
    }

    /// An error that is met once something may have been committed does not invite another try.
    pub(super) fn mark(&self, error: Error) -> Error {
        if self.state.may_have_committed() || attempts::follows_on_commit() { error.committed() } else { error }
    }

    /// `Err`: what cannot be rolled back is said, even to a caller who was to get an `Ok`.
    fn roll_back_as_wished(&mut self) -> Result<()> {
        if self.state.sentinel.stands() && self.state.cause().is_none() {
            self.roll_back_vouched();
        } else {
            if self.state.sentinel.split() {
                self.state.ended_unseen();
            }
            self.roll_back();
        }
        match self.state.cause() {
            Some(cause) if cause.kind() == ErrorKind::ImplicitCommit => Err(cause.clone()),
            _ if !self.state.may_have_committed() || self.state.sentinel.is_committed_alone() => Ok(()),
            // The server did not get to say whether it was.
            _ => Err(self.state.ended()),
        }
    }

    /// Rolls back, and asks first whether the transaction is still the one that was begun.
    fn roll_back_vouched(&mut self) {
        let Some(link) = &mut self.link else { return };
        let result = match link.verify() {
            Ok(()) => link.packet(&[sentinel::RELEASE, ROLLBACK]),
            Err(error) => Err(PacketError { executed: 0, sent: 0, error }),
        };
        match result {
            Ok(_) => self.state.sentinel.vouched(),
            Err(failed) if failed.is_missing_savepoint(0) => {
                let cause = self.state.ended_unseen();
                event!(warn, "db_core.ended_early", { error.type = ?cause.kind() }, "the transaction had ended before its ROLLBACK");
                self.roll_back();
            }
            Err(failed) => drop(self.rollback_failed(failed.error)),
        }
    }

    /// Rolls back. A failure is no danger to the promise: the connection is closed then, and the transaction ends with it.
    pub(super) fn roll_back(&mut self) -> Option<Error> {
        self.settle();
        if self.state.statements == 0 {
            return None;
        }
        let link = self.link.as_mut()?;
        match link.verify().map_err(|error| PacketError { executed: 0, sent: 0, error }).and_then(|()| link.packet(&[ROLLBACK])) {
            Ok(_) => None,
            Err(failed) => Some(self.rollback_failed(failed.error)),
        }
    }

    fn rollback_failed(&mut self, error: mysql::Error) -> Error {
        let error = Error::seen(&error);
        event!(
            warn,
            "db_core.rollback_failed",
            { error.type = ?error.kind(), db.response.status_code = error.code().map(tracing::field::display) },
            "ROLLBACK failed: the connection is closed"
        );
        // What the body's error did not say: the connection was dead.
        self.state.lose(error.clone());
        self.settle();
        error
    }
}
