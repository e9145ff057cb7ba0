//! No call hangs: replies that never come, deadlines, and the thread that watches for them.

use std::fs;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use db_core::prelude::*;
use db_core::{DbBuilder, Error, Result};
use db_testkit::{Action, Fault, Point};
use tests::{Bank, bank, deposit, eventually, in_a_forked_child, quick, while_signals_arrive, within};

const MOMENT: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(20);

/// With a watch that is impatient.
fn watched(builder: DbBuilder) -> DbBuilder {
    builder.silence(MOMENT).commit_ledger(true)
}

fn pay_twice(db: &Db) -> Result<()> {
    db.retry(&quick(), |_| {
        db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            deposit(tx, 2, 1)
        })
    })
}

/// The threads of this process that watch.
fn watches() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim() == "db-core-watch").count()
}

fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let began = Instant::now();
    (work(), began.elapsed())
}

#[test]
fn a_reply_that_never_comes_is_a_lost_connection_at_every_request_of_a_call() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    let (proxy, db) = bank.proxied(watched);
    pay_twice(&db).unwrap();
    let mut paid = 1;
    for text in ["UPDATE account", "INSERT INTO journal", "COMMIT AND"] {
        for point in [Point::BeforeRequest, Point::AfterRequest, Point::MidReply(3)] {
            let fault = proxy.inject(Fault::new(point, Action::BlackHole).matching(text));
            let own = db.clone();
            within(LIMIT, move || pay_twice(&own)).unwrap();
            fault.assert_fired();
            paid += 1;
            assert_eq!(bank.balances([1, 2]), [100 + paid, 100 + paid], "{text} {point:?}");
        }
    }
}

/// Whatever a call asks for: its connection, the ledger's row, each statement, the end of a nested transaction, COMMIT.
#[test]
fn each_request_of_a_call_may_be_one_that_never_gets_a_reply() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    let (proxy, db) = bank.proxied(watched);
    let call = |db: &Db| {
        db.disconnect();
        db.retry(&quick().max_elapsed(LIMIT), |_| {
            db.transaction(|tx| {
                let undone = tx.transaction(|tx| deposit(tx, 3, 1).and(Err::<(), _>(Error::retry("undone"))));
                assert!(undone.is_err());
                tx.transaction(|tx| deposit(tx, 1, 1))?;
                tx.query_first::<u32, _>("SELECT COUNT(*) FROM account")?;
                deposit(tx, 2, 1)
            })
        })
    };
    call(&db).unwrap();
    proxy.reset_counts();
    call(&db).unwrap();
    let requests = usize::try_from(proxy.counts().requests).unwrap();
    assert!((10..30).contains(&requests), "{requests}");
    let (mut paid, mut without_reply) = (2, 0);
    for point in [Point::BeforeRequest, Point::AfterRequest] {
        for nth in 1..=requests {
            let fault = proxy.inject(Fault::new(point, Action::BlackHole).nth(nth));
            let own = db.clone();
            within(LIMIT * 2, move || call(&own)).unwrap_or_else(|error| panic!("{point:?} {nth}: {error}"));
            fault.cancel();
            without_reply += u32::from(fault.fired() == 0);
            paid += 1;
            assert_eq!(bank.balances([1, 2, 3]), [100 + paid, 100 + paid, 100], "{point:?} {nth}");
        }
    }
    // The goodbye of the connection before.
    assert_eq!(without_reply, 1);
}

#[test]
fn the_questions_about_a_lost_commit_may_get_no_reply_either() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    let (proxy, db) = bank.proxied(watched);
    pay_twice(&db).unwrap();
    let questions = ["SHOW VARIABLES", "SET innodb_lock_wait_timeout", "FROM information_schema.processlist", "SELECT seq"];
    for (number, text) in questions.into_iter().enumerate() {
        proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("COMMIT AND"));
        let fault = proxy.inject(Fault::new(Point::AfterRequest, Action::BlackHole).matching(text));
        let own = db.clone();
        within(LIMIT * 2, move || pay_twice(&own)).unwrap();
        fault.assert_fired();
        let paid = 102 + i64::try_from(number).unwrap();
        assert_eq!(bank.balances([1, 2]), [paid, paid], "{text}");
    }
}

