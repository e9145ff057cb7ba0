//! Classification of errors: what one says about the transaction that met it, and whether another attempt may succeed.
//!
//! Decided by code, never by SQLSTATE: `SIGNAL SQLSTATE '40001'` arrives as 1644 with the transaction open, while 1020
//! and 1205 are `HY000`. The text is read only where a code has several meanings, and then for words the
//! server does not translate (`lc_messages`).
//!
//! The same error means different things at different moments, so there is one function per phase: [`connect`],
//! [`statement`] (anything before `COMMIT` was sent) and [`commit`] (the reply to the request of `COMMIT`).

use std::error::Error as _;
use std::io;

use mysql::{DriverError, Error};

#[cfg(test)]
mod tests;

use crate::error::kind::ErrorKind;

/// What an error before `COMMIT` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub kind: ErrorKind,
    pub after: After,
    /// Another attempt of the whole transaction may well succeed. False where it would meet the same again.
    pub transient: bool,
    /// Nothing of the statement was executed, so one that commits implicitly did not commit. This holds for a single statement:
    /// of several in one text the first may have been executed, and a procedure may have met the error inside.
    pub refused: bool,
}

/// What is left of the transaction, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum After {
    /// The statement was refused or undone. The transaction is as it was before it.
    Intact,
    /// The transaction must not go on: the server rolled it back, or may have, or its snapshot is of no use.
    /// The session lives; send `ROLLBACK`, since the transaction may just as well still be open and hold its
    /// locks (MariaDB's 1213 out of `GET_LOCK`, 1205).
    Aborted,
    /// Nothing may be sent on this connection any more. It is closed, out of step, or leads to the wrong server.
    Dead,
}

/// What an error in reply to the request of `COMMIT` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitVerdict {
    /// Nothing was committed. `after` is [`After::Aborted`] or [`After::Dead`]; some servers leave the
    /// transaction open (1317), so the `ROLLBACK` is not a formality.
    NotCommitted(Verdict),
    /// By the word of a member of a group nothing was committed here, and none such was ever seen committed. But it had sent the
    /// transaction to the others before: where a ledger is at hand it is asked, as after a lost reply. Without one, as
    /// [`NotCommitted`](Self::NotCommitted).
    Certified(Verdict),
    /// Committed or not: the reply does not tell. Send nothing more on this connection.
    Unknown,
}

/// Why a connection was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectVerdict {
    pub kind: ErrorKind,
    /// The next attempt may well succeed.
    pub transient: bool,
}

impl Verdict {
    const fn intact(kind: ErrorKind) -> Self {
        Self { kind, after: After::Intact, transient: false, refused: false }
    }

    const fn refused(kind: ErrorKind) -> Self {
        Self { refused: true, ..Self::intact(kind) }
    }

    const fn aborted(kind: ErrorKind, transient: bool) -> Self {
        Self { kind, after: After::Aborted, transient, refused: false }
    }

    const fn dead(kind: ErrorKind, transient: bool) -> Self {
        Self { kind, after: After::Dead, transient, refused: false }
    }
}

impl ConnectVerdict {
    const fn later(kind: ErrorKind) -> Self {
        Self { kind, transient: true }
    }

    const fn never(kind: ErrorKind) -> Self {
        Self { kind, transient: false }
    }
}

/// Judges an error met by a statement, before `COMMIT` was sent.
///
/// A statement that commits implicitly is a `COMMIT` in disguise: [`After::Intact`] and `transient` speak of the
/// statement, not of the work it may have committed before it failed.
pub(crate) fn statement(error: &Error) -> Verdict {
    match error {
        Error::MySqlError(e) => server_code(e.code, &e.message),
        Error::DriverError(e) => driver(e),
        Error::UrlError(_) => Verdict::refused(ErrorKind::Config),
        Error::FromValueError(_) | Error::FromRowError(_) => Verdict::intact(ErrorKind::Driver),
        // Sending too much leaves the connection as it was, receiving too much leaves it useless, and the error
        // is the same for both.
        _ if is_packet_too_large(error) => Verdict::dead(ErrorKind::Driver, false),
        // After any of these the driver may read the previous statement's reply as the next one's, and does not
        // say so. What is left here is IoError, CodecError, and TlsError, which no arm can name: it exists only
        // where some crate of the build has turned on a TLS feature of `mysql`.
        _ => Verdict::dead(ErrorKind::ConnectionLost, true),
    }
}

