//! With the commit ledger, a COMMIT whose answer is lost is resolved: nobody has to guess.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::process;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use db_core::mysql::{Conn, Opts, OptsBuilder, from_row};
use db_core::prelude::*;
use db_core::{Error, Result};
use db_testkit::{Action, Cluster, Fault, FaultProxy, Flavor, Injection, Point, Topology};
use tests::{Bank, bank, cut_commit, cut_next, deposit, eventually, in_a_forked_child, quick, several_writers, within};

/// A bank with the ledger's table.
fn ledger_bank() -> Bank {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    bank
}

fn recording(url: &str) -> Db {
    Db::builder(url).retry(quick()).commit_ledger(true).connect().unwrap()
}

fn through_proxy(bank: &Bank) -> (FaultProxy, Db) {
    bank.proxied(|builder| builder.commit_ledger(true))
}

/// Resolves for so many milliseconds at most.
fn through_proxy_for(bank: &Bank, milliseconds: u64) -> (FaultProxy, Db) {
    bank.proxied(|builder| builder.commit_ledger(true).resolve_timeout(Duration::from_millis(milliseconds)))
}

/// The clients' rows: how far each has come, by its id.
fn rows(bank: &Bank) -> HashMap<u64, u64> {
    bank.admin().query_iter("SELECT client, seq FROM db_core_ledger").unwrap().map(|row| from_row(row.unwrap())).collect()
}

#[transactional]
fn once(tx: &mut Transaction<'_>) -> Result<()> {
    deposit(tx, 1, 1)
}

/// Returns the number of the run that was committed.
#[retry_on_disconnect]
#[transactional]
fn persistent(tx: &mut Transaction<'_>, attempt: Attempt) -> Result<u32> {
    deposit(tx, 1, 1)?;
    Ok(attempt.number())
}

/// The commit ledger does its work for `db`.
fn assert_resolves(bank: &Bank, proxy: &FaultProxy, db: &Db) {
    let before = bank.balance(1);
    cut_commit(proxy, db, Point::AfterRequest, Action::Rst);
    once(db).unwrap();
    assert_eq!(bank.balance(1), before + 1);
}

#[test]
fn a_recorded_commit_costs_no_round_trip() {
    let bank = ledger_bank();
    let (proxy, db) = through_proxy(&bank);
    type Body = fn(&mut Transaction<'_>) -> Result<()>;
    let count = |body: Body, options: TxOptions| {
        // The first time prepares.
        db.transaction_with(&options, body).unwrap();
        proxy.reset_counts();
        db.transaction_with(&options, body).unwrap();
        let recorded = proxy.requests().iter().any(|request| request.text.as_deref().unwrap_or_default().contains("db_core_ledger"));
        (proxy.counts().round_trips, recorded)
    };
    let plain = TxOptions::new();
    assert_eq!(count(|_| Ok(()), plain), (0, false), "nothing executed");
    assert_eq!(count(|tx| tx.query_drop("UPDATE account SET balance = 1 WHERE id = 1"), plain), (2, true), "one");
    assert_eq!(count(|tx| deposit(tx, 1, 1), plain), (3, true), "two");
    assert_eq!(count(|tx| (0..9).try_for_each(|_| tx.query_drop("DO 1")), plain), (10, false), "nine that write nothing");
    assert_eq!(count(|tx| Ok(Queryable::query_iter(tx, "SELECT * FROM account").map(drop)?), plain), (3, false), "watched by the sentinel");
    assert_eq!(count(|tx| tx.query_drop("SELECT * FROM account"), plain.read_only(true)), (3, false), "read-only: nothing to record");
    let rolled_back = |db: &Db| {
        proxy.reset_counts();
        db.transaction(|tx| deposit(tx, 1, 1).and(Err::<(), _>(Error::from(db_core::mysql::Error::server_disconnected())))).unwrap_err();
        proxy.counts().round_trips
    };
    assert_eq!(rolled_back(&db), 3, "rolled back");
}

#[test]
fn connecting_with_the_ledger_costs_one_round_trip_more_and_reconnecting_none() {
    let bank = ledger_bank();
    // The first connection of a process looks for rows to sweep.
    drop(recording(&bank.server.url()));
    let proxy = bank.server.proxy().unwrap();
    let db = recording(&proxy.url(&bank.server.url()).unwrap());
    assert_eq!(proxy.counts().round_trips, 2);
    db.disconnect();
    db.ping().unwrap();
    assert_eq!(proxy.counts().round_trips, 4);
    assert_eq!(rows(&bank).len(), 2);
}

#[test]
fn a_missing_table_is_said_at_connect_with_the_cure() {
    let bank = bank();
    let builder = || Db::builder(&bank.server.url()).retry(quick()).commit_ledger(true);
    let error = builder().connect().unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::UnknownTable, false));
    assert!(error.to_string().contains("install_ledger"), "{error}");
    bank.db.install_ledger().unwrap();
    persistent(&builder().connect().unwrap()).unwrap();
    assert_eq!(bank.balance(1), 101);
}

#[test]
fn missing_privileges_are_an_error_by_kind_with_nothing_committed() {
    let bank = ledger_bank();
    bank.admin_query("CREATE USER app@'%' IDENTIFIED BY 'secret'");
    bank.admin_query("GRANT SELECT, INSERT, UPDATE ON test.account TO app@'%'");
    bank.admin_query("GRANT SELECT, INSERT ON test.journal TO app@'%'");
    let url = bank.server.url().replace("root@", "app:secret@");
    let builder = || Db::builder(&url).retry(quick()).commit_ledger(true);
    for granted in ["SELECT", "SELECT, UPDATE"] {
        bank.admin_query(&format!("GRANT {granted} ON test.db_core_ledger TO app@'%'"));
        let error = builder().connect().unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::AccessDenied, false), "{granted}");
        assert!(error.to_string().contains("the commit ledger needs SELECT, INSERT, UPDATE and DELETE"), "{error}");
    }
    bank.admin_query("GRANT INSERT ON test.db_core_ledger TO app@'%'");
    persistent(&builder().connect().unwrap()).unwrap();
    bank.admin_query("REVOKE UPDATE ON test.db_core_ledger FROM app@'%'");
    let db = builder().connect().unwrap();
    assert_eq!(persistent(&db).unwrap_err().kind(), ErrorKind::AccessDenied);
    assert_eq!((bank.balance(1), bank.notes().len()), (101, 1));
    bank.admin_query("GRANT UPDATE ON test.db_core_ledger TO app@'%'");
    db.disconnect();
    persistent(&db).unwrap();
    assert_eq!((bank.balance(1), bank.notes().len()), (102, 2));
}

