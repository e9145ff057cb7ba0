//! The bank: five ways to move money, each of which shows if it was done twice, or not at all, or by halves.

use std::cell::Cell;
use std::sync::Arc;

use db_core::mysql::Conn;
use db_core::prelude::*;

use crate::book::Book;

/// Few, so that transfers are in each other's way.
pub(crate) const ACCOUNTS: u32 = 48;
pub(crate) const OPENING_BALANCE: i64 = 1_000_000;
pub(crate) const MAX_ATTEMPTS: u32 = 5;

/// No journal row is unique: what was done twice shall be seen twice.
const SCHEMA: [&str; 2] = [
    "CREATE TABLE torture_account (id INT UNSIGNED PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE torture_journal (entry BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, op BIGINT UNSIGNED NOT NULL, made BIGINT UNSIGNED NOT NULL, \
     from_account INT UNSIGNED NOT NULL, to_account INT UNSIGNED NOT NULL, amount BIGINT NOT NULL, undone BOOLEAN NOT NULL) ENGINE=InnoDB",
];

const ADD: &str = "UPDATE torture_account SET balance = balance + ? WHERE id = ?";
const READ: &str = "SELECT balance FROM torture_account WHERE id = ? FOR UPDATE";
const WRITE: &str = "UPDATE torture_account SET balance = ? WHERE id = ?";

#[derive(Debug, thiserror::Error)]
pub(crate) enum BankError {
    #[error("there is no account {0}")]
    NoSuchAccount(u32),
    #[error("refused on purpose")]
    Refused,
    #[error(transparent)]
    Database(#[from] db_core::Error),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Plain,
    /// Without retry.
    Once,
    /// Refused by the bank itself at its second attempt.
    RefusesSecond,
    /// The new balances are computed here. `glance`: after a result that was dropped half read.
    ReadModifyWrite {
        glance: bool,
    },
    /// Made of parts, one of which is undone.
    Nested {
        undone_first: bool,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) amount: i64,
}

/// One call of one of the functions below.
pub(crate) struct Call {
    pub(crate) op: usize,
    pub(crate) order: Order,
    pub(crate) book: Arc<Book>,
    runs: Cell<u32>,
}

impl Call {
    pub(crate) fn new(op: usize, order: Order, book: &Arc<Book>) -> Self {
        Self { op, order, book: Arc::clone(book), runs: Cell::new(0) }
    }

    pub(crate) fn runs(&self) -> u32 {
        self.runs.get()
    }

    /// Gives the value that names this run of the body.
    fn run_begins(&self, attempt: Option<Attempt>) -> u64 {
        self.runs.set(self.runs.get() + 1);
        if attempt.is_some_and(|attempt| attempt.number() != self.runs.get()) {
            self.book.change(self.op, |record| record.misnumbered = true);
        }
        self.op as u64 * 100 + u64::from(self.runs.get())
    }

