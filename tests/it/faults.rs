//! What the network and the server can do to a call.

use std::thread;
use std::time::{Duration, Instant};

use db_core::prelude::*;
use db_core::{Error, Result};
use db_testkit::{Action, Fault, Point};
use tests::{bank, deposit, in_a_forked_child, quick, within};

fn connection_id(db: &Db) -> u32 {
    db.transaction(|tx| tx.query_first("SELECT CONNECTION_ID()")).unwrap().unwrap()
}

#[retry_on_disconnect]
#[transactional]
fn transfer(tx: &mut Transaction<'_>, from: u32, to: u32) -> Result<()> {
    deposit(tx, from, -10)?;
    deposit(tx, to, 10)
}

#[test]
fn a_connection_killed_while_idle_costs_the_caller_nothing() {
    let bank = bank();
    bank.kill(connection_id(&bank.db));
    // Without the retry attribute.
    bank.db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    bank.kill(connection_id(&bank.db));
    bank.db.ping().unwrap();
    assert_eq!(bank.balance(1), 101);
}

#[test]
fn the_first_statement_of_a_transaction_survives_a_dead_connection() {
    // Each dies after the look at the socket, and is met by the statement itself.
    type Body = fn(&mut Transaction<'_>) -> Result<()>;
    let bodies: [(&str, Body); 5] = [
        ("query_drop", |tx| tx.query_drop("UPDATE account SET balance = balance + 1 WHERE id = 1")),
        ("query_iter", |tx| tx.query_iter("UPDATE account SET balance = balance + 1 WHERE id = 1").map(drop)),
        ("exec_drop", |tx| tx.exec_drop("UPDATE account SET balance = balance + 1 WHERE id = ?", (1,))),
        ("exec_iter", |tx| tx.exec_iter("UPDATE account SET balance = balance + 1 WHERE id = ?", (1,)).map(drop)),
        ("nested", |tx| tx.transaction(|tx| tx.exec_drop("UPDATE account SET balance = balance + 1 WHERE id = ?", (1,)))),
    ];
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    for (done, (name, body)) in (1..).zip(bodies) {
        for point in [Point::BeforeRequest, Point::AfterRequest] {
            let cut = proxy.inject(Fault::new(point, Action::Rst));
            db.transaction(|tx| {
                body(tx)?;
                tx.query_drop("INSERT INTO journal (note) VALUES ('after')")
            })
            .unwrap_or_else(|error| panic!("{name}, {point:?}: {error}"));
            cut.assert_fired();
        }
        assert_eq!(bank.balance(1), 100 + 2 * done, "{name}");
        assert_eq!(bank.notes().len(), 2 * usize::try_from(done).unwrap(), "{name}");
    }
    proxy.finish();
}

#[test]
fn the_first_statement_is_not_sent_again_if_it_commits_implicitly() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    let cut = proxy.inject(Fault::new(Point::AfterRequest, Action::Rst));
    let error = db.transaction(|tx| tx.query_drop("CREATE TABLE once (id INT)")).unwrap_err();
    cut.assert_fired();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
}

#[test]
fn a_connection_killed_between_statements_is_replayed_as_a_whole() {
    let bank = bank();
    let mut runs = 0;
    bank.db
        .retry(&quick(), |attempt| {
            runs += 1;
            bank.db.transaction(|tx| {
                deposit(tx, 1, -10)?;
                if attempt.count() == 0 {
                    bank.kill(tx.connection_id().unwrap());
                }
                deposit(tx, 2, 10)
            })
        })
        .unwrap();
    assert_eq!((runs, bank.balance(1), bank.balance(2), bank.notes().len()), (2, 90, 110, 2));
}

#[test]
fn a_connection_killed_mid_body_without_retry_is_an_err_with_nothing_done() {
    let bank = bank();
    let error = bank.fails(|tx| {
        deposit(tx, 1, -10)?;
        bank.kill(tx.connection_id().unwrap());
        deposit(tx, 2, 10)
    });
    assert_eq!((error.kind(), error.http_status(), error.is_transient()), (ErrorKind::ConnectionLost, 503, true));
    assert_eq!((bank.balance(1), bank.balance(2)), (100, 100));
    transfer(&bank.db, 1, 2).unwrap();
    assert_eq!((bank.balance(1), bank.balance(2)), (90, 110));
}

