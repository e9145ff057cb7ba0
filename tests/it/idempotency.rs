//! With an idempotency key a call's work is done once, whatever becomes of its callers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use db_core::mysql::prelude::Queryable as _;
use db_core::prelude::*;
use db_core::{Error, Result};
use db_testkit::{Action, Cluster, Fault, Injection, Point};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use tests::{Bank, bank, cut_commit, cut_next, deposit, in_a_forked_child, quick, several_writers};

const TABLE: &str = "db_core_idempotency";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Receipt {
    number: u64,
    note: String,
}

/// Its value is another one each time that it runs.
#[retry_on_disconnect]
#[transactional(idempotency_key = key)]
fn pay(tx: &mut Transaction<'_>, key: &str, attempt: Attempt) -> Result<Receipt> {
    deposit(tx, 1, 1)?;
    Ok(Receipt { number: tx.last_insert_id().unwrap(), note: format!("attempt {}", attempt.number()) })
}

#[transactional(idempotency_key = key)]
fn pay_without_retry(tx: &mut Transaction<'_>, key: &str) -> Result<u64> {
    deposit(tx, 1, 1)?;
    Ok(tx.last_insert_id().unwrap())
}

/// A bank with the table of the keys.
fn keyed_bank() -> Bank {
    let bank = bank();
    bank.db.install_idempotency().unwrap();
    bank
}

fn rows(bank: &Bank) -> u64 {
    bank.admin_count(TABLE)
}

#[test]
fn the_first_call_does_the_work_and_every_later_one_gets_its_value() {
    let bank = keyed_bank();
    let first = pay(&bank.db, "a").unwrap();
    let other = Db::connect(&bank.server.url()).unwrap();
    for db in [&bank.db, &other, &bank.db.fork().unwrap()] {
        assert_eq!(pay(db, "a").unwrap(), first);
    }
    assert_eq!((bank.balance(1), bank.notes().len(), rows(&bank)), (101, 1, 1));
    assert_ne!(pay(&bank.db, "b").unwrap(), first);
    assert_eq!((bank.balance(1), bank.notes().len(), rows(&bank)), (102, 2, 2));
    assert_eq!(bank.db.stats().committed, 2);
}

#[test]
fn the_body_may_return_nothing_and_write_nothing() {
    let bank = keyed_bank();
    let runs = RefCell::new(0);
    let once = |db: &Db, key: u64| {
        db.transaction_once(key, &TxOptions::new(), |_| {
            *runs.borrow_mut() += 1;
            Ok::<_, Error>(())
        })
    };
    once(&bank.db, 7).unwrap();
    once(&bank.db, 7).unwrap();
    assert_eq!((*runs.borrow(), rows(&bank)), (2, 1));
    let value = |key: &[u8]| bank.db.transaction_once(key, &TxOptions::new(), |tx| tx.query_first::<String, _>("SELECT UUID()"));
    assert_eq!(value(&[0, 255]).unwrap(), value(&[0, 255]).unwrap());
    assert_ne!(value(&[0, 255]).unwrap(), value(&[0, 254]).unwrap());
}

