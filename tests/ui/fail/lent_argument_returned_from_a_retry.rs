use db_core::prelude::*;

#[retry_on_disconnect]
#[transactional]
fn push<'r>(tx: &mut Transaction<'_>, rows: &'r mut Vec<u64>) -> db_core::Result<&'r mut u64> {
    tx.query_drop("DO 1")?;
    rows.push(1);
    Ok(&mut rows[0])
}

fn main() {}
