//! What the service offers: accounts, and transfers between them. Annotated functions, which know nothing of HTTP.

use db_core::prelude::*;
use serde::{Deserialize, Serialize};

/// `reference` is the client's name for a transfer. It has no unique key: a transfer that was made twice shall be seen twice.
pub(crate) const SCHEMA: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS service_account (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, owner VARCHAR(50) NOT NULL, \
     cents BIGINT NOT NULL, UNIQUE KEY account_owner (owner)) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS service_transfer (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, reference VARCHAR(50) NOT NULL, \
     debtor BIGINT UNSIGNED NOT NULL, creditor BIGINT UNSIGNED NOT NULL, cents BIGINT NOT NULL, KEY (reference)) ENGINE=InnoDB",
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum BankError {
    #[error("there is no account {0}")]
    NoSuchAccount(u64),
    #[error("insufficient funds")]
    InsufficientFunds,
    #[error(transparent)]
    Database(#[from] db_core::Error),
}

#[derive(Deserialize, Serialize)]
pub(crate) struct NewAccount {
    pub(crate) owner: String,
    pub(crate) cents: i64,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Account {
    pub(crate) id: u64,
    pub(crate) owner: String,
    pub(crate) cents: i64,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Transfer {
    pub(crate) reference: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) cents: u32,
}

#[retry_on_disconnect]
#[transactional]
pub(crate) fn open_account(tx: &mut Transaction<'_>, new: &NewAccount) -> Result<Account, BankError> {
    tx.exec_drop("INSERT INTO service_account (owner, cents) VALUES (?, ?)", (&new.owner, new.cents))?;
    let id = tx.last_insert_id().unwrap_or_default();
    account(tx, id)
}

#[retry_on_disconnect]
#[transactional]
pub(crate) fn account(tx: &mut Transaction<'_>, id: u64) -> Result<Account, BankError> {
    let found = tx.exec_first("SELECT owner, cents FROM service_account WHERE id = ?", (id,))?;
    let (owner, cents) = found.ok_or(BankError::NoSuchAccount(id))?;
    Ok(Account { id, owner, cents })
}

impl Transfer {
    /// Tells this order from another one that comes with the same key.
    fn fingerprint(&self) -> String {
        let Self { reference, from, to, cents } = self;
        format!("{from} {to} {cents} {reference}")
    }
}

/// Returns the transfer's number.
#[retry_on_disconnect]
#[transactional]
pub(crate) fn transfer(tx: &mut Transaction<'_>, order: &Transfer) -> Result<u64, BankError> {
    enter(tx, order)
}

/// As `transfer`, once for each key.
#[retry_on_disconnect]
#[transactional(idempotency_key = IdempotencyKey::new(key).fingerprint(order.fingerprint()))]
pub(crate) fn transfer_once(tx: &mut Transaction<'_>, key: &[u8], order: &Transfer) -> Result<u64, BankError> {
    enter(tx, order)
}

fn enter(tx: &mut Transaction<'_>, order: &Transfer) -> Result<u64, BankError> {
    let Transfer { reference, from, to, cents } = order;
    let entry = "INSERT INTO service_transfer (reference, debtor, creditor, cents) VALUES (?, ?, ?, ?)";
    tx.exec_drop(entry, (reference, from, to, cents))?;
    let number = tx.last_insert_id().unwrap_or_default();
    credit(tx, *to, *cents)?;
    debit(tx, *from, *cents)?;
    Ok(number)
}

#[transactional]
fn credit(tx: &mut Transaction<'_>, id: u64, cents: u32) -> Result<(), BankError> {
    tx.exec_drop("UPDATE service_account SET cents = cents + ? WHERE id = ?", (cents, id))?;
    if tx.affected_rows() == 1 { Ok(()) } else { Err(BankError::NoSuchAccount(id)) }
}

#[transactional]
fn debit(tx: &mut Transaction<'_>, id: u64, cents: u32) -> Result<(), BankError> {
    let balance: Option<i64> = tx.exec_first("SELECT cents FROM service_account WHERE id = ? FOR UPDATE", (id,))?;
    if balance.ok_or(BankError::NoSuchAccount(id))? < i64::from(cents) {
        return Err(BankError::InsufficientFunds);
    }
    Ok(tx.exec_drop("UPDATE service_account SET cents = cents - ? WHERE id = ?", (cents, id))?)
}