#[test]
fn the_ledger_is_in_the_urls_database_and_a_url_that_names_none_is_refused() {
    let bank = bank();
    let nowhere = bank.server.url_for("");
    let refused = Db::builder(&nowhere).commit_ledger(true).connect().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert_eq!(Db::connect(&nowhere).unwrap().install_ledger().unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn installing_twice_is_installing_once_whatever_the_database_is_called() {
    let bank = bank();
    bank.admin_query("CREATE DATABASE `odd``na-me 1; --`");
    let url = bank.server.url_for("odd%60na-me%201;%20--");
    let plain = Db::connect(&url).unwrap();
    plain.install_ledger().unwrap();
    let db = recording(&url);
    db.transaction(deposit_elsewhere).unwrap();
    plain.install_ledger().unwrap();
    db.install_ledger().unwrap();
    db.transaction(deposit_elsewhere).unwrap();
    let seq: Vec<u64> = bank.admin().query("SELECT seq FROM `odd``na-me 1; --`.db_core_ledger").unwrap();
    assert_eq!((seq, bank.balance(1)), (vec![2], 102));
    // It is not a part of a transaction.
    let inside = plain.transaction(|_| plain.install_ledger());
    assert_eq!(inside.unwrap_err().kind(), ErrorKind::AlreadyInTransaction);
}

fn deposit_elsewhere(tx: &mut Transaction<'_>) -> Result<()> {
    tx.query_drop("UPDATE test.account SET balance = balance + 1 WHERE id = 1")
}

#[test]
fn a_read_only_server_can_be_read_from_and_is_recorded_as_soon_as_it_is_written_to() {
    let bank = ledger_bank();
    bank.admin_query("CREATE USER app@'%' IDENTIFIED BY 'secret'");
    bank.admin_query("GRANT ALL ON test.* TO app@'%'");
    let read_only = |on: u8| {
        let variable = if bank.server.flavor() == Flavor::MySql { "super_read_only" } else { "read_only" };
        bank.admin_query(&format!("SET GLOBAL {variable} = {on}"));
        if on == 0 {
            bank.admin_query("SET GLOBAL read_only = 0");
        }
    };
    read_only(1);
    let proxy = bank.server.proxy().unwrap();
    let db = recording(&proxy.url(&bank.server.url().replace("root@", "app:secret@")).unwrap());
    let total = |db: &Db| db.transaction(|tx| tx.query_first::<i64, _>("SELECT CAST(SUM(balance) AS SIGNED) FROM account"));
    assert_eq!(total(&db).unwrap(), Some(1000));
    assert_eq!(db.transaction_with(&TxOptions::new().read_only(true), |tx| tx.query_first::<u8, _>("SELECT 1")).unwrap(), Some(1));
    for _ in 0..2 {
        assert_eq!(once(&db).unwrap_err().kind(), ErrorKind::ReadOnlyServer);
        assert_eq!(persistent(&db).unwrap_err().kind(), ErrorKind::ReadOnlyServer);
        assert_eq!(total(&db).unwrap(), Some(1000));
    }
    assert!(rows(&bank).is_empty());
    read_only(0);
    db.disconnect();
    assert_resolves(&bank, &proxy, &db);
    assert_eq!(rows(&bank).len(), 1);
    // One that becomes so while in use.
    read_only(1);
    assert_eq!(persistent(&db).unwrap_err().kind(), ErrorKind::ReadOnlyServer);
    assert_eq!(total(&db).unwrap(), Some(1001));
    read_only(0);
    db.disconnect();
    assert_resolves(&bank, &proxy, &db);
    assert_eq!((bank.balance(1), rows(&bank).len()), (102, 1));
    read_only(1);
    assert_eq!(db.retry(&quick(), |_| total(&db)).unwrap(), Some(1002));
    read_only(0);
}

#[test]
fn a_row_that_was_deleted_costs_nothing_but_another_row() {
    let bank = ledger_bank();
    let (proxy, db) = through_proxy(&bank);
    once(&db).unwrap();
    let first = rows(&bank);
    bank.admin_query("DELETE FROM db_core_ledger");
    once(&db).unwrap();
    once(&db).unwrap();
    let second = rows(&bank);
    assert_eq!((second.len(), bank.balance(1), bank.notes().len()), (1, 103, 3));
    assert_ne!(first.keys().next(), second.keys().next());
    assert_resolves(&bank, &proxy, &db);
}

/// A repeated request could have been executed before the row was changed: the value that would say so is gone.
#[test]
fn a_row_that_was_changed_by_somebody_else_is_unknown_and_another_row_is_used_from_then_on() {
    let bank = ledger_bank();
    let (proxy, db) = through_proxy(&bank);
    once(&db).unwrap();
    bank.admin_query("UPDATE db_core_ledger SET seq = 1000");
    let error = persistent(&db).unwrap_err();
    assert_eq!((error.kind(), error.code(), error.attempts()), (ErrorKind::CommitUnknown, Some(1690), 1));
    assert!(error.to_string().contains("changed by another client"), "{error}");
    assert_eq!((bank.balance(1), bank.notes().len()), (101, 1));
    assert_eq!(persistent(&db).unwrap(), 1);
    assert_resolves(&bank, &proxy, &db);
    assert_eq!((bank.balance(1), rows(&bank).len()), (103, 2));
}

#[test]
fn a_lost_commit_whose_row_somebody_tampered_with_is_unknown_and_is_not_replayed() {
    let bank = ledger_bank();
    let (proxy, db) = through_proxy_for(&bank, 1500);
    for tampering in ["DELETE FROM db_core_ledger", "UPDATE db_core_ledger SET seq = seq + 1000"] {
        let (before, rows_before) = (bank.balance(1), rows(&bank));
        let cut = cut_commit(&proxy, &db, Point::AfterRequest, Action::Refuse(Duration::from_secs(60)));
        let error = thread::scope(|threads| {
            threads.spawn(|| {
                assert!(cut.wait_fired(Duration::from_secs(10)));
                bank.admin_query(tampering);
                proxy.refuse_connections(false);
            });
            persistent(&db).unwrap_err()
        });
        assert_eq!((error.kind(), error.attempts(), error.is_transient()), (ErrorKind::CommitUnknown, 1, false), "{tampering}");
        assert_eq!(bank.balance(1), before + 1, "{tampering}");
        assert_resolves(&bank, &proxy, &db);
        assert!(rows(&bank).keys().any(|client| !rows_before.contains_key(client)), "{tampering}");
    }
}

#[test]
fn a_commit_cut_by_the_servers_death_is_resolved_after_its_restart_and_no_innocent_session_is_killed() {
    let bank = ledger_bank();
    let patient = quick().max_elapsed(Duration::from_secs(60));
    let (proxy, db) = bank.proxied(|builder| builder.retry(patient).commit_ledger(true));
    for (point, runs) in [(Point::AfterRequest, 1), (Point::BeforeRequest, 2)] {
        let before = bank.balance(1);
        let cut = cut_commit(&proxy, &db, point, Action::Refuse(Duration::from_secs(600)));
        let old = db.transaction(|tx| Ok::<_, Error>(tx.connection_id())).unwrap().unwrap();
        let (done, mut innocents) = thread::scope(|threads| {
            let innocents = threads.spawn(|| {
                assert!(cut.wait_fired(Duration::from_secs(10)));
                bank.server.kill9().unwrap();
                bank.server.restart().unwrap();
                // Connection ids begin anew: one of these has the lost session's.
                let mut innocents: Vec<Conn> = vec![bank.admin()];
                while innocents.last().is_some_and(|last| last.connection_id() < old) {
                    innocents.push(bank.admin());
                }
                proxy.refuse_connections(false);
                innocents
            });
            (persistent(&db), innocents.join().unwrap())
        });
        assert_eq!((done.unwrap(), bank.balance(1)), (runs, before + 1), "{point:?}");
        assert!(innocents.iter().any(|innocent| innocent.connection_id() == old), "{point:?}");
        assert!(innocents.iter_mut().all(|innocent| innocent.ping().is_ok()), "{point:?}");
    }
}

#[test]
fn databases_and_forks_have_rows_of_their_own_and_clones_share_one() {
    let bank = ledger_bank();
    let one = recording(&bank.server.url());
    let two = recording(&bank.server.url());
    let fork = one.fork().unwrap();
    let clone = one.clone();
    for db in [&one, &two, &fork, &clone] {
        once(db).unwrap();
        db.disconnect();
        once(db).unwrap();
    }
    let mut seen: Vec<u64> = rows(&bank).into_values().collect();
    seen.sort_unstable();
    assert_eq!(seen, [2, 2, 4]);
}

#[test]
fn processes_that_were_forked_have_rows_of_their_own() {
    let bank = ledger_bank();
    let (proxy, db) = through_proxy(&bank);
    once(&db).unwrap();
    // The second child is born with the same memory as the first.
    for child in 1..=3 {
        let own = db.clone();
        assert!(in_a_forked_child(move || once(&own).is_ok() && once(&own).is_ok()), "child {child}");
        assert_eq!(rows(&bank).len(), 1 + child);
    }
    let fork = db.fork().unwrap();
    once(&fork).unwrap();
    assert_resolves(&bank, &proxy, &db);
    assert_eq!((bank.balance(1), rows(&bank).len()), (109, 5));
}

#[test]
fn threads_under_random_cuts_of_commits_and_of_resolutions_do_everything_once() {
    const THREADS: u32 = 4;
    const CALLS: u32 = 50;
    let bank = ledger_bank();
    let tireless = quick().max_attempts(1000).max_elapsed(Duration::from_secs(60));
    let (proxy, db) = bank.proxied(|builder| builder.retry(tireless).commit_ledger(true));
    // Two share a connection, two have one each.
    let databases = [db.clone(), db.clone(), db.fork().unwrap(), db.fork().unwrap()];
    let over = AtomicBool::new(false);
    let cuts = thread::scope(|threads| {
        let cutter = threads.spawn(|| {
            let (mut cuts, mut chance) = (0, 1_u64);
            let mut below = |bound: u64| {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (chance >> 33) % bound
            };
            while !over.load(Ordering::Relaxed) {
                let point = match below(6) {
                    0 | 1 => Point::BeforeRequest,
                    2 => Point::RequestSent,
                    3 => Point::AfterRequest,
                    _ => Point::MidReply(usize::try_from(below(60)).unwrap()),
                };
                let action = match below(3) {
                    0 => Action::Fin,
                    1 => Action::Rst,
                    _ => Action::DelayAndAbandon(Duration::from_millis(below(30))),
                };
                let nth = usize::try_from(below(4)).unwrap() + 1;
                let cut = proxy.inject(Fault::new(point, action).matching("db_core_ledger").nth(nth));
                cuts += u32::from(cut.wait_fired(Duration::from_millis(20)));
                cut.cancel();
            }
            cuts
        });
        let workers: Vec<_> = (0..)
            .zip(databases)
            .map(|(worker, db)| {
                threads.spawn(move || {
                    for call in 0..CALLS {
                        db.retry(&tireless, |_| {
                            db.transaction(|tx| {
                                tx.exec_drop("INSERT INTO journal (note) VALUES (?)", (format!("{worker} {call}"),))?;
                                tx.exec_drop("UPDATE account SET balance = balance + 1 WHERE id = ?", (worker + 1,))
                            })
                        })
                        .unwrap_or_else(|error| panic!("worker {worker}, call {call}: {error}"));
                    }
                })
            })
            .collect();
        let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ends.iter().all(|end| end.is_ok()));
        cutter.join().unwrap()
    });
    // Late packets have arrived by now, or find their sessions gone.
    thread::sleep(Duration::from_millis(50));
    let mut notes = bank.notes();
    notes.sort_unstable();
    let mut expected: Vec<String> = (0..THREADS).flat_map(|worker| (0..CALLS).map(move |call| format!("{worker} {call}"))).collect();
    expected.sort_unstable();
    assert_eq!(notes, expected);
    assert!((1..=THREADS).all(|account| bank.balance(account) == 100 + i64::from(CALLS)));
    assert!(cuts > 20, "{cuts}");
}

/// A COMMIT is cut, and then each step of finding out what became of it.
fn cut_resolutions(commit: Point, late: Action, runs: RangeInclusive<u32>) {
    const LATE: Action = Action::DelayAndAbandon(Duration::from_millis(30));
    const SWAP: &str = "; COMMIT AND";
    let bank = ledger_bank();
    let (proxy, db) = through_proxy(&bank);
    // The session's settings, the look for the lost session, the limit of the waits, the look at the row, and the fence.
    for step in ["SET NAMES", "processlist", "innodb_lock_wait_timeout", "SELECT seq", SWAP] {
        // The reply to the swap has 52 bytes.
        let deep = if step == SWAP { [20, 52, 57].as_slice() } else { &[5] };
        let points = [Point::BeforeRequest, Point::RequestSent, Point::AfterRequest].into_iter();
        for point in points.chain(deep.iter().copied().map(Point::MidReply)) {
            for (action, times) in [(Action::Fin, 1), (Action::Rst, 3), (LATE, 1)] {
                if action == LATE && point != Point::BeforeRequest {
                    continue;
                }
                let about = format!("{late:?} at {commit:?} of COMMIT, {action:?} at {point:?} of {step:?}, {times} times");
                let before = bank.balance(1);
                let lost = cut_commit(&proxy, &db, commit, late);
                let cuts = cut_next(&proxy, times, step, point, action);
                let run = persistent(&db).unwrap_or_else(|error| panic!("{about}: {error}"));
                lost.assert_fired();
                let fenced = commit == Point::BeforeRequest && late == Action::Rst;
                if step != SWAP || fenced {
                    cuts[0].assert_fired();
                }
                for cut in &cuts {
                    cut.cancel();
                    assert!(action != LATE || cut.fired() == 0 || cut.wait_delivered(Duration::from_secs(10)), "{about}");
                }
                assert!(late != LATE || lost.wait_delivered(Duration::from_secs(10)), "{about}");
                assert!(runs.contains(&run), "{about}: run {run}");
                once(&db).unwrap_or_else(|error| panic!("after {about}: {error}"));
                assert_eq!(bank.balance(1), before + 2, "{about}");
            }
        }
    }
}

#[test]
fn a_resolution_that_is_itself_cut_finds_out_that_a_commit_was_executed() {
    cut_resolutions(Point::AfterRequest, Action::Fin, 1..=1);
}

#[test]
fn a_resolution_that_is_itself_cut_finds_out_that_a_commit_was_not_executed() {
    cut_resolutions(Point::BeforeRequest, Action::Rst, 2..=2);
}

#[test]
fn a_resolution_that_is_itself_cut_fences_off_a_commit_that_is_late() {
    cut_resolutions(Point::BeforeRequest, Action::DelayAndAbandon(Duration::from_millis(30)), 1..=2);
}

#[test]
fn a_row_that_cannot_be_read_in_time_is_unknown_and_is_not_replayed_and_another_row_is_used_from_then_on() {
    let bank = ledger_bank();
    let (proxy, db) = through_proxy_for(&bank, 300);
    for (point, done, clients) in [(Point::AfterRequest, 1, 2), (Point::BeforeRequest, 0, 3)] {
        once(&db).unwrap();
        let before = bank.balance(1);
        cut_commit(&proxy, &db, point, Action::Refuse(Duration::from_secs(600)));
        let began = Instant::now();
        let error = persistent(&db).unwrap_err();
        assert_eq!((error.kind(), error.attempts(), error.is_transient()), (ErrorKind::CommitUnknown, 1, false), "{point:?}");
        assert!((200..3000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        assert_eq!(bank.balance(1), before + done, "{point:?}");
        proxy.refuse_connections(false);
        assert_resolves(&bank, &proxy, &db);
        assert_eq!(rows(&bank).len(), clients, "{point:?}");
    }
}

#[test]
fn a_policy_of_one_attempt_still_finds_out_what_became_of_it() {
    let bank = ledger_bank();
    let proxy = bank.server.proxy().unwrap();
    let url = proxy.url(&bank.server.url()).unwrap();
    let db = Db::builder(&url).retry(quick().max_attempts(1)).commit_ledger(true).connect().unwrap();
    cut_commit(&proxy, &db, Point::AfterRequest, Action::Refuse(Duration::from_millis(100)));
    assert_eq!(persistent(&db).unwrap(), 1);
    cut_commit(&proxy, &db, Point::BeforeRequest, Action::Refuse(Duration::from_millis(100)));
    let error = persistent(&db).unwrap_err();
    assert_eq!((error.kind(), error.is_transient(), bank.balance(1)), (ErrorKind::ConnectionLost, true, 101));
}

#[test]
fn hooks_of_a_resolved_commit_run_once_and_only_those_of_the_attempt_that_won() {
    let bank = ledger_bank();
    let (proxy, db) = through_proxy(&bank);
    for (point, attempts, expected) in [
        (Point::AfterRequest, 3, ["committed 1"].as_slice()),
        (Point::BeforeRequest, 3, &["committed 2"]),
        (Point::BeforeRequest, 1, &["rolled back 1"]),
    ] {
        let seen: Rc<RefCell<Vec<String>>> = Rc::default();
        cut_commit(&proxy, &db, point, Action::Fin);
        let result = db.retry(&quick().max_attempts(attempts), |attempt| {
            db.transaction(|tx| {
                let run = attempt.number();
                let (committed, rolled_back) = (Rc::clone(&seen), Rc::clone(&seen));
                tx.after_commit(move || committed.borrow_mut().push(format!("committed {run}")));
                tx.after_rollback(move || rolled_back.borrow_mut().push(format!("rolled back {run}")));
                deposit(tx, 1, 1)
            })
        });
        assert_eq!(result.is_ok(), attempts > 1);
        assert_eq!(*seen.borrow(), expected);
    }
    assert_eq!(bank.balance(1), 102);
}

#[test]
fn a_body_that_commits_implicitly_is_told_so_with_the_ledger_as_without() {
    let bank = ledger_bank();
    let (proxy, db) = through_proxy(&bank);
    let error = db
        .transaction(|tx| {
            deposit(tx, 1, 1)?;
            tx.query_drop("CREATE TABLE made (id INT)")
        })
        .unwrap_err();
    assert_eq!((error.kind(), bank.balance(1)), (ErrorKind::ImplicitCommit, 101));
    assert_resolves(&bank, &proxy, &db);
}

#[test]
fn a_body_that_goes_to_another_database_does_not_lose_the_ledger() {
    let bank = ledger_bank();
    bank.admin_query("CREATE DATABASE elsewhere");
    let (proxy, db) = through_proxy(&bank);
    let visit = || {
        db.transaction(|tx| {
            tx.query_drop("USE elsewhere")?;
            tx.query_drop("UPDATE test.account SET balance = balance + 1 WHERE id = 1")
        })
    };
    visit().unwrap();
    cut_commit(&proxy, &db, Point::AfterRequest, Action::Fin);
    visit().unwrap();
    assert_eq!((bank.balance(1), rows(&bank).into_values().collect::<Vec<_>>()), (102, vec![2]));
    bank.admin_query("UPDATE db_core_ledger SET seq = 1000");
    visit().unwrap_err();
    visit().unwrap();
    assert_eq!((bank.balance(1), rows(&bank).len()), (103, 2));
}

#[test]
fn rows_of_clients_long_gone_are_swept_at_connect_and_no_others() {
    // A process sweeps once an hour: in this one another test may have connected before.
    const ALONE: &str = "DB_CORE_TESTS_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "ledger::rows_of_clients_long_gone_are_swept_at_connect_and_no_others";
        let child = process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        return;
    }
    let bank = ledger_bank();
    for (client, age) in [(1, 8), (2, 400), (3, 6), (4, 0)] {
        bank.admin_query(&format!("INSERT INTO db_core_ledger (client, seq, touched) VALUES ({client}, 7, NOW() - INTERVAL {age} DAY)"));
    }
    let (proxy, db) = through_proxy(&bank);
    let left = rows(&bank);
    assert_eq!(left.len(), 3);
    assert!(left.contains_key(&3) && left.contains_key(&4), "{left:?}");
    assert_resolves(&bank, &proxy, &db);
    // The look for them is not the first look of what comes next: its snapshot would be too old.
    let other = recording(&bank.server.url());
    bank.admin_query("UPDATE account SET balance = 555 WHERE id = 5");
    let seen = other.transaction(|tx| tx.query_first::<i64, _>("SELECT balance FROM account WHERE id = 5")).unwrap();
    assert_eq!(seen, Some(555));
}

/// Whoever sets the ledger's row to one of these values stands still on the server for a minute, with all its locks.
fn freeze_swaps_to(bank: &Bank, targets: &str) {
    bank.admin_query(&format!(
        "CREATE TRIGGER freeze BEFORE UPDATE ON db_core_ledger FOR EACH ROW SET @frozen = IF(NEW.seq IN ({targets}), SLEEP(60), 0)"
    ));
}

fn impatient(bank: &Bank) -> Db {
    Db::builder(&bank.server.url())
        .retry(quick())
        .commit_ledger(true)
        .driver_options(|options| options.read_timeout(Some(Duration::from_millis(300))))
        .connect()
        .unwrap()
}

#[test]
fn a_session_that_was_given_up_at_its_commit_does_not_keep_its_locks() {
    let bank = ledger_bank();
    freeze_swaps_to(&bank, "2");
    let db = impatient(&bank);
    once(&db).unwrap();
    let began = Instant::now();
    assert_eq!(within(Duration::from_secs(30), move || persistent(&db)).unwrap(), 2);
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!((bank.balance(1), bank.notes().len()), (102, 2));
}

#[test]
fn a_resolution_that_was_given_up_does_not_keep_the_next_one_waiting() {
    let bank = ledger_bank();
    // The second commit, and the fence that follows it.
    freeze_swaps_to(&bank, "2, 3");
    let db = impatient(&bank);
    once(&db).unwrap();
    let began = Instant::now();
    assert_eq!(within(Duration::from_secs(30), move || persistent(&db)).unwrap(), 2);
    assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
    assert_eq!((bank.balance(1), bank.notes().len()), (102, 2));
}

/// A slow answer to the question after the lost session must not be taken for the answer to the next question.
#[test]
fn a_resolution_that_hears_nothing_in_time_does_not_read_the_answer_later() {
    let bank = ledger_bank();
    let processlist = "information_schema.processlist";
    for slow in [1, 2] {
        let (proxy, db) = bank.proxied(|builder| {
            builder.commit_ledger(true).driver_options(|options| options.read_timeout(Some(Duration::from_millis(250))))
        });
        let before = bank.balance(1);
        let commit = proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("db_core_ledger SET"));
        // In the second round the first resolving connection is cut, so that two lost sessions are asked after.
        let cut = (slow == 2).then(|| proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching(processlist)));
        let late = Action::Delay(Duration::from_millis(700));
        let late = proxy.inject(Fault::new(Point::AfterRequest, late).matching(processlist).nth(slow));
        once(&db).unwrap();
        commit.assert_fired();
        late.assert_fired();
        cut.inspect(Injection::assert_fired);
        assert_eq!(bank.balance(1), before + 1);
    }
}

