use db_core::prelude::*;

#[retry_on_disconnect]
fn copy(from: &Db, to: &Db) -> db_core::Result<()> {
    from.transaction(|tx| tx.query_drop("DO 1"))?;
    to.transaction(|tx| tx.query_drop("DO 1"))
}

fn main() {}