    fn add_hooks(&self, tx: &mut Transaction<'_>, made: u64) {
        let (op, book) = (self.op, Arc::clone(&self.book));
        tx.after_commit(move || book.change(op, |record| record.commit_hooks.push(made)));
        let book = Arc::clone(&self.book);
        tx.after_rollback(move || book.change(op, |record| record.rollback_hooks.push(made)));
    }
}

pub(crate) fn make(db: &Db, call: &Call) -> Result<u64, BankError> {
    match call.order.kind {
        Kind::Plain => plain(db, call),
        Kind::Once => once(db, call),
        Kind::RefusesSecond => refuses_second(db, call),
        Kind::ReadModifyWrite { glance } => read_modify_write(db, call, glance),
        Kind::Nested { undone_first } => nested(db, call, undone_first),
    }
}

#[retry_on_disconnect]
#[transactional]
fn plain(tx: &mut Transaction<'_>, attempt: Attempt, call: &Call) -> Result<u64, BankError> {
    let made = call.run_begins(Some(attempt));
    call.add_hooks(tx, made);
    transfer(tx, call, made)
}

#[transactional]
fn once(tx: &mut Transaction<'_>, call: &Call) -> Result<u64, BankError> {
    let made = call.run_begins(None);
    call.add_hooks(tx, made);
    transfer(tx, call, made)
}

#[retry_on_disconnect]
#[transactional]
fn refuses_second(tx: &mut Transaction<'_>, attempt: Attempt, call: &Call) -> Result<u64, BankError> {
    let made = call.run_begins(Some(attempt));
    call.add_hooks(tx, made);
    let made = transfer(tx, call, made)?;
    if attempt.number() == 2 { Err(BankError::Refused) } else { Ok(made) }
}

#[retry_on_disconnect]
#[transactional]
fn read_modify_write(tx: &mut Transaction<'_>, attempt: Attempt, call: &Call, glance: bool) -> Result<u64, BankError> {
    let made = call.run_begins(Some(attempt));
    let Order { from, to, amount, .. } = call.order;
    if glance {
        let both = "SELECT id, balance FROM torture_account WHERE id IN (?, ?) FOR UPDATE";
        let mut rows = tx.exec_iter(both, (from, to))?;
        rows.next().transpose()?;
    }
    let from_balance = balance(tx, from)?;
    let to_balance = balance(tx, to)?;
    tx.exec_drop(WRITE, (from_balance - amount, from))?;
    tx.exec_drop(WRITE, (to_balance + amount, to))?;
    enter(tx, call, made, false)?;
    call.add_hooks(tx, made);
    Ok(made)
}

#[retry_on_disconnect]
#[transactional]
fn nested(tx: &mut Transaction<'_>, attempt: Attempt, call: &Call, undone_first: bool) -> Result<u64, BankError> {
    let made = call.run_begins(Some(attempt));
    let Order { from, to, amount, .. } = call.order;
    if undone_first {
        ignore_refusal(undone(tx, call, made))?;
    }
    part(tx, from, -amount)?;
    joined_part(tx, to, amount)?;
    if !undone_first {
        ignore_refusal(undone(tx, call, made))?;
    }
    kept(tx, call, made)
}

#[transactional]
fn part(tx: &mut Transaction<'_>, account: u32, amount: i64) -> Result<(), BankError> {
    Ok(tx.exec_drop(ADD, (amount, account))?)
}

#[transactional(join)]
fn joined_part(tx: &mut Transaction<'_>, account: u32, amount: i64) -> Result<(), BankError> {
    Ok(tx.exec_drop(ADD, (amount, account))?)
}

/// A part of a part: its hooks belong to the whole.
#[transactional]
fn kept(tx: &mut Transaction<'_>, call: &Call, made: u64) -> Result<u64, BankError> {
    enter(tx, call, made, false)?;
    call.add_hooks(tx, made);
    Ok(made)
}

/// Writes what must never be seen, and fails.
#[transactional]
fn undone(tx: &mut Transaction<'_>, call: &Call, made: u64) -> Result<(), BankError> {
    let Order { from, to, amount, .. } = call.order;
    enter(tx, call, made, true)?;
    part(tx, to, amount * 7)?;
    part(tx, from, -amount * 5)?;
    let (op, book) = (call.op, Arc::clone(&call.book));
    tx.after_commit(move || book.change(op, |record| record.undone_hooks += 1));
    Err(BankError::Refused)
}

fn ignore_refusal(outcome: Result<(), BankError>) -> Result<(), BankError> {
    match outcome {
        Err(BankError::Refused) => Ok(()),
        other => other,
    }
}

/// Locks in the order of the transfer, so that two of them can be in a deadlock.
fn transfer(tx: &mut Transaction<'_>, call: &Call, made: u64) -> Result<u64, BankError> {
    let Order { from, to, amount, .. } = call.order;
    enter(tx, call, made, false)?;
    tx.exec_drop(ADD, (-amount, from))?;
    tx.exec_drop(ADD, (amount, to))?;
    Ok(made)
}

fn balance(tx: &mut Transaction<'_>, account: u32) -> Result<i64, BankError> {
    tx.exec_first(READ, (account,))?.ok_or(BankError::NoSuchAccount(account))
}

fn enter(tx: &mut Transaction<'_>, call: &Call, made: u64, undone: bool) -> Result<(), BankError> {
    let Order { from, to, amount, .. } = call.order;
    let entry = "INSERT INTO torture_journal (op, made, from_account, to_account, amount, undone) VALUES (?, ?, ?, ?, ?, ?)";
    Ok(tx.exec_drop(entry, (call.op, made, from, to, amount, undone))?)
}

pub(crate) fn found(admin: &mut Conn) -> db_core::mysql::Result<()> {
    SCHEMA.iter().try_for_each(|statement| admin.query_drop(statement))?;
    let accounts: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {OPENING_BALANCE})")).collect();
    admin.query_drop(format!("INSERT INTO torture_account VALUES {}", accounts.join(", ")))
}
