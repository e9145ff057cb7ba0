//! A batch does what its rows do one by one, or nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use db_core::mysql::{Params, Value, params};
use db_core::prelude::*;
use db_core::{Error, Result};
use db_testkit::Flavor;
use tests::{bank, deposit};

const COLUMNS: [&str; 6] = ["VARCHAR(100)", "VARBINARY(100)", "BIGINT", "DOUBLE", "DATETIME(6)", "DECIMAL(20, 4)"];

fn values() -> Vec<Value> {
    vec![
        Value::NULL,
        Value::Int(-1),
        Value::Int(7),
        Value::UInt(7),
        Value::UInt(u64::MAX),
        Value::Float(2.25),
        Value::Double(2.25),
        Value::from("abc"),
        Value::from("7"),
        Value::from(""),
        Value::Date(2024, 2, 29, 13, 14, 15, 161_718),
        Value::Time(false, 0, 13, 14, 15, 0),
    ]
}

/// Three rows, so that each type comes before and after the other, and the value that came first is not the last.
fn rows(first: &Value, second: &Value) -> Vec<Params> {
    [first, second, first].into_iter().enumerate().map(|(id, value)| Params::Positional(vec![Value::from(id), value.clone()])).collect()
}

#[test]
fn consecutive_rows_of_any_two_types_store_what_they_store_one_by_one() {
    let bank = bank();
    let (mut stored, mut refused) = (0, 0);
    for (number, column) in COLUMNS.into_iter().enumerate() {
        bank.admin_query(&format!("CREATE TABLE pairs{number} (id INT PRIMARY KEY, v {column}) ENGINE=InnoDB"));
        let insert = format!("INSERT INTO pairs{number} VALUES (?, ?)");
        // What is stored, and how the transaction's rows ended.
        let outcome = |insert_rows: &dyn Fn(&mut Transaction<'_>) -> Result<()>| {
            bank.db.transaction(|tx| {
                tx.set_rollback_only();
                let result = insert_rows(tx).map_err(|error| error.code());
                let rows = tx.query::<(u32, Option<String>), _>(format!("SELECT id, HEX(v) FROM pairs{number} ORDER BY id"))?;
                Ok::<_, Error>((result, rows))
            })
        };
        for first in values() {
            for second in values() {
                let rows = rows(&first, &second);
                let batch = outcome(&|tx| tx.exec_batch(&insert, rows.clone())).unwrap();
                let mut one_by_one = outcome(&|tx| rows.iter().try_for_each(|row| tx.exec_drop(&insert, row.clone()))).unwrap();
                if one_by_one.0.is_err() {
                    one_by_one.1.clear();
                    refused += 1;
                } else {
                    stored += 1;
                }
                assert_eq!(batch, one_by_one, "{column}: {first:?}, {second:?}");
            }
        }
    }
    assert!(stored > 400 && refused > 100, "{stored} stored, {refused} refused");
}

