//! The driver's `Queryable`, without what it overlooks.

use db_core::mysql::prelude::Queryable as _;
use db_core::mysql::{self, Params};
use db_core::prelude::*;
use db_core::{Error, Result};
use db_testkit::{Action, Command, Fault, Flavor, Point};
use tests::{Bank, bank, code, deposit, eventually, quick};

type Method = (&'static str, fn(&mut Transaction<'_>, &str) -> mysql::Result<()>);

/// Every method of the trait that collects its result, called through the trait.
fn methods() -> Vec<Method> {
    fn keep<T>(_: T) {}
    vec![
        ("query", |tx, sql| Queryable::query::<u32, _>(tx, sql).map(keep)),
        ("query_opt", |tx, sql| Queryable::query_opt::<u32, _>(tx, sql).map(keep)),
        ("query_first", |tx, sql| Queryable::query_first::<u32, _>(tx, sql).map(keep)),
        ("query_first_opt", |tx, sql| Queryable::query_first_opt::<u32, _>(tx, sql).map(keep)),
        ("query_map", |tx, sql| Queryable::query_map(tx, sql, |id: u32| id).map(keep)),
        ("query_map_opt", |tx, sql| Queryable::query_map_opt(tx, sql, |id: std::result::Result<u32, _>| id.is_ok()).map(keep)),
        ("query_fold", |tx, sql| Queryable::query_fold(tx, sql, 0, |sum, id: u32| sum + id).map(keep)),
        ("query_fold_opt", |tx, sql| {
            Queryable::query_fold_opt(tx, sql, 0, |sum, id: std::result::Result<u32, _>| sum + id.unwrap_or(0)).map(keep)
        }),
        ("query_drop", |tx, sql| Queryable::query_drop(tx, sql)),
        ("exec", |tx, sql| Queryable::exec::<u32, _, _>(tx, sql, ()).map(keep)),
        ("exec_opt", |tx, sql| Queryable::exec_opt::<u32, _, _>(tx, sql, ()).map(keep)),
        ("exec_first", |tx, sql| Queryable::exec_first::<u32, _, _>(tx, sql, ()).map(keep)),
        ("exec_first_opt", |tx, sql| Queryable::exec_first_opt::<u32, _, _>(tx, sql, ()).map(keep)),
        ("exec_map", |tx, sql| Queryable::exec_map(tx, sql, (), |id: u32| id).map(keep)),
        ("exec_map_opt", |tx, sql| Queryable::exec_map_opt(tx, sql, (), |id: std::result::Result<u32, _>| id.is_ok()).map(keep)),
        ("exec_fold", |tx, sql| Queryable::exec_fold(tx, sql, (), 0, |sum, id: u32| sum + id).map(keep)),
        ("exec_fold_opt", |tx, sql| {
            Queryable::exec_fold_opt(tx, sql, (), 0, |sum, id: std::result::Result<u32, _>| sum + id.unwrap_or(0)).map(keep)
        }),
        ("exec_drop", |tx, sql| Queryable::exec_drop(tx, sql, ())),
        ("exec_batch", |tx, sql| Queryable::exec_batch(tx, sql, [Params::Empty])),
    ]
}

/// The driver reads the first row, and calls it a day.
#[test]
fn an_error_in_a_later_row_is_reported_by_every_method() {
    for (name, method) in methods() {
        let bank = bank();
        let mut rival = bank.rival();
        let error = bank.fails(|tx| {
            deposit(tx, 9, 1)?;
            rival.wait_for_nine();
            let read = method(tx, "SELECT id FROM account WHERE id IN (8, 10) FOR UPDATE");
            assert_eq!(read.as_ref().err().and_then(code), Some(1213), "{name}: {read:?}");
            Ok(())
        });
        assert_eq!(error.kind(), ErrorKind::Deadlock, "{name}");
        drop(rival);
        assert_eq!(bank.balance(9), 100, "{name}");
    }
}

#[test]
fn an_error_in_a_later_result_is_reported_by_every_text_method() {
    let bank = bank();
    for (name, method) in methods().into_iter().filter(|(name, _)| name.starts_with("query")) {
        let error = bank.db.transaction(|tx| {
            let read = method(tx, "SELECT id FROM account; INSERT INTO account VALUES (1, 1)");
            assert_eq!(read.as_ref().err().and_then(code), Some(1062), "{name}: {read:?}");
            read
        });
        assert!(error.is_err(), "{name}");
    }
}

