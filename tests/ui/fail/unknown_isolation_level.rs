use db_core::prelude::*;

#[transactional(isolation = Snapshot)]
fn far(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = read_committed)]
fn near(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = READ COMMITTED)]
fn two_words(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = READ-COMMITTED, read_only)]
fn of_the_configuration(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = Committed)]
fn part(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = Uncommitted)]
fn part_of_another(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = Read)]
fn part_of_several(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = REPEATABLE READ, on = db)]
fn two_words_of_two_options(tx: &mut Transaction<'_>, db: &Db) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = DIRTY READ)]
fn two_unknown_words(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = Isolation::Snapshot)]
fn by_path(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = 2)]
fn number(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = level)]
fn lower_case(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