/// A failing row in the middle, and the table's rows before.
#[test]
fn a_batch_that_fails_leaves_nothing_and_the_transaction_goes_on() {
    let bank = bank();
    bank.admin_query("ALTER TABLE account ADD CHECK (balance >= 0)");
    let accounts = |tx: &mut Transaction<'_>| tx.query::<(u32, i64), _>("SELECT id, balance FROM account ORDER BY id");
    let mixed = |id: u32, balance: Value| Params::Positional(vec![Value::from(id), balance]);
    let batches: Vec<(&str, Vec<Params>, ErrorKind)> = vec![
        ("INSERT INTO account VALUES (?, ?)", vec![(20, 1).into(), (1, 2).into(), (21, 3).into()], ErrorKind::UniqueViolation),
        (
            "INSERT INTO account VALUES (?, ?)",
            vec![mixed(20, Value::Int(1)), mixed(21, Value::from("2")), mixed(1, Value::Double(2.0)), mixed(22, Value::Int(1))],
            ErrorKind::UniqueViolation,
        ),
        ("UPDATE account SET balance = ? WHERE id = ?", vec![(5, 1).into(), (-5, 2).into(), (5, 3).into()], ErrorKind::CheckViolation),
        ("REPLACE INTO account (balance, id) VALUES (?, ?)", vec![(5, 1).into(), (-5, 2).into(), (5, 3).into()], ErrorKind::CheckViolation),
        (
            "INSERT INTO account VALUES (:id, :balance)",
            vec![params! { "id" => 20, "balance" => 1 }, params! { "id" => 1, "balance" => "2" }],
            ErrorKind::UniqueViolation,
        ),
        ("INSERT INTO account VALUES (?, ?)", vec![(20, 1).into(), (21, 1, 1).into()], ErrorKind::Driver),
        ("INSERT INTO account VALUES (?, ?)", vec![(20, 1).into(), params! { "id" => 1 }], ErrorKind::Driver),
        ("CALL pay(?, ?)", vec![(1, 5).into(), (2, -5).into()], ErrorKind::CheckViolation),
    ];
    bank.admin_query("CREATE PROCEDURE pay(a INT, b INT) UPDATE account SET balance = b WHERE id = a");
    for warm in [false, true] {
        for (sql, rows, kind) in &batches {
            if warm {
                deposit_and_back(&bank.db);
            }
            bank.db
                .transaction(|tx| {
                    tx.query_drop("UPDATE account SET balance = balance + 1 WHERE id = 10")?;
                    let before = accounts(tx)?;
                    let error = tx.exec_batch(*sql, rows.clone()).unwrap_err();
                    assert_eq!((error.kind(), error.is_transient()), (*kind, false), "{sql}: {error}");
                    assert_eq!(accounts(tx)?, before, "{sql}");
                    tx.query_drop("UPDATE account SET balance = balance - 1 WHERE id = 10")
                })
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
    assert_eq!((1..=10).map(|id| bank.balance(id)).collect::<Vec<_>>(), [100; 10]);
}

fn deposit_and_back(db: &Db) {
    db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    db.transaction(|tx| deposit(tx, 1, -1)).unwrap();
}

#[test]
fn a_batch_whose_rows_panic_leaves_nothing() {
    let bank = bank();
    bank.db
        .transaction(|tx| {
            deposit(tx, 1, 1)?;
            let rows =
                (20..30).map(|id| if id == 25 { panic!("no such row") } else { (id, Value::from(if id % 2 == 0 { "1" } else { "2" })) });
            let panicked = catch_unwind(AssertUnwindSafe(|| tx.exec_batch("INSERT INTO account VALUES (?, ?)", rows)));
            assert!(panicked.is_err());
            deposit(tx, 2, 1)
        })
        .unwrap();
    assert_eq!(bank.admin_count("account"), 10);
    assert_eq!((bank.balance(1), bank.balance(2)), (101, 101));
}

/// MariaDB's; MySQL has no RETURNING.
fn returning(bank: &tests::Bank) -> &'static str {
    if bank.server.flavor() == Flavor::MySql { "" } else { " RETURNING id" }
}

#[test]
fn an_error_among_the_rows_that_a_batch_returns_is_an_error() {
    let bank = bank();
    let insert = format!("INSERT INTO account VALUES (?, ?){}", returning(&bank));
    let error = bank.db.transaction(|tx| tx.exec_batch(&insert, [(20, 1), (1, 1), (21, 1)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UniqueViolation);
    assert_eq!(bank.admin_count("account"), 10);
    bank.db.transaction(|tx| tx.exec_batch(&insert, [(20, 1), (21, 1)])).unwrap();
    assert_eq!(bank.admin_count("account"), 12);
}

#[test]
fn a_deadlock_in_a_batch_aborts_the_transaction() {
    for returns in [false, true] {
        let bank = bank();
        let delete = format!("DELETE FROM account WHERE id = ?{}", if returns { returning(&bank) } else { "" });
        let mut rival = bank.rival();
        let error = bank
            .db
            .transaction(|tx| {
                deposit(tx, 9, 1)?;
                rival.wait_for_nine();
                let error = tx.exec_batch(&delete, [(8,), (10,), (7,)]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Deadlock);
                Ok::<_, Error>(())
            })
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadlock);
        drop(rival);
        assert_eq!((bank.balance(9), bank.admin_count("account")), (100, 10));
    }
}

#[test]
fn a_batch_of_any_size_arrives_whole_and_a_row_above_the_servers_limit_is_refused_unsent() {
    const LIMIT: usize = 1 << 20;
    let bank = bank();
    bank.admin_query(&format!("SET GLOBAL max_allowed_packet = {LIMIT}"));
    bank.admin_query("CREATE TABLE large (id INT PRIMARY KEY, a LONGTEXT, b LONGTEXT) ENGINE=InnoDB");
    let proxy = bank.server.proxy().unwrap();
    let db = Db::connect(&proxy.url(&bank.server.url()).unwrap()).unwrap();
    let insert = "INSERT INTO large VALUES (?, ?, ?)";
    let stored = |rows: &[(u32, usize, Option<usize>)]| {
        bank.admin_query("TRUNCATE large");
        let rows = rows.to_vec();
        let texts = rows.iter().map(|(id, a, b)| (*id, "a".repeat(*a), b.map(|b| "b".repeat(b))));
        db.transaction(|tx| tx.exec_batch(insert, texts))?;
        let sums =
            db.transaction(|tx| tx.query::<(u32, usize, Option<usize>), _>("SELECT id, LENGTH(a), LENGTH(b) FROM large ORDER BY id"))?;
        assert_eq!(sums, rows);
        Ok::<_, Error>(())
    };
    // Around the limit in a row, in two, and in many; a column that is NULL in all of the first request.
    for size in [LIMIT - 200, LIMIT - 100, LIMIT / 2 - 100, LIMIT / 2 - 20, LIMIT / 2, LIMIT / 2 + 20, LIMIT / 3, 10_000] {
        let rows: Vec<_> = (0..6).map(|id| (id, size, (id > 3).then_some(10))).collect();
        stored(&rows).unwrap_or_else(|error| panic!("{size}: {error}"));
    }
    let many: Vec<_> = (0..3000).map(|id| (id, 1000, (id > 2000).then_some(7))).collect();
    stored(&many).unwrap();

    db.transaction(|tx| {
        tx.query_drop("DELETE FROM large")?;
        let texts = [(1, 10), (2, LIMIT + 10), (3, 10)].map(|(id, size)| (id, "a".repeat(size), "hunter2"));
        let sent = proxy.counts().bytes_to_server;
        let error = tx.exec_batch(insert, texts).unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Driver, false));
        assert!(error.to_string().contains("max_allowed_packet") && !error.to_string().contains("hunter2"), "{error}");
        assert!(proxy.counts().bytes_to_server - sent < 1000);
        assert_eq!(tx.query_first("SELECT COUNT(*) FROM large")?, Some(0));
        tx.exec_drop(insert, (4, "a", "b"))
    })
    .unwrap();
    assert_eq!(bank.admin_count("large"), 1);
}

