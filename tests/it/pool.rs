//! A pool of connections that many threads share.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use db_core::mysql::prelude::Queryable as _;
use db_core::prelude::*;
use db_core::{DbBuilder, Error, PoolStatus, Result};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tests::{Bank, bank, deposit, eventually, in_a_forked_child, quick, within};

const MOMENT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(20);

fn pool_of(bank: &Bank, connections: u32, options: impl FnOnce(DbBuilder) -> DbBuilder) -> Pool {
    options(Db::builder(&bank.server.url()).retry(quick()).max_connections(connections)).connect_pool().unwrap()
}

#[retry_on_disconnect]
#[transactional]
fn pay(tx: &mut Transaction<'_>, id: u32, amount: i64) -> Result<()> {
    deposit(tx, id, amount)
}

#[transactional]
fn connection_id(tx: &mut Transaction<'_>) -> Result<u32> {
    Ok(tx.query_first("SELECT CONNECTION_ID()")?.unwrap())
}

/// Holds a connection until it is told to let go.
struct Holder {
    id: u32,
    go: std::sync::mpsc::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

fn hold(pool: &Pool) -> Holder {
    let (go, told) = channel();
    let (ready, holds) = channel();
    let pool = pool.clone();
    let thread = thread::spawn(move || {
        pool.transaction(|tx| {
            let id: Option<u32> = tx.query_first("SELECT CONNECTION_ID()")?;
            ready.send(id.unwrap()).unwrap();
            told.recv().unwrap();
            deposit(tx, 9, 1)
        })
    });
    Holder { id: holds.recv().unwrap(), go, thread }
}

impl Holder {
    fn let_go(self) {
        self.go.send(()).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

/// Opens this many connections, which are idle then.
fn fill(pool: &Pool, connections: usize) -> Vec<u32> {
    let holders: Vec<Holder> = (0..connections).map(|_| hold(pool)).collect();
    let ids = holders.iter().map(|holder| holder.id).collect();
    holders.into_iter().for_each(Holder::let_go);
    ids
}

#[test]
fn annotated_functions_take_a_pool_and_its_connections_are_opened_when_needed() {
    let bank = bank();
    let pool = Pool::connect(&bank.server.url()).unwrap();
    assert_eq!(pool.status(), PoolStatus { max: 10, open: 1, idle: 1, in_use: 0, waiting: 0 });
    pay(&pool, 1, 5).unwrap();
    pool.clone().ping().unwrap();
    assert_eq!((pool.status().open, bank.balance(1), pool.stats().committed), (1, 105, 1));
    let holders = [(); 3].map(|()| hold(&pool));
    assert_eq!(pool.status(), PoolStatus { max: 10, open: 3, idle: 0, in_use: 3, waiting: 0 });
    holders.into_iter().for_each(Holder::let_go);
    assert_eq!(pool.status(), PoolStatus { max: 10, open: 3, idle: 3, in_use: 0, waiting: 0 });
    assert_eq!(pool.stats().reconnects, 0);

    let url = bank.server.url().replace("root@", "root:wrong@");
    assert_eq!(Pool::connect(&url).unwrap_err().kind(), ErrorKind::AccessDenied);
}

#[test]
fn limits_are_taken_from_the_url_and_the_builder_has_the_last_word() {
    let bank = bank();
    let url = format!("{}?max_connections=3&min_connections=2&acquire_timeout_ms=50&pool_max=50", bank.server.url());
    let pool = Pool::connect(&url).unwrap();
    assert_eq!((pool.status().max, pool.status().open), (3, 2));
    let pool = Db::builder(&url).max_connections(2).connect_pool().unwrap();
    let held = [hold(&pool), hold(&pool)];
    assert_eq!(pay(&pool, 1, 1).unwrap_err().kind(), ErrorKind::PoolTimeout);
    held.into_iter().for_each(Holder::let_go);
    assert_eq!(Pool::connect(&format!("{}?pool_max=7&pool_min=1", bank.server.url())).unwrap().status().max, 7);
    // A `Db` may have such a URL, too.
    pay(&Db::connect(&url).unwrap(), 1, 1).unwrap();
    let error = Db::builder(&url).max_connections(1).connect_pool().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[test]
fn a_caller_who_waits_too_long_is_told_who_holds_the_connections() {
    let bank = bank();
    let pool = pool_of(&bank, 2, |builder| builder.acquire_timeout(MOMENT * 3));
    let first = hold(&pool);
    thread::sleep(MOMENT);
    let second = hold(&pool);
    let waiting = pool.clone();
    let waiting = thread::spawn(move || pay(&waiting, 1, 1));
    eventually("a caller waits", || pool.status().waiting == 1);
    let began = Instant::now();
    let error = pay(&pool, 1, 1).unwrap_err();
    assert_eq!((error.kind(), error.is_transient(), error.http_status()), (ErrorKind::PoolTimeout, false, 503));
    assert!((MOMENT * 3..MOMENT * 30).contains(&began.elapsed()));
    let said = error.to_string();
    assert!(said.contains("2 of 2 connections") && said.matches("it::pool::hold (for ").count() == 2, "{said}");
    let other = waiting.join().unwrap().unwrap_err();
    assert!(other.to_string().contains("; 1 other callers wait") || said.contains("; 1 other callers wait"), "{said} {other}");
    assert_eq!(pool.status(), PoolStatus { max: 2, open: 2, idle: 0, in_use: 2, waiting: 0 });
    [first, second].into_iter().for_each(Holder::let_go);
    pay(&pool, 1, 1).unwrap();
    assert_eq!(bank.balances([1, 9]), [101, 102]);
}

#[test]
fn callers_are_served_in_the_order_in_which_they_came() {
    let bank = bank();
    let pool = pool_of(&bank, 1, |builder| builder);
    let holder = hold(&pool);
    let order = Arc::new(Mutex::new(Vec::new()));
    let threads: Vec<_> = (0..20_u32)
        .map(|turn| {
            let (own, order) = (pool.clone(), Arc::clone(&order));
            let thread = thread::spawn(move || {
                own.transaction(|_| {
                    order.lock().unwrap().push(turn);
                    Ok::<_, Error>(())
                })
            });
            eventually("the caller waits", || pool.status().waiting == turn + 1);
            thread
        })
        .collect();
    holder.let_go();
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_thread_that_comes_again_and_again_passes_none_that_waits() {
    let bank = bank();
    let pool = pool_of(&bank, 1, |builder| builder);
    let turns = Arc::new(Mutex::new(Vec::new()));
    let holder = hold(&pool);
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (own, turns) = (pool.clone(), Arc::clone(&turns));
            let thread = thread::spawn(move || {
                for _ in 0..50 {
                    own.transaction(|tx| {
                        // While this goes on, the thread that had the turn before comes back and queues.
                        tx.query_drop("DO SLEEP(0.003)")?;
                        turns.lock().unwrap().push(number);
                        Ok::<_, Error>(())
                    })
                    .unwrap();
                }
            });
            eventually("the thread waits", || pool.status().waiting == number + 1);
            thread
        })
        .collect();
    holder.let_go();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let turns = turns.lock().unwrap();
    assert_eq!(turns.len(), 200);
    // Each four turns in a row are those of four threads. (A thread that the machine gives no processor may come back late.)
    let unfair = turns.windows(4).filter(|turns| (0..4).any(|number| turns.iter().filter(|turn| **turn == number).count() > 1)).count();
    assert!(unfair <= 20, "{unfair} of {} in {turns:?}", turns.len());
}

#[test]
fn the_connection_used_last_is_taken_first_and_costs_no_round_trip() {
    let bank = bank();
    let (proxy, _db) = bank.proxied(|builder| builder);
    let pool = Db::builder(&proxy.url(&bank.server.url()).unwrap()).connect_pool().unwrap();
    fill(&pool, 4);
    let id = connection_id(&pool).unwrap();
    proxy.reset_counts();
    for _ in 0..10 {
        assert_eq!(connection_id(&pool).unwrap(), id);
    }
    // The statement, and COMMIT.
    assert_eq!(proxy.counts().requests, 20);
    assert_eq!(pool.status().idle, 4);
}

#[test]
fn an_idle_connection_that_has_died_costs_the_caller_nothing() {
    let bank = bank();
    let pool = pool_of(&bank, 4, |builder| builder);
    for id in fill(&pool, 4) {
        bank.kill(id);
    }
    // Without the retry attribute.
    pool.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    pool.ping().unwrap();
    fill(&pool, 4);
    assert_eq!((bank.balance(1), pool.stats().reconnects), (101, 4));
}

#[test]
fn a_nested_checkout_is_refused_and_work_beside_it_is_asked_for_by_name() {
    let bank = bank();
    let pool = pool_of(&bank, 3, |builder| builder.acquire_timeout(LONG));
    let error = pool
        .transaction(|tx| {
            deposit(tx, 1, 1)?;
            pay(&pool, 2, 1)
        })
        .unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::AlreadyInTransaction, false));
    assert!(error.to_string().contains("beside"), "{error}");
    assert_eq!(pool.clone().transaction(|_| pool.ping()).unwrap_err().kind(), ErrorKind::AlreadyInTransaction);
    assert_eq!(bank.balances([1, 2]), [100, 100]);

