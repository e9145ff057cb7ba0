//! The attempts under way on this thread.
//!
//! The retry loop adds a frame for each attempt and takes it away. An error reads the frames when it is made, and a commit
//! marks them. This is a leaf: neither side knows the other.
//!
//! A thread's destructors may still use a `Db` when this thread-local is gone. Nothing is recorded then, and nothing is retried.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::error::kind::ErrorKind;

/// The number of failed attempts that are kept for an error's text.
const REMEMBERED: usize = 16;

thread_local! {
    /// How many transactions are open, and whether an error that is made now follows on work that may have been committed.
    static TRANSACTIONS: Cell<(u32, bool)> = const { Cell::new((0, false)) };
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Which attempt of the body this is. Injected by `#[retry_on_disconnect]`, passed by [`Scope::retry`](crate::Scope::retry).
///
/// ```
/// # use db_core::{Db, prelude::*};
/// # fn example(db: &Db) -> db_core::Result<()> {
/// db.retry(&RetryPolicy::default(), |attempt| {
///     if attempt.is_last() { eprintln!("attempt {}, the last", attempt.number()); }
///     db.ping()
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    count: u32,
    max: u32,
    began: Instant,
}

impl Attempt {
    pub(crate) fn new(count: u32, max: u32, began: Instant) -> Self {
        Self { count, max, began }
    }

    /// The only attempt there will be.
    pub(crate) fn only() -> Self {
        Self { count: 0, max: 1, began: Instant::now() }
    }

    /// The number of attempts before this one: 0 for the first.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The number of this attempt: 1 for the first.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.count.saturating_add(1)
    }

    /// The number of attempts that may still follow.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.max.saturating_sub(self.number())
    }

    /// Whether no attempt will follow.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.remaining() == 0
    }

    /// The time since the first attempt began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// An earlier attempt of a call, and what ended it. See [`Error::history`](crate::Error::history).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    number: u32,
    kind: ErrorKind,
    code: Option<u16>,
}

impl FailedAttempt {
    pub(crate) fn new(number: u32, kind: ErrorKind, code: Option<u16>) -> Self {
        Self { number, kind, code }
    }

    /// The number of the attempt: 1 for the first.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The server's error code, if the server reported the error.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.code
    }
}

/// The failed attempts of one call, oldest first: one entry per attempt number, at most [`REMEMBERED`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History(Vec<FailedAttempt>);

impl History {
    /// Adds an attempt. A later failure of the same attempt (the server still cannot be reached) takes the earlier one's place.
    pub fn add(&mut self, failed: FailedAttempt) {
        self.0.retain(|earlier| earlier.number != failed.number);
        if self.0.len() == REMEMBERED {
            self.0.remove(0);
        }
        self.0.push(failed);
    }

    pub fn as_slice(&self) -> &[FailedAttempt] {
        &self.0
    }
}

/// An attempt under way.
pub(crate) struct Frame {
    database: usize,
    attempt: Attempt,
    /// Work of this attempt is, or may be, in a database: it must not be done again.
    pub committed: bool,
    /// The body made an error that asks for another attempt.
    pub requested: bool,
    pub history: History,
    notes: Option<Box<dyn Any>>,
}

impl Frame {
    fn new(database: usize, attempt: Attempt, history: History) -> Self {
        Self { database, attempt, committed: false, requested: false, history, notes: None }
    }

    /// What the retry loop notes of its own about this attempt. Made at the first call: an attempt that needs none costs no allocation.
    pub fn notes<S: Default + 'static>(&mut self) -> &mut S {
        let notes = self.notes.get_or_insert_with(|| Box::new(S::default()));
        match notes.downcast_mut() {
            Some(notes) => notes,
            None => unreachable!("the retry loop has one type of notes"),
        }
    }

    /// The notes, if there are any.
    pub fn existing_notes<S: 'static>(&mut self) -> Option<&mut S> {
        self.notes.as_mut()?.downcast_mut()
    }

    /// Takes the notes out.
    pub fn take_notes<S: Default + 'static>(&mut self) -> S {
        self.notes.take().and_then(|notes| notes.downcast().ok()).map_or_else(S::default, |notes| *notes)
    }
}

/// An attempt's frame on this thread. It is taken away by [`end`](Self::end), or when this is dropped by a panic.
pub(crate) struct Running {
    database: usize,
    attempt: Attempt,
    /// The number of frames below this one; `None` if the thread-local is gone, or the frame was taken.
    below: Option<usize>,
    _thread: PhantomData<*const ()>,
}

/// Begins an attempt.
pub(crate) fn begin(database: usize, attempt: Attempt, history: History) -> Running {
    let below = FRAMES.try_with(|frames| {
        let mut frames = frames.try_borrow_mut().ok()?;
        let below = frames.len();
        frames.push(Frame::new(database, attempt, history));
        Some(below)
    });
    Running { database, attempt, below: below.ok().flatten(), _thread: PhantomData }
}

