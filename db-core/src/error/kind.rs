//! What went wrong, in words a caller can act on?

/// What went wrong, by the server's error code and never by its message or SQLSTATE.
///
/// SQLSTATE misleads: `SIGNAL SQLSTATE '40001'` in a trigger looks like a deadlock and is none, while some
/// servers report a real conflict as the catch-all `HY000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The connection broke while in use, or the server closed it.
    ConnectionLost,
    /// No connection could be made: nothing listens, the name does not resolve, the handshake failed.
    ConnectFailed,
    /// The server knows who asks and refuses: wrong password, locked or expired account, missing privilege.
    AccessDenied,
    /// The database named in the URL, or in a statement, does not exist.
    UnknownDatabase,
    /// The server is there and cannot serve now: too many connections, offline mode, a cluster node without quorum.
    Unavailable,
    /// The server accepts no writes: a replica, or a primary demoted by a failover.
    ReadOnlyServer,
    /// The connection broke, or the server answered with an error that does not tell, after `COMMIT` was sent:
    /// the transaction may or may not have been applied.
    CommitUnknown,
    /// The transaction lost a conflict: a deadlock, a certification failure in a cluster, a row or table changed
    /// since the transaction's snapshot.
    Deadlock,
    /// A row, table or metadata lock was not granted in time (or at once, with `NOWAIT`).
    LockWaitTimeout,
    /// The statement ran longer than the server allows.
    StatementTimeout,
    /// The statement was killed by somebody (`KILL QUERY`).
    Interrupted,
    /// A row with the same unique key exists already.
    UniqueViolation,
    /// A foreign key points to a row that does not exist.
    ParentMissing,
    /// The row, or table, is still referenced by a foreign key.
    ChildExists,
    /// A column that must have a value was given none.
    NotNullViolation,
    /// A `CHECK` constraint, a view's `CHECK OPTION`, or the validity of a JSON column, was violated.
    CheckViolation,
    /// A value is longer than its column.
    DataTooLong,
    /// A column named in the statement does not exist.
    UnknownColumn,
    /// A table named in the statement does not exist.
    UnknownTable,
    /// The statement is not valid SQL.
    Syntax,
    /// A transaction of the same database is open on this thread already.
    AlreadyInTransaction,
    /// An inner scope failed, or asked for rollback, and the transaction cannot be committed any more.
    RollbackOnly,
    /// A statement of the body (DDL, for instance) committed the transaction behind its back.
    ImplicitCommit,
    /// The lock of the `Db` was not free in time. Nothing was sent to the server.
    LockTimeout,
    /// The URL or an option is wrong.
    Config,
    /// The driver refused: parameters that do not match, a value that does not convert, a packet too large.
    Driver,
    /// Everything else; the code tells more.
    Other,
}

impl ErrorKind {
    /// The HTTP status a web service would answer with.
    ///
    /// 409 for a unique key or a referenced row in the way, 404 for a missing parent row, 400 for an unknown
    /// column, 401 for refused access, 408 for a connection that was lost or could not be made, 500 for the rest.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::UnknownColumn => 400,
            Self::AccessDenied => 401,
            Self::ParentMissing => 404,
            Self::ConnectionLost | Self::ConnectFailed => 408,
            Self::UniqueViolation | Self::ChildExists => 409,
            _ => 500,
        }
    }
}