    let beside = pool.beside();
    let result = pool.transaction(|tx| {
        deposit(tx, 1, 1)?;
        pay(&beside, 2, 1)?;
        // What has a transaction of its own may not be entered again either, by whatever handle.
        let nested = beside.transaction(|_| {
            assert_eq!(pay(&beside, 3, 1).unwrap_err().kind(), ErrorKind::AlreadyInTransaction);
            assert_eq!(pay(&pool, 3, 1).unwrap_err().kind(), ErrorKind::AlreadyInTransaction);
            pay(&pool.beside(), 3, 1)
        });
        nested.unwrap();
        let other = pool.clone();
        thread::spawn(move || pay(&other, 4, 1)).join().unwrap()?;
        Err::<(), _>(Error::retry("not this time"))
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::RetryRequested);
    assert_eq!(bank.balances([1, 2, 3, 4]), [100, 101, 101, 101]);
    assert_eq!((pool.status(), pool.stats().committed), (beside.status(), beside.stats().committed));
    // The thread holds nothing any more.
    pay(&pool, 1, 1).unwrap();
}

#[test]
fn a_connection_is_free_while_a_call_waits_before_its_next_attempt() {
    let bank = bank();
    let pool = pool_of(&bank, 1, |builder| builder);
    let slow = quick().base_delay(Duration::from_secs(600)).max_delay(Duration::from_secs(600)).max_elapsed(Duration::MAX);
    let (failed, first) = channel();
    let own = pool.clone();
    thread::spawn(move || {
        own.retry(&slow, |_| {
            let result = own.transaction(|tx| {
                tx.query_drop("SET innodb_lock_wait_timeout = 1")?;
                tx.query_drop("SELECT * FROM account WHERE id = 1 FOR UPDATE")
            });
            failed.send(()).unwrap();
            result
        })
    });
    let _holder = bank.locked(1);
    first.recv_timeout(LONG).unwrap();
    within(LONG, move || pay(&pool, 2, 1)).unwrap();
}

#[test]
fn a_body_that_panics_costs_the_pool_nothing() {
    let bank = bank();
    let pool = pool_of(&bank, 1, |builder| builder.acquire_timeout(MOMENT));
    for _ in 0..3 {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            pool.transaction(|tx| -> Result<()> {
                deposit(tx, 1, 1)?;
                panic!("the body's");
            })
        }));
        assert!(panic.is_err());
        pay(&pool, 2, 1).unwrap();
    }
    assert_eq!((bank.balances([1, 2]), pool.status().open), ([100, 103], 1));
}

