//! Bodies that do something ordinary twice: nothing is lost, doubled or left behind.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use db_core::mysql::prelude::{FromRow, Queryable as _};
use db_core::mysql::{FromRowError, Row};
use db_core::prelude::*;
use db_core::{Error, Result};
use db_testkit::{Action, Fault, Flavor, Point, Server};
use tests::{Bank, bank, bank_on, cut, deposit, quick, within};

/// Whether the connection has had a transaction before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Fresh,
    Warm,
}

/// Runs a test on each kind of connection, on a server that all tests of the thread share.
fn both(test: impl Fn(&Bank, Connection)) {
    thread_local! {
        static BANK: Bank = bank();
    }
    BANK.with(|bank| {
        for connection in [Connection::Fresh, Connection::Warm] {
            for left in ["PROCEDURE settle", "PROCEDURE ignores", "TABLE other", "TABLE audit", "DATABASE archive"] {
                let (what, name) = left.split_once(' ').unwrap();
                bank.admin_query(&format!("DROP {what} IF EXISTS {name}"));
            }
            bank.admin_query("UPDATE account SET balance = 100");
            bank.admin_query("DELETE FROM journal");
            bank.db.disconnect();
            if connection == Connection::Warm {
                bank.db.transaction(|tx| tx.query_drop("UPDATE account SET balance = 100")).unwrap();
            }
            test(bank, connection);
        }
    });
}

/// How a nested transaction ends that comes after one in which the transaction was lost.
#[derive(Clone, Copy, Debug)]
enum Sibling {
    Fails,
    Panics,
    AsksForRollback,
    Succeeds,
    FailsInside,
    None,
}

fn sibling(tx: &mut Transaction<'_>, sibling: Sibling) {
    let taken = "INSERT INTO account VALUES (5, 5)";
    match sibling {
        Sibling::Fails => drop(tx.transaction(|tx| tx.query_drop(taken))),
        Sibling::Panics => drop(catch_unwind(AssertUnwindSafe(|| {
            tx.transaction(|tx| -> Result<()> {
                tx.query_drop("UPDATE account SET balance = 1 WHERE id = 2")?;
                panic!("inside")
            })
        }))),
        Sibling::AsksForRollback => drop(tx.transaction(|tx| {
            tx.set_rollback_only();
            tx.query_drop("UPDATE account SET balance = 1 WHERE id = 2")
        })),
        Sibling::Succeeds => drop(tx.transaction(|tx| tx.query_drop("UPDATE account SET balance = balance WHERE id = 3"))),
        Sibling::FailsInside => drop(tx.transaction(|tx| {
            let _ = tx.transaction(|tx| tx.query_drop(taken));
            Ok::<_, Error>(())
        })),
        Sibling::None => {}
    }
}

const SIBLINGS: [Sibling; 6] =
    [Sibling::Fails, Sibling::Panics, Sibling::AsksForRollback, Sibling::Succeeds, Sibling::FailsInside, Sibling::None];

#[test]
fn a_deadlock_in_the_unread_rest_of_a_result_cannot_be_hidden_by_what_comes_after_it() {
    for raw in [false, true] {
        for after in SIBLINGS {
            both(|bank, connection| {
                let mut rival = bank.rival();
                let result = bank.db.transaction(|tx| {
                    tx.query_drop("UPDATE account SET balance = 0 WHERE id = 9")?;
                    rival.wait_for_nine();
                    tx.transaction(|tx| {
                        let rows = "SELECT id FROM account WHERE id IN (8, 10) FOR UPDATE";
                        if raw { Queryable::query_iter(tx, rows).map(drop).map_err(Error::from) } else { tx.query_iter(rows).map(drop) }
                    })
                    .or_else(|error| if error.kind() == ErrorKind::Deadlock { Ok(()) } else { Err(error) })?;
                    sibling(tx, after);
                    tx.query_drop("UPDATE account SET balance = 200 WHERE id = 1")
                });
                let about = format!("{after:?}, {connection:?}, the driver's result: {raw}");
                assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::Deadlock), "{about}");
                drop(rival);
                assert_eq!([9, 1].map(|id| bank.balance(id)), [100, 100], "{about}");
            });
        }
    }
}

#[test]
fn a_commit_inside_a_nested_transaction_cannot_be_hidden_by_what_comes_after_it() {
    for statement in ["CREATE TABLE other (id INT)", "CALL settle()", "COMMIT"] {
        for after in SIBLINGS {
            both(|bank, connection| {
                bank.admin_query("CREATE PROCEDURE settle() COMMIT");
                let mut runs = 0;
                let result = bank.db.retry(&quick(), |_| {
                    runs += 1;
                    bank.db.transaction(|tx| {
                        deposit(tx, 1, 1)?;
                        tx.transaction(|tx| tx.query_drop(statement))?;
                        sibling(tx, after);
                        deposit(tx, 2, 1)
                    })
                });
                let about = format!("{statement}, {after:?}, {connection:?}");
                let error = result.expect_err(&about);
                assert_eq!((error.kind(), runs), (ErrorKind::ImplicitCommit, 1), "{about}");
                assert!(!error.is_transient(), "{about}");
                assert_eq!(bank.balance(1), 101, "{about}");
            });
        }
    }
}

