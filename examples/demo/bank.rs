//! The bank: two tables, and one annotated function that moves money.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use db_core::mysql::Conn;
use db_core::prelude::*;
use parking_lot::Mutex;

use crate::tally::Tally;

pub(crate) const ACCOUNTS: u32 = 1_000;
pub(crate) const OPENING_BALANCE: i64 = 1_000;

/// `id` of the journal is the transfer's number. It has no unique key: a transfer that was made twice shall be seen twice.
const SCHEMA: [&str; 4] = [
    "DROP TABLE IF EXISTS db_core_demo_account",
    "DROP TABLE IF EXISTS db_core_demo_journal",
    "CREATE TABLE db_core_demo_account (id INT UNSIGNED PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE db_core_demo_journal (entry BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, id BIGINT UNSIGNED NOT NULL, \
     from_account INT UNSIGNED NOT NULL, to_account INT UNSIGNED NOT NULL, amount BIGINT NOT NULL) ENGINE=InnoDB",
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum BankError {
    #[error("there is no account {0}")]
    NoSuchAccount(u32),
    #[error("insufficient funds")]
    InsufficientFunds,
    #[error(transparent)]
    Database(#[from] db_core::Error),
}

/// What a customer asks for.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) id: u64,
    from: u32,
    to: u32,
    amount: i64,
}

impl Order {
    pub(crate) fn random(id: u64) -> Self {
        let from = fastrand::u32(0..ACCOUNTS);
        let to = (from + fastrand::u32(1..ACCOUNTS)) % ACCOUNTS;
        Self { id, from, to, amount: fastrand::i64(1..=200) }
    }
}

/// A database and the session that it was last seen to use. Workers that share the connection share this.
pub(crate) struct Connection {
    pub(crate) db: Db,
    session: Mutex<Option<Session>>,
    tally: Arc<Tally>,
}

#[derive(Clone, Copy, PartialEq)]
struct Session {
    id: u32,
    /// A restarted server counts its connection ids from the beginning.
    server_kills: usize,
}

impl Connection {
    pub(crate) fn new(db: Db, tally: &Arc<Tally>) -> Arc<Self> {
        Arc::new(Self { db, session: Mutex::new(None), tally: Arc::clone(tally) })
    }

    pub(crate) fn session_id(&self) -> Option<u32> {
        self.session.lock().map(|session| session.id)
    }

    fn saw_session(&self, id: Option<u32>) {
        let Some(id) = id else { return };
        let session = Session { id, server_kills: self.tally.server_kills() };
        let before = self.session.lock().replace(session);
        if before.is_some_and(|before| before != session) {
            self.tally.reconnects.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Returns when the run of the body began that was committed.
#[retry_on_disconnect]
#[transactional]
pub(crate) fn transfer(tx: &mut Transaction<'_>, attempt: Attempt, connection: &Connection, order: Order) -> Result<Instant, BankError> {
    let began = Instant::now();
    if attempt.count() > 0 {
        connection.tally.retries.fetch_add(1, Ordering::Relaxed);
    }
    let Order { id, from, to, amount } = order;
    let entry = "INSERT INTO db_core_demo_journal (id, from_account, to_account, amount) VALUES (?, ?, ?, ?)";
    tx.exec_drop(entry, (id, from, to, amount))?;
    // Only now: the first statement may have found the connection dead, and opened another.
    connection.saw_session(tx.connection_id());
    // The debit comes last: where it is refused, a rollback has something to undo.
    credit(tx, to, amount)?;
    debit(tx, from, amount)?;
    Ok(began)
}

#[transactional]
fn credit(tx: &mut Transaction<'_>, account: u32, amount: i64) -> Result<(), BankError> {
    tx.exec_drop("UPDATE db_core_demo_account SET balance = balance + ? WHERE id = ?", (amount, account))?;
    if tx.affected_rows() == 1 { Ok(()) } else { Err(BankError::NoSuchAccount(account)) }
}

#[transactional]
fn debit(tx: &mut Transaction<'_>, account: u32, amount: i64) -> Result<(), BankError> {
    let balance: Option<i64> = tx.exec_first("SELECT balance FROM db_core_demo_account WHERE id = ? FOR UPDATE", (account,))?;
    if balance.ok_or(BankError::NoSuchAccount(account))? < amount {
        return Err(BankError::InsufficientFunds);
    }
    Ok(tx.exec_drop("UPDATE db_core_demo_account SET balance = balance - ? WHERE id = ?", (amount, account))?)
}

pub(crate) fn create_tables(admin: &mut Conn) -> db_core::mysql::Result<()> {
    SCHEMA.iter().try_for_each(|statement| admin.query_drop(statement))?;
    let accounts: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {OPENING_BALANCE})")).collect();
    admin.query_drop(format!("INSERT INTO db_core_demo_account VALUES {}", accounts.join(", ")))
}

pub(crate) fn drop_tables(admin: &mut Conn) -> db_core::mysql::Result<()> {
    admin.query_drop("DROP TABLE db_core_demo_account, db_core_demo_journal")
}
