//! A decorated function inside another's body, and closures that call one.

use db_core::prelude::*;

#[transactional]
fn outer(tx: &mut Transaction<'_>, ids: &[u64]) -> db_core::Result<u64> {
    #[retry_on_disconnect]
    #[transactional]
    fn inner(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<u64> {
        tx.exec_drop("DO ?", (id,))?;
        Ok(id)
    }

    let first = inner(tx, 1)?;
    let rest = ids.iter().map(|id| inner(tx, *id)).sum::<db_core::Result<u64>>()?;
    tx.query_drop("DO 1")?;
    Ok(first + rest)
}

#[retry_on_disconnect]
#[transactional]
fn recursive(tx: &mut Transaction<'_>, depth: u64) -> db_core::Result<u64> {
    match depth {
        0 => Ok(0),
        _ => recursive(tx, depth - 1).map(|below| below + 1),
    }
}

fn calls(db: &Db) -> db_core::Result<()> {
    outer(db, &[1, 2])?;
    recursive(db, 3)?;
    Ok(())
}

fn main() {
    let _ = calls;
}
