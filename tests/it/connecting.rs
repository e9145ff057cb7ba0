//! How a program names its database.

use std::cell::OnceCell;
use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use db_core::Error;
use db_core::prelude::*;
use db_testkit::{Action, Fault, FaultProxy, Point};
use tests::{Bank, bank, deposit, quick};

fn by_socket(bank: &Bank, socket: &Path) -> DbBuilder {
    // The address is not used.
    let url = bank.server.url().replace(&bank.server.address().to_string(), "nowhere.invalid:1");
    Db::builder(&format!("{url}?socket={}", socket.display())).retry(quick())
}

fn connection_id(db: &Db) -> u32 {
    db.transaction(|tx| tx.query_first("SELECT CONNECTION_ID()")).unwrap().unwrap()
}

#[test]
fn a_transaction_runs_over_a_unix_socket_and_its_connection_heals() {
    let bank = bank();
    let db = by_socket(&bank, &bank.server.socket()).connect().unwrap();
    db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    bank.kill(connection_id(&db));
    db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    let killed = connection_id(&db);
    let mut runs = 0;
    db.retry(&quick(), |_| {
        runs += 1;
        db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            if runs == 1 {
                bank.kill(killed);
            }
            deposit(tx, 2, 1)
        })
    })
    .unwrap();
    bank.server.kill9().unwrap();
    let error = db.ping().unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::ConnectFailed, true), "{error}");
    bank.server.restart().unwrap();
    db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    assert_eq!((runs, bank.balance(1), bank.balance(2)), (2, 104, 101));
}

#[test]
fn a_commit_whose_answer_is_lost_on_a_unix_socket_is_resolved_by_the_ledger() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    // Beside the server's own, so that it goes away with that.
    let before = bank.server.socket().with_file_name("proxy.sock");
    let proxy = FaultProxy::builder(bank.server.socket()).opaque().socket(&before).start().unwrap();
    let lost = OnceCell::new();
    let db = by_socket(&bank, &before).commit_ledger(true).connect().unwrap();
    db.transaction(|tx| {
        deposit(tx, 1, 1)?;
        lost.set(proxy.inject(Fault::new(Point::AfterRequest, Action::Fin))).unwrap();
        Ok::<_, Error>(())
    })
    .unwrap();
    lost.get().unwrap().assert_fired();
    assert_eq!(bank.balance(1), 101);
}

#[test]
fn a_url_is_taken_from_the_environment() {
    let bank = bank();
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "connecting::in_an_environment_with_a_url"])
        .env("DATABASE_URL", bank.server.url())
        .env("EMPTY_URL", "")
        .env("WRONG_URL", "mysql://u:hunter2@h/d?no_such_option=1")
        .env("BYTES_URL", OsStr::from_bytes(b"mysql://u:hunter2\xff@h/d"))
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(bank.balance(1), 101);
}

#[test]
#[ignore = "run by the test above"]
fn in_an_environment_with_a_url() {
    Db::from_env().unwrap().transaction(|tx| deposit(tx, 1, 1)).unwrap();
    for (name, expected) in [
        ("EMPTY_URL", "EMPTY_URL, which should contain the database's URL, is empty"),
        ("BYTES_URL", "is not UTF-8"),
        ("WRONG_URL", "there is no option `no_such_option`"),
        ("NO_SUCH_URL", "NO_SUCH_URL, which should contain the database's URL, is not set"),
    ] {
        let error = DbBuilder::from_env(name).and_then(DbBuilder::connect).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{name}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(expected) && !shown.contains("hunter2"), "{name}: {shown}");
    }
}
