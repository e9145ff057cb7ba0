#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

use db_testkit::Server;
use db_testkit::mysql::prelude::Queryable;
use db_testkit::mysql::{self, Conn};
use proptest::prelude::*;

use super::Effect::*;
use super::{Effect, StatementKind, functions, of, of_any, plain};

/// The effect of each text, `s` where it may change the session, `c` where it may contain other statements, and other flags by their first
/// letters.
#[rustfmt::skip]
const TABLE: &[(Effect, &str, &str)] = &[
    (Reads, "", "SELECT 1"),
    (Reads, "", "select 1"),
    (Reads, "", "SELECT(1)"),
    (Reads, "", "SELECT`id`FROM t"),
    (Reads, "", "  \t\r\n\x0b\x0cSELECT 1"),
    (Reads, "", "((SELECT 1) UNION (SELECT 2))"),
    (Reads, "", "SELECT 1;"),
    (Reads, "", "SELECT 1 ; ;\n"),
    (Reads, "", "SELECT 1; -- done"),
    (Reads, "", "SELECT 1 /* ; COMMIT */ # ; COMMIT"),
    (Reads, "", "SELECT 'a;b', \"c;d\", `id` FROM t"),
    (Reads, "", "SELECT 'it''s; COMMIT'"),
    (Reads, "", r"SELECT 'a\\', 'b;c'"),
    (Reads, "", r"SELECT 'it\'s'"),
    (Reads, "", "-- why\nSELECT 1"),
    (Reads, "", "--\tSELECT\nSELECT 1"),
    (Reads, "", "# why\nSELECT 1"),
    (Reads, "", "/* why */ /**/ SELECT 1"),
    (Reads, "", "SELECT /*+ MAX_EXECUTION_TIME(9) */ 1"),
    (Reads, "", "SELECT /*+ SET_VAR(sort_buffer_size='32768') */ 1"),
    (Reads, "", "SELECT 2 */* two */ 3 - -1--1"),
    (Reads, "", "SELECT id FROM t FOR UPDATE"),
    (Reads, "", "SELECT id FROM t LOCK IN SHARE MODE"),
    (Reads, "n", "SELECT id FROM t WHERE id = 0 FOR UPDATE NOWAIT"),
    (Reads, "n", "SELECT id FROM t WHERE id = 0 FOR UPDATE SKIP LOCKED"),
    (Reads, "", "SELECT 1 AS nowait FROM t FOR UPDATE"),
    (Reads, "", "SELECT COUNT(*), MAX(id), COALESCE(NULL, 1), IF(1, 2, 3) FROM t WHERE id IN (1, 2) AND (1) GROUP BY (id) HAVING (1)"),
    (Reads, "", "SELECT CAST('1' AS DECIMAL(10, 2)), CONVERT('a', CHAR(3)), REPLACE('a', 'b', 'c'), NOW(6), LEFT('a', 1)"),
    (Reads, "", "SELECT COUNT(*) OVER (ORDER BY id), ROW_NUMBER() OVER w FROM t WINDOW w AS (ORDER BY id)"),
    (Reads, "", "SELECT t.id, (SELECT MAX(u.id) FROM t u WHERE u.id IN (t.id)) FROM t JOIN (SELECT 1 AS id) v USING (id)"),
    (Reads, "", "SELECT LAST_INSERT_ID(7)"),
    (Reads, "", "SELECT id FROM words WHERE MATCH (word) AGAINST ('a' IN BOOLEAN MODE)"),
    (Reads, "", "WITH x AS (SELECT 1) SELECT * FROM x"),
    (Reads, "", "WITH RECURSIVE x (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 3) SELECT COUNT(*) FROM x"),
    (Reads, "", "SHOW TABLES"),
    (Reads, "", "EXPLAIN SELECT id FROM t"),
    (Reads, "", "DESCRIBE t"),
    (Reads, "", "DESC t"),
    (Reads, "", "DO SLEEP(0)"),
    (Reads, "s", "DO RELEASE_LOCK('a')"),
    (Reads, "s", "SELECT GET_LOCK('a', 0)"),
    (Reads, "s", "SELECT 1 INTO @x"),
    (Reads, "s", "SELECT @x := 1"),
    (Reads, "s", "USE test"),
    (Reads, "s", "USE mysql"),
    (Reads, "s", "SET @x = 1"),
    (Reads, "s", "set @x := 1, @y = @x"),
    (Reads, "s", "SET @x = CONCAT(@y, @z)"),
    (Reads, "s", "SET @`a b` = 1;"),
    (Reads, "s", "SET @@innodb_lock_wait_timeout = 1"),
    (Reads, "s", "SET SESSION sql_mode = 'ANSI', time_zone = '+00:00'"),
    (Reads, "s", "SET NAMES utf8mb4"),
    (Reads, "s", "SET NAMES latin1"),
    (Reads, "s", "SET @x = (SELECT COUNT(*) FROM t)"),

    (Writes, "", "INSERT INTO t VALUES (10)"),
    (Writes, "", "INSERT INTO t (id) VALUES (11), (12)"),
    (Writes, "", "INSERT INTO `t` (`id`) VALUES (ABS(-13))"),
    (Writes, "", "INSERT INTO test.t (id) SELECT 14"),
    (Writes, "", "INSERT INTO t SET id = 15"),
    (Writes, "", "INSERT INTO t (id) VALUES (16) ON DUPLICATE KEY UPDATE id = VALUES(id) + 1"),
    (Writes, "", "UPDATE t SET id = id + 100"),
    (Writes, "", "DELETE FROM t"),
    (Writes, "", "REPLACE INTO t VALUES (1)"),
    (Writes, "s", "INSERT INTO t VALUES (@x := 17)"),
    (Writes, "s", "SELECT pay(1)"),
    (Writes, "s", "SELECT pay (1)"),
    (Writes, "s", "SELECT pay/**/(1)"),
    (Writes, "s", "SELECT -- )\n against(1)"),
    (Writes, "s", "SELECT `pay`(1)"),
    (Writes, "s", "SELECT test.pay(1)"),
    (Writes, "s", "SELECT `test`.`pay`(1)"),
    (Writes, "s", "INSERT INTO t VALUES (pay(18))"),
    (Writes, "s", "UPDATE t SET id = pay(19) WHERE id = 1"),
    (Writes, "s", "DO pay(1)"),
    (Writes, "s", "SET @y = pay(1)"),
    (Writes, "s", "SELECT COUNT(*) FROM t WHERE id = pay(20)"),
    (Writes, "s", "WITH x AS (SELECT pay(21) AS a) SELECT a FROM x"),
    (Writes, "s", "CREATE TEMPORARY TABLE tmp (a INT) ENGINE=InnoDB"),
    (Writes, "s", "CREATE TEMPORARY TABLE tmp AS SELECT 1 AS a"),
    (Writes, "s", "DROP TEMPORARY TABLE IF EXISTS tmp"),
    (Writes, "s", "HANDLER t OPEN"),
    (Savepoint, "", "SAVEPOINT s"),
    (Writes, "s", "SELECT 1 /*!50000 , 2 */"),
    (Writes, "s", "SELECT 1 /*!99999 , 2 */"),

    (Commits, "", "COMMIT"),
    (Commits, "", "commit and chain"),
    (Commits, "", "BEGIN"),
    (Commits, "", "BEGIN WORK"),
    (Commits, "", "START TRANSACTION"),
    (Commits, "", "START TRANSACTION READ ONLY"),
    (Commits, "s", "SET autocommit = 1"),
    (Commits, "s", "SET @@autocommit = 1"),
    (Commits, "s", "SET @x = 1, autocommit = 1"),
    (Commits, "s", "SET @x = 1, @@autocommit = 1"),
    (Commits, "s", "SET @x = 1,/* @ */autocommit = 1"),
    (Commits, "s", "SET SESSION autocommit = 1"),
    (Commits, "s", "SET `autocommit` = 1"),
    (Commits, "s", "SET sql_mode = '', @@session.AUTOCOMMIT = ON"),
    (Commits, "s", "SET @@session.`autocommit` = ON"),
    (Commits, "s", "SET PASSWORD = PASSWORD('')"),
    (Commits, "s", "SET @x = 1, PASSWORD = PASSWORD('')"),
    (Commits, "s", "SET ROLE NONE"),
    (Commits, "", "CREATE TABLE other (a INT)"),
    (Commits, "", "CREATE TABLE other (a VARCHAR(10), KEY k (a))"),
    (Commits, "", "ALTER TABLE t ADD b INT, LOCK=NONE"),
    (Commits, "", "DROP TABLE IF EXISTS other"),
    (Commits, "s", "DROP DATABASE IF EXISTS other"),
    (Commits, "s", "DROP DATABASE test"),
    (Commits, "", "TRUNCATE t"),
    (Commits, "", "RENAME TABLE t TO u"),
    (Commits, "", "CREATE VIEW v AS SELECT 1 AS a"),
    (Commits, "", "CREATE INDEX i ON t (id)"),
    (Commits, "s", "LOCK TABLES t READ"),
    (Commits, "s", "UNLOCK TABLES"),
    (Commits, "", "ANALYZE TABLE t"),
    (Commits, "", "OPTIMIZE TABLE t"),
    (Commits, "", "CHECK TABLE t"),
    (Commits, "", "REPAIR TABLE t"),
    (Commits, "", "CHECKSUM TABLE t"),
    (Commits, "s", "FLUSH TABLES"),
    (Commits, "s", "FLUSH TABLES WITH READ LOCK"),
    (Commits, "", "GRANT SELECT ON test.* TO CURRENT_USER()"),

    (Compound, "cs", "SELECT 1; COMMIT"),
    (Compound, "cs", "SELECT 1;COMMIT"),
    (Compound, "cs", "SELECT ';-- ', 1; COMMIT"),
    (Compound, "cs", "SELECT 1; SELECT 2"),
    (Compound, "s", "ROLLBACK"),
    (Compound, "s", "ROLLBACK TO SAVEPOINT s"),
    (Compound, "s", "RELEASE SAVEPOINT s"),
    (Compound, "s", "XA START 'x'"),
    (Compound, "cs", "CALL committing()"),
    (Compound, "cs", "CALL setting()"),
    (Compound, "s", "PREPARE s FROM 'COMMIT'"),
    (Compound, "cs", "EXECUTE s"),
    (Compound, "cs", "/*! COMMIT */"),
    (Compound, "cs", "/*!50000 COMMIT */"),
    (Compound, "cs", r"SELECT '\'; COMMIT; -- '"),
    (Compound, "s", "KILL QUERY 1"),
];

