//! The promises, each held against a real server.

#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

mod commit_faults;
mod doom;
mod ends;
mod faults;
mod guard;
mod ledger;
mod locks;
mod nesting;
mod retrying;
mod round_trips;
mod statements;
