use db_core::prelude::*;

trait Accounts {
    fn close(&self, tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()>;
}

struct Deleting;

impl Accounts for Deleting {
    #[transactional]
    fn close(&self, tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
        tx.exec_drop("DO ?", (id,))
    }
}

fn main() {}