#[test]
fn a_call_ends_as_it_should_while_signals_arrive() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    let (proxy, db) = bank.proxied(watched);
    let pool = Db::builder(&bank.server.url()).retry(quick()).max_connections(1).connect_pool().unwrap();
    let (began, mut calls) = (Instant::now(), 0);
    while_signals_arrive(|| {
        while began.elapsed() < Duration::from_secs(5) {
            pay_twice(&db).unwrap();
            let rows: Vec<u32> = pool.transaction(|tx| tx.query("SELECT a.id FROM account a, account b, account c")).unwrap();
            let slept: Option<u32> = pool.transaction(|tx| tx.query_first("SELECT SLEEP(0.05)")).unwrap();
            assert_eq!((rows.len(), slept), (1000, Some(0)));
            calls += 1;
        }
    });
    assert!(calls > 10, "{calls}");
    assert_eq!((bank.balances([1, 2]), db.stats().reconnects, pool.stats().reconnects), ([100 + calls, 100 + calls], 0, 0));

    // Connecting, waiting for the pool, and a reply that never comes.
    let (go, told) = channel::<()>();
    let (ready, holds) = channel();
    let holder = pool.clone();
    let holder = thread::spawn(move || {
        holder.transaction(|_| {
            ready.send(()).unwrap();
            told.recv_timeout(MOMENT * 2).unwrap_err();
            Ok::<_, Error>(())
        })
    });
    holds.recv().unwrap();
    let fault = proxy.inject(Fault::new(Point::AfterRequest, Action::BlackHole).matching("COMMIT AND"));
    let (result, time) = within(LIMIT, move || {
        while_signals_arrive(|| {
            timed(|| {
                pool.transaction(|tx| deposit(tx, 3, 1))?;
                db.disconnect();
                pay_twice(&db)
            })
        })
    });
    result.unwrap();
    fault.assert_fired();
    drop(go);
    holder.join().unwrap().unwrap();
    assert!(time >= MOMENT, "{time:?}");
    assert_eq!(bank.balances([1, 2, 3]), [101 + calls, 101 + calls, 101]);
}

#[test]
fn rows_that_never_come_are_a_lost_connection() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder.silence(MOMENT));
    let read = |db: &Db| db.transaction(|tx| tx.query::<u32, _>("SELECT a.id FROM account a, account b"));
    assert_eq!(read(&db).unwrap().len(), 100);
    // The columns arrive, and some rows.
    let fault = proxy.inject(Fault::new(Point::MidReply(300), Action::BlackHole).matching("SELECT a.id"));
    let own = db.clone();
    let result = within(LIMIT, move || read(&own));
    fault.assert_fired();
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionLost);
    assert_eq!(read(&db).unwrap().len(), 100);
}

#[test]
fn a_server_that_has_stopped_is_given_up_when_it_cannot_be_asked_either() {
    let bank = bank();
    let db = Db::builder(&bank.server.url());
    stopped(&bank, &db.silence(Duration::from_secs(2)).retry(quick().max_attempts(1)).connect().unwrap());
}

#[test]
fn a_server_that_has_stopped_behind_a_proxy_is_given_up_when_it_cannot_be_asked_either() {
    let bank = bank();
    let (_proxy, db) = bank.proxied(|builder| builder.silence(Duration::from_secs(2)).retry(quick().max_attempts(1)));
    stopped(&bank, &db);
}

/// Its process has stopped, and its kernel goes on acknowledging.
fn stopped(bank: &Bank, db: &Db) {
    db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    bank.server.pause().unwrap();
    let own = db.clone();
    let (result, time) = within(LIMIT * 2, move || timed(|| own.transaction(|tx| tx.query_drop("UPDATE account SET balance = 0"))));
    bank.server.resume().unwrap();
    let error = result.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ConnectionLost | ErrorKind::ConnectFailed), "{error}");
    // Twice the silence, twice as long for the question, and then the first statement is sent again, to a server that does not greet.
    assert!((4..16).contains(&time.as_secs()), "{time:?}");
    db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
}

