//! The words of errors: one phrase per kind, and the driver's errors without their values.

use std::io;

use mysql::{DriverError, Error, Row, Value};

use crate::error::classify;
use crate::error::kind::ErrorKind;

pub(super) fn describe(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ConnectionLost => "connection to the server lost",
        ErrorKind::ConnectFailed => "could not connect to the server",
        ErrorKind::AccessDenied => "access denied by the server",
        ErrorKind::UnknownDatabase => "unknown database",
        ErrorKind::Unavailable => "server unavailable",
        ErrorKind::ReadOnlyServer => "read-only server",
        ErrorKind::CommitUnknown => "the transaction may or may not have been committed",
        ErrorKind::Deadlock => "deadlock or other conflict with another transaction; the transaction was rolled back",
        ErrorKind::LockWaitTimeout => "timeout while waiting for a lock held by another transaction",
        ErrorKind::StatementTimeout => "statement timeout: the statement took longer than the server allows",
        ErrorKind::Interrupted => "statement interrupted",
        ErrorKind::UniqueViolation => "duplicate key",
        ErrorKind::ForeignKeyParentMissing => "foreign key violation: the referenced row does not exist",
        ErrorKind::ForeignKeyChildExists => "foreign key violation: the row is still referenced by other rows",
        ErrorKind::NotNullViolation => "not-null violation: a column that must have a value has none",
        ErrorKind::CheckViolation => "check constraint violation",
        ErrorKind::DataTooLong => "value too long for its column",
        ErrorKind::UnknownColumn => "unknown column",
        ErrorKind::UnknownTable => "unknown table",
        ErrorKind::Syntax => "SQL syntax error",
        ErrorKind::AlreadyInTransaction => "already in a transaction",
        ErrorKind::RollbackOnly => "the transaction can only be rolled back",
        ErrorKind::ImplicitCommit => "implicit commit: the transaction ended before its COMMIT",
        ErrorKind::RetryRequested => "the function requested another attempt",
        ErrorKind::LockTimeout => "timeout while waiting for the database's lock",
        ErrorKind::PoolTimeout => "timeout while waiting for a connection of the pool",
        ErrorKind::DeadlineExceeded => "deadline exceeded",
        ErrorKind::IdempotencyKeyReused => "idempotency key reused for another call",
        ErrorKind::Config => "invalid configuration",
        ErrorKind::Driver => "driver error",
        ErrorKind::Other => "database error",
    }
}

/// What the driver says, in words, and without the row or value that it is about.
pub(super) fn of_driver(error: &Error) -> String {
    match error {
        Error::FromRowError(row) => of_row(row),
        Error::FromValueError(value) => format!("{} does not convert to the requested type", kind_of(value)),
        error => match classify::io_error(error) {
            Some(io) => of_io(io),
            None => match error {
                error if classify::is_packet_too_large(error) => "a packet is larger than max_allowed_packet, an option of the URL".into(),
                Error::CodecError(error) => error.to_string(),
                Error::DriverError(DriverError::CouldNotConnect(Some((address, reason, _)))) => format!("{address}: {reason}"),
                Error::DriverError(error) => error.to_string(),
                Error::UrlError(error) => error.to_string(),
                error => error.to_string(),
            },
        },
    }
}

fn of_io(error: &io::Error) -> String {
    match error.kind() {
        // The system's words for a timeout of the socket are "Resource temporarily unavailable".
        io::ErrorKind::WouldBlock => "no reply within the read timeout".into(),
        io::ErrorKind::TimedOut => "the server's host did not reply in time (TCP keepalive, or unacknowledged data)".into(),
        _ => error.to_string(),
    }
}

/// Which columns, of which types. The driver does not say which of them did not convert.
fn of_row(row: &Row) -> String {
    let columns: Vec<String> = row
        .columns_ref()
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let sql_type = format!("{:?}", column.column_type());
            let sql_type = sql_type.trim_start_matches("MYSQL_TYPE_");
            let null = if matches!(row.as_ref(at), Some(Value::NULL)) { ", NULL" } else { "" };
            format!("`{}` ({sql_type}{null})", column.name_str())
        })
        .collect();
    format!("a row does not convert to the requested type; its columns are {}", columns.join(", "))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::NULL => "NULL",
        Value::Bytes(_) => "a string or binary value",
        Value::Int(_) | Value::UInt(_) => "an integer",
        Value::Float(_) | Value::Double(_) => "a floating-point number",
        Value::Date(..) => "a date",
        Value::Time(..) => "a time",
    }
}
