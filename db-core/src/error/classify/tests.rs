use std::io::{self, Write};
use std::net::TcpListener;

use mysql::{Conn, DriverError, Error, MySqlError, OptsBuilder};
use proptest::prelude::*;

use super::After::*;
use super::ErrorKind::*;
use super::{After, CommitVerdict, ConnectVerdict, ErrorKind, Verdict};

fn server(code: u16, message: &str) -> Error {
    // SQLSTATE of a deadlock throughout: it must not matter.
    Error::MySqlError(MySqlError { state: "40001".into(), message: message.into(), code })
}

fn io_error(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "as the system words it")
}

const AGAIN: bool = true;
const NEVER: bool = false;

const DEADLOCK: &str = "Deadlock found when trying to get lock; try restarting transaction";
const LOCK_WAIT: &str = "Lock wait timeout exceeded; try restarting transaction";
const GR_CONFLICT: &str = "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT";
const GALERA_LOST: &str = r#"Got error 6 "No such device or address" during COMMIT"#;
const FRAGMENT: &str = "Error while appending streaming replication fragment(provider status: Not connected to Primary Component)";
const MAX_ROWS: &str = "wsrep_max_ws_rows exceeded";
const READ_ONLY: &str = "The MariaDB server is running with the --read-only option so it cannot execute this statement";
const SUPER_READ_ONLY: &str = "The MySQL server is running with the --super-read-only option so it cannot execute this statement";
const FILE_PRIV: &str = "The MySQL server is running with the --secure-file-priv option so it cannot execute this statement";
const WSREP: &str = "WSREP has not yet prepared node for application use";
const WRITESET: &str = "Maximum writeset size exceeded";
const HOOK: &str = "Error on observer while running replication hook 'before_commit'.";
const PER_HOUR: &str = "User 'app' has exceeded the 'max_queries_per_hour' resource (current value: 9)";
const AT_ONCE: &str = "User 'app' has exceeded the 'max_user_connections' resource (current value: 5)";
const PROXYSQL_9001: &str = "Max connect timeout reached while reaching hostgroup 10 after 10000ms";
const VITESS_AGED: &str =
    "target: ks.0.primary: vttablet: rpc error: code = Aborted desc = transaction 17: ended at 10:00 (exceeded timeout: 20s)";
const VITESS_GONE: &str = "target: ks.0.primary: vttablet: rpc error: code = Aborted desc = transaction 17: not found";
const VITESS_1062: &str =
    "target: ks.0.primary: vttablet: rpc error: code = AlreadyExists desc = Duplicate entry 'a' for key 'k' (errno 1062) (sqlstate 23000)";
const VITESS_1205: &str = "vttablet: rpc error: code = Unknown desc = Lock wait timeout exceeded (errno 1205) (sqlstate HY000)";
const VITESS_LOST: &str = "vttablet: rpc error: code = Unknown desc = Lost connection (errno 2013) (sqlstate HY000)";
const VITESS_DEADLINE: &str = "vttablet: rpc error: code = DeadlineExceeded desc = context deadline exceeded";
const VITESS_CANCELED: &str = "vttablet: rpc error: code = Canceled desc = context canceled";
const VITESS_AWAY: &str = "VT14002: no available connection: code = Unavailable";
const VITESS_POOL: &str = "vttablet: rpc error: code = ResourceExhausted desc = transaction pool connection limit exceeded";
const VITESS_ROWS: &str = "vttablet: rpc error: code = ResourceExhausted desc = Row count exceeded 10000";
const VITESS_INTERNAL: &str = "vttablet: rpc error: code = Internal desc = unexpected";
const VITESS_DEADLOCK: &str = "target: ks.-80.primary: vttablet: Deadlock found (errno 1213) (sqlstate 40001) during query: commit";

