//! What do those who listen hear? The span of a call, and the events in it.
//!
//! Without the `tracing` feature neither is even compiled. With it and nobody listening, no field is computed.

#[cfg(any(feature = "tracing", feature = "metrics"))]
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use mysql::Conn;

use crate::database::Database;
#[cfg(feature = "tracing")]
use crate::query_text::QueryText;
use crate::settings::Settings;
use crate::stats::{Counters, Outcome};
use crate::{Error, ErrorKind, TxOptions};

macro_rules! event {
    ($level:ident, $name:literal, { $($field:tt)* }, $message:literal) => {{
        #[cfg(feature = "tracing")]
        tracing::$level!(name: $name, target: "db_core", { $($field)* }, $message);
    }};
}

/// A statement of the body's goes to the server.
macro_rules! statement {
    ($name:literal, { $($field:tt)* }, $message:literal) => {{
        #[cfg(feature = "tracing")]
        tracing::trace!(name: $name, target: "db_core::statement", { $($field)* }, $message);
    }};
}

pub(crate) use {event, statement};

/// One call on a database, from its beginning to the result that its caller gets. Dropped, it tells how the call ended.
pub(crate) struct Watch<'d> {
    database: &'d Database,
    /// The name of the body's type, as the compiler has it.
    body: &'static str,
    /// The call is one transaction: if that could not begin, nothing has run.
    pub(crate) is_transaction: bool,
    attempts: Cell<u32>,
    connection: Cell<Option<u32>>,
    /// When the call met its first fault.
    faulted: Cell<Option<Instant>>,
    end: Cell<End>,
    /// There is one while there is a subscriber that wants such.
    #[cfg(feature = "tracing")]
    span: Option<tracing::span::EnteredSpan>,
}

/// How a call, or one attempt of it, has ended.
#[derive(Clone, Copy)]
pub(crate) struct End {
    outcome: Outcome,
    cause: Option<Cause>,
}

/// Why something failed, as far as that may be shown.
#[derive(Clone, Copy)]
pub(crate) enum Cause {
    Error {
        kind: ErrorKind,
        code: Option<u16>,
    },
    Panic,
    /// The body's own error, of a type that the library cannot look into.
    Opaque,
}

#[cfg(feature = "tracing")]
macro_rules! span {
    ($name:literal, $database:expr, $body:expr, $isolation:expr) => {{
        let options = &$database.settings.options;
        tracing::info_span!(
            target: "db_core",
            $name,
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            db.system.name = $database.counters.system(),
            db.namespace = options.get_db_name(),
            server.address = &*address(options),
            server.port = port(options),
            code.function.name = function($body),
            db_core.isolation = $isolation,
            db_core.attempts = tracing::field::Empty,
            db_core.connection_id = tracing::field::Empty,
            db_core.outcome = tracing::field::Empty,
            error.type = tracing::field::Empty,
            db.response.status_code = tracing::field::Empty,
        )
        .entered()
    }};
}

impl<'d> Watch<'d> {
    /// Of a call that is one transaction.
    #[inline]
    pub(crate) fn transaction(database: &'d Database, body: &'static str, options: &TxOptions) -> Self {
        Self {
            database,
            body,
            is_transaction: true,
            attempts: Cell::new(0),
            connection: Cell::new(None),
            faulted: Cell::new(None),
            end: Cell::new(End { outcome: Outcome::RolledBack, cause: None }),
            #[cfg(feature = "tracing")]
            span: listened_to(tracing::Level::INFO).then(|| transaction_span(database, body, options)),
        }
    }

    /// Of a call whose body begins transactions of its own.
    pub(crate) fn retry(database: &'d Database, body: &'static str) -> Self {
        Self {
            database,
            body,
            is_transaction: false,
            attempts: Cell::new(0),
            connection: Cell::new(None),
            faulted: Cell::new(None),
            end: Cell::new(End { outcome: Outcome::Succeeded, cause: None }),
            #[cfg(feature = "tracing")]
            span: listened_to(tracing::Level::INFO).then(|| retry_span(database, body)),
        }
    }

