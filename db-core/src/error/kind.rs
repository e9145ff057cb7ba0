//! The kinds of errors and their HTTP statuses.

/// What went wrong, by the server's error code and never by its message or SQLSTATE.
///
/// SQLSTATE misleads: `SIGNAL SQLSTATE '40001'` in a trigger looks like a deadlock but is not one, while some
/// servers report a real conflict as the catch-all `HY000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The connection broke while in use, or the server closed it.
    ConnectionLost,
    /// No connection could be made: nothing listens, the name does not resolve, the handshake failed.
    ConnectFailed,
    /// The server refuses this user: wrong password, locked or expired account, missing privilege.
    AccessDenied,
    /// The database named in the URL, or in a statement, does not exist.
    UnknownDatabase,
    /// The server is running but cannot serve now: too many connections, offline mode, a cluster node without quorum.
    Unavailable,
    /// The server accepts no writes: a replica, or a primary demoted by a failover.
    ReadOnlyServer,
    /// After `COMMIT` was sent the connection broke, or the server replied with an error that does not tell:
    /// the transaction may or may not have been committed.
    CommitUnknown,
    /// The transaction lost a conflict: a deadlock, a certification failure in a cluster, a row or table changed
    /// since the transaction's snapshot.
    Deadlock,
    /// A row, table or metadata lock was not granted in time (or at once, with `NOWAIT`).
    LockWaitTimeout,
    /// The statement ran longer than the server allows.
    StatementTimeout,
    /// The statement was killed (`KILL QUERY`).
    Interrupted,
    /// A row with the same unique key already exists.
    UniqueViolation,
    /// A foreign key refers to a row that does not exist.
    ForeignKeyParentMissing,
    /// The row, or table, is still referenced by a foreign key.
    ForeignKeyChildExists,
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
    /// A transaction of the same database is already open on this thread.
    AlreadyInTransaction,
    /// A nested transaction that had joined failed, or asked for rollback, so the transaction can no longer be committed.
    RollbackOnly,
    /// The transaction had ended before its COMMIT: a statement of the body (DDL, for instance) may have committed part of it.
    ImplicitCommit,
    /// The body asked for another attempt ([`Error::retry`](crate::Error::retry)), and none was left.
    RetryRequested,
    /// The lock of the `Db` was not free in time. Nothing was sent to the server.
    LockTimeout,
    /// No connection of the pool became free in time. Nothing was sent to the server.
    PoolTimeout,
    /// The deadline of the call passed. Nothing was committed.
    DeadlineExceeded,
    /// The idempotency key was used before, for another function or with other arguments. The body did not run.
    IdempotencyKeyReused,
    /// The URL or an option is wrong.
    Config,
    /// The driver refused: parameters that do not match, a value that does not convert, a statement larger than `max_allowed_packet`.
    /// Also: the caller's handler for `LOCAL INFILE` failed.
    Driver,
    /// Everything else; the code tells more.
    Other,
}

impl ErrorKind {
    /// The HTTP status a web service would reply with.
    ///
    /// | Status | Kinds |
    /// |---|---|
    /// | 400 | [`UnknownColumn`](Self::UnknownColumn) |
    /// | 401 | [`AccessDenied`](Self::AccessDenied) |
    /// | 404 | [`ForeignKeyParentMissing`](Self::ForeignKeyParentMissing) |
    /// | 409 | [`UniqueViolation`](Self::UniqueViolation), [`ForeignKeyChildExists`](Self::ForeignKeyChildExists), [`Deadlock`](Self::Deadlock), [`LockWaitTimeout`](Self::LockWaitTimeout) |
    /// | 503 | [`ConnectionLost`](Self::ConnectionLost), [`ConnectFailed`](Self::ConnectFailed), [`Unavailable`](Self::Unavailable), [`ReadOnlyServer`](Self::ReadOnlyServer), [`PoolTimeout`](Self::PoolTimeout) |
    /// | 504 | [`DeadlineExceeded`](Self::DeadlineExceeded) |
    /// | 500 | all others |
    pub const fn http_status(self) -> u16 {
        match self {
            Self::UnknownColumn => 400,
            Self::AccessDenied => 401,
            Self::ForeignKeyParentMissing => 404,
            Self::UniqueViolation | Self::ForeignKeyChildExists | Self::Deadlock | Self::LockWaitTimeout => 409,
            Self::ConnectionLost | Self::ConnectFailed | Self::Unavailable | Self::ReadOnlyServer | Self::PoolTimeout => 503,
            Self::DeadlineExceeded => 504,
            _ => 500,
        }
    }
}