#[test]
fn an_honest_long_query_is_not_cut() {
    let bank = bank();
    let (_proxy, db) = bank.proxied(|builder| builder.silence(MOMENT));
    let (result, time) = timed(|| db.transaction(|tx| tx.query_first::<u32, _>("SELECT SLEEP(4)")));
    assert!(result.is_ok() && time >= Duration::from_secs(4), "{result:?} {time:?}");
    // Nor is a body that takes its time between two statements, or within a result.
    db.transaction(|tx| {
        deposit(tx, 1, 1)?;
        thread::sleep(MOMENT * 12);
        tx.query_fold("SELECT id FROM account", 0, |sum, id: u32| {
            if id == 1 {
                thread::sleep(MOMENT * 12);
            }
            sum + id
        })
    })
    .unwrap();
    assert_eq!((db.stats().reconnects, bank.balance(1)), (0, 101));
}

/// At the defaults: the server is asked five times.
#[test]
#[ignore = "it takes two minutes: .ci/run runs it"]
fn an_honest_query_of_two_minutes_is_not_cut() {
    let bank = bank();
    let (_proxy, far) = bank.proxied(|builder| builder);
    let near = bank.db.clone();
    thread::scope(|threads| {
        for db in [far, near] {
            threads.spawn(move || {
                let (result, time) = timed(|| db.transaction(|tx| tx.query_first::<u32, _>("SELECT SLEEP(120)")));
                assert_eq!((result.unwrap(), db.stats().reconnects), (Some(0), 0));
                assert!(time >= Duration::from_secs(120), "{time:?}");
            });
        }
    });
}

#[test]
fn a_statement_ends_at_the_deadline_and_so_does_its_work_on_the_server() {
    let bank = bank();
    let db = bank.db.fork().unwrap();
    let second = TxOptions::new().timeout(Duration::from_secs(1));
    let id: Option<u32> = db.transaction(|tx| tx.query_first("SELECT CONNECTION_ID()")).unwrap();
    let _holder = bank.locked(3);
    let own = db.clone();
    let (result, time) = within(LIMIT, move || {
        timed(|| {
            own.transaction_with(&second, |tx| {
                deposit(tx, 1, 1)?;
                deposit(tx, 3, 1)
            })
        })
    });
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.is_transient(), error.http_status()), (ErrorKind::DeadlineExceeded, false, 504), "{error}");
    assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&time), "{time:?}");
    // The statement alone was ended.
    assert_eq!(db.transaction(|tx| tx.query_first("SELECT CONNECTION_ID()")).unwrap(), id);
    assert_eq!(bank.balances([1, 3]), [100, 100]);
    db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
}

#[transactional(timeout = limit)]
fn pay_within(tx: &mut Transaction<'_>, limit: Duration) -> Result<()> {
    deposit(tx, 1, 1)?;
    deposit(tx, 3, 1)
}

/// The limit is that of all attempts together.
#[retry_on_disconnect(timeout = limit, max_attempts = u32::MAX, max_elapsed = LIMIT)]
#[transactional]
fn pay_again_within(tx: &mut Transaction<'_>, limit: Duration) -> Result<()> {
    deposit(tx, 1, 1)?;
    Err(Error::retry("again"))
}

#[retry_on_disconnect(timeout = limit, max_attempts = u32::MAX, max_elapsed = LIMIT)]
fn transactions_within(db: &Scope<'_>, limit: Duration) -> Result<()> {
    db.transaction(|tx| {
        deposit(tx, 1, 1)?;
        deposit(tx, 3, 1)
    })
}

