//! One client's row of the ledger: its statements, and what its value says of an attempt to commit.
//!
//! Every COMMIT carries a compare-and-swap of the client's row: from the *base*, the last value known to be committed, to a *target* that
//! was never used before. At most one attempt can win from a base, and the value left behind names it. `resolve` has the rest of the
//! protocol.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::session::quoted;

/// A row that has not changed for longer is swept by any client that takes a row.
const SWEPT_AFTER_DAYS: u32 = 7;

/// A client does not rely on its row when it has not changed it for longer: the row may have been swept.
const RELIED_ON_FOR: Duration = Duration::from_secs(12 * 3600);

/// The largest number there is, and one more.
const OVERFLOW: &str = ", seq + 18446744073709551615 + 1) WHERE client = ";

/// The clients' table, in the database of the URL.
#[derive(Debug, Clone)]
pub(super) struct Table(String);

/// What a client knows of its row. All decisions are made here, and the model runs this code.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Position {
    /// The last value known to be committed.
    base: u64,
    /// The last target given out.
    last: u64,
}

/// One client's row.
#[derive(Debug)]
pub(super) struct Row {
    client: u64,
    position: Position,
    /// The server that made the row. Another one may not have applied that yet: there the compare-and-swap would find no row, and raise
    /// nothing.
    server: String,
    /// The process that made the row. A child of fork(2) has the same memory, and must have another row.
    process: u32,
    /// The row was not changed later than this.
    changed: Instant,
    /// When it was asked for last.
    asked: Instant,
}

/// What the row says of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It holds the attempt's target: committed.
    Committed,
    /// It holds the base: not committed so far. Only a fence makes that final.
    Open,
    /// It holds a fence: not committed, and it never will be.
    Fenced,
    /// It is missing, or holds a value smaller than the base. Targets only grow, and the base was committed: this server has not applied
    /// that commit yet, or has lost it. (Or the row was deleted, or the table restored from a backup.)
    Behind,
    /// It holds the target of an earlier attempt that was reported as not committed.
    Earlier,
    /// It holds a value that this client has never written.
    Foreign,
}

impl Table {
    /// In the given database, wherever the session may have gone with USE.
    pub(super) fn within(database: &str) -> Self {
        Self(format!("{}.db_core_ledger", quoted(database)))
    }

    pub(super) fn create(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (client BIGINT UNSIGNED NOT NULL PRIMARY KEY, seq BIGINT UNSIGNED NOT NULL, \
             touched TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY (touched)) ENGINE=InnoDB",
            self.0
        )
    }

    /// Locks stale rows that nobody else has locked, and returns their clients.
    pub(super) fn lock_stale(&self) -> String {
        let table = &self.0;
        format!("SELECT client FROM {table} WHERE touched < NOW() - INTERVAL {SWEPT_AFTER_DAYS} DAY LIMIT 100 FOR UPDATE SKIP LOCKED")
    }

    /// Deletes the rows of these clients, of which there is at least one.
    pub(super) fn delete(&self, clients: &[u64]) -> String {
        let mut sql = format!("DELETE FROM {} WHERE client IN (", self.0);
        for (at, client) in clients.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            // Writing to a String does not fail.
            let _ = write!(sql, "{separator}{client}");
        }
        sql.push(')');
        sql
    }
}

impl Row {
    /// For a client that has not been there before.
    pub(super) fn new(client: u64, server: &str) -> Self {
        let now = Instant::now();
        Self { client, position: Position::new(), server: server.into(), process: std::process::id(), changed: now, asked: now }
    }

    /// Whether the row can be taken to be there, on this server, and to belong to this process alone.
    pub(super) fn reliable(&mut self, server: &str) -> bool {
        self.asked = Instant::now();
        self.server == server && self.process == std::process::id() && self.asked.duration_since(self.changed) < RELIED_ON_FOR
    }

    pub(super) fn insert(&self, table: &Table) -> String {
        format!("INSERT INTO {} (client, seq) VALUES ({}, {})", table.0, self.client, self.position.base)
    }