#[test]
fn a_key_costs_no_round_trip() {
    let bank = keyed_bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    let count = |call: &dyn Fn()| {
        proxy.reset_counts();
        call();
        proxy.counts().round_trips
    };
    let plain = TxOptions::new();
    let number = RefCell::new(0_u64);
    let fresh = || {
        *number.borrow_mut() += 1;
        IdempotencyKey::new(&*number.borrow())
    };
    type Body = fn(&mut Transaction<'_>) -> Result<()>;
    let once = |key: IdempotencyKey, body: Body| db.transaction_once(key, &plain, body).unwrap();
    let two: Body = |tx| deposit(tx, 1, 1);
    let nothing: Body = |_| Ok(());
    // The first time prepares.
    db.transaction(two).unwrap();
    assert_eq!(count(&|| db.transaction(two).unwrap()), 3, "two statements, without a key");
    assert_eq!(count(&|| once(fresh(), two)), 3, "two statements, a new key");
    assert_eq!(count(&|| once(fresh(), nothing)), 1, "no statement, a new key");
    assert_eq!(count(&|| once(fresh().check_first(true), two)), 4, "a new key that is looked for first");
    let known = || IdempotencyKey::new(&1_u64);
    // The row, and ROLLBACK.
    assert_eq!(count(&|| once(known(), two)), 5, "two statements, a known key");
    assert_eq!(count(&|| once(known().check_first(true), two)), 2, "a known key that is looked for first: the look, and COMMIT");
    let nested = |key: Option<IdempotencyKey>, join: bool, body: Body| {
        let options = TxOptions::new().join(join);
        let call = || {
            db.transaction(|tx| {
                tx.exec_drop("UPDATE account SET balance = balance + ? WHERE id = ?", (1, 2))?;
                match &key {
                    Some(key) => tx.transaction_once(key, &options, body),
                    None => tx.transaction_with(&options, body),
                }
            })
            .unwrap();
        };
        count(&call)
    };
    assert_eq!(nested(None, false, two), 5, "nested, without a key");
    assert_eq!(nested(Some(fresh()), false, two), 5, "nested, a new key");
    assert_eq!(nested(Some(known()), false, two), 3, "nested, a known key");
    assert_eq!(nested(None, true, two), 4, "joined, without a key");
    assert_eq!(nested(Some(fresh()), true, two), 5, "joined, a new key: there is no savepoint for the look to go with");
    bank.db.install_ledger().unwrap();
    let (_proxy, ledger) = bank.proxied(|builder| builder.commit_ledger(true));
    ledger.transaction_once(fresh(), &plain, two).unwrap();
    let seq: Vec<u64> = bank.admin().query("SELECT seq FROM db_core_ledger").unwrap();
    assert_eq!(seq, [0], "the key is the ledger's entry");
}

#[test]
fn a_program_that_dies_between_the_reply_to_commit_and_its_caller_has_done_the_work_once() {
    let bank = keyed_bank();
    let url = bank.server.url();
    let call = |db: &Db, dies: bool| {
        db.transaction_once("a", &TxOptions::new(), |tx| {
            if dies {
                // Hooks run when the reply to COMMIT has been read, before the caller gets the value.
                tx.after_commit(|| kill_process(getpid(), Signal::KILL).unwrap());
            }
            deposit(tx, 1, 1)?;
            Ok::<_, Error>(tx.last_insert_id().unwrap())
        })
    };
    assert!(!in_a_forked_child(|| call(&Db::connect(&url).unwrap(), true).is_ok()));
    assert_eq!((bank.balance(1), rows(&bank)), (101, 1));
    let number: u64 = bank.admin().query_first("SELECT n FROM journal").unwrap().unwrap();
    assert_eq!(call(&bank.db, false).unwrap(), number);
    assert!(in_a_forked_child(|| call(&Db::connect(&url).unwrap(), false).unwrap() == number));
    assert_eq!((bank.balance(1), bank.notes().len()), (101, 1));
}

#[test]
fn processes_with_the_same_key_at_once_do_the_work_once_and_get_the_same_value() {
    const KEYS: u64 = 60;
    let bank = keyed_bank();
    let url = bank.server.url();
    let work = |url: &str| {
        let db = Db::builder(url).retry(quick().max_attempts(50)).connect().unwrap();
        (0..KEYS).map(|key| pay(&db, &format!("key {key}")).unwrap().number).collect::<Vec<_>>()
    };
    bank.admin_query("CREATE TABLE seen (process INT, numbers TEXT)");
    thread::scope(|threads| {
        let (url, bank) = (&url, &bank);
        for process in 0..3 {
            threads.spawn(move || {
                assert!(in_a_forked_child(|| {
                    let numbers = format!("{:?}", work(url));
                    let db = Db::connect(url).unwrap();
                    db.transaction(|tx| tx.exec_drop("INSERT INTO seen VALUES (?, ?)", (process, &numbers))).is_ok()
                }));
                let _ = bank;
            });
        }
    });
    let seen: Vec<String> = bank.admin().query("SELECT DISTINCT numbers FROM seen").unwrap();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!((bank.admin_count("seen"), bank.balance(1), rows(&bank)), (3, 100 + i64::try_from(KEYS).unwrap(), KEYS));
    assert_eq!(u64::try_from(bank.notes().len()).unwrap(), KEYS);
}

#[test]
fn a_call_waits_in_commit_for_another_with_the_same_key() {
    let bank = keyed_bank();
    let barrier = Barrier::new(2);
    // The first one stands in COMMIT, behind its key's row.
    bank.admin_query("CREATE TRIGGER slow AFTER INSERT ON db_core_idempotency FOR EACH ROW SET @slept = SLEEP(0.3)");
    let values: Vec<u64> = thread::scope(|threads| {
        let calls: Vec<_> = (0..2)
            .map(|_| {
                threads.spawn(|| {
                    let db = Db::builder(&bank.server.url()).retry(quick()).connect().unwrap();
                    barrier.wait();
                    // Different accounts, so that they do not wait for each other before.
                    let work = |tx: &mut Transaction<'_>| {
                        tx.exec_drop("INSERT INTO journal (note) VALUES ('a')", ())?;
                        Ok::<_, Error>(tx.last_insert_id().unwrap())
                    };
                    db.retry(&quick(), |_| db.transaction_once("a", &TxOptions::new(), work)).unwrap()
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(values[0], values[1]);
    assert_eq!((bank.notes().len(), rows(&bank)), (1, 1));
}

#[test]
fn a_lost_commit_is_resolved_by_the_key_with_the_ledger_and_without() {
    let bank = keyed_bank();
    bank.db.install_ledger().unwrap();
    for ledger in [false, true] {
        let (proxy, db) = bank.proxied(|builder| builder.commit_ledger(ledger));
        for (point, attempt, value) in [(Point::AfterRequest, 1, 1), (Point::BeforeRequest, 2, 1)] {
            let about = format!("ledger {ledger}, {point:?}");
            let before = bank.balance(1);
            let key = format!("retried, {about}");
            cut_commit(&proxy, &db, point, Action::Rst).assert_fired_after(|| {
                assert_eq!(pay(&db, &key).unwrap().note, format!("attempt {attempt}"), "{about}");
            });
            assert_eq!(pay(&db, &key).unwrap().note, format!("attempt {attempt}"), "{about}");
            assert_eq!(bank.balance(1), before + value, "{about}");

            // Without another attempt the error is definite, and the key is free.
            let key = format!("not retried, {about}");
            let before = bank.balance(1);
            let mut first = None;
            cut_commit(&proxy, &db, point, Action::Rst).assert_fired_after(|| first = Some(pay_without_retry(&db, &key)));
            match (point, first.unwrap()) {
                (Point::AfterRequest, first) => assert_eq!(pay_without_retry(&db, &key).unwrap(), first.unwrap(), "{about}"),
                (_, first) => {
                    let error = first.unwrap_err();
                    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::ConnectionLost, true), "{about}");
                    assert_eq!(bank.balance(1), before, "{about}");
                    pay_without_retry(&db, &key).unwrap();
                }
            }
            assert_eq!(bank.balance(1), before + 1, "{about}");
        }
    }
    // Nothing of it was recorded in the ledger.
    let seq: Vec<u64> = bank.admin().query("SELECT seq FROM db_core_ledger").unwrap();
    assert_eq!(seq, [0]);
}

trait FiredAfter {
    fn assert_fired_after(self, work: impl FnOnce());
}

impl FiredAfter for Injection {
    fn assert_fired_after(self, work: impl FnOnce()) {
        work();
        self.assert_fired();
    }
}

/// The request of a client that was given up, or that died, reaches the server after another has done the key's work, or was told that it was not done.
#[test]
fn a_late_request_of_a_dead_client_does_nothing() {
    let bank = keyed_bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    let late = Action::DelayAndAbandon(Duration::from_millis(300));
    for (call, key) in (1..).zip(["a", "b", "c"]) {
        let cut = cut_commit(&proxy, &db, Point::BeforeRequest, late);
        // The key is fenced, and the next attempt replaces the fence.
        let receipt = pay(&db, key).unwrap();
        assert!(cut.wait_delivered(Duration::from_secs(10)));
        assert_eq!((bank.balance(1), rows(&bank)), (100 + call, call as u64), "{key}");
        assert_eq!(pay(&db, key).unwrap(), receipt);
    }
    // It was reported as not done, and is not done when it arrives.
    let cut = cut_commit(&proxy, &db, Point::BeforeRequest, late);
    let error = pay_without_retry(&db, "d").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert!(cut.wait_delivered(Duration::from_secs(10)));
    thread::sleep(Duration::from_millis(50));
    assert_eq!(bank.balance(1), 103);
    // Nobody resolved it: the process was killed while its request was on its way. Another process does the work meanwhile.
    let late = Action::DelayAndAbandon(Duration::from_secs(2));
    let cut = proxy.inject(Fault::new(Point::BeforeRequest, late).matching("COMMIT"));
    let unresolved = proxy.inject(Fault::new(Point::BeforeRequest, Action::BlackHole).matching("SET NAMES").nth(2));
    let url = proxy.url(&bank.server.url()).unwrap();
    assert!(!in_a_forked_child(|| {
        thread::spawn(|| {
            thread::sleep(Duration::from_secs(1));
            kill_process(getpid(), Signal::KILL).unwrap();
        });
        let db = Db::builder(&url).silence(Duration::from_secs(60)).connect().unwrap();
        pay(&db, "e").is_ok()
    }));
    unresolved.assert_fired();
    let receipt = pay(&bank.db, "e").unwrap();
    assert!(cut.wait_delivered(Duration::from_secs(10)));
    thread::sleep(Duration::from_millis(50));
    assert_eq!(bank.balance(1), 104);
    assert_eq!(pay(&db, "e").unwrap(), receipt);
}

/// A COMMIT is cut, and then each step of finding out what became of it.
#[test]
fn a_resolution_that_is_itself_cut_finds_out_what_became_of_the_commit() {
    const LATE: Action = Action::DelayAndAbandon(Duration::from_millis(30));
    let bank = keyed_bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    let mut calls = 0;
    for (commit, late, attempts) in
        [(Point::AfterRequest, Action::Fin, 1..=1), (Point::BeforeRequest, Action::Rst, 2..=2), (Point::BeforeRequest, LATE, 1..=2)]
    {
        for step in ["SET NAMES", "processlist", "innodb_lock_wait_timeout", "FOR UPDATE", "(`key`, attempt) VALUES"] {
            for point in [Point::BeforeRequest, Point::RequestSent, Point::AfterRequest, Point::MidReply(5)] {
                for (action, times) in [(Action::Rst, 2), (LATE, 1)] {
                    if action == LATE && point != Point::BeforeRequest {
                        continue;
                    }
                    calls += 1;
                    let about = format!("{late:?} at {commit:?} of COMMIT, {action:?} at {point:?} of {step:?}, {times} times");
                    let lost = cut_commit(&proxy, &db, commit, late);
                    let cuts = cut_next(&proxy, times, step, point, action);
                    let receipt = pay(&db, &about).unwrap_or_else(|error| panic!("{about}: {error}"));
                    lost.assert_fired();
                    for cut in &cuts {
                        cut.cancel();
                        assert!(action != LATE || cut.fired() == 0 || cut.wait_delivered(Duration::from_secs(10)), "{about}");
                    }
                    assert!(late != LATE || lost.wait_delivered(Duration::from_secs(10)), "{about}");
                    assert!(attempts.clone().any(|attempt| receipt.note == format!("attempt {attempt}")), "{about}: {receipt:?}");
                    assert_eq!(pay(&db, &about).unwrap(), receipt, "{about}");
                    assert_eq!((bank.balance(1), rows(&bank)), (100 + calls, calls as u64), "{about}");
                }
            }
        }
    }
}

#[test]
fn a_commit_that_cannot_be_resolved_is_unknown_and_the_next_call_finds_out() {
    let bank = keyed_bank();
    for (point, done) in [(Point::AfterRequest, true), (Point::BeforeRequest, false)] {
        let (proxy, db) = bank.proxied(|builder| builder.resolve_timeout(Duration::from_millis(200)));
        let before = bank.balance(1);
        cut_commit(&proxy, &db, point, Action::Refuse(Duration::from_secs(600)));
        let key = format!("{point:?}");
        let error = pay(&db, &key).unwrap_err();
        assert_eq!((error.kind(), error.attempts(), error.is_transient()), (ErrorKind::CommitUnknown, 1, false), "{point:?}");
        assert_eq!(bank.balance(1), before + i64::from(done));
        proxy.refuse_connections(false);
        assert_eq!(pay(&db, &key).unwrap().note, "attempt 1");
        assert_eq!(bank.balance(1), before + 1, "{point:?}");
    }
}

#[test]
fn nested_calls_have_keys_of_their_own_which_go_with_their_savepoints() {
    let bank = keyed_bank();
    let order = |first: &str, second: &str, undo: bool| {
        bank.db.transaction_once(&*format!("{first}{second}"), &TxOptions::new(), |tx| {
            let one = pay_without_retry(tx, first)?;
            let undone = tx.transaction(|tx| {
                let two = pay_without_retry(tx, second)?;
                if undo { Err(Error::retry("undone")) } else { Ok(two) }
            });
            Ok::<_, Error>((one, undone.ok()))
        })
    };
    let (one, two) = order("a", "b", false).unwrap();
    assert_eq!((bank.balance(1), rows(&bank)), (102, 3));
    assert_eq!(order("a", "b", false).unwrap(), (one, two));
    assert_eq!((bank.balance(1), rows(&bank)), (102, 3));
    // What was done under a key is not done in another transaction.
    let (again, three) = order("a", "c", false).unwrap();
    assert_eq!((again, bank.balance(1), rows(&bank)), (one, 103, 5));
    assert_eq!(pay_without_retry(&bank.db, "c").unwrap(), three.unwrap());
    // The key goes with the work.
    assert_eq!(order("d", "e", true).unwrap().1, None);
    assert_eq!((bank.balance(1), rows(&bank)), (104, 7));
    pay_without_retry(&bank.db, "e").unwrap();
    assert_eq!((bank.balance(1), rows(&bank)), (105, 8));
    // Twice in one transaction is once.
    let twice = bank.db.transaction(|tx| Ok::<_, Error>((pay_without_retry(tx, "f")?, pay_without_retry(tx, "f")?))).unwrap();
    assert_eq!((twice.0, bank.balance(1), rows(&bank)), (twice.1, 106, 9));
    // A transaction that is rolled back stores nothing.
    let undone = bank.db.transaction(|tx| {
        pay_without_retry(tx, "g")?;
        Err::<(), _>(Error::retry("undone"))
    });
    assert_eq!(undone.unwrap_err().kind(), ErrorKind::RetryRequested);
    assert_eq!((bank.balance(1), rows(&bank)), (106, 9));
}

/// The look in front of the nested call came too early, and the whole is done again.
#[test]
fn a_nested_call_whose_key_is_used_meanwhile_makes_the_whole_an_attempt_that_failed() {
    let bank = keyed_bank();
    let other = Db::connect(&bank.server.url()).unwrap();
    let key = || IdempotencyKey::new("a").function("nested");
    let note = |db: &Scope<'_>, note: &str| {
        db.transaction_once(key(), &TxOptions::new(), |tx| {
            tx.exec_drop("INSERT INTO journal (note) VALUES (?)", (note,))?;
            Ok::<_, Error>(note.to_owned())
        })
    };
    let meanwhile = RefCell::new(false);
    let outer = |retries: &RetryPolicy| {
        bank.db.retry(retries, |_| {
            bank.db.transaction(|tx| {
                tx.query_drop("UPDATE account SET balance = balance + 10 WHERE id = 2")?;
                let value = note(tx, "mine")?;
                if !meanwhile.replace(true) {
                    // In a thread of its own: what it commits is no work of this attempt's.
                    thread::scope(|threads| threads.spawn(|| note(&other, "other").map(drop)).join().unwrap()).unwrap();
                }
                Ok::<_, Error>(value)
            })
        })
    };
    assert_eq!(outer(&quick()).unwrap(), "other");
    assert_eq!((bank.balance(2), bank.notes()), (110, vec![String::from("other")]));
    bank.admin_query("DELETE FROM db_core_idempotency");
    meanwhile.replace(false);
    let error = outer(&quick().max_attempts(1)).unwrap_err();
    assert_eq!((error.kind(), error.is_transient(), bank.balance(2)), (ErrorKind::Deadlock, true, 110));
}

#[test]
fn a_key_that_was_used_for_another_function_or_other_arguments_is_refused() {
    let bank = keyed_bank();
    let key = || IdempotencyKey::new("hunter2").fingerprint("one");
    let call = |key: IdempotencyKey| bank.db.transaction_once(key, &TxOptions::new(), |tx| deposit(tx, 1, 1));
    call(key()).unwrap();
    call(key()).unwrap();
    // Where no fingerprint is given, none is compared.
    call(IdempotencyKey::new("hunter2")).unwrap();
    let other = |db: &Db, key: IdempotencyKey| db.transaction_once(key, &TxOptions::new(), |tx| deposit(tx, 2, 2));
    fn elsewhere(db: &Db, key: IdempotencyKey) -> Result<()> {
        db.transaction_once(key, &TxOptions::new(), |tx| deposit(tx, 2, 2))
    }
    // Closures of one function share its name.
    other(&bank.db, key()).unwrap();
    for check_first in [false, true] {
        let about = format!("check_first({check_first})");
        let error = elsewhere(&bank.db, key().check_first(check_first)).unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::IdempotencyKeyReused, false), "{about}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("a_key_that_was_used_for_another_function") && !shown.contains("hunter2"), "{shown}");
        let error = call(key().fingerprint("two").check_first(check_first)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IdempotencyKeyReused, "{about}");
        assert!(error.to_string().contains("other arguments"), "{error}");
        let nested = bank.db.transaction(|tx| tx.transaction_once(key().fingerprint("two"), &TxOptions::new(), |tx| deposit(tx, 1, 1)));
        assert_eq!(nested.unwrap_err().kind(), ErrorKind::IdempotencyKeyReused);
    }
    assert_eq!((bank.balance(1), bank.balance(2), rows(&bank)), (101, 100, 1));
}

#[test]
fn a_function_that_was_renamed_keeps_its_keys_under_its_old_name() {
    let bank = keyed_bank();
    bank.db.transaction_once("a", &TxOptions::new(), |tx| deposit(tx, 1, 1)).unwrap();
    let old = "it::idempotency::a_function_that_was_renamed_keeps_its_keys_under_its_old_name";
    fn renamed(db: &Db, key: IdempotencyKey) -> Result<()> {
        db.transaction_once(key, &TxOptions::new(), |tx| deposit(tx, 1, 1))
    }
    assert_eq!(renamed(&bank.db, IdempotencyKey::new("a")).unwrap_err().kind(), ErrorKind::IdempotencyKeyReused);
    renamed(&bank.db, IdempotencyKey::new("a").function(old)).unwrap();
    assert_eq!(bank.balance(1), 101);
}

#[test]
fn a_value_of_another_type_is_an_error_and_is_not_shown() {
    let bank = keyed_bank();
    let key = IdempotencyKey::new("a").function("f");
    let _: String = bank.db.transaction_once(&key, &TxOptions::new(), |_| Ok::<_, Error>("hunter2".into())).unwrap();
    let error = bank.db.transaction_once(&key, &TxOptions::new(), |_| Ok::<_, Error>(7)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Driver);
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[test]
fn hooks_run_in_the_call_that_did_the_work() {
    let bank = keyed_bank();
    let ran: Rc<RefCell<Vec<String>>> = Rc::default();
    let call = |name: &str, check_first: bool| {
        let key = IdempotencyKey::new("a").check_first(check_first);
        let call = bank.db.transaction_once(key, &TxOptions::new(), |tx| {
            let (committed, rolled_back) = (Rc::clone(&ran), Rc::clone(&ran));
            let (commit, rollback) = (format!("{name} committed"), format!("{name} rolled back"));
            tx.after_commit(move || committed.borrow_mut().push(commit));
            tx.after_rollback(move || rolled_back.borrow_mut().push(rollback));
            deposit(tx, 1, 1)
        });
        call.unwrap();
    };
    call("first", false);
    // What this one did outside of the database is to be undone as well.
    call("second", false);
    call("third", true);
    assert_eq!(*ran.borrow(), ["first committed", "second rolled back"]);
}

#[test]
fn an_error_of_the_body_is_not_stored() {
    let bank = keyed_bank();
    for attempt in 1..=3 {
        let call = bank.db.transaction_once("a", &TxOptions::new(), |tx| {
            deposit(tx, 1, 1)?;
            if attempt < 3 { Err(Error::retry("not yet")) } else { Ok(attempt) }
        });
        assert_eq!(call.ok(), (attempt == 3).then_some(3));
    }
    assert_eq!((bank.balance(1), rows(&bank)), (101, 1));
    // Nor is an Ok that was to be rolled back.
    let undone = bank.db.transaction_once("b", &TxOptions::new(), |tx| {
        tx.set_rollback_only();
        deposit(tx, 1, 1)
    });
    undone.unwrap();
    assert_eq!((bank.balance(1), rows(&bank)), (101, 1));
}

#[test]
fn what_cannot_be_stored_is_refused_before_the_body_runs() {
    let bank = bank();
    let body = |_: &mut Transaction<'_>| -> Result<()> { panic!("the body ran") };
    let kind = |db: &Db, key: &str, options: &TxOptions| db.transaction_once(key, options, body).unwrap_err().kind();
    let plain = TxOptions::new();
    assert_eq!(kind(&bank.db, "", &plain), ErrorKind::Config);
    assert_eq!(kind(&bank.db, &"k".repeat(256), &plain), ErrorKind::Config);
    assert_eq!(kind(&bank.db, "a", &plain.read_only(true)), ErrorKind::Config);
    let nested = bank.db.transaction(|tx| tx.transaction_with(&plain.read_only(true), |tx| tx.transaction_once("a", &plain, body)));
    assert_eq!(nested.unwrap_err().kind(), ErrorKind::Config);
    let nowhere = Db::connect(&bank.server.url_for("")).unwrap();
    assert_eq!(kind(&nowhere, "a", &plain), ErrorKind::Config);
    assert_eq!(nowhere.install_idempotency().unwrap_err().kind(), ErrorKind::Config);
    // A missing table is found by the look, or at COMMIT.
    for check_first in [false, true] {
        let key = IdempotencyKey::new("a").check_first(check_first);
        let error = bank.db.transaction_once(key, &plain, |tx| deposit(tx, 1, 1)).unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::UnknownTable, false));
        assert!(error.to_string().contains("install_idempotency"), "{error}");
    }
    bank.db.install_idempotency().unwrap();
    bank.admin_query("SET GLOBAL max_allowed_packet = 1048576");
    let small = Db::connect(&bank.server.url()).unwrap();
    let error = small.transaction_once("a", &plain, |tx| deposit(tx, 1, 1).map(|()| "x".repeat(600_000))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Driver);
    assert!(error.to_string().contains("max_allowed_packet"), "{error}");
    assert_eq!((bank.balance(1), rows(&bank)), (100, 0));
}

#[test]
fn old_rows_are_swept_and_no_others() {
    let bank = keyed_bank();
    let digits = "(SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    bank.admin_query(&format!(
        "INSERT INTO db_core_idempotency (`key`, attempt, `at`) SELECT CONCAT(a.n, b.n, c.n, d.n), 1, NOW() - INTERVAL 2 DAY \
         FROM {digits} a, {digits} b, {digits} c, {digits} d WHERE a.n < 3"
    ));
    pay(&bank.db, "young").unwrap();
    let (proxy, db) = bank.proxied(|builder| builder);
    proxy.reset_counts();
    assert_eq!(db.sweep_idempotency(Duration::from_secs(86400)).unwrap(), 3000);
    // Three that are full, and one that is not.
    assert_eq!((rows(&bank), proxy.counts().round_trips), (1, 4));
    let pool = Db::builder(&bank.server.url()).connect_pool().unwrap();
    assert_eq!(pool.sweep_idempotency(Duration::from_secs(86400)).unwrap(), 0);
    bank.admin_query("UPDATE db_core_idempotency SET `at` = NOW() - INTERVAL 2 DAY");
    assert_eq!(pool.sweep_idempotency(Duration::from_secs(86400)).unwrap(), 1);
    // What was forgotten is done again.
    pay(&bank.db, "young").unwrap();
    assert_eq!(bank.balance(1), 102);
}

