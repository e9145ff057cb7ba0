#![deny(unused)]

use db_core::prelude::*;

#[transactional]
pub fn once(tx: &mut Transaction<'_>, mut id: u64) -> db_core::Result<()> {
    Ok(())
}

#[retry_on_disconnect]
#[transactional]
pub fn again(tx: &mut Transaction<'_>, attempt: Attempt, name: String, mut rows: &mut Vec<u64>) -> db_core::Result<usize> {
    Ok(rows.len())
}

fn main() {}