/// Judges an error in reply to the request of `COMMIT`: it counts as "not committed" only where that was seen or is documented.
///
/// `unasked`: something had arrived before the request was sent, while no reply was outstanding, and no reply to the request was read.
pub(crate) fn commit(error: &Error, unasked: bool) -> CommitVerdict {
    match error {
        Error::MySqlError(e) if commit_is_definite(e.code, &e.message) => {
            let verdict = server_code(e.code, &e.message);
            let verdict = Verdict { after: verdict.after.max(After::Aborted), ..verdict };
            if matches!(e.code, 3100 | 3101) { CommitVerdict::Certified(verdict) } else { CommitVerdict::NotCommitted(verdict) }
        }
        // MySQL ends an idle session by an error packet (4031) that is numbered as if it began a conversation. It was written
        // before the server read this request, which it does not read any more. Without `unasked` it may just as well be a
        // reply to COMMIT with a wrong number.
        _ if unasked && is_out_of_sync(error) => CommitVerdict::NotCommitted(Verdict::dead(ErrorKind::ConnectionLost, true)),
        _ => CommitVerdict::Unknown,
    }
}

/// Whether the compare-and-swap of the commit ledger was refused.
pub(crate) fn is_overflow(error: &Error) -> bool {
    matches!(error, Error::MySqlError(error) if error.code == 1690)
}

/// Whether the server refused to write because the transaction, or every transaction of the server (`transaction_read_only`), is read-only.
pub(crate) fn is_read_only_transaction(error: &Error) -> bool {
    matches!(error, Error::MySqlError(error) if error.code == 1792)
}

/// A row with the same key is there.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    matches!(error, Error::MySqlError(error) if error.code == 1062)
}

/// The kernel refused the first byte of a request that fits into one write: nothing was sent.
pub(crate) fn was_not_sent(error: &Error) -> bool {
    const EPIPE: i32 = 32;
    io_error(error).and_then(io::Error::raw_os_error) == Some(EPIPE)
}

