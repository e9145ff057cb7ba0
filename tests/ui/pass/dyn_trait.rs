//! A trait declares its methods against `&Scope<'_>`, stays usable as `dyn`, and may have bodies of its own.

use db_core::prelude::*;

trait Accounts {
    fn close(&self, tx: &Scope<'_>, id: u64) -> db_core::Result<()>;

    #[retry_on_disconnect]
    #[transactional]
    fn close_all(&self, tx: &mut Transaction<'_>, ids: &[u64]) -> db_core::Result<usize> {
        for id in ids {
            self.close(tx, *id)?;
        }
        Ok(ids.len())
    }

    #[transactional]
    fn sized_only(self, tx: &mut Transaction<'_>, id: u64) -> db_core::Result<Self>
    where
        Self: Sized,
    {
        self.close(tx, id)?;
        Ok(self)
    }
}

#[derive(Clone)]
struct Database;

impl Accounts for Database {
    #[retry_on_disconnect]
    #[transactional]
    fn close(&self, tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
        tx.exec_drop("DELETE FROM account WHERE id = ?", (id,))
    }
}

struct Loud<A>(A);

impl<A: Accounts> Accounts for Loud<A> {
    #[transactional]
    fn close(&self, tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
        println!("{id}");
        self.0.close(tx, id)
    }

    #[transactional]
    fn close_all(&self, tx: &mut Transaction<'_>, ids: &[u64]) -> db_core::Result<usize> {
        self.0.close_all(tx, ids)
    }
}

fn calls(db: &Db, accounts: &dyn Accounts) -> db_core::Result<()> {
    accounts.close(db, 1)?;
    accounts.close_all(db, &[1, 2])?;
    db.transaction(|tx| accounts.close_all(tx, &[3]))?;
    Database.sized_only(db, 4)?;
    Ok(())
}

fn main() {
    let _ = |db: &Db| calls(db, &Loud(Database));
}