#[test]
fn a_dead_connection_that_needs_a_new_row_costs_the_caller_nothing() {
    let bank = ledger_bank();
    let (proxy, db) = through_proxy(&bank);
    once(&db).unwrap();
    bank.admin_query("UPDATE db_core_ledger SET seq = 1000");
    assert!(once(&db).unwrap_err().is_commit_unknown());
    let cut = proxy.inject(Fault::new(Point::BeforeRequest, Action::Rst).matching("db_core_ledger (client, seq)"));
    once(&db).unwrap();
    cut.assert_fired();
    assert_eq!(bank.balance(1), 102);
}

#[test]
fn no_hook_runs_when_the_outcome_is_unknown() {
    let bank = bank();
    let proxy = bank.server.proxy().unwrap();
    let db = Db::connect(&proxy.url(&bank.server.url()).unwrap()).unwrap();
    let cut = proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("COMMIT"));
    let ran = Rc::new(RefCell::new(0));
    let (committed, rolled_back) = (Rc::clone(&ran), Rc::clone(&ran));
    let result = db.transaction(|tx| {
        tx.after_commit(move || *committed.borrow_mut() += 1);
        tx.after_rollback(move || *rolled_back.borrow_mut() += 1);
        deposit(tx, 1, 1)
    });
    cut.assert_fired();
    assert!(result.unwrap_err().is_commit_unknown());
    assert_eq!(*ran.borrow(), 0);
}

