use db_core::prelude::*;

trait Store {
    #[retry_on_disconnect]
    #[transactional]
    fn insert(&self, tx: &mut Transaction<'_>) -> db_core::Result<()>;

    #[transactional]
    fn delete(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        self.insert(tx)
    }
}

fn main() {}
