//! The commit ledger: which attempt to commit has won.

pub(crate) mod resolve;
pub(crate) mod row;
