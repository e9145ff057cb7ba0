//! The bank: six ways to transfer money, each of which shows whether it was done twice, not at all, or in part.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use db_core::mysql::Conn;
use db_core::mysql::prelude::Queryable;
use db_core::prelude::*;
use fastrand::Rng;

use crate::Run;
use crate::records::Record;
use crate::tally::add;

/// No journal row is unique: what was done twice is seen twice.
const SCHEMA: [&str; 3] = [
    "DROP TABLE IF EXISTS db_core_bank_account, db_core_bank_journal",
    "CREATE TABLE db_core_bank_account (id INT UNSIGNED PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE db_core_bank_journal (entry BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, op BIGINT UNSIGNED NOT NULL, \
     attempt INT UNSIGNED NOT NULL, from_account INT UNSIGNED NOT NULL, to_account INT UNSIGNED NOT NULL, amount BIGINT NOT NULL, \
     undone BOOLEAN NOT NULL) ENGINE=InnoDB",
];

const ADD: &str = "UPDATE db_core_bank_account SET balance = balance + ? WHERE id = ?";
const READ: &str = "SELECT balance FROM db_core_bank_account WHERE id = ? FOR UPDATE";
const WRITE: &str = "UPDATE db_core_bank_account SET balance = ? WHERE id = ?";

#[derive(Debug, thiserror::Error)]
pub(crate) enum BankError {
    #[error("there is no account {0}")]
    NoSuchAccount(u32),
    #[error("insufficient funds")]
    InsufficientFunds,
    #[error("refused on purpose")]
    Refused,
    #[error(transparent)]
    Database(#[from] db_core::Error),
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Kind {
    /// As the demo shows it: a credit and a debit, which is refused if the balance is too low.
    #[default]
    Checked,
    Plain,
    /// Without retry.
    Once,
    /// Refused by the bank itself at its second attempt.
    RefusesSecond,
    /// The client computes the new balances. `half_read`: after a result that was dropped half read.
    ReadModifyWrite {
        half_read: bool,
    },
    /// Of nested transactions, one of which is rolled back.
    Nested {
        undone_first: bool,
    },
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) amount: i64,
}

impl Order {
    pub(crate) fn random(kind: Kind, accounts: u32, most: i64, rng: &mut Rng) -> Self {
        let from = rng.u32(0..accounts);
        let to = (from + rng.u32(1..accounts)) % accounts;
        Self { kind, from, to, amount: rng.i64(1..=most) }
    }
}

/// One call of one of the functions below.
pub(crate) struct Call<'r> {
    op: usize,
    order: Order,
    run: &'r Run,
    session: &'r AtomicU32,
    attempts: Cell<u32>,
    attempt_began: Cell<Instant>,
}

impl<'r> Call<'r> {
    pub(crate) fn new(op: usize, order: Order, run: &'r Run, session: &'r AtomicU32) -> Self {
        Self { op, order, run, session, attempts: Cell::new(0), attempt_began: Cell::new(Instant::now()) }
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.get()
    }

    pub(crate) fn attempt_began(&self) -> Instant {
        self.attempt_began.get()
    }

    /// Returns the number of this execution of the body.
    fn begin(&self, attempt: Option<Attempt>) -> u32 {
        let number = self.attempts.get() + 1;
        self.attempts.set(number);
        self.attempt_began.set(Instant::now());
        if number > 1 {
            add(&self.run.tally.retries);
        }
        if attempt.is_some_and(|attempt| attempt.number() != number) {
            self.run.records.change(self.op, |record| record.misnumbered = true);
        }
        number
    }

    fn add_hooks(&self, tx: &mut Transaction<'_>, attempt: u32) {
        let change = self.later(move |record| record.after_commit.ran(attempt));
        tx.after_commit(change);
        let change = self.later(move |record| record.after_rollback.ran(attempt));
        tx.after_rollback(change);
    }