    /// The body of a transaction is about to run.
    #[inline]
    pub(crate) fn attempt(&self) -> Instant {
        self.run();
        self.database.counters.attempt();
        Instant::now()
    }

    /// The body of a retry is about to run.
    pub(crate) fn run(&self) {
        self.attempts.set(self.attempts.get() + 1);
    }

    /// A fault was met, and may still be cured.
    pub(crate) fn faulted(&self, at: Option<Instant>) {
        self.faulted.set(self.faulted.get().or(at));
    }

    /// An attempt is over. `began` is when its body began to run.
    #[inline]
    pub(crate) fn attempted(&self, began: Instant, connection: Option<u32>, end: End) {
        let spent = began.elapsed();
        self.end.set(end);
        if connection.is_some() {
            self.connection.set(connection);
        }
        self.database.counters.spent(spent);
        if spent >= self.database.settings.slow_transaction {
            self.slow(spent, end);
        }
    }

    #[cfg(feature = "tracing")]
    #[cold]
    fn tell(&self, span: &tracing::Span, outcome: Outcome, cause: Option<Cause>) {
        span.record("db_core.attempts", self.attempts.get());
        span.record("db_core.connection_id", self.connection.get());
        span.record("db_core.outcome", outcome.name());
        if let Some(cause) = cause {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", tracing::field::display(cause));
            span.record("db.response.status_code", cause.code().map(tracing::field::display));
        }
    }

    #[cold]
    fn slow(&self, spent: Duration, end: End) {
        event!(
            warn,
            "db_core.slow_transaction",
            {
                code.function.name = function(self.body),
                db_core.duration = spent.as_secs_f64(),
                db_core.threshold = self.database.settings.slow_transaction.as_secs_f64(),
                db_core.connection_id = self.connection.get(),
                db_core.outcome = end.outcome.name(),
            },
            "a transaction was open for long"
        );
    }

    /// How the call would end now.
    pub(crate) fn ends(&self, end: End) {
        self.end.set(end);
    }

    pub(crate) fn failed(&self, error: &Error) {
        self.ends(End::failed(Cause::of(error)));
    }

    /// Whether anybody wants to know more than can be counted.
    pub(crate) fn heard(&self) -> bool {
        #[cfg(feature = "tracing")]
        return listened_to(tracing::Level::WARN);
        #[cfg(not(feature = "tracing"))]
        return false;
    }
}

impl Drop for Watch<'_> {
    #[inline]
    fn drop(&mut self) {
        let End { outcome, cause } = self.end.get();
        if self.is_transaction {
            self.database.counters.ended(outcome, cause);
        }
        if let (Some(faulted), Outcome::Committed | Outcome::Succeeded) = (self.faulted.get(), outcome) {
            self.database.counters.recovered(faulted.elapsed());
        }
        #[cfg(feature = "tracing")]
        if let Some(span) = &self.span {
            self.tell(span, outcome, cause);
        }
    }
}

/// The look that decides whether more is done. What is done then is out of the way of calls that nobody listens to.
#[cfg(feature = "tracing")]
fn listened_to(level: tracing::Level) -> bool {
    level <= tracing::level_filters::LevelFilter::current()
}

#[cfg(feature = "tracing")]
#[cold]
fn transaction_span(database: &Database, body: &'static str, options: &TxOptions) -> tracing::span::EnteredSpan {
    span!("db_core.transaction", database, body, options.isolation.map(tracing::field::display))
}

#[cfg(feature = "tracing")]
#[cold]
fn retry_span(database: &Database, body: &'static str) -> tracing::span::EnteredSpan {
    span!("db_core.retry", database, body, tracing::field::Empty)
}

impl End {
    pub(crate) const COMMITTED: Self = Self { outcome: Outcome::Committed, cause: None };
    pub(crate) const SUCCEEDED: Self = Self { outcome: Outcome::Succeeded, cause: None };

    /// At the body's wish, which may be an error or a panic of its own.
    pub(crate) fn rolled_back(cause: Option<Cause>) -> Self {
        Self { outcome: Outcome::RolledBack, cause }
    }