#[test]
fn a_statements_error_says_what_is_left_of_the_transaction() {
    #[rustfmt::skip]
    let table: &[(u16, &str, ErrorKind, After, bool)] = &[
        // Conflicts and locks.
        (1213, DEADLOCK,                                            Deadlock,          Aborted, AGAIN),
        (1205, LOCK_WAIT,                                           LockWaitTimeout,   Aborted, AGAIN),
        (3572, "Statement aborted because lock(s) could not be acquired immediately and NOWAIT is set.",
                                                                    LockWaitTimeout,   Aborted, AGAIN),
        (1689, "Wait on a lock was aborted due to a pending exclusive lock",
                                                                    LockWaitTimeout,   Aborted, AGAIN),
        (3058, "Deadlock found when trying to get user-level lock", Deadlock,          Aborted, AGAIN),
        (1020, "Record has changed since last read in table 't'; try restarting transaction",
                                                                    Deadlock,          Aborted, AGAIN),
        (1412, "Table definition has changed, please retry transaction",
                                                                    Deadlock,          Aborted, AGAIN),
        (3101, "Plugin instructed the server to rollback the current transaction.",
                                                                    Deadlock,          Aborted, AGAIN),
        (1180, GR_CONFLICT,                                         Deadlock,          Aborted, AGAIN),
        (1180, GALERA_LOST,                                         Unavailable,       Dead,   AGAIN),
        (1180, MAX_ROWS,                                            Other,             Aborted, NEVER),
        (1206, "The total number of locks exceeds the lock table size",
                                                                    Other,             Aborted, NEVER),
        // Killed, or over a limit of time.
        (1317, "Query execution was interrupted",                   Interrupted,       Intact, NEVER),
        (1969, "Query execution was interrupted (max_statement_time exceeded)",
                                                                    StatementTimeout,  Intact, NEVER),
        (3024, "Query execution was interrupted, maximum statement execution time exceeded",
                                                                    StatementTimeout,  Intact, NEVER),
        // The connection, or the server, is going.
        (1927, "Connection was killed",                             ConnectionLost,    Dead,   AGAIN),
        (1053, "Server shutdown in progress",                       ConnectionLost,    Dead,   AGAIN),
        (1152, "Aborted connection 4 to db: 'd' user: 'u' (x)",     ConnectionLost,    Dead,   AGAIN),
        (1158, "Got an error reading communication packets",        ConnectionLost,    Dead,   AGAIN),
        (1159, "Got timeout reading communication packets",         ConnectionLost,    Dead,   AGAIN),
        (1160, "Got an error writing communication packets",        ConnectionLost,    Dead,   AGAIN),
        (1161, "Got timeout writing communication packets",         ConnectionLost,    Dead,   AGAIN),
        (1184, "Aborted connection 4 to db: 'd'",                   ConnectionLost,    Dead,   AGAIN),
        (2002, "Can't connect to server",                           ConnectionLost,    Dead,   AGAIN),
        (2003, "Can't connect to MySQL server on 'db1'",            ConnectionLost,    Dead,   AGAIN),
        (2006, "MySQL server has gone away",                        ConnectionLost,    Dead,   AGAIN),
        (2012, "Error in server handshake",                         ConnectionLost,    Dead,   AGAIN),
        (2013, "Lost connection to server during query",            ConnectionLost,    Dead,   AGAIN),
        (2055, "Lost connection to server at 'handshake'",          ConnectionLost,    Dead,   AGAIN),
        (4031, "The client was disconnected by the server because of inactivity. See wait_timeout and interactive_timeout.",
                                                                    ConnectionLost,    Dead,   AGAIN),
        (4031, "Referenced trigger 't' for the given action time and event type does not exist",
                                                                    Other,             Intact, NEVER),
        (4081, "Connection closed. Global connection memory limit 9 bytes exceeded. Consumed 10 bytes.",
                                                                    ConnectionLost,    Dead,   AGAIN),
        (4082, "Connection closed. Connection memory limit 9 bytes exceeded. Consumed 10 bytes.",
                                                                    ConnectionLost,    Dead,   NEVER),
        (4082, "Row variable 'r' does not have a field 'f'",        Other,             Intact, NEVER),
        (1153, "Got a packet bigger than 'max_allowed_packet' bytes",
                                                                    Other,             Dead,   NEVER),
        // The server cannot, here or now.
        (1047, WSREP,                                               Unavailable,       Dead,   AGAIN),
        (1047, "Unknown command",                                   Other,             Intact, NEVER),
        (3100, HOOK,                                                Unavailable,       Dead,   AGAIN),
        (3032, "The server is currently in offline mode",           Unavailable,       Dead,   AGAIN),
        (6400, "The server is currently in offline mode since 10:00, reason: x",
                                                                    Unavailable,       Dead,   AGAIN),
        (6401, "The server is currently in offline mode since 10:00, set by user u",
                                                                    Unavailable,       Dead,   AGAIN),
        (1040, "Too many connections",                              Unavailable,       Dead,   AGAIN),
        (1203, "User app already has more than 'max_user_connections' active connections",
                                                                    Unavailable,       Dead,   AGAIN),
        (1226, PER_HOUR,                                            Unavailable,       Dead,   NEVER),
        (1226, AT_ONCE,                                             Unavailable,       Dead,   AGAIN),
        // Read-only servers, and what only looks like one.
        (1290, READ_ONLY,                                           ReadOnlyServer,    Dead,   AGAIN),
        (1290, SUPER_READ_ONLY,                                     ReadOnlyServer,    Dead,   AGAIN),
        (1290, FILE_PRIV,                                           Other,             Intact, NEVER),
        (1836, "Running in read-only mode",                         ReadOnlyServer,    Dead,   AGAIN),
        (1874, "InnoDB is in read only mode.",                      ReadOnlyServer,    Dead,   AGAIN),
        (1015, "Can't lock file (errno: 165 - Table is read only)", ReadOnlyServer,    Dead,   AGAIN),
        (1015, "Can't lock file (errno: 11 - Resource temporarily unavailable)",
                                                                    Other,             Intact, NEVER),
        (1005, r#"Can't create table `d`.`t` (errno: 165 "Table is read only")"#,
                                                                    ReadOnlyServer,    Dead,   AGAIN),
        (1005, r#"Can't create table `d`.`t` (errno: 150 "Foreign key constraint is incorrectly formed")"#,
                                                                    Other,             Intact, NEVER),
        (1036, "Table 't' is read only",                            Other,             Intact, NEVER),
        (1792, "Cannot execute statement in a READ ONLY transaction.",
                                                                    Other,             Intact, NEVER),
        (3989, "Schema 'd' is in read only mode.",                  Other,             Intact, NEVER),
        (3098, "The table does not comply with the requirements by an external plugin.",
                                                                    Other,             Intact, NEVER),
        // Constraints and data.
        (1062, "Duplicate entry 'a' for key 'PRIMARY'",             UniqueViolation,   Intact, NEVER),
        (1586, "Duplicate entry 'a' for key 'k'",                   UniqueViolation,   Intact, NEVER),
        (1569, "ALTER TABLE causes auto_increment resequencing, resulting in duplicate entry '1' for key 'k'",
                                                                    UniqueViolation,   Intact, NEVER),
        (1022, "Can't write; duplicate key in table 't'",           UniqueViolation,   Intact, NEVER),
        (1169, "Can't write, because of unique constraint, to table 't'",
                                                                    UniqueViolation,   Intact, NEVER),
        (1557, "Upholding foreign key constraints for table 't', entry 'a', key 1 would lead to a duplicate entry",
                                                                    UniqueViolation,   Intact, NEVER),
        (1761, "Foreign key constraint for table 't', record 'a' would lead to a duplicate entry in table 'c', key 'k'",
                                                                    UniqueViolation,   Intact, NEVER),
        (1762, "Foreign key constraint for table 't', record 'a' would lead to a duplicate entry in a child table",
                                                                    UniqueViolation,   Intact, NEVER),
        (1859, "Duplicate entry for key 'k'",                       UniqueViolation,   Intact, NEVER),
        (1452, "Cannot add or update a child row: a foreign key constraint fails",
                                                              ForeignKeyParentMissing, Intact, NEVER),
        (1216, "Cannot add or update a child row: a foreign key constraint fails",
                                                              ForeignKeyParentMissing, Intact, NEVER),
        (1451, "Cannot delete or update a parent row: a foreign key constraint fails",
                                                              ForeignKeyChildExists,       Intact, NEVER),
        (1217, "Cannot delete or update a parent row: a foreign key constraint fails",
                                                              ForeignKeyChildExists,       Intact, NEVER),
        (3730, "Cannot drop table 'p' referenced by a foreign key constraint 'fk' on table 'c'.",
                                                              ForeignKeyChildExists,       Intact, NEVER),
        (1048, "Column 'c' cannot be null",                         NotNullViolation,  Intact, NEVER),
        (1263, "Column set to default value; NULL supplied to NOT NULL column 'c' at row 1",
                                                                    NotNullViolation,  Intact, NEVER),
        (1364, "Field 'c' doesn't have a default value",            NotNullViolation,  Intact, NEVER),
        (3819, "Check constraint 'chk' is violated.",               CheckViolation,    Intact, NEVER),
        (4025, "CONSTRAINT `chk` failed for `d`.`t`",               CheckViolation,    Intact, NEVER),
        (4025, "AUTOEXTEND_SIZE value should be between 4M and 4096M",
                                                                    Other,             Intact, NEVER),
        (3140, "Invalid JSON text: \"Invalid value.\" at position 0 in value for column 't.j'.",
                                                                    CheckViolation,    Intact, NEVER),
        (1369, "CHECK OPTION failed `d`.`v`",                       CheckViolation,    Intact, NEVER),
        (1406, "Data too long for column 'c' at row 1",             DataTooLong,       Intact, NEVER),
        (1264, "Out of range value for column 'c' at row 1",        Other,             Intact, NEVER),
        (1265, "Data truncated for column 'c' at row 1",            Other,             Intact, NEVER),
        (1292, "Truncated incorrect DOUBLE value: 'x'",             Other,             Intact, NEVER),
        (1365, "Division by 0",                                     Other,             Intact, NEVER),
        (1366, "Incorrect integer value: 'x' for column 'c' at row 1",
                                                                    Other,             Intact, NEVER),
        (1690, "BIGINT UNSIGNED value is out of range in '(1 - 2)'", Other,            Intact, NEVER),
        (1644, "anything a trigger wants to say",                   Other,             Intact, NEVER),
        (1114, "The table 't' is full",                             Other,             Intact, NEVER),
        // The program and the schema.
        (1064, "You have an error in your SQL syntax",              Syntax,            Intact, NEVER),
        (1149, "You have an error in your SQL syntax",              Syntax,            Intact, NEVER),
        (1054, "Unknown column 'c' in 'field list'",                UnknownColumn,     Intact, NEVER),
        (1146, "Table 'd.t' doesn't exist",                         UnknownTable,      Intact, NEVER),
        (1051, "Unknown table 'd.t'",                               UnknownTable,      Intact, NEVER),
        (1109, "Unknown table 't' in MULTI DELETE",                 UnknownTable,      Intact, NEVER),
        (1049, "Unknown database 'd'",                              UnknownDatabase,   Intact, NEVER),
        (1050, "Table 't' already exists",                          Other,             Intact, NEVER),
        (1052, "Column 'c' in field list is ambiguous",             Other,             Intact, NEVER),
        (1091, "Can't DROP COLUMN `c`; check that it exists",       Other,             Intact, NEVER),
        (1136, "Column count doesn't match value count at row 1",   Other,             Intact, NEVER),
        (1242, "Subquery returns more than 1 row",                  Other,             Intact, NEVER),
        (1243, "Unknown prepared statement handler (7) given to mysqld_stmt_execute",
                                                                    Other,             Intact, NEVER),
        (1615, "Prepared statement needs to be re-prepared",        Other,             Intact, AGAIN),
        (1305, "SAVEPOINT s does not exist",                        Other,             Intact, NEVER),
        (1461, "Can't create more than max_prepared_stmt_count statements",
                                                                    Other,             Intact, NEVER),
        (1044, "Access denied for user 'u'@'%' to database 'd'",    AccessDenied,      Intact, NEVER),
        (1045, "Access denied for user 'u'@'%' (using password: YES)",
                                                                    AccessDenied,      Intact, NEVER),
        (1142, "SELECT command denied to user 'u'@'%' for table `d`.`t`",
                                                                    AccessDenied,      Intact, NEVER),
        (1143, "SELECT command denied to user 'u'@'%' for column 'c' in table 't'",
                                                                    AccessDenied,      Intact, NEVER),
        (1227, "Access denied; you need (at least one of) the SUPER privilege(s) for this operation",
                                                                    AccessDenied,      Intact, NEVER),
        (1370, "execute command denied to user 'u'@'%' for routine 'd.p'",
                                                                    AccessDenied,      Intact, NEVER),
        (1820, "You must SET PASSWORD before executing this statement",
                                                                    AccessDenied,      Intact, NEVER),
        (3879, "Access denied for AuthId `u`@`%` to database 'd'.", AccessDenied,      Intact, NEVER),
        (6038, "Access denied; you need SUPER privilege(s) for this operation",
                                                                    AccessDenied,      Intact, NEVER),
        // XA is the program's own affair, but a branch rolled back is gone.
        (1397, "XAER_NOTA: Unknown XID",                            Other,             Intact, NEVER),
        (1399, "XAER_RMFAIL: The command cannot be executed when global transaction is in the  ACTIVE state",
                                                                    Other,             Intact, NEVER),
        (1400, "XAER_OUTSIDE: Some work is done outside global transaction",
                                                                    Other,             Intact, NEVER),
        (1402, "XA_RBROLLBACK: Transaction branch was rolled back", Other,             Aborted, NEVER),
        (1613, "XA_RBTIMEOUT: Transaction branch was rolled back: took too long",
                                                                    Other,             Aborted, NEVER),
        (1614, "XA_RBDEADLOCK: Transaction branch was rolled back: deadlock was detected",
                                                                    Other,             Aborted, NEVER),
        (1622, "Storage engine x does not support rollback for this statement. Transaction rolled back and must be restarted",
                                                                    Other,             Aborted, NEVER),
        // The catch-all, and Vitess.
        (1105, WRITESET,                                            Other,             Aborted, NEVER),
        (1105, "Unknown error",                                     Other,             Aborted, NEVER),
        (1105, "something of TiKV [try again later]",               Deadlock,          Aborted, AGAIN),
        (1105, VITESS_1062,                                         UniqueViolation,   Intact, NEVER),
        (1105, VITESS_1205,                                         LockWaitTimeout,   Aborted, AGAIN),
        (1105, VITESS_LOST,                                         ConnectionLost,    Dead,   AGAIN),
        (1105, VITESS_AGED,                                         StatementTimeout,  Aborted, NEVER),
        (1105, VITESS_GONE,                                         Unavailable,       Aborted, AGAIN),
        (1105, VITESS_AWAY,                                         Unavailable,       Dead,   AGAIN),
        (1105, VITESS_INTERNAL,                                     Other,             Aborted, NEVER),
        (1317, VITESS_AGED,                                         StatementTimeout,  Aborted, NEVER),
        (1317, VITESS_DEADLINE,                                     StatementTimeout,  Aborted, NEVER),
        (1317, VITESS_CANCELED,                                     Interrupted,       Aborted, NEVER),
        (1203, VITESS_POOL,                                         Unavailable,       Aborted, AGAIN),
        (1041, VITESS_POOL,                                         Unavailable,       Aborted, AGAIN),
        (1153, VITESS_ROWS,                                         Unavailable,       Aborted, NEVER),
        (1235, "vttablet: rpc error: code = Unimplemented desc = no",
                                                                    Other,             Aborted, NEVER),
        (1235, "This version of MariaDB doesn't yet support 'x'",   Other,             Intact, NEVER),
        (1815, VITESS_INTERNAL,                                     Other,             Aborted, NEVER),
        (1815, "Internal error: x",                                 Other,             Aborted, NEVER),
        // TiDB, and ProxySQL's use of the same numbers.
        (8002, "can not retry select for update statement",         Deadlock,          Aborted, AGAIN),
        (8005, "Write Conflict, txnStartTS is stale",               Deadlock,          Aborted, AGAIN),
        (8022, "Error: KV error safe to retry",                     Deadlock,          Aborted, AGAIN),
        (8028, "Information schema is changed",                     Deadlock,          Aborted, AGAIN),
        (9007, "Write conflict, txnStartTS=1",                      Deadlock,          Aborted, AGAIN),
        (8147, "LazyUniquenessCheckFailure: [kv:1062]Duplicate entry",
                                                                    Other,             Aborted, NEVER),
        (8229, "TTL manager has timed out",                         Other,             Aborted, NEVER),
        (8004, "Transaction is too large",                          Other,             Aborted, NEVER),
        (8025, "entry too large",                                   Other,             Aborted, NEVER),
        (9500, "entry too large",                                   Other,             Aborted, NEVER),
        (8130, "client has multi-statement capability disabled",    Other,             Intact, NEVER),
        (9001, "PD server timeout",                                 Unavailable,       Aborted, AGAIN),
        (9001, PROXYSQL_9001,                                       Unavailable,       Dead,   AGAIN),
        (9002, "TiKV server timeout",                               Unavailable,       Aborted, AGAIN),
        (9003, "TiKV server is busy",                               Unavailable,       Aborted, AGAIN),
        (9004, "Resolve lock timeout",                              Unavailable,       Aborted, AGAIN),
        (9005, "Region is unavailable",                             Unavailable,       Aborted, AGAIN),
        (9006, "GC life time is shorter than transaction duration", Other,             Aborted, NEVER),
        (9006, "ProxySQL Error: connection is locked to hostgroup 1 but trying to reach hostgroup 2",
                                                                    Other,             Aborted, NEVER),
        (9005, "ProxySQL Error: a code TiDB has too",               Other,             Aborted, NEVER),
        // Not known here.
        (5999, "a code of a later server",                          Other,             Intact, NEVER),
        (8500, "a code of another server",                          Other,             Aborted, NEVER),
    ];
    for &(code, message, kind, after, transient) in table {
        let expected = Verdict { kind, after, transient, refused: matches!(code, 1064 | 1149 | 1243 | 1615 | 8130) };
        assert_eq!(super::statement(&server(code, message)), expected, "{code}: {message}");
    }
}