    fn later(&self, change: impl FnOnce(&mut Record) + 'static) -> impl FnOnce() + 'static {
        let (op, records) = (self.op, Arc::clone(&self.run.records));
        move || records.change(op, change)
    }
}

pub(crate) fn perform(scope: &Scope<'_>, call: &Call<'_>) -> Result<u32, BankError> {
    match call.order.kind {
        Kind::Checked => checked(scope, call),
        Kind::Plain => plain(scope, call),
        Kind::Once => once(scope, call),
        Kind::RefusesSecond => refuses_second(scope, call),
        Kind::ReadModifyWrite { half_read } => read_modify_write(scope, call, half_read),
        Kind::Nested { undone_first } => nested(scope, call, undone_first),
    }
}

#[retry_on_disconnect]
#[transactional]
fn checked(tx: &mut Transaction<'_>, attempt: Attempt, call: &Call<'_>) -> Result<u32, BankError> {
    let number = call.begin(Some(attempt));
    let Order { from, to, amount, .. } = call.order;
    enter(tx, call, number, false)?;
    call.add_hooks(tx, number);
    // The debit comes last: where it is refused, a rollback has something to undo.
    change(tx, to, amount)?;
    debit(tx, from, amount)?;
    Ok(number)
}

#[transactional]
fn change(tx: &mut Transaction<'_>, account: u32, amount: i64) -> Result<(), BankError> {
    tx.exec_drop(ADD, (amount, account))?;
    if tx.affected_rows() == 1 { Ok(()) } else { Err(BankError::NoSuchAccount(account)) }
}

#[transactional]
fn debit(tx: &mut Transaction<'_>, account: u32, amount: i64) -> Result<(), BankError> {
    if balance(tx, account)? < amount { Err(BankError::InsufficientFunds) } else { Ok(tx.exec_drop(ADD, (-amount, account))?) }
}

#[retry_on_disconnect]
#[transactional]
fn plain(tx: &mut Transaction<'_>, attempt: Attempt, call: &Call<'_>) -> Result<u32, BankError> {
    let number = call.begin(Some(attempt));
    call.add_hooks(tx, number);
    transfer(tx, call, number)
}

#[transactional]
fn once(tx: &mut Transaction<'_>, call: &Call<'_>) -> Result<u32, BankError> {
    let number = call.begin(None);
    call.add_hooks(tx, number);
    transfer(tx, call, number)
}

#[retry_on_disconnect]
#[transactional]
fn refuses_second(tx: &mut Transaction<'_>, attempt: Attempt, call: &Call<'_>) -> Result<u32, BankError> {
    let number = call.begin(Some(attempt));
    call.add_hooks(tx, number);
    let number = transfer(tx, call, number)?;
    if attempt.number() == 2 { Err(BankError::Refused) } else { Ok(number) }
}

#[retry_on_disconnect]
#[transactional]
fn read_modify_write(tx: &mut Transaction<'_>, attempt: Attempt, call: &Call<'_>, half_read: bool) -> Result<u32, BankError> {
    let number = call.begin(Some(attempt));
    let Order { from, to, amount, .. } = call.order;
    enter(tx, call, number, false)?;
    if half_read {
        let both = "SELECT id, balance FROM db_core_bank_account WHERE id IN (?, ?) FOR UPDATE";
        if call.op.is_multiple_of(2) {
            // The driver's own result, which hides an error in its rest.
            let mut rows = Queryable::exec_iter(tx, both, (from, to)).map_err(db_core::Error::from)?;
            rows.next().transpose().map_err(db_core::Error::from)?;
        } else {
            let mut rows = tx.exec_iter(both, (from, to))?;
            rows.next().transpose()?;
        }
    }
    let from_balance = balance(tx, from)?;
    let to_balance = balance(tx, to)?;
    tx.exec_drop(WRITE, (from_balance - amount, from))?;
    tx.exec_drop(WRITE, (to_balance + amount, to))?;
    call.add_hooks(tx, number);
    Ok(number)
}

#[retry_on_disconnect]
#[transactional]
fn nested(tx: &mut Transaction<'_>, attempt: Attempt, call: &Call<'_>, undone_first: bool) -> Result<u32, BankError> {
    let number = call.begin(Some(attempt));
    let Order { from, to, amount, .. } = call.order;
    if undone_first {
        ignore_refusal(undone(tx, call, number))?;
    }
    change(tx, from, -amount)?;
    joined_change(tx, to, amount)?;
    if !undone_first {
        ignore_refusal(undone(tx, call, number))?;
    }
    kept(tx, call, number)
}

#[transactional(join)]
fn joined_change(tx: &mut Transaction<'_>, account: u32, amount: i64) -> Result<(), BankError> {
    Ok(tx.exec_drop(ADD, (amount, account))?)
}

/// Inside a nested transaction: its hooks belong to the outer one.
#[transactional]
fn kept(tx: &mut Transaction<'_>, call: &Call<'_>, number: u32) -> Result<u32, BankError> {
    enter(tx, call, number, false)?;
    call.add_hooks(tx, number);
    Ok(number)
}

/// Writes what must never be seen, and fails.
#[transactional]
fn undone(tx: &mut Transaction<'_>, call: &Call<'_>, number: u32) -> Result<(), BankError> {
    let Order { from, to, amount, .. } = call.order;
    enter(tx, call, number, true)?;
    change(tx, to, amount * 7)?;
    change(tx, from, -amount * 5)?;
    let change = call.later(|record| record.undone_hooks += 1);
    tx.after_commit(change);
    Err(BankError::Refused)
}

fn ignore_refusal(outcome: Result<(), BankError>) -> Result<(), BankError> {
    match outcome {
        Err(BankError::Refused) => Ok(()),
        other => other,
    }
}

/// Locks in the order of the transfer, so that two of them can be in a deadlock.
fn transfer(tx: &mut Transaction<'_>, call: &Call<'_>, number: u32) -> Result<u32, BankError> {
    let Order { from, to, amount, .. } = call.order;
    enter(tx, call, number, false)?;
    tx.exec_drop(ADD, (-amount, from))?;
    tx.exec_drop(ADD, (amount, to))?;
    Ok(number)
}

fn balance(tx: &mut Transaction<'_>, account: u32) -> Result<i64, BankError> {
    tx.exec_first(READ, (account,))?.ok_or(BankError::NoSuchAccount(account))
}

fn enter(tx: &mut Transaction<'_>, call: &Call<'_>, number: u32, undone: bool) -> Result<(), BankError> {
    let Order { from, to, amount, .. } = call.order;
    let entry = "INSERT INTO db_core_bank_journal (op, attempt, from_account, to_account, amount, undone) VALUES (?, ?, ?, ?, ?, ?)";
    tx.exec_drop(entry, (call.op, number, from, to, amount, undone))?;
    // Only now: the first statement may have found the connection dead, and opened another.
    call.session.store(tx.connection_id().unwrap_or_default(), Ordering::Relaxed);
    Ok(())
}

/// The accounts, with the same balance each.
pub(crate) fn create_tables(admin: &mut Conn, accounts: u32, balance: i64) -> db_core::mysql::Result<()> {
    SCHEMA.iter().try_for_each(|statement| admin.query_drop(statement))?;
    let rows: Vec<String> = (0..accounts).map(|id| format!("({id}, {balance})")).collect();
    admin.query_drop(format!("INSERT INTO db_core_bank_account VALUES {}", rows.join(", ")))
}

pub(crate) fn drop_tables(admin: &mut Conn) -> db_core::mysql::Result<()> {
    admin.query_drop("DROP TABLE db_core_bank_account, db_core_bank_journal")
}
