//! Methods with every receiver, and associated functions.

use std::rc::Rc;
use std::sync::Arc;

use db_core::prelude::*;

#[derive(Clone, Default)]
struct Store {
    written: u64,
    names: Vec<String>,
}

impl Store {
    #[transactional]
    fn by_reference(&self, tx: &mut Transaction<'_>) -> db_core::Result<u64> {
        tx.query_drop("DO 1")?;
        Ok(self.written)
    }

    #[transactional]
    fn by_mutable_reference(&mut self, tx: &mut Transaction<'_>, name: String) -> db_core::Result<&mut Self> {
        tx.query_drop("DO 1")?;
        self.written += 1;
        self.names.push(name);
        Ok(self)
    }

    #[transactional]
    fn by_value(mut self, tx: &mut Transaction<'_>) -> db_core::Result<Self> {
        self.by_mutable_reference(tx, String::new())?;
        Ok(self)
    }

    #[transactional]
    fn shared(self: Arc<Self>, tx: &mut Transaction<'_>) -> db_core::Result<Arc<Self>> {
        let store = Arc::clone(&self);
        tx.after_commit(move || drop(store));
        Ok(self)
    }

    #[retry_on_disconnect]
    #[transactional]
    fn retried_by_reference(&self, tx: &mut Transaction<'_>) -> db_core::Result<&[String]> {
        self.by_reference(tx)?;
        Ok(&self.names)
    }

    #[retry_on_disconnect]
    #[transactional]
    fn retried_by_mutable_reference(&mut self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        self.written += 1;
        bump(self);
        self.by_mutable_reference(tx, String::new())?;
        Ok(())
    }

    #[retry_on_disconnect]
    #[transactional]
    fn retried_by_value(self, tx: &mut Transaction<'_>) -> db_core::Result<Vec<String>> {
        mod inner {
            pub(super) struct Other(pub(super) u64);
            impl Other {
                pub(super) fn get(self) -> u64 {
                    self.0
                }
            }
        }
        self::log(&format!("{} {}", self.written, inner::Other(1).get()));
        tx.query_drop("DO 1")?;
        Ok(self.names)
    }

    #[retry_on_disconnect]
    #[transactional]
    fn retried_by_mutable_value(mut self, tx: &mut Transaction<'_>) -> db_core::Result<Self> {
        self.by_mutable_reference(tx, String::new())?;
        Ok(self)
    }

    #[retry_on_disconnect]
    #[transactional]
    fn retried_shared(self: Arc<Self>, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.after_commit(move || log(&self.written.to_string()));
        Ok(())
    }

    #[retry_on_disconnect]
    #[transactional]
    fn retried_rc(mut self: Rc<Self>, tx: &mut Transaction<'_>) -> db_core::Result<Rc<Self>> {
        tx.query_drop("DO 1")?;
        Rc::make_mut(&mut self).written = 2;
        Ok(self)
    }

    #[retry_on_disconnect]
    #[transactional]
    fn retried_boxed(self: Box<Self>, tx: &mut Transaction<'_>) -> db_core::Result<Box<Self>> {
        tx.query_drop("DO 1")?;
        Ok(self)
    }

    #[retry_on_disconnect]
    #[transactional]
    fn retried_unused(self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }

    #[transactional]
    fn load(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<Option<Self>> {
        let written: Option<u64> = tx.exec_first("SELECT written FROM store WHERE id = ?", (id,))?;
        Ok(written.map(|written| Self { written, ..Self::default() }))
    }
}

fn log(_: &str) {}

fn bump(store: &mut Store) {
    store.written += 1;
}

fn calls(db: &Db) -> db_core::Result<()> {
    let mut store = Store::load(db, 1)?.unwrap_or_default();
    store.by_reference(db)?;
    store.by_mutable_reference(db, "a".to_owned())?.written += 1;
    store.retried_by_reference(db)?;
    store.retried_by_mutable_reference(db)?;
    store.clone().by_value(db)?;
    store.clone().retried_by_value(db)?;
    store.clone().retried_by_mutable_value(db)?;
    store.clone().retried_unused(db)?;
    Arc::new(store.clone()).shared(db)?;
    Arc::new(store.clone()).retried_shared(db)?;
    Rc::new(store.clone()).retried_rc(db)?;
    Box::new(store).retried_boxed(db)?;
    Ok(())
}

fn main() {
    let _ = calls;
}