#[test]
fn an_error_behind_a_procedures_first_result_is_reported_by_every_method() {
    let bank = bank();
    bank.admin_query("CREATE PROCEDURE two_steps() BEGIN SELECT id FROM account; INSERT INTO account VALUES (1, 1); END");
    for (name, method) in methods() {
        bank.commits(|tx| {
            let read = method(tx, "CALL two_steps()");
            assert_eq!(read.as_ref().err().and_then(code), Some(1062), "{name}: {read:?}");
            Ok(())
        });
    }
}

#[test]
fn a_row_that_does_not_convert_is_an_error_and_no_panic() {
    let bank = bank();
    for (name, method) in
        methods().into_iter().filter(|(name, _)| !name.ends_with("_opt") && !name.ends_with("drop") && *name != "exec_batch")
    {
        for sql in ["SELECT 'abc'", "SELECT NULL"] {
            bank.commits(|tx| {
                let read = method(tx, sql);
                assert_eq!(read.map_err(|error| Error::from(error).kind()), Err(ErrorKind::Driver), "{name}");
                // It is the reader's mistake: the transaction goes on.
                deposit(tx, 1, 1)
            });
        }
    }
    assert_eq!(bank.balance(1), 100 + 2 * 8);
    let error = bank.db.transaction(|tx| tx.query_first::<u32, _>("SELECT 'hunter2'")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Driver);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn a_text_finds_its_statement_however_many_the_driver_keeps() {
    let bank = bank();
    for kept in [0, 1, 2, 3, 32] {
        let db = Db::builder(&bank.server.url()).driver_options(move |options| options.stmt_cache_size(kept)).connect().unwrap();
        for round in 0..3_u32 {
            db.transaction(|tx| {
                for text in [1_u32, 2, 3, 1, 2, 2, 3, 4, 4, 1] {
                    // The same text by another address, and as a statement that is closed again.
                    let sql = format!("SELECT {text} + ?");
                    assert_eq!(tx.exec_first(&sql, (round,))?, Some(text + round), "{kept} kept");
                    if text == 3 {
                        let statement = tx.prep(&sql)?;
                        assert_eq!(tx.exec_first(&statement, (round,))?, Some(text + round), "{kept} kept");
                        tx.close(statement)?;
                        assert_eq!(tx.exec_first(&sql, (round,))?, Some(text + round), "{kept} kept, after close");
                    }
                }
                Ok::<_, Error>(())
            })
            .unwrap();
        }
    }
}

#[test]
fn more_texts_than_the_driver_keeps_are_prepared_again() {
    let bank = bank();
    for texts in [31, 32, 33, 40] {
        for _ in 0..2 {
            bank.commits(|tx| {
                for text in (0..texts).chain(0..3) {
                    assert_eq!(tx.exec_first(format!("SELECT {text} + ?"), (1,))?, Some(text + 1), "{texts} texts");
                }
                Ok(())
            });
        }
    }
}

/// How many statements are prepared on the server, on whatever connection.
fn prepared_on_the_server(admin: &mut mysql::Conn) -> u32 {
    admin.query_first("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'").unwrap().map_or(0, |(_, count): (String, u32)| count)
}

#[test]
fn no_more_statements_stay_prepared_than_the_url_asks_for() {
    let bank = bank();
    let mut admin = bank.admin();
    for kept in [0, 1, 3, 32] {
        let url = format!("{}?stmt_cache_size={kept}", bank.server.url());
        let db = Db::connect(&url).unwrap();
        for text in 0..40_u32 {
            db.transaction(|tx| {
                let sql = format!("SELECT {text} + ? FROM account");
                assert_eq!(tx.exec_first(&sql, (1,))?, Some(text + 1));
                assert_eq!(tx.exec::<u32, _, _>(&sql, (1,))?, [text + 1; 10]);
                // Half read.
                drop(tx.exec_iter(&sql, (1,))?.next());
                tx.exec_drop("UPDATE account SET balance = balance + ? WHERE id = 1", (1,))?;
                tx.exec_batch("UPDATE account SET balance = balance - ? WHERE id = 1", [(1,), (0,)])
            })
            .unwrap();
            let left = prepared_on_the_server(&mut admin);
            assert!(left <= kept, "{kept} kept: {left} after {} texts", text + 1);
        }
        assert_eq!(prepared_on_the_server(&mut admin), kept);
        drop(db);
        eventually("the connection is gone", || prepared_on_the_server(&mut admin) == 0);
    }
    assert_eq!(bank.balance(1), 100);
}

#[test]
fn a_kept_statement_outlives_any_number_of_texts() {
    let bank = bank();
    for kept in [0, 1, 32] {
        let url = format!("{}?stmt_cache_size={kept}", bank.server.url());
        let db = Db::connect(&url).unwrap();
        let statement = prepare(&db, "SELECT ? + 1000");
        let again = prepare(&db, "SELECT ? + 1000");
        db.transaction(|tx| {
            for text in 0..100_u32 {
                assert_eq!(tx.exec_first(format!("SELECT {text} + ?"), (1,))?, Some(text + 1));
                assert_eq!(tx.exec_first(&statement, (text,))?, Some(text + 1000), "{kept} kept, {text} texts");
            }
            // Each who prepared it has it until he closes it.
            tx.close(again.clone())?;
            assert_eq!(tx.exec_first(&statement, (1,))?, Some(1001));
            tx.close(statement.clone())?;
            assert_eq!(tx.exec_first::<u32, _, _>(&statement, (1,)).unwrap_err().code(), Some(1243));
            Ok::<_, Error>(())
        })
        .unwrap();
    }
}

/// 1615 says that nothing was executed. Behind this proxy it is, which an UPDATE to a fixed value hides.
#[test]
fn a_statement_that_the_server_could_not_prepare_again_is_prepared_again() {
    let bank = bank();
    let proxy = bank.server.proxy().unwrap();
    let db = Db::connect(&proxy.url(&bank.server.url()).unwrap()).unwrap();
    let stale = |times| proxy.inject(Fault::new(Point::AfterRequest, Action::Error(1615)).command(Command::Execute).times(times));
    for (round, later) in [(1, false), (2, true)] {
        let sql = format!("UPDATE account SET balance = ? WHERE id = ? AND {round} > 0");
        let statement = prepare(&db, "UPDATE account SET balance = ? + 0 WHERE id = ?");
        db.transaction(|tx| {
            if later {
                deposit(tx, 1, 1)?;
            }
            let text = stale(1);
            tx.exec_drop(&sql, (round * 7, 2))?;
            text.assert_fired();
            let kept = stale(1);
            tx.exec_drop(&statement, (round * 8, 3))?;
            kept.assert_fired();
            tx.exec_drop(&statement, (round * 9, 4))?;
            tx.exec_drop(&sql, (round * 10, 5))
        })
        .unwrap();
        assert_eq!([2, 3, 4, 5].map(|id| bank.balance(id)), [7, 8, 9, 10].map(|value| round * value));
        let twice = stale(2);
        let error = db.transaction(|tx| tx.exec_drop(&sql, (1, 2))).unwrap_err();
        assert_eq!((error.code(), twice.fired()), (Some(1615), 2));
    }
    assert_eq!(bank.balance(1), 101);
}

/// Where the statement's result, or the rest of a batch, is in the caller's hands, it is the attempt that is repeated.
#[test]
fn a_streamed_statement_or_a_batch_that_the_server_could_not_prepare_again_is_cured_by_another_attempt() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    let bodies: [fn(&mut Transaction<'_>) -> Result<()>; 3] = [
        |tx| tx.exec_iter("UPDATE account SET balance = ? WHERE id = ?", (5, 4))?.try_for_each(|row| row.map(drop)),
        |tx| Queryable::exec_iter(tx, "UPDATE account SET balance = ? WHERE id = ?", (6, 5)).map(drop).map_err(Error::from),
        |tx| tx.exec_batch("UPDATE account SET balance = ? WHERE id = ?", [(7, 2), (8, 3)]),
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        let bulk = number == 2 && bank.server.flavor() == Flavor::MariaDb;
        let command = if bulk { Command::Other(0xFA) } else { Command::Execute };
        let stale = |nth| proxy.inject(Fault::new(Point::AfterRequest, Action::Error(1615)).command(command).nth(nth));
        let once = stale(1);
        let ended = db.transaction(body).map_err(|error| (error.code(), error.is_transient()));
        once.assert_fired();
        assert_eq!(ended, Err((Some(1615), true)), "body {number}");
        // Behind those of the deposit.
        let (once, mut runs) = (stale(if bulk { 1 } else { 3 }), 0);
        db.retry(&quick(), |_| {
            runs += 1;
            db.transaction(|tx| {
                deposit(tx, 1, 1)?;
                body(tx)
            })
        })
        .unwrap();
        once.assert_fired();
        assert_eq!(runs, 2);
    }
    assert_eq!([1, 2, 3, 4, 5].map(|id| bank.balance(id)), [103, 7, 8, 5, 6]);
}

#[test]
fn the_error_of_a_row_that_does_not_convert_names_types_and_columns_and_no_value() {
    let bank = bank();
    bank.admin_query("CREATE TABLE mixed (small TINYINT UNSIGNED, name VARCHAR(20), raw BLOB, kind ENUM('hunter2')) ENGINE=InnoDB");
    bank.admin_query("INSERT INTO mixed VALUES (1, 'hunter2', 'hunter2', NULL)");
    for from in ["mixed", "(SELECT * FROM mixed) AS x"] {
        let sql = format!("SELECT small, name AS alias, raw, kind, 'hunter2' FROM {from}");
        let failed = [
            bank.db.transaction(|tx| tx.query::<(u8, u32, u32, u32, u32), _>(&sql)).unwrap_err(),
            bank.db.transaction(|tx| tx.exec_first::<(u8, u32, u32, u32, u32), _, _>(&sql, ())).unwrap_err(),
        ];
        for error in failed {
            assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Driver, false));
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("`(u8, u32, u32, u32, u32)`"), "{shown}");
            if from == "mixed" {
                let columns = "`small` TINYINT UNSIGNED, `alias` VARCHAR, `raw` BLOB, `kind` ENUM (NULL), expression 5 VARCHAR";
                assert!(shown.contains(columns), "{shown}");
            }
        }
    }
    // A name that is a value.
    for sql in ["SELECT 'hunter2'", "SELECT * FROM (SELECT 'hunter2') AS x", "WITH x AS (SELECT 'hunter2') SELECT * FROM x"] {
        let error = bank.db.transaction(|tx| tx.query_first::<u32, _>(sql)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{sql}: {error}");
    }
}

