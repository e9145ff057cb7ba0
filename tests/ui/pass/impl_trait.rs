//! `impl Trait` as argument, by value and by reference, and in the return type.

use db_core::prelude::*;

#[transactional]
fn insert_all(tx: &mut Transaction<'_>, ids: impl IntoIterator<Item = u64>) -> db_core::Result<()> {
    for id in ids {
        tx.exec_drop("DO ?", (id,))?;
    }
    Ok(())
}

#[retry_on_disconnect]
#[transactional]
fn insert_all_retried(
    tx: &mut Transaction<'_>,
    ids: impl IntoIterator<Item = u64> + Clone,
    accept: &impl Fn(u64) -> bool,
    mut seen: impl FnMut(u64) + Clone,
    count: &mut impl FnMut(),
) -> db_core::Result<()> {
    for id in ids {
        if accept(id) {
            seen(id);
            count();
            tx.exec_drop("DO ?", (id,))?;
        }
    }
    Ok(())
}

#[transactional]
fn ids(tx: &mut Transaction<'_>, below: u64) -> db_core::Result<impl Iterator<Item = u64> + use<>> {
    tx.query_drop("DO 1")?;
    Ok(0..below)
}

#[retry_on_disconnect]
#[transactional]
fn named(tx: &mut Transaction<'_>, name: &str) -> Result<(Option<impl Clone + use<>>, u64), db_core::Error> {
    tx.query_drop(name)?;
    Ok((Some(1), 2))
}

fn calls(db: &Db) -> db_core::Result<()> {
    insert_all(db, [1, 2])?;
    insert_all_retried(db, vec![1, 2], &|_| true, |_| (), &mut || ())?;
    let _sum: u64 = ids(db, 3)?.sum();
    let _ = named(db, "name");
    Ok(())
}

fn main() {
    let _ = calls;
}
