use db_core::mysql;
use db_core::prelude::*;

#[transactional]
fn named(tx: &mut mysql::Transaction<'_>) -> db_core::Result<()> {
    Ok(())
}

mod imported {
    use db_core::mysql::Transaction;
    use db_core::{retry_on_disconnect, transactional};

    #[transactional]
    fn plain(tx: &mut Transaction<'_>) -> db_core::Result<()> {
        Ok(())
    }

    #[retry_on_disconnect]
    #[transactional]
    fn retried(id: String, tx: &mut Transaction<'_>) -> db_core::Result<()> {
        Ok(())
    }
}

fn main() {}
