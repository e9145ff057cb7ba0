use std::time::Duration;

use db_core::prelude::*;

#[retry_on_disconnect(max_attempts = "5", base_delay = 10, max_delay = 1.5, policy = "fast")]
#[transactional(read_only = true, on)]
fn literals(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(max_attempts = Duration::ZERO, max_elapsed = u32::MAX)]
#[transactional]
fn expressions(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(policy = Duration::ZERO)]
#[transactional]
fn policy(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(policy = |policy| policy.max_attempts(3))]
#[transactional]
fn policy_as_a_closure(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
