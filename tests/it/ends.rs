//! How transactions end.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use db_core::prelude::*;
use db_core::{Error, Result};
use tests::{bank, deposit};

#[test]
fn ok_commits() {
    let bank = bank();
    bank.db.transaction(|tx| deposit(tx, 1, 5)).unwrap();
    assert_eq!((bank.balance(1), bank.notes()), (105, vec!["1 +5".to_owned()]));
}

#[test]
fn err_rolls_back_and_is_the_bodys_own() {
    let bank = bank();
    let result: std::result::Result<(), BankError> = bank.db.transaction(|tx| {
        deposit(tx, 1, 5)?;
        Err(BankError::NotToday)
    });
    assert!(matches!(result, Err(BankError::NotToday)));
    assert_eq!((bank.balance(1), bank.notes().len()), (100, 0));
}

#[derive(Debug, thiserror::Error)]
enum BankError {
    #[error("not today")]
    NotToday,
    #[error(transparent)]
    Db(#[from] Error),
}

#[test]
fn a_panic_rolls_back_and_the_next_call_works() {
    let bank = bank();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        bank.db.transaction(|tx| -> Result<()> {
            deposit(tx, 1, 5)?;
            panic!("in the middle")
        })
    }));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"in the middle"));
    assert_eq!(bank.balance(1), 100);
    let db = bank.db.clone();
    std::thread::spawn(move || db.transaction(|tx| deposit(tx, 1, 7))).join().unwrap().unwrap();
    assert_eq!(bank.balance(1), 107);
}

#[test]
fn rollback_only_rolls_back_although_the_body_is_ok() {
    let bank = bank();
    let value = bank.db.transaction(|tx| {
        deposit(tx, 1, 5)?;
        tx.set_rollback_only();
        Ok::<_, Error>(42)
    });
    assert_eq!((value.unwrap(), bank.balance(1)), (42, 100));
}

#[test]
fn hooks_run_once_after_the_end_outside_the_lock() {
    let bank = bank();
    let log = Rc::new(RefCell::new(Vec::new()));
    let say = |what: &'static str| {
        let (log, db) = (Rc::clone(&log), bank.db.clone());
        move || {
            // Another thread gets the lock: this one does not hold it. And the transaction has ended.
            std::thread::spawn(move || db.ping()).join().unwrap().unwrap();
            log.borrow_mut().push(what);
        }
    };
    bank.commits(|tx| {
        tx.after_commit(say("committed"));
        tx.after_rollback(say("never"));
        deposit(tx, 1, 5)?;
        let undone: Result<()> = tx.transaction(|tx| {
            tx.after_commit(say("undone with its part"));
            tx.after_rollback(say("undone with its part"));
            Err(Error::from(db_core::mysql::Error::server_disconnected()))
        });
        assert!(undone.is_err());
        tx.transaction(|tx| {
            tx.after_commit(say("of a part"));
            Ok::<_, Error>(())
        })?;
        assert!(log.borrow().is_empty());
        Ok(())
    });
    assert_eq!(*log.borrow(), ["committed", "of a part"]);

    log.borrow_mut().clear();
    let _: Result<()> = bank.db.transaction(|tx| {
        tx.after_commit(say("never"));
        tx.after_rollback(say("rolled back"));
        tx.query_drop("nonsense")
    });
    assert_eq!(*log.borrow(), ["rolled back"]);
}

#[test]
fn a_hook_that_panics_keeps_no_other_from_running() {
    let bank = bank();
    let ran = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&ran);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        bank.db.transaction(|tx| {
            tx.after_commit(|| panic!("first"));
            tx.after_commit(move || seen.borrow_mut().push("second"));
            deposit(tx, 1, 5)
        })
    }));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"first"));
    assert_eq!((bank.balance(1), ran.borrow().len()), (105, 1));
}

#[test]
fn a_read_only_transaction_refuses_writes_and_its_mode_ends_with_it() {
    let bank = bank();
    let read_only = TxOptions::new().read_only(true);
    let refused = bank.db.transaction_with(&read_only, |tx| deposit(tx, 1, 5)).unwrap_err();
    assert_eq!(refused.code(), Some(1792));
    // Also where it touched no table, so that for the server no transaction ever began.
    bank.db.transaction_with(&read_only, |tx| tx.query_drop("SELECT 1")).unwrap();
    bank.db.transaction(|tx| deposit(tx, 1, 5)).unwrap();
    assert_eq!(bank.balance(1), 105);
}

#[test]
fn an_isolation_level_holds_for_its_transaction_alone() {
    let bank = bank();
    let mut admin = bank.admin();
    let mut seen_twice = |options: TxOptions| -> (i64, i64) {
        bank.db
            .transaction_with(&options, |tx| {
                let sql = "SELECT balance FROM account WHERE id = 2";
                let before: Option<i64> = tx.query_first(sql)?;
                admin.query_drop("UPDATE account SET balance = balance + 1 WHERE id = 2").unwrap();
                let after: Option<i64> = tx.query_first(sql)?;
                Ok::<_, Error>((before.unwrap(), after.unwrap()))
            })
            .unwrap()
    };
    assert_eq!(seen_twice(TxOptions::new().isolation(Isolation::ReadCommitted)), (100, 101));
    assert_eq!(seen_twice(TxOptions::new()), (101, 101));
    assert_eq!(seen_twice(TxOptions::new().isolation(Isolation::ReadCommitted).read_only(true)), (102, 103));
    assert_eq!(seen_twice(TxOptions::new().isolation(Isolation::RepeatableRead)), (103, 103));
}

#[test]
fn a_failing_rollback_is_attached_and_the_cause_stays_the_cause() {
    let bank = bank();
    let error = bank.fails(|tx| {
        deposit(tx, 1, 5)?;
        let id = tx.connection_id().unwrap();
        let timeout: Result<()> = tx.transaction(|tx| tx.query_drop("SELECT * FROM nowhere"));
        bank.kill(id);
        timeout
    });
    assert_eq!(error.kind(), ErrorKind::UnknownTable);
    assert_eq!(bank.balance(1), 100);
}
