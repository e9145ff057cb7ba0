//! Results that are read row by row lose no error.

use std::panic::{AssertUnwindSafe, catch_unwind};

use db_core::mysql::{self, Row};
use db_core::prelude::*;
use db_core::{Error, Result};
use tests::{bank, deposit};

const CONFLICT: &str = "SELECT id FROM account WHERE id IN (8, 10) ORDER BY id FOR UPDATE";

/// Ways to leave a result whose first row is there and whose second is a deadlock.
type Leave = fn(&mut Transaction<'_>) -> Result<()>;

fn ways() -> Vec<(&'static str, Leave)> {
    vec![
        ("unread", |tx| tx.query_iter(CONFLICT).map(drop)),
        ("unread, prepared", |tx| tx.exec_iter(CONFLICT, ()).map(drop)),
        ("half read", |tx| {
            let mut rows = tx.query_iter(CONFLICT)?;
            assert!(rows.next().is_some_and(|row| row.is_ok()));
            Ok(())
        }),
        ("half read, as one result of many", |tx| {
            let mut rows = tx.query_iter(CONFLICT)?;
            let first = rows.iter().and_then(|mut result| result.next());
            assert!(first.is_some_and(|row| row.is_ok()));
            Ok(())
        }),
        ("all read, errors ignored", |tx| {
            tx.query_iter(CONFLICT)?.for_each(drop);
            Ok(())
        }),
        ("left by a panic", |tx| {
            let read = catch_unwind(AssertUnwindSafe(|| {
                for row in tx.query_iter(CONFLICT).unwrap() {
                    mysql::from_row::<(u32, u32)>(row.unwrap());
                }
            }));
            assert!(read.is_err());
            Ok(())
        }),
        ("forgotten, with nothing after it", |tx| {
            std::mem::forget(tx.query_iter(CONFLICT)?);
            Ok(())
        }),
    ]
}

#[test]
fn an_error_in_what_is_not_read_aborts_the_transaction() {
    for (name, leave) in ways() {
        for warm in [false, true] {
            for scoped in [false, true] {
                let bank = bank();
                if warm {
                    bank.db.transaction(|tx| tx.query_drop("UPDATE account SET balance = 100")).unwrap();
                }
                let mut rival = bank.rival();
                let error = bank
                    .db
                    .transaction(|tx| {
                        deposit(tx, 9, 1)?;
                        rival.wait_for_nine();
                        if scoped {
                            drop(tx.transaction(leave))
                        } else {
                            leave(tx)?
                        }
                        if !name.starts_with("forgotten") {
                            // Nothing more is executed.
                            assert_eq!(deposit(tx, 1, 1).map_err(|error| error.kind()), Err(ErrorKind::Deadlock), "{name}");
                        }
                        Ok::<_, Error>(())
                    })
                    .unwrap_err();
                let kind = if name.starts_with("forgotten") { ErrorKind::RollbackOnly } else { ErrorKind::Deadlock };
                assert_eq!(error.kind(), kind, "{name}, warm {warm}, scoped {scoped}");
                drop(rival);
                assert_eq!((bank.balance(9), bank.balance(1)), (100, 100), "{name}");
            }
        }
    }
}

/// It harms nothing but its own statement, and nobody has seen it.
#[test]
fn an_error_of_a_later_result_that_is_not_read_aborts_the_transaction() {
    let bank = bank();
    let error = bank
        .db
        .transaction(|tx| {
            deposit(tx, 1, 1)?;
            tx.query_iter("SELECT id FROM account; INSERT INTO account VALUES (1, 1)").map(drop)
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UniqueViolation);
    assert_eq!(bank.balance(1), 100);
    // Who sees it may go on.
    bank.db
        .transaction(|tx| {
            deposit(tx, 1, 1)?;
            let mut rows = tx.query_iter("SELECT id FROM account; INSERT INTO account VALUES (1, 1)")?;
            assert_eq!(rows.iter().unwrap().filter(|row| row.is_ok()).count(), 10);
            let error = rows.iter().unwrap().next().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UniqueViolation);
            assert!(rows.iter().is_none());
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(bank.balance(1), 101);
}

#[test]
fn rows_tell_what_the_drivers_result_tells() {
    let bank = bank();
    bank.db
        .transaction(|tx| {
            let mut rows = tx.query_iter(
                "UPDATE account SET balance = 1 WHERE id < 4; INSERT INTO journal (note) VALUES ('a'); SELECT id AS n FROM account",
            )?;
            assert_eq!((rows.affected_rows(), rows.last_insert_id(), rows.warnings()), (3, None, 0));
            assert!(rows.info_str().contains("Changed: 3"), "{}", rows.info_str());
            assert!(rows.iter().unwrap().next().is_none());
            assert_eq!((rows.affected_rows(), rows.last_insert_id()), (1, Some(1)));
            drop(rows.iter());
            assert_eq!(rows.columns().iter().map(mysql::Column::name_str).collect::<Vec<_>>(), ["n"]);
            let result = rows.iter().unwrap();
            assert_eq!(result.columns().len(), 1);
            let ids = result.map(|row| Ok(mysql::from_row(row?))).collect::<Result<Vec<u32>>>()?;
            assert_eq!(ids, (1..=10).collect::<Vec<_>>());
            assert!(rows.iter().is_none() && rows.next().is_none());
            drop(rows);

            let mut sum = 0;
            for row in tx.exec_iter("SELECT id FROM account WHERE id > ?", (7,))? {
                let row: Row = row?;
                sum += row.get::<u32, _>("id").unwrap();
            }
            assert_eq!(sum, 27);
            Ok::<_, Error>(())
        })
        .unwrap();
}

#[test]
fn reading_row_by_row_costs_no_round_trip_of_its_own() {
    let bank = bank();
    let proxy = bank.server.proxy().unwrap();
    let db = Db::connect(&proxy.url(&bank.server.url()).unwrap()).unwrap();
    let read = || db.transaction(|tx| tx.query_iter("SELECT id FROM account").map(drop)).unwrap();
    for _ in 0..3 {
        read();
        proxy.reset_counts();
        read();
        assert_eq!(proxy.counts().round_trips, 2);
        let sent: Vec<_> = proxy.requests().into_iter().filter_map(|request| request.text).collect();
        assert_eq!(sent, ["SELECT id FROM account", tests::COMMIT]);
    }
}