    pub(crate) fn failed(cause: Cause) -> Self {
        Self { outcome: Outcome::Failed, cause: Some(cause) }
    }

    pub(crate) fn not_committed(error: &Error) -> Self {
        let outcome = if error.is_commit_unknown() { Outcome::Unknown } else { Outcome::Failed };
        Self { outcome, cause: Some(Cause::of(error)) }
    }
}

impl Cause {
    pub(crate) fn of(error: &Error) -> Self {
        Self::Error { kind: error.kind(), code: error.code() }
    }

    /// The server's code for it.
    pub(crate) fn code(self) -> Option<u16> {
        if let Self::Error { code, .. } = self { code } else { None }
    }
}

impl fmt::Display for Cause {
    /// A value of `error.type`: few, and none made of anybody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error { kind, .. } => fmt::Debug::fmt(kind, f),
            Self::Panic => f.write_str("panic"),
            Self::Opaque => f.write_str("_OTHER"),
        }
    }
}

/// A connection was opened for the body's statements.
pub(crate) fn opened(settings: &Settings, counters: &Counters, conn: &Conn) {
    if counters.opened(conn.server_version()) {
        event!(
            debug,
            "db_core.connect",
            {
                server.address = &*address(&settings.options),
                server.port = port(&settings.options),
                db_core.connection_id = conn.connection_id(),
            },
            "connected"
        );
        return;
    }
    event!(
        info,
        "db_core.reconnect",
        {
            server.address = &*address(&settings.options),
            server.port = port(&settings.options),
            db_core.connection_id = conn.connection_id(),
        },
        "connected again"
    );
}

/// `server.address`
#[cfg(any(feature = "tracing", feature = "metrics"))]
pub(crate) fn address(options: &mysql::Opts) -> Cow<'_, str> {
    options.get_socket().map_or_else(|| options.get_ip_or_hostname(), Cow::Borrowed)
}

/// `server.port`, where there is one.
#[cfg(any(feature = "tracing", feature = "metrics"))]
pub(crate) fn port(options: &mysql::Opts) -> Option<u16> {
    options.get_socket().is_none().then(|| options.get_tcp_port())
}

/// `db.query.text`
#[cfg(feature = "tracing")]
pub(crate) fn text(sql: &str) -> tracing::field::DisplayValue<QueryText<'_>> {
    tracing::field::display(QueryText(sql))
}

/// `code.function.name`: the function that the body is, or is written in. `None` where that cannot be told from its type.
#[cfg(feature = "tracing")]
fn function(body: &'static str) -> Option<&'static str> {
    let body = body.trim_start_matches('&').trim_start_matches("mut ");
    match body.find("::{{closure}}") {
        Some(closure) => Some(&body[..closure]).filter(|name| name.matches('<').count() == name.matches('>').count()),
        // A function pointer's type is its signature.
        None => (!body.contains(['(', ' '])).then_some(body),
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use super::*;

    fn name_of<F: FnOnce()>(_: F) -> &'static str {
        std::any::type_name::<F>()
    }

    fn generic<A>(_: A) -> &'static str {
        name_of(|| ())
    }

    struct Shop;

    impl Shop {
        fn sell(&self) -> &'static str {
            name_of(|| ())
        }
    }

    #[test]
    fn a_call_is_named_by_the_function_its_body_is_written_in() {
        fn inner() {}
        let here = "db_core::observe::tests::a_call_is_named_by_the_function_its_body_is_written_in";
        assert_eq!(function(name_of(|| ())), Some(here));
        let nested = || name_of(|| ());
        assert_eq!(function(nested()), Some(here));
        assert_eq!(function(name_of(inner)), Some(&*format!("{here}::inner")));
        let borrowed = &inner;
        assert_eq!(function(name_of(borrowed)), Some(&*format!("{here}::inner")));
        assert_eq!(function(name_of(inner as fn())), None);
        assert_eq!(function(name_of(Box::new(inner) as Box<dyn FnOnce()>)), None);
        assert_eq!(function(generic("")), Some("db_core::observe::tests::generic<&str>"));
        assert_eq!(function(Shop.sell()), Some("db_core::observe::tests::Shop::sell"));
    }
}