#[test]
fn what_was_committed_inside_a_nested_transaction_is_not_done_again() {
    for after in SIBLINGS {
        both(|bank, connection| {
            let mut runs = 0;
            let result: Result<()> = bank.db.retry(&quick(), |_| {
                runs += 1;
                bank.db.transaction(|tx| {
                    deposit(tx, 1, 1)?;
                    tx.transaction(|tx| tx.query_drop("CREATE TABLE IF NOT EXISTS other (id INT)"))?;
                    sibling(tx, after);
                    bank.kill(tx.connection_id().unwrap());
                    deposit(tx, 2, 1)
                })
            });
            let about = format!("{after:?}, {connection:?}");
            let error = result.expect_err(&about);
            assert!(!error.is_transient(), "{about}: {error}");
            assert_eq!((runs, bank.balance(1), bank.balance(2)), (1, 101, 100), "{about}");
        });
    }
}

/// Panics when it is made of a row.
struct Panics;

impl FromRow for Panics {
    fn from_row_opt(_: Row) -> std::result::Result<Self, FromRowError> {
        panic!("a row's conversion")
    }
}

#[test]
fn a_panic_in_a_rows_conversion_hides_no_error_in_the_rest() {
    type Read = fn(&mut Transaction<'_>, &str) -> Result<()>;
    let reads: [(&str, Read); 4] = [
        ("query", |tx, sql| tx.query::<Panics, _>(sql).map(drop)),
        ("exec", |tx, sql| tx.exec::<Panics, _, _>(sql, ()).map(drop)),
        ("query_map", |tx, sql| tx.query_map(sql, |_: u32| panic!("a mapping")).map(drop)),
        ("exec_fold", |tx, sql| tx.exec_fold(sql, (), (), |(), _: u32| panic!("a folding"))),
    ];
    for (name, read) in reads {
        both(|bank, connection| {
            let mut rival = bank.rival();
            let result = bank.db.transaction(|tx| {
                tx.query_drop("UPDATE account SET balance = 0 WHERE id = 9")?;
                rival.wait_for_nine();
                let panicked = catch_unwind(AssertUnwindSafe(|| read(tx, "SELECT id FROM account WHERE id IN (8, 10) FOR UPDATE")));
                assert!(!matches!(panicked, Ok(Ok(()))), "{name}");
                tx.query_drop("UPDATE account SET balance = 200 WHERE id = 1")
            });
            assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::Deadlock), "{name}, {connection:?}");
            drop(rival);
            assert_eq!([9, 1].map(|id| bank.balance(id)), [100, 100], "{name}, {connection:?}");
        });
    }
}

#[test]
fn a_panic_in_a_rows_conversion_that_is_caught_leaves_a_transaction_that_works() {
    both(|bank, _| {
        bank.db
            .transaction(|tx| {
                deposit(tx, 1, 1)?;
                assert!(catch_unwind(AssertUnwindSafe(|| tx.query::<Panics, _>("SELECT id FROM account"))).is_err());
                let count: Option<u32> = tx.query_first("SELECT COUNT(*) FROM account")?;
                assert_eq!(count, Some(10));
                deposit(tx, 2, 1)
            })
            .unwrap();
        assert_eq!([1, 2].map(|id| bank.balance(id)), [101, 101]);
    });
}

#[test]
fn a_result_that_is_dropped_while_its_rest_is_late_is_not_taken_for_another_statements_reply() {
    let bank = bank();
    let proxy = bank.server.proxy().unwrap();
    let db = Db::builder(&proxy.url(&bank.server.url()).unwrap())
        .driver_options(|options| options.read_timeout(Some(Duration::from_millis(200))))
        .connect()
        .unwrap();
    let wide = format!("SELECT id, REPEAT('x', {}) FROM account", 1 << 16);
    for _ in 0..3 {
        let before = bank.balance(1);
        let late = cut(&proxy, &db, "REPEAT", Point::MidReply(70_000), Action::Delay(Duration::from_millis(500)));
        let result = db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            drop(Queryable::query_iter(tx, wide.as_str())?);
            deposit(tx, 1, 1)
        });
        assert!(late.fired() > 0, "the reply was not late");
        assert_eq!(bank.balance(1), if result.is_ok() { before + 2 } else { before }, "{result:?}");
    }
}

#[test]
fn a_commit_on_another_database_is_not_done_again() {
    for fork in [true, false] {
        both(|bank, connection| {
            let other = if fork { bank.db.fork().unwrap() } else { Db::connect(&bank.server.url()).unwrap() };
            let mut runs = 0;
            let result: Result<()> = bank.db.retry(&quick(), |_| {
                runs += 1;
                bank.db.transaction(|tx| {
                    deposit(tx, 1, 1)?;
                    other.transaction(|tx| deposit(tx, 2, 1))?;
                    bank.kill(tx.connection_id().unwrap());
                    deposit(tx, 3, 1)
                })
            });
            let error = result.unwrap_err();
            assert!(!error.is_transient(), "{error}");
            assert_eq!((runs, [1, 2, 3].map(|id| bank.balance(id))), (1, [100, 101, 100]), "fork: {fork}, {connection:?}");
        });
    }
}