/// Galera's lost quorum, MySQL's shutdown, and a code nobody has listed: each was, or may be, the answer to a COMMIT that was executed.
#[test]
fn an_error_at_commit_that_decides_nothing_is_resolved_like_a_lost_answer() {
    let bank = ledger_bank();
    let (proxy, recording) = through_proxy(&bank);
    let plain = Db::connect(&proxy.url(&bank.server.url()).unwrap()).unwrap();
    for (deposits, code) in (1..).step_by(2).zip([1180, 1053, 4999]) {
        let error = cut_commit(&proxy, &recording, Point::AfterRequest, Action::Error(code));
        once(&recording).unwrap();
        error.assert_fired();
        assert_eq!(bank.balance(1), 100 + deposits, "{code}");

        let error = cut_commit(&proxy, &plain, Point::AfterRequest, Action::Error(code));
        let unknown = once(&plain).unwrap_err();
        error.assert_fired();
        assert_eq!((unknown.kind(), unknown.code()), (ErrorKind::CommitUnknown, Some(code)));
        assert_eq!(bank.balance(1), 100 + deposits + 1, "{code}");
    }
}

#[test]
fn a_row_that_has_moved_refuses_the_commit_in_every_sql_mode() {
    let bank = ledger_bank();
    for mode in ["", "STRICT_TRANS_TABLES", "ANSI", "TRADITIONAL", "NO_UNSIGNED_SUBTRACTION", "NO_BACKSLASH_ESCAPES"] {
        // A row that was never used, too: it holds 0.
        for used in [false, true] {
            let builder = Db::builder(&bank.server.url()).retry(quick()).commit_ledger(true);
            let db = builder.resolve_timeout(Duration::from_millis(50)).connect().unwrap();
            if used {
                once(&db).unwrap();
            }
            let before = bank.balance(1);
            bank.admin_query("UPDATE db_core_ledger SET seq = IF(seq = 0, 7, 0)");
            let refused = db.transaction(|tx| {
                tx.query_drop(format!("SET sql_mode = '{mode}'"))?;
                deposit(tx, 1, 1)
            });
            assert_eq!(refused.unwrap_err().code(), Some(1690), "{mode:?}");
            assert_eq!(bank.balance(1), before, "{mode:?}");
        }
    }
}

