//! The attempts under way on this thread.

use std::cell::RefCell;

use crate::error::kind::ErrorKind;
use crate::retry::policy::Attempt;

/// What an attempt met that was tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The server's error code, if the server reported the error.
    pub code: Option<u16>,
}

impl Met {
    /// The body asked for another attempt.
    pub(crate) const REQUESTED: Self = Self { kind: ErrorKind::Other, code: None };
}

/// One attempt of a call on a database.
struct Running {
    database: usize,
    attempt: Attempt,
    /// Work of this attempt is, or may be, in some database: it cannot be repeated as a whole.
    spent: bool,
    /// The body asked for another attempt.
    requested: bool,
    /// What the attempts before it met.
    met: Vec<Met>,
}

thread_local! {
    static RUNNING: RefCell<Vec<Running>> = const { RefCell::new(Vec::new()) };
}

/// `None` at the end of a thread, once its thread-locals are gone: calls still work there, and know of no attempt.
fn with<R>(f: impl FnOnce(&mut Vec<Running>) -> R) -> Option<R> {
    RUNNING.try_with(|running| f(&mut running.borrow_mut())).ok()
}

/// Marks an attempt as under way until it is ended or dropped.
pub(crate) struct Mark(());

/// What is known of an attempt that has ended.
#[derive(Default)]
pub(crate) struct Past {
    pub(crate) spent: bool,
    pub(crate) requested: bool,
    pub(crate) met: Vec<Met>,
}

impl Mark {
    pub(crate) fn begin(database: usize, attempt: Attempt, met: Vec<Met>) -> Self {
        with(|running| running.push(Running { database, attempt, spent: false, requested: false, met }));
        Self(())
    }

    pub(crate) fn end(self) -> Past {
        std::mem::forget(self);
        let ended = with(Vec::pop).flatten();
        ended.map(|Running { spent, requested, met, .. }| Past { spent, requested, met }).unwrap_or_default()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        with(Vec::pop);
    }
}

/// Something was committed, or may have been: no attempt under way on this thread can be repeated without doing it again.
pub(crate) fn spend_all() {
    with(|running| running.iter_mut().for_each(|running| running.spent = true));
}

/// Whether some of the work of the innermost attempt may be in a database.
pub(crate) fn is_spent() -> bool {
    with(|running| running.last().is_some_and(|running| running.spent)).unwrap_or_default()
}

/// The body of the innermost attempt asks for another one.
pub(crate) fn request() {
    with(|running| running.last_mut().map(|running| running.requested = true));
}

/// The number of the innermost attempt: 1 outside of every retry.
pub(crate) fn number() -> u32 {
    with(|running| running.last().map(|running| running.attempt.number())).flatten().unwrap_or(1)
}

/// What the attempts before the innermost one met.
pub(crate) fn met_before() -> Vec<Met> {
    with(|running| running.last().map(|running| running.met.clone())).flatten().unwrap_or_default()
}

/// The innermost attempt on this database.
pub(crate) fn of(database: usize) -> Option<Attempt> {
    with(|running| running.iter().rev().find(|running| running.database == database).map(|running| running.attempt)).flatten()
}

/// The innermost attempt on this database, if it can still be repeated as a whole.
pub(crate) fn repeatable(database: usize) -> Option<Attempt> {
    with(|running| running.iter().rev().find(|running| running.database == database && !running.spent).map(|running| running.attempt))
        .flatten()
}

/// Whether an attempt under way, on whatever database, may be repeated.
pub(crate) fn any_repeatable() -> bool {
    with(|running| running.iter().any(|running| !running.spent)).unwrap_or_default()
}
