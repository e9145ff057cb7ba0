use db_core::prelude::*;

#[transactional(isolation ReadCommitted)]
fn no_equals_sign(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation: Serializable)]
fn colon(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(max_attempts(5))]
#[transactional]
fn parentheses(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(read_only(true))]
fn flag_with_parentheses(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = )]
fn no_value(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(join,,)]
fn two_commas(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(, read_only)]
fn comma_first(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(max_attempts = 5 base_delay = DELAY)]
#[transactional]
fn no_comma(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect]
#[transactional = "read_only"]
fn no_parentheses(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