#[test]
fn a_text_is_prepared_once_on_a_connection() {
    let bank = bank();
    let proxy = bank.server.proxy().unwrap();
    let db = Db::connect(&proxy.url(&bank.server.url()).unwrap()).unwrap();
    for _ in 0..3 {
        db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            tx.exec_first::<u32, _, _>("SELECT id FROM account WHERE id = ?", (1,))?;
            let statement = tx.prep("SELECT id FROM account WHERE id = ?")?;
            tx.exec_first::<u32, _, _>(&statement, (2,))?;
            deposit(tx, 2, 1)
        })
        .unwrap();
    }
    let prepared = proxy.requests().iter().filter(|request| request.command == Command::Prepare).count();
    assert_eq!(prepared, 3, "the two of a deposit, and the other one");
}

#[test]
fn streamed_results_arrive_whole() {
    let bank = bank();
    let ids = bank.db.transaction(|tx| {
        let mut ids = Vec::new();
        for row in tx.exec_iter("SELECT id FROM account WHERE id > ? ORDER BY id", (7,))? {
            ids.push(mysql::from_row::<u32>(row?));
        }
        Ok::<_, Error>(ids)
    });
    assert_eq!(ids.unwrap(), [8, 9, 10]);
}

#[test]
fn batches_insert_every_row_or_none() {
    let bank = bank();
    let insert = |rows: Vec<(u32, i64)>| bank.db.transaction(|tx| tx.exec_batch("INSERT INTO account VALUES (?, ?)", rows));
    insert(vec![(21, 1), (22, 2)]).unwrap();
    assert_eq!(insert(vec![(23, 1), (21, 2), (24, 3)]).unwrap_err().kind(), ErrorKind::UniqueViolation);
    let ids: Vec<u32> = bank.admin().query("SELECT id FROM account WHERE id > 20").unwrap();
    assert_eq!(ids, [21, 22]);
}

