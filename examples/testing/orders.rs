//! What is to be tested: orders, and the stock that they are taken from.

use db_core::prelude::*;

pub(crate) const SCHEMA: [&str; 2] = [
    "CREATE TABLE shop_order (number BIGINT AUTO_INCREMENT PRIMARY KEY, item VARCHAR(50) NOT NULL, pieces INT UNSIGNED NOT NULL) \
     ENGINE=InnoDB",
    "CREATE TABLE shop_stock (item VARCHAR(50) PRIMARY KEY, pieces INT UNSIGNED NOT NULL) ENGINE=InnoDB",
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("only {0} are left")]
    OutOfStock(u32),
    #[error(transparent)]
    Database(#[from] db_core::Error),
}

/// Returns the order's number.
#[retry_on_disconnect]
#[transactional]
pub(crate) fn place(tx: &mut Transaction<'_>, item: &str, pieces: u32) -> Result<u64, OrderError> {
    // Should the stock not suffice, this is undone.
    tx.exec_drop("INSERT INTO shop_order (item, pieces) VALUES (?, ?)", (item, pieces))?;
    let number = tx.last_insert_id().unwrap_or_default();
    take(tx, item, pieces)?;
    Ok(number)
}

#[transactional]
fn take(tx: &mut Transaction<'_>, item: &str, pieces: u32) -> Result<(), OrderError> {
    tx.exec_drop("UPDATE shop_stock SET pieces = pieces - ? WHERE item = ? AND pieces >= ?", (pieces, item, pieces))?;
    if tx.affected_rows() == 0 { Err(OrderError::OutOfStock(in_stock(tx, item)?)) } else { Ok(()) }
}

#[retry_on_disconnect]
#[transactional]
pub(crate) fn deliver(tx: &mut Transaction<'_>, item: &str, pieces: u32) -> db_core::Result<()> {
    let arrived = "INSERT INTO shop_stock (item, pieces) VALUES (?, ?) ON DUPLICATE KEY UPDATE pieces = pieces + ?";
    tx.exec_drop(arrived, (item, pieces, pieces))
}

#[retry_on_disconnect]
#[transactional]
pub(crate) fn in_stock(tx: &mut Transaction<'_>, item: &str) -> db_core::Result<u32> {
    Ok(tx.exec_first("SELECT pieces FROM shop_stock WHERE item = ?", (item,))?.unwrap_or_default())
}
