//! The error type, for programs and for people.

pub(crate) mod classify;
pub(crate) mod constraint;
pub(crate) mod kind;
pub(crate) mod redact;
mod text;

use std::{fmt, io};

use crate::error::constraint::Constraint;
use crate::error::kind::ErrorKind;
use crate::retry::attempts::{self, FailedAttempt, History, Moment};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call ended without its work being done.
///
/// Every error is definite: nothing of the transaction it ends is in the database. There are two exceptions. After
/// [`ErrorKind::CommitUnknown`] all of it may be there, or nothing. And what a statement of the body's own committed (DDL, COMMIT, a
/// stored procedure that commits) is there: that is [`ErrorKind::ImplicitCommit`], unless the body failed with an error of its own.
///
/// [`kind`](Error::kind) says what happened, by the server's code and never by its text.
///
/// No value of a statement's parameters and no password appears in `Display` or `Debug`. The one place
/// a value can be read from is [`Constraint::value`], on purpose.
///
/// ```
/// use db_core::{Error, ErrorKind};
///
/// fn answer(error: &Error) -> String {
///     match error.kind() {
///         ErrorKind::UniqueViolation => {
///             let key = error.constraint().and_then(|broken| broken.name()).unwrap_or("a key");
///             format!("{}: {key} is taken", error.http_status())
///         }
///         _ => format!("{}: {error}", error.http_status()),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    /// The fault itself passes.
    transient: bool,
    /// Work of the attempt was, or may have been, committed.
    committed: bool,
    /// The database whose session met it.
    origin: Option<usize>,
    attempts: u32,
    history: History,
    message: String,
    server: Option<Server>,
    constraint: Option<Constraint>,
    rollback: Option<Error>,
}

