//! Every shape of function, under all that clippy knows, in a crate that reaches `db-core` through another crate only.

#![deny(warnings, clippy::all, clippy::pedantic, clippy::nursery, clippy::shadow_reuse, clippy::shadow_same, clippy::shadow_unrelated)]
#![allow(clippy::redundant_pub_crate, reason = "`unreachable_pub` asks for it")]
#![deny(missing_docs, unreachable_pub, unused_qualifications, unused_results, single_use_lifetimes, trivial_casts)]

use std::fmt::{Debug, Display};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use helper::cases;
use infra::db_core::Isolation;
use infra::prelude::*;

type Done<T = ()> = infra::db_core::Result<T>;

#[transactional(crate = infra::db_core)]
fn insert(tx: &mut Transaction<'_>, id: u64) -> Done {
    tx.exec_drop("DO ?", (id,))
}

#[retry_on_disconnect(crate = infra::db_core, max_attempts = 3, timeout = Duration::from_secs(5))]
#[transactional(isolation = ReadCommitted)]
fn insert_again(tx: &mut Transaction<'_>, attempt: Attempt, mut name: String, (from, to): (u64, u64), rows: &mut Vec<u8>) -> Done<u32> {
    name.push('x');
    rows.push(1);
    tx.exec_drop("DO CONCAT(?, ?, ?)", (name, from, to))?;
    Ok(attempt.number())
}

#[retry_on_disconnect(max_elapsed = limit)]
#[transactional(crate = ::infra::db_core, timeout = limit, isolation = level)]
fn values_of_arguments(tx: &mut Transaction<'_>, limit: Duration, level: Isolation, names: Vec<String>) -> Done<usize> {
    tx.exec_drop("DO CONCAT(?, ?)", (limit.as_secs(), level.to_string()))?;
    drop(names);
    Ok(1)
}

#[retry_on_disconnect(crate = infra::db_core)]
fn watched(db: &Db) -> Done {
    insert(db, 1)?;
    insert(db, 2)
}

#[retry_on_disconnect(crate = infra::db_core)]
#[transactional]
#[cases]
fn helper_of_another_attribute(tx: &mut Transaction<'_>, #[case] id: u64, #[case] name: String) -> Done {
    tx.exec_drop("DO CONCAT(?, ?)", (id, name))
}

#[transactional(crate = infra::db_core, join)]
fn helper_on_the_transaction(id: u64, #[allow(unused_mut)] tx: &mut Transaction<'_>) -> Done {
    tx.exec_drop("DO ?", (id,))
}

/// A generic function.
///
/// # Errors
/// When the server says no.
#[retry_on_disconnect(crate = infra::db_core)]
#[transactional(read_only)]
pub fn generic<'a, T, const N: usize>(tx: &mut Transaction<'_>, value: T, rest: [T; N], text: &'a str) -> Done<&'a str>
where
    T: Display + Debug + Clone,
{
    tx.exec_drop("DO CONCAT(?, ?)", (value.to_string(), format!("{rest:?}")))?;
    Ok(text)
}

#[transactional(crate = infra::db_core)]
fn opaque(tx: &mut Transaction<'_>, step: u64) -> Done<impl Iterator<Item = u64>> {
    tx.query_drop("DO 1")?;
    Ok((0..10).map(move |count| count * step))
}

#[transactional(crate = infra::db_core)]
fn boxed(tx: &mut Transaction<'_>, guard: MutexGuard<'_, u64>) -> Result<u64, Box<dyn std::error::Error>> {
    tx.exec_drop("DO ?", (*guard,))?;
    let found = *guard;
    drop(guard);
    Ok(found)
}

/// Is stored.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
    written: u64,
}

impl Store {
    fn open(&self) -> Done<Db> {
        self.db.ping()?;
        Ok(self.db.clone())
    }

    /// Writes.
    ///
    /// # Errors
    /// When the server says no.
    #[transactional(crate = infra::db_core, on = self.open()?)]
    pub fn write(&self, tx: &mut Transaction<'_>, name: &str) -> Done {
        tx.exec_drop("DO ?", (name,))
    }

    /// Writes, and counts.
    ///
    /// # Errors
    /// When the server says no.
    #[retry_on_disconnect(crate = infra::db_core, on = self.db)]
    #[transactional]
    pub fn count(&mut self, tx: &mut Transaction<'_>) -> Done<u64> {
        tx.query_drop("DO 1")?;
        self.written += 1;
        Ok(self.written)
    }

