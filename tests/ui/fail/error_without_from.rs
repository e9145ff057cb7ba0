use db_core::prelude::*;

struct Failure;

#[transactional]
fn insert(tx: &mut Transaction<'_>) -> Result<(), Failure> {
    Err(Failure)
}

#[retry_on_disconnect]
#[transactional]
fn insert_again(tx: &mut Transaction<'_>) -> Result<(), Failure> {
    Err(Failure)
}

fn main() {}