impl Running {
    /// Takes the frame away. If it could not be kept, whether something was committed is not known, and it counts as committed.
    pub fn end(&mut self) -> Frame {
        self.pop().unwrap_or_else(|| Frame { committed: true, ..Frame::new(self.database, self.attempt, History::default()) })
    }

    fn pop(&mut self) -> Option<Frame> {
        let below = self.below.take()?;
        // What frames hold may use this module when it is dropped, so it is dropped outside.
        let above = |frames: &RefCell<Vec<Frame>>| {
            let mut frames = frames.try_borrow_mut().ok()?;
            (below < frames.len()).then(|| frames.split_off(below))
        };
        FRAMES.try_with(above).ok().flatten()?.into_iter().next()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.pop());
    }
}

/// Calls `f` with the innermost attempt of this database. `f` must neither make an error nor run anyone else's code.
pub(crate) fn with<R>(database: usize, f: impl FnOnce(&mut Frame) -> R) -> Option<R> {
    let on_frames = |frames: &RefCell<Vec<Frame>>| {
        let mut frames = frames.try_borrow_mut().ok()?;
        frames.iter_mut().rev().find(|frame| frame.database == database).map(f)
    };
    FRAMES.try_with(on_frames).ok().flatten()
}

/// Something was, or may have been, committed on some database. No attempt under way on this thread can be retried.
pub(crate) fn mark_committed_all() {
    let _ = FRAMES.try_with(|frames| {
        if let Ok(mut frames) = frames.try_borrow_mut() {
            frames.iter_mut().for_each(|frame| frame.committed = true);
        }
    });
}

/// Errors that are made from now on, until the outermost transaction of this thread has ended, follow on work that may have been
/// committed.
pub(crate) fn mark_errors_spent() {
    let _ = TRANSACTIONS.try_with(|cell| cell.set((cell.get().0, true)));
}

/// A transaction of a database's own begins on this thread, perhaps inside one of another database.
pub(crate) fn transaction_begins() {
    let _ = TRANSACTIONS.try_with(|cell| cell.set((cell.get().0 + 1, cell.get().1)));
}

/// Whether an error that is made now follows on work of an open transaction, or of one inside it, that may have been committed.
pub(crate) fn follows_on_commit() -> bool {
    TRANSACTIONS.try_with(|cell| cell.get().1).unwrap_or_default()
}

/// It has ended. `spent`: some of its work is, or may be, in the database.
pub(crate) fn transaction_ended(spent: bool) {
    let _ = TRANSACTIONS.try_with(|cell| {
        let (open, errors_spent) = cell.get();
        let open = open.saturating_sub(1);
        cell.set((open, open > 0 && (spent || errors_spent)));
    });
}

/// Calls `f` with the innermost attempt of this thread. `f` must neither make an error nor run anyone else's code.
pub(crate) fn with_innermost<R>(f: impl FnOnce(&mut Frame) -> R) -> Option<R> {
    FRAMES.try_with(|frames| frames.try_borrow_mut().ok()?.last_mut().map(f)).ok().flatten()
}

/// Whether an attempt under way, on whatever database, may be retried as a whole.
pub(crate) fn any_may_be_retried() -> bool {
    let any = |frames: &RefCell<Vec<Frame>>| frames.try_borrow().is_ok_and(|frames| frames.iter().any(|frame| !frame.committed));
    FRAMES.try_with(any).unwrap_or_default()
}

/// The body asks for another attempt.
pub(crate) fn request_retry() {
    let _ = FRAMES.try_with(|frames| {
        if let Ok(mut frames) = frames.try_borrow_mut()
            && let Some(frame) = frames.last_mut()
        {
            frame.requested = true;
        }
    });
}

/// What an error that is made now has to know.
pub(crate) struct Moment {
    /// The number of the innermost attempt: 1 outside of every retry.
    pub attempt: u32,
    /// An attempt under way has committed something already.
    pub committed: bool,
    pub history: History,
}

impl Default for Moment {
    /// Outside of every retry.
    fn default() -> Self {
        Self { attempt: 1, committed: false, history: History::default() }
    }
}

impl Moment {
    pub fn now() -> Self {
        let seen = |frames: &RefCell<Vec<Frame>>| {
            let frames = frames.try_borrow().ok()?;
            let innermost = frames.last()?;
            Some(Self {
                attempt: innermost.attempt.number(),
                committed: frames.iter().any(|frame| frame.committed),
                history: innermost.history.clone(),
            })
        };
        let mut moment = FRAMES.try_with(seen).ok().flatten().unwrap_or_default();
        moment.committed |= follows_on_commit();
        moment
    }
}

/// The innermost attempt on this database, if it can still be retried as a whole.
pub(crate) fn retriable(database: usize) -> Option<Attempt> {
    let innermost = |frames: &RefCell<Vec<Frame>>| {
        let frames = frames.try_borrow().ok()?;
        frames.iter().rev().find(|frame| frame.database == database && !frame.committed).map(|frame| frame.attempt)
    };
    FRAMES.try_with(innermost).ok().flatten()
}

