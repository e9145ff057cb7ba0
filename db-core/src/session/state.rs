//! What the client knows of the transaction that is open on the server.
//!
//! It decides, and sends nothing: it returns the statements that have to go in front of the body's next one.

use std::sync::Arc;
use std::thread::{self, ThreadId};

use crate::error::classify::{self, After};
use crate::retry::{attempts, deadline};
use crate::session::resend::Resend;
use crate::session::sentinel::{self, Sentinel};
use crate::session::watch::watched::Watched;
use crate::sql::kind::{Effect, StatementKind};
use crate::{Error, ErrorKind, Result, TxOptions};

pub(crate) struct State {
    /// Between its beginning and its end.
    pub(super) open: bool,
    owner: ThreadId,
    pub(super) options: TxOptions,
    /// Statements of the body begun. At 0 there is nothing to commit and nothing to undo.
    pub(super) statements: u64,
    current: Current,
    aborted: Option<Aborted>,
    /// The last error that a statement met and that left the transaction as it was.
    last_error: Option<Error>,
    /// The connection's state is not known any more.
    pub(super) lost: bool,
    /// The outermost level at which a call that had joined without a savepoint failed.
    rollback_only: Option<u32>,
    /// A statement may have written.
    wrote: bool,
    /// COMMIT succeeded, or may have.
    pub(super) committed: bool,
    /// A statement may have changed what outlives the transaction in its session: variables, the default database,
    /// temporary tables, named locks.
    pub(super) session_changed: bool,
    pub(super) sentinel: Sentinel,
    /// The caller reads a result row by row. Only a result that was forgotten leaves this.
    pub(super) streaming: bool,
    /// How the watch sees the connection that the last statement was sent on.
    pub(super) watched: Option<Arc<Watched>>,
    /// With what the first statement would be sent again.
    pub(super) resend: Resend,
    /// Nested transactions under way that have a savepoint, and how many of these the server knows of.
    level: u32,
    savepoints: u32,
    /// Nested calls under way that asked for a read-only transaction.
    read_only_calls: u32,
    /// SET TRANSACTION was sent, if it had to be.
    announced: bool,
    /// The statement under way sends what opens nested transactions itself.
    pub(super) looks: bool,
    /// The transaction was rolled back, because an earlier call has done its work.
    pub(super) told: bool,
}

/// The statement that was sent last.
#[derive(Clone, Copy)]
struct Current {
    kind: Option<StatementKind>,
    /// Something may have been committed before it.
    spent_before: bool,
}

/// Why nothing of the transaction may be committed.
struct Aborted {
    cause: Error,
    /// The server undid the statement alone. If the nested transaction of this level is undone, the rest may go on.
    until_undone: Option<u32>,
}

