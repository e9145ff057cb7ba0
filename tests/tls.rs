//! What holds over TLS, with either library. Not compiled without one: `cargo nextest run -p tests --features rustls --test tls`.

#![cfg(any(feature = "rustls", feature = "native-tls"))]
#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use db_core::mysql::SslOpts;
use db_core::prelude::*;
use db_testkit::{Action, Fault, FaultProxy, Point, Server};
use tests::{Bank, bank_on, deposit, quick};

/// A bank whose server takes no connection without TLS, and a database that has one with it.
fn secure_bank() -> (Bank, Db) {
    let bank = bank_on(Server::builder().tls().start().unwrap());
    bank.admin_query("SET GLOBAL require_secure_transport = ON");
    let db = Db::builder(&url(&bank)).retry(quick()).connect().unwrap();
    (bank, db)
}

/// With an option that turns TLS on.
fn url(bank: &Bank) -> String {
    format!("{}?root_cert_path={}", bank.server.url(), bank.server.ca_certificate().display())
}

/// By the Unix socket, which counts as secure.
fn balance(bank: &Bank, id: u32) -> i64 {
    let db = Db::connect(&format!("{}?socket={}", bank.server.url(), bank.server.socket().display())).unwrap();
    db.transaction(|tx| tx.exec_first("SELECT balance FROM account WHERE id = ?", (id,))).unwrap().unwrap()
}

#[test]
fn a_transaction_runs_over_tls_and_not_without() {
    let (bank, db) = secure_bank();
    let cipher = |db: &Db| {
        let cipher: Option<(String, String)> = db.transaction(|tx| tx.query_first("SHOW SESSION STATUS LIKE 'Ssl_cipher'")).unwrap();
        cipher.unwrap().1
    };
    db.transaction(|tx| deposit(tx, 1, 5)).unwrap();
    assert_eq!(balance(&bank, 1), 105);
    assert_ne!(cipher(&db), "");
    let by_socket = Db::connect(&format!("{}&socket={}", url(&bank), bank.server.socket().display())).unwrap();
    assert_eq!(cipher(&by_socket), "");
    let error = Db::connect(&bank.server.url()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
}

/// MariaDB refuses its command for many rows over TLS (1295).
#[test]
fn a_batch_runs_over_tls() {
    let (bank, db) = secure_bank();
    let set = "UPDATE account SET balance = ? WHERE id = ?";
    db.transaction(|tx| tx.exec_batch(set, [(1, 1), (2, 2), (3, 3)])).unwrap();
    assert_eq!([1, 2, 3].map(|id| balance(&bank, id)), [1, 2, 3]);
    let error = db.transaction(|tx| tx.exec_batch("INSERT INTO account VALUES (?, ?)", [(20, 1), (1, 1)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UniqueViolation);
    db.transaction(|tx| tx.exec_batch("INSERT INTO account VALUES (?, ?)", [(20, 1), (21, 1)])).unwrap();
}

#[test]
fn a_connection_killed_while_idle_costs_the_caller_nothing() {
    let (bank, db) = secure_bank();
    let other = db.fork().unwrap();
    for _ in 0..3 {
        let id: u64 = db.transaction(|tx| tx.query_first("SELECT CONNECTION_ID()")).unwrap().unwrap();
        other.transaction(|tx| tx.query_drop(format!("KILL {id}"))).unwrap();
        thread::sleep(Duration::from_millis(100));
        // Without the retry attribute.
        db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    }
    assert_eq!((balance(&bank, 1), db.stats().reconnects), (103, 3));
}

#[test]
fn a_server_that_was_restarted_is_found_again() {
    let (bank, db) = secure_bank();
    bank.server.kill9().unwrap();
    bank.server.restart().unwrap();
    db.retry(&quick(), |_| db.transaction(|tx| deposit(tx, 1, 1))).unwrap();
    assert_eq!(balance(&bank, 1), 101);
}

#[test]
fn a_transaction_that_is_cut_is_run_again() {
    let (bank, _) = secure_bank();
    let proxy = opaque(&bank);
    let db = Db::builder(&proxy.url(&url(&bank)).unwrap()).retry(quick()).connect().unwrap();
    let mut runs = 0;
    db.retry(&quick(), |_| {
        runs += 1;
        db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            if runs == 1 {
                lose_the_next_reply(&proxy);
            }
            deposit(tx, 2, 1)
        })
    })
    .unwrap();
    assert_eq!((runs, balance(&bank, 1), balance(&bank, 2)), (2, 101, 101));
}

#[test]
fn a_commit_whose_answer_is_lost_is_resolved_by_the_ledger() {
    let (bank, db) = secure_bank();
    db.install_ledger().unwrap();
    let proxy = opaque(&bank);
    let open = |ledger| Db::builder(&proxy.url(&url(&bank)).unwrap()).retry(quick()).commit_ledger(ledger).connect().unwrap();
    let losing = |db: &Db| {
        db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            lose_the_next_reply(&proxy);
            Ok::<_, db_core::Error>(())
        })
    };
    losing(&open(true)).unwrap();
    assert_eq!(balance(&bank, 1), 101);
    assert_eq!(losing(&open(false)).unwrap_err().kind(), ErrorKind::CommitUnknown);
}

