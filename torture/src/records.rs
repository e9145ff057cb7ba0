//! What the caller of each operation was told, and what was seen besides.

use std::time::Duration;

use db_core::ErrorKind;
use parking_lot::Mutex;

use crate::bank::Order;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With the number of the attempt, as the call returned it.
    Ok(u32),
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
    /// The client found out by its read timeout.
    Silent,
}

/// The executions of one kind of hook.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Hooks {
    pub(crate) times: u32,
    /// The attempt that registered the last one.
    pub(crate) attempt: u32,
}

impl Hooks {
    pub(crate) fn ran(&mut self, attempt: u32) {
        *self = Self { times: self.times + 1, attempt };
    }
}

#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) order: Order,
    /// `None`: the call has not returned.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) after_commit: Hooks,
    pub(crate) after_rollback: Hooks,
    /// Hooks that ran although their nested transaction was rolled back.
    pub(crate) undone_hooks: u32,
    pub(crate) attempts: u32,
    /// An attempt had another number than its execution.
    pub(crate) misnumbered: bool,
    pub(crate) cut: Cut,
    pub(crate) took: Duration,
    pub(crate) slow: bool,
}

/// By operation. `None`: it has not begun.
#[derive(Default)]
pub(crate) struct Records(Mutex<Vec<Option<Record>>>);

impl Records {
    pub(crate) fn begin(&self, op: usize, order: Order) {
        let mut records = self.0.lock();
        if records.len() <= op {
            records.resize_with(op + 1, || None);
        }
        records[op] = Some(Record { order, ..Record::default() });
    }

    /// Of an operation that has begun.
    pub(crate) fn change(&self, op: usize, change: impl FnOnce(&mut Record)) {
        if let Some(Some(record)) = self.0.lock().get_mut(op) {
            change(record);
        }
    }

    pub(crate) fn each(&self, mut visit: impl FnMut(usize, &Record)) {
        self.0.lock().iter().enumerate().filter_map(|(op, record)| Some((op, record.as_ref()?))).for_each(|(op, record)| visit(op, record));
    }
}