/// How a nested transaction is left.
pub(super) enum Left {
    /// The server knows nothing of the one of this level.
    Unknown(u32),
    /// By going back to this savepoint.
    To(u32),
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            open: false,
            owner: thread::current().id(),
            options: TxOptions::new(),
            statements: 0,
            current: Current { kind: None, spent_before: false },
            aborted: None,
            last_error: None,
            lost: false,
            rollback_only: None,
            wrote: false,
            committed: false,
            session_changed: false,
            sentinel: Sentinel::default(),
            streaming: false,
            watched: None,
            resend: Resend::default(),
            level: 0,
            savepoints: 0,
            read_only_calls: 0,
            announced: false,
            looks: false,
            told: false,
        }
    }

    /// Of a new transaction on the same connection. The memory of `resend` is used again.
    pub(super) fn begin(&mut self, options: TxOptions) {
        let (resend, watched) = (std::mem::take(&mut self.resend), self.watched.take());
        *self = Self { open: true, options, resend, watched, ..Self::new() };
    }

    /// A statement is about to be sent on this connection.
    pub(super) fn is_watched_by(&mut self, watched: Option<&Arc<Watched>>) {
        if self.watched.as_ref().map(Arc::as_ptr) != watched.map(Arc::as_ptr) {
            self.watched = watched.cloned();
        }
    }

    /// A wait for a reply begins, or has ended.
    pub(super) fn waits(&self, tell: impl FnOnce(&Watched)) {
        if let Some(watched) = &self.watched {
            tell(watched);
        }
    }

    pub(super) fn is_this_threads(&self) -> bool {
        self.owner == thread::current().id()
    }

    /// Why nothing may be committed.
    pub(super) fn cause(&self) -> Option<&Error> {
        self.aborted.as_ref().map(|aborted| &aborted.cause)
    }

    /// The same, for someone who is told now: what was committed since makes it no invitation to try again.
    pub(super) fn cause_now(&self) -> Option<Error> {
        let cause = self.cause()?.clone();
        Some(if self.may_have_committed() || attempts::follows_on_commit() { cause.committed() } else { cause })
    }

    /// The fault that another attempt may cure.
    pub(super) fn fault(&self) -> Option<&Error> {
        self.cause().or(self.last_error.as_ref().filter(|error| error.passes()))
    }

    pub(super) fn last_error(&self) -> Option<&Error> {
        self.cause().or(self.last_error.as_ref())
    }

    /// Nothing may be committed from now on. The first cause counts.
    pub(super) fn abort(&mut self, cause: Error) {
        match &mut self.aborted {
            Some(aborted) => aborted.until_undone = None,
            none => *none = Some(Aborted { cause, until_undone: None }),
        }
    }

    /// The transaction had ended unseen: this is its cause, whatever was known before.
    pub(super) fn ended_unseen(&mut self) -> Error {
        let cause = self.ended();
        self.aborted = Some(Aborted { cause: cause.clone(), until_undone: None });
        cause
    }

    fn abort_until_undone(&mut self, cause: Error) {
        let until_undone = (self.savepoints == self.level && self.level > 0).then_some(self.level);
        self.aborted.get_or_insert(Aborted { cause, until_undone });
    }

    /// What has to be sent before the next statement: most often nothing.
    pub(super) fn opening(&self) -> Vec<String> {
        if self.is_opened() {
            return Vec::new();
        }
        let mut statements = Vec::new();
        if !self.announced {
            statements.extend(self.options.set_transaction());
        }
        statements.extend((self.savepoints + 1..=self.level).map(|level| format!("SAVEPOINT {}", savepoint(level))));
        statements
    }

    /// COMMIT has something to store, whatever the body has done.
    pub(super) fn stores(&mut self) {
        self.wrote = true;
    }

    /// Whether the server, or this library, refuses writes here.
    pub(super) fn is_read_only(&self) -> bool {
        self.options.read_only || self.read_only_calls > 0
    }

    pub(super) fn is_opened(&self) -> bool {
        (self.announced || self.options.asks_nothing()) && self.savepoints == self.level
    }

    pub(super) fn was_opened(&mut self) {
        self.announced = true;
        self.savepoints = self.level;
    }

    /// Whether a statement of this kind may be sent, and what has to be sent in front of it. `early`: the sentinel must not come later.
    pub(super) fn admit(&self, kind: StatementKind, raw: bool, early: bool) -> Result<Option<&'static str>> {
        if self.read_only_calls > 0 && kind.effect != Effect::Reads {
            let message = "the nested call asked for a read-only transaction, and this statement may write; \
                           the outer transaction was not begun read-only, so that the server does not refuse it";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(self.sentinel.needed_by(kind, raw, self.statements <= 1, early).then_some(sentinel::SET))
    }

    /// What has to be sent in front of a request that has no result: Galera executes it, and drops the report of an abort that it
    /// should have made. Nothing is lost by that in front of the first statement.
    pub(super) fn before_unanswered(&self, is_galera: bool) -> Option<&'static str> {
        (is_galera && self.statements > 1 && !self.sentinel.stands()).then_some(sentinel::SET)
    }

    pub(super) fn sentinel_set(&mut self) {
        self.sentinel.was_set(self.level);
    }

    pub(super) fn count_statement(&mut self) {
        self.statements += 1;
        self.current = Current { kind: None, spent_before: self.may_have_committed() };
    }

    /// Whether the statement under way has the driver read a file of the client's.
    pub(super) fn reads_local_file(&self) -> bool {
        self.current.kind.is_some_and(|kind| kind.local_infile)
    }

    /// Whether the caller's own handler made this error.
    pub(super) fn is_of_infile_handler(&self, error: &mysql::Error) -> bool {
        self.reads_local_file() && classify::is_of_infile_handler(error)
    }

    /// A statement is about to be sent.
    pub(super) fn sending(&mut self, kind: StatementKind, raw: bool) {
        self.current.kind = Some(kind);
        self.sentinel.watch(kind, raw, self.statements <= 1);
        self.wrote |= kind.effect != Effect::Reads && !self.options.read_only;
        self.session_changed |= kind.session;
    }

    /// A statement was answered, well or not. An error that is met once something may have been committed does not invite its reader to
    /// try again, also not one of another database.
    pub(super) fn answered(&self) {
        if self.may_have_committed() {
            attempts::mark_errors_spent();
        }
    }

    /// Keeps what an error says about the transaction.
    pub(super) fn met(&mut self, mut error: mysql::Error) -> mysql::Error {
        self.refused(&error);
        self.answered();
        if self.is_of_infile_handler(&error) {
            // The server waits for the rest of the file.
            let cause = Error::of_infile_handler(&error);
            self.lose(cause.clone());
            error = cause.into();
        } else if deadline::passed() {
            let cause = deadline::or_exceeded(Error::seen(&error));
            self.abort(cause.clone());
            self.note(&error);
            error = cause.into();
        } else {
            self.note(&error);
        }
        error
    }

    /// Of a statement that may commit nothing is left if the server has refused it as a whole.
    fn refused(&mut self, error: &mysql::Error) {
        let Current { kind, spent_before } = self.current;
        if kind.is_some_and(|kind| kind.may_commit() && !kind.contains)
            && Error::carried_by(error).is_none()
            && classify::statement(error).refused
        {
            self.sentinel.refused(spent_before);
        }
    }

    fn note(&mut self, error: &mysql::Error) {
        if let Some(own) = Error::carried_by(error) {
            // A statement that was refused before it was sent; the cause of the abort once more; or no connection.
            if self.aborted.is_none() && !matches!(own.kind(), ErrorKind::Driver | ErrorKind::Config) {
                self.lose(own.clone());
            }
            return;
        }
        let verdict = classify::statement(error);
        let kind = self.current.kind;
        let cause = || Error::classified(error, verdict.kind, verdict.transient);
        match verdict.after {
            After::Intact => self.last_error = Some(cause()),
            After::Aborted if kind.is_some_and(|kind| kind.nowait) && verdict.kind == ErrorKind::LockWaitTimeout => {
                self.abort_until_undone(cause())
            }
            After::Aborted => self.abort(cause()),
            After::Dead => self.lose(cause()),
        }
    }

    /// The connection's state is not known any more, and the transaction is over with it.
    pub(super) fn lose(&mut self, cause: Error) {
        self.lost = true;
        self.abort(cause);
    }

    /// The server was reached on a new connection: it knows nothing of this transaction.
    pub(super) fn start_over(&mut self) {
        self.announced = false;
        self.savepoints = 0;
        self.sentinel.start_over();
    }

    /// Enters a nested call.
    pub(super) fn enter(&mut self, savepoint: bool, read_only: bool) {
        self.level += u32::from(savepoint);
        self.read_only_calls += u32::from(read_only);
    }

    /// A call without a savepoint is left. `undone`: it asked for its work to be undone, which it cannot be alone.
    pub(super) fn leave_joined(&mut self, read_only: bool, undone: bool) {
        self.read_only_calls -= u32::from(read_only);
        if undone {
            self.rollback_only = Some(self.rollback_only.map_or(self.level, |level| level.min(self.level)));
        }
    }

    /// A nested transaction is left, and its work becomes part of the enclosing one. The savepoint stays on the server
    /// until the next one of its name, or the end: releasing it would cost a round trip.
    pub(super) fn leave(&mut self, read_only: bool) {
        self.pop(read_only);
        self.sentinel.left(self.level);
        self.rollback_only = self.rollback_only.map(|level| level.min(self.level));
    }

    /// A nested transaction is left, and its work has to be undone.
    pub(super) fn leave_undone(&mut self, read_only: bool) -> Left {
        let level = self.level;
        let known = self.savepoints >= level;
        self.pop(read_only);
        if known { Left::To(level) } else { Left::Unknown(level) }
    }

    fn pop(&mut self, read_only: bool) {
        self.level -= 1;
        self.savepoints = self.savepoints.min(self.level);
        self.read_only_calls -= u32::from(read_only);
    }

    /// Whether going back to the savepoint of this level can save the rest of the transaction.
    pub(super) fn can_be_undone(&self, level: u32) -> bool {
        self.aborted.as_ref().is_none_or(|aborted| aborted.until_undone.is_some_and(|until| until >= level))
    }

    /// The server went back to the savepoint of this level: what was met since is over.
    pub(super) fn was_undone(&mut self, level: u32) {
        self.sentinel.rolled_back_to(level);
        self.forget(level);
    }

    /// What belongs to the nested transaction of this level is over.
    pub(super) fn forget(&mut self, level: u32) {
        self.rollback_only = self.rollback_only.filter(|&failed| failed < level);
        if self.can_be_undone(level)
            && let Some(aborted) = self.aborted.take()
        {
            self.last_error = Some(aborted.cause);
        }
    }

    /// A call that had joined without a savepoint failed, so that nothing can be committed.
    pub(super) fn is_rollback_only(&self) -> bool {
        self.rollback_only.is_some()
    }

    /// Whether something of the transaction may be in the database although it was not committed.
    pub(super) fn may_have_committed(&self) -> bool {
        self.sentinel.may_have_committed()
    }

    /// Whether a repetition would do again what is, or may be, in the database.
    pub(super) fn is_spent(&self) -> bool {
        (self.committed && self.wrote) || self.may_have_committed()
    }

    /// Whether COMMIT can make a difference to the database: vouched for by the texts of all its statements, or by the server, which
    /// refuses writes in a transaction that was begun read-only.
    pub(super) fn has_written(&self) -> bool {
        self.wrote || self.may_have_committed()
    }

    /// The server vouches for it, whatever the texts say.
    pub(super) fn wrote_nothing(&mut self) {
        self.wrote = false;
    }

    /// Whether COMMIT has something to do: not where all was read, or where one statement has committed itself.
    pub(super) fn needs_commit(&self) -> bool {
        self.has_written() && !self.sentinel.is_committed_alone()
    }

    /// Whether a part was committed, and the rest was not.
    pub(super) fn is_torn(&self) -> bool {
        !self.committed
            && !self.sentinel.is_committed_alone()
            && (self.sentinel.has_committed() || self.cause().is_some_and(|cause| cause.kind() == ErrorKind::ImplicitCommit))
    }

    /// The server no longer knows a savepoint that was set: the transaction it was set in has ended, unseen.
    pub(super) fn ended(&self) -> Error {
        if self.may_have_committed() {
            let message = "a statement of the function ended it (DDL, COMMIT, ROLLBACK, a stored procedure, …); \
                           what came before that statement may be committed, and cannot be rolled back";
            Error::new(ErrorKind::ImplicitCommit, message)
        } else {
            let message = "the server reported it in a result that was dropped before its last row, or, on Galera, not at all";
            Error::new(ErrorKind::Deadlock, message).transient(true)
        }
    }
}

