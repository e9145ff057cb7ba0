//! How often a body runs.

use std::cell::Cell;

use db_core::Result;
use db_core::prelude::*;
use tests::{Bank, bank, deposit, quick};

/// Kills its own connection, so that the attempt fails by a fault.
fn suicide(bank: &Bank, tx: &mut Transaction<'_>) -> Result<()> {
    deposit(tx, 1, 1)?;
    bank.kill(tx.connection_id().unwrap());
    deposit(tx, 1, 1)
}

#[test]
fn max_attempts_is_exactly_the_number_of_runs() {
    let bank = bank();
    for n in 1..=4 {
        let mut seen = Vec::new();
        let error = bank
            .db
            .retry(&quick().max_attempts(n), |attempt| {
                seen.push((attempt.count(), attempt.number(), attempt.remaining(), attempt.is_last()));
                bank.db.transaction(|tx| suicide(&bank, tx))
            })
            .unwrap_err();
        assert_eq!(seen, (0..n).map(|k| (k, k + 1, n - k - 1, k + 1 == n)).collect::<Vec<_>>());
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::ConnectionLost, n));
    }
    assert_eq!(bank.balance(1), 100);
}

#[test]
fn the_default_is_three_attempts_of_the_attribute_and_of_the_policy() {
    #[retry_on_disconnect]
    #[transactional]
    fn fails(tx: &mut Transaction<'_>, bank: &Bank, runs: &Cell<u32>) -> Result<()> {
        runs.set(runs.get() + 1);
        suicide(bank, tx)
    }
    let bank = bank();
    let runs = Cell::new(0);
    let db = Db::connect(&bank.server.url()).unwrap();
    assert_eq!(fails(&db, &bank, &runs).unwrap_err().attempts(), 3);
    assert_eq!(runs.get(), 3);
}

#[test]
fn an_error_that_the_next_run_would_meet_again_is_not_retried() {
    let bank = bank();
    for (statement, kind) in [
        ("nonsense", ErrorKind::Syntax),
        ("SELECT * FROM nowhere", ErrorKind::UnknownTable),
        ("SELECT nothing FROM account", ErrorKind::UnknownColumn),
        ("INSERT INTO account VALUES (1, 1)", ErrorKind::UniqueViolation),
        ("INSERT INTO account VALUES (99, NULL)", ErrorKind::NotNullViolation),
        // The state of a deadlock, but no deadlock.
        ("SIGNAL SQLSTATE '40001'", ErrorKind::Other),
    ] {
        let mut runs = 0;
        let error = bank
            .db
            .retry(&quick(), |_| {
                runs += 1;
                bank.db.transaction(|tx| tx.query_drop(statement))
            })
            .unwrap_err();
        assert_eq!((error.kind(), runs), (kind, 1), "{statement}: {error}");
    }
}

#[test]
fn a_deadlock_is_retried_and_the_work_done_once() {
    let bank = bank();
    let mut rival = Some(bank.rival());
    let mut runs = 0;
    bank.db
        .retry(&quick(), |_| {
            runs += 1;
            bank.db.transaction(|tx| {
                deposit(tx, 9, 1)?;
                if let Some(rival) = &mut rival {
                    rival.wait_for_nine();
                }
                // It goes on by itself once it has won.
                std::mem::forget(rival.take());
                deposit(tx, 10, 1)
            })
        })
        .unwrap();
    assert_eq!((runs, bank.balance(9), bank.balance(10)), (2, 101, 101));
}

