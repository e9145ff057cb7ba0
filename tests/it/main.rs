//! The promises, each held against a real server.

#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

mod batch;
mod bodies;
mod cluster;
mod commit_faults;
mod connecting;
mod doom;
mod ends;
mod faults;
mod guard;
mod hangs;
mod hostile;
mod hosts;
mod idempotency;
mod ledger;
mod listener;
mod locks;
mod nesting;
mod observe;
mod pool;
mod retrying;
mod round_trips;
mod rows;
mod sent;
mod statements;
