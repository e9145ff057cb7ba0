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
pub(super) fn address(options: &mysql::Opts) -> Cow<'_, str> {
    options.get_socket().map_or_else(|| options.get_ip_or_hostname(), Cow::Borrowed)
}

/// `server.port`, where there is one.
#[cfg(any(feature = "tracing", feature = "metrics"))]
pub(super) fn port(options: &mysql::Opts) -> Option<u16> {
    options.get_socket().is_none().then(|| options.get_tcp_port())
}

/// `db.query.text`
#[cfg(feature = "tracing")]
pub(crate) fn text(sql: &str) -> tracing::field::DisplayValue<QueryText<'_>> {
    tracing::field::display(QueryText(sql))
}

/// `code.function.name`: the function that the body is, or is written in. `None` where that cannot be told from its type.
pub(crate) fn function(body: &'static str) -> Option<&'static str> {
    let body = body.trim_start_matches('&').trim_start_matches("mut ");
    match body.find("::{{closure}}") {
        Some(closure) => Some(&body[..closure]).filter(|name| name.matches('<').count() == name.matches('>').count()),
        // A function pointer's type is its signature.
        None => (!body.contains(['(', ' '])).then_some(body),
    }
}

#[cfg(test)]
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
        let here = "db_core::telemetry::event::tests::a_call_is_named_by_the_function_its_body_is_written_in";
        assert_eq!(function(name_of(|| ())), Some(here));
        let nested = || name_of(|| ());
        assert_eq!(function(nested()), Some(here));
        assert_eq!(function(name_of(inner)), Some(&*format!("{here}::inner")));
        let borrowed = &inner;
        assert_eq!(function(name_of(borrowed)), Some(&*format!("{here}::inner")));
        assert_eq!(function(name_of(inner as fn())), None);
        assert_eq!(function(name_of(Box::new(inner) as Box<dyn FnOnce()>)), None);
        assert_eq!(function(generic("")), Some("db_core::telemetry::event::tests::generic<&str>"));
        assert_eq!(function(Shop.sell()), Some("db_core::telemetry::event::tests::Shop::sell"));
    }
}
