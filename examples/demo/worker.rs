//! A customer of the bank: one transfer after the other, and a memory of what was reported.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::ErrorKind;
use parking_lot::Mutex;

use crate::Run;
use crate::bank::{BankError, Connection, Order, transfer};

/// What the caller of a transfer was told.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// Nothing so far.
    None,
    Ok,
    /// By the bank itself.
    Refused,
    Failed(ErrorKind),
}

pub(crate) struct Worker {
    connection: Arc<Connection>,
    first_id: u64,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// By transfer, in the order of their ids.
    outcomes: Vec<Outcome>,
    in_call_since: Option<Instant>,
    longest_call: Duration,
}

impl Worker {
    pub(crate) fn new(number: usize, connection: &Arc<Connection>) -> Self {
        Self { connection: Arc::clone(connection), first_id: (number as u64) << 32, memory: Mutex::default() }
    }

    pub(crate) fn work(&self, run: &Run) {
        let mut id = self.first_id;
        while !run.has_ended() {
            self.call_begins();
            let outcome = match transfer(&self.connection.db, &self.connection, Order::random(id)) {
                Ok(run_began) => {
                    run.tally.count_ok(run_began);
                    Outcome::Ok
                }
                Err(BankError::Database(error)) if error.is_commit_unknown() => Outcome::Failed(ErrorKind::CommitUnknown),
                Err(BankError::Database(error)) => Outcome::Failed(error.kind()),
                Err(BankError::InsufficientFunds | BankError::NoSuchAccount(_)) => Outcome::Refused,
            };
            self.call_ended(outcome);
            id += 1;
        }
    }

    pub(crate) fn longest_call(&self) -> Duration {
        let memory = self.memory.lock();
        memory.longest_call.max(memory.in_call_since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    pub(crate) fn each_outcome(&self, mut visit: impl FnMut(u64, Outcome)) {
        let memory = self.memory.lock();
        (self.first_id..).zip(&memory.outcomes).for_each(|(id, &outcome)| visit(id, outcome));
    }

    fn call_begins(&self) {
        let mut memory = self.memory.lock();
        memory.outcomes.push(Outcome::None);
        memory.in_call_since = Some(Instant::now());
    }

    fn call_ended(&self, outcome: Outcome) {
        let mut memory = self.memory.lock();
        let took = memory.in_call_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        memory.longest_call = memory.longest_call.max(took);
        if let Some(last) = memory.outcomes.last_mut() {
            *last = outcome;
        }
    }
}
