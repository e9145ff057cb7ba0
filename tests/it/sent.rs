//! Which statements does the library send on its own account? All of them, as the server sees them, and no value of anybody's is in one.

use std::collections::BTreeSet;
use std::time::Duration;

use db_core::mysql::prelude::Queryable as _;
use db_core::prelude::*;
use db_testkit::{Action, Fault, Point, Server};
use tests::{eventually, quick};

/// What stands in every statement that the library is not to answer for.
const OURS: &str = "/* by the test */";

/// Numbers are replaced by `N`.
const STATEMENTS: [&str; 40] = [
    "COMMIT AND NO CHAIN NO RELEASE",
    "CREATE TABLE IF NOT EXISTS `we``ird`.db_core_ledger (client BIGINT UNSIGNED NOT NULL PRIMARY KEY, seq BIGINT UNSIGNED NOT NULL, \
     touched TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY (touched)) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS `we``ird`.db_core_idempotency (`key` VARBINARY(N) NOT NULL PRIMARY KEY, attempt BIGINT UNSIGNED NOT NULL, \
     `function` VARCHAR(N) CHARACTER SET utfNmbN, fingerprint BINARY(N), result LONGTEXT CHARACTER SET utfNmbN, \
     `at` TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, KEY (`at`)) ENGINE=InnoDB",
    "DELETE FROM `we``ird`.db_core_idempotency WHERE `at` < NOW() - INTERVAL N SECOND ORDER BY `at` LIMIT N",
    "DELETE FROM `we``ird`.db_core_ledger WHERE client IN (N)",
    "INSERT INTO `we``ird`.db_core_idempotency (`key`, attempt) VALUES (X'H', N)",
    "INSERT INTO `we``ird`.db_core_idempotency (`key`, attempt, `function`, fingerprint, result) \
     VALUES (X'H', N, _utfNmbN X'H', NULL, _utfNmbN X'H')",
    "INSERT INTO `we``ird`.db_core_idempotency (`key`, attempt, `function`, fingerprint, result) \
     VALUES (X'H', N, _utfNmbN X'H', NULL, _utfNmbN X'H') \
     ON DUPLICATE KEY UPDATE attempt = IF(attempt IN (N), VALUES(attempt), attempt + N + N), \
     `function` = VALUES(`function`), fingerprint = VALUES(fingerprint), result = VALUES(result)",
    "INSERT INTO `we``ird`.db_core_ledger (client, seq) VALUES (N, N)",
    "KILL N",
    "KILL QUERY N",
    "RELEASE SAVEPOINT db_core_sentinel",
    "ROLLBACK AND NO CHAIN NO RELEASE",
    "ROLLBACK TO SAVEPOINT db_core_N",
    "ROLLBACK TO SAVEPOINT db_core_batch",
    "SAVEPOINT db_core_N",
    "SAVEPOINT db_core_batch",
    "SAVEPOINT db_core_check",
    "SAVEPOINT db_core_sentinel",
    "SELECT id, host FROM information_schema.processlist WHERE id IN (N, N)",
    "SELECT attempt, `function`, COALESCE(fingerprint = NULL, N), result FROM `we``ird`.db_core_idempotency WHERE `key` = X'H' FOR UPDATE",
    "SELECT attempt, `function`, COALESCE(fingerprint = NULL, N), result FROM `we``ird`.db_core_idempotency WHERE `key` = X'H' LOCK IN SHARE MODE",
    "SELECT attempt, `function`, COALESCE(fingerprint = NULL, N), result FROM `we``ird`.db_core_idempotency WHERE `key` = X'H'",
    "SELECT id, command FROM information_schema.processlist WHERE id IN (N, N)",
    "SELECT client FROM `we``ird`.db_core_ledger WHERE touched < NOW() - INTERVAL N DAY LIMIT N FOR UPDATE SKIP LOCKED",
    "SELECT seq FROM `we``ird`.db_core_ledger WHERE client = N FOR UPDATE",
    "SET NAMES utfNmbN",
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
    "SET TRANSACTION READ ONLY",
    "SET autocommit = N, session_track_state_change = ON",
    "SHOW GLOBAL STATUS LIKE 'Uptime'",
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_local_state')",
    "SHOW VARIABLES WHERE Variable_name IN ('max_allowed_packet', 'hostname', 'port', 'server_uuid', 'wsrep_node_name', 'wsrep_on', \
     'group_replication_single_primary_mode', 'read_only', 'super_read_only', 'innodb_read_only')",
    "SET innodb_lock_wait_timeout = N",
    "USE `we``ird`",
    "UPDATE `we``ird`.db_core_ledger SET seq = IF(seq = N, N, seq + N + N) WHERE client = N",
];

/// Of the idempotency keys, and what is stored under them, there are the digits.
fn without_numbers(sql: &str) -> String {
    let mut pieces = sql.split("X'");
    let mut sql = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        sql.push_str("X'H");
        sql.push_str(rest);
    }
    let mut shape = String::new();
    for c in sql.chars() {
        if !c.is_ascii_digit() {
            shape.push(c);
        } else if !shape.ends_with('N') {
            shape.push('N');
        }
    }
    shape
}

fn by_test(sql: &str) -> String {
    format!("{sql} {OURS}")
}

