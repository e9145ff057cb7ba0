//! What do those who listen hear? The span of a call, and the events in it.
//!
//! Without the `tracing` feature neither is even compiled. With it and nobody listening, no field is computed.

use std::cell::Cell;
use std::time::{Duration, Instant};

use mysql::Conn;

use crate::config::Settings;
use crate::listener::Event;
#[cfg(feature = "tracing")]
use crate::telemetry::event::{address, port};
use crate::telemetry::event::{event, function};
use crate::telemetry::outcome::{Cause, End, Outcome};
use crate::telemetry::stats::Counters;
use crate::{Error, TxOptions};

/// One call on a database, from its beginning to the result that its caller gets. Dropped, it tells how the call ended.
pub(crate) struct Watch<'d> {
    settings: &'d Settings,
    counters: &'d Counters,
    /// The name of the body's type, as the compiler has it.
    body: &'static str,
    /// The call is one transaction: if that could not begin, nothing has run.
    pub is_transaction: bool,
    attempts: Cell<u32>,
    connection: Cell<Option<u32>>,
    /// When the call met its first fault.
    faulted: Cell<Option<Instant>>,
    end: Cell<End>,
    /// There is one while there is a subscriber that wants such.
    #[cfg(feature = "tracing")]
    span: Option<tracing::span::EnteredSpan>,
}

#[cfg(feature = "tracing")]
macro_rules! span {
    ($name:literal, $settings:expr, $counters:expr, $body:expr, $isolation:expr) => {{
        let options = $settings.hosts.in_use();
        tracing::info_span!(
            target: "db_core",
            $name,
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            db.system.name = $counters.system(),
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
    pub fn transaction(settings: &'d Settings, counters: &'d Counters, body: &'static str, options: &TxOptions) -> Self {
        Self {
            settings,
            counters,
            body,
            is_transaction: true,
            attempts: Cell::new(0),
            connection: Cell::new(None),
            faulted: Cell::new(None),
            end: Cell::new(End { outcome: Outcome::RolledBack, cause: None }),
            #[cfg(feature = "tracing")]
            span: listened_to(tracing::Level::INFO).then(|| transaction_span(settings, counters, body, options)),
        }
    }

    /// Of a call whose body begins transactions of its own.
    pub fn retry(settings: &'d Settings, counters: &'d Counters, body: &'static str) -> Self {
        Self {
            settings,
            counters,
            body,
            is_transaction: false,
            attempts: Cell::new(0),
            connection: Cell::new(None),
            faulted: Cell::new(None),
            end: Cell::new(End { outcome: Outcome::Succeeded, cause: None }),
            #[cfg(feature = "tracing")]
            span: listened_to(tracing::Level::INFO).then(|| retry_span(settings, counters, body)),
        }
    }

    pub fn body(&self) -> &'static str {
        self.body
    }

    /// The body of a transaction is about to run.
    #[inline]
    pub fn attempt(&self) -> Instant {
        self.run();
        self.counters.attempt();
        Instant::now()
    }

    /// The body of a retry is about to run.
    pub fn run(&self) {
        self.attempts.set(self.attempts.get() + 1);
    }

    /// A fault was met, and may still be cured.
    pub fn faulted(&self, at: Option<Instant>) {
        self.faulted.set(self.faulted.get().or(at));
    }

    /// An attempt is over. `began` is when its body began to run.
    #[inline]
    pub fn attempted(&self, began: Instant, connection: Option<u32>, end: End) {
        let spent = began.elapsed();
        self.end.set(end);
        if connection.is_some() {
            self.connection.set(connection);
        }
        self.counters.spent(spent);
        if spent >= self.settings.slow_transaction {
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
                db_core.threshold = self.settings.slow_transaction.as_secs_f64(),
                db_core.connection_id = self.connection.get(),
                db_core.outcome = end.outcome.name(),
            },
            "a transaction was open for long"
        );
        self.settings.listener.hears(|| Event::SlowTransaction {
            function: function(self.body),
            took: spent,
            committed: end.outcome == Outcome::Committed,
        });
    }

    /// An attempt failed for this cause, and another one follows. `attempts`: those so far.
    pub fn retries(&self, cause: Cause, attempts: u32, delay: Duration) {
        self.settings.listener.hears(|| Event::Retry {
            function: function(self.body),
            attempts,
            kind: cause.kind(),
            code: cause.code(),
            delay,
        });
    }

    /// How the call would end now.
    pub fn ends(&self, end: End) {
        self.end.set(end);
    }

    pub fn failed(&self, error: &Error) {
        self.ends(End::failed(Cause::of(error)));
    }

    /// Whether anybody wants to know more than can be counted.
    pub fn heard(&self) -> bool {
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
            self.counters.ended(outcome, cause);
        }
        if let (Some(faulted), Outcome::Committed | Outcome::Succeeded) = (self.faulted.get(), outcome) {
            self.counters.recovered(faulted.elapsed());
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
fn transaction_span(settings: &Settings, counters: &Counters, body: &'static str, options: &TxOptions) -> tracing::span::EnteredSpan {
    span!("db_core.transaction", settings, counters, body, options.isolation.map(tracing::field::display))
}

#[cfg(feature = "tracing")]
#[cold]
fn retry_span(settings: &Settings, counters: &Counters, body: &'static str) -> tracing::span::EnteredSpan {
    span!("db_core.retry", settings, counters, body, tracing::field::Empty)
}

/// A connection was opened for the body's statements. `again`: in place of an earlier one.
pub(crate) fn opened(settings: &Settings, counters: &Counters, conn: &Conn, again: bool) {
    counters.opened(conn.server_version(), again);
    if again {
        settings.listener.hears(|| Event::Reconnect { host: settings.hosts.name_in_use().into(), connection: conn.connection_id() });
    }
    if !again {
        event!(
            debug,
            "db_core.connect",
            {
                server.address = &*address(settings.hosts.in_use()),
                server.port = port(settings.hosts.in_use()),
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
            server.address = &*address(settings.hosts.in_use()),
            server.port = port(settings.hosts.in_use()),
            db_core.connection_id = conn.connection_id(),
        },
        "connected again"
    );
}