/// What only one of the servers understands, or what is an error on both.
#[rustfmt::skip]
const ONE_SERVER: &[(Effect, &str, &str)] = &[
    (Reads, "", "VALUES ROW(1)"),
    (Reads, "", "TABLE t"),
    (Reads, "", "EXPLAIN ANALYZE SELECT 1"),
    (Reads, "", "ANALYZE SELECT 1"),
    (Reads, "", "ANALYZE FORMAT=JSON SELECT 1"),
    (Reads, "n", "SELECT id FROM t FOR UPDATE WAIT 0"),
    (Reads, "n", "SELECT id FROM t LOCK IN SHARE MODE NOWAIT"),
    (Reads, "s", "EXPLAIN FORMAT=JSON INTO @x SELECT 1"),
    (Writes, "s", "SELECT NEXTVAL(s)"),
    (Writes, "s", "SELECT NEXT VALUE FOR s"),
    (Writes, "s", "SELECT 1 INTO OUTFILE '/tmp/x'"),
    (Writes, "s", "INSERT INTO t TABLE u ORDER BY pay(1)"),
    (Writes, "s", "INSERT INTO test.values (a) VALUES (1)"),
    (Writes, "", "EXPLAIN ANALYZE UPDATE t SET id = 9"),
    (Writes, "", "ANALYZE UPDATE t SET id = 9"),
    (Writes, "r", "INSERT INTO t VALUES (1) RETURNING id"),
    (Writes, "r", "DELETE FROM t RETURNING id"),
    (Writes, "", "WITH x AS (SELECT 1 AS id) UPDATE t, x SET t.id = 2"),
    (Writes, "", "WITH x AS (SELECT 1) (SELECT * FROM x)"),
    (Writes, "", "LOAD DATA INFILE 'f' INTO TABLE t (id)"),
    (Writes, "l", "LOAD DATA LOCAL INFILE 'f' INTO TABLE t FIELDS TERMINATED BY ','"),
    (Writes, "ls", "LOAD DATA LOCAL INFILE 'f' INTO TABLE t CHARACTER SET utf8mb4 IGNORE 1 LINES (@a) SET id = @a"),
    (Writes, "s", "SELECT \"pay\"(1)"),
    (Writes, "s", "SELECT 1 /*M!100000 , 2 */"),
    (Commits, "", "LOAD INDEX INTO CACHE t"),
    (Commits, "", "CACHE INDEX t IN c"),
    (Commits, "", "INSTALL PLUGIN p SONAME 's'"),
    (Commits, "", "UNINSTALL PLUGIN p"),
    (Commits, "", "IMPORT TABLE FROM 'f'"),
    (Commits, "", "START REPLICA"),
    (Commits, "", "RESET REPLICA"),
    (Commits, "s", "SET DEFAULT ROLE ALL TO me"),
    (Commits, "s", "SET \"autocommit\" = 1"),
    (Compound, "cs", "BEGIN NOT ATOMIC COMMIT; END"),
    (Compound, "cs", "BEGIN NOT ATOMIC COMMIT END"),
    (Compound, "cs", "SET STATEMENT max_statement_time = 1 FOR COMMIT"),
    (Compound, "cs", "SET /*! autocommit = 1, */ @x = 1"),
    (Compound, "cs", "EXECUTE IMMEDIATE 'COMMIT'"),
    (Compound, "cs", "SELECT 1 /*M! ; COMMIT */"),
    (Compound, "cs", "SELECT 1 /*! '*/' */"),
    (Compound, "cs", "/*!99999 SELECT */ COMMIT"),
    (Compound, "cls", "SELECT 1; LOAD DATA LOCAL INFILE 'f' INTO TABLE t"),
    (Compound, "cs", ""),
    (Compound, "cs", " ; "),
    (Compound, "cs", "-- nothing"),
    (Compound, "cs", "/* never closed"),
    (Compound, "cs", "SELECT 'never closed"),
    (Compound, "s", "SELECTED"),
    (Compound, "s", "SELECT_1"),
    (Compound, "s", "SELECTé"),
    (Compound, "cs", "--SELECT 1"),
    (Compound, "s", "-- SELECT 1\nROLLBACK"),
    (Compound, "s", "# SELECT 1\nROLLBACK"),
    (Compound, "cs", "-- SELECT \0 1\nSELECT 2"),
    (Compound, "cs", "SELECT $$ ; COMMIT $$"),
    (Compound, "cs", "SELECT 1) ; (SELECT 2"),
    (Compound, "s", "/* SELECT */ ROLLBACK"),
    (Compound, "cs", "SELECT ';/*', 1; COMMIT */"),
    (Compound, "cs", "SELECT \"\\\"; COMMIT; -- \""),
    (Compound, "s", "DROP PREPARE s"),
    (Compound, "s", "DEALLOCATE PREPARE s"),
    (Compound, "cs", "SET"),
    (Compound, "s", "SHUTDOWN"),
    (Compound, "s", "nonsense;;"),
];

