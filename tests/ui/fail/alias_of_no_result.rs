use db_core::prelude::*;

type Count = u64;

#[transactional]
fn count(tx: &mut Transaction<'_>) -> Count {
    1
}

fn main() {}
