use db_core::prelude::*;

static DB: std::sync::LazyLock<Db> = std::sync::LazyLock::new(|| todo!());

#[transactional(on = DB)]
fn insert() -> db_core::Result<()> {
    Ok(())
}

fn main() {}