    /// Gives itself away.
    ///
    /// # Errors
    /// When the server says no.
    #[retry_on_disconnect(crate = infra::db_core)]
    #[transactional]
    pub fn consume(mut self, tx: &mut Transaction<'_>) -> Done<Self> {
        struct Inner(u64);
        macro_rules! item {
            ($($tokens:tt)*) => { $($tokens)* };
        }
        item! {
            impl Inner {
                const fn value(self) -> u64 {
                    self.0
                }
            }
        }
        tx.query_drop("DO 1")?;
        self.written += Inner(1).value();
        Ok(self)
    }

    /// Is shared.
    ///
    /// # Errors
    /// When the server says no.
    #[transactional(crate = infra::db_core)]
    pub fn shared(self: Arc<Self>, tx: &mut Transaction<'_>) -> Done<u64> {
        tx.query_drop("DO 1")?;
        Ok(self.written)
    }
}

trait Accounts {
    fn close(&self, tx: &Scope<'_>, id: u64) -> Done;

    #[transactional(crate = infra::db_core)]
    fn close_all(&self, tx: &mut Transaction<'_>, ids: &[u64]) -> Done {
        ids.iter().try_for_each(|id| self.close(tx, *id))
    }
}

impl Accounts for Store {
    #[transactional(crate = infra::db_core)]
    fn close(&self, tx: &mut Transaction<'_>, id: u64) -> Done {
        tx.exec_drop("DO CONCAT(?, ?)", (id, self.written))
    }
}

/// Is documented, but for its errors.
#[expect(clippy::missing_errors_doc)]
#[transactional(crate = infra::db_core)]
pub fn undocumented(tx: &mut Transaction<'_>) -> Done {
    tx.query_drop("DO 1")
}

// What clippy says of a plain function it says of an annotated one.
mod reported {
    use infra::prelude::*;

    use super::Done;

    #[expect(unreachable_pub)]
    #[transactional(crate = infra::db_core)]
    pub fn unreachable(tx: &mut Transaction<'_>) -> Done {
        tx.query_drop("DO 1")
    }

    #[expect(clippy::needless_pass_by_value)]
    #[transactional(crate = infra::db_core)]
    pub(super) fn by_value(tx: &mut Transaction<'_>, name: String) -> Done {
        tx.exec_drop("DO ?", (&name,))
    }

    #[expect(clippy::too_many_arguments, clippy::many_single_char_names)]
    #[retry_on_disconnect(crate = infra::db_core)]
    #[transactional]
    pub(super) fn many(t: &mut Transaction<'_>, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8) -> Done {
        t.exec_drop("DO CONCAT(?, ?, ?, ?, ?, ?, ?)", (a, b, c, d, e, f, g))
    }

    pub(super) struct Unit;

    impl Unit {
        #[expect(clippy::unused_self)]
        #[transactional(crate = infra::db_core)]
        pub(super) fn unused(&self, tx: &mut Transaction<'_>) -> Done {
            tx.query_drop("DO 1")
        }
    }

    #[expect(dead_code)]
    #[retry_on_disconnect(crate = infra::db_core)]
    #[transactional]
    fn never_called(tx: &mut Transaction<'_>, names: Vec<String>) -> Done {
        names.into_iter().try_for_each(|name| tx.exec_drop("DO ?", (name,)))
    }
}

fn calls(db: &Db, pool: &Pool, url: &str) -> Result<(), Box<dyn std::error::Error>> {
    insert(&Db::connect(url)?, 1)?;
    insert(pool, 1)?;
    let mut rows = Vec::new();
    let _ = insert_again(db, "name".to_owned(), (1, 2), &mut rows)?;
    let _ = values_of_arguments(db, Duration::from_secs(1), Isolation::Serializable, vec![])?;
    watched(db)?;
    helper_of_another_attribute(db, 1, String::new())?;
    helper_on_the_transaction(1, db)?;
    let _ = generic(db, 1, [2, 3], "text")?;
    let _ = opaque(db, 2)?.sum::<u64>();
    let mutex = Mutex::new(1);
    let _ = boxed(db, mutex.lock().map_err(|error| error.to_string())?)?;
    let mut store = Store { db: db.clone(), written: 0 };
    store.write("name")?;
    let _ = store.count()?;
    store.close_all(db, &[1])?;
    let _ = Arc::new(store.consume(db)?).shared(db)?;
    undocumented(db)?;
    reported::unreachable(db)?;
    reported::by_value(db, String::new())?;
    reported::many(db, 1, 2, 3, 4, 5, 6, 7)?;
    reported::Unit.unused(db)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(url) = std::env::args().nth(1) else {
        return Ok(());
    };
    calls(&Db::connect(&url)?, &Pool::connect(&url)?, &url)?;
    println!("every call succeeded");
    Ok(())
}
