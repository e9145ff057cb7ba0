//! Default bodies, generic traits, associated types and constants.

use db_core::prelude::*;

trait Keeps<T: Clone, const N: usize = 1> {
    const TABLE: &'static str;
    type Error: From<db_core::Error>;

    fn check(&self, value: &T) -> Result<(), Self::Error>;

    #[retry_on_disconnect(max_attempts = 2)]
    #[transactional]
    fn keep(&self, tx: &mut Transaction<'_>, values: [T; N]) -> Result<usize, Self::Error> {
        for value in &values {
            self.check(value)?;
            tx.query_drop(format!("INSERT INTO {} VALUES ()", Self::TABLE))?;
        }
        Ok(N)
    }

    #[transactional]
    fn keep_with<F>(&self, tx: &mut Transaction<'_>, value: T, and_then: F) -> Result<T, Self::Error>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<(), Self::Error>,
        [T; N]: From<[T; 1]>,
    {
        and_then(tx)?;
        self.keep(tx, [value.clone()].into())?;
        Ok(value)
    }
}

struct Shelf;

impl Keeps<String> for Shelf {
    const TABLE: &'static str = "shelf";
    type Error = db_core::Error;

    fn check(&self, _: &String) -> Result<(), Self::Error> {
        Ok(())
    }
}

fn calls(db: &Db) -> db_core::Result<()> {
    Shelf.keep(db, ["a".to_owned()])?;
    Shelf.keep_with(db, "b".to_owned(), |tx| tx.query_drop("DO 1"))?;
    Ok(())
}

fn main() {
    let _ = calls;
}
