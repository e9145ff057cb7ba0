//! Transactions inside transactions.

use db_core::prelude::*;
use db_core::{Error, Result};
use tests::{bank, deposit};

#[transactional]
fn part(tx: &mut Transaction<'_>, id: u32, fail: bool) -> Result<()> {
    deposit(tx, id, 1)?;
    if fail { tx.query_drop("SELECT * FROM nowhere") } else { Ok(()) }
}

#[transactional(join)]
fn joined_part(tx: &mut Transaction<'_>, id: u32, fail: bool) -> Result<()> {
    deposit(tx, id, 1)?;
    if fail { tx.query_drop("SELECT * FROM nowhere") } else { Ok(()) }
}

#[test]
fn an_inner_err_undoes_its_own_writes_and_the_outer_goes_on() {
    let bank = bank();
    bank.commits(|tx| {
        part(tx, 1, false)?;
        assert_eq!(part(tx, 2, true).unwrap_err().kind(), ErrorKind::UnknownTable);
        part(tx, 3, false)?;
        deposit(tx, 4, 1)
    });
    assert_eq!(bank.balances([1, 2, 3, 4]), [101, 100, 101, 101]);
}

#[test]
fn an_inner_panic_that_is_caught_undoes_its_own_writes() {
    let bank = bank();
    bank.commits(|tx| {
        deposit(tx, 1, 1)?;
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            tx.transaction(|tx| -> Result<()> {
                deposit(tx, 2, 1)?;
                panic!("inside")
            })
        }));
        assert!(caught.is_err());
        deposit(tx, 3, 1)
    });
    assert_eq!(bank.balances([1, 2, 3]), [101, 100, 101]);
}

#[test]
fn parts_nest_to_any_depth_and_each_undoes_its_own() {
    fn dive(tx: &mut Transaction<'_>, depth: u32, undo_at: u32) -> Result<()> {
        if depth == 6 {
            return Ok(());
        }
        tx.transaction(|tx| {
            deposit(tx, depth + 1, 1)?;
            let below = dive(tx, depth + 1, undo_at);
            if depth == undo_at { Err(Error::from(db_core::mysql::Error::server_disconnected())) } else { below.or(Ok(())) }
        })
    }
    let bank = bank();
    bank.db.transaction(|tx| dive(tx, 0, 3)).unwrap();
    assert_eq!(bank.balances([1, 2, 3, 4, 5, 6]), [101, 101, 101, 100, 100, 100]);
}

#[test]
fn inner_rollback_only_undoes_the_part_alone() {
    let bank = bank();
    bank.commits(|tx| {
        deposit(tx, 1, 1)?;
        tx.transaction(|tx| {
            tx.set_rollback_only();
            deposit(tx, 2, 1)
        })
    });
    assert_eq!(bank.balances([1, 2]), [101, 100]);
}

#[test]
fn a_failed_part_that_joined_makes_the_whole_rollback_only() {
    let bank = bank();
    let error = bank.fails(|tx| {
        deposit(tx, 1, 1)?;
        assert!(joined_part(tx, 2, true).is_err());
        deposit(tx, 3, 1)
    });
    assert_eq!(error.kind(), ErrorKind::RollbackOnly);
    assert!(!error.is_transient());
    assert_eq!(bank.balances([1, 2, 3]), [100, 100, 100]);

    bank.db.transaction(|tx| joined_part(tx, 2, false)).unwrap();
    assert_eq!(bank.balance(2), 101);
}

#[test]
fn the_same_function_has_a_transaction_of_its_own_when_called_with_the_database() {
    let bank = bank();
    part(&bank.db, 1, false).unwrap();
    assert!(part(&bank.db, 2, true).is_err());
    joined_part(&bank.db, 3, false).unwrap();
    assert_eq!(bank.balances([1, 2, 3]), [101, 100, 101]);
}

#[test]
fn the_database_inside_its_own_transaction_is_an_error_that_names_the_cure() {
    let bank = bank();
    let error = bank.fails(|tx| {
        deposit(tx, 1, 1)?;
        let inner = part(&bank.db, 2, false).unwrap_err();
        assert_eq!(bank.db.ping().unwrap_err().kind(), ErrorKind::AlreadyInTransaction);
        Err::<(), _>(inner)
    });
    assert_eq!(error.kind(), ErrorKind::AlreadyInTransaction);
    for cure in ["tx", "fork"] {
        assert!(error.to_string().contains(cure), "{error}");
    }
    assert_eq!(bank.balances([1, 2]), [100, 100]);
    part(&bank.db, 1, false).unwrap();
}

#[test]
fn a_part_cannot_ask_for_an_isolation_level_of_its_own() {
    let bank = bank();
    let serializable = TxOptions::new().isolation(Isolation::Serializable);
    let error = bank.db.transaction(|tx| tx.transaction_with(&serializable, |tx| deposit(tx, 1, 1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    bank.db.transaction_with(&serializable, |tx| tx.transaction_with(&serializable, |tx| deposit(tx, 1, 1))).unwrap();
    assert_eq!(bank.balance(1), 101);
}

#[test]
fn a_scope_handed_to_another_thread_is_refused() {
    let bank = bank();
    bank.commits(|tx| {
        let scope: &Scope<'_> = tx;
        let error = std::thread::scope(|threads| threads.spawn(|| part(scope, 1, false)).join().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyInTransaction);
        deposit(tx, 2, 1)
    });
    assert_eq!(bank.balances([1, 2]), [100, 101]);
}

#[test]
fn the_whole_used_inside_its_part_is_an_error_that_names_the_cure() {
    let bank = bank();
    bank.commits(|tx| {
        let whole: &Scope<'_> = tx;
        whole.transaction(|part| {
            let error = deposit_by(whole).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyInTransaction);
            assert!(error.to_string().contains("its own `tx`"), "{error}");
            deposit(part, 1, 1)
        })
    });
    assert_eq!(bank.balance(1), 101);
}

#[transactional]
fn deposit_by(tx: &mut Transaction<'_>) -> Result<()> {
    deposit(tx, 2, 1)
}
