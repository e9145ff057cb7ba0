use db_core::prelude::*;

struct Store;

impl Clone for Store {
    fn clone(&self) -> Self {
        Self
    }
}

impl Store {
    #[retry_on_disconnect]
    #[transactional]
    fn insert(self, transaction: &mut Transaction<'_>, (a, b): (u64, u64)) -> db_core::Result<()> {
        transaction.exec_drop("DO ?", (a, b))?;
        let _ = (__policy, __error, __self, __argument2);
        self.finish()
    }

    fn finish(self) -> db_core::Result<()> {
        Ok(())
    }
}

fn main() {}
