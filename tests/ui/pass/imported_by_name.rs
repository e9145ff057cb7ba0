//! Every name that an attribute stands for counts as used, in each way of importing it.

#![deny(warnings)]

use db_core::{Db, Transaction, retry_on_disconnect, transactional};

#[retry_on_disconnect]
#[transactional]
fn by_name(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

mod own {
    pub(crate) use db_core::transactional;
}

#[retry_on_disconnect]
#[own::transactional]
fn by_the_path_of_a_re_export(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

mod globs {
    mod own {
        pub(crate) use db_core::{Transaction, retry_on_disconnect, transactional};
    }
    use own::*;

    #[retry_on_disconnect]
    #[transactional(read_only)]
    pub(super) fn by_glob(tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }
}

mod renamed {
    use db_core::Transaction;
    use db_core::retry_on_disconnect as retry;
    use db_core::transactional;

    #[retry]
    #[transactional]
    pub(super) fn retry_renamed(tx: &mut Transaction<'_>) -> db_core::Result<()> {
        tx.query_drop("DO 1")
    }
}

#[db_core::retry_on_disconnect]
#[::db_core::transactional]
fn by_path(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect]
#[cfg_attr(all(), transactional(read_only))]
fn under_a_condition(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn calls(db: &Db) -> db_core::Result<()> {
    by_name(db)?;
    by_the_path_of_a_re_export(db)?;
    globs::by_glob(db)?;
    renamed::retry_renamed(db)?;
    by_path(db)?;
    under_a_condition(db)
}

fn main() {
    let _ = calls;
}
