use db_core::prelude::*;

struct Store {
    db: Db,
}

impl Store {
    #[transactional(on = self.database)]
    fn insert(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }
}

fn main() {}
