//! The sentinel savepoint: the server's word that the transaction is still the one that was begun.
//!
//! A transaction can end without the client being told: by a statement that commits implicitly, by a procedure, or by an
//! error in the part of a result that was never read. A savepoint does not survive the end of its transaction. So the
//! sentinel is set in front of the first statement that could end the transaction unseen, and released in the request of
//! COMMIT, directly before it. If the server does not know it any more (1305), the request stops there.
//!
//! It is not set in advance. A savepoint between two statements of the body is visible to the body (`ROW_COUNT()`,
//! `SHOW WARNINGS`), and costs a round trip.
//!
//! On Galera a request to prepare or to close a statement hides that an applier has aborted the transaction: the next statement begins
//! another one. So there the sentinel is set in front of such a request, too, unless it is the first of the transaction. On a group with several primaries it is: there a savepoint clears an abort, so that it must
//! not come after anything that can be aborted.

use crate::sql::kind::{Effect, StatementKind};

pub(super) const SET: &str = "SAVEPOINT db_core_sentinel";
pub(super) const RELEASE: &str = "RELEASE SAVEPOINT db_core_sentinel";

/// Whether the sentinel stands, and what it vouches for.
#[derive(Debug, Default)]
pub(super) struct Sentinel {
    /// It was set inside this many nested transactions.
    set_at: Option<u32>,
    /// What it vouches for.
    sent: Sent,
    /// What had been sent before it was set.
    before: Sent,
}

/// The statements that were sent, as far as they can end the transaction.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    /// A result that the driver hands out row by row may have hidden an error.
    unread: bool,
    /// A statement was sent that may have committed.
    may_have_committed: bool,
    /// One of them certainly has, unless it failed.
    commits: bool,
    /// The transaction's first statement commits implicitly, contains no other statement, and reports its own failure.
    commits_alone: bool,
    /// Another statement came after such a one: by their texts they were not one transaction.
    split: bool,
}

impl Sentinel {
    /// Whether it has to be set in front of a statement. `raw`: the driver's own result goes to the body. `early`: whether a later
    /// statement needs it or not.
    pub(super) fn needed_by(&self, kind: StatementKind, raw: bool, first: bool, early: bool) -> bool {
        self.set_at.is_none() && (raw || early || kind.effect >= Effect::Savepoint) && !(first && commits_alone(kind, raw))
    }

    pub(super) fn was_set(&mut self, level: u32) {
        self.set_at = Some(level);
        self.before = self.sent;
    }

    /// A statement is about to be sent.
    pub(super) fn watch(&mut self, kind: StatementKind, raw: bool, first: bool) {
        let sent = &mut self.sent;
        sent.unread |= raw;
        sent.split |= sent.commits_alone && !first;
        sent.commits_alone |= first && commits_alone(kind, raw);
        sent.may_have_committed |= kind.may_commit();
        sent.commits |= kind.effect == Effect::Commits;
    }

    /// The server refused the statement before it executed anything of it. `spent`: something may have been committed before it.
    pub(super) fn refused(&mut self, spent: bool) {
        self.sent.may_have_committed = spent;
        self.sent.commits &= spent;
        self.sent.commits_alone &= spent;
    }

    /// Whether COMMIT has to ask for it.
    pub(super) fn stands(&self) -> bool {
        self.set_at.is_some()
    }

    /// Whether the texts alone say that the transaction was ended before its COMMIT. A statement that commits implicitly
    /// breaks no promise where it is the whole transaction: nothing went before it, and nothing comes after it.
    pub(super) fn split(&self) -> bool {
        self.sent.split
    }

    /// Whether the whole transaction is one statement that has committed itself: COMMIT has nothing to do.
    pub(super) fn is_committed_alone(&self) -> bool {
        self.sent.commits_alone && !self.sent.split
    }

    /// Whether a part of the transaction was committed, by the texts of its statements.
    pub(super) fn has_committed(&self) -> bool {
        self.sent.commits
    }

    pub(super) fn may_have_committed(&self) -> bool {
        self.sent.may_have_committed
    }

    pub(super) fn unread(&self) -> bool {
        self.sent.unread
    }

    /// A nested transaction has ended well: what was set in it belongs to the enclosing one now.
    pub(super) fn left(&mut self, level: u32) {
        self.set_at = self.set_at.map(|set_at| set_at.min(level));
    }

    /// The server has rolled back to the savepoint of this level, and so vouches for all that came after that savepoint.
    pub(super) fn rolled_back_to(&mut self, level: u32) {
        if self.set_at.is_some_and(|set_at| set_at >= level) {
            self.set_at = None;
            self.sent = self.before;
        }
    }

    /// The server has vouched for the whole transaction, which is over.
    pub(super) fn vouched(&mut self) {
        *self = Self::default();
    }

    /// The server was reached on a new connection, which knows nothing of this transaction.
    pub(super) fn start_over(&mut self) {
        self.set_at = None;
    }
}

fn commits_alone(kind: StatementKind, raw: bool) -> bool {
    kind.effect == Effect::Commits && !raw
}
