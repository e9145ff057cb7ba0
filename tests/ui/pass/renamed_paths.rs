//! Attributes and types under other names and paths.

use db_core as database;

mod types {
    pub use db_core::Transaction;
    pub type Outcome<T> = std::result::Result<T, db_core::Error>;
}

#[database::retry_on_disconnect(max_attempts = 2)]
#[database::transactional(isolation = ReadCommitted)]
fn by_path(tx: &mut types::Transaction<'_>, attempt: database::Attempt) -> types::Outcome<u32> {
    tx.query_drop("DO 1")?;
    Ok(attempt.number())
}

mod renamed {
    use db_core::transactional as in_transaction;

    #[in_transaction]
    pub fn alone(tx: &mut db_core::Transaction<'_>) -> crate::types::Outcome<()> {
        tx.query_drop("DO 1")
    }
}

fn calls(db: &database::Db) -> types::Outcome<()> {
    by_path(db)?;
    renamed::alone(db)
}

fn main() {
    let _ = calls;
}