/// All that can be asked of the library, so that it sends all that it sends.
fn everything(server: &Server, url: &str) {
    let mut admin = server.connect().unwrap();
    let mut admin = |sql: &str| admin.query_drop(by_test(sql)).unwrap();
    let insert = by_test("INSERT INTO account (note) VALUES (?)");
    let write = |tx: &mut Transaction<'_>| tx.exec_drop(insert.as_str(), ("a value of ours",));

    let db = Db::builder(url).retry(quick()).connect().unwrap();
    db.ping().unwrap();
    db.install_ledger().unwrap();
    db.transaction(write).unwrap();
    db.transaction(|tx| write(tx).and_then(|()| Err::<(), _>(tx.transaction(|tx| write(tx).and(Err::<(), _>(undo()))).unwrap_err())))
        .unwrap_err();
    for options in [
        TxOptions::new().isolation(Isolation::ReadUncommitted),
        TxOptions::new().isolation(Isolation::ReadCommitted),
        TxOptions::new().isolation(Isolation::RepeatableRead),
        TxOptions::new().isolation(Isolation::Serializable),
        TxOptions::new().isolation(Isolation::Serializable).read_only(true),
        TxOptions::new().read_only(true),
    ] {
        db.transaction_with(&options, |tx| tx.query_drop(by_test("SELECT * FROM account"))).unwrap();
    }
    // A statement that its call's deadline ends.
    let brief = TxOptions::new().timeout(Duration::from_millis(500));
    db.transaction_with(&brief, |tx| tx.query_drop(by_test("SELECT SLEEP(10)"))).unwrap_err();
    // A host that has to accept writes.
    Pool::connect(&format!("{url}?target_session_attrs=read-write")).unwrap().transaction(write).unwrap();
    // What is undone by a reset of the session.
    db.transaction(|tx| tx.query_drop(by_test("SET @x = 1"))).unwrap();
    // What only the sentinel can watch.
    db.transaction(|tx| Queryable::query_iter(tx, by_test("SELECT * FROM account")).map(drop)).unwrap();
    let batch = by_test("INSERT INTO account (id, note) VALUES (?, ?)");
    let note = "a value of ours".repeat(100);
    db.transaction(|tx| tx.exec_batch(batch.as_str(), [(1000, &note), (1000, &note)])).unwrap_err();

    db.install_idempotency().unwrap();
    db.sweep_idempotency(Duration::from_secs(3600)).unwrap();
    let once = |db: &Db, key: &str| {
        let key = IdempotencyKey::new(key);
        db.retry(&quick(), |attempt| db.transaction_once(key.clone().check_first(attempt.count() == 9), &TxOptions::new(), write))
    };
    for _ in 0..2 {
        once(&db, "a").unwrap();
    }
    db.transaction(|tx| tx.transaction_once("a", &TxOptions::new(), |tx| tx.query_drop("DO 1"))).unwrap();
    // The request of COMMIT does not arrive, and its key is fenced.
    let proxy = server.proxy().unwrap();
    let through = Db::builder(&proxy.url(url).unwrap()).retry(quick()).connect().unwrap();
    proxy.inject(Fault::new(Point::BeforeRequest, Action::Rst).matching("COMMIT"));
    once(&through, "b").unwrap();

    let ledger = Db::builder(url)
        .retry(quick())
        .commit_ledger(true)
        .driver_options(|options| options.read_timeout(Some(Duration::from_millis(300))))
        .connect()
        .unwrap();
    ledger.transaction(write).unwrap();
    std::thread::scope(|scope| {
        // COMMIT has to wait for its row, and longer than the caller waits for its answer.
        admin("BEGIN");
        admin("UPDATE `we``ird`.db_core_ledger SET touched = touched + INTERVAL 1 SECOND");
        let transaction = scope.spawn(|| ledger.retry(&quick(), |_| ledger.transaction(write)));
        let mut watch = server.connect().unwrap();
        let killed = by_test("SELECT COUNT(*) FROM mysql.general_log WHERE CONVERT(argument USING utf8mb4) REGEXP '^KILL [0-9]'");
        eventually("the lost session is ended", || watch.query_first::<u32, _>(&killed).unwrap() > Some(0));
        admin("ROLLBACK");
        transaction.join().unwrap().unwrap();
    });
}

fn undo() -> db_core::Error {
    db_core::mysql::Error::server_disconnected().into()
}

#[test]
fn every_statement_of_our_own_is_on_the_list_and_has_no_value_in_it() {
    let server = Server::start().unwrap();
    let mut admin = server.connect().unwrap();
    admin.query_drop("CREATE DATABASE `we``ird`").unwrap();
    admin.query_drop("CREATE TABLE `we``ird`.account (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(50))").unwrap();
    let url = server.url_for("we%60ird");
    Db::connect(&url).unwrap().install_ledger().unwrap();
    admin.query_drop("INSERT INTO `we``ird`.db_core_ledger VALUES (1, 1, NOW() - INTERVAL 8 DAY)").unwrap();
    admin.query_drop("SET GLOBAL log_output = 'TABLE'").unwrap();
    admin.query_drop("SET GLOBAL general_log = ON").unwrap();
    everything(&server, &url);

    let sent: Vec<String> =
        admin.query("SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE command_type IN ('Query', 'Prepare')").unwrap();
    // The one that asks is in the log as well. MariaDB logs all that is left of a packet, MySQL a statement and its semicolon.
    let sent = sent.iter().filter(|sql| !sql.contains(OURS) && !sql.contains("mysql.general_log"));
    let sent = sent.flat_map(|packet| packet.split(';')).map(|sql| without_numbers(sql.trim()));
    let sent: BTreeSet<String> = sent.filter(|sql| !sql.is_empty()).collect();
    let listed: BTreeSet<String> = STATEMENTS.map(String::from).into();
    assert_eq!(sent.difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new(), "not on the list");
    assert_eq!(listed.difference(&sent).collect::<Vec<_>>(), Vec::<&String>::new(), "on the list, and not sent");
}
