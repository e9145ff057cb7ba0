//! The pools of which this thread holds a connection.
//!
//! A call that waits for a second connection of a pool while its thread holds the first can wait for itself.

use std::cell::RefCell;
use std::marker::PhantomData;

/// A connection that is held, by the addresses of its pool and of the handle that it was taken by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) pool: usize,
    pub(super) handle: usize,
}

thread_local! {
    static HELD: RefCell<Vec<Holding>> = const { RefCell::new(Vec::new()) };
}

/// Says that this thread holds a connection, until it is dropped.
pub(super) struct Held {
    holding: Holding,
    _thread: PhantomData<*const ()>,
}

impl Held {
    pub(super) fn new(holding: Holding) -> Self {
        // A destructor of the thread may use a pool after this place is gone. Nothing is noted then.
        let _ = HELD.try_with(|held| held.borrow_mut().push(holding));
        Self { holding, _thread: PhantomData }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            if let Some(at) = held.iter().rposition(|holding| *holding == self.holding) {
                held.remove(at);
            }
        });
    }
}

/// Whether this thread holds a connection that matches.
pub(super) fn any(matches: impl FnMut(&Holding) -> bool) -> bool {
    HELD.try_with(|held| held.borrow().iter().any(matches)).unwrap_or_default()
}