/// The attempt that a function called inside a transaction of `database` belongs to.
pub(crate) fn attempt_of(database: usize) -> Attempt {
    with(database, |frame| frame.attempt).unwrap_or_else(Attempt::only)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(count: u32) -> Attempt {
        Attempt::new(count, 3, Instant::now())
    }

    fn frames() -> usize {
        FRAMES.with_borrow(Vec::len)
    }

    #[test]
    fn a_frame_lasts_as_long_as_its_attempt_also_when_that_panics() {
        let mut outer = begin(1, attempt(0), History::default());
        let panic = std::panic::catch_unwind(|| {
            let _running = begin(2, attempt(1), History::default());
            assert_eq!(Moment::now().attempt, 2);
            panic!("the body's");
        });
        assert!(panic.is_err());
        assert_eq!((frames(), Moment::now().attempt), (1, 1));
        assert_eq!(outer.end().database, 1);
        drop(outer);
        assert_eq!(frames(), 0);
    }

    #[test]
    fn a_commit_marks_every_attempt_of_the_thread_and_a_request_the_innermost() {
        let mut outer = begin(1, attempt(0), History::default());
        let mut inner = begin(2, attempt(0), History::default());
        assert!(!Moment::now().committed);
        request_retry();
        mark_committed_all();
        assert!(Moment::now().committed);
        let (inner, outer) = (inner.end(), outer.end());
        assert_eq!([inner.committed, inner.requested, outer.committed, outer.requested], [true, true, true, false]);
    }

    #[test]
    fn an_attempt_begun_after_a_commit_can_be_retried_but_its_errors_know_of_the_commit() {
        let outer = begin(1, attempt(0), History::default());
        mark_committed_all();
        let mut inner = begin(2, attempt(0), History::default());
        assert!(Moment::now().committed);
        assert!(!inner.end().committed);
        drop(outer);
    }

    #[test]
    fn the_innermost_attempt_of_a_database_is_found() {
        let _frames = [(1, 0), (2, 1), (1, 2)].map(|(database, count)| begin(database, attempt(count), History::default()));
        assert_eq!([attempt_of(1).number(), attempt_of(2).number(), attempt_of(3).number()], [3, 2, 1]);
        assert_eq!(with(3, |_| ()), None);
    }

    #[test]
    fn notes_are_kept_until_the_attempt_ends() {
        let mut running = begin(1, attempt(0), History::default());
        assert_eq!(with(1, |frame| frame.existing_notes::<Vec<u8>>().is_some()), Some(false));
        with(1, |frame| frame.notes::<Vec<u8>>().push(7));
        with(1, |frame| frame.notes::<Vec<u8>>().push(8));
        assert_eq!(running.end().take_notes::<Vec<u8>>(), [7, 8]);
        assert_eq!(begin(1, attempt(0), History::default()).end().take_notes::<Vec<u8>>(), [0; 0]);
    }

    #[test]
    fn a_history_has_one_entry_per_attempt_and_an_end() {
        let mut history = History::default();
        for number in [1, 2, 2, 2, 3] {
            history.add(FailedAttempt::new(number, ErrorKind::ConnectFailed, None));
        }
        history.add(FailedAttempt::new(3, ErrorKind::Deadlock, Some(1213)));
        let numbers = |history: &History| history.as_slice().iter().map(FailedAttempt::number).collect::<Vec<_>>();
        assert_eq!(numbers(&history), [1, 2, 3]);
        assert_eq!(history.as_slice()[2].code(), Some(1213));
        for number in 4..100 {
            history.add(FailedAttempt::new(number, ErrorKind::Deadlock, None));
        }
        assert_eq!(numbers(&history), (84..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_destructor_of_the_thread_that_runs_later_can_make_attempts_and_retries_none() {
        struct Late(std::sync::mpsc::Sender<(bool, u32)>);
        impl Drop for Late {
            fn drop(&mut self) {
                // Gone, or not: the order of destructors is the platform's.
                let gone = FRAMES.try_with(|_| ()).is_err();
                let mut running = begin(1, attempt(1), History::default());
                mark_committed_all();
                request_retry();
                let number = Moment::now().attempt;
                assert!(running.end().committed);
                let _ = self.0.send((gone, number));
            }
        }
        thread_local! { static LATE: RefCell<Option<Late>> = const { RefCell::new(None) }; }
        let (sender, receiver) = std::sync::mpsc::channel();
        for first in [true, false] {
            let sender = sender.clone();
            let thread = std::thread::spawn(move || {
                if first {
                    drop(begin(1, attempt(0), History::default()));
                }
                LATE.set(Some(Late(sender)));
                drop(begin(1, attempt(0), History::default()));
            });
            assert!(thread.join().is_ok());
        }
        let seen: Vec<_> = receiver.try_iter().collect();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().any(|&(gone, number)| gone && number == 1), "{seen:?}");
    }
}
