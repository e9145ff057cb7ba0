//! The row of an idempotency key: its statements, and what it says of an attempt to commit.
//!
//! The request of COMMIT inserts the row. Where one is there already, the request stops in front of COMMIT, with 1062, or with 1690 where it
//! would have replaced a fence. A *fence* is a row without a function and a result: it keeps the late request of an attempt whose reply was
//! lost from being committed. A later attempt replaces it, by a compare-and-swap of the number of the attempt.

use std::fmt::Write;

use crate::session::ledger::keyed::Entry;
use crate::session::quoted;

/// The largest number there is, and one more.
const OVERFLOW: &str = "attempt + 18446744073709551615 + 1";

/// The most rows that one statement of the sweep deletes.
pub(in crate::session) const BATCH: u64 = 1000;

/// Sees the latest committed row, whatever the transaction's snapshot. Several readers do not exclude each other: two that had to wait for a third
/// one's COMMIT would otherwise deadlock.
pub(super) const SHARED: &str = " LOCK IN SHARE MODE";
pub(super) const EXCLUSIVE: &str = " FOR UPDATE";

/// The keys' table, in the database of the URL.
#[derive(Debug, Clone)]
pub(in crate::session) struct Table(String);

/// A row as it was read: attempt, function, whether the fingerprints agree, result.
pub(in crate::session) type Row = (u64, Option<String>, bool, Option<String>);

/// What decides of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    pub(super) attempt: u64,
    /// It is no fence.
    pub(super) done: bool,
}

/// What the row says of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Committed,
    /// Another attempt was committed: this one never will be.
    Taken,
    /// A fence that the attempt's request does not replace: it never will be committed.
    Fenced,
    /// Not committed so far.
    Open,
}

/// All decisions are made here, and the model runs this code. `replaces`: the fences that the attempt's request replaces.
pub(super) fn judge(found: Option<Seen>, attempt: u64, replaces: &[u64]) -> Judgement {
    match found {
        Some(row) if row.done && row.attempt == attempt => Judgement::Committed,
        Some(row) if row.done => Judgement::Taken,
        Some(row) if !replaces.contains(&row.attempt) => Judgement::Fenced,
        Some(_) | None => Judgement::Open,
    }
}

pub(super) fn seen(row: &Row) -> Seen {
    Seen { attempt: row.0, done: row.1.is_some() }
}

impl Table {
    pub fn within(database: &str) -> Self {
        Self(format!("{}.db_core_idempotency", quoted(database)))
    }

    pub fn create(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (`key` VARBINARY(255) NOT NULL PRIMARY KEY, attempt BIGINT UNSIGNED NOT NULL, \
             `function` VARCHAR(1000) CHARACTER SET utf8mb4, fingerprint BINARY(32), result LONGTEXT CHARACTER SET utf8mb4, \
             `at` TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, KEY (`at`)) ENGINE=InnoDB",
            self.0
        )
    }

    /// Stores these entries, or raises an error.
    pub fn store(&self, entries: &[Entry], attempt: u64, replaces: &[u64], sql: &mut String) {
        let mut separator = "";
        sql.push_str("INSERT INTO ");
        sql.push_str(&self.0);
        sql.push_str(" (`key`, attempt, `function`, fingerprint, result) VALUES ");
        for Entry { call, result } in entries {
            sql.push_str(separator);
            separator = ", ";
            sql.push('(');
            hex(call.key.bytes(), sql);
            // Writing to a String does not fail.
            let _ = write!(sql, ", {attempt}, _utf8mb4 ");
            hex(call.function().as_bytes(), sql);
            sql.push_str(", ");
            fingerprint(call.key.fingerprint_bytes(), sql);
            sql.push_str(", _utf8mb4 ");
            hex(result.as_bytes(), sql);
            sql.push(')');
        }
        if !replaces.is_empty() {
            swap(replaces, sql);
            sql.push_str(", `function` = VALUES(`function`), fingerprint = VALUES(fingerprint), result = VALUES(result)");
        }
    }

    /// Puts a fence up in front of the late request of an attempt that replaces these fences.
    pub fn fence(&self, key: &[u8], fence: u64, replaces: &[u64]) -> String {
        let mut sql = format!("INSERT INTO {} (`key`, attempt) VALUES (", self.0);
        hex(key, &mut sql);
        let _ = write!(sql, ", {fence})");
        if !replaces.is_empty() {
            swap(replaces, &mut sql);
        }
        sql
    }

    pub fn find(&self, key: &[u8], arguments: Option<&[u8]>, lock: &str) -> String {
        let mut sql = String::from("SELECT attempt, `function`, COALESCE(fingerprint = ");
        fingerprint(arguments, &mut sql);
        let _ = write!(sql, ", 1), result FROM {} WHERE `key` = ", self.0);
        hex(key, &mut sql);
        sql.push_str(lock);
        sql
    }

    /// Deletes some rows that are older.
    pub fn sweep(&self, seconds: u64) -> String {
        format!("DELETE FROM {} WHERE `at` < NOW() - INTERVAL {seconds} SECOND ORDER BY `at` LIMIT {BATCH}", self.0)
    }
}

