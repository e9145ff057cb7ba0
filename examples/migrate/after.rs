//! The shop as it is: the pool, the loop, and the question what is worth another try are gone. The statements are the same, and so are
//! helpers that are generic over the driver's `Queryable`, and `order` for its callers, down to the error type.

use db_core::mysql::Result;
use db_core::prelude::*;

pub(crate) struct Shop {
    db: Db,
}

impl Shop {
    pub(crate) fn open(url: &str) -> Result<Self> {
        Db::connect(url)?.install_ledger()?;
        Ok(Self { db: Db::builder(url).commit_ledger(true).connect()? })
    }

    #[retry_on_disconnect]
    #[transactional(on = self.db)]
    pub(crate) fn order(&self, tx: &mut Transaction<'_>, number: u64, item: &str) -> Result<()> {
        tx.exec_drop("INSERT INTO purchase (number, item) VALUES (?, ?)", (number, item))?;
        take(tx, item)?;
        // An order is not to fail for the sake of a statistic.
        if let Err(error) = tx.exec_drop("UPDATE popularity SET purchases = purchases + 1 WHERE item = ?", (item,)) {
            println!("  not counted: {error}");
        }
        Ok(())
    }
}

fn take(tx: &mut impl Queryable, item: &str) -> Result<()> {
    tx.exec_drop("UPDATE stock SET pieces = pieces - 1 WHERE item = ?", (item,))
}