#[test]
fn a_batch_of_equal_rows_is_one_request_where_the_server_can() {
    let bank = bank();
    bank.admin_query("CREATE TABLE t (id INT PRIMARY KEY, note VARCHAR(100)) ENGINE=InnoDB");
    let proxy = bank.server.proxy().unwrap();
    let db = Db::connect(&proxy.url(&bank.server.url()).unwrap()).unwrap();
    let batch = |from: u32, count: u32| {
        let rows = (from..from + count).map(|id| (id, "a note of some length"));
        let began = Instant::now();
        db.transaction(|tx| tx.exec_batch("INSERT INTO t VALUES (?, ?)", rows)).unwrap();
        began.elapsed()
    };
    batch(0, 10);
    batch(10, 1000);
    proxy.reset_counts();
    let elapsed = batch(2000, 1000);
    let trips = proxy.counts().round_trips;
    println!("1000 rows: {elapsed:?}, {trips} round trips");
    // SAVEPOINT, the rows, COMMIT.
    let rows = if bank.server.flavor() == Flavor::MySql { 1000 } else { 1 };
    assert_eq!(trips, 1 + rows + 1);
    proxy.reset_counts();
    batch(4000, 1);
    assert_eq!(proxy.counts().round_trips, 2, "one row needs no savepoint");
    assert_eq!(bank.admin_count("t"), 2011);
}

#[test]
fn a_batch_without_rows_or_parameters_is_right() {
    let bank = bank();
    bank.db
        .transaction(|tx| {
            tx.exec_batch("INSERT INTO account VALUES (?, ?)", Vec::<(u32, u32)>::new())?;
            tx.exec_batch("UPDATE account SET balance = balance + 1 WHERE id = 1", vec![(); 3])?;
            tx.exec_batch("SELECT id FROM account WHERE id = ?", [(1,), (2,)])?;
            tx.exec_batch(
                "UPDATE account SET balance = balance + :by WHERE id = :id AND :by = :by",
                [params! { "by" => 2, "id" => 2 }, params! { "by" => "3", "id" => 2 }],
            )
        })
        .unwrap();
    assert_eq!((bank.balance(1), bank.balance(2)), (103, 105));
}
