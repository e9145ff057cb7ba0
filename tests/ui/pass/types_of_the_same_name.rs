//! Types of the user's that are called as ours are.

use db_core::{Db, Scope, retry_on_disconnect, transactional};

mod bank {
    #[derive(Clone)]
    pub struct Transaction {
        pub id: u64,
    }

    pub struct Line<'a>(pub &'a str);
}

mod login {
    #[derive(Clone)]
    pub struct Attempt {
        pub id: u64,
    }

    pub struct Db;

    pub struct Scope;
}

#[transactional]
fn after(tx: &mut db_core::Transaction<'_>, entry: &mut bank::Transaction, line: &mut bank::Line<'_>) -> db_core::Result<()> {
    entry.id = 1;
    tx.exec_drop("DO ?", (line.0,))
}

#[transactional]
fn before(entry: &mut bank::Transaction, tx: &mut db_core::Transaction<'_>) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (entry.id,))
}

#[transactional]
fn attempt_of_another_module(tx: &mut db_core::Transaction<'_>, attempt: login::Attempt) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (attempt.id,))
}

#[retry_on_disconnect]
#[transactional]
fn both_attempts(tx: &mut db_core::Transaction<'_>, login: login::Attempt, attempt: db_core::Attempt) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (login.id, attempt.number()))
}

#[retry_on_disconnect]
#[transactional]
fn only_the_others(tx: &mut db_core::Transaction<'_>, login: login::Attempt) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (login.id,))
}

mod imported {
    use db_core::transactional;

    use super::bank::Transaction;
    use super::login::Attempt;

    #[transactional]
    pub fn both(entry: &mut Transaction, tx: &mut db_core::Transaction<'_>) -> db_core::Result<()> {
        tx.exec_drop("DO ?", (entry.id,))
    }

    #[transactional]
    pub fn both_elided(entry: &mut Transaction, tx: &mut db_core::Transaction) -> db_core::Result<()> {
        tx.exec_drop("DO ?", (entry.id,))
    }

    #[transactional]
    pub fn attempt(tx: &mut db_core::Transaction<'_>, attempt: Attempt) -> db_core::Result<()> {
        tx.exec_drop("DO ?", (attempt.id,))
    }
}

#[retry_on_disconnect]
fn database(db: &db_core::Db, _other: &login::Db, _scope: &login::Scope) -> db_core::Result<()> {
    db.ping()
}

#[retry_on_disconnect]
fn scope(scope: &Scope<'_>, _db: &login::Db) -> db_core::Result<()> {
    before(&mut bank::Transaction { id: 1 }, scope)
}

fn calls(db: &Db) -> db_core::Result<()> {
    let mut entry = bank::Transaction { id: 1 };
    after(db, &mut entry, &mut bank::Line("line"))?;
    before(&mut entry, db)?;
    attempt_of_another_module(db, login::Attempt { id: 1 })?;
    both_attempts(db, login::Attempt { id: 1 })?;
    only_the_others(db, login::Attempt { id: 1 })?;
    imported::both(&mut entry, db)?;
    imported::both_elided(&mut entry, db)?;
    imported::attempt(db, login::Attempt { id: 1 })?;
    database(db, &login::Db, &login::Scope)?;
    scope(db, &login::Db)
}

fn main() {
    let _ = calls;
}
