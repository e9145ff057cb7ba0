use db_core::prelude::*;

#[transactional(crate = no_such_crate)]
fn by_name(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(crate = crate::no::such::module)]
#[transactional]
fn by_path(tx: &mut Transaction<'_>, id: String) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn main() {}
