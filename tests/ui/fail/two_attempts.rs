use db_core::prelude::*;

#[retry_on_disconnect]
#[transactional]
fn insert(tx: &mut Transaction<'_>, one: Attempt, two: Attempt) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (one.number(), two.number()))
}

fn main() {}
