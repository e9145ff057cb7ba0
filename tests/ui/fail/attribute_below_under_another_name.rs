use db_core::prelude::*;
use db_core::transactional as tn;

#[retry_on_disconnect]
#[tn]
fn renamed(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect]
#[tn(read_only)]
fn renamed_with_options(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn calls(db: &Db) -> db_core::Result<()> {
    renamed(db)?;
    renamed_with_options(db)
}

fn main() {}
