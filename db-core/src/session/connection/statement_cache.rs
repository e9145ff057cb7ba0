//! The statements that a connection has prepared.
//!
//! The driver has such a cache too, and finds a statement by parsing its text once more, which is a quarter of all that a short
//! transaction costs the client. It is switched off; here a text is found by comparing it.

use mysql::Statement;

use crate::sql::kind::StatementKind;

pub(super) struct StatementCache {
    entries: Vec<Entry>,
    /// How many statements are kept that only their texts refer to.
    capacity: usize,
    /// How many there are.
    by_text: usize,
    /// Counts the uses.
    clock: u64,
}

struct Entry {
    sql: Box<str>,
    statement: Statement,
    kind: StatementKind,
    /// Times it was given to a caller who keeps it, and not closed since. While there are any, it is not evicted.
    handles: u32,
    /// When it was used last.
    used: u64,
    /// The session has changed since: prepared now, the text may mean something else.
    stale: bool,
}

impl StatementCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: Vec::new(), capacity, by_text: 0, clock: 0 }
    }

    pub(super) fn find(&mut self, sql: &str) -> Option<(Statement, StatementKind)> {
        let entry = self.entries.iter_mut().find(|entry| *entry.sql == *sql && !entry.stale)?;
        self.clock += 1;
        entry.used = self.clock;
        Some((entry.statement.clone(), entry.kind))
    }

    /// Adds a statement, and returns the one that is to be closed for it.
    pub(super) fn add(&mut self, sql: &str, statement: &Statement, kind: StatementKind) -> Option<Statement> {
        let evicted = if self.by_text >= self.capacity.max(1) { self.evict() } else { None };
        self.clock += 1;
        self.by_text += 1;
        self.entries.push(Entry { sql: sql.into(), statement: statement.clone(), kind, handles: 0, used: self.clock, stale: false });
        evicted
    }

    /// The session is about to change: its default database, or how it reads a text. Nothing is found by its text any more. The server
    /// closes the statements when the session is reset, which follows.
    pub(super) fn forget_texts(&mut self) {
        self.by_text = 0;
        self.entries.retain(|entry| entry.handles > 0);
        self.entries.iter_mut().for_each(|entry| entry.stale = true);
    }

    /// The statement that must not be kept, now that it is executed. There is one only where none are kept by text.
    pub(super) fn surplus(&mut self) -> Option<Statement> {
        if self.by_text > self.capacity { self.evict() } else { None }
    }

    /// Removes the statement that has not been used for the longest time.
    fn evict(&mut self) -> Option<Statement> {
        let by_text = self.entries.iter().enumerate().filter(|(_, entry)| entry.handles == 0);
        let (oldest, _) = by_text.min_by_key(|(_, entry)| entry.used)?;
        self.by_text -= 1;
        Some(self.entries.swap_remove(oldest).statement)
    }

    /// A caller keeps the statement with this number.
    pub(super) fn add_handle(&mut self, statement: u32) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.statement.id() == statement) {
            self.by_text -= usize::from(entry.handles == 0);
            entry.handles += 1;
        }
    }

    /// A caller closes the statement with this number. Whether it is to be closed on the server: another caller may keep it.
    pub(super) fn drop_handle(&mut self, statement: u32) -> bool {
        let Some(at) = self.entries.iter().position(|entry| entry.statement.id() == statement) else { return true };
        let handles = &mut self.entries[at].handles;
        if *handles > 1 {
            *handles -= 1;
            return false;
        }
        self.by_text -= usize::from(*handles == 0);
        self.entries.swap_remove(at);
        true
    }

    /// Forgets the statement with this number, which the server cannot execute, unless a caller keeps it. Its text, and whether it is to
    /// be closed.
    pub(super) fn forget(&mut self, statement: u32) -> Option<(Box<str>, bool)> {
        let at = self.entries.iter().position(|entry| entry.statement.id() == statement)?;
        if self.entries[at].handles > 0 {
            return Some((self.entries[at].sql.clone(), false));
        }
        self.by_text -= 1;
        Some((self.entries.swap_remove(at).sql, true))
    }
}
