//! Which transactions are measured, and on which rows?

/// Rows of one session: nobody waits for another's row lock.
pub(crate) const ROWS_PER_SESSION: u32 = 16;
/// More than any part opens.
pub(crate) const SESSIONS: u32 = 128;

pub(crate) const TABLE: &str = "CREATE TABLE account (id INT NOT NULL PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB";

/// The same text for everyone who takes SQL. Diesel writes its own, with backticks.
pub(crate) const UPDATE: &str = "UPDATE account SET balance = balance + ? WHERE id = ?";
pub(crate) const SELECT: &str = "SELECT balance FROM account WHERE id = ?";

/// How deep [`Work::Nested`] goes: a transaction, a part of it, and a part of that.
pub(crate) const DEPTH: u32 = 3;

/// What happens in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// One UPDATE.
    Update,
    /// SELECT, UPDATE, UPDATE.
    Transfer,
    /// Ten UPDATEs of ten rows.
    Ten,
    /// One SELECT.
    Read,
    /// Begun and committed, nothing executed.
    Empty,
    /// An UPDATE in each of three transactions, one inside the other.
    Nested,
    /// UPDATE, something from outside, UPDATE. For faults; not a part of [`Work::ALL`].
    Interrupted,
}

impl Work {
    pub(crate) const ALL: [Work; 6] = [Work::Update, Work::Transfer, Work::Ten, Work::Read, Work::Empty, Work::Nested];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Work::Update => "1 UPDATE",
            Work::Transfer => "2 UPDATE + 1 SELECT",
            Work::Ten => "10 UPDATE",
            Work::Read => "1 SELECT",
            Work::Empty => "empty",
            Work::Nested => "nested 3 deep",
            Work::Interrupted => "interrupted",
        }
    }

    /// One word, for command lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Update => "update",
            Work::Transfer => "transfer",
            Work::Ten => "ten",
            Work::Read => "read",
            Work::Empty => "empty",
            Work::Nested => "nested",
            Work::Interrupted => "interrupted",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Work> {
        Self::ALL.into_iter().find(|work| work.name() == name)
    }

    /// Statements of the user's: savepoints are not counted.
    pub(crate) fn statements(self) -> u32 {
        match self {
            Work::Update | Work::Read => 1,
            Work::Interrupted => 2,
            Work::Transfer | Work::Nested => 3,
            Work::Ten => 10,
            Work::Empty => 0,
        }
    }
}

/// The first row of a session's own.
pub(crate) fn first_row(session: usize) -> u32 {
    1 + u32::try_from(session).unwrap_or(0) % SESSIONS * ROWS_PER_SESSION
}