#[test]
fn a_server_that_nobody_vouches_for_is_refused_and_not_tried_again() {
    let (bank, _) = secure_bank();
    let stranger = Server::builder().tls().start().unwrap();
    let wrong = format!("{}?root_cert_path={}", bank.server.url(), stranger.ca_certificate().display());
    let no_ca = format!("{}?danger_skip_domain_validation=false", bank.server.url());
    let no_file = format!("{}?root_cert_path=/nonexistent", bank.server.url());
    // The certificate is for 127.0.0.1, where the server listens.
    let proxy = FaultProxy::builder(bank.server.address()).opaque().ip(Ipv4Addr::new(127, 0, 0, 2)).start().unwrap();
    let urls = [
        ("another authority", wrong.clone()),
        ("the world's authorities", no_ca),
        ("no such file", no_file),
        ("another name", proxy.url(&url(&bank)).unwrap()),
    ];
    for (what, url) in urls {
        let began = Instant::now();
        let error = Db::connect(&url).map(drop).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::ConnectFailed, "{what}: {error}");
        assert!(!error.is_transient(), "{what}: {error}");
        assert!(began.elapsed() < Duration::from_secs(2), "{what}: {:?}", began.elapsed());
    }
    let relaxed = format!("{wrong}&danger_accept_invalid_certs=true");
    Db::connect(&relaxed).unwrap().ping().unwrap();
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    // The one is understood by MariaDB, the other by MySQL.
    let server = Server::builder().arg("--loose-skip-ssl").arg("--loose-tls-version=").start().unwrap();
    let db =
        Db::builder(&server.url()).driver_options(|options| options.ssl_opts(SslOpts::default().with_danger_accept_invalid_certs(true)));
    let error = db.connect().map(drop).expect_err("a server without TLS");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::ConnectFailed, false), "{error}");
}

/// A proxy that TLS passes through.
fn opaque(bank: &Bank) -> FaultProxy {
    FaultProxy::builder(bank.server.address()).opaque().start().unwrap()
}

fn lose_the_next_reply(proxy: &FaultProxy) {
    proxy.inject(Fault::new(Point::AfterRequest, Action::Fin));
}

#[test]
fn a_session_that_the_server_closes_before_commit_has_committed_nothing_for_certain() {
    let (bank, db) = secure_bank();
    let error = db
        .transaction(|tx| {
            tx.query_drop("SET SESSION wait_timeout = 1")?;
            deposit(tx, 1, 1)?;
            thread::sleep(Duration::from_millis(2500));
            Ok::<_, db_core::Error>(())
        })
        .unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::ConnectionLost, true), "{error}");
    assert_eq!(balance(&bank, 1), 100);
}