/// Whether a reply did not come in time. The server goes on executing.
pub(crate) fn timed_out(error: &Error) -> bool {
    io_error(error).is_some_and(|io| matches!(io.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
}

/// The I/O error at the bottom of the driver's.
pub(super) fn io_error(error: &Error) -> Option<&io::Error> {
    match error {
        Error::IoError(io) => Some(io),
        Error::CodecError(codec) => codec.source().and_then(|source| source.downcast_ref()),
        _ => None,
    }
}

/// Judges an error met while connecting, the statements sent on every new connection included.
pub(crate) fn connect(error: &Error) -> ConnectVerdict {
    match error {
        Error::MySqlError(e) => connect_code(e.code, &e.message),
        Error::DriverError(e) => connect_driver(e),
        Error::UrlError(_) => ConnectVerdict::never(ErrorKind::Config),
        Error::FromValueError(_) | Error::FromRowError(_) => ConnectVerdict::never(ErrorKind::Driver),
        Error::IoError(io) => ConnectVerdict { kind: ErrorKind::ConnectFailed, transient: may_pass(io) },
        Error::CodecError(codec) => {
            let io = codec.source().and_then(|source| source.downcast_ref());
            let transient = !is_packet_too_large(error) && io.is_none_or(may_pass);
            ConnectVerdict { kind: ErrorKind::ConnectFailed, transient }
        }
        // A bad certificate stays bad; a server that died in the middle of the handshake comes back.
        #[cfg(any(feature = "native-tls", feature = "rustls"))]
        Error::TlsError(tls) => ConnectVerdict { kind: ErrorKind::ConnectFailed, transient: was_cut_short(tls) },
        // TlsError, where another crate of the build turned TLS on.
        #[allow(unreachable_patterns, reason = "with TLS of our own, or with none, nothing is left")]
        _ => ConnectVerdict::never(ErrorKind::ConnectFailed),
    }
}

fn server_code(code: u16, message: &str) -> Verdict {
    use ErrorKind::*;

    if let Some(verdict) = vitess(code, message) {
        return verdict;
    }
    match code {
        // Deadlock, Galera's brute-force abort; row changed since the snapshot (MariaDB); table rebuilt since the
        // snapshot; MySQL's GET_LOCK deadlock; group replication's certification.
        1213 | 1020 | 1412 | 3058 | 3101 => Verdict::aborted(Deadlock, true),
        // Row, metadata and table locks; MySQL's NOWAIT; a lock request given up for another's exclusive one. The
        // server undid the statement only (unless innodb_rollback_on_timeout is set), but the other locks of this
        // transaction are what the others wait for.
        1205 | 1689 | 3572 => Verdict::aborted(LockWaitTimeout, true),
        // Galera: the transaction changed more rows than `wsrep_max_ws_rows`, as the next attempt will. All of it was rolled back.
        1180 if message.contains("wsrep_max_ws_rows") => Verdict::aborted(Other, false),
        1180 if is_group_replication_conflict(message) => Verdict::aborted(Deadlock, true),
        // Galera lost its quorum. Nothing was committed, as a transaction is open.
        1180 => Verdict::dead(Unavailable, true),
        // InnoDB rolls back the whole transaction where its lock table is full (ha_innodb.cc,
        // convert_error_code_to_mysql), and the next run would fill it again.
        1206 => Verdict::aborted(Other, false),
        // These four say in so many words that the transaction (or XA branch) was rolled back.
        1402 | 1613 | 1614 | 1622 => Verdict::aborted(Other, false),
        // GR expelled this member; or the transaction is over its size limit; or KILL QUERY met a semi-sync commit.
        // The text is the same. Only the first comes without anyone having asked for it, and it heals elsewhere.
        3100 => Verdict::dead(Unavailable, true),

        1053 | 1152 | 1158..=1161 | 1184 | 1927 => Verdict::dead(ConnectionLost, true),
        // Error codes of the client library. ProxySQL, MaxScale and Vitess pass them on for a lost backend.
        2002 | 2003 | 2006 | 2012 | 2013 | 2055 => Verdict::dead(ConnectionLost, true),
        // MySQL's idle kick. MariaDB's 4031 is a trigger that does not exist, and quotes its name.
        4031 if !message.contains('\'') => Verdict::dead(ConnectionLost, true),
        // MySQL: over the memory limit of all connections, of this connection; closed. MariaDB quotes a name there.
        4081 | 4082 if !message.contains('\'') => Verdict::dead(ConnectionLost, code == 4081),
        // The server closes the connection, and the statement is as long the next time.
        1153 => Verdict::dead(Other, false),

        // Galera: this node has no quorum or is shutting down. Another node may serve. Elsewhere 1047 is a command
        // the server (or proxy) does not know.
        1047 if message.contains("WSREP") => Verdict::dead(Unavailable, true),
        // Sent by proxies in mid-session, by a server only to a new connection.
        1040 | 1203 => Verdict::dead(Unavailable, true),
        1226 => Verdict::dead(Unavailable, is_connection_limit(message)),
        // Offline mode; 64xx are MySQL 9's, which give a reason.
        3032 | 6400 | 6401 => Verdict::dead(Unavailable, true),
        // A failover left this session on a replica. A new connection resolves the name afresh. Only these options
        // say so; 1290 for --secure-file-priv and the like stays what it is.
        1290 if message.contains("read-only") || message.contains("read_only") => Verdict::dead(ReadOnlyServer, true),
        1836 | 1874 => Verdict::dead(ReadOnlyServer, true),
        // 165 is HA_ERR_TABLE_READONLY, which InnoDB gives for all of its tables at once (innodb_read_only). 1036
        // says the same of one table, in words that may be true of that table alone, and so is not here.
        1005 | 1015 if message.contains("errno: 165") => Verdict::dead(ReadOnlyServer, true),

        1969 | 3024 => Verdict::intact(StatementTimeout),
        1317 => Verdict::intact(Interrupted),

        1022 | 1062 | 1169 | 1557 | 1569 | 1586 | 1761 | 1762 | 1859 => Verdict::intact(UniqueViolation),
        1216 | 1452 => Verdict::intact(ForeignKeyParentMissing),
        1217 | 1451 | 3730 => Verdict::intact(ForeignKeyChildExists),
        1048 | 1263 | 1364 => Verdict::intact(NotNullViolation),
        // 3140 is MySQL's invalid JSON, which in MariaDB is a failed constraint of the column (4025).
        1369 | 3140 | 3819 => Verdict::intact(CheckViolation),
        // MySQL's 4025 is about AUTOEXTEND_SIZE, and quotes nothing.
        4025 if message.contains('`') => Verdict::intact(CheckViolation),
        1406 => Verdict::intact(DataTooLong),
        1054 => Verdict::intact(UnknownColumn),
        1051 | 1109 | 1146 => Verdict::intact(UnknownTable),
        1049 => Verdict::intact(UnknownDatabase),
        1064 | 1149 => Verdict::refused(Syntax),
        // A prepared statement that does not exist any more, or that the server gave up preparing again because its tables kept
        // changing. Only the latter passes.
        1243 => Verdict::refused(Other),
        1615 => Verdict { transient: true, ..Verdict::refused(Other) },
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 | 1820 | 1862 | 3118 | 3879 | 6038 => Verdict::intact(AccessDenied),

        // The catch-alls of Galera (a writeset too large), Vitess and TiDB: they do not say what became of the
        // transaction. TiDB marks what it rolled back and would accept again.
        1105 | 1815 => {
            if message.contains("[try again later]") {
                Verdict::aborted(Deadlock, true)
            } else {
                Verdict::aborted(Other, false)
            }
        }

        // ProxySQL's own codes collide with TiDB's.
        9001 if message.contains("Max connect timeout reached") => Verdict::dead(Unavailable, true),
        9000..=9999 if message.starts_with("ProxySQL Error") => Verdict::aborted(Other, false),
        // TiDB: write conflicts, found at commit or before; schema changed meanwhile.
        8002 | 8005 | 8022 | 8028 | 9007 => Verdict::aborted(Deadlock, true),
        // TiDB: its timestamp or storage servers are busy, late or away.
        9001..=9005 => Verdict::aborted(Unavailable, true),
        // TiDB: several statements in one packet are not allowed here. Refused before any was run.
        8130 => Verdict::refused(Other),
        // TiDB's other codes, and those of servers not known here (too large, lived too long, snapshot collected):
        // what became of the transaction is not known, so it must not be committed.
        8000.. => Verdict::aborted(Other, false),

        // MySQL and MariaDB undo the statement that failed; the exceptions are above.
        _ => Verdict::intact(Other),
    }
}

/// Whether this code, in reply to `COMMIT`, means that nothing was committed.
fn commit_is_definite(code: u16, message: &str) -> bool {
    // One shard refused. Another may have committed: Vitess commits them one after the other.
    if is_from_vitess(message) {
        return false;
    }
    match code {
        // Counted on real servers under fault injection: none of the transactions was there afterwards (1213: 0 of 25,227,
        // 3101: 0 of 3,092, 1317: 0 of 324 on MariaDB and 0 of 3 in a group). 1226 and 1290 refuse the COMMIT itself.
        1205 | 1213 | 1226 | 1290 | 1317 | 1969 | 3100 | 3101 => true,
        1047 => message.contains("WSREP"),
        // Galera's 1180 (quorum lost) was seen with the transaction committed on the other nodes: 4 of 48, and 25 of 278 where a
        // fragment of streaming replication could not be sent.
        1180 => is_group_replication_conflict(message),
        1105 => message.contains("writeset size exceeded"),
        // TiDB documents these as rolled back, or refuses before it writes. It closes the connection where it does
        // not know.
        8002 | 8004 | 8005 | 8022 | 8025 | 8028 | 9007 | 9500 => true,
        _ => false,
    }
}

fn connect_code(code: u16, message: &str) -> ConnectVerdict {
    use ErrorKind::*;

    match code {
        // Full, out of memory or threads, going down, still without a backend (ProxySQL's 9001).
        // 6141: MySQL 9's group replication asks to come again.
        1037 | 1038 | 1040 | 1041 | 1053 | 1135 | 1203 | 6141 | 9001 => ConnectVerdict::later(Unavailable),
        1226 => ConnectVerdict { kind: Unavailable, transient: is_connection_limit(message) },
        // The handshake was cut off: 1159 is MySQL's connect_timeout. 1042 is the server's DNS.
        1042 | 1152 | 1158..=1161 | 1184 => ConnectVerdict::later(ConnectFailed),
        1043 => ConnectVerdict::never(ConnectFailed),
        // Host blocked or not allowed; authentication method, transport, account: not for this client. MySQL has
        // another 4151, for LOAD DATA.
        1129 | 1130 | 1251 | 1275 | 3159 | 3955 | 4151 | 6126 | 6127 => ConnectVerdict::never(AccessDenied),
        _ => match server_code(code, message) {
            Verdict { kind: ConnectionLost, transient, .. } => ConnectVerdict { kind: ConnectFailed, transient },
            Verdict { kind, transient, .. } => ConnectVerdict { kind, transient },
        },
    }
}

fn driver(error: &DriverError) -> Verdict {
    use DriverError::*;

    match error {
        MismatchedStmtParams(..) | Params(_) | MixedParams | ReadOnlyTransNotSupported => Verdict::refused(ErrorKind::Driver),
        BulkExecute(_) => Verdict::intact(ErrorKind::Driver),
        PacketTooLarge => Verdict::dead(ErrorKind::Driver, false),
        _ => Verdict::dead(ErrorKind::ConnectionLost, true),
    }
}

fn connect_driver(error: &DriverError) -> ConnectVerdict {
    use DriverError::*;

    match error {
        ConnectTimeout | PacketOutOfSync => ConnectVerdict::later(ErrorKind::ConnectFailed),
        CouldNotConnect(None) => ConnectVerdict::never(ErrorKind::Config),
        // A name that does not resolve has no io::ErrorKind of its own and may resolve soon. These three will not
        // change by themselves.
        CouldNotConnect(Some((_, _, kind))) => ConnectVerdict {
            kind: ErrorKind::ConnectFailed,
            transient: !matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported),
        },
        // MySQL answers a user it does not know with a plugin picked to give nothing away, and this one the driver
        // does not speak.
        UnknownAuthPlugin(plugin) if plugin == "sha256_password" => ConnectVerdict::never(ErrorKind::AccessDenied),
        // Our own options forbid what the server asks for.
        OldMysqlPasswordDisabled | CleartextPluginDisabled => ConnectVerdict::never(ErrorKind::Config),
        UnknownAuthPlugin(plugin) if plugin == "mysql_clear_password" => ConnectVerdict::never(ErrorKind::Config),
        TlsNotSupported
        | UnsupportedProtocol(_)
        | Protocol41NotSet
        | UnexpectedPacket
        | SetupError
        | CouldNotParseVersion
        | InvalidParsecSalt => ConnectVerdict::never(ErrorKind::ConnectFailed),
        _ => ConnectVerdict::never(ErrorKind::Driver),
    }
}

/// Vitess says what its tablet's MySQL said (`(errno 1062) (sqlstate 23000)`), or how its own call failed
/// (`code = Aborted`); its packet's code is often a catch-all.
fn vitess(code: u16, message: &str) -> Option<Verdict> {
    use ErrorKind::*;

    if !matches!(code, 1041 | 1105 | 1153 | 1203 | 1235 | 1317 | 1815) {
        return None;
    }
    let tablet_code = word_after(message, "errno ").and_then(|word| word.parse().ok());
    if let Some(tablet_code) = tablet_code.filter(|&inner| inner != code && inner != 1105) {
        return Some(server_code(tablet_code, ""));
    }
    let verdict = match word_after(message, "code = ")? {
        // The transaction is gone: its tablet restarted, or it was killed for its age ("exceeded timeout: 20s").
        "Aborted" | "ABORTED" if message.contains("exceeded timeout") => Verdict::aborted(StatementTimeout, false),
        "Aborted" | "ABORTED" => Verdict::aborted(Unavailable, true),
        "DeadlineExceeded" | "DEADLINE_EXCEEDED" => Verdict::aborted(StatementTimeout, false),
        "Canceled" | "CANCELED" => Verdict::aborted(Interrupted, false),
        "Unavailable" | "UNAVAILABLE" => Verdict::dead(Unavailable, true),
        // A full pool empties; a result set over the row limit is as large the next time.
        "ResourceExhausted" | "RESOURCE_EXHAUSTED" => Verdict::aborted(Unavailable, !message.contains("Row count exceeded")),
        _ => Verdict::aborted(Other, false),
    };
    Some(verdict)
}

fn is_from_vitess(message: &str) -> bool {
    ["vttablet", "(errno ", "code = "].iter().any(|mark| message.contains(mark))
}

/// `Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT`. MariaDB, whose 1180 means something else,
/// has double quotes and no dash.
fn is_group_replication_conflict(message: &str) -> bool {
    message.contains("149 - '")
}

/// 1226 for `max_user_connections` passes as others leave. The limits per hour do not pass within a retry.
fn is_connection_limit(message: &str) -> bool {
    message.contains("max_user_connections")
}

/// The run of letters, digits and underscores after the first `mark`.
fn word_after<'m>(message: &'m str, mark: &str) -> Option<&'m str> {
    let (_, rest) = message.split_once(mark)?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(&rest[..end])
}

