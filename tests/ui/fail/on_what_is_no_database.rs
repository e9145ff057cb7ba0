use db_core::prelude::*;

struct Store {
    name: String,
    db: Db,
    other: Db,
}

impl Store {
    #[transactional(on = self.name)]
    fn insert(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }

    #[retry_on_disconnect(on = self.other)]
    #[transactional(on = self.db)]
    fn on_two(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }
}

fn main() {}
