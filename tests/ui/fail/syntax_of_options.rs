use db_core::prelude::*;

#[transactional(isolation ReadCommitted)]
fn no_equals_sign(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = )]
fn no_value(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect]
#[transactional = "read_only"]
fn no_parentheses(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