#[test]
fn threads_that_repeat_requests_under_random_cuts_do_every_keys_work_once() {
    const THREADS: u64 = 4;
    const KEYS: u64 = 40;
    let bank = keyed_bank();
    let tireless = quick().max_attempts(1000).max_elapsed(Duration::from_secs(60));
    let (proxy, db) = bank.proxied(|builder| builder.retry(tireless));
    let over = AtomicBool::new(false);
    let (values, cuts) = thread::scope(|threads| {
        let cutter = threads.spawn(|| {
            let (mut cuts, mut random) = (0, fastrand::Rng::with_seed(7));
            while !over.load(Ordering::Relaxed) {
                let point = match random.u32(0..6) {
                    0 | 1 => Point::BeforeRequest,
                    2 => Point::RequestSent,
                    3 => Point::AfterRequest,
                    _ => Point::MidReply(random.usize(0..60)),
                };
                let action = match random.u32(0..3) {
                    0 => Action::Fin,
                    1 => Action::Rst,
                    _ => Action::DelayAndAbandon(Duration::from_millis(random.u64(0..30))),
                };
                let cut = proxy.inject(Fault::new(point, action).matching(TABLE).nth(random.usize(1..4)));
                cuts += u32::from(cut.wait_fired(Duration::from_millis(20)));
                cut.cancel();
            }
            cuts
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                let db = db.fork().unwrap();
                threads.spawn(move || {
                    let values: Vec<Receipt> = (0..KEYS)
                        .map(|key| {
                            loop {
                                match pay(&db, &format!("{key}")) {
                                    Ok(receipt) => break receipt,
                                    // As a client does: it does not know, and asks again.
                                    Err(error) => assert!(error.is_commit_unknown() || error.is_transient(), "{error}"),
                                }
                            }
                        })
                        .collect();
                    values
                })
            })
            .collect();
        let values: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        (values, cutter.join().unwrap())
    });
    thread::sleep(Duration::from_millis(50));
    assert!(values.iter().all(|seen| *seen == values[0]), "{values:#?}");
    assert_eq!(bank.balance(1), 100 + i64::try_from(KEYS).unwrap());
    assert_eq!((bank.notes().len() as u64, rows(&bank)), (KEYS, KEYS));
    assert!(cuts > 20, "{cuts}");
}

