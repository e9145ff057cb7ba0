//! Who waits for whom.

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use db_core::prelude::*;
use tests::{bank, deposit, quick, within};

const MOMENT: Duration = Duration::from_millis(100);

#[test]
fn threads_that_share_a_database_take_turns() {
    let bank = bank();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let db = bank.db.clone();
            thread::spawn(move || {
                for _ in 0..25 {
                    // A read, and a write that depends on it: two interleaved would lose a deposit.
                    db.transaction(|tx| {
                        let balance: Option<i64> = tx.query_first("SELECT balance FROM account WHERE id = 1")?;
                        tx.exec_drop("UPDATE account SET balance = ? WHERE id = 1", (balance.unwrap() + 1,))
                    })
                    .unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(bank.balance(1), 300);
}

#[test]
fn the_lock_is_reentrant_and_spans_several_calls() {
    let bank = bank();
    let held = bank.db.lock();
    let again = bank.db.lock();
    bank.db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    let (sender, receiver) = channel();
    let db = bank.db.clone();
    let waiting = thread::spawn(move || sender.send(db.transaction(|tx| deposit(tx, 1, 1)).is_ok()));
    assert!(receiver.recv_timeout(MOMENT).is_err(), "another thread got in");
    drop(again);
    assert!(receiver.recv_timeout(MOMENT).is_err(), "another thread got in");
    bank.db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    drop(held);
    assert!(receiver.recv_timeout(Duration::from_secs(5)).unwrap());
    waiting.join().unwrap().unwrap();
    assert_eq!(bank.balance(1), 103);
}

#[test]
fn databases_with_a_shared_lock_exclude_each_other_and_do_not_block_themselves() {
    let bank = bank();
    let lock = SharedLock::new();
    let one = Db::builder(&bank.server.url()).lock(lock.clone()).connect().unwrap();
    let other = Db::builder(&bank.server.url()).lock(one.shared_lock()).lock_timeout(MOMENT).connect().unwrap();
    one.transaction(|tx| {
        let db = other.clone();
        let error = thread::spawn(move || db.transaction(|tx| deposit(tx, 2, 1))).join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockTimeout);
        // The same thread goes in: it is another connection.
        other.transaction(|tx| deposit(tx, 3, 1))?;
        deposit(tx, 1, 1)
    })
    .unwrap();
    assert_eq!(bank.balances([1, 2, 3]), [101, 100, 101]);
}

#[test]
fn the_wait_for_the_lock_is_bounded_where_asked() {
    let bank = bank();
    let db = Db::builder(&bank.server.url()).lock_timeout(MOMENT).connect().unwrap();
    let lock = db.shared_lock();
    let held = lock.lock();
    let began = Instant::now();
    let other = db.clone();
    let error = thread::spawn(move || other.transaction(|tx| deposit(tx, 1, 1))).join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockTimeout);
    assert!((MOMENT..MOMENT * 20).contains(&began.elapsed()));
    assert!(!error.is_transient());
    drop(held);
    db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
}

#[test]
fn the_lock_is_free_while_a_call_sleeps_between_attempts() {
    let bank = bank();
    let slow = quick().base_delay(Duration::from_secs(600)).max_delay(Duration::from_secs(600)).max_elapsed(Duration::MAX);
    let db = bank.db.clone();
    let (failed, first) = channel();
    // Its first delay is up to ten minutes.
    thread::spawn(move || {
        db.retry(&slow, |_| {
            let result = db.transaction(|tx| {
                tx.query_drop("SET innodb_lock_wait_timeout = 1")?;
                tx.query_drop("SELECT * FROM account WHERE id = 1 FOR UPDATE")
            });
            failed.send(()).unwrap();
            result
        })
    });
    let _holder = bank.locked(1);
    first.recv_timeout(Duration::from_secs(10)).unwrap();
    let db = bank.db.clone();
    within(Duration::from_secs(10), move || db.transaction(|tx| deposit(tx, 2, 1))).unwrap();
}

#[test]
fn disconnect_closes_now_and_the_next_use_opens_again() {
    let bank = bank();
    let id = |tx: &mut Transaction<'_>| tx.query_first::<u32, _>("SELECT CONNECTION_ID()");
    let before = bank.db.transaction(id).unwrap();
    bank.db.disconnect();
    let after = bank.db.transaction(id).unwrap();
    assert_ne!(before, after);
    // Inside a transaction it waits for its end.
    let inside = bank.db.transaction(|tx| {
        bank.db.disconnect();
        deposit(tx, 1, 1)?;
        id(tx)
    });
    assert_eq!((inside.unwrap(), bank.balance(1)), (after, 101));
    assert_ne!(bank.db.transaction(id).unwrap(), after);
}

#[test]
fn a_fork_is_independent() {
    let bank = bank();
    let fork = bank.db.fork().unwrap();
    bank.commits(|tx| {
        deposit(tx, 1, 1)?;
        // On the same thread, in the middle of the other's transaction, and committed before it.
        fork.transaction(|tx| deposit(tx, 2, 1))?;
        assert_eq!((bank.balance(1), bank.balance(2)), (100, 101));
        let _held = fork.lock();
        Ok(())
    });
    fork.disconnect();
    assert_eq!(bank.balance(1), 101);
    bank.db.ping().unwrap();
    fork.ping().unwrap();
}