#[test]
fn what_another_database_has_only_read_forbids_no_retry() {
    let bank = bank();
    let other = bank.db.fork().unwrap();
    let mut runs = 0;
    bank.db
        .retry(&quick(), |attempt| {
            runs += 1;
            bank.db.transaction(|tx| {
                let _: Option<u32> = other.transaction(|tx| tx.query_first("SELECT COUNT(*) FROM account"))?;
                if attempt.count() == 0 {
                    bank.kill(tx.connection_id().unwrap_or_else(|| panic!("no connection")));
                    tx.query_drop("DO 1")?;
                    bank.kill(tx.connection_id().unwrap_or_else(|| panic!("no connection")));
                }
                deposit(tx, 1, 1)
            })
        })
        .unwrap();
    assert_eq!((runs, bank.balance(1)), (2, 101));
}

#[test]
fn an_error_of_another_database_is_not_taken_for_a_fault_of_this_one() {
    #[retry_on_disconnect]
    #[transactional]
    fn outer(tx: &mut Transaction<'_>, bank: &Bank, other: &Db, runs: &Cell<u32>) -> Result<()> {
        runs.set(runs.get() + 1);
        deposit(tx, 1, 1)?;
        inner(other, bank, runs)
    }

    #[retry_on_disconnect]
    #[transactional]
    fn inner(tx: &mut Transaction<'_>, bank: &Bank, runs: &Cell<u32>) -> Result<()> {
        runs.set(runs.get() + 100);
        tx.query_drop("DO 1")?;
        bank.kill(tx.connection_id().unwrap());
        tx.query_drop("DO 1")
    }

    let bank = bank();
    let other = bank.db.fork().unwrap();
    let runs = Cell::new(0);
    let error = outer(&bank.db, &bank, &other, &runs).unwrap_err();
    assert_eq!((error.kind(), runs.get(), bank.balance(1)), (ErrorKind::ConnectionLost, 301, 100));

    // Handled, it costs this transaction nothing.
    runs.set(0);
    bank.db
        .transaction(|tx| {
            deposit(tx, 1, 1)?;
            tx.transaction(|tx| {
                let _ = inner(&other, &bank, &runs);
                deposit(tx, 2, 1)
            })?;
            let _ = tx.transaction(|_| inner(&other, &bank, &runs));
            deposit(tx, 3, 1)
        })
        .unwrap();
    assert_eq!([1, 2, 3].map(|id| bank.balance(id)), [101, 101, 101]);
}

#[test]
fn a_procedure_that_ignores_a_deadlock_has_not_done_its_work() {
    const IGNORES: &str = "BEGIN DECLARE CONTINUE HANDLER FOR 1213 BEGIN END; UPDATE account SET balance = 0 WHERE id = 9; DO SLEEP(1.5); \
                           UPDATE account SET balance = 0 WHERE id = 10; UPDATE account SET balance = 200 WHERE id = 1; END";
    let mariadb = matches!(Flavor::from_env(), Ok(Flavor::MariaDb));
    for statement in ["CALL ignores()".to_owned(), IGNORES.replace("BEGIN DECLARE", "BEGIN NOT ATOMIC DECLARE")] {
        if !mariadb && statement != "CALL ignores()" {
            continue;
        }
        both(|bank, connection| {
            bank.admin_query(&format!("CREATE PROCEDURE ignores() {IGNORES}"));
            let mut rival = bank.rival();
            let result = thread::scope(|threads| {
                let call = threads.spawn(|| bank.db.transaction(|tx| tx.query_drop(statement.as_str())));
                // Once the procedure holds account 9.
                thread::sleep(Duration::from_millis(400));
                rival.wait_for_nine();
                call.join().unwrap()
            });
            assert!(result.is_err(), "{statement}, {connection:?}");
            drop(rival);
            assert_eq!([9, 1].map(|id| bank.balance(id)), [100, 100], "{statement}, {connection:?}");
        });
    }
}

#[test]
fn every_setting_of_a_set_statement_counts() {
    let commits = ["SET @x = 1, autocommit = 1", "SET @x = ',', @@session.autocommit = ON", "SET NAMES utf8mb4, autocommit = 1"];
    let mut statements: Vec<String> = commits.map(String::from).into();
    if matches!(Flavor::from_env(), Ok(Flavor::MariaDb)) {
        statements.push("SET @x = 1, PASSWORD = PASSWORD('')".into());
    }
    for statement in &statements {
        both(|bank, connection| {
            let user = bank.admin();
            drop(user);
            let mut runs = 0;
            let result: Result<()> = bank.db.retry(&quick(), |_| {
                runs += 1;
                bank.db.transaction(|tx| {
                    deposit(tx, 1, 1)?;
                    // Refused on some servers: then nothing was committed.
                    let _ = tx.query_drop(statement.as_str());
                    bank.kill(tx.connection_id().unwrap());
                    deposit(tx, 2, 1)
                })
            });
            assert!(result.is_err() || runs > 1, "{statement}");
            let done = bank.notes().iter().filter(|note| *note == "1 +1").count();
            assert!(done <= 1, "{statement}, {connection:?}: done {done} times in {runs} runs");
        });
    }
}

