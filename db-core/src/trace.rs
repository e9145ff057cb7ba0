//! Events for whoever listens. Without the `tracing` feature they are not even compiled.

macro_rules! event {
    ($level:ident, { $($field:tt)* }, $message:literal) => {{
        #[cfg(feature = "tracing")]
        tracing::$level!(target: "db_core", { $($field)* }, $message);
    }};
}

pub(crate) use event;