#[test]
fn every_call_of_64_threads_survives_a_restart_of_the_server() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    let patient = quick().max_attempts(20).max_elapsed(Duration::from_secs(60));
    let pool = pool_of(&bank, 8, |builder| builder.commit_ledger(true).retry(patient).acquire_timeout(Duration::from_secs(60)));
    let begun = Arc::new(Barrier::new(65));
    let threads: Vec<_> = (0..64)
        .map(|number| {
            let (pool, begun) = (pool.clone(), Arc::clone(&begun));
            thread::spawn(move || {
                begun.wait();
                (0..20).try_for_each(|_| pay(&pool, 1 + number % 10, 1))
            })
        })
        .collect();
    begun.wait();
    thread::sleep(MOMENT);
    bank.server.kill9().unwrap();
    bank.server.restart().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    let total: i64 = (1..=10).map(|id| bank.balance(id)).sum();
    assert_eq!(total, 1000 + 64 * 20);
    // One row of the ledger for each session, whatever became of its connections.
    assert_eq!((bank.admin_count("db_core_ledger"), pool.status().in_use), (8, 0));
}

#[test]
fn a_mass_loss_is_one_burst_of_connects_bounded_by_the_connections() {
    let bank = bank();
    let proxy = bank.server.proxy().unwrap();
    let pool = Db::builder(&proxy.url(&bank.server.url()).unwrap()).retry(quick()).max_connections(4).connect_pool().unwrap();
    fill(&pool, 4);
    let before = proxy.accepted().len();
    proxy.cut_all();
    let threads: Vec<_> = (0..64)
        .map(|_| {
            let pool = pool.clone();
            thread::spawn(move || (0..5).try_for_each(|_| pay(&pool, 1, 1)))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    let opened = proxy.accepted().len() - before;
    assert!((1..=4).contains(&opened), "{opened}");
    assert_eq!(bank.balance(1), 100 + 320);
}

#[test]
fn a_connection_that_is_never_idle_is_retired_between_two_transactions() {
    let bank = bank();
    let pool = pool_of(&bank, 1, |builder| builder.max_lifetime(MOMENT));
    let began = Instant::now();
    let threads = [(); 2].map(|()| {
        let pool = pool.clone();
        thread::spawn(move || {
            let mut ids = Vec::new();
            while began.elapsed() < MOMENT * 6 {
                ids.push(connection_id(&pool).unwrap());
            }
            ids
        })
    });
    let mut ids: Vec<u32> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    // Six lifetimes, each of which is up to a fifth shorter.
    assert!((4..=9).contains(&ids.len()), "{ids:?}");
}

#[test]
fn connections_that_are_idle_for_too_long_are_closed_but_for_the_fewest() {
    let bank = bank();
    let pool = pool_of(&bank, 5, |builder| builder.min_connections(2).idle_timeout(MOMENT));
    fill(&pool, 5);
    assert_eq!(pool.status().open, 5);
    thread::sleep(MOMENT * 2);
    // Whoever takes one looks at the others.
    pool.ping().unwrap();
    assert_eq!(pool.status(), PoolStatus { max: 5, open: 2, idle: 2, in_use: 0, waiting: 0 });
    let connections = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'test' AND id <> CONNECTION_ID()";
    let mut admin = bank.server.connect().unwrap();
    bank.db.disconnect();
    eventually("three are closed", || admin.query_first(connections).unwrap() == Some(2));
}

#[test]
fn all_idle_connections_leave_a_primary_that_is_demoted_and_one_caller_looks_for_the_next() {
    let bank = bank();
    bank.admin_query("CREATE USER app@'%'");
    bank.admin_query("GRANT ALL ON test.* TO app@'%'");
    let proxy = bank.server.proxy().unwrap();
    let url = proxy.url(&bank.server.url()).unwrap().replace("root@", "app@");
    let patient = quick().max_elapsed(LONG);
    let pool = Db::builder(&url).retry(patient).max_connections(16).connect_pool().unwrap();
    let before = fill(&pool, 16);
    let read_only = |on: u8| bank.admin_query(&format!("SET GLOBAL read_only = {on}"));
    read_only(1);
    let error = pool.transaction(|tx| deposit(tx, 1, 1)).unwrap_err();
    assert_eq!((error.kind(), pool.status().open), (ErrorKind::ReadOnlyServer, 0), "{error}");

    proxy.reset_counts();
    let opened = proxy.accepted().len();
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let pool = pool.clone();
            thread::spawn(move || pay(&pool, 1, 1))
        })
        .collect();
    thread::sleep(Duration::from_secs(1));
    // One for each caller's first attempt, and then one search after the other.
    let opened = proxy.accepted().len() - opened;
    assert!(opened <= 16 + 22, "{opened}");
    read_only(0);
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    assert_eq!(bank.balance(1), 116);
    assert!(fill(&pool, 16).iter().all(|id| !before.contains(id)));
}

