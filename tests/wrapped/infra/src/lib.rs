//! What a company's own crate exports.

pub use db_core::{self, prelude, retry_on_disconnect, transactional};
