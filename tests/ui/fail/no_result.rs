use db_core::prelude::*;

#[transactional]
fn nothing(tx: &mut Transaction<'_>) {
    tx.query_drop("DO 1").unwrap();
}

#[transactional]
fn unit(tx: &mut Transaction<'_>) -> () {
    tx.query_drop("DO 1").unwrap();
}

#[transactional]
fn number(tx: &mut Transaction<'_>) -> u64 {
    tx.query_drop("DO 1").map_or(1, |()| 2)
}

#[transactional]
fn option(tx: &mut Transaction<'_>) -> std::option::Option<u64> {
    tx.query_drop("DO 1").ok().map(|()| 1)
}

#[retry_on_disconnect]
fn reference(db: &Db) -> &Db {
    db
}

#[transactional]
fn never(tx: &mut Transaction<'_>) -> ! {
    loop {
        tx.query_drop("DO 1").unwrap();
    }
}

#[transactional]
fn opaque(tx: &mut Transaction<'_>) -> impl Sized {
    tx.query_drop("DO 1").unwrap();
}

fn calls(db: &Db) {
    nothing(db);
    unit(db);
    let _ = number(db) + option(db).unwrap_or(0);
}

fn main() {}
