//! What the listener of `on_event` is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_core::prelude::*;
use db_core::{Error, Event, Resolved, Result};
use db_testkit::{Action, Fault, Point, Server};
use tests::{bank, cut_commit, deposit, quick};

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn listener(&self) -> impl Fn(&Event<'_>) + Send + Sync + 'static + use<> {
        let told = Arc::clone(&self.0);
        move |event| {
            let said = match event {
                Event::Retry { function, attempts, kind, code, delay, .. } => {
                    assert!(function.is_some_and(|name| name.starts_with("it::listener::")), "{function:?}");
                    assert!(*delay <= Duration::from_millis(20));
                    format!("retry after {attempts}: {kind:?} {code:?}")
                }
                Event::Reconnect { host, connection, .. } => {
                    assert!(host.starts_with("127.0.0.1:") && *connection > 0, "{host}");
                    String::from("reconnect")
                }
                Event::Resolve { resolution, took, .. } => {
                    assert_eq!(*took == Duration::ZERO, *resolution == Resolved::Unknown, "{took:?}");
                    format!("resolve: {resolution:?}")
                }
                Event::Failover { from, to, .. } => format!("failover from {from} to {to}"),
                Event::SlowTransaction { function, committed, took, .. } => {
                    assert!(function.is_some_and(|name| name.starts_with("it::listener::")), "{function:?}");
                    assert!(*took > Duration::ZERO);
                    format!("slow, committed: {committed}")
                }
                other => panic!("{other:?}"),
            };
            told.lock().unwrap().push(said);
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[retry_on_disconnect]
#[transactional]
fn persistent(tx: &mut Transaction<'_>) -> Result<()> {
    deposit(tx, 1, 1)
}

#[test]
fn retries_reconnects_and_lost_commits_are_told() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    let told = Told::default();
    for ledger in [true, false] {
        let (proxy, db) = bank.proxied(|builder| builder.commit_ledger(ledger).on_event(told.listener()));
        persistent(&db).unwrap();
        assert_eq!(told.take(), Vec::<String>::new(), "nothing happened");
        for (point, expected) in [
            (Point::BeforeRequest, vec!["resolve: NotCommitted", "retry after 1: Some(ConnectionLost) None", "reconnect"]),
            (Point::AfterRequest, vec!["resolve: Committed"]),
        ] {
            db.ping().unwrap();
            told.take();
            cut_commit(&proxy, &db, point, Action::Rst);
            let call = persistent(&db);
            assert_eq!(call.is_ok(), ledger);
            assert_eq!(told.take(), if ledger { expected } else { vec!["resolve: Unknown"] });
        }
    }
}

#[test]
fn a_transaction_that_took_longer_than_the_threshold_is_told() {
    let bank = bank();
    let told = Told::default();
    for (threshold, expected) in [(Duration::ZERO, ["slow, committed: true", "slow, committed: false"].as_slice()), (Duration::MAX, &[])] {
        let db = Db::builder(&bank.server.url()).slow_transaction(threshold).on_event(told.listener()).connect().unwrap();
        db.transaction(|tx| tx.query_drop("DO 1")).unwrap();
        db.transaction(|tx| tx.query_drop("DO 1").and(Err::<(), _>(Error::retry("undo")))).unwrap_err();
        assert_eq!(told.take(), expected);
    }
}

#[test]
fn the_kind_and_the_code_of_what_ended_an_attempt_are_told() {
    let bank = bank();
    let told = Told::default();
    let db = Db::builder(&bank.server.url()).retry(quick()).on_event(told.listener()).connect().unwrap();
    let mut rivals = vec![bank.rival()];
    db.retry(&quick(), |_| {
        db.transaction(|tx| {
            tx.query_drop("UPDATE account SET balance = balance WHERE id = 9")?;
            if let Some(mut rival) = rivals.pop() {
                rival.wait_for_nine();
                return tx.query_drop("UPDATE account SET balance = balance WHERE id = 10");
            }
            Ok(())
        })
    })
    .unwrap();
    assert_eq!(told.take(), ["retry after 1: Some(Deadlock) Some(1213)"]);
}

#[test]
fn another_host_is_told() {
    let (first, second) = (Server::start().unwrap(), Server::start().unwrap());
    let told = Told::default();
    let [one, two] = [&first, &second].map(|server| format!("127.0.0.1:{}", server.port()));
    let url = format!("mysql://root@{one},{two}/test");
    let db = Db::builder(&url).retry(quick().max_elapsed(Duration::from_secs(20))).on_event(told.listener()).connect().unwrap();
    assert_eq!(told.take(), Vec::<String>::new());
    first.kill9().unwrap();
    db.retry(&quick(), |_| db.transaction(|tx| tx.query_drop("DO 1"))).unwrap();
    let expected = format!("failover from {one} to {two}");
    assert!(told.take().contains(&expected));
}

#[test]
fn a_listener_that_panics_hides_no_commit() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder.slow_transaction(Duration::ZERO).on_event(|_| panic!("the listener's own")));
    persistent(&db).unwrap();
    proxy.inject(Fault::new(Point::BeforeRequest, Action::Rst).matching("UPDATE account").nth(1));
    persistent(&db).unwrap();
    assert_eq!(bank.balance(1), 102);
}