pub(super) fn is_packet_too_large(error: &Error) -> bool {
    is_of_codec(error, "Packet is larger than max_allowed_packet")
}

fn is_out_of_sync(error: &Error) -> bool {
    is_of_codec(error, "Packets out of sync")
}

/// The driver does not export the type that carries these, so its text has to tell.
fn is_of_codec(error: &Error, text: &str) -> bool {
    matches!(error, Error::CodecError(codec) if codec.source().is_none() && codec.to_string() == text)
}

/// Whether the caller's handler for `LOCAL INFILE` made this error, which a statement met that calls it.
///
/// What the connection meets is a `CodecError`, or an `io::Error` around one where the handler was writing to it. The driver has one
/// `IoError` of its own, for a connection that is closed.
pub(crate) fn is_of_infile_handler(error: &Error) -> bool {
    let Error::IoError(io) = error else { return false };
    let holds_another = io.get_ref().is_some_and(|inner| inner.is::<Error>() || inner.is::<crate::Error>());
    let is_the_drivers = io.kind() == io::ErrorKind::BrokenPipe && io.to_string() == "server disconnected";
    !holds_another && !is_the_drivers
}

/// Whether there is a network failure at the bottom of this, and neither a certificate that is not trusted (which `rustls` finds when the
/// first bytes are read), nor a reply that is none, nor a file that cannot be read.
fn may_pass(io: &io::Error) -> bool {
    use io::ErrorKind::*;

    !matches!(io.kind(), InvalidData | InvalidInput | NotFound | PermissionDenied)
}

/// Whether a network failure is at the bottom of this.
#[cfg(any(feature = "native-tls", feature = "rustls"))]
fn was_cut_short(error: &(dyn std::error::Error + 'static)) -> bool {
    use io::ErrorKind::*;

    std::iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|io| matches!(io.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof | WouldBlock))
}