/// What a body can leave in its session, and how the next transaction would notice.
fn leftovers(server: &Server) -> Vec<(&'static str, &'static str, Option<&'static str>)> {
    server.connect().unwrap().query_drop("CREATE DATABASE archive").unwrap();
    vec![
        ("USE archive", "SELECT DATABASE()", Some("test")),
        ("SET @left = 'x'", "SELECT CAST(@left AS CHAR)", None),
        ("SELECT @left := 'x'", "SELECT CAST(@left AS CHAR)", None),
        ("SELECT 'x' INTO @left", "SELECT CAST(@left AS CHAR)", None),
        ("SET SESSION sql_mode = 'ANSI_QUOTES'", "SELECT IF(@@sql_mode = 'ANSI_QUOTES', 'left', 'reset')", Some("reset")),
        ("SET SESSION lock_wait_timeout = 7", "SELECT IF(@@lock_wait_timeout = 7, 'left', 'reset')", Some("reset")),
        ("SELECT GET_LOCK('left', 1)", "SELECT IF(IS_FREE_LOCK('left'), 'free', 'held')", Some("free")),
        ("CREATE TEMPORARY TABLE left_over SELECT 'x' AS note", "SELECT note FROM left_over", None),
        ("PREPARE left_over FROM 'SELECT ''x'''", "EXECUTE left_over", None),
        ("CALL sets()", "SELECT CAST(@left AS CHAR)", None),
        ("UPDATE triggers SET id = 2", "SELECT CAST(@left AS CHAR)", None),
        ("SELECT sets_too()", "SELECT CAST(@left AS CHAR)", None),
        ("SET SESSION completion_type = 'CHAIN'", "SELECT IF(@@completion_type = 'CHAIN', 'left', 'reset')", Some("reset")),
    ]
}

#[test]
fn what_a_body_sets_in_its_session_ends_with_its_transaction() {
    let bank = bank();
    bank.admin_query("CREATE PROCEDURE sets() SET @left = 'x'");
    bank.admin_query("CREATE FUNCTION sets_too() RETURNS INT NO SQL BEGIN SET @left = 'x'; RETURN 1; END");
    bank.admin_query("CREATE TABLE triggers (id INT PRIMARY KEY) ENGINE=InnoDB");
    bank.admin_query("INSERT INTO triggers VALUES (1)");
    bank.admin_query("CREATE TRIGGER leaves BEFORE UPDATE ON triggers FOR EACH ROW SET @left = 'x'");
    for (sets, look, expected) in leftovers(&bank.server) {
        for ending in ["commits", "fails", "panics", "asks for a rollback"] {
            let ended = catch_unwind(AssertUnwindSafe(|| {
                bank.db.transaction(|tx| {
                    if sets.starts_with("SELECT") {
                        tx.query::<Row, _>(sets).map(drop)?
                    } else {
                        tx.query_drop(sets)?
                    }
                    match ending {
                        "fails" => tx.query_drop("nonsense"),
                        "panics" => panic!("the body's"),
                        "asks for a rollback" => {
                            tx.set_rollback_only();
                            Ok(())
                        }
                        _ => Ok(()),
                    }
                })
            }));
            assert_eq!(ended.is_err(), ending == "panics", "{sets}");
            let seen: Option<Option<String>> = bank.db.transaction(|tx| Ok::<_, Error>(tx.query_first(look).unwrap_or_default())).unwrap();
            assert_eq!(seen.flatten().as_deref(), expected, "{sets}, {ending}");
        }
    }
}

#[test]
fn an_attempt_begins_in_a_session_that_the_failed_one_has_not_changed() {
    for lost in [false, true] {
        both(|bank, connection| {
            bank.admin_query("CREATE DATABASE archive");
            for database in ["test", "archive"] {
                bank.admin_query(&format!("CREATE TABLE {database}.audit (id INT PRIMARY KEY) ENGINE=InnoDB"));
            }
            let mut rival = bank.rival();
            bank.db
                .retry(&quick(), |attempt| {
                    bank.db.transaction(|tx| {
                        tx.query_drop("INSERT INTO audit VALUES (1)")?;
                        tx.query_drop("USE archive")?;
                        tx.query_drop("INSERT INTO audit VALUES (2)")?;
                        if attempt.count() == 0 && lost {
                            bank.kill(tx.connection_id().unwrap());
                        }
                        tx.query_drop("UPDATE test.account SET balance = 0 WHERE id = 9")?;
                        if attempt.count() == 0 {
                            rival.wait_for_nine();
                            tx.query_drop("UPDATE test.account SET balance = 0 WHERE id = 10")?;
                        }
                        Ok::<_, Error>(())
                    })
                })
                .unwrap();
            let mut admin = bank.admin();
            let ids = |database: &str| -> String { format!("SELECT id FROM {database}.audit ORDER BY id") };
            assert_eq!(admin.query::<u32, _>(ids("test")).unwrap(), [1], "{connection:?}, lost: {lost}");
            assert_eq!(admin.query::<u32, _>(ids("archive")).unwrap(), [2], "{connection:?}, lost: {lost}");
        });
    }
}

#[test]
fn a_session_that_nobody_has_changed_is_not_reset() {
    let bank = bank();
    let proxy = bank.server.proxy().unwrap();
    let db = Db::connect(&proxy.url(&bank.server.url()).unwrap()).unwrap();
    let counted = |body: fn(&mut Transaction<'_>) -> Result<()>| {
        db.transaction(body).unwrap();
        proxy.reset_counts();
        db.transaction(body).unwrap();
        proxy.counts().round_trips
    };
    assert_eq!(counted(|tx| tx.query_drop("UPDATE account SET balance = 1 WHERE id = 1")), 2);
    assert_eq!(counted(|tx| tx.query_drop("SET @x = 1")), 4, "COM_RESET_CONNECTION, and the set-up request");
}

