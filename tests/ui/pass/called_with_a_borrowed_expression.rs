//! A function is called with `&` in front of whatever dereferences to a `Scope`, an expression with `?` included.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use db_core::prelude::*;

/// What a pool lends.
struct Guard(Db);

impl Deref for Guard {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.0
    }
}

struct Lender {
    primary: Db,
    replica: Option<Db>,
    shared: Arc<Mutex<Db>>,
}

impl Lender {
    fn get(&self) -> db_core::Result<Guard> {
        Ok(Guard(self.primary.clone()))
    }

    #[transactional(on = self.get()?)]
    fn by_an_expression_that_may_fail(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }

    #[retry_on_disconnect(on = if let Some(replica) = &self.replica { replica.clone() } else { self.get()?.clone() })]
    #[transactional]
    fn by_a_choice(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }

    #[retry_on_disconnect(on = self.get()?)]
    fn watched(&self) -> db_core::Result<()> {
        self.primary.ping()
    }

    #[transactional(on = self.shared.lock().unwrap())]
    fn behind_a_lock(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }
}

#[transactional]
fn insert(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (id,))
}

#[retry_on_disconnect]
fn twice(scope: &Scope<'_>, id: u64) -> db_core::Result<()> {
    insert(scope, id)?;
    insert(scope, id)
}

fn calls(lender: &Lender, pool: &Pool, url: &str) -> db_core::Result<()> {
    insert(&lender.get()?, 1)?;
    insert(&*lender.get()?, 1)?;
    insert(&lender.get().unwrap(), 1)?;
    insert(&Db::connect(url)?, 1)?;
    insert(&Pool::connect(url)?, 1)?;
    insert(pool, 1)?;
    insert(&pool.beside(), 1)?;
    insert(&if url.is_empty() { lender.get()? } else { Guard(lender.primary.clone()) }, 1)?;
    insert(
        &match &lender.replica {
            Some(replica) => replica.clone(),
            None => Db::connect(url)?,
        },
        1,
    )?;
    insert(&{ lender.primary.clone() }, 1)?;
    insert(if url.is_empty() { &lender.primary } else { lender.replica.as_ref().unwrap() }, 1)?;
    insert(&lender.shared.lock().unwrap(), 1)?;
    insert(&Arc::new(lender.primary.fork()?), 1)?;
    twice(&lender.get()?, 1)?;
    twice(pool, 1)?;
    pool.transaction(|tx| {
        insert(tx, 1)?;
        insert(&*tx, 1)?;
        insert(&tx, 1)?;
        twice(tx, 1)
    })?;
    lender.by_an_expression_that_may_fail()?;
    lender.by_a_choice()?;
    lender.watched()?;
    lender.behind_a_lock()
}

fn main() {
    let _ = calls;
}