#[test]
fn last_insert_id_and_affected_rows_are_the_last_statements() {
    let bank = bank();
    bank.commits(|tx| {
        deposit(tx, 1, 1)?;
        assert!(tx.last_insert_id().is_some_and(|id| id > 0));
        tx.query_drop("UPDATE account SET balance = 7 WHERE id < 4")?;
        assert_eq!((tx.affected_rows(), tx.last_insert_id()), (3, None));
        Ok(())
    });
}

fn prepare(db: &Db, sql: &str) -> mysql::Statement {
    db.transaction(|tx| tx.prep(sql)).unwrap()
}

#[test]
fn a_prepared_statement_serves_its_connection_for_as_long_as_that_lives() {
    let bank = bank();
    let statement = prepare(&bank.db, "UPDATE account SET balance = balance + ? WHERE id = 1");
    for _ in 0..3 {
        bank.db.transaction(|tx| tx.exec_drop(&statement, (1,))).unwrap();
    }
    assert_eq!(bank.balance(1), 103);
    bank.db.transaction(|tx| tx.close(statement.clone())).unwrap();
}

#[test]
fn a_statement_of_another_connection_is_an_error_and_not_another_statements_result() {
    let bank = bank();
    let fork = bank.db.fork().unwrap();
    let foreign = prepare(&fork, "SELECT 42");
    let _own = prepare(&bank.db, "SELECT 7");
    bank.commits(|tx| {
        deposit(tx, 1, 1)?;
        let error = tx.exec_first::<u32, _, _>(&foreign, ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Driver);
        assert!(error.to_string().contains("prepare it again"), "{error}");
        assert_eq!(tx.close(foreign.clone()).unwrap_err().kind(), ErrorKind::Driver);
        Ok(())
    });
    assert_eq!(bank.balance(1), 101);
    assert_eq!(fork.transaction(|tx| tx.exec_first::<u32, _, _>(&foreign, ())).unwrap(), Some(42));
}

