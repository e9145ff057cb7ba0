//! The shop as it was: the bare driver, its pool, and a retry loop as careful programs have one.

use db_core::mysql::prelude::Queryable;
use db_core::mysql::{Error, Pool, Result, TxOpts};

pub(crate) struct Shop {
    pool: Pool,
}

impl Shop {
    pub(crate) fn open(url: &str) -> Result<Self> {
        Ok(Self { pool: Pool::new(url)? })
    }

    pub(crate) fn order(&self, number: u64, item: &str) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.try_to_order(number, item) {
                Err(error) if attempt < 3 && is_worth_another_try(&error) => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    fn try_to_order(&self, number: u64, item: &str) -> Result<()> {
        let mut conn = self.pool.get_conn()?;
        let mut tx = conn.start_transaction(TxOpts::default())?;
        tx.exec_drop("INSERT INTO purchase (number, item) VALUES (?, ?)", (number, item))?;
        take(&mut tx, item)?;
        // An order is not to fail for the sake of a statistic.
        if let Err(error) = tx.exec_drop("UPDATE popularity SET purchases = purchases + 1 WHERE item = ?", (item,)) {
            println!("  not counted: {error}");
        }
        tx.commit()
    }
}

fn take(tx: &mut impl Queryable, item: &str) -> Result<()> {
    tx.exec_drop("UPDATE stock SET pieces = pieces - 1 WHERE item = ?", (item,))
}

fn is_worth_another_try(error: &Error) -> bool {
    let conflict = matches!(error, Error::MySqlError(error) if [1205, 1213].contains(&error.code));
    conflict || error.is_connectivity_error()
}
