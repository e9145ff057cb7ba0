//! What does the client know of the transaction that is open on the server?

use std::thread::{self, ThreadId};

use crate::connection::{GUARD, Link};
use crate::error::classify::{self, After};
use crate::session::resend::Spare;
use crate::sql::kind::StatementKind;
use crate::{Error, ErrorKind, TxOptions};

pub(crate) struct State {
    pub(crate) owner: ThreadId,
    pub(crate) options: TxOptions,
    /// Statements of the body begun. At 0 there is nothing to commit and nothing to undo.
    pub(crate) statements: u64,
    /// Why nothing of this transaction may be committed.
    pub(crate) doom: Option<Error>,
    /// The doom took the connection's known state with it.
    pub(crate) lost: bool,
    /// A scope that joined without a savepoint failed: its part cannot be undone alone.
    pub(crate) rollback_only: bool,
    /// A statement was sent that can commit what went before it, and nothing has vouched since that it did not.
    pub(crate) may_have_committed: bool,
    /// COMMIT succeeded, or may have.
    pub(crate) committed: bool,
    /// The guard must vouch for the transaction; it was set inside this many scopes.
    pub(crate) guarded: Option<u32>,
    /// A result went to the body row by row, which may have left an error unread.
    pub(crate) raw: bool,
    /// Rows are being read. Only a panic leaves it standing.
    pub(crate) reading: bool,
    /// What the first statement would be sent again with.
    pub(crate) spare: Spare,
    /// Open scopes with a savepoint of their own, and how many of them the server knows of.
    level: u32,
    armed: u32,
    /// SET TRANSACTION was sent, if it had to be.
    announced: bool,
}

impl State {
    pub(crate) fn new(options: TxOptions) -> Self {
        Self {
            owner: thread::current().id(),
            options,
            statements: 0,
            doom: None,
            lost: false,
            rollback_only: false,
            may_have_committed: false,
            committed: false,
            guarded: None,
            raw: false,
            reading: false,
            spare: Spare::default(),
            level: 0,
            armed: 0,
            announced: false,
        }
    }

    /// Of a new transaction on the same connection. Field by field: this happens at every transaction, and `spare` stays.
    pub(crate) fn begin(&mut self, new: TxOptions) {
        let Self {
            owner,
            options,
            statements,
            doom,
            lost,
            rollback_only,
            may_have_committed,
            committed,
            guarded,
            raw,
            reading,
            spare: _,
            level,
            armed,
            announced,
        } = self;
        *owner = thread::current().id();
        *options = new;
        *statements = 0;
        *doom = None;
        *guarded = None;
        [*lost, *rollback_only, *may_have_committed, *committed, *raw, *reading, *announced] = [false; 7];
        [*level, *armed] = [0; 2];
    }

    /// Sends what has to come before the next statement: most often nothing.
    pub(crate) fn precede(&mut self, link: &mut Link) -> mysql::Result<()> {
        if (self.announced || self.options.asks_nothing()) && self.armed == self.level {
            return Ok(());
        }
        self.announce(link)
    }

    #[cold]
    fn announce(&mut self, link: &mut Link) -> mysql::Result<()> {
        let mut statements = Vec::new();
        if !self.announced {
            statements.extend(self.options.set_transaction());
        }
        statements.extend((self.armed + 1..=self.level).map(|level| format!("SAVEPOINT {}", savepoint(level))));
        if !statements.is_empty() {
            let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
            link.packet(&statements).map_err(|failed| failed.error)?;
        }
        self.announced = true;
        self.armed = self.level;
        Ok(())
    }

    /// Sets the guard before a statement that could end the transaction unseen. `raw`: by an error nobody reads.
    pub(crate) fn watch(&mut self, link: &mut Link, kind: StatementKind, raw: bool) -> mysql::Result<()> {
        if !raw && !kind.may_commit() {
            return Ok(());
        }
        if !link.guard_armed() {
            link.packet(&[GUARD]).map_err(|failed| failed.error)?;
            link.set_guard_armed(true);
            self.guarded = Some(self.level);
        }
        // A guard that is there already was set with the COMMIT before: outside of every scope.
        self.guarded.get_or_insert(0);
        self.raw |= raw;
        self.may_have_committed |= kind.may_commit();
        Ok(())
    }

    /// Keeps what an error says about the transaction.
    pub(crate) fn note(&mut self, error: &mysql::Error) {
        if let Some(own) = Error::carried_by(error) {
            // A statement that was refused before it was sent, or else no connection to send it on.
            if own.kind() != ErrorKind::Driver {
                self.lost = true;
                self.doom.get_or_insert_with(|| own.clone());
            }
            return;
        }
        let verdict = classify::statement(error);
        if verdict.after == After::Intact {
            return;
        }
        self.lost |= verdict.after == After::Dead;
        self.doom.get_or_insert_with(|| Error::classified(error, verdict.kind, verdict.transient));
    }

    /// The server was reached on a new connection: it knows nothing of this transaction.
    pub(crate) fn start_over(&mut self) {
        self.announced = false;
        self.armed = 0;
        self.guarded = None;
    }

    /// Whether the guard has to be asked before COMMIT. A statement that commits implicitly breaks no promise where it is all there is:
    /// nothing went before it, and nothing comes after.
    pub(crate) fn needs_guard(&self) -> bool {
        let alone = self.statements == 1 && self.may_have_committed && !self.raw;
        self.guarded.is_some() && !alone
    }

    pub(crate) fn enter_scope(&mut self) {
        self.level += 1;
    }

    /// The savepoint stays on the server until the next one of its name, or the end: releasing it would cost a round trip.
    /// Returns its name, if it was set.
    pub(crate) fn leave_scope(&mut self) -> Option<(u32, String)> {
        let level = self.level;
        self.level = level.saturating_sub(1);
        let set = self.armed >= level;
        self.armed = self.armed.min(self.level);
        set.then(|| (level, savepoint(level)))
    }

    /// The server no longer knows a savepoint that was set: the transaction it was set in has ended, unseen.
    pub(crate) fn broken(&self) -> Error {
        if self.may_have_committed {
            let message = "a statement of the transaction committed what went before it (DDL, COMMIT, a stored procedure, …); \
                           that part is in the database and cannot be rolled back";
            Error::new(ErrorKind::ImplicitCommit, message)
        } else {
            let message = "the server had rolled the transaction back before COMMIT; the error that said so was in a result \
                           that was dropped before its last row";
            Error::new(ErrorKind::Deadlock, message).transient(true)
        }
    }
}

fn savepoint(level: u32) -> String {
    format!("db_core_{level}")
}
