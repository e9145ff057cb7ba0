use db_core::prelude::*;

trait Store {
    #[transactional]
    fn insert(&self, tx: &mut Transaction<'_>) -> db_core::Result<()>;
}

fn main() {}
