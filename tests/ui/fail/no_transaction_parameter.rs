use db_core::prelude::*;

#[transactional]
fn transfer(from: u64, to: u64) -> db_core::Result<u64> {
    Ok(from + to)
}

#[retry_on_disconnect]
#[transactional]
fn without_any() -> db_core::Result<()> {
    Ok(())
}

fn main() {}
