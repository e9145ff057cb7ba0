//! What a body can do to its transaction, and how it is found.

use db_core::prelude::*;
use db_core::{Error, Result};
use tests::{bank, deposit, quick};

fn implicit_commit(statement: &str) {
    let bank = bank();
    bank.admin_query("CREATE PROCEDURE settle() COMMIT");
    let mut runs = 0;
    let error = bank
        .db
        .retry(&quick(), |_| {
            runs += 1;
            bank.db.transaction(|tx| {
                deposit(tx, 1, 1)?;
                tx.query_drop(statement)?;
                deposit(tx, 2, 1)
            })
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ImplicitCommit, "{statement}");
    assert!(!error.is_transient(), "{statement}");
    assert_eq!(runs, 1, "{statement}");
    // The part before it is committed, and said to be. The part after it is not.
    assert_eq!(bank.balances([1, 2]), [101, 100], "{statement}");
    bank.db.transaction(|tx| deposit(tx, 2, 1)).unwrap();
    assert_eq!(bank.balance(2), 101, "{statement}");
}

#[test]
fn ddl_is_reported_as_an_implicit_commit() {
    implicit_commit("CREATE TABLE other (id INT)");
}

#[test]
fn the_bodys_own_commit_is_reported() {
    implicit_commit("COMMIT");
}

#[test]
fn the_bodys_own_start_transaction_is_reported() {
    implicit_commit("START TRANSACTION");
}

#[test]
fn a_commit_inside_a_procedure_is_reported() {
    implicit_commit("CALL settle()");
}

#[test]
fn a_commit_behind_a_comment_or_another_statement_is_reported() {
    implicit_commit("/* harmless */ SELECT 1; COMMIT");
    implicit_commit("/*!50000 COMMIT */");
}

#[test]
fn autocommit_switched_on_is_reported_and_ends_with_its_transaction() {
    let bank = bank();
    bank.admin_query("CREATE PROCEDURE switch_on() SET autocommit = 1");
    for (switch, may_be_alone) in [("SET autocommit = 1", true), ("SET @@SESSION.AutoCommit = ON", true), ("CALL switch_on()", false)] {
        let error = bank.db.transaction(|tx| tx.query_drop(switch).and_then(|()| deposit(tx, 1, 1))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ImplicitCommit, "{switch}");
        let still_off = || {
            let before = bank.balance(2);
            let undone = bank.db.transaction(|tx| deposit(tx, 2, 1).and_then(|()| tx.query_drop("nonsense")));
            assert_eq!((undone.unwrap_err().kind(), bank.balance(2)), (ErrorKind::Syntax, before), "{switch}");
        };
        still_off();
        // Alone a plain statement commits nothing. Of a procedure it is not known what else it did.
        let alone = bank.db.transaction(|tx| tx.query_drop(switch));
        assert_eq!(alone.is_ok(), may_be_alone, "{switch}");
        still_off();
        let undone = bank.db.transaction(|tx| tx.query_drop(switch).and_then(|()| tx.query_drop("nonsense")));
        assert_eq!(undone.unwrap_err().kind(), ErrorKind::Syntax);
        still_off();
    }
}

#[test]
fn autocommit_switched_on_ends_with_a_transaction_that_is_doomed_as_well() {
    let bank = bank();
    let mut rival = bank.rival();
    let result = bank.db.transaction(|tx| {
        // On, and off again: what follows is a transaction, and the session's mode is no longer known.
        tx.query_drop("SET autocommit = 1")?;
        tx.query_drop("BEGIN")?;
        deposit(tx, 9, 1)?;
        rival.wait_for_nine();
        deposit(tx, 10, 1)
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Deadlock);
    drop(rival);
    let undone = bank.db.transaction(|tx| deposit(tx, 2, 1).and_then(|()| tx.query_drop("nonsense")));
    assert_eq!((undone.unwrap_err().kind(), bank.balance(2)), (ErrorKind::Syntax, 100));
}

#[test]
fn rollback_only_cannot_undo_an_implicit_commit_and_says_so() {
    let bank = bank();
    let error = bank.fails(|tx| {
        tx.set_rollback_only();
        deposit(tx, 1, 1)?;
        tx.query_drop("CREATE TABLE other (id INT)")
    });
    assert_eq!((error.kind(), bank.balance(1)), (ErrorKind::ImplicitCommit, 101));
}

#[test]
fn a_statement_that_commits_implicitly_may_be_all_there_is() {
    let bank = bank();
    bank.db.transaction(|tx| tx.query_drop("CREATE TABLE other (id INT)")).unwrap();
    bank.db.transaction(|tx| tx.query_drop("INSERT INTO other VALUES (1)")).unwrap();
    // Not where an error of it may have gone unread.
    let raw = bank.db.transaction(|tx| Queryable::query_iter(tx, "CREATE TABLE another (id INT)").map(drop).map_err(Error::from));
    assert_eq!(raw.unwrap_err().kind(), ErrorKind::ImplicitCommit);
    let two = bank.db.transaction(|tx| tx.query_drop("DROP TABLE other").and_then(|()| tx.query_drop("DROP TABLE another")));
    assert_eq!(two.unwrap_err().kind(), ErrorKind::ImplicitCommit);
}

#[test]
fn the_bodys_own_rollback_is_found() {
    let bank = bank();
    let error = bank.fails(|tx| {
        deposit(tx, 1, 1)?;
        tx.query_drop("ROLLBACK")?;
        deposit(tx, 2, 1)
    });
    assert_eq!(error.kind(), ErrorKind::ImplicitCommit);
    assert_eq!(bank.balances([1, 2]), [100, 100]);
}

#[test]
fn what_may_have_been_committed_is_not_replayed() {
    let bank = bank();
    let mut runs = 0;
    let result: Result<()> = bank.db.retry(&quick(), |_| {
        runs += 1;
        bank.db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            tx.query_drop("CREATE TABLE IF NOT EXISTS other (id INT)")?;
            bank.kill(tx.connection_id().unwrap());
            deposit(tx, 2, 1)
        })
    });
    assert_eq!((result.unwrap_err().kind(), runs), (ErrorKind::ConnectionLost, 1));
    assert_eq!(bank.balance(1), 101);
}