#[test]
fn a_joined_call_runs_once_and_only_the_outermost_retries() {
    #[retry_on_disconnect(max_attempts = 3)]
    #[transactional]
    fn inner(tx: &mut Transaction<'_>, attempt: Attempt, bank: &Bank, runs: &Cell<u32>) -> Result<u32> {
        runs.set(runs.get() + 1);
        suicide(bank, tx)?;
        Ok(attempt.number())
    }
    #[retry_on_disconnect(max_attempts = 3)]
    #[transactional]
    fn outer(tx: &mut Transaction<'_>, bank: &Bank, runs: &Cell<u32>) -> Result<u32> {
        inner(tx, bank, runs)
    }
    let bank = bank();
    let runs = Cell::new(0);
    assert_eq!(outer(&bank.db, &bank, &runs).unwrap_err().attempts(), 3);
    assert_eq!(runs.get(), 3);
    // Retries around retries of the same database: three runs as well, and not nine.
    runs.set(0);
    let mut outer_runs = 0;
    let result = bank.db.retry(&quick(), |_| {
        outer_runs += 1;
        inner(&bank.db, &bank, &runs)
    });
    assert_eq!((result.unwrap_err().kind(), runs.get(), outer_runs), (ErrorKind::ConnectionLost, 3, 3));
}

#[test]
fn a_joined_call_is_told_the_attempt_it_belongs_to() {
    #[retry_on_disconnect]
    #[transactional]
    fn which(tx: &mut Transaction<'_>, attempt: Attempt) -> Result<(u32, bool)> {
        tx.query_drop("DO 1")?;
        Ok((attempt.number(), attempt.is_last()))
    }
    let bank = bank();
    let seen = bank.db.retry(&quick(), |attempt| {
        bank.db.transaction(|tx| {
            if !attempt.is_last() {
                suicide(&bank, tx)?;
            }
            which(tx)
        })
    });
    assert_eq!(seen.unwrap(), (3, true));
    assert_eq!(bank.db.transaction(|tx| which(tx)).unwrap(), (1, true));
}

#[test]
fn a_run_that_has_committed_something_is_not_repeated() {
    let bank = bank();
    let mut runs = 0;
    let error = bank
        .db
        .retry(&quick(), |_| {
            runs += 1;
            bank.db.transaction(|tx| deposit(tx, 2, 1))?;
            bank.db.transaction(|tx| suicide(&bank, tx))
        })
        .unwrap_err();
    assert_eq!((runs, error.kind()), (1, ErrorKind::ConnectionLost));
    assert_eq!((bank.balance(1), bank.balance(2)), (100, 101));
}

#[test]
fn a_call_after_a_commit_retries_on_its_own_since_the_outer_one_cannot() {
    #[retry_on_disconnect]
    #[transactional]
    fn second(tx: &mut Transaction<'_>, attempt: Attempt, bank: &Bank) -> Result<()> {
        if attempt.is_last() { deposit(tx, 3, 1) } else { suicide(bank, tx) }
    }
    #[retry_on_disconnect]
    fn both(db: &Db, bank: &Bank, runs: &Cell<u32>) -> Result<()> {
        runs.set(runs.get() + 1);
        db.transaction(|tx| deposit(tx, 2, 1))?;
        second(db, bank)
    }
    let bank = bank();
    let runs = Cell::new(0);
    both(&bank.db, &bank, &runs).unwrap();
    assert_eq!((runs.get(), bank.balance(2), bank.balance(3), bank.balance(1)), (1, 101, 101, 100));
}

#[test]
fn a_run_that_has_only_read_is_repeated() {
    let bank = bank();
    let mut runs = 0;
    let read_only = TxOptions::new().read_only(true);
    bank.db
        .retry(&quick(), |attempt| {
            runs += 1;
            bank.db.transaction_with(&read_only, |tx| tx.query_drop("SELECT * FROM account"))?;
            bank.db.transaction(|tx| if attempt.count() == 0 { suicide(&bank, tx) } else { deposit(tx, 2, 1) })
        })
        .unwrap();
    assert_eq!((runs, bank.balance(2)), (2, 101));
}

#[test]
fn hooks_never_run_for_an_attempt_that_is_replayed() {
    use std::cell::RefCell;
    use std::rc::Rc;
    let bank = bank();
    let log = Rc::new(RefCell::new(Vec::new()));
    let run = |last_fails: bool| {
        log.borrow_mut().clear();
        let result = bank.db.retry(&quick(), |attempt| {
            bank.db.transaction(|tx| {
                let (number, committed, rolled_back) = (attempt.number(), Rc::clone(&log), Rc::clone(&log));
                tx.after_commit(move || committed.borrow_mut().push(format!("committed {number}")));
                tx.after_rollback(move || rolled_back.borrow_mut().push(format!("rolled back {number}")));
                if attempt.is_last() && !last_fails { deposit(tx, 2, 1) } else { suicide(&bank, tx) }
            })
        });
        assert_eq!(result.is_err(), last_fails);
        log.borrow().clone()
    };
    assert_eq!(run(false), ["committed 3"]);
    assert_eq!(run(true), ["rolled back 3"]);
}

