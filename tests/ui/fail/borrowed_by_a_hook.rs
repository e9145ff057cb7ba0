use db_core::prelude::*;

#[transactional]
fn insert(tx: &mut Transaction<'_>, name: &str) -> db_core::Result<()> {
    tx.after_commit(move || println!("{name}"));
    tx.query_drop("DO 1")
}

fn main() {}