/// A restarted server numbers connections and statements from the start.
#[test]
fn a_statement_from_before_a_restart_is_an_error_even_if_the_numbers_come_again() {
    let bank = bank();
    let numbers = |statement: &mysql::Statement| (statement.connection_id(), statement.id());
    bank.server.restart().unwrap();
    let old = prepare(&bank.db, "SELECT 42");
    let mut again = None;
    for _ in 0..20 {
        bank.server.restart().unwrap();
        let new = prepare(&bank.db, "SELECT 7");
        assert_ne!(numbers(&new), numbers(&old), "the pair of numbers was handed out twice");
        if new.connection_id() == old.connection_id() {
            again = Some(new);
            break;
        }
    }
    let new = again.expect("a connection number that comes again after a restart");
    bank.commits(|tx| {
        assert_eq!(tx.exec_first::<u32, _, _>(&new, ())?, Some(7));
        assert_eq!(tx.exec_first::<u32, _, _>(&old, ()).unwrap_err().kind(), ErrorKind::Driver);
        Ok(())
    });
}

#[test]
fn functions_that_return_the_drivers_error_can_be_annotated() {
    #[transactional]
    fn plain(tx: &mut Transaction<'_>, sql: &str) -> mysql::Result<Option<u32>> {
        Ok(tx.query_first(sql)?)
    }
    fn generic<Q: Queryable>(queryable: &mut Q) -> mysql::Result<()> {
        queryable.query_drop("UPDATE account SET balance = 1 WHERE id = 1")
    }
    let bank: Bank = bank();
    assert_eq!(plain(&bank.db, "SELECT 1").unwrap(), Some(1));
    let error: Error = plain(&bank.db, "nonsense").unwrap_err().into();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Syntax, Some(1064)));
    let result: Result<()> = bank.db.transaction(|tx| Ok(generic(tx)?));
    result.unwrap();
    assert_eq!(bank.balance(1), 1);
}