#[test]
fn arguments_survive_replays() {
    #[retry_on_disconnect]
    #[transactional]
    fn all_kinds(
        tx: &mut Transaction<'_>,
        attempt: Attempt,
        bank: &Bank,
        seen: &mut Vec<String>,
        owned: String,
        (left, right): (i64, i64),
        mut counter: u32,
    ) -> Result<u32> {
        counter += 1;
        seen.push(format!("{owned} {left} {right} {counter}"));
        if !attempt.is_last() {
            suicide(bank, tx)?;
        }
        drop(owned);
        Ok(counter)
    }
    let bank = bank();
    let mut seen = Vec::new();
    assert_eq!(all_kinds(&bank.db, &bank, &mut seen, "x".into(), (1, 2), 0).unwrap(), 1);
    // What was done to a `&mut` argument stays done; what came by value is new in each attempt.
    assert_eq!(seen, ["x 1 2 1"; 3]);
}

#[test]
fn a_type_that_owns_its_database_needs_no_parameter_for_it() {
    struct Store {
        db: Db,
        made: u32,
    }
    impl Store {
        #[retry_on_disconnect]
        #[transactional(on = self.db)]
        fn note(&self, tx: &mut Transaction<'_>, attempt: Attempt, bank: &Bank, text: &str) -> Result<()> {
            if attempt.count() == 0 {
                suicide(bank, tx)?;
            }
            tx.exec_drop("INSERT INTO journal (note) VALUES (?)", (text,))
        }

        #[transactional(on = self.db)]
        fn counted(&mut self, tx: &mut Transaction<'_>, text: &str) -> Result<()> {
            self.made += 1;
            tx.exec_drop("INSERT INTO journal (note) VALUES (?)", (text,))
        }

        #[transactional(on = self.db)]
        fn nested(&self, tx: &mut Transaction<'_>, bank: &Bank) -> Result<()> {
            tx.query_drop("DO 1")?;
            self.note(bank, "never")
        }
    }
    let bank = bank();
    let mut store = Store { db: bank.db.clone(), made: 0 };
    store.note(&bank, "one").unwrap();
    store.counted("two").unwrap();
    assert_eq!(store.nested(&bank).unwrap_err().kind(), ErrorKind::AlreadyInTransaction);
    assert_eq!((store.made, bank.notes()), (1, vec!["one".to_owned(), "two".to_owned()]));
}

#[test]
fn annotated_methods_work_behind_dyn() {
    trait Ledger {
        fn enter(&self, scope: &Scope<'_>, amount: i64) -> Result<()>;
        #[transactional]
        fn twice(&self, tx: &mut Transaction<'_>, amount: i64) -> Result<()> {
            self.enter(tx, amount)?;
            self.enter(tx, amount)
        }
    }
    struct Account(u32);
    impl Ledger for Account {
        #[transactional]
        fn enter(&self, tx: &mut Transaction<'_>, amount: i64) -> Result<()> {
            deposit(tx, self.0, amount)
        }
    }
    let bank = bank();
    let ledger: &dyn Ledger = &Account(5);
    ledger.enter(&bank.db, 1).unwrap();
    ledger.twice(&bank.db, 2).unwrap();
    assert_eq!(bank.balance(5), 105);
}

#[test]
fn a_body_can_ask_for_another_attempt_by_an_error_of_any_type() {
    #[derive(Debug)]
    struct Opaque;
    impl From<db_core::Error> for Opaque {
        fn from(_: db_core::Error) -> Self {
            Self
        }
    }
    let bank = bank();
    let mut runs = 0;
    bank.db
        .retry(&quick(), |attempt| {
            runs += 1;
            bank.db.transaction(|tx| {
                deposit(tx, 1, 1)?;
                if attempt.is_last() { Ok(()) } else { Err(Opaque::from(db_core::Error::retry("the stock was changed"))) }
            })
        })
        .unwrap();
    assert_eq!((runs, bank.balance(1)), (3, 101));

    let error = bank.db.retry(&quick(), |_| Err::<(), _>(db_core::Error::retry("never mind"))).unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.is_transient()), (ErrorKind::RetryRequested, 3, true));
    // Made, and thought better of.
    let mut runs = 0;
    let result = bank.db.retry(&quick(), |_| {
        runs += 1;
        drop(db_core::Error::retry("not after all"));
        Ok::<_, db_core::Error>(())
    });
    assert_eq!((result.is_ok(), runs), (true, 1));
}

