//! What a statement's text says.

pub(crate) mod kind;
#[cfg(feature = "tracing")]
pub(crate) mod sanitize;
