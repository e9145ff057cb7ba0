//! One call, run again for as long as that is safe and of use. The only loop around a body, and the only sleep of the crate.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::retry::policy::{Attempt, Failure, Next, Progress, RetryPolicy};
use crate::session::Aftermath;
use crate::session::shared::Database;
use crate::telemetry::event::event;
use crate::telemetry::outcome::{Cause, End};
use crate::telemetry::span::Watch;
use crate::transaction::hooks::{self, Hook};
use crate::{Error, ErrorKind, Result};

/// An attempt under way on this thread, and what its transactions have told of it.
struct Frame {
    database: usize,
    attempt: Attempt,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    fault: Option<Error>,
    /// No transaction could begin, since no connection was to be had.
    unreachable: bool,
    /// A replay would do again what is, or may be, in the database.
    committed: bool,
    /// Hooks of rolled back transactions. They run once it is certain that there is no replay.
    hooks: Vec<Hook>,
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Takes its frame away, also when the body panics.
struct Running;

impl Running {
    fn begin(database: &Database, attempt: Attempt) -> Self {
        let frame = Frame { database: database.id(), attempt, seen: Seen::default() };
        FRAMES.with_borrow_mut(|frames| frames.push(frame));
        Self
    }

    fn end(self) -> Seen {
        std::mem::forget(self);
        pop().unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(seen) = pop() {
            hooks::run_while_panicking(seen.hooks);
        }
    }
}

fn pop() -> Option<Seen> {
    FRAMES.with_borrow_mut(|frames| frames.pop()).map(|frame| frame.seen)
}

fn on_frame<R>(database: &Database, f: impl FnOnce(&mut Frame) -> R) -> Option<R> {
    FRAMES.with_borrow_mut(|frames| frames.iter_mut().rev().find(|frame| frame.database == database.id()).map(f))
}

/// The attempt that errors arise in: 1 outside of every retry.
pub(crate) fn current_attempt() -> u32 {
    FRAMES.with_borrow(|frames| frames.last().map_or(1, |frame| frame.attempt.number()))
}

/// The attempt a function is told that was called inside a transaction of `database`.
pub(crate) fn attempt_of(database: usize) -> Attempt {
    FRAMES.with_borrow(|frames| {
        frames.iter().rev().find(|frame| frame.database == database).map_or_else(Attempt::only, |frame| frame.attempt)
    })
}

/// A transaction could not begin.
pub(crate) fn saw_unreachable(database: &Database, error: &Error) {
    if error.is_transient() {
        on_frame(database, |frame| {
            frame.seen.fault = Some(error.clone());
            frame.seen.unreachable = true;
        });
    }
}

/// A transaction has ended.
pub(crate) fn saw_end(database: &Database, aftermath: Aftermath) {
    on_frame(database, |frame| {
        frame.seen.committed |= aftermath.committed;
        frame.seen.unreachable = false;
        frame.seen.fault = aftermath.fault;
    });
}

/// The hooks of a transaction that was rolled back: kept while a replay is possible, else given back to be run.
pub(crate) fn keep_hooks(database: &Database, hooks: Vec<Hook>) -> Vec<Hook> {
    if hooks.is_empty() {
        return hooks;
    }
    let mut hooks = Some(hooks);
    on_frame(database, |frame| frame.seen.hooks.extend(hooks.take().unwrap_or_default()));
    hooks.unwrap_or_default()
}

/// Whether a run on `database` that was begun here could itself be replayed as a whole.
fn outer_replays(database: &Database) -> Option<Attempt> {
    on_frame(database, |frame| (!frame.seen.committed).then_some(frame.attempt)).flatten()
}

/// What is run again and again.
pub(crate) struct Call<'w, F, I> {
    /// One run.
    pub(crate) body: F,
    /// Looks for a fault in the body's own error.
    pub(crate) inspect: I,
    pub(crate) watch: &'w Watch<'w>,
}