fn flags(kind: StatementKind) -> String {
    [(kind.contains, 'c'), (kind.local_infile, 'l'), (kind.nowait, 'n'), (kind.returning, 'r'), (kind.session, 's')]
        .into_iter()
        .filter_map(|(set, flag)| set.then_some(flag))
        .collect()
}

#[test]
fn every_text_has_its_kind() {
    for (effect, expected, sql) in TABLE.iter().chain(ONE_SERVER) {
        let kind = of(sql);
        assert_eq!((kind.effect, flags(kind).as_str()), (*effect, *expected), "{sql}");
    }
}

/// Ordinary statements, which are classified without the reader of tokens.
#[rustfmt::skip]
const PLAIN: &[&str] = &[
    "SELECT a FROM t WHERE b = 'c' AND `d` IN (1, 2) -1",
    "\n  select COUNT(*), t.a/2 FROM (SELECT 1) t WHERE b = ? ORDER BY (a) LIMIT 1;\n",
    "SELECT id FROM information_schema.tables WHERE next_at < NOW() AND skipped = 0 FOR UPDATE",
    "SELECT a FROM t LOCK IN SHARE MODE",
    r#"SELECT 'C:\\', '\n', "d""e" FROM `t`"#,
    "INSERT INTO t (a, b) VALUES (1, 'it''s'), (2, NULL) ON DUPLICATE KEY UPDATE a = VALUES(a)",
    "INSERT INTO `t` (`a`) SELECT MAX(a) FROM settings",
    "insert into t set a = (1)",
    "REPLACE INTO t(a) VALUES(1)",
    "UPDATE t SET a = a + 1 WHERE id = 7",
    "DELETE FROM t WHERE id IN (SELECT id FROM u)",
];