#[test]
fn a_forked_process_has_an_empty_pool_and_touches_nothing_of_its_parents() {
    let bank = bank();
    let pool = pool_of(&bank, 3, |builder| builder.acquire_timeout(MOMENT));
    let before = fill(&pool, 2);
    // In the child the threads that hold them do not exist.
    let held = hold(&pool);
    let child = pool.clone();
    assert!(in_a_forked_child(|| {
        let empty = child.status() == PoolStatus { max: 3, open: 0, idle: 0, in_use: 0, waiting: 0 };
        let own = [(); 3].map(|()| connection_id(&child).unwrap());
        pay(&child, 1, 1).unwrap();
        child.close();
        empty && own.iter().all(|id| !before.contains(id) && *id != held.id)
    }));
    let inherited = pool.transaction(|tx| {
        deposit(tx, 2, 1)?;
        assert!(in_a_forked_child(|| deposit(tx, 2, 1).is_err()));
        Ok::<_, Error>(())
    });
    inherited.unwrap();
    assert!(before.contains(&connection_id(&pool).unwrap()));
    held.let_go();
    assert_eq!((pool.status().open, bank.balances([1, 2, 9])), (2, [101, 101, 103]));
}

#[test]
fn a_pool_that_is_closed_lets_open_transactions_end_and_begins_none() {
    let bank = bank();
    let pool = pool_of(&bank, 2, |builder| builder);
    let holders = [hold(&pool), hold(&pool)];
    let waiting = pool.clone();
    let waiting = thread::spawn(move || pay(&waiting, 1, 1));
    eventually("a caller waits", || pool.status().waiting == 1);
    let closing = pool.clone();
    let (closed, is_closed) = channel();
    let closing = thread::spawn(move || {
        closing.close();
        closed.send(()).unwrap();
    });
    for error in [waiting.join().unwrap().unwrap_err(), pay(&pool, 1, 1).unwrap_err(), pool.ping().unwrap_err()] {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::ConnectFailed, false), "{error}");
        assert!(error.to_string().contains("the pool is closed"), "{error}");
    }
    assert!(is_closed.recv_timeout(MOMENT).is_err(), "it did not wait for the transactions");
    holders.into_iter().for_each(Holder::let_go);
    is_closed.recv_timeout(LONG).unwrap();
    closing.join().unwrap();
    assert_eq!((pool.status(), bank.balances([1, 9])), (PoolStatus { max: 2, open: 0, idle: 0, in_use: 0, waiting: 0 }, [100, 102]));

    // Inside a transaction it waits for nothing.
    let pool = pool_of(&bank, 2, |builder| builder);
    pool.transaction(|tx| {
        pool.close();
        deposit(tx, 1, 1)
    })
    .unwrap();
    assert_eq!((bank.balance(1), pool.status().open), (101, 0));
}

