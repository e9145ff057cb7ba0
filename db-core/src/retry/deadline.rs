//! The deadline of the call under way on this thread.
//!
//! A call with a timeout sets it, and all that waits on the thread looks at it. This is a leaf, as `attempts` is.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::{Error, ErrorKind};

thread_local! {
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A deadline that counts until this is dropped. Then the one before it counts again.
pub(crate) struct Deadline {
    before: Option<Instant>,
    _thread: PhantomData<*const ()>,
}

/// A call begins that may take so long. An earlier deadline of a call around it stays.
pub(crate) fn within(timeout: Option<Duration>) -> Option<Deadline> {
    // The receiver of a call is evaluated before its arguments: without a timeout this is no look at the clock.
    let timeout = timeout?;
    let deadline = Instant::now().checked_add(timeout)?;
    let before = current();
    set(Some(before.map_or(deadline, |before| before.min(deadline))));
    Some(Deadline { before, _thread: PhantomData })
}

/// There is no deadline until this is dropped.
pub(crate) fn lifted() -> Deadline {
    let before = current();
    set(None);
    Deadline { before, _thread: PhantomData }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        set(self.before);
    }
}

fn set(deadline: Option<Instant>) {
    let _ = DEADLINE.try_with(|cell| cell.set(deadline));
}

pub(crate) fn current() -> Option<Instant> {
    DEADLINE.try_with(Cell::get).unwrap_or_default()
}

/// Without a deadline this is no look at the clock.
pub(crate) fn passed() -> bool {
    current().is_some_and(|deadline| Instant::now() >= deadline)
}

/// `limit`, or what is left until the deadline, if that is less.
pub(crate) fn at_most(limit: Duration) -> Duration {
    current().map_or(limit, |deadline| limit.min(deadline.saturating_duration_since(Instant::now())))
}

pub(crate) fn exceeded(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::DeadlineExceeded, message)
}

/// The error that a call ends with which met this one: once the deadline has passed, that.
pub(crate) fn or_exceeded(error: Error) -> Error {
    if !passed() || error.kind() == ErrorKind::DeadlineExceeded || error.is_commit_unknown() {
        return error;
    }
    exceeded(format!("the last error was: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_earliest_deadline_counts_until_its_call_ends() {
        assert!(current().is_none() && !passed() && at_most(HOUR) == HOUR && within(None).is_none());
        let outer = within(Some(HOUR));
        let first = current();
        {
            let _longer = within(Some(HOUR * 2));
            assert_eq!(current(), first);
            let _shorter = within(Some(Duration::ZERO));
            assert!(passed() && at_most(HOUR).is_zero());
            let lifted = lifted();
            assert!(!passed());
            drop(lifted);
            assert!(passed());
        }
        assert_eq!(current(), first);
        assert!(at_most(HOUR * 2) <= HOUR);
        drop(outer);
        assert!(current().is_none() && within(Some(Duration::MAX)).is_none());
    }

    #[test]
    fn an_error_that_is_met_after_the_deadline_is_that_but_for_a_commit_that_is_not_known() {
        let lost = || Error::new(ErrorKind::ConnectionLost, "x");
        assert_eq!(or_exceeded(lost()).kind(), ErrorKind::ConnectionLost);
        let _passed = within(Some(Duration::ZERO));
        let error = or_exceeded(lost());
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        assert!(error.to_string().contains("connection to the server lost"), "{error}");
        assert_eq!(or_exceeded(Error::new(ErrorKind::CommitUnknown, "x")).kind(), ErrorKind::CommitUnknown);
    }
}