#[test]
fn completion_type_changes_neither_level_nor_mode_of_what_comes_next() {
    for server_wide in [true, false] {
        for completion in ["CHAIN", "RELEASE"] {
            let bank = bank();
            if server_wide {
                bank.admin_query(&format!("SET GLOBAL completion_type = '{completion}'"));
            }
            let db = Db::builder(&bank.server.url()).retry(quick()).connect().unwrap();
            let options = TxOptions::new().isolation(Isolation::Serializable).read_only(true);
            for fails in [false, true] {
                let _ = db.transaction_with(&options, |tx| {
                    if !server_wide {
                        tx.query_drop(format!("SET SESSION completion_type = '{completion}'"))?;
                    }
                    tx.query_drop(if fails { "nonsense" } else { "SELECT * FROM account" })
                });
                db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
            }
            assert_eq!(bank.balance(1), 102, "{completion}, server-wide: {server_wide}");
        }
    }
}

/// An error whose own code panics.
#[derive(Debug)]
struct PanicsWhenLookedInto(Rc<Cell<bool>>);

impl std::fmt::Display for PanicsWhenLookedInto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("looked at")
    }
}

impl std::error::Error for PanicsWhenLookedInto {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        assert!(!self.0.get(), "looked into");
        None
    }
}

impl From<Error> for PanicsWhenLookedInto {
    fn from(_: Error) -> Self {
        panic!("made of a database's error")
    }
}

#[test]
fn a_panic_at_the_end_of_a_transaction_leaves_nothing_to_be_committed_by_the_next() {
    #[transactional]
    fn fails(tx: &mut Transaction<'_>, armed: &Rc<Cell<bool>>) -> std::result::Result<(), PanicsWhenLookedInto> {
        deposit(tx, 1, 1)?;
        // What looks into the error does so only where a result was handed out.
        drop(Queryable::query_iter(tx, "SELECT * FROM account").map_err(Error::from)?);
        Err(PanicsWhenLookedInto(Rc::clone(armed)))
    }

    both(|bank, connection| {
        let armed = Rc::new(Cell::new(true));
        assert!(catch_unwind(AssertUnwindSafe(|| fails(&bank.db, &armed))).is_err());
        bank.db.transaction(|tx| deposit(tx, 2, 1)).unwrap();
        assert_eq!([1, 2].map(|id| bank.balance(id)), [100, 101], "{connection:?}");

        // Nested, and caught by the body: what the nested call did cannot be told apart any more.
        let result = bank.db.transaction(|tx| {
            assert!(catch_unwind(AssertUnwindSafe(|| fails(tx, &armed))).is_err());
            deposit(tx, 2, 1)
        });
        assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::RollbackOnly), "{connection:?}");
        assert_eq!([1, 2].map(|id| bank.balance(id)), [100, 101], "{connection:?}");

        // The conversion of an error that COMMIT has met.
        let mut rival = bank.rival();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            bank.db.transaction(|tx| -> std::result::Result<(), PanicsWhenLookedInto> {
                deposit(tx, 9, 1)?;
                rival.wait_for_nine();
                let _ = tx.query_drop("UPDATE account SET balance = 0 WHERE id = 10");
                Ok(())
            })
        }));
        assert!(panicked.is_err());
        drop(rival);
        bank.db.transaction(|tx| deposit(tx, 2, 1)).unwrap();
        assert_eq!([2, 9].map(|id| bank.balance(id)), [102, 100], "{connection:?}");
    });
}

#[test]
fn a_transaction_that_has_only_read_does_not_forbid_a_retry_and_runs_its_hooks_once() {
    let bank = bank();
    let ran = Rc::new(Cell::new(0));
    let mut runs = 0;
    bank.db
        .retry(&quick(), |attempt| {
            runs += 1;
            let count: Option<u32> = bank.db.transaction(|tx| {
                let ran = Rc::clone(&ran);
                tx.after_commit(move || ran.set(ran.get() + 1));
                tx.query_first("SELECT COUNT(*) FROM account")
            })?;
            assert_eq!(count, Some(10));
            bank.db.transaction(|tx| {
                deposit(tx, 1, 1)?;
                if attempt.count() == 0 {
                    bank.kill(tx.connection_id().unwrap());
                }
                deposit(tx, 2, 1)
            })
        })
        .unwrap();
    assert_eq!((runs, ran.get(), bank.balance(1), bank.balance(2)), (2, 1, 101, 101));
}

#[test]
fn a_query_that_calls_a_function_which_writes_is_a_commit() {
    let bank = bank();
    bank.admin_query(
        "CREATE FUNCTION book() RETURNS INT MODIFIES SQL DATA BEGIN UPDATE account SET balance = balance + 1 WHERE id = 1; RETURN 1; END",
    );
    let mut runs = 0;
    let result: Result<()> = bank.db.retry(&quick(), |_| {
        runs += 1;
        let _: Option<u32> = bank.db.transaction(|tx| tx.query_first("SELECT book()"))?;
        bank.db.transaction(|tx| {
            tx.query_drop("DO 1")?;
            bank.kill(tx.connection_id().unwrap());
            deposit(tx, 2, 1)
        })
    });
    assert!(!result.unwrap_err().is_transient());
    assert_eq!((runs, bank.balance(1)), (1, 101));
}