pub(super) fn savepoint(level: u32) -> String {
    format!("db_core_{level}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::kind::of;

    /// A transaction that has sent these statements; `raw`: whether the driver's result went to the body.
    fn after(sent: &[(&str, bool)]) -> State {
        let mut state = State::new();
        state.begin(TxOptions::new());
        for (sql, raw) in sent {
            state.count_statement();
            if state.admit(of(sql), *raw, false).expect("it may be sent").is_some() {
                state.sentinel_set();
            }
            state.sending(of(sql), *raw);
        }
        state
    }

    const WRITES: (&str, bool) = ("UPDATE t SET a = 1", false);
    const HANDED_OUT: (&str, bool) = ("SELECT a FROM t", true);

    #[test]
    fn the_sentinel_is_set_in_front_of_the_statement_that_needs_it() {
        for (sent, (sql, raw), early, expected) in [
            (&[][..], WRITES, false, false),
            (&[WRITES], WRITES, false, false),
            (&[], HANDED_OUT, false, true),
            (&[], ("CALL p()", false), false, true),
            (&[], ("SAVEPOINT s", false), false, true),
            // A single statement that commits itself is the whole transaction.
            (&[], ("TRUNCATE t", false), false, false),
            (&[WRITES], ("TRUNCATE t", false), false, true),
            // It stands already.
            (&[HANDED_OUT], ("CALL p()", false), false, false),
            // On a group with several primaries.
            (&[], WRITES, true, true),
        ] {
            let mut state = after(sent);
            state.count_statement();
            let set = state.admit(of(sql), raw, early).expect("it may be sent");
            assert_eq!(set.is_some(), expected, "{sent:?}, then {sql}");
        }
    }

    #[test]
    fn on_galera_the_sentinel_stands_before_a_request_without_a_result_that_comes_later_than_first() {
        for (sent, is_galera, expected) in [
            (&[][..], true, false),
            (&[WRITES], true, true),
            (&[WRITES, WRITES], true, true),
            (&[WRITES], false, false),
            (&[WRITES, HANDED_OUT], true, false),
        ] {
            let mut state = after(sent);
            state.count_statement();
            assert_eq!(state.before_unanswered(is_galera).is_some(), expected, "{sent:?}, Galera {is_galera}");
        }
    }
}