#[test]
fn a_procedure_that_commits_nothing_can_be_replayed_after_a_business_error_and_costs_nothing() {
    let bank = bank();
    bank.admin_query("CREATE PROCEDURE add_one(account_id INT) UPDATE account SET balance = balance + 1 WHERE id = account_id");
    bank.commits(|tx| {
        tx.exec_drop("CALL add_one(?)", (1,))?;
        deposit(tx, 2, 1)
    });
    assert_eq!(bank.balances([1, 2]), [101, 101]);
    let undone = bank.db.transaction(|tx| {
        tx.exec_drop("CALL add_one(?)", (1,))?;
        Err::<(), _>(Error::from(db_core::mysql::Error::server_disconnected()))
    });
    assert!(undone.is_err());
    assert_eq!(bank.balance(1), 101);
}

#[test]
fn ddl_inside_a_part_is_found_when_the_part_is_undone() {
    let bank = bank();
    let error = bank.fails(|tx| {
        deposit(tx, 1, 1)?;
        let part: Result<()> = tx.transaction(|tx| {
            deposit(tx, 2, 1)?;
            tx.query_drop("CREATE TABLE other (id INT)")?;
            tx.query_drop("SELECT * FROM nowhere")
        });
        assert_eq!(part.unwrap_err().kind(), ErrorKind::UnknownTable);
        deposit(tx, 3, 1)
    });
    assert_eq!(error.kind(), ErrorKind::ImplicitCommit);
    assert_eq!(bank.balances([1, 2, 3]), [101, 101, 100]);
}