/// Passes everything on, like a proxy that leads to one server or another, and that sends a COMMIT request a second time when it has not
/// heard of the first one.
#[derive(Clone)]
struct Proxy {
    port: u16,
    upstream: Arc<AtomicU16>,
    /// The reply to the next COMMIT request does not arrive, and the request is sent again.
    repeat: Arc<AtomicBool>,
}

impl Proxy {
    fn before(bank: &Bank) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, upstream: Arc::new(AtomicU16::new(bank.server.port())), repeat: Arc::default() };
        let serving = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let server = TcpStream::connect(("127.0.0.1", serving.upstream.load(Ordering::SeqCst))).unwrap();
                serving.clone().serve(client.unwrap(), server);
            }
        });
        proxy
    }

    fn serve(self, mut client: TcpStream, mut server: TcpStream) {
        let swallows = Arc::new(AtomicBool::new(false));
        let (mut back, mut to_client, swallowing) = (server.try_clone().unwrap(), client.try_clone().unwrap(), Arc::clone(&swallows));
        // The rest of a connection that is closed on one side is of no interest.
        thread::spawn(move || {
            let mut bytes = [0; 16384];
            while let Ok(length @ 1..) = back.read(&mut bytes) {
                if !swallowing.load(Ordering::SeqCst) && to_client.write_all(&bytes[..length]).is_err() {
                    break;
                }
            }
            let _ = to_client.shutdown(std::net::Shutdown::Both);
        });
        thread::spawn(move || {
            let mut bytes = [0; 16384];
            while let Ok(length @ 1..) = client.read(&mut bytes) {
                let request = &bytes[..length];
                let commits = String::from_utf8_lossy(request).contains("db_core_ledger SET");
                if commits && self.repeat.swap(false, Ordering::SeqCst) {
                    swallows.store(true, Ordering::SeqCst);
                    server.write_all(request).unwrap();
                    thread::sleep(Duration::from_millis(300));
                    swallows.store(false, Ordering::SeqCst);
                }
                if server.write_all(request).is_err() {
                    break;
                }
            }
            let _ = server.shutdown(std::net::Shutdown::Both);
        });
    }

    fn url(&self, bank: &Bank) -> String {
        bank.server.url().replace(&format!(":{}", bank.server.port()), &format!(":{}", self.port))
    }
}