#[test]
fn ordinary_statements_are_classified_without_tokens() {
    for sql in PLAIN {
        assert_eq!(plain::of(sql.as_bytes()), Some(of_any(sql)), "{sql}");
    }
}

/// Strings are passed over in blocks of several sizes.
#[test]
fn an_escaped_quote_is_seen_at_any_place_of_a_string() {
    for length in 0..200 {
        let text = "a".repeat(length);
        assert_eq!(of(&format!(r"SELECT '{text}\', '; COMMIT -- '")).effect, Compound, "{length}");
        assert_eq!(of(&format!(r"SELECT '{text}'; COMMIT; -- '")).effect, Compound, "{length}");
        assert_eq!(of(&format!(r"SELECT '{text}\\', '; COMMIT; -- '")).effect, Reads, "{length}");
    }
}

/// What the session is like, as far as the statements of the table change it.
fn session(conn: &mut Conn) -> Vec<String> {
    [
        "SELECT CONCAT_WS(',', DATABASE(), @x, @y, @`a b`, @@autocommit, @@sql_mode, @@time_zone, @@innodb_lock_wait_timeout, @@character_set_client)",
        "SELECT IS_USED_LOCK('a')",
        "SELECT COUNT(*) FROM tmp",
        "EXECUTE s",
        "HANDLER t READ FIRST",
        "SELECT COUNT(*) FROM test.unlocked",
        "INSERT INTO test.t VALUES (9999)",
    ]
    .into_iter()
    .map(|question| {
        let answer = conn.query_first::<mysql::Row, _>(question);
        match answer {
            Ok(row) => format!("{row:?}"),
            Err(mysql::Error::MySqlError(error)) => error.code.to_string(),
            Err(error) => panic!("{question}: {error}"),
        }
    })
    .collect()
}