#[derive(Clone)]
struct Server {
    code: u16,
    state: String,
    message: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let Moment { attempt, committed, history } = Moment::now();
        Self(Box::new(Inner {
            kind,
            transient: false,
            committed,
            origin: None,
            attempts: attempt,
            history,
            message: message.into(),
            server: None,
            constraint: None,
            rollback: None,
        }))
    }

    /// `error` under the kind that the phase it was met in gives it.
    pub(crate) fn classified(error: &mysql::Error, kind: ErrorKind, transient: bool) -> Self {
        match error {
            mysql::Error::MySqlError(error) => {
                let mut this = Self::new(kind, "").transient(transient);
                this.0.constraint = constraint::parse(error.code, &error.message);
                this.0.server = Some(Server {
                    code: error.code,
                    state: redact::printable(&error.state).into_owned(),
                    message: redact::message(error.code, &error.message).into(),
                });
                this
            }
            error => Self::carried_by(error).cloned().unwrap_or_else(|| Self::new(kind, text::of_driver(error)).transient(transient)),
        }
    }

    /// An error of the caller's own handler for `LOCAL INFILE`, in the handler's words.
    pub(crate) fn of_infile_handler(error: &mysql::Error) -> Self {
        let said = classify::io_error(error).map_or_else(|| error.to_string(), io::Error::to_string);
        Self::new(ErrorKind::Driver, format!("the LOCAL INFILE handler failed: {said}"))
    }

    /// This crate's own error, where the driver's stands for it.
    pub(crate) fn carried_by(error: &mysql::Error) -> Option<&Self> {
        let mysql::Error::IoError(io) = error else { return None };
        io.get_ref()?.downcast_ref()
    }

    /// An error that a statement met, or a row.
    pub(crate) fn seen(error: &mysql::Error) -> Self {
        let verdict = classify::statement(error);
        Self::classified(error, verdict.kind, verdict.transient)
    }

    pub(crate) fn transient(mut self, transient: bool) -> Self {
        self.0.transient = transient;
        self
    }

    /// Says which database's session met it.
    pub(crate) fn at(mut self, database: usize) -> Self {
        self.0.origin = Some(database);
        self
    }

    /// The database whose session met it; `None` where no session did.
    pub(crate) fn origin(&self) -> Option<usize> {
        self.0.origin
    }

    /// Says that work of the attempt was, or may have been, committed: the call must not be repeated, even if the fault passes.
    pub(crate) fn committed(mut self) -> Self {
        self.0.committed = true;
        self
    }

    /// Whether the fault itself passes. See [`is_transient`](Self::is_transient) for what a caller may conclude.
    pub(crate) fn passes(&self) -> bool {
        self.0.transient
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.0.message = hint.into();
        self
    }

    /// Attaches the failure of the ROLLBACK that followed this error. The cause stays the cause.
    pub(crate) fn and_rollback(mut self, failure: Option<Error>) -> Self {
        self.0.rollback = failure;
        self
    }

    /// An error by which a body asks for another attempt, although nothing failed on the connection: a version that has changed
    /// meanwhile, a service that asks to come again.
    ///
    /// It counts when it is made, whatever error type the body turns it into: an attempt that has made such an error and ends in
    /// `Err` is rolled back and retried while the [policy](crate::RetryPolicy) allows it. When no attempt is left, or outside of every
    /// retry, it is an ordinary error of the kind [`RetryRequested`](ErrorKind::RetryRequested).
    ///
    /// `reason` is shown in logs and errors: keep values out of it.
    ///
    /// ```
    /// # use db_core::prelude::*;
    /// use db_core::Error;
    ///
    /// #[retry_on_disconnect]
    /// #[transactional]
    /// fn rename(tx: &mut Transaction<'_>, id: u32, name: &str) -> db_core::Result<()> {
    ///     let version: Option<u32> = tx.exec_first("SELECT version FROM page WHERE id = ?", (id,))?;
    ///     tx.exec_drop("UPDATE page SET name = ?, version = version + 1 WHERE id = ? AND version = ?", (name, id, version))?;
    ///     if tx.affected_rows() == 0 {
    ///         return Err(Error::retry("the page was changed by another transaction"));
    ///     }
    ///     Ok(())
    /// }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = db_testkit::Server::start()?;
    /// # server.connect()?.query_drop("CREATE TABLE page (id INT PRIMARY KEY, name VARCHAR(10), version INT) ENGINE=InnoDB")?;
    /// # let db = Db::connect(&server.url())?;
    /// let error = rename(&db, 1, "home").unwrap_err();
    /// assert_eq!((error.kind(), error.attempts()), (ErrorKind::RetryRequested, 3));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn retry(reason: impl Into<String>) -> Self {
        attempts::request_retry();
        Self::new(ErrorKind::RetryRequested, reason).transient(true)
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The server's error code, if the server reported the error.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.0.server.as_ref().map(|server| server.code)
    }

    /// The HTTP status that tells a client of yours what happened; see [`ErrorKind::http_status`].
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.0.kind.http_status()
    }

    /// Whether the same call may succeed when it is repeated unchanged.
    ///
    /// This is what [`Scope::retry`](crate::Scope::retry) retries. It is never true where work of the call was, or may have been,
    /// committed, even if the fault itself passes: repeating such a call could do its work twice.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.transient && !self.0.committed
    }

    /// The number of attempts that the call had begun when this error arose, the last one included; at least 1.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// What ended the earlier attempts of the call, the oldest first. Empty for an error of the first attempt.
    ///
    /// The 16 latest attempts are kept.
    #[must_use]
    pub fn history(&self) -> &[FailedAttempt] {
        self.0.history.as_slice()
    }

    /// Whether the connection was lost while COMMIT was under way, or the reply to it does not tell, so that the work may or may not be
    /// in the database.
    #[must_use]
    pub fn is_commit_unknown(&self) -> bool {
        self.0.kind == ErrorKind::CommitUnknown
    }

    /// The constraint that was violated, if the error is a constraint's.
    #[must_use]
    pub fn constraint(&self) -> Option<&Constraint> {
        self.0.constraint.as_ref()
    }

    /// Why the ROLLBACK that followed this error failed, if it did. The work is undone anyway: the connection was closed.
    #[must_use]
    pub fn rollback_failure(&self) -> Option<&Error> {
        self.0.rollback.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text::describe(self.0.kind))?;
        if self.is_commit_unknown() {
            f.write_str(if self.0.server.is_some() { ": the reply to COMMIT does not tell" } else { ": the reply to COMMIT was lost" })?;
        }
        if !self.0.message.is_empty() {
            write!(f, ": {}", self.0.message)?;
        }
        if let Some(server) = &self.0.server {
            write!(f, ": {} (server error {}, SQLSTATE {})", server.message, server.code, server.state)?;
        }
        if self.0.attempts > 1 {
            write!(f, " (attempt {}", self.0.attempts)?;
            for (at, failed) in self.history().iter().enumerate() {
                let separator = if at == 0 { ";" } else { "," };
                write!(f, "{separator} attempt {}: {:?}", failed.number(), failed.kind())?;
                if let Some(code) = failed.code() {
                    write!(f, " {code}")?;
                }
            }
            f.write_str(")")?;
        }
        if let Some(rollback) = &self.0.rollback {
            write!(f, "; its ROLLBACK failed too, and the connection was closed: {rollback}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl std::error::Error for Error {}

impl From<mysql::Error> for Error {
    fn from(error: mysql::Error) -> Self {
        Self::seen(&error)
    }
}

/// For functions that return [`mysql::Result`]: they can be annotated too, and called where the driver's errors are expected.
///
/// Nothing is lost: [`Error::from`] gives the original back.
impl From<Error> for mysql::Error {
    fn from(error: Error) -> Self {
        mysql::Error::IoError(io::Error::other(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, message: &str) -> mysql::Error {
        mysql::Error::MySqlError(mysql::MySqlError { state: "HY000".into(), message: message.into(), code })
    }

    #[test]
    fn a_round_trip_through_the_drivers_error_loses_nothing() {
        let error = Error::new(ErrorKind::AlreadyInTransaction, "pass `tx` on").and_rollback(Some(Error::from(server(1213, "x"))));
        let back = Error::from(mysql::Error::from(error.clone()));
        assert_eq!(back.kind(), ErrorKind::AlreadyInTransaction);
        assert_eq!(back.to_string(), error.to_string());
        assert_eq!(back.rollback_failure().and_then(Error::code), Some(1213));
    }

    #[test]
    fn an_error_lists_what_each_earlier_attempt_met() {
        let mut history = History::default();
        history.add(FailedAttempt::new(1, ErrorKind::Deadlock, Some(1213)));
        history.add(FailedAttempt::new(2, ErrorKind::ConnectionLost, None));
        let attempt = |count| attempts::Attempt::new(count, 3, std::time::Instant::now());
        let running = attempts::begin(7, attempt(2), history);
        let error = Error::from(server(1213, "x"));
        drop(running);
        let listed: Vec<_> = error.history().iter().map(|failed| (failed.number(), failed.kind(), failed.code())).collect();
        assert_eq!(listed, [(1, ErrorKind::Deadlock, Some(1213)), (2, ErrorKind::ConnectionLost, None)]);
        let shown = error.to_string();
        assert!(shown.ends_with("(attempt 3; attempt 1: Deadlock 1213, attempt 2: ConnectionLost)"), "{shown}");

        let first = attempts::begin(7, attempt(0), History::default());
        assert!(!Error::from(server(1213, "x")).to_string().contains("attempt"));
        drop(first);
    }

    #[test]
    fn an_error_after_a_commit_is_not_transient_although_its_fault_passes() {
        let deadlock = Error::from(server(1213, "x"));
        assert!(deadlock.is_transient() && deadlock.passes());
        let committed = deadlock.clone().committed();
        assert!(!committed.is_transient() && committed.passes());

        let _running = attempts::begin(7, attempts::Attempt::only(), History::default());
        assert!(Error::from(server(1213, "x")).is_transient());
        attempts::mark_committed_all();
        let later = Error::from(server(1213, "x"));
        assert!(!later.is_transient() && later.passes());
        assert_eq!((later.origin(), later.at(7).origin()), (None, Some(7)));
    }

    #[test]
    fn a_value_is_neither_displayed_nor_debugged_but_can_be_asked_for() {
        let error = Error::from(server(1062, "Duplicate entry 'hunter2' for key 'email'"));
        assert_eq!(error.kind(), ErrorKind::UniqueViolation);
        assert_eq!(error.constraint().and_then(Constraint::value), Some("hunter2"));
        assert_eq!(error.constraint().and_then(Constraint::name), Some("email"));
        for shown in [format!("{error}"), format!("{error:?}"), format!("{error:#?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("email"), "{shown}");
        }
    }

    #[test]
    fn an_error_is_said_in_the_words_of_the_field() {
        let io = |kind, text: &str| mysql::Error::CodecError(io::Error::new(kind, text.to_owned()).into());
        let timeout = || io(io::ErrorKind::WouldBlock, "Resource temporarily unavailable (os error 11)");
        let unknown = |error: &mysql::Error| Error::classified(error, ErrorKind::CommitUnknown, false);
        #[rustfmt::skip]
        let table = [
            (Error::from(server(1062, "Duplicate entry 'a' for key 'k'")),
             "duplicate key: Duplicate entry '<redacted>' for key 'k' (server error 1062, SQLSTATE HY000)"),
            (Error::from(server(1064, "You have an error near 'FORM' at line 1")),
             "SQL syntax error: You have an error near 'FORM' at line 1 (server error 1064, SQLSTATE HY000)"),
            (Error::from(mysql::Error::server_disconnected()), "connection to the server lost: server disconnected"),
            (Error::from(io(io::ErrorKind::ConnectionReset, "Connection reset by peer (os error 104)")),
             "connection to the server lost: Connection reset by peer (os error 104)"),
            (Error::from(timeout()), "connection to the server lost: no reply within the read timeout"),
            (unknown(&timeout()),
             "the transaction may or may not have been committed: the reply to COMMIT was lost: no reply within the read timeout"),
            (unknown(&timeout()).hint("the ledger could not be read"),
             "the transaction may or may not have been committed: the reply to COMMIT was lost: the ledger could not be read"),
            (unknown(&server(1180, "Got error 6 during COMMIT")),
             "the transaction may or may not have been committed: the reply to COMMIT does not tell: Got error 6 during COMMIT \
              (server error 1180, SQLSTATE HY000)"),
            (Error::of_infile_handler(&mysql::Error::IoError(io::Error::new(io::ErrorKind::NotFound, "no such report"))),
             "driver error: the LOCAL INFILE handler failed: no such report"),
            (Error::from(mysql::Error::FromValueError(mysql::Value::from(7))),
             "driver error: an integer does not convert to the requested type"),
            (Error::new(ErrorKind::Config, "the URL has no host"), "invalid configuration: the URL has no host"),
        ];
        for (error, text) in table {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_row_that_does_not_convert_is_not_shown() {
        let error = Error::from(mysql::Error::FromValueError(mysql::Value::from("hunter2")));
        assert_eq!(error.kind(), ErrorKind::Driver);
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
