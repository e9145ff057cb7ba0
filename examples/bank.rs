//! Money moves from one account to another, or nothing happens at all.
//! `cargo run --package examples --example bank [URL]`; without a URL, on a throwaway server.

use db_core::prelude::*;

#[derive(Debug, thiserror::Error)]
enum BankError {
    #[error("there is no account {0}")]
    NoSuchAccount(u64),
    #[error("insufficient funds")]
    InsufficientFunds,
    #[error(transparent)]
    Database(#[from] db_core::Error),
}

#[retry_on_disconnect]
#[transactional]
fn transfer(tx: &mut Transaction<'_>, from: u64, to: u64, cents: i64) -> Result<(), BankError> {
    credit(tx, to, cents)?; // if the debit fails, this is undone
    debit(tx, from, cents)?;
    tx.after_commit(move || println!("moved {cents} cents from account {from} to account {to}"));
    Ok(())
}

#[transactional]
fn debit(tx: &mut Transaction<'_>, id: u64, cents: i64) -> Result<(), BankError> {
    let balance: Option<i64> = tx.exec_first("SELECT balance FROM bank_example WHERE id = ? FOR UPDATE", (id,))?;
    if balance.ok_or(BankError::NoSuchAccount(id))? < cents {
        return Err(BankError::InsufficientFunds);
    }
    Ok(tx.exec_drop("UPDATE bank_example SET balance = balance - ? WHERE id = ?", (cents, id))?)
}

#[transactional]
fn credit(tx: &mut Transaction<'_>, id: u64, cents: i64) -> Result<(), BankError> {
    tx.exec_drop("UPDATE bank_example SET balance = balance + ? WHERE id = ?", (cents, id))?;
    if tx.affected_rows() == 1 { Ok(()) } else { Err(BankError::NoSuchAccount(id)) }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1);
    let server = if url.is_none() { Some(db_testkit::Server::start()?) } else { None };
    let url = url.or_else(|| server.as_ref().map(db_testkit::Server::url)).unwrap_or_default();
    let mut admin = db_core::mysql::Conn::new(url.as_str())?;
    admin.query_drop("DROP TABLE IF EXISTS bank_example")?;
    admin.query_drop("CREATE TABLE bank_example (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB")?;
    admin.query_drop("INSERT INTO bank_example VALUES (1, 1000), (2, 1000)")?;
    let db = Db::connect(&url)?;
    transfer(&db, 1, 2, 300)?;
    if let Err(error) = transfer(&db, 1, 2, 5_000) {
        println!("5000 cents more: {error}");
    }
    let balances = || db.transaction(|tx| tx.query::<(u64, i64), _>("SELECT id, balance FROM bank_example"));
    println!("the accounts hold {:?}", balances()?);
    let id = db.transaction(|tx| Ok::<_, db_core::Error>(tx.connection_id()))?.unwrap_or_default();
    admin.query_drop(format!("KILL {id}"))?;
    println!("the server has closed our connection {id}");
    transfer(&db, 2, 1, 100)?; // does not notice
    let at_the_end = balances()?;
    println!("the accounts hold {at_the_end:?}");
    admin.query_drop("DROP TABLE bank_example")?;
    if at_the_end == [(1, 800), (2, 1200)] { Ok(()) } else { Err("money was lost or made".into()) }
}