fn create_schema(admin: &mut Conn) {
    for statement in [
        "DROP DATABASE IF EXISTS test",
        "CREATE DATABASE test",
        "USE test",
        "CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB",
        "CREATE TABLE unlocked (id INT PRIMARY KEY) ENGINE=InnoDB",
        "CREATE TABLE words (id INT PRIMARY KEY, word TEXT, FULLTEXT (word)) ENGINE=InnoDB",
        "INSERT INTO t VALUES (1)",
        "CREATE FUNCTION pay(a INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN SET @x = a; INSERT INTO t VALUES (a + 1000); RETURN a; END",
        "CREATE FUNCTION against(a INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN SET @x = a; RETURN a; END",
        "CREATE PROCEDURE committing() BEGIN COMMIT; END",
        "CREATE PROCEDURE setting() BEGIN SET @x = 2; END",
    ] {
        admin.query_drop(statement).unwrap();
    }
}

/// For each statement, on the server: does it commit the open transaction, write, or change the session? The classification may say
/// more than that, and never less.
#[test]
fn the_server_agrees() {
    let server = Server::start().unwrap();
    let mut wrong = Vec::new();
    let mut refused = 0;
    let mut admin = server.connect().unwrap();
    let mut fresh = true;
    for (number, (effect, flags, sql)) in TABLE.iter().enumerate() {
        if fresh {
            create_schema(&mut admin);
        }
        // The untouched session beside it.
        let mut untouched = server.connect().unwrap();
        untouched.query_drop("USE test").unwrap();
        untouched.query_drop("SET autocommit = 0").unwrap();
        let before = session(&mut untouched);
        untouched.query_drop("ROLLBACK").unwrap();
        drop(untouched);

        let mut conn = server.connect().unwrap();
        conn.query_drop("USE test").unwrap();
        conn.query_drop("SET autocommit = 0").unwrap();
        conn.query_drop("INSERT INTO t VALUES (5000)").unwrap();
        let result = conn.query_iter(sql).and_then(|mut results| {
            while let Some(mut rows) = results.iter() {
                rows.try_for_each(|row| row.map(drop))?;
            }
            Ok(())
        });
        refused += usize::from(result.is_err());
        let committed: Option<u32> = admin
            .query_first("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'test' AND table_name = 't'")
            .unwrap()
            .and_then(
                |there: u32| if there == 0 { Some(1) } else { admin.query_first("SELECT COUNT(*) FROM test.t WHERE id = 5000").unwrap() },
            );
        let committed = committed != Some(0);
        fresh = committed || *effect >= Commits;
        let writes = !committed && {
            // Rows there for this session only, besides the one above.
            conn.query_first::<String, _>("SELECT COALESCE(GROUP_CONCAT(id ORDER BY id), '') FROM test.t")
                .ok()
                .flatten()
                .is_some_and(|rows| rows != "1,5000")
        };
        let _ = conn.query_drop("ROLLBACK");
        let after = session(&mut conn);
        let changed = before != after;
        let shown = || format!("{number} {sql}: committed {committed}, writes {writes}, session {before:?} -> {after:?}, {result:?}");
        if committed && *effect < Commits || writes && *effect < Writes || changed && !flags.contains('s') && !committed {
            wrong.push(shown());
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(refused < 12, "{refused} statements of the table were refused");
}

/// The limit of what a text tells.
#[test]
fn a_view_can_write_behind_a_query_that_reads() {
    let server = Server::start().unwrap();
    let mut conn = server.connect().unwrap();
    create_schema(&mut conn);
    conn.query_drop("CREATE VIEW paid AS SELECT pay(7) AS a").unwrap();
    let sql = "SELECT a FROM paid";
    assert_eq!(of(sql).effect, Reads);
    assert_eq!(conn.query_first(sql).unwrap(), Some(7));
    assert_eq!(conn.query_first("SELECT COUNT(*) FROM t WHERE id = 1007").unwrap(), Some(1));
}

/// A server's "FUNCTION … does not exist".
const NO_SUCH_FUNCTION: [u16; 3] = [1305, 1630, 1128];

#[test]
fn no_harmless_name_can_be_a_stored_function() {
    let server = Server::start().unwrap();
    let mut conn = server.connect().unwrap();
    conn.query_drop("USE test").unwrap();
    let mut wrong = Vec::new();
    let adjacent = functions::HARMLESS.iter().chain(functions::SESSION).map(|name| (name, format!("SELECT {name}()")));
    let spaced = functions::KEYWORDS.iter().flat_map(|name| [(name, format!("SELECT {name}()")), (name, format!("SELECT {name} ()"))]);
    for (name, sql) in adjacent.chain(spaced) {
        match conn.query_drop(&sql) {
            Err(mysql::Error::MySqlError(error)) if NO_SUCH_FUNCTION.contains(&error.code) => wrong.push(format!("{name}: {error}")),
            Ok(()) | Err(mysql::Error::MySqlError(_)) => {}
            Err(error) => panic!("{sql}: {error}"),
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Pieces of statements: ordinary ones, and all others.
fn piece() -> impl Strategy<Value = &'static str> {
    #[rustfmt::skip]
    let ordinary = prop::sample::select(vec![
        "a", "id", "= 1", ",", "'x'", "x AND y", "IN (1, 2)", "COUNT(*)", "t.a", "`q`", "(", ")", "\"d\"", "?", "SELECT", "VALUES", "SET", "FROM", " ",
    ]);
    #[rustfmt::skip]
    let others = prop::sample::select(vec![
        "INTO", "into @x", "OUTFILE 'a'", "VALUE", "TABLE", "WITH", "FOR UPDATE", "LOCK IN SHARE MODE", "NOWAIT", "SKIP LOCKED", "WAIT 5",
        "RETURNING", "NEXT VALUE", "NEXTVAL(", "MATCH (a) AGAINST (", "GET_LOCK(", "NOW (", "pay(", "pay (", "`pay`(", "\"pay\" (",
        "character_length(", "xharacter_length(", "nextvalues", "returned", "RETUETURNING", "skipped", "waits", "settings", "selected", "tables",
        "values_x", "within", "into_x", ".", "t.", "@", "@@y", ":=", "$", "$$", "a$b", "'", "''", "'it''s'", "'a\\'b'", "'\\\\'", "\\", "\"",
        "\"\\\"\"", "`", "-", "--", "-- ", "#", "\n", "/", "/*", "*/", "/* c */", "/*! 1 */", "/*M!", "*", ";", "\t", "\u{b}", "\0", "\u{7f}", "é",
        "ö(", "_", "'a long string, longer than ninety-six bytes, most of which is passed over in blocks, and not one byte at a time'",
        "'a long string, longer than ninety-six bytes, most of which is passed over in blocks, with an escaped \\' near its end'",
    ]);
    prop_oneof![3 => ordinary, 1 => others]
}

/// Fragments that make strings, comments and statements end in unexpected places.
fn fragment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "'", "\"", "`", "\\", "''", "\\'", "/*", "*/", "/*!", "/*+", "#", "-- ", "--", "\n", ";", "(", ")", "a", " ", "1", "@", ",", "é",
        "\0", "$$", "f(", "SELECT", "INTO", "WITH", "AS",
    ])
}

proptest! {
    #[test]
    fn no_text_can_panic(sql: String, dense in "[(SETselect@=,;/*!M#\\- \\n'a\"`\\\\]{0,24}") {
        of(&sql);
        of(&dense);
    }

    #[test]
    fn ordinary_statements_have_the_kind_that_their_tokens_give(
        verb in prop::sample::select(vec![
            "SELECT ", "select a FROM t WHERE ", "INSERT ", "INSERT INTO t", "INSERT INTO t (a) VALUES ", "UPDATE t SET a = ", "DELETE FROM t ", "REPLACE "
        ]),
        pieces in prop::collection::vec((piece(), prop::bool::ANY), 0..16),
    ) {
        let mut sql = verb.to_owned();
        for (piece, spaced) in pieces {
            sql.push_str(piece);
            sql.push_str(if spaced { " " } else { "" });
        }
        if let Some(kind) = plain::of(sql.as_bytes()) {
            prop_assert_eq!(kind, of_any(&sql), "{}", sql);
        }
    }

    /// By any way to read the quotes, whose strings and comments are taken out here one character at a time.
    #[test]
    fn nothing_hides_a_second_statement(first in prop::sample::select(vec!["SELECT ", "INSERT INTO t VALUES ", "SET @a = ", "DO ", "UPDATE t SET a = "]),
        parts in prop::collection::vec(fragment(), 0..12), last in prop::sample::select(vec![";COMMIT", "; COMMIT", ";/**/ROLLBACK", ";\nDROP TABLE t"])) {
        let sql = format!("{first}{}{last}", parts.concat());
        let commits = [(true, true), (true, false), (false, false)].into_iter().any(|(single, double)| second_statement(&sql, single, double));
        if commits {
            prop_assert_eq!(of(&sql).effect, Compound, "{}", sql);
        }
    }

    #[test]
    fn letter_case_does_not_matter(sql in "\\PC{0,32}") {
        prop_assert_eq!(of(&sql.to_ascii_lowercase()), of(&sql.to_ascii_uppercase()));
    }

    #[test]
    fn a_simple_query_reads(columns in "[a-z_, ?='.<>+]{0,64}") {
        let even = columns.matches('\'').count() % 2 == 0;
        let kind = of(&format!("SELECT {columns}"));
        prop_assert_eq!(kind.effect, if even { Reads } else { Compound });
    }

    #[test]
    fn no_word_behind_a_table_makes_a_writing_statement_harmless(verb in prop::sample::select(vec![
        "INSERT INTO", "UPDATE", "DELETE FROM", "REPLACE INTO", "CREATE TABLE", "DROP TABLE", "ALTER TABLE", "TRUNCATE", "CALL", "COMMIT", "ROLLBACK"
    ]), rest in "[a-zA-Z_ ,.=()?@]{0,40}") {
        let sql = format!("{verb} {rest}");
        prop_assert!(of(&sql).effect > Reads, "{}", sql);
    }
}

/// Whether something follows a semicolon that is neither in a string nor in a comment, if the server gets so far: a plain reference.
fn second_statement(sql: &str, single: bool, double: bool) -> bool {
    let text: Vec<char> = sql.chars().collect();
    let mut at = 0;
    let mut behind = false;
    while at < text.len() {
        let next = text.get(at + 1).copied();
        match text[at] {
            quote @ ('\'' | '"' | '`') => {
                if behind {
                    return true;
                }
                let escapes = quote == '\'' && single || quote == '"' && double;
                at += 1;
                loop {
                    match text.get(at) {
                        None => return false,
                        Some('\\') if escapes => at += 2,
                        Some(found) if *found == quote && text.get(at + 1) == Some(&quote) => at += 2,
                        Some(found) if *found == quote => break,
                        Some(_) => at += 1,
                    }
                }
            }
            '#' => {
                while text.get(at).is_some_and(|&c| c != '\n') {
                    at += 1
                }
            }
            '-' if next == Some('-') && text.get(at + 2).is_none_or(|c| c.is_ascii_whitespace()) => {
                while text.get(at).is_some_and(|&c| c != '\n') {
                    at += 1
                }
            }
            '/' if next == Some('*') && text.get(at + 2) != Some(&'!') => {
                at += 2;
                while at < text.len() && !(text[at] == '*' && text.get(at + 1) == Some(&'/')) {
                    at += 1
                }
                at += 1;
            }
            ';' => behind = true,
            c if c.is_ascii_whitespace() => {}
            _ if behind => return true,
            _ => {}
        }
        at += 1;
    }
    false
}
