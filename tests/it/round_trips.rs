//! n statements cost n + 1 round trips.

use db_core::Result;
use db_core::prelude::*;
use tests::{COMMIT, bank, deposit};

#[test]
fn a_transaction_of_n_statements_costs_n_plus_one() {
    let bank = bank();
    bank.admin_query("CREATE PROCEDURE nothing() DO 1");
    let proxy = bank.server.proxy().unwrap();
    let db = Db::connect(&proxy.url(&bank.server.url()).unwrap()).unwrap();
    type Body = fn(&mut Transaction<'_>) -> Result<()>;
    let count = |body: Body, options: TxOptions| {
        // The first time prepares.
        db.transaction_with(&options, body).unwrap();
        proxy.reset_counts();
        db.transaction_with(&options, body).unwrap();
        proxy.counts().round_trips
    };
    let plain = TxOptions::new();
    assert_eq!(count(|_| Ok(()), plain), 0, "nothing executed");
    assert_eq!(count(|_| Ok(()), plain.read_only(true)), 0, "nothing executed, read-only");
    assert_eq!(count(|tx| tx.query_drop("UPDATE account SET balance = 1 WHERE id = 1"), plain), 2, "one text");
    assert_eq!(count(|tx| tx.exec_drop("UPDATE account SET balance = ? WHERE id = 1", (1,)), plain), 2, "one prepared");
    assert_eq!(count(|tx| deposit(tx, 1, 1), plain), 3, "two prepared");
    assert_eq!(count(|tx| (0..10).try_for_each(|_| tx.exec_drop("UPDATE account SET balance = ? WHERE id = 1", (1,))), plain), 11, "ten");
    assert_eq!(
        count(|tx| Ok(Queryable::query_iter(tx, "SELECT * FROM account").map(drop)?), plain),
        3,
        "the driver's result, and a sentinel"
    );
    // The sentinel, CALL, COMMIT, and the session is put back to what it was.
    assert_eq!(count(|tx| tx.query_drop("CALL nothing()"), plain), 5, "CALL");
    assert_eq!(count(|tx| tx.query_drop("CREATE TABLE IF NOT EXISTS other (id INT)"), plain), 2, "DDL alone");
    assert_eq!(count(|tx| tx.transaction_with(&TxOptions::new().join(true), |tx| deposit(tx, 1, 1)), plain), 3, "joined");
    assert_eq!(count(|tx| tx.transaction(|tx| deposit(tx, 1, 1)), plain), 4, "with a savepoint");
    assert_eq!(count(|tx| tx.transaction(|_| Ok(())), plain), 0, "with a savepoint, nothing executed");
    assert_eq!(count(|tx| tx.transaction(|tx| tx.transaction(|tx| tx.query_drop("DO 1"))), plain), 3, "two savepoints in one packet");
    let options = plain.isolation(Isolation::ReadCommitted).read_only(true);
    assert_eq!(count(|tx| tx.query_drop("SELECT * FROM account"), options), 3, "isolation and access mode in one packet");
}

#[test]
fn connecting_costs_the_handshake_and_one_round_trip() {
    let bank = bank();
    let proxy = bank.server.proxy().unwrap();
    let url = proxy.url(&bank.server.url()).unwrap();
    proxy.reset_counts();
    let db = Db::connect(&url).unwrap();
    assert_eq!(proxy.counts().round_trips, 1);
    db.disconnect();
    db.transaction(|tx| tx.query_drop("DO 1")).unwrap();
    // Connecting again, the statement, COMMIT.
    assert_eq!(proxy.counts().round_trips, 4);
    let sent: Vec<_> = proxy.requests().into_iter().filter_map(|request| request.text).collect();
    let [first, again, statement, commit] = sent.as_slice() else { panic!("{sent:#?}") };
    assert!(first.starts_with("SET NAMES utf8mb4; SET autocommit = 0, ") && first == again, "{sent:#?}");
    assert_eq!([statement, commit], ["DO 1", COMMIT]);
}
