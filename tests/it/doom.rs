//! After an error that ended the transaction, nothing of it can be committed.

use db_core::prelude::*;
use db_core::{Error, Result};
use tests::{bank, deposit, quick};

#[test]
fn a_swallowed_deadlock_cannot_commit() {
    let bank = bank();
    let mut rival = bank.rival();
    let error = bank.fails(|tx| {
        deposit(tx, 9, 1)?;
        rival.wait_for_nine();
        assert_eq!(deposit(tx, 10, 1).unwrap_err().code(), Some(1213));
        // With autocommit off on the server's side, this would be durable by the next COMMIT.
        let later = deposit(tx, 1, 1).unwrap_err();
        assert_eq!((later.kind(), later.code()), (ErrorKind::Deadlock, Some(1213)));
        Ok(())
    });
    assert_eq!((error.kind(), error.code(), error.is_transient()), (ErrorKind::Deadlock, Some(1213), true));
    drop(rival);
    assert_eq!(bank.balances([1, 9, 10]), [100, 100, 100]);
}

#[test]
fn a_deadlock_swallowed_by_a_part_dooms_the_whole() {
    let bank = bank();
    let mut rival = bank.rival();
    let error = bank.fails(|tx| {
        deposit(tx, 9, 1)?;
        let part = tx.transaction(|tx| {
            rival.wait_for_nine();
            let _ = deposit(tx, 10, 1);
            Ok::<_, Error>(())
        });
        assert_eq!(part.unwrap_err().kind(), ErrorKind::Deadlock);
        Ok(())
    });
    assert_eq!(error.kind(), ErrorKind::Deadlock);
    drop(rival);
    assert_eq!(bank.balance(9), 100);
}

#[test]
fn a_swallowed_lock_wait_timeout_cannot_commit() {
    let bank = bank();
    let _holder = bank.locked(2);
    let error = bank.fails(|tx| {
        tx.query_drop("SET @@innodb_lock_wait_timeout = 1")?;
        deposit(tx, 1, 1)?;
        assert_eq!(deposit(tx, 2, 1).unwrap_err().kind(), ErrorKind::LockWaitTimeout);
        Ok(())
    });
    assert_eq!((error.kind(), error.code()), (ErrorKind::LockWaitTimeout, Some(1205)));
    assert_eq!(bank.balance(1), 100);
}

#[test]
fn a_swallowed_lost_connection_cannot_commit() {
    let bank = bank();
    let error = bank.fails(|tx| {
        deposit(tx, 1, 1)?;
        bank.kill(tx.connection_id().unwrap());
        assert_eq!(deposit(tx, 2, 1).unwrap_err().kind(), ErrorKind::ConnectionLost);
        // A new connection here would commit the second half alone.
        assert_eq!(deposit(tx, 3, 1).unwrap_err().kind(), ErrorKind::ConnectionLost);
        Ok(())
    });
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert_eq!(bank.balances([1, 2, 3]), [100, 100, 100]);
}

#[test]
fn a_constraint_error_that_is_handled_leaves_the_transaction_alone() {
    let bank = bank();
    bank.commits(|tx| {
        deposit(tx, 1, 1)?;
        let error = tx.exec_drop("INSERT INTO account VALUES (?, 0)", (2,)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UniqueViolation);
        deposit(tx, 3, 1)
    });
    assert_eq!(bank.balances([1, 3]), [101, 101]);
}

#[test]
fn a_doomed_attempt_is_replayed_whatever_error_the_body_made_of_it() {
    #[derive(Debug)]
    enum Opaque {
        Busy,
        Db,
    }
    impl From<Error> for Opaque {
        fn from(_: Error) -> Self {
            Self::Db
        }
    }
    #[retry_on_disconnect]
    #[transactional]
    fn stubborn(tx: &mut Transaction<'_>, attempt: Attempt, kill: &dyn Fn(u32)) -> std::result::Result<u32, Opaque> {
        deposit(tx, 1, 1)?;
        if !attempt.is_last() {
            kill(tx.connection_id().unwrap());
        }
        deposit(tx, 2, 1).map_err(|_| Opaque::Busy)?;
        Ok(attempt.number())
    }
    let bank = bank();
    let result = stubborn(&bank.db, &|id| bank.kill(id));
    assert!(matches!(result, Ok(3)), "{result:?}");
    assert_eq!(bank.balances([1, 2]), [101, 101]);
    assert!(matches!(Opaque::Busy, Opaque::Busy));
}

#[test]
fn every_later_statement_of_a_doomed_transaction_fails_by_every_method() {
    let bank = bank();
    let result: Result<()> = bank.db.retry(&quick().max_attempts(1), |_| {
        bank.db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            let statement = tx.prep("SELECT 1")?;
            bank.kill(tx.connection_id().unwrap());
            assert!(tx.query_drop("SELECT 1").is_err());
            assert!(tx.query_iter("SELECT 1").is_err());
            assert!(tx.exec_iter("SELECT 1", ()).is_err());
            assert!(tx.exec_iter(&statement, ()).is_err());
            assert!(tx.query::<u8, _>("SELECT 1").is_err());
            assert!(tx.exec_first::<u8, _, _>("SELECT 1", ()).is_err());
            assert!(tx.exec_batch("UPDATE account SET balance = 0 WHERE id = ?", [(1,)]).is_err());
            assert!(tx.prep("SELECT 1").is_err());
            assert!(tx.close(statement).is_err());
            assert!(tx.transaction(|tx| deposit(tx, 2, 1)).is_err());
            Ok(())
        })
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionLost);
}
