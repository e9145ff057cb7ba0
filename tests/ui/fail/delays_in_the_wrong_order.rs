use std::time::Duration;

use db_core::prelude::*;

#[retry_on_disconnect(base_delay = Duration::from_secs(2), max_delay = Duration::from_millis(500))]
#[transactional]
fn insert(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(max_delay = std::time::Duration::from_micros(1), max_attempts = 2, base_delay = std::time::Duration::from_millis(1))]
#[transactional]
fn insert_again(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