#[test]
fn the_timeout_of_an_attribute_is_the_deadline_of_the_call() {
    let bank = bank();
    // An attribute's limit stands in place of the database's.
    let db = Db::builder(&bank.server.url()).timeout(LIMIT).connect().unwrap();
    let holder = bank.locked(3);
    let limit = Duration::from_secs(1);
    for (what, call) in [
        ("transactional", pay_within as fn(&Scope<'_>, Duration) -> Result<()>),
        ("both", pay_again_within),
        ("retry alone", transactions_within),
    ] {
        let (result, time) = timed(|| call(&db, limit));
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{what}: {error}");
        // No delay is begun that would end after the deadline.
        assert!((limit - Duration::from_millis(200)..limit * 4).contains(&time), "{what}: {time:?}");
    }
    assert_eq!(bank.balances([1, 3]), [100, 100]);

    // Inside another transaction the limit is that of the call around it.
    drop(holder);
    db.transaction(|tx| {
        thread::sleep(MOMENT);
        pay_within(tx, Duration::ZERO)
    })
    .unwrap();
    assert_eq!(pay_within(&db, Duration::ZERO).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(bank.balances([1, 3]), [101, 101]);
}

#[test]
fn a_deadline_bounds_a_call_whose_server_never_replies() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder.timeout(Duration::from_secs(1)));
    db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    for text in ["UPDATE account", "INSERT INTO journal"] {
        let fault = proxy.inject(Fault::new(Point::BeforeRequest, Action::BlackHole).matching(text));
        let own = db.clone();
        let (result, time) = within(LIMIT, move || timed(|| pay_twice(&own)));
        fault.assert_fired();
        assert_eq!(result.unwrap_err().kind(), ErrorKind::DeadlineExceeded, "{text}");
        assert!(time < Duration::from_secs(4), "{text} {time:?}");
    }
    assert_eq!(bank.balances([1, 2]), [101, 100]);
}

#[test]
fn a_commit_under_way_at_the_deadline_is_resolved_or_not_known() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    for (ledger, point, expected) in [
        (true, Point::BeforeRequest, Some(ErrorKind::DeadlineExceeded)),
        (true, Point::AfterRequest, None),
        (false, Point::AfterRequest, Some(ErrorKind::CommitUnknown)),
    ] {
        let (proxy, db) = bank.proxied(|builder| builder.timeout(Duration::from_secs(1)).commit_ledger(ledger));
        db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
        let before = bank.balance(2);
        let fault = proxy.inject(Fault::new(point, Action::BlackHole).matching("COMMIT AND"));
        let own = db.clone();
        let result = within(LIMIT, move || own.transaction(|tx| deposit(tx, 2, 1)));
        fault.assert_fired();
        assert_eq!(result.err().map(|error| error.kind()), expected, "{ledger} {point:?}");
        assert_eq!(bank.balance(2) - before, i64::from(point == Point::AfterRequest));
    }
}

#[test]
fn a_commit_that_takes_too_long_is_resolved() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    let (proxy, db) = bank.proxied(|builder| builder.commit_ledger(true).commit_timeout(Duration::from_secs(1)));
    db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    proxy.inject(Fault::new(Point::AfterRequest, Action::BlackHole).matching("COMMIT AND"));
    let own = db.clone();
    let (result, time) = within(LIMIT, move || timed(|| own.transaction(|tx| deposit(tx, 1, 1))));
    result.unwrap();
    assert!(time >= Duration::from_secs(1), "{time:?}");
    assert_eq!(bank.balance(1), 102);
}

