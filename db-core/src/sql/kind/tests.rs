use proptest::prelude::*;

use super::StatementKind::*;
use super::of;

#[test]
fn only_what_is_known_to_be_harmless_is_plain() {
    #[rustfmt::skip]
    let table = [
        (Plain,     "SELECT 1"),
        (Plain,     "select 1"),
        (Plain,     "SELECT(1)"),
        (Plain,     "SELECT`a`FROM t"),
        (Plain,     "  \t\r\n\x0b\x0cSELECT 1"),
        (Plain,     "((SELECT 1) UNION (SELECT 2))"),
        (Plain,     "SELECT 1;"),
        (Plain,     "SELECT 1 ; ;\n"),
        (Plain,     "-- why\nSELECT 1"),
        (Plain,     "--\tSELECT\nSELECT 1"),
        (Plain,     "# why\nSELECT 1"),
        (Plain,     "/* why */ /**/ SELECT 1"),
        (Plain,     "SELECT /*+ MAX_EXECUTION_TIME(9) */ 1"),
        (Plain,     "SELECT 2 */* two */ 3"),
        (Plain,     "SELECT a FROM t FOR UPDATE"),
        (Plain,     "INSERT INTO t VALUES (?, ?)"),
        (Plain,     "INSERT INTO t VALUES (1) RETURNING id"),
        (Plain,     "UPDATE t SET a = 1"),
        (Plain,     "DELETE FROM t"),
        (Plain,     "REPLACE INTO t VALUES (1)"),
        (Plain,     "WITH x AS (SELECT 1) SELECT * FROM x"),
        (Plain,     "SHOW TABLES"),
        (Plain,     "EXPLAIN ANALYZE SELECT 1"),
        (Plain,     "DESCRIBE t"),
        (Plain,     "DESC t"),
        (Plain,     "VALUES ROW(1)"),
        (Plain,     "TABLE t"),
        (Plain,     "DO RELEASE_LOCK('a')"),
        (Plain,     "USE d"),
        (Plain,     "SET @a = 1"),
        (Plain,     "set @a := 1, @b = @a"),
        (Plain,     "SET @a = CONCAT(@b, @c)"),
        (Plain,     "SET @`a b` = 1;"),

        (MayCommit, ""),
        (MayCommit, " ; "),
        (MayCommit, "-- nothing"),
        (MayCommit, "/* never closed"),
        (MayCommit, "SELECTED"),
        (MayCommit, "SELECT_1"),
        (MayCommit, "SELECTé"),
        (MayCommit, "--SELECT 1"),
        (MayCommit, "-- SELECT 1\nCOMMIT"),
        (MayCommit, "# SELECT 1\nCOMMIT"),
        (MayCommit, "/* SELECT */ COMMIT"),
        (MayCommit, "/*! COMMIT */"),
        (MayCommit, "SELECT 1 /*!50000 INTO @a */"),
        (MayCommit, "SELECT 1 /*M! ; COMMIT */"),
        (MayCommit, "SELECT 1 /*m!100000 , 2 */"),
        (MayCommit, "SELECT 1; COMMIT"),
        (MayCommit, "SELECT 1;COMMIT"),
        (MayCommit, "SELECT ';-- ', 1; COMMIT"),
        (MayCommit, "SELECT ';/*', 1; COMMIT */"),
        (MayCommit, "SELECT 'a;b'"),
        (MayCommit, "SELECT 1; -- done"),
        (MayCommit, "COMMIT"),
        (MayCommit, "commit and chain"),
        (MayCommit, "ROLLBACK"),
        (MayCommit, "ROLLBACK TO SAVEPOINT s"),
        (MayCommit, "SAVEPOINT s"),
        (MayCommit, "RELEASE SAVEPOINT s"),
        (MayCommit, "BEGIN"),
        (MayCommit, "BEGIN NOT ATOMIC COMMIT; END"),
        (MayCommit, "START TRANSACTION"),
        (MayCommit, "START REPLICA"),
        (MayCommit, "XA START 'x'"),
        (MayCommit, "CALL p()"),
        (MayCommit, "PREPARE s FROM 'COMMIT'"),
        (MayCommit, "EXECUTE s"),
        (MayCommit, "EXECUTE IMMEDIATE 'COMMIT'"),
        (MayCommit, "SET autocommit = 1"),
        (MayCommit, "SET @@autocommit = 1"),
        (MayCommit, "SET @a = 1, autocommit = 1"),
        (MayCommit, "SET @a = 1, @@autocommit = 1"),
        (MayCommit, "SET @a = 1,/* @ */autocommit = 1"),
        (MayCommit, "SET SESSION autocommit = 1"),
        (MayCommit, "SET `autocommit` = 1"),
        (MayCommit, "SET sql_mode = '', @@session.AUTOCOMMIT = ON"),
        (Plain,     "SET TRANSACTION READ ONLY"),
        (Plain,     "SET @@innodb_lock_wait_timeout = 1"),
        (Plain,     "SET SESSION sql_mode = 'ANSI', time_zone = '+00:00'"),
        (MayCommit, "SET ROLE admin"),
        (MayCommit, "SET DEFAULT ROLE ALL TO me"),
        (MayCommit, "SET STATEMENT max_statement_time = 1 FOR COMMIT"),
        (MayCommit, "SET PASSWORD = 'x'"),
        (Plain,     "SET NAMES utf8mb4"),
        (MayCommit, "SET"),
        (MayCommit, "SET @"),
        (MayCommit, "CREATE TABLE t (a INT)"),
        (MayCommit, "CREATE TEMPORARY TABLE t (a INT)"),
        (MayCommit, "ALTER TABLE t ADD b INT"),
        (MayCommit, "DROP TABLE t"),
        (MayCommit, "TRUNCATE t"),
        (MayCommit, "RENAME TABLE t TO u"),
        (MayCommit, "GRANT SELECT ON t TO u"),
        (MayCommit, "REVOKE SELECT ON t FROM u"),
        (MayCommit, "LOCK TABLES t READ"),
        (MayCommit, "UNLOCK TABLES"),
        (MayCommit, "ANALYZE TABLE t"),
        (MayCommit, "ANALYZE SELECT 1"),
        (MayCommit, "OPTIMIZE TABLE t"),
        (MayCommit, "CHECK TABLE t"),
        (MayCommit, "REPAIR TABLE t"),
        (MayCommit, "CACHE INDEX t IN c"),
        (MayCommit, "LOAD INDEX INTO CACHE t"),
        (MayCommit, "LOAD DATA INFILE 'f' INTO TABLE t"),
        (MayCommit, "FLUSH TABLES"),
        (MayCommit, "RESET REPLICA"),
        (MayCommit, "HANDLER t OPEN"),
        (MayCommit, "INSTALL PLUGIN p SONAME 's'"),
        (MayCommit, "IMPORT TABLE FROM 'f'"),
        (MayCommit, "KILL 1"),
        (MayCommit, "SHUTDOWN"),
    ];
    for (kind, sql) in table {
        assert_eq!(of(sql), kind, "{sql}");
    }
}

proptest! {
    #[test]
    fn no_text_can_panic(sql: String, dense in "[(SETselect@=,;/*!M#\\- \\n'a]{0,24}") {
        of(&sql);
        of(&dense);
    }

    #[test]
    fn nothing_can_hide_a_second_statement(before in "[a-z;'\"`/*!#\\- \\n]{0,24}", space in "[ \\n\\t]{0,3}") {
        prop_assert_eq!(of(&format!("SELECT {before};{space}COMMIT")), MayCommit);
    }

    #[test]
    fn letter_case_does_not_matter(sql in "\\PC{0,32}") {
        prop_assert_eq!(of(&sql.to_ascii_lowercase()), of(&sql.to_ascii_uppercase()));
    }

    #[test]
    fn a_prepared_query_is_plain(columns in "[a-z_, ?=()'@.<>+]{0,64}") {
        prop_assert_eq!(of(&format!("SELECT {columns}")), Plain);
    }
}
