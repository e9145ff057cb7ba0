use db_core::Transaction as Renamed;
use db_core::prelude::*;

type Tx<'a> = Transaction<'a>;

#[transactional]
fn alias(tx: &mut Tx<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect]
#[transactional]
fn renamed(transaction: &mut Renamed<'_>, id: u64) -> db_core::Result<()> {
    transaction.exec_drop("DO ?", (id,))
}

#[transactional]
fn without_a_lifetime(tx: &mut Tx) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