/// Writers on two nodes use the same keys at once: certification decides, and the one that lost is told what the other has stored.
#[test]
fn on_a_cluster_every_keys_work_is_done_once() {
    const KEYS: u64 = 40;
    let Some(topology) = several_writers() else { return };
    let cluster = Cluster::builder(topology).nodes(2).start().unwrap();
    let mut admin = cluster.node(0).connect().unwrap();
    admin.query_drop("CREATE TABLE test.journal (n BIGINT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(100) NOT NULL)").unwrap();
    Db::connect(&cluster.node(0).url()).unwrap().install_idempotency().unwrap();
    cluster.settled().unwrap();
    let barrier = Barrier::new(2);
    let values: Vec<Vec<u64>> = thread::scope(|threads| {
        let nodes: Vec<_> = cluster
            .nodes()
            .iter()
            .map(|node| {
                let (url, barrier) = (node.url(), &barrier);
                threads.spawn(move || {
                    let tireless = quick().max_attempts(100).max_elapsed(Duration::from_secs(60));
                    let db = Db::builder(&url).retry(tireless).connect().unwrap();
                    (0..KEYS)
                        .map(|key| {
                            barrier.wait();
                            work(&db, key).unwrap()
                        })
                        .collect()
                })
            })
            .collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });
    #[retry_on_disconnect]
    #[transactional(idempotency_key = key)]
    fn work(tx: &mut Transaction<'_>, key: u64) -> Result<u64> {
        tx.exec_drop("INSERT INTO journal (note) VALUES (?)", (key,))?;
        Ok(tx.last_insert_id().unwrap())
    }
    assert_eq!(values[0], values[1]);
    cluster.settled().unwrap();
    for node in cluster.nodes() {
        let mut conn = node.connect().unwrap();
        let count = |conn: &mut db_core::mysql::Conn, table: &str| -> Option<u64> {
            conn.query_first(format!("SELECT COUNT(*) FROM test.{table}")).unwrap()
        };
        assert_eq!((count(&mut conn, "journal"), count(&mut conn, TABLE)), (Some(KEYS), Some(KEYS)));
    }
}
