//! Hooks: what a body asks to be done once its transaction has ended.
//!
//! A hook need not be `Send`, and a `Db`, whose type a transaction shares, must be. So hooks wait in a place of the thread
//! that runs the transaction, and a `Transaction` stays on that thread.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::retry::deadline;

pub(super) type Hook = Box<dyn FnOnce()>;

/// What a hook waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Commit,
    Rollback,
}

/// The hooks of one outermost transaction, by its number among those of its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting(u64);

struct Entry {
    transaction: Waiting,
    on: On,
    hook: Hook,
}

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
    static WAITING: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self(NEXT.try_with(|next| next.replace(next.get() + 1)).unwrap_or_default())
    }

    pub(super) fn add(self, on: On, hook: Hook) {
        with(|waiting| waiting.push(Entry { transaction: self, on, hook }));
    }

    /// Where the hooks of a scope that begins now will start.
    pub(super) fn mark(self) -> usize {
        with(|waiting| waiting.len()).unwrap_or_default()
    }

    /// Forgets the hooks a scope has added since its mark.
    pub(super) fn forget_since(self, mark: usize) {
        let gone = take(|position, waiting| position >= mark && waiting.transaction == self);
        // What a hook has captured may use this module when it is dropped, so it is dropped last.
        drop(gone);
    }

    /// The hooks that waited for this end, in the order they were added; the others are forgotten.
    pub(super) fn take(self, on: Option<On>) -> Vec<Hook> {
        if with(|waiting| waiting.is_empty()).unwrap_or(true) {
            return Vec::new();
        }
        let ended = take(|_, waiting| waiting.transaction == self);
        ended.into_iter().filter(|waiting| Some(waiting.on) == on).map(|waiting| waiting.hook).collect()
    }
}

fn take(mut which: impl FnMut(usize, &Entry) -> bool) -> Vec<Entry> {
    with(|waiting| {
        let mut position = 0;
        waiting
            .extract_if(.., |each| {
                position += 1;
                which(position - 1, each)
            })
            .collect()
    })
    .unwrap_or_default()
}

/// `None` at the end of a thread, once its thread-locals are gone: a transaction still works there, and its hooks are dropped.
fn with<R>(f: impl FnOnce(&mut Vec<Entry>) -> R) -> Option<R> {
    WAITING.try_with(|waiting| f(&mut waiting.borrow_mut())).ok()
}

/// Runs every hook, also after one that panics; the first panic goes on afterwards.
pub(super) fn run(hooks: Vec<Hook>) {
    if !hooks.is_empty() {
        run_all(hooks);
    }
}

fn run_all(hooks: Vec<Hook>) {
    // The call has done its work, and what hooks do is work of their own.
    let _lifted = deadline::lifted();
    let mut panic: Option<Box<dyn Any + Send>> = None;
    for hook in hooks {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(hook)) {
            panic.get_or_insert(payload);
        }
    }
    if let Some(payload) = panic {
        std::panic::resume_unwind(payload);
    }
}

/// Runs every hook while a panic is on its way already: theirs are dropped.
pub(super) fn run_while_panicking(hooks: Vec<Hook>) {
    let _lifted = deadline::lifted();
    for hook in hooks {
        drop(catch_unwind(AssertUnwindSafe(hook)));
    }
}

/// Hooks that run when this is dropped, by a panic, unless they were taken before.
#[derive(Default)]
pub(super) struct Kept(pub(super) Vec<Hook>);

impl Kept {
    pub(super) fn take(&mut self) -> Vec<Hook> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            run_while_panicking(self.take());
        }
    }
}