/// The second copy meets a row that the first one has moved.
#[test]
fn a_commit_request_that_a_proxy_sends_twice_is_executed_once_and_is_ok() {
    let bank = ledger_bank();
    let proxy = Proxy::before(&bank);
    let db = recording(&proxy.url(&bank));
    let hooks = Rc::new(RefCell::new(0));
    for calls in 1..=3 {
        proxy.repeat.store(true, Ordering::SeqCst);
        let counted = Rc::clone(&hooks);
        let run = db.retry(&quick(), |attempt| {
            let counted = Rc::clone(&counted);
            db.transaction(|tx| {
                tx.after_commit(move || *counted.borrow_mut() += 1);
                deposit(tx, 1, 1).map(|()| attempt.number())
            })
        });
        assert_eq!(run.unwrap(), 1);
        assert!(!proxy.repeat.load(Ordering::SeqCst), "nothing was repeated");
        once(&db).unwrap();
        assert_eq!((bank.balance(1), bank.notes().len(), rows(&bank).len()), (100 + 2 * calls, 2 * usize::try_from(calls).unwrap(), 1));
        assert_eq!(i64::from(*hooks.borrow()), calls);
    }
}

/// Such a report is a fault of the server. What matters is that its work is not done a second time.
#[test]
fn an_attempt_that_was_wrongly_reported_as_not_committed_is_not_done_again() {
    let bank = ledger_bank();
    let (proxy, db) = through_proxy(&bank);
    for (calls, code) in (1..).zip([1213, 1205]) {
        let before = rows(&bank);
        let wrong = cut_commit(&proxy, &db, Point::AfterRequest, Action::Error(code));
        let error = persistent(&db).unwrap_err();
        wrong.assert_fired();
        assert_eq!((error.kind(), error.code(), error.is_transient()), (ErrorKind::CommitUnknown, Some(1690), false), "{code}: {error}");
        assert_eq!(error.attempts(), 2, "{code}");
        assert!(error.to_string().contains("an earlier attempt"), "{error}");
        assert_eq!((bank.balance(1), bank.notes().len()), (100 + 2 * calls - 1, usize::try_from(2 * calls).unwrap() - 1), "{code}");
        // The row is not used again.
        assert_eq!(persistent(&db).unwrap(), 1, "{code}");
        assert_eq!(rows(&bank).len(), before.len() + 1, "{code}");
    }
    assert_resolves(&bank, &proxy, &db);
}