#[test]
fn a_lost_reply_to_the_commit_of_a_transaction_that_has_only_read_is_no_unknown_outcome() {
    let bank = bank();
    let proxy = bank.server.proxy().unwrap();
    let db = Db::connect(&proxy.url(&bank.server.url()).unwrap()).unwrap();
    for point in [Point::BeforeRequest, Point::AfterRequest] {
        let cut = cut(&proxy, &db, "COMMIT AND", point, Action::Rst);
        let count: Option<u32> = db.transaction(|tx| tx.query_first("SELECT COUNT(*) FROM account")).unwrap();
        assert!(cut.fired() > 0);
        assert_eq!(count, Some(10));
    }
}

#[test]
fn a_joined_call_that_fails_inside_a_nested_transaction_that_is_undone_costs_that_one_alone() {
    both(|bank, connection| {
        bank.db
            .transaction(|tx| {
                deposit(tx, 1, 1)?;
                let undone = tx.transaction(|tx| {
                    deposit(tx, 2, 1)?;
                    tx.transaction_with(&TxOptions::new().join(true), |tx| {
                        deposit(tx, 3, 1)?;
                        tx.query_drop("nonsense")
                    })
                });
                assert_eq!(undone.unwrap_err().kind(), ErrorKind::Syntax);
                deposit(tx, 4, 1)
            })
            .unwrap();
        assert_eq!([1, 2, 3, 4].map(|id| bank.balance(id)), [101, 100, 100, 101], "{connection:?}");
    });
}

#[test]
fn a_row_that_is_locked_can_be_handled_in_a_nested_transaction() {
    both(|bank, connection| {
        let mut other = bank.admin();
        other.query_drop("BEGIN").unwrap();
        other.query_drop("UPDATE account SET balance = balance WHERE id = 5").unwrap();
        bank.db
            .transaction(|tx| {
                deposit(tx, 1, 1)?;
                let locked = tx.transaction(|tx| {
                    deposit(tx, 2, 1)?;
                    tx.query_drop("SELECT * FROM account WHERE id = 5 FOR UPDATE NOWAIT")
                });
                assert_eq!(locked.unwrap_err().kind(), ErrorKind::LockWaitTimeout);
                deposit(tx, 3, 1)
            })
            .unwrap();
        assert_eq!([1, 2, 3].map(|id| bank.balance(id)), [101, 100, 101], "{connection:?}");
        // Not undone, it aborts the transaction.
        let result = bank.db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            let _ = tx.query_drop("SELECT * FROM account WHERE id = 5 FOR UPDATE NOWAIT");
            Ok::<_, Error>(())
        });
        assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::LockWaitTimeout), "{connection:?}");
        assert_eq!(bank.balance(1), 101);
    });
}

#[test]
fn a_nested_call_that_asked_for_reading_only_cannot_write() {
    both(|bank, connection| {
        let result = bank.db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            let count: Option<u32> =
                tx.transaction_with(&TxOptions::new().read_only(true), |tx| tx.query_first("SELECT COUNT(*) FROM account"))?;
            assert_eq!(count, Some(10));
            let refused = tx.transaction_with(&TxOptions::new().read_only(true), |tx| deposit(tx, 2, 1));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config);
            deposit(tx, 3, 1)
        });
        result.unwrap();
        assert_eq!([1, 2, 3].map(|id| bank.balance(id)), [101, 100, 101], "{connection:?}");
    });
}

#[test]
fn the_bodys_own_statements_see_no_savepoint_between_them() {
    both(|bank, connection| {
        let rows: Option<i64> = bank
            .db
            .transaction(|tx| {
                tx.query_drop("UPDATE account SET balance = balance + 1 WHERE id <= 3")?;
                tx.query_first("SELECT ROW_COUNT()")
            })
            .unwrap();
        assert_eq!(rows, Some(3), "{connection:?}");
        let streamed: i64 = bank
            .db
            .transaction(|tx| {
                tx.query_drop("UPDATE account SET balance = balance + 1 WHERE id <= 3")?;
                let row = tx.query_iter("SELECT ROW_COUNT()")?.next();
                Ok::<_, Error>(row.and_then(std::result::Result::ok).and_then(|row: Row| row.get(0)).unwrap_or(-7))
            })
            .unwrap();
        assert_eq!(streamed, 3, "{connection:?}");
    });
}

#[test]
fn two_databases_that_two_threads_take_in_opposite_order_give_up_and_name_the_holder() {
    let bank = bank();
    let [one, two] = [(); 2].map(|()| Db::builder(&bank.server.url()).lock_timeout(Duration::from_millis(300)).connect().unwrap());
    let errors = within(Duration::from_secs(20), move || {
        let meet = std::sync::Barrier::new(2);
        let cross = |first: &Db, second: &Db| {
            first.transaction(|tx| {
                tx.query_drop("DO 1")?;
                meet.wait();
                second.transaction(|tx| tx.query_drop("DO 1"))
            })
        };
        thread::scope(|threads| {
            let other = threads.spawn(|| cross(&two, &one));
            [cross(&one, &two), other.join().unwrap()]
        })
    });
    let errors: Vec<String> = errors.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    assert!(!errors.is_empty());
    assert!(errors[0].contains("two_databases_that_two_threads_take"), "{errors:?}");
}