    pub(super) fn lock(&self, table: &Table) -> String {
        format!("SELECT seq FROM {} WHERE client = {} FOR UPDATE", table.0, self.client)
    }

    /// The compare-and-swap. Where the row holds another value than the base, the sum overflows and raises 1690: that ends the request
    /// before its COMMIT, on every server and in every `sql_mode`.
    ///
    /// Of the forms that do so it is the one that costs the server least. A condition on the row beside its key makes the request take
    /// 1.03 times as long on MariaDB, and 1.05 on MySQL; a key of 16 bytes in place of a number the same again; a subquery of two rows where
    /// one may be, which raises 1242, 1.3 and 1.1 times.
    pub(super) fn swap(&self, table: &Table, target: u64, sql: &mut String) {
        let Self { client, position, .. } = self;
        let mut number = itoa::Buffer::new();
        for part in ["UPDATE ", &table.0, " SET seq = IF(seq = "] {
            sql.push_str(part);
        }
        sql.push_str(number.format(position.base()));
        sql.push_str(", ");
        sql.push_str(number.format(target));
        sql.push_str(OVERFLOW);
        sql.push_str(number.format(*client));
    }

    pub(super) fn target(&mut self) -> u64 {
        self.position.target()
    }

    pub(super) fn holds(&mut self, value: u64) {
        self.position.holds(value);
        self.changed = self.asked;
    }

    pub(super) fn judge(&self, found: Option<u64>, attempt: u64, fences: &[u64]) -> Judgement {
        self.position.judge(found, attempt, fences)
    }
}

impl Position {
    /// Of a row that has just been made.
    pub(super) fn new() -> Self {
        Self { base: 0, last: 0 }
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// A value that no attempt of this client has used, whether it was sent or not.
    pub(super) fn target(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The row is known to hold this value, and to be committed.
    pub(super) fn holds(&mut self, value: u64) {
        self.base = value;
    }

    /// What the row says of the attempt with this target, after fences that may or may not have been committed.
    pub(super) fn judge(&self, found: Option<u64>, attempt: u64, fences: &[u64]) -> Judgement {
        match found {
            Some(value) if value == attempt => Judgement::Committed,
            Some(value) if value == self.base => Judgement::Open,
            Some(value) if fences.contains(&value) => Judgement::Fenced,
            Some(value) if value > self.last => Judgement::Foreign,
            Some(value) if value > self.base => Judgement::Earlier,
            _ => Judgement::Behind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_names_the_attempt_that_won() {
        let mut row = Row::new(7, "a");
        let first = row.target();
        row.holds(first);
        let (refused, attempt, fence, other_fence) = (row.target(), row.target(), row.target(), row.target());
        let fences = [fence, other_fence];
        for (found, expected) in [
            (Some(attempt), Judgement::Committed),
            (Some(first), Judgement::Open),
            (Some(fence), Judgement::Fenced),
            (Some(other_fence), Judgement::Fenced),
            (Some(refused), Judgement::Earlier),
            (Some(0), Judgement::Behind),
            (None, Judgement::Behind),
            (Some(other_fence + 1), Judgement::Foreign),
            (Some(u64::MAX), Judgement::Foreign),
        ] {
            assert_eq!(row.judge(found, attempt, &fences), expected, "{found:?}");
        }
    }

    #[test]
    fn no_target_is_ever_used_twice() {
        let mut row = Row::new(7, "a");
        let mut used = vec![0];
        for round in 0..100 {
            let target = row.target();
            assert!(!used.contains(&target));
            used.push(target);
            if round % 3 == 0 {
                row.holds(target);
            }
        }
    }

    #[test]
    fn a_database_name_cannot_leave_its_quotes() {
        assert_eq!(
            Table::within("a`; DROP TABLE b").delete(&[1, 2]),
            "DELETE FROM `a``; DROP TABLE b`.db_core_ledger WHERE client IN (1, 2)"
        );
    }
}