#[test]
fn a_request_for_another_attempt_repeats_nothing_that_was_committed() {
    let bank = bank();
    let mut runs = 0;
    let error = bank
        .db
        .retry(&quick(), |_| {
            runs += 1;
            bank.db.transaction(|tx| deposit(tx, 2, 1))?;
            Err::<(), _>(db_core::Error::retry("once more"))
        })
        .unwrap_err();
    assert_eq!((runs, bank.balance(2), error.is_transient()), (1, 101, false));
}

#[test]
fn a_commit_on_another_database_is_not_done_again() {
    let bank = bank();
    let other = bank.db.fork().unwrap();
    let mut runs = 0;
    let error = bank
        .db
        .retry(&quick(), |_| {
            runs += 1;
            other.transaction(|tx| deposit(tx, 2, 1))?;
            bank.db.transaction(|tx| suicide(&bank, tx))
        })
        .unwrap_err();
    assert_eq!((runs, bank.balance(2)), (1, 101));
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::ConnectionLost, false), "who loops on it would pay twice");
}

#[test]
fn a_predicate_adds_a_retry_and_forbids_one() {
    fn decide(error: &db_core::Error) -> Option<bool> {
        match error.kind() {
            ErrorKind::UniqueViolation => Some(true),
            ErrorKind::ConnectionLost => Some(false),
            _ => None,
        }
    }
    #[retry_on_disconnect(policy = quick().when(decide))]
    #[transactional]
    fn open(tx: &mut Transaction<'_>, attempt: Attempt, runs: &Cell<u32>) -> Result<()> {
        runs.set(runs.get() + 1);
        tx.exec_drop("INSERT INTO account VALUES (?, 0)", (if attempt.is_last() { 50 } else { 1 },))
    }
    #[retry_on_disconnect(policy = quick().when(decide))]
    #[transactional]
    fn fails(tx: &mut Transaction<'_>, bank: &Bank, runs: &Cell<u32>) -> Result<()> {
        runs.set(runs.get() + 1);
        suicide(bank, tx)
    }
    let bank = bank();
    let runs = Cell::new(0);
    open(&bank.db, &runs).unwrap();
    assert_eq!((runs.take(), bank.balance(50)), (3, 0));
    assert_eq!(fails(&bank.db, &bank, &runs).unwrap_err().kind(), ErrorKind::ConnectionLost);
    assert_eq!(runs.get(), 1);
}

#[test]
fn an_error_that_ends_all_attempts_lists_what_each_of_them_met() {
    let bank = bank();
    let error = bank
        .db
        .retry(&quick(), |attempt| {
            bank.db.transaction(|tx| match attempt.number() {
                1 => suicide(&bank, tx),
                2 => Err(db_core::Error::retry("once more")),
                _ => tx.query_drop("nonsense"),
            })
        })
        .unwrap_err();
    let history: Vec<_> = error.history().iter().map(|failed| (failed.number(), failed.kind())).collect();
    assert_eq!(history, [(1, ErrorKind::ConnectionLost), (2, ErrorKind::RetryRequested)]);
    let shown = error.to_string();
    assert!(shown.ends_with("(attempt 3; attempt 1: ConnectionLost, attempt 2: RetryRequested)"), "{shown}");
}
