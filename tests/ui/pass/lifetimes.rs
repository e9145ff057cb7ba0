//! Named lifetimes, on the transaction too.

use db_core::prelude::*;

struct View<'a>(&'a str);

#[transactional]
fn named<'t, 'c, 'n>(tx: &'t mut Transaction<'c>, name: &'n str) -> db_core::Result<&'n str> {
    tx.query_drop(name)?;
    Ok(name)
}

#[transactional]
fn shared_with_an_argument<'t>(tx: &'t mut Transaction<'t>, name: &'t str) -> db_core::Result<View<'t>> {
    tx.query_drop(name)?;
    Ok(View(name))
}

#[transactional]
fn lent_back<'r>(tx: &mut Transaction<'_>, rows: &'r mut Vec<u64>) -> db_core::Result<&'r mut u64> {
    tx.query_drop("DO 1")?;
    rows.push(1);
    Ok(&mut rows[0])
}

#[retry_on_disconnect]
#[transactional]
fn retried<'t, 'n: 't>(tx: &'t mut Transaction<'_>, name: &'n str, view: View<'n>) -> db_core::Result<View<'n>>
where
    View<'n>: Clone,
{
    tx.query_drop(view.0)?;
    Ok(View(name))
}

impl Clone for View<'_> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<'a> View<'a> {
    #[transactional]
    fn outlives_the_call(&self, tx: &mut Transaction<'_>) -> db_core::Result<&'a str> {
        tx.query_drop("DO 1")?;
        Ok(self.0)
    }

    #[retry_on_disconnect]
    #[transactional]
    fn elided(&self, tx: &mut Transaction<'_>, _other: &str) -> db_core::Result<View<'_>> {
        tx.query_drop("DO 1")?;
        Ok(View(self.0))
    }
}

fn calls(db: &Db) -> db_core::Result<()> {
    let name = "name".to_owned();
    let view = shared_with_an_argument(db, named(db, &name)?)?;
    *lent_back(db, &mut vec![])? += 1;
    retried(db, &name, view.clone())?.outlives_the_call(db)?;
    view.elided(db, "other")?;
    Ok(())
}

fn main() {
    let _ = calls;
}