#[test]
fn a_transaction_in_a_thread_locals_destructor_ends_like_any_other() {
    struct Last(Option<Db>);

    impl Drop for Last {
        fn drop(&mut self) {
            if let Some(db) = self.0.take() {
                db.retry(&quick(), |_| {
                    db.transaction(|tx| {
                        tx.after_commit(|| {});
                        deposit(tx, 1, 1)
                    })
                })
                .unwrap();
            }
        }
    }

    thread_local! {
        static LAST: std::cell::RefCell<Last> = const { std::cell::RefCell::new(Last(None)) };
    }

    let bank = bank_on(Server::start().unwrap());
    let db = bank.db.clone();
    thread::spawn(move || {
        LAST.with_borrow_mut(|last| last.0 = Some(db.clone()));
        // The library's own thread-locals are made after this one, and gone before it.
        db.transaction(|tx| deposit(tx, 2, 1)).unwrap();
    })
    .join()
    .unwrap();
    assert_eq!([1, 2].map(|id| bank.balance(id)), [101, 101]);
}

#[test]
fn a_retry_around_a_ping_or_a_fork_waits_for_the_server() {
    let bank = bank();
    let (server, db) = (&bank.server, &bank.db);
    server.kill9().unwrap();
    thread::scope(|threads| {
        let waiting = threads.spawn(|| {
            let patient = quick().max_elapsed(Duration::from_secs(20));
            let mut pings = 0;
            db.retry(&patient, |_| {
                pings += 1;
                db.ping()
            })
            .unwrap();
            pings
        });
        thread::sleep(Duration::from_millis(300));
        server.restart().unwrap();
        assert!(waiting.join().unwrap() >= 1);
    });
    db.retry(&quick(), |_| db.fork()).unwrap();
}

#[test]
fn what_the_server_refused_as_a_whole_has_committed_nothing() {
    both(|bank, connection| {
        for (text, refused) in [
            ("nonsense", true),
            ("nonsense;", true),
            ("ROLLBACK nonsense", true),
            ("RELEASE SAVEPOINT", true),
            ("KILL", true),
            ("EXECUTE IMMEDIATE 'nonsense'", false),
            ("UPDATE account SET balance = 100 WHERE id = 1; nonsense", false),
        ] {
            let ran = Rc::new(Cell::new(0));
            let mut rival = bank.rival();
            let error = bank.fails(|tx| {
                let ran = Rc::clone(&ran);
                tx.after_rollback(move || ran.set(ran.get() + 1));
                deposit(tx, 9, 1)?;
                rival.wait_for_nine();
                // A deadlock in the part that is not read.
                drop(Queryable::query_iter(tx, "SELECT id FROM account WHERE id IN (8, 10) FOR UPDATE").map_err(Error::from)?);
                assert!(tx.query_drop(text).is_err(), "{text}");
                Ok(())
            });
            let found = (error.kind(), error.is_transient(), ran.get());
            let wanted = if refused { (ErrorKind::Deadlock, true, 1) } else { (ErrorKind::ImplicitCommit, false, 0) };
            assert_eq!(found, wanted, "{text}, {connection:?}");
            assert_eq!(bank.balance(9), 100, "{text}, {connection:?}");
        }
    });
}

#[test]
fn an_error_of_another_database_is_no_invitation_to_repeat_what_this_one_has_committed() {
    both(|bank, connection| {
        bank.admin_query("CREATE PROCEDURE settle() BEGIN UPDATE account SET balance = balance + 1 WHERE id = 1; COMMIT; END");
        let other = bank.db.fork().unwrap();
        for (text, raw) in [("CALL settle()", false), ("CALL settle()", true), ("DROP TABLE IF EXISTS other", false), ("COMMIT", true)] {
            let error = bank.fails(|tx| {
                deposit(tx, 2, 1)?;
                if raw {
                    drop(Queryable::query_iter(tx, text).map_err(Error::from)?);
                } else {
                    tx.query_drop(text)?;
                }
                other.transaction(|tx| {
                    deposit(tx, 3, 1)?;
                    bank.kill(tx.connection_id().unwrap());
                    deposit(tx, 4, 1)
                })
            });
            let found = (error.kind(), error.is_transient());
            assert_eq!(found, (ErrorKind::ConnectionLost, false), "{text}, raw: {raw}, {connection:?}");
            // The next transaction's errors are its own.
            let error = bank.fails(|tx| {
                deposit(tx, 2, 1)?;
                bank.kill(tx.connection_id().unwrap());
                deposit(tx, 3, 1)
            });
            assert!(error.is_transient(), "{text}, raw: {raw}, {connection:?}");
        }
    });
}

#[test]
fn hooks_run_after_a_rollback_also_where_the_errors_own_code_panics() {
    type Outcome = std::result::Result<(), PanicsWhenLookedInto>;

    fn body(tx: &mut Transaction<'_>, armed: &Rc<Cell<bool>>, ran: &Rc<Cell<u32>>) -> Outcome {
        let hook = Rc::clone(ran);
        tx.after_rollback(move || hook.set(hook.get() + 1));
        deposit(tx, 1, 1).unwrap();
        drop(Queryable::query_iter(tx, "SELECT * FROM account").unwrap());
        Err(PanicsWhenLookedInto(Rc::clone(armed)))
    }

    #[transactional]
    fn once(tx: &mut Transaction<'_>, armed: &Rc<Cell<bool>>, ran: &Rc<Cell<u32>>) -> Outcome {
        body(tx, armed, ran)
    }

    #[retry_on_disconnect]
    #[transactional]
    fn retried(tx: &mut Transaction<'_>, armed: &Rc<Cell<bool>>, ran: &Rc<Cell<u32>>) -> Outcome {
        body(tx, armed, ran)
    }

    both(|bank, connection| {
        let armed = Rc::new(Cell::new(true));
        for is_retried in [false, true] {
            let ran = Rc::new(Cell::new(0));
            let outcome =
                catch_unwind(AssertUnwindSafe(|| if is_retried { retried(&bank.db, &armed, &ran) } else { once(&bank.db, &armed, &ran) }));
            assert!(outcome.is_err());
            assert_eq!((ran.get(), Rc::strong_count(&ran)), (1, 1), "{connection:?}");
        }
        assert_eq!(bank.balance(1), 100);
    });
}