#[test]
fn each_session_has_one_row_of_the_ledger_however_often_it_reconnects() {
    let bank = bank();
    let pool = pool_of(&bank, 3, |builder| builder);
    pool.install_ledger().unwrap();
    let pool = pool_of(&bank, 3, |builder| builder.commit_ledger(true));
    for _ in 0..4 {
        for id in fill(&pool, 3) {
            bank.kill(id);
        }
    }
    assert_eq!(bank.admin_count("db_core_ledger"), 3);
}

#[test]
fn a_pool_has_the_metrics_of_opentelemetry() {
    let bank = bank();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let pool = metrics::with_local_recorder(&recorder, || {
        let pool = pool_of(&bank, 1, |builder| builder.acquire_timeout(MOMENT));
        pay(&pool, 1, 1).unwrap();
        let holder = hold(&pool);
        pay(&pool, 1, 1).unwrap_err();
        holder.let_go();
        pay(&pool, 1, 1).unwrap();
        pool
    });
    let name = format!("{}:{}/test", bank.server.address().ip(), bank.server.port());
    let mut found = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let (_, key) = key.into_parts();
        let Some(metric) = key.name().strip_prefix("db.client.connection.") else { continue };
        let labels: BTreeMap<_, _> = key.labels().map(|label| (label.key(), label.value())).collect();
        assert_eq!(labels["db.client.connection.pool.name"], name);
        let state = labels.get("db.client.connection.state").map_or_else(String::new, |state| format!(" {state}"));
        let shown = match value {
            DebugValue::Counter(count) => format!("{count}"),
            DebugValue::Gauge(value) => format!("{value}"),
            DebugValue::Histogram(values) => format!("{} values", values.len()),
        };
        found.insert(format!("{metric}{state}"), shown);
    }
    let expected = [
        ("count idle", "1"),
        ("count used", "0"),
        ("create_time", "1 values"),
        ("idle.max", "1"),
        ("max", "1"),
        ("pending_requests", "0"),
        ("timeouts", "1"),
        ("use_time", "3 values"),
        ("wait_time", "3 values"),
    ];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(pool.stats().lock_waits, 1);
}