impl<F, I> Call<'_, F, I> {
    /// A transaction tells of its runs, and of how they end, itself.
    fn began(&self) {
        if !self.watch.is_transaction {
            self.watch.run();
        }
    }

    fn ended<E>(&self, error: Option<&E>, fault: Option<&Error>)
    where
        I: Fn(&E) -> Option<Error>,
    {
        if self.watch.is_transaction {
            return;
        }
        self.watch.ends(error.map_or(End::SUCCEEDED, |error| {
            let seen = fault.cloned().or_else(|| (self.inspect)(error));
            End::failed(seen.map_or(Cause::Opaque, |seen| Cause::of(&seen)))
        }));
    }
}

pub(crate) fn drive<T, E, F, I>(database: &Database, policy: &RetryPolicy, mut call: Call<'_, F, I>) -> Result<T, E>
where
    E: From<Error>,
    F: FnMut(Attempt) -> Result<T, E>,
    I: Fn(&E) -> Option<Error>,
{
    // Inside another retry that can still replay this one too, once is enough: never three times three.
    if let Some(attempt) = outer_replays(database) {
        call.began();
        let result = (call.body)(attempt);
        call.ended(result.as_ref().err(), None);
        return result;
    }
    let mut pace = Pace::new(*policy);
    let began = pace.began;
    let mut runs = 0;
    let mut reconnect = false;
    loop {
        let mut failed = None;
        if std::mem::take(&mut reconnect) {
            let waiting = Running::begin(database, policy.attempt(runs, began));
            let connected = database.connect();
            waiting.end();
            if let Err(error) = connected {
                call.watch.failed(&error);
                if !error.is_transient() {
                    return Err(error.into());
                }
                failed = Some((Failure::Unreachable, Cause::of(&error), E::from(error), Vec::new()));
            }
        }
        let (failure, cause, error, hooks) = match failed {
            Some(failed) => failed,
            None => {
                let running = Running::begin(database, policy.attempt(runs, began));
                call.began();
                let result = (call.body)(policy.attempt(runs, began));
                let seen = running.end();
                let error = match result {
                    Ok(value) => {
                        call.ended(None, None);
                        hooks::run(seen.hooks);
                        return Ok(value);
                    }
                    Err(error) => error,
                };
                let fault = seen.fault.or_else(|| (call.inspect)(&error)).filter(Error::is_transient);
                call.ended(Some(&error), fault.as_ref());
                let (Some(fault), false) = (fault, seen.committed) else {
                    hooks::run(seen.hooks);
                    return Err(error);
                };
                runs += u32::from(!(seen.unreachable && call.watch.is_transaction));
                let failure = if seen.unreachable { Failure::Unreachable } else { Failure::of(&fault) };
                (failure, Cause::of(&fault), error, seen.hooks)
            }
        };
        let Some(delay) = pace.next(failure, runs) else {
            hooks::run(hooks);
            return Err(error);
        };
        call.watch.faulted(Some(Instant::now()));
        event!(
            info,
            "db_core.retry",
            {
                error.type = %cause,
                db.response.status_code = cause.code().map(tracing::field::display),
                db_core.attempts = runs,
                db_core.delay = delay.as_secs_f64(),
            },
            "retrying"
        );
        // An attempt that is replayed has never been: its hooks and its error go before the next begins.
        drop(hooks);
        drop(error);
        reconnect = failure != Failure::Conflict;
        pause(delay);
    }
}

/// When may what failed be tried again?
pub(crate) struct Pace {
    policy: RetryPolicy,
    began: Instant,
    failures: u32,
}

impl Pace {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, began: Instant::now(), failures: 0 }
    }

    /// The delay before the next try, or `None` if there is to be none.
    pub(crate) fn next(&mut self, failure: Failure, runs: u32) -> Option<Duration> {
        let progress = Progress { runs, failures: self.failures, elapsed: self.began.elapsed() };
        self.failures += u32::from(failure != Failure::Disconnected);
        match self.policy.after_failure(failure, progress, fastrand::f64()) {
            Next::After(delay) => Some(delay),
            Next::GiveUp => None,
        }
    }
}

/// The crate's one sleep.
pub(crate) fn pause(delay: Duration) {
    if !delay.is_zero() {
        std::thread::sleep(delay);
    }
}

impl Failure {
    fn of(fault: &Error) -> Self {
        match fault.kind() {
            ErrorKind::ConnectFailed => Self::Unreachable,
            ErrorKind::ConnectionLost => Self::Disconnected,
            _ => Self::Conflict,
        }
    }
}