#[test]
fn every_request_of_a_call_can_be_cut_and_the_work_is_done_once() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    transfer(&db, 1, 2).unwrap();
    let mut transfers = 1;
    // The four statements, executed; their COMMIT has tests of its own.
    for nth in 1..=4 {
        for point in [Point::BeforeRequest, Point::RequestSent, Point::AfterRequest, Point::MidReply(5)] {
            for action in [Action::Fin, Action::Rst] {
                let cut = proxy.inject(Fault::new(point, action).nth(nth));
                transfer(&db, 1, 2).unwrap_or_else(|error| panic!("request {nth}, {point:?}, {action:?}: {error}"));
                cut.assert_fired();
                transfers += 1;
                assert_eq!(bank.balance(1), 100 - 10 * transfers, "request {nth}, {point:?}, {action:?}");
                assert_eq!(bank.balance(2), 100 + 10 * transfers, "request {nth}, {point:?}, {action:?}");
            }
        }
    }
    proxy.finish();
}

#[test]
fn a_connection_dead_before_commit_is_a_definite_no_and_is_replayed() {
    let bank = bank();
    let mut runs = 0;
    bank.db
        .retry(&quick(), |attempt| {
            runs += 1;
            bank.db.transaction(|tx| {
                deposit(tx, 1, 1)?;
                if attempt.count() == 0 {
                    bank.kill(tx.connection_id().unwrap());
                }
                Ok::<_, Error>(())
            })
        })
        .unwrap();
    assert_eq!((runs, bank.balance(1)), (2, 101));
}

#[test]
fn a_commit_whose_answer_is_lost_is_unknown_and_is_not_replayed() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    for (point, committed) in [(Point::BeforeRequest, 0), (Point::AfterRequest, 1)] {
        let before = bank.balance(1);
        // Opening a connection says "autocommit".
        db.ping().unwrap();
        let cut = proxy.inject(Fault::new(point, Action::Rst).matching("COMMIT"));
        let error = transfer(&db, 2, 1).unwrap_err();
        cut.assert_fired();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::CommitUnknown, 1));
        assert!(error.is_commit_unknown() && !error.is_transient());
        assert_eq!(bank.balance(1), before + 10 * committed);
    }
    let before = bank.balance(1);
    transfer(&db, 2, 1).unwrap();
    assert_eq!(bank.balance(1), before + 10);
    proxy.finish();
}

#[test]
fn a_lost_commit_of_a_read_only_transaction_lost_nothing() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    let cut = proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("COMMIT"));
    #[retry_on_disconnect]
    #[transactional(read_only)]
    fn total(tx: &mut Transaction<'_>) -> Result<i64> {
        Ok(tx.query_first("SELECT CAST(SUM(balance) AS SIGNED) FROM account")?.unwrap_or(0))
    }
    assert_eq!(total(&db).unwrap(), 1000);
    cut.assert_fired();
    proxy.finish();
}

#[test]
fn after_a_read_timeout_the_previous_reply_is_never_seen() {
    let bank = bank();
    let db = Db::builder(&bank.server.url())
        .retry(quick())
        .driver_options(|options| options.read_timeout(Some(Duration::from_millis(300))))
        .connect()
        .unwrap();
    // The answer arrives while nobody listens any more, or while a ROLLBACK would wait for its own.
    for seconds in ["1", "0.45"] {
        let slow = format!("SELECT CONCAT('AAA', SLEEP({seconds}))");
        let timed_out = db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            assert_eq!(tx.query_first::<String, _>(&slow).unwrap_err().kind(), ErrorKind::ConnectionLost);
            // The driver would answer this one with AAA.
            assert_eq!(tx.query_first::<String, _>("SELECT 'BBB'").unwrap_err().kind(), ErrorKind::ConnectionLost);
            Ok::<_, Error>(())
        });
        assert_eq!(timed_out.unwrap_err().kind(), ErrorKind::ConnectionLost);
        let value = db.transaction(|tx| tx.query_first::<String, _>("SELECT 'CCC'")).unwrap();
        assert_eq!((value.as_deref(), bank.balance(1)), (Some("CCC"), 100));
    }
    // Also where the slow statement is the first, which a timeout does not send again.
    let first = db.transaction(|tx| tx.query_first::<String, _>("SELECT CONCAT('AAA', SLEEP(1))"));
    assert_eq!(first.unwrap_err().kind(), ErrorKind::ConnectionLost);
    let value = db.transaction(|tx| tx.query_first::<String, _>("SELECT 'DDD'")).unwrap();
    assert_eq!(value.as_deref(), Some("DDD"));
}

#[test]
fn a_first_statement_that_times_out_is_not_sent_again() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder.driver_options(|options| options.read_timeout(Some(Duration::from_millis(200)))));
    let error = db.transaction(|tx| tx.query_drop("SELECT SLEEP(0.5)")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    // The server goes on with it: a second one would be a second one.
    let sent = proxy.requests().into_iter().filter(|request| request.text.as_deref() == Some("SELECT SLEEP(0.5)"));
    assert_eq!(sent.count(), 1);
}