#[test]
fn the_waits_for_the_lock_the_pool_the_server_and_the_next_attempt_end_at_the_deadline() {
    let bank = bank();
    let brief = |builder: DbBuilder| builder.timeout(MOMENT * 2).retry(quick());
    let ends_in_time = |what: &str, call: &mut dyn FnMut() -> Result<()>| {
        let (result, time) = timed(call);
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{what}: {error}");
        assert!(time < MOMENT * 10, "{what}: {time:?}");
    };
    let db = brief(Db::builder(&bank.server.url())).connect().unwrap();
    let (go, told) = channel::<()>();
    let (ready, holds) = channel();
    let holder = db.clone();
    let holder = thread::spawn(move || {
        let _lock = holder.lock();
        ready.send(()).unwrap();
        told.recv().unwrap();
    });
    holds.recv().unwrap();
    ends_in_time("the lock", &mut || db.transaction(|tx| deposit(tx, 1, 1)));
    go.send(()).unwrap();
    holder.join().unwrap();

    let pool = brief(Db::builder(&bank.server.url())).max_connections(1).connect_pool().unwrap();
    let (go, told) = channel::<()>();
    let (ready, holds) = channel();
    let holder = pool.clone();
    let holder = thread::spawn(move || {
        holder.transaction_with(&TxOptions::new().timeout(LIMIT), |_| {
            ready.send(()).unwrap();
            told.recv().unwrap();
            Ok::<_, Error>(())
        })
    });
    holds.recv().unwrap();
    ends_in_time("the pool", &mut || pool.transaction(|tx| deposit(tx, 1, 1)));
    go.send(()).unwrap();
    holder.join().unwrap().unwrap();

    ends_in_time("the next attempt", &mut || {
        db.retry(&quick().base_delay(LIMIT).max_delay(LIMIT).max_elapsed(Duration::MAX), |_| Err(Error::retry("again")))
    });
    ends_in_time("a body that ignores it", &mut || {
        db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            thread::sleep(MOMENT * 3);
            Ok(())
        })
    });
    ends_in_time("a statement after it", &mut || {
        db.transaction(|tx| {
            thread::sleep(MOMENT * 3);
            deposit(tx, 1, 1)
        })
    });
    db.disconnect();
    bank.server.pause().unwrap();
    ends_in_time("the server", &mut || db.transaction(|tx| deposit(tx, 1, 1)));
    bank.server.resume().unwrap();
    assert_eq!(bank.balance(1), 100);
}

#[test]
fn the_hooks_of_a_call_are_not_bounded_by_its_deadline() {
    let bank = bank();
    let (db, own) = (bank.db.clone(), bank.db.clone());
    db.transaction_with(&TxOptions::new().timeout(MOMENT * 5), |tx| {
        let own = own.clone();
        tx.after_commit(move || {
            thread::sleep(MOMENT * 6);
            own.transaction(|tx| deposit(tx, 2, 1)).unwrap();
        });
        deposit(tx, 1, 1)
    })
    .unwrap();
    assert_eq!(bank.balances([1, 2]), [101, 101]);
}

#[test]
fn a_wait_for_the_lock_is_bounded_by_default() {
    let bank: Bank = bank();
    let (own, _lock) = (bank.db.clone(), bank.db.lock());
    let (result, time) = thread::spawn(move || timed(|| own.transaction(|tx| deposit(tx, 1, 1)))).join().unwrap();
    assert_eq!(result.unwrap_err().kind(), ErrorKind::LockTimeout);
    assert!((29..35).contains(&time.as_secs()), "{time:?}");
}

/// Alone in its process: other tests have watches of theirs.
#[test]
fn the_watch_ends_with_the_last_database_and_a_forked_process_has_its_own() {
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--test-threads=1", "hangs::alone"])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
#[ignore = "run by the test above"]
fn alone() {
    let watches_are = |count: usize| eventually("so many watches", || watches() == count);
    watches_are(0);
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder.silence(MOMENT));
    db.ping().unwrap();
    watches_are(1);
    let child = db.clone();
    let fault = proxy.inject(Fault::new(Point::BeforeRequest, Action::BlackHole).matching("by the child"));
    assert!(in_a_forked_child(|| {
        watches_are(0);
        // The first statement is sent again, once the watch has found that its reply does not come.
        child.transaction(|tx| tx.query_drop("DO /* by the child */ 1")).unwrap();
        watches_are(1);
        true
    }));
    fault.assert_fired();
    drop((db, child));
    let Bank { db, server } = bank;
    db.ping().unwrap();
    watches_are(1);
    drop(db);
    watches_are(0);
    let db = Db::connect(&server.url()).unwrap();
    watches_are(1);
    drop(db);
    watches_are(0);
}