#[test]
fn an_error_at_commit_means_not_committed_only_where_that_is_known() {
    #[rustfmt::skip]
    let definite: &[(u16, &str, ErrorKind, After, bool)] = &[
        (1213, DEADLOCK,                                            Deadlock,          Aborted, AGAIN),
        (1205, LOCK_WAIT,                                           LockWaitTimeout,   Aborted, AGAIN),
        (1290, READ_ONLY,                                           ReadOnlyServer,    Dead,   AGAIN),
        (1290, SUPER_READ_ONLY,                                     ReadOnlyServer,    Dead,   AGAIN),
        (1290, FILE_PRIV,                                           Other,             Aborted, NEVER),
        (1317, "Query execution was interrupted",                   Interrupted,       Aborted, NEVER),
        (1969, "Query execution was interrupted (max_statement_time exceeded)",
                                                                    StatementTimeout,  Aborted, NEVER),
        (3101, "Plugin instructed the server to rollback the current transaction.",
                                                                    Deadlock,          Aborted, AGAIN),
        (3100, HOOK,                                                Unavailable,       Dead,   AGAIN),
        (1105, WRITESET,                                            Other,             Aborted, NEVER),
        (1180, GR_CONFLICT,                                         Deadlock,          Aborted, AGAIN),
        (1047, WSREP,                                               Unavailable,       Dead,   AGAIN),
        (1226, PER_HOUR,                                            Unavailable,       Dead,   NEVER),
        (8002, "can not retry select for update statement",         Deadlock,          Aborted, AGAIN),
        (8004, "Transaction is too large",                          Other,             Aborted, NEVER),
        (8005, "Write Conflict, txnStartTS is stale",               Deadlock,          Aborted, AGAIN),
        (8022, "Error: KV error safe to retry",                     Deadlock,          Aborted, AGAIN),
        (8025, "entry too large",                                   Other,             Aborted, NEVER),
        (8028, "Information schema is changed",                     Deadlock,          Aborted, AGAIN),
        (9007, "Write conflict, txnStartTS=1",                      Deadlock,          Aborted, AGAIN),
        (9500, "entry too large",                                   Other,             Aborted, NEVER),
    ];
    for &(code, message, kind, after, transient) in definite {
        let verdict = Verdict { kind, after, transient, refused: false };
        let expected = if matches!(code, 3100 | 3101) { CommitVerdict::Certified(verdict) } else { CommitVerdict::NotCommitted(verdict) };
        assert_eq!(super::commit(&server(code, message), true), expected, "{code}: {message}");
    }

    let unknown: &[(u16, &str)] = &[
        (1180, GALERA_LOST),
        (1180, FRAGMENT),
        (1180, MAX_ROWS),
        (1180, r#"Got error 149 "Lock deadlock; Retry transaction" during COMMIT"#),
        (1053, "Server shutdown in progress"),
        (1927, "Connection was killed"),
        (2013, "Lost connection to server during query"),
        (4031, "The client was disconnected by the server because of inactivity."),
        (1836, "Running in read-only mode"),
        (1047, "Unknown command"),
        (1105, "Unknown error"),
        (1105, "something of TiKV [try again later]"),
        (1105, VITESS_1205),
        (1213, VITESS_DEADLOCK),
        (1317, VITESS_DEADLINE),
        (1030, "Got error 1 from storage engine"),
        (1197, "Multi-statement transaction required more than 'max_binlog_cache_size' bytes of storage"),
        (1305, "SAVEPOINT s does not exist"),
        (1644, "anything a trigger wants to say"),
        (8147, "LazyUniquenessCheckFailure: [kv:1062]Duplicate entry"),
        (8229, "TTL manager has timed out"),
        (9001, "PD server timeout"),
        (9001, PROXYSQL_9001),
        (9002, "TiKV server timeout"),
        (9003, "TiKV server is busy"),
        (9004, "Resolve lock timeout"),
        (9005, "Region is unavailable"),
        (8500, "a code of another server"),
    ];
    for &(code, message) in unknown {
        assert_eq!(super::commit(&server(code, message), true), CommitVerdict::Unknown, "{code}: {message}");
    }
}

#[test]
fn a_refused_connection_says_whether_to_try_again() {
    #[rustfmt::skip]
    let table: &[(u16, &str, ErrorKind, bool)] = &[
        (1040, "Too many connections",                              Unavailable,       AGAIN),
        (1203, "User app already has more than 'max_user_connections' active connections",
                                                                    Unavailable,       AGAIN),
        (1226, AT_ONCE,                                             Unavailable,       AGAIN),
        (1226, "User 'app' has exceeded the 'max_connections_per_hour' resource (current value: 9)",
                                                                    Unavailable,       NEVER),
        (1037, "Out of memory; restart server and try again",       Unavailable,       AGAIN),
        (1038, "Out of sort memory",                                Unavailable,       AGAIN),
        (1041, "Out of memory.",                                    Unavailable,       AGAIN),
        (1135, "Can't create a new thread (errno 11)",              Unavailable,       AGAIN),
        (1053, "Server shutdown in progress",                       Unavailable,       AGAIN),
        (3032, "The server is currently in offline mode",           Unavailable,       AGAIN),
        (6400, "The server is currently in offline mode since 10:00, reason: x",
                                                                    Unavailable,       AGAIN),
        (6401, "The server is currently in offline mode since 10:00, set by user u",
                                                                    Unavailable,       AGAIN),
        (6141, "Group Replication connection handoff is busy; retry the connection.",
                                                                    Unavailable,       AGAIN),
        (1047, WSREP,                                               Unavailable,       AGAIN),
        (9001, PROXYSQL_9001,                                       Unavailable,       AGAIN),
        (1105, VITESS_AWAY,                                         Unavailable,       AGAIN),
        (1042, "Can't get hostname for your address",               ConnectFailed,     AGAIN),
        (1152, "Aborted connection 4 to db: 'd' user: 'u' (x)",     ConnectFailed,     AGAIN),
        (1158, "Got an error reading communication packets",        ConnectFailed,     AGAIN),
        (1159, "Got timeout reading communication packets",         ConnectFailed,     AGAIN),
        (1927, "Connection was killed",                             ConnectFailed,     AGAIN),
        (2003, "Can't connect to MySQL server on 'db1'",            ConnectFailed,     AGAIN),
        (1043, "Bad handshake",                                     ConnectFailed,     NEVER),
        (1044, "Access denied for user 'u'@'%' to database 'd'",    AccessDenied,      NEVER),
        (1045, "Access denied for user 'u'@'%' (using password: YES)",
                                                                    AccessDenied,      NEVER),
        (1129, "Host 'h' is blocked because of many connection errors",
                                                                    AccessDenied,      NEVER),
        (1130, "Host 'h' is not allowed to connect to this MariaDB server",
                                                                    AccessDenied,      NEVER),
        (1251, "Client does not support authentication protocol requested by server",
                                                                    AccessDenied,      NEVER),
        (1275, "Server is running in --secure-auth mode",           AccessDenied,      NEVER),
        (1698, "Access denied for user 'u'@'%'",                    AccessDenied,      NEVER),
        (1820, "You must SET PASSWORD before executing this statement",
                                                                    AccessDenied,      NEVER),
        (1862, "Your password has expired.",                        AccessDenied,      NEVER),
        (3118, "Access denied for user 'u'@'%'. Account is locked.", AccessDenied,     NEVER),
        (3159, "Connections using insecure transport are prohibited while --require_secure_transport=ON.",
                                                                    AccessDenied,      NEVER),
        (3955, "Access denied for user 'u'@'%'. Account is blocked for 1 day(s)",
                                                                    AccessDenied,      NEVER),
        (4151, "Access denied, this account is locked",             AccessDenied,      NEVER),
        (6126, "Access denied for user 'u'@'%', missing proxy privilege.",
                                                                    AccessDenied,      NEVER),
        (6127, "Access denied for user 'u'@'%', proxied user doesn't exist.",
                                                                    AccessDenied,      NEVER),
        (1049, "Unknown database 'd'",                              UnknownDatabase,   NEVER),
        (1193, "Unknown system variable 'x'",                       Other,             NEVER),
    ];
    for &(code, message, kind, transient) in table {
        let expected = ConnectVerdict { kind, transient };
        assert_eq!(super::connect(&server(code, message)), expected, "{code}: {message}");
    }
}

/// The driver's packet errors cannot be named, so a server that talks nonsense has to make one.
fn conn_error<const N: usize>(greeting: [u8; N]) -> Error {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its number").port();
    let server = std::thread::spawn(move || listener.accept()?.0.write_all(&greeting));
    let opts = OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(port).prefer_socket(false);
    let error = Conn::new(opts).expect_err("no server greets like this");
    server.join().expect("no panic").expect("the client came");
    error
}

#[test]
fn a_broken_connection_is_never_used_again() {
    use io::ErrorKind::*;

    let broken = [
        ("FIN", Error::server_disconnected()),
        ("IoError", Error::IoError(io_error(ConnectionReset))),
        ("RST", Error::CodecError(io_error(ConnectionReset).into())),
        ("EPIPE", Error::CodecError(io_error(BrokenPipe).into())),
        ("read_timeout", Error::CodecError(io_error(WouldBlock).into())),
        ("keepalive", Error::CodecError(io_error(TimedOut).into())),
        ("cut in a packet", Error::CodecError(io::Error::other("bytes remaining on stream").into())),
        ("out of sync", conn_error([1, 0, 0, 7, 0xff])),
        ("PacketOutOfSync", DriverError::PacketOutOfSync.into()),
        ("UnexpectedPacket", DriverError::UnexpectedPacket.into()),
        ("SetupError", DriverError::SetupError.into()),
        ("ConnectTimeout", DriverError::ConnectTimeout.into()),
    ];
    for (name, error) in broken {
        let expected = Verdict { kind: ConnectionLost, after: Dead, transient: true, refused: false };
        assert_eq!(super::statement(&error), expected, "{name}: {error}");
        assert_eq!(super::commit(&error, false), CommitVerdict::Unknown, "{name}: {error}");
    }
}

#[test]
fn a_packet_out_of_turn_that_had_come_before_commit_was_sent_is_a_certain_no() {
    let verdict = Verdict { kind: ConnectionLost, after: Dead, transient: true, refused: false };
    let out_of_sync = conn_error([1, 0, 0, 7, 0xff]);
    assert_eq!(super::commit(&out_of_sync, true), CommitVerdict::NotCommitted(verdict));
    assert_eq!(super::commit(&out_of_sync, false), CommitVerdict::Unknown, "it may be a reply to COMMIT with a wrong number");
    let unknown = [Error::server_disconnected(), Error::CodecError(io_error(io::ErrorKind::WouldBlock).into())];
    for error in unknown {
        assert_eq!(super::commit(&error, true), CommitVerdict::Unknown, "{error}");
    }
}

#[test]
fn the_handler_for_local_infile_is_told_from_the_connection() {
    let handlers = [io_error(io::ErrorKind::NotFound), io_error(io::ErrorKind::BrokenPipe), io::Error::from_raw_os_error(13)];
    for error in handlers {
        assert!(super::is_of_infile_handler(&Error::IoError(error)));
    }
    let written_to = io::Error::other(Error::CodecError(io_error(io::ErrorKind::ConnectionReset).into()));
    let own = Error::from(crate::Error::new(Deadlock, ""));
    let connections = [
        Error::server_disconnected(),
        Error::IoError(written_to),
        own,
        Error::CodecError(io_error(io::ErrorKind::NotFound).into()),
        server(1148, "The used command is not allowed"),
    ];
    for error in connections {
        assert!(!super::is_of_infile_handler(&error), "{error}");
    }
}

#[test]
fn a_packet_over_the_clients_limit_is_as_large_the_next_time() {
    let header_of_16_mb = [0xff, 0xff, 0xff, 0];
    for error in [conn_error(header_of_16_mb), DriverError::PacketTooLarge.into()] {
        let expected = Verdict { kind: Driver, after: Dead, transient: false, refused: false };
        assert_eq!(super::statement(&error), expected, "{error}");
        assert_eq!(super::commit(&error, true), CommitVerdict::Unknown, "{error}");
    }
    let expected = ConnectVerdict { kind: ConnectFailed, transient: false };
    assert_eq!(super::connect(&conn_error(header_of_16_mb)), expected);
}

#[test]
fn what_the_driver_refuses_leaves_the_transaction_alone() {
    let refused = [
        ("MismatchedStmtParams", DriverError::MismatchedStmtParams(1, 2).into(), Driver),
        ("MixedParams", DriverError::MixedParams.into(), Driver),
        ("ReadOnlyTransNotSupported", DriverError::ReadOnlyTransNotSupported.into(), Driver),
        ("FromValue", Error::FromValueError(mysql::Value::NULL), Driver),
        ("Url", Error::UrlError(mysql::UrlError::BadUrl), Config),
    ];
    for (name, error, kind) in refused {
        let expected = Verdict { kind, after: Intact, transient: false, refused: name != "FromValue" };
        assert_eq!(super::statement(&error), expected, "{name}");
    }
}

#[test]
fn an_attempt_to_connect_is_repeated_while_the_server_may_come_back() {
    let could_not = |kind| DriverError::CouldNotConnect(Some(("db1:3306".into(), "as the system words it".into(), kind))).into();
    let auth_plugin = |name: &str| DriverError::UnknownAuthPlugin(name.into()).into();

    #[rustfmt::skip]
    let table: Vec<(&str, Error, ErrorKind, bool)> = vec![
        ("refused",               could_not(io::ErrorKind::ConnectionRefused),   ConnectFailed, AGAIN),
        ("no socket file",        could_not(io::ErrorKind::NotFound),            ConnectFailed, AGAIN),
        ("link down",             could_not(io::ErrorKind::NetworkUnreachable),  ConnectFailed, AGAIN),
        ("ports used up",         could_not(io::ErrorKind::AddrInUse),           ConnectFailed, AGAIN),
        ("no DNS",                could_not(io::ErrorKind::Other),               ConnectFailed, AGAIN),
        ("not our socket file",   could_not(io::ErrorKind::PermissionDenied),    ConnectFailed, NEVER),
        ("bad address",           could_not(io::ErrorKind::InvalidInput),        ConnectFailed, NEVER),
        ("no address",            DriverError::CouldNotConnect(None).into(),     Config,        NEVER),
        ("black hole",            DriverError::ConnectTimeout.into(),            ConnectFailed, AGAIN),
        ("FIN in handshake",      Error::server_disconnected(),                  ConnectFailed, AGAIN),
        ("RST in handshake",      Error::CodecError(io_error(io::ErrorKind::ConnectionReset).into()), ConnectFailed, AGAIN),
        ("bad certificate",       Error::CodecError(io_error(io::ErrorKind::InvalidData).into()),     ConnectFailed, NEVER),
        ("not a reply",           Error::IoError(io_error(io::ErrorKind::InvalidData)),               ConnectFailed, NEVER),
        ("no file of CAs",        Error::IoError(io_error(io::ErrorKind::NotFound)),                  ConnectFailed, NEVER),
        ("CAs for others' eyes",  Error::IoError(io_error(io::ErrorKind::PermissionDenied)),          ConnectFailed, NEVER),
        ("silent in handshake",   Error::CodecError(io_error(io::ErrorKind::WouldBlock).into()),      ConnectFailed, AGAIN),
        ("out of sync",           conn_error([1, 0, 0, 7, 0xff]),                      ConnectFailed, AGAIN),
        ("PacketOutOfSync",       DriverError::PacketOutOfSync.into(),           ConnectFailed, AGAIN),
        ("decoy plugin",          auth_plugin("sha256_password"),                AccessDenied,  NEVER),
        ("foreign plugin",        auth_plugin("client_ed25519"),                 Driver,        NEVER),
        ("cleartext unknown",     auth_plugin("mysql_clear_password"),           Config,        NEVER),
        ("cleartext disabled",    DriverError::CleartextPluginDisabled.into(),   Config,        NEVER),
        ("old password disabled", DriverError::OldMysqlPasswordDisabled.into(),  Config,        NEVER),
        ("server without TLS",    DriverError::TlsNotSupported.into(),           ConnectFailed, NEVER),
        ("protocol 9",            DriverError::UnsupportedProtocol(9).into(),    ConnectFailed, NEVER),
        ("no server of ours",     DriverError::UnexpectedPacket.into(),          ConnectFailed, NEVER),
        ("bad URL",               Error::UrlError(mysql::UrlError::BadUrl),      Config,        NEVER),
        ("not a number",          Error::FromValueError(mysql::Value::NULL),     Driver,        NEVER),
    ];
    for (name, error, kind, transient) in table {
        assert_eq!(super::connect(&error), ConnectVerdict { kind, transient }, "{name}");
    }
}

#[test]
fn http_statuses_are_those_a_web_service_gives() {
    #[rustfmt::skip]
    let table = [
        (UnknownColumn, 400), (AccessDenied, 401), (ForeignKeyParentMissing, 404),
        (UniqueViolation, 409), (ForeignKeyChildExists, 409), (Deadlock, 409), (LockWaitTimeout, 409),
        (ConnectionLost, 503), (ConnectFailed, 503), (Unavailable, 503), (ReadOnlyServer, 503), (PoolTimeout, 503),
        (DeadlineExceeded, 504),
        (CommitUnknown, 500), (UnknownTable, 500), (LockTimeout, 500), (IdempotencyKeyReused, 500), (Interrupted, 500), (Other, 500),
    ];
    for (kind, status) in table {
        assert_eq!(kind.http_status(), status, "{kind:?}");
    }
}

proptest! {
    #[test]
    fn no_code_and_no_text_can_panic(code: u16, message: String) {
        let error = server(code, &message);
        super::statement(&error);
        super::connect(&error);
        if let CommitVerdict::NotCommitted(verdict) = super::commit(&error, true) {
            prop_assert!(verdict.after >= Aborted);
        }
    }

    #[test]
    fn no_vitess_text_can_panic(errno in "\\PC{0,8}", code in "\\PC{0,8}") {
        for packet_code in [1041, 1105, 1153, 1203, 1235, 1317, 1815] {
            super::statement(&server(packet_code, &format!("(errno {errno}) code = {code}")));
        }
    }
}
