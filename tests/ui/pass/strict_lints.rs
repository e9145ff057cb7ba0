//! The generated code earns no warning, whatever lints the crate has chosen.

#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub, unsafe_code)]
#![deny(unused_qualifications, unused_lifetimes, elided_lifetimes_in_paths, single_use_lifetimes)]
#![deny(trivial_casts, trivial_numeric_casts, unused_results, let_underscore_drop, redundant_lifetimes)]
#![deny(unused_import_braces, unit_bindings, variant_size_differences, explicit_outlives_requirements)]
#![forbid(keyword_idents, non_ascii_idents, rust_2018_idioms)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery, clippy::used_underscore_binding)]

use std::time::Duration;

use db_core::prelude::*;

/// The worst that can happen.
#[derive(Debug)]
pub struct Mishap(#[allow(dead_code)] db_core::Error);

impl From<db_core::Error> for Mishap {
    fn from(error: db_core::Error) -> Self {
        Self(error)
    }
}

/// Keeps names.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
    policy: RetryPolicy,
    written: u64,
}

impl Store {
    /// Keeps one.
    ///
    /// # Errors
    /// When it cannot.
    #[transactional(on = self.db, isolation = ReadCommitted)]
    pub fn keep(&self, tx: &mut Transaction<'_>, name: &str) -> Result<(), Mishap> {
        tx.exec_drop("DO ?", (name,))?;
        Ok(())
    }

    /// Keeps another.
    ///
    /// # Errors
    /// When it cannot.
    #[retry_on_disconnect(policy = self.policy, max_delay = Duration::from_secs(1))]
    #[transactional(on = self.db, read_only)]
    pub fn keep_again(&mut self, tx: &mut Transaction<'_>, attempt: Attempt, name: String, cents: i64) -> Result<u32, Mishap> {
        self.written += 1;
        tx.exec_drop("DO ?", (&name, cents))?;
        tx.after_commit(move || drop(name));
        Ok(attempt.number())
    }

    /// Gives itself away.
    ///
    /// # Errors
    /// When it cannot.
    #[retry_on_disconnect]
    #[transactional]
    pub fn consume(mut self, tx: &mut Transaction<'_>, rows: &mut Vec<u64>, mut extra: Vec<u64>) -> Result<Self, Mishap> {
        tx.query_drop("DO 1")?;
        rows.append(&mut extra);
        self.written += 1;
        Ok(self)
    }
}

/// Moves money.
///
/// # Errors
/// When there is none.
#[transactional]
pub fn transfer(tx: &mut Transaction<'_>, from: u64, to: u64, names: Vec<String>) -> Result<(), Mishap> {
    tx.exec_drop("DO ?", (from, to))?;
    drop(names);
    Ok(())
}

/// Moves money, again and again.
///
/// # Errors
/// When there is none.
#[retry_on_disconnect(max_attempts = 4)]
#[transactional]
pub fn transfer_again(_tx: &mut Transaction<'_>, _: u64, _unused: u64, (from, to): (u64, u64), name: &str) -> Result<u64, Mishap> {
    let longer = name.len() > 3;
    Ok(if longer { from } else { to })
}

/// Opens its own.
///
/// # Errors
/// When it cannot.
#[retry_on_disconnect]
pub fn batches(_: &Db, names: &[String]) -> Result<usize, Mishap> {
    Ok(names.len())
}

/// Names what it does not use.
///
/// # Errors
/// When it cannot.
#[retry_on_disconnect]
pub fn nothing(_db: &Db, _names: &[String], _count: u64) -> Result<(), Mishap> {
    Ok(())
}

/// Reads on another database than the one it is given.
///
/// # Errors
/// When it cannot.
#[retry_on_disconnect(on = store.db, base_delay = Duration::from_millis(1))]
#[transactional]
pub fn elsewhere(
    tx: &mut Transaction<'_>,
    store: &Store,
    rows: &mut Vec<u64>,
    [first, _]: [u64; 2],
) -> Result<impl Iterator<Item = u64> + use<>, Mishap> {
    *rows = tx.query("SELECT 1")?;
    Ok(0..first)
}

fn calls() -> Result<(), Mishap> {
    let db = Db::connect("mysql://localhost/test")?;
    let mut store = Store { db: db.clone(), policy: RetryPolicy::default(), written: 0 };
    store.keep("a")?;
    println!("{}", store.keep_again("b".to_owned(), 1)?);
    let store = store.consume(&db, &mut vec![], vec![])?;
    println!("{}", store.written);
    transfer(&db, 1, 2, vec![])?;
    println!("{}", transfer_again(&db, 1, 2, (3, 4), "name")?);
    println!("{}", batches(&db, &[])?);
    nothing(&db, &[], 1)?;
    println!("{}", elsewhere(&store, &mut vec![], [1, 2])?.count());
    Ok(())
}

fn main() {
    let _: fn() -> Result<(), Mishap> = calls;
}