#[test]
fn a_black_hole_is_an_error_within_the_timeout_and_nothing_is_done_twice() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder.driver_options(|options| options.read_timeout(Some(Duration::from_millis(300)))));
    let hole = proxy.inject(Fault::new(Point::AfterRequest, Action::BlackHole).matching("INSERT"));
    let began = Instant::now();
    let worker = db.clone();
    let result = within(Duration::from_secs(10), move || worker.retry(&quick(), |_| worker.transaction(|tx| deposit(tx, 1, 1))));
    hole.assert_fired();
    // The old session still holds its locks, as far as the server knows: the replay may wait for them in vain.
    match result {
        Ok(()) => assert_eq!(bank.balance(1), 101),
        Err(error) => assert_eq!((error.kind(), bank.balance(1)), (ErrorKind::ConnectionLost, 100), "{error}"),
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_server_restart_is_survived() {
    let bank = bank();
    transfer(&bank.db, 1, 2).unwrap();
    bank.server.restart().unwrap();
    transfer(&bank.db, 1, 2).unwrap();
    bank.server.kill9().unwrap();
    bank.server.restart().unwrap();
    transfer(&bank.db, 1, 2).unwrap();
    assert_eq!((bank.balance(1), bank.balance(2)), (70, 130));
}

#[test]
fn a_server_that_comes_back_within_the_budget_is_waited_for() {
    let bank = bank();
    bank.server.kill9().unwrap();
    let db = bank.db.clone();
    let call = thread::spawn(move || transfer(&db, 1, 2));
    thread::sleep(Duration::from_millis(500));
    bank.server.restart().unwrap();
    call.join().unwrap().unwrap();
    assert_eq!((bank.balance(1), bank.balance(2)), (90, 110));
}

#[test]
fn a_server_that_dies_in_mid_body_and_comes_back_is_waited_for() {
    let bank = bank();
    let mut runs = 0;
    thread::scope(|threads| {
        bank.db
            .retry(&quick(), |attempt| {
                runs += 1;
                bank.db.transaction(|tx| {
                    deposit(tx, 1, 1)?;
                    if attempt.count() == 0 {
                        bank.server.kill9().unwrap();
                        threads.spawn(|| {
                            thread::sleep(Duration::from_millis(300));
                            bank.server.restart().unwrap();
                        });
                    }
                    deposit(tx, 2, 1)
                })
            })
            .unwrap();
    });
    // The outage was waited for: it did not use up the attempts.
    assert_eq!((runs, bank.balance(1), bank.balance(2)), (2, 101, 101));
}

#[test]
fn a_server_that_stays_away_is_an_error_within_the_budget_and_the_database_heals_later() {
    let bank = bank();
    bank.server.stop().unwrap();
    #[retry_on_disconnect(max_elapsed = Duration::from_millis(400))]
    #[transactional]
    fn impatient(tx: &mut Transaction<'_>, runs: &mut u32) -> Result<()> {
        *runs += 1;
        deposit(tx, 1, 1)
    }
    let began = Instant::now();
    let mut runs = 0;
    let error = impatient(&bank.db, &mut runs).unwrap_err();
    assert_eq!((error.kind(), error.http_status(), error.attempts()), (ErrorKind::ConnectFailed, 503, 1));
    assert!((200..2000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(runs, 0);
    // Without retry: at once.
    let began = Instant::now();
    assert_eq!(bank.db.transaction(|tx| deposit(tx, 1, 1)).unwrap_err().kind(), ErrorKind::ConnectFailed);
    assert!(began.elapsed() < Duration::from_millis(200));
    bank.server.restart().unwrap();
    bank.db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    assert_eq!(bank.balance(1), 101);
}

#[test]
fn threads_that_share_a_database_survive_a_server_restart_together() {
    let bank = bank();
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let db = bank.db.clone();
            thread::spawn(move || (0..50).map(|_| transfer(&db, 3, 4)).collect::<Vec<_>>())
        })
        .collect();
    thread::sleep(Duration::from_millis(30));
    bank.server.restart().unwrap();
    let results: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let done = i64::try_from(results.iter().filter(|result| result.is_ok()).count()).unwrap();
    let unknown = i64::try_from(results.iter().filter(|result| matches!(result, Err(error) if error.is_commit_unknown())).count()).unwrap();
    assert_eq!(results.len(), 300);
    // One connection was lost once: at most one COMMIT was under way on it.
    assert!(done + unknown == 300 && unknown <= 1, "{:?}", results.iter().find(|result| result.is_err()));
    let moved = 100 - bank.balance(3);
    assert!((done * 10..=(done + unknown) * 10).contains(&moved), "{done} done, {unknown} unknown, {moved} moved");
    assert_eq!(bank.balance(3) + bank.balance(4), 200);
}

#[test]
fn a_password_is_in_no_error_and_no_debug_output() {
    let bank = bank();
    let url = bank.server.url().replace("root@", "root:hunter2@");
    let refused = Db::connect(&url).unwrap_err();
    assert_eq!((refused.kind(), refused.http_status()), (ErrorKind::AccessDenied, 401));
    let malformed = Db::connect("mysql://root:hunter2@[::1/x").unwrap_err();
    assert_eq!(malformed.kind(), ErrorKind::Config);
    bank.admin_query("CREATE USER secretive@'%' IDENTIFIED BY 'hunter2'");
    bank.admin_query("GRANT ALL ON *.* TO secretive@'%'");
    let db = Db::connect(&bank.server.url().replace("root@", "secretive:hunter2@")).unwrap();
    let shown = format!("{refused} {refused:?} {malformed} {malformed:?} {db:?} {:?} {:?}", Db::builder(&url), &*db);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn connecting_fails_by_kind() {
    let bank = bank();
    let connect = |url: &str| Db::connect(url).unwrap_err().kind();
    assert_eq!(connect(&bank.server.url_for("nowhere")), ErrorKind::UnknownDatabase);
    assert_eq!(connect("mysql://root@127.0.0.1:1/test"), ErrorKind::ConnectFailed);
    assert_eq!(connect("postgres://root@127.0.0.1/test"), ErrorKind::Config);
}

#[test]
fn a_forked_process_neither_speaks_on_nor_closes_its_parents_connection() {
    let bank = bank();
    let id = connection_id(&bank.db);
    let child = bank.db.clone();
    assert!(in_a_forked_child(move || {
        let own = connection_id(&child);
        child.transaction(|tx| deposit(tx, 2, 1)).unwrap();
        drop(child);
        own != id
    }));
    assert_eq!((connection_id(&bank.db), bank.balance(2)), (id, 101));
}

#[test]
fn a_transaction_that_a_forked_process_inherits_is_its_parents_alone() {
    let bank = bank();
    let mut in_child = false;
    let result = bank.db.transaction(|tx| {
        deposit(tx, 1, 1)?;
        let child = in_a_forked_child(|| {
            let statement = deposit(tx, 1, 1);
            // Ending it here, as leaving the body would, says nothing to the server either.
            let part: Result<()> = tx.transaction(|_| Err(Error::from(db_core::mysql::Error::server_disconnected())));
            statement.is_err() && part.is_err()
        });
        in_child = child;
        deposit(tx, 2, 1)
    });
    result.unwrap();
    assert!(in_child);
    assert_eq!((bank.balance(1), bank.balance(2)), (101, 101));
}

#[test]
fn an_error_of_the_handler_for_local_infile_is_the_handlers() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use db_core::mysql::LocalInfileHandler;
    let bank = bank();
    bank.admin().query_drop("SET GLOBAL local_infile = 1").unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&calls);
    let handler = LocalInfileHandler::new(move |_, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no such report"))
    });
    let db = Db::builder(&bank.server.url())
        .retry(quick())
        .driver_options(move |options| options.local_infile_handler(Some(handler)))
        .connect()
        .unwrap();
    let error = db
        .retry(&quick(), |_| db.transaction(|tx| tx.query_drop("LOAD DATA LOCAL INFILE 'report' INTO TABLE journal (note)")))
        .unwrap_err();
    assert_eq!((error.kind(), error.is_transient(), calls.load(Ordering::Relaxed)), (ErrorKind::Driver, false, 1), "{error}");
    assert!(error.to_string().contains("the LOCAL INFILE handler failed: no such report"), "{error}");
    // The server was left waiting for the file: that connection is not used again.
    db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    assert_eq!(bank.balance(1), 101);
}

#[test]
fn a_reply_that_does_not_come_in_time_is_called_so() {
    let bank = bank();
    let timeout = Duration::from_millis(300);
    let db = Db::builder(&bank.server.url()).driver_options(move |options| options.read_timeout(Some(timeout))).connect().unwrap();
    let error = db.transaction(|tx| tx.query_drop("SELECT SLEEP(3)")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert!(error.to_string().contains("no reply within the read timeout"), "{error}");
}
