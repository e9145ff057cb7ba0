use db_core::prelude::*;

#[transactional]
fn copy(from: &mut Transaction<'_>, to: &mut Transaction<'_>) -> db_core::Result<()> {
    from.query_drop("DO 1")?;
    to.query_drop("DO 1")
}

fn calls(db: &Db) -> db_core::Result<()> {
    copy(db, db)
}

fn main() {}
