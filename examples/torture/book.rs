//! What was the caller of each operation told, and what was seen besides?

use std::time::Duration;

use db_core::ErrorKind;
use parking_lot::Mutex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With the value the call returned.
    Ok(u64),
    /// By the bank itself.
    Refused,
    Failed(ErrorKind),
}

/// How the connection was lost at the operation's COMMIT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Cut {
    #[default]
    Not,
    /// The client was told.
    Loud,
    /// It had to find out by its read timeout.
    Silent,
}

#[derive(Debug, Default)]
pub(crate) struct Record {
    /// `None`: the call has not returned.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) commit_hooks: Vec<u64>,
    pub(crate) rollback_hooks: Vec<u64>,
    /// Hooks that ran although their part of the transaction was undone.
    pub(crate) undone_hooks: u32,
    pub(crate) runs: u32,
    /// An attempt had another number than its run.
    pub(crate) misnumbered: bool,
    pub(crate) cut: Cut,
    pub(crate) took: Duration,
    /// It began, so it must end.
    pub(crate) begun: bool,
    pub(crate) slow: bool,
}

/// By operation.
pub(crate) struct Book(Vec<Mutex<Record>>);

impl Book {
    pub(crate) fn new(ops: usize) -> Self {
        Self((0..ops).map(|_| Mutex::default()).collect())
    }

    pub(crate) fn change(&self, op: usize, change: impl FnOnce(&mut Record)) {
        change(&mut self.0[op].lock());
    }

    pub(crate) fn each(&self, mut visit: impl FnMut(usize, &Record)) {
        self.0.iter().enumerate().for_each(|(op, record)| visit(op, &record.lock()));
    }
}