/// What a server looks like that has not applied this client's last commit yet.
#[test]
fn a_server_that_is_behind_is_read_again_and_the_row_stays_the_same() {
    let bank = ledger_bank();
    let (proxy, db) = through_proxy(&bank);
    let catch_up = |after: &dyn Fn(), sql: String| {
        after();
        thread::sleep(Duration::from_millis(300));
        bank.admin_query(&sql);
    };
    once(&db).unwrap();
    let (client, _) = rows(&bank).into_iter().next().unwrap();
    let (mut done, restored) = (101, |seq: u64| format!("REPLACE INTO db_core_ledger (client, seq) VALUES ({client}, {seq})"));
    // The compare-and-swap is refused.
    let base = rows(&bank)[&client];
    bank.admin_query("UPDATE db_core_ledger SET seq = 0");
    let run = thread::scope(|threads| {
        threads.spawn(|| catch_up(&|| {}, restored(base)));
        persistent(&db).unwrap()
    });
    done += 1;
    assert_eq!((run, bank.balance(1)), (2, done));
    // The reply to COMMIT is lost, and the server that is asked has an older row, or none.
    for behind in ["UPDATE db_core_ledger SET seq = 0", "DELETE FROM db_core_ledger"] {
        let base = rows(&bank)[&client];
        let cut = cut_commit(&proxy, &db, Point::BeforeRequest, Action::Refuse(Duration::from_secs(60)));
        let run = thread::scope(|threads| {
            threads.spawn(|| {
                let fallen_back = || {
                    assert!(cut.wait_fired(Duration::from_secs(10)));
                    bank.admin_query(behind);
                    proxy.refuse_connections(false);
                };
                catch_up(&fallen_back, restored(base));
            });
            persistent(&db).unwrap()
        });
        done += 1;
        assert_eq!((run, bank.balance(1)), (2, done), "{behind}");
    }
    once(&db).unwrap();
    assert_eq!(rows(&bank).into_keys().collect::<Vec<_>>(), [client]);
}