#[test]
fn a_body_that_makes_its_session_read_only_is_not_refused_by_the_ledgers_row() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    bank.admin_query("CREATE PROCEDURE counts() BEGIN SELECT COUNT(*) FROM account; END");
    let db = Db::builder(&bank.server.url()).commit_ledger(true).connect().unwrap();
    for warm in [false, true] {
        if !warm {
            db.disconnect();
        }
        db.transaction(|tx| {
            tx.query_drop("SET SESSION TRANSACTION READ ONLY")?;
            let refused = deposit(tx, 1, 1).unwrap_err();
            assert_eq!(refused.code(), Some(1792));
            tx.query_drop("CALL counts()")
        })
        .unwrap();
        // What was written before is recorded, and the mode ends with the transaction.
        db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            tx.query_drop("SET SESSION TRANSACTION READ ONLY")
        })
        .unwrap();
        // An end in the middle of it is seen all the same.
        let torn = db.transaction(|tx| {
            deposit(tx, 1, 1)?;
            tx.query_drop("SET SESSION TRANSACTION READ ONLY")?;
            tx.query_drop("COMMIT")?;
            tx.query_drop("CALL counts()")
        });
        assert_eq!(torn.unwrap_err().kind(), ErrorKind::ImplicitCommit);
        db.transaction(|tx| deposit(tx, 1, 1)).unwrap();
    }
    assert_eq!(bank.balance(1), 106);

    // There was nothing to commit, so that hooks wait until it is certain that the attempt is not repeated.
    let ran = Rc::new(Cell::new(0));
    db.retry(&quick(), |attempt| {
        db.transaction(|tx| {
            let ran = Rc::clone(&ran);
            tx.after_commit(move || ran.set(ran.get() + 1));
            tx.query_drop("SET TRANSACTION READ ONLY")?;
            assert!(deposit(tx, 1, 1).is_err());
            Ok::<_, Error>(())
        })?;
        if attempt.is_last() { Ok(()) } else { Err(Error::retry("once more")) }
    })
    .unwrap();
    assert_eq!(ran.get(), 1);

    // It is not the transaction that was begun: that one was lost to a deadlock in what was not read.
    let mut rival = bank.rival();
    let lost = db.transaction(|tx| {
        deposit(tx, 9, 1)?;
        rival.wait_for_nine();
        drop(Queryable::query_iter(tx, "SELECT id FROM account WHERE id IN (8, 10) FOR UPDATE").map_err(Error::from)?);
        tx.query_drop("SET TRANSACTION READ ONLY")
    });
    assert_eq!(lost.unwrap_err().kind(), ErrorKind::Deadlock);
    drop(rival);
    assert_eq!(bank.balance(9), 100);

    // With a fault at either of the requests of the end.
    let (proxy, db) = bank.proxied(|builder| builder.commit_ledger(true));
    for end in ["COMMIT AND", "ROLLBACK AND"] {
        for point in [Point::BeforeRequest, Point::AfterRequest] {
            let cut = proxy.inject(Fault::new(point, Action::Rst).matching(end));
            let result = db.retry(&quick(), |_| {
                db.transaction(|tx| {
                    tx.query_drop("SET SESSION TRANSACTION READ ONLY")?;
                    assert!(deposit(tx, 1, 1).is_err());
                    tx.query_drop("SELECT * FROM account")
                })
            });
            cut.assert_fired();
            assert_eq!(result.map_err(|error| error.to_string()), Ok(()), "{end}, {point:?}");
        }
    }
    assert_eq!(bank.balance(1), 106);
}

#[test]
fn a_body_can_go_back_to_a_savepoint_of_its_own() {
    both(|bank, connection| {
        bank.commits(|tx| {
            deposit(tx, 1, 1)?;
            tx.query_drop("SAVEPOINT mine")?;
            deposit(tx, 2, 1)?;
            tx.query_drop("ROLLBACK TO SAVEPOINT mine")?;
            tx.transaction(|tx| deposit(tx, 3, 1))?;
            deposit(tx, 4, 1)
        });
        assert_eq!(bank.balances([1, 2, 3, 4]), [101, 100, 101, 101], "{connection:?}");
        // It commits nothing: a deadlock behind it is one that another attempt may cure.
        let mut rival = bank.rival();
        let error = bank.fails(|tx| {
            tx.query_drop("SAVEPOINT mine")?;
            deposit(tx, 9, 1)?;
            rival.wait_for_nine();
            tx.query_drop("UPDATE account SET balance = 0 WHERE id = 10")
        });
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Deadlock, true), "{connection:?}");
    });
}
