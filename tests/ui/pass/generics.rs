//! Type parameters, const parameters and where clauses stay as they are.

use std::fmt::Debug;

use db_core::prelude::*;

trait Record: Debug {
    const TABLE: &'static str;
    type Error: From<db_core::Error>;
}

#[transactional]
fn insert<R>(tx: &mut Transaction<'_>, record: &R) -> Result<(), R::Error>
where
    R: Record + ?Sized,
{
    tx.query_drop(format!("INSERT INTO {} VALUES ({record:?})", R::TABLE))?;
    Ok(())
}

#[retry_on_disconnect]
#[transactional]
fn insert_all<R: Record + Clone, E, const N: usize>(tx: &mut Transaction<'_>, records: [R; N]) -> Result<usize, E>
where
    E: From<R::Error> + From<db_core::Error>,
{
    for record in &records {
        insert(tx, record)?;
    }
    tx.query_drop("DO 1")?;
    Ok(N)
}

#[derive(Debug, Clone)]
struct Person;

impl Record for Person {
    const TABLE: &'static str = "person";
    type Error = db_core::Error;
}

struct Repository<R>(R);

impl<R: Record<Error = db_core::Error> + Clone> Repository<R> {
    #[retry_on_disconnect]
    #[transactional]
    fn add<F>(&self, tx: &mut Transaction<'_>, record: R, accept: F) -> db_core::Result<bool>
    where
        F: Fn(&R) -> bool + Clone,
    {
        insert(tx, &self.0)?;
        insert(tx, &record)?;
        Ok(accept(&record))
    }
}

fn calls(db: &Db) -> db_core::Result<()> {
    insert(db, &Person)?;
    insert_all::<Person, db_core::Error, 2>(db, [Person, Person])?;
    Repository(Person).add(db, Person, |_| true)?;
    Ok(())
}

fn main() {
    let _ = calls;
}
