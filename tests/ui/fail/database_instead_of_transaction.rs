use db_core::prelude::*;

#[transactional]
fn on_a_database(db: &Db) -> db_core::Result<()> {
    db.transaction(|tx| tx.query_drop("DO 1"))
}

#[transactional]
fn on_a_scope(scope: &Scope<'_>) -> db_core::Result<()> {
    scope.transaction(|tx| tx.query_drop("DO 1"))
}

fn main() {}