#[test]
fn a_deadlock_in_a_result_dropped_half_read_is_found() {
    let bank = bank();
    let mut rival = bank.rival();
    let error = bank.fails(|tx| {
        deposit(tx, 9, 1)?;
        rival.wait_for_nine();
        // Row 8 arrives, row 10 is the deadlock, and nobody reads that far.
        let first =
            Queryable::query_iter(tx, "SELECT id FROM account WHERE id IN (8, 10) FOR UPDATE").map(|mut rows| rows.next().is_some());
        assert!(first.is_ok());
        deposit(tx, 1, 1)
    });
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Deadlock, true));
    drop(rival);
    assert_eq!(bank.balances([1, 9]), [100, 100]);
}

#[test]
fn a_deadlock_in_a_streamed_row_is_replayed() {
    let bank = bank();
    let mut rival = Some(bank.rival());
    #[retry_on_disconnect]
    #[transactional]
    fn stream(
        tx: &mut Transaction<'_>,
        attempt: Attempt,
        meet: &mut dyn FnMut(),
    ) -> std::result::Result<u32, Box<dyn std::error::Error + Send + Sync>> {
        deposit(tx, 9, 1)?;
        meet();
        for row in tx.query_iter("SELECT id FROM account WHERE id IN (8, 10) FOR UPDATE")? {
            row?;
        }
        Ok(attempt.number())
    }
    let mut meet = || {
        if let Some(rival) = &mut rival {
            rival.wait_for_nine();
        }
        // Ends the rival once it has won, so that the replay meets nobody.
        std::mem::forget(rival.take());
    };
    assert_eq!(stream(&bank.db, &mut meet).unwrap(), 2);
    assert_eq!(bank.balance(9), 101);
}

#[test]
fn a_lock_wait_timeout_in_a_streamed_row_is_replayed_because_the_bodys_error_tells_of_it() {
    use db_core::mysql::prelude::Queryable as _;
    let bank = bank();
    let mut admin = bank.locked(10);
    #[retry_on_disconnect]
    #[transactional]
    fn stream(tx: &mut Transaction<'_>, attempt: Attempt, free: &mut dyn FnMut()) -> Result<u32> {
        tx.query_drop("SET @@innodb_lock_wait_timeout = 1")?;
        deposit(tx, 1, 1)?;
        for row in Queryable::query_iter(tx, "SELECT id FROM account WHERE id IN (8, 10) FOR UPDATE")? {
            // The row's error is the driver's: `?` turns it into ours.
            row.inspect_err(|_| free())?;
        }
        Ok(attempt.number())
    }
    assert_eq!(stream(&bank.db, &mut || admin.query_drop("ROLLBACK").unwrap()).unwrap(), 2);
    assert_eq!(bank.balance(1), 101);
}

#[test]
fn what_the_bodys_error_tells_reaches_a_retry_that_cannot_see_that_error() {
    use db_core::mysql::prelude::Queryable as _;
    #[derive(Debug)]
    struct Opaque;
    impl From<Error> for Opaque {
        fn from(_: Error) -> Self {
            Self
        }
    }
    #[transactional]
    fn stream(tx: &mut Transaction<'_>, free: &mut dyn FnMut()) -> Result<()> {
        tx.query_drop("SET @@innodb_lock_wait_timeout = 1")?;
        deposit(tx, 1, 1)?;
        for row in Queryable::query_iter(tx, "SELECT id FROM account WHERE id IN (8, 10) FOR UPDATE")? {
            row.inspect_err(|_| free())?;
        }
        Ok(())
    }
    let bank = bank();
    let mut admin = bank.locked(10);
    let mut free = || admin.query_drop("ROLLBACK").unwrap();
    bank.db.retry(&quick(), |_| stream(&bank.db, &mut free).map_err(|_| Opaque)).unwrap();
    assert_eq!(bank.balance(1), 101);
}
