//! Events, and the attributes they share.
//!
//! Without the feature `tracing` an event is not compiled. With it and no subscriber, no field is computed.

#[cfg(any(feature = "tracing", feature = "metrics"))]
use std::borrow::Cow;

#[cfg(feature = "tracing")]
use crate::sql::sanitize::QueryText;

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