/// Where the row holds another attempt than one of these fences, the sum overflows and raises 1690.
fn swap(replaces: &[u64], sql: &mut String) {
    sql.push_str(" ON DUPLICATE KEY UPDATE attempt = IF(attempt IN (");
    for (at, fence) in replaces.iter().enumerate() {
        let _ = write!(sql, "{}{fence}", if at == 0 { "" } else { ", " });
    }
    let _ = write!(sql, "), VALUES(attempt), {OVERFLOW})");
}

fn fingerprint(arguments: Option<&[u8]>, sql: &mut String) {
    match arguments {
        Some(arguments) => {
            sql.push_str("UNHEX(SHA2(");
            hex(arguments, sql);
            sql.push_str(", 256))");
        }
        None => sql.push_str("NULL"),
    }
}

/// A literal that no `sql_mode` and no character set reads differently.
fn hex(bytes: &[u8], sql: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    sql.reserve(bytes.len() * 2 + 3);
    sql.push_str("X'");
    for byte in bytes {
        sql.push(char::from(DIGITS[usize::from(byte >> 4)]));
        sql.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    sql.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IdempotencyKey;
    use crate::session::ledger::keyed::Call;

    #[test]
    fn the_row_says_what_became_of_an_attempt() {
        let fence = |attempt| Some(Seen { attempt, done: false });
        let done = |attempt| Some(Seen { attempt, done: true });
        for (found, replaces, expected) in [
            (done(7), [].as_slice(), Judgement::Committed),
            (done(8), &[], Judgement::Taken),
            (done(8), &[8], Judgement::Taken),
            (fence(8), &[], Judgement::Fenced),
            (fence(9), &[8], Judgement::Fenced),
            (fence(8), &[8], Judgement::Open),
            (None, &[], Judgement::Open),
            (None, &[8], Judgement::Open),
        ] {
            assert_eq!(judge(found, 7, replaces), expected, "{found:?} {replaces:?}");
        }
    }

    #[test]
    fn no_value_can_leave_its_quotes() {
        let table = Table::within("a`b");
        let call = Call::new(IdempotencyKey::new("'; --").fingerprint("\\'"), "f", false);
        let mut sql = String::new();
        table.store(&[Entry { call: call.clone(), result: "\"'\"".into() }], 7, &[8, 9], &mut sql);
        assert_eq!(
            sql,
            "INSERT INTO `a``b`.db_core_idempotency (`key`, attempt, `function`, fingerprint, result) \
             VALUES (X'273B202D2D', 7, _utf8mb4 X'66', UNHEX(SHA2(X'5C27', 256)), _utf8mb4 X'222722') \
             ON DUPLICATE KEY UPDATE attempt = IF(attempt IN (8, 9), VALUES(attempt), attempt + 18446744073709551615 + 1), \
             `function` = VALUES(`function`), fingerprint = VALUES(fingerprint), result = VALUES(result)"
        );
        assert_eq!(
            table.find(call.key.bytes(), None, SHARED),
            "SELECT attempt, `function`, COALESCE(fingerprint = NULL, 1), result FROM `a``b`.db_core_idempotency \
             WHERE `key` = X'273B202D2D' LOCK IN SHARE MODE"
        );
    }
}
