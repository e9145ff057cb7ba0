use db_core::prelude::*;

#[retry_on_disconnect(max_attempts = n)]
#[transactional]
fn insert(tx: &mut Transaction<'_>, (n, id): (u32, u64)) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (n, id))
}

fn main() {}