#[test]
fn a_server_that_stays_behind_has_lost_commits_and_the_error_says_so() {
    let bank = ledger_bank();
    let (_proxy, db) = through_proxy_for(&bank, 400);
    once(&db).unwrap();
    bank.admin_query("UPDATE db_core_ledger SET seq = 0");
    let began = Instant::now();
    let error = persistent(&db).unwrap_err();
    assert!((200..5000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!((error.kind(), error.attempts(), error.is_transient()), (ErrorKind::CommitUnknown, 1, false));
    assert!(error.to_string().contains("lost acknowledged commits"), "{error}");
    assert_eq!(persistent(&db).unwrap(), 1);
    assert_eq!((bank.balance(1), rows(&bank).len()), (102, 2));
}

#[test]
fn resolving_has_a_time_limit_of_its_own_and_the_retry_is_not_charged_for_it() {
    let bank = ledger_bank();
    let proxy = bank.server.proxy().unwrap();
    let hasty = quick().max_elapsed(Duration::from_millis(200));
    let db = Db::builder(&proxy.url(&bank.server.url()).unwrap()).retry(hasty).commit_ledger(true).connect().unwrap();
    for (point, runs) in [(Point::AfterRequest, 1), (Point::BeforeRequest, 2)] {
        cut_commit(&proxy, &db, point, Action::Refuse(Duration::from_millis(700)));
        let began = Instant::now();
        assert_eq!(persistent(&db).unwrap(), runs, "{point:?}");
        assert!(began.elapsed() > Duration::from_millis(600), "{:?}", began.elapsed());
    }
    assert_eq!(bank.balance(1), 102);
}

#[test]
fn whatever_completion_type_the_server_has_a_transactions_end_is_the_end_of_the_transaction_alone() {
    let bank = ledger_bank();
    for (calls, completion) in (1..).zip(["CHAIN", "RELEASE", "NO_CHAIN"]) {
        bank.admin_query(&format!("SET GLOBAL completion_type = '{completion}'"));
        let before = rows(&bank).len();
        let (proxy, db) = through_proxy(&bank);
        let read_only = TxOptions::new().read_only(true);
        for commits in [true, false] {
            // A chained transaction would be READ ONLY as well.
            let read = db.transaction_with(&read_only, |tx| {
                let sum: Option<i64> = tx.query_first("SELECT CAST(SUM(balance) AS SIGNED) FROM account")?;
                if commits { Ok(sum) } else { Err(Error::from(db_core::mysql::Error::server_disconnected())) }
            });
            assert_eq!(read.is_ok(), commits, "{completion}");
            once(&db).unwrap();
        }
        assert_eq!(db.stats().reconnects, 0, "{completion}");
        for point in [Point::AfterRequest, Point::BeforeRequest] {
            cut_commit(&proxy, &db, point, Action::Rst);
            persistent(&db).unwrap();
        }
        assert_eq!((bank.balance(1), rows(&bank).len()), (100 + 4 * calls, before + 1), "{completion}");
    }
}

#[test]
fn the_sweep_waits_for_no_lock() {
    const ALONE: &str = "DB_CORE_TESTS_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let child = process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ledger::the_sweep_waits_for_no_lock", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        return;
    }
    let bank = ledger_bank();
    for client in 1..=4 {
        bank.admin_query(&format!("INSERT INTO db_core_ledger (client, seq, touched) VALUES ({client}, 7, NOW() - INTERVAL 8 DAY)"));
    }
    let mut other = bank.admin();
    other.query_drop("BEGIN").unwrap();
    other.query_drop("SELECT seq FROM db_core_ledger WHERE client IN (1, 3) FOR UPDATE").unwrap();
    let began = Instant::now();
    let db = recording(&bank.server.url());
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    once(&db).unwrap();
    let mut left: Vec<u64> = rows(&bank).into_keys().filter(|client| *client <= 4).collect();
    left.sort_unstable();
    assert_eq!(left, [1, 3]);
    other.query_drop("UPDATE db_core_ledger SET seq = 8 WHERE client IN (1, 3)").unwrap();
    other.query_drop("COMMIT").unwrap();
}

#[test]
fn a_server_whose_transactions_are_read_only_can_be_connected_to_and_read_from() {
    let bank = ledger_bank();
    let variable = if bank.server.flavor() == Flavor::MySql { "transaction_read_only" } else { "tx_read_only" };
    bank.admin_query(&format!("SET GLOBAL {variable} = ON"));
    let (proxy, db) = through_proxy(&bank);
    let total = || db.transaction(|tx| tx.query_first::<i64, _>("SELECT CAST(SUM(balance) AS SIGNED) FROM account"));
    for _ in 0..2 {
        assert_eq!(total().unwrap(), Some(1000));
        assert_eq!(persistent(&db).unwrap_err().code(), Some(1792));
    }
    assert!(rows(&bank).is_empty());
    bank.admin_query(&format!("SET GLOBAL {variable} = OFF"));
    db.disconnect();
    assert_resolves(&bank, &proxy, &db);
    assert_eq!(rows(&bank).len(), 1);
}

/// There the row may not have been applied yet, and a compare-and-swap of no row is no error.
#[test]
fn on_another_server_behind_the_same_address_another_row_is_used() {
    let (first, second) = (ledger_bank(), ledger_bank());
    let proxy = Proxy::before(&first);
    let db = recording(&proxy.url(&first));
    once(&db).unwrap();
    proxy.upstream.store(second.server.port(), Ordering::SeqCst);
    // The first statement meets the closed connection, and is sent again on one to the other server.
    db.transaction(|tx| {
        first.kill(tx.connection_id().unwrap());
        deposit(tx, 1, 1)
    })
    .unwrap();
    assert_eq!(rows(&second).into_values().collect::<Vec<_>>(), [1]);
    db.disconnect();
    once(&db).unwrap();
    assert_eq!((first.balance(1), second.balance(1)), (101, 102));
    let (there, here) = (rows(&first), rows(&second));
    assert_eq!((there.values().copied().collect::<Vec<_>>(), here.values().copied().collect::<Vec<_>>()), (vec![1], vec![2]));
    assert_ne!(there.keys().next(), here.keys().next());
}

/// The local port of this process's connection to a port.
fn local_port_to(remote: u16) -> u16 {
    let established = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let port = |address: &str| u16::from_str_radix(address.split_once(':').unwrap().1, 16).unwrap();
    let connections = established.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    connections.filter(|line| line[3] == "01" && port(line[2]) == remote).map(|line| port(line[1])).next().unwrap()
}

#[test]
fn a_session_of_another_server_is_not_killed_even_with_the_same_number_and_the_same_port() {
    let (first, second) = (ledger_bank(), ledger_bank());
    // Numbers that the other server has not given out yet.
    let _others: Vec<Conn> = (0..60).map(|_| first.admin()).collect();
    let switch = Proxy::before(&first);
    let proxy = FaultProxy::start(("127.0.0.1", switch.port)).unwrap();
    let builder = Db::builder(&proxy.url(&first.server.url()).unwrap()).retry(quick()).commit_ledger(true);
    let db = builder.resolve_timeout(Duration::from_millis(1500)).connect().unwrap();
    let old = db.transaction(|tx| Ok::<_, Error>(tx.connection_id())).unwrap().unwrap();
    let port = local_port_to(proxy.port());
    let cut = cut_commit(&proxy, &db, Point::AfterRequest, Action::Refuse(Duration::from_secs(60)));
    let (error, mut innocent) = thread::scope(|threads| {
        let innocent = threads.spawn(|| {
            assert!(cut.wait_fired(Duration::from_secs(10)));
            switch.upstream.store(second.server.port(), Ordering::SeqCst);
            while second.admin().connection_id() < old - 1 {}
            let options = OptsBuilder::from_opts(Opts::from_url(&second.server.url()).unwrap())
                .prefer_socket(false)
                .bind_address(Some(SocketAddr::from(([127, 0, 0, 1], port))));
            // As soon as the client has closed its end.
            let mut innocent = None;
            eventually("the port is free", || {
                innocent = Conn::new(options.clone()).ok();
                innocent.is_some()
            });
            let innocent = innocent.unwrap();
            assert_eq!(innocent.connection_id(), old);
            proxy.refuse_connections(false);
            innocent
        });
        (persistent(&db).unwrap_err(), innocent.join().unwrap())
    });
    assert!(error.is_commit_unknown() && error.to_string().contains("missing"), "{error}");
    innocent.ping().unwrap();
}

/// A commit that another node has acknowledged is not applied here yet: the resolver's read waits for it.
#[test]
fn a_node_that_applies_late_is_waited_for_by_the_read_that_resolves() {
    let Some(topology) = several_writers() else { return };
    let cluster = Cluster::builder(topology).nodes(2).start().unwrap();
    let mut admin = cluster.node(0).connect().unwrap();
    admin.query_drop("CREATE TABLE test.account (id INT PRIMARY KEY, balance INT NOT NULL)").unwrap();
    admin.query_drop("INSERT INTO test.account VALUES (1, 100)").unwrap();
    let proxy = cluster.node(0).proxy().unwrap();
    let url = proxy.url(&cluster.node(0).url()).unwrap();
    Db::connect(&url).unwrap().install_ledger().unwrap();
    let db = recording(&url);
    cluster.settled().unwrap();
    let change = || db.transaction(|tx| tx.query_drop("UPDATE account SET balance = balance + 1 WHERE id = 1"));
    change().unwrap();
    let cut = cut_commit(&proxy, &db, Point::AfterRequest, Action::Rst);
    proxy.set_upstream(cluster.node(1).address());
    // This node's applier stands still.
    let mut stopped = cluster.node(1).connect().unwrap();
    stopped.query_drop("FLUSH TABLES WITH READ LOCK").unwrap();
    thread::scope(|threads| {
        threads.spawn(|| {
            assert!(cut.wait_fired(Duration::from_secs(10)));
            thread::sleep(Duration::from_secs(1));
            stopped.query_drop("UNLOCK TABLES").unwrap();
        });
        change().unwrap();
    });
    cluster.settled().unwrap();
    for node in cluster.nodes() {
        let balance: Option<i64> = node.connect().unwrap().query_first("SELECT balance FROM test.account").unwrap();
        assert_eq!(balance, Some(102));
    }
    let texts: Vec<String> = proxy.requests().into_iter().filter_map(|request| request.text).collect();
    let waits = if topology == Topology::Galera { "wsrep_sync_wait = 3" } else { "group_replication_consistency = 'BEFORE'" };
    assert!(texts.iter().any(|text| text.contains(waits)), "{texts:#?}");
    let fences = texts.iter().filter(|text| text.contains("SET seq = IF") && text.contains(", 3, seq")).count();
    assert_eq!(fences, 0, "{texts:#?}");
}
