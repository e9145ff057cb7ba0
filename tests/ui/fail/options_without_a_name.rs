use std::time::Duration;

use db_core::prelude::*;

#[retry_on_disconnect(5)]
#[transactional]
fn attempts(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(Serializable)]
fn level(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(Isolation::Serializable)]
fn level_by_path(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(READ COMMITTED)]
fn level_in_words(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional("serializable")]
fn level_as_a_string(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(db)]
fn argument(tx: &mut Transaction<'_>, db: &Db) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(&store.db)]
fn field_of_an_argument(tx: &mut Transaction<'_>, store: &Store) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(Duration::from_secs(5))]
#[transactional]
fn duration(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

struct Store {
    db: Db,
}

impl Store {
    #[transactional(self.db)]
    fn method(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }

    #[retry_on_disconnect(self.db)]
    fn retried(&self) -> db_core::Result<()> {
        self.db.ping()
    }
}

fn calls(store: &Store) -> db_core::Result<()> {
    argument(&store.db)?;
    store.method()?;
    store.retried()
}

fn main() {}
