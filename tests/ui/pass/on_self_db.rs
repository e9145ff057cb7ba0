//! A type that owns its database is called without one.

use std::sync::{Arc, LazyLock};

use db_core::prelude::*;

struct Store {
    db: Db,
    written: u64,
}

static STORE: LazyLock<Arc<Store>> =
    LazyLock::new(|| Arc::new(Store { db: Db::connect("mysql://localhost/test").unwrap(), written: 0 }));

impl Store {
    fn database(&self) -> &Db {
        &self.db
    }

    #[transactional(on = self.db)]
    fn new_row(&self, tx: &mut Transaction<'_>, name: &str) -> db_core::Result<()> {
        tx.exec_drop("INSERT INTO store VALUES (?)", (name,))
    }

    #[transactional(on = self.database(), isolation = Serializable)]
    fn by_a_call(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }

    #[transactional(on = self.db)]
    fn counted(&mut self, tx: &mut Transaction<'_>) -> db_core::Result<u64> {
        tx.query_drop("DO 1")?;
        self.written += 1;
        Ok(self.written)
    }

    #[retry_on_disconnect]
    #[transactional(on = self.db)]
    fn counted_retried(&mut self, _: Attempt, tx: &mut Transaction<'_>, name: String) -> db_core::Result<u64> {
        tx.query_drop(name)?;
        self.written += 1;
        Ok(self.written)
    }

    #[retry_on_disconnect(on = self.db)]
    #[transactional(on = self.db)]
    fn said_twice(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }

    #[retry_on_disconnect(on = self.db)]
    #[transactional]
    fn said_above(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }

    #[retry_on_disconnect(on = self.db)]
    fn opens_its_own(&self) -> db_core::Result<()> {
        self.db.transaction(|tx| tx.query_drop("DO 1"))
    }

    #[retry_on_disconnect]
    #[transactional(on = self.db)]
    fn shared(self: Arc<Self>, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.after_commit(move || println!("{}", self.written));
        Ok(())
    }
}

#[transactional(on = STORE.db)]
fn on_a_static(tx: &mut Transaction<'_>, name: &str) -> db_core::Result<()> {
    tx.query_drop(name)
}

#[retry_on_disconnect]
#[transactional(on = store.db)]
fn on_an_argument(tx: &mut Transaction<'_>, store: Arc<Store>) -> db_core::Result<u64> {
    tx.query_drop("DO 1")?;
    Ok(store.written)
}

fn calls(store: &mut Store) -> db_core::Result<()> {
    store.new_row("name")?;
    store.by_a_call()?;
    store.counted()?;
    store.counted_retried("name".to_owned())?;
    store.said_twice()?;
    store.said_above()?;
    store.opens_its_own()?;
    STORE.clone().shared()?;
    on_a_static("name")?;
    on_an_argument(STORE.clone())?;
    Ok(())
}

fn main() {
    let _ = calls;
}
