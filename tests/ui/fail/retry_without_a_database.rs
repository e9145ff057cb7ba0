use db_core::prelude::*;

struct Store {
    db: Db,
}

impl Store {
    #[retry_on_disconnect]
    fn insert(&self, id: u64) -> db_core::Result<()> {
        self.db.transaction(|tx| tx.exec_drop("DO ?", (id,)))
    }
}

#[retry_on_disconnect]
fn by_value(db: Db) -> db_core::Result<()> {
    db.transaction(|tx| tx.query_drop("DO 1"))
}

fn main() {}
