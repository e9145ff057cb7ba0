//! A value that each process has for itself.
//!
//! A child of fork(2) has a copy of its parent's memory, but one thread only: a lock that another thread of the parent held at that
//! moment is never released in the child. So the child does not look at its parent's value, and makes one of its own.

use std::process;
use std::sync::OnceLock;

pub(crate) struct PerProcess<T> {
    process: u32,
    value: T,
    /// That of a child.
    next: OnceLock<Box<PerProcess<T>>>,
}

impl<T: Default> Default for PerProcess<T> {
    fn default() -> Self {
        Self { process: process::id(), value: T::default(), next: OnceLock::new() }
    }
}

impl<T: Default> PerProcess<T> {
    pub fn get(&self) -> &T {
        let process = process::id();
        let mut own = self;
        while own.process != process {
            own = own.next.get_or_init(Box::default);
        }
        &own.value
    }

    /// Whether the value is this process's own.
    pub fn is_own(&self, value: &T) -> bool {
        std::ptr::eq(self.get(), value)
    }
}
