//! A body that opens its own transactions.

use std::time::Duration;

use db_core::prelude::*;

#[retry_on_disconnect(max_attempts = 5)]
fn in_batches(db: &Db, ids: &[u64], done: &mut usize, label: String) -> db_core::Result<()> {
    for batch in ids.chunks(100).skip(*done) {
        db.transaction(|tx| tx.exec_drop("DO ?", (batch.len(),)))?;
        *done += 1;
    }
    drop(label);
    Ok(())
}

#[retry_on_disconnect(base_delay = Duration::from_millis(1))]
fn on_a_scope(ids: &[u64], scope: &Scope<'_>) -> db_core::Result<usize> {
    scope.transaction(|tx| tx.query_drop("DO 1"))?;
    Ok(ids.len())
}

#[retry_on_disconnect]
fn not_used_by_the_body(_: &Db) -> db_core::Result<()> {
    Ok(())
}

#[retry_on_disconnect]
fn marked_unused(_db: &Db) -> db_core::Result<()> {
    Ok(())
}

#[retry_on_disconnect(on = from)]
fn one_of_two(from: &Db, to: &Db) -> db_core::Result<()> {
    from.transaction(|tx| tx.query_drop("DO 1"))?;
    to.transaction(|tx| tx.query_drop("DO 1"))
}

#[retry_on_disconnect(on = db)]
fn by_value(db: Db) -> db_core::Result<()> {
    db.transaction(|tx| tx.query_drop("DO 1"))
}

fn calls(db: &Db) -> db_core::Result<()> {
    let mut done = 0;
    in_batches(db, &[1, 2], &mut done, String::new())?;
    on_a_scope(&[], db)?;
    not_used_by_the_body(db)?;
    marked_unused(db)?;
    one_of_two(db, db)?;
    by_value(db.clone())
}

fn main() {
    let _ = calls;
}
