use db_core::prelude::*;

#[transactional]
fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    std::thread::scope(|scope| {
        scope.spawn(|| tx.query_drop("DO 1"));
    });
    Ok(())
}

fn main() {}
