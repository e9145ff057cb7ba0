//! The retry loop: the only loop around a body.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::retry::attempts::{self, Mark, Met};
use crate::retry::pace::{Pace, pause};
use crate::retry::policy::{Attempt, Failure, RetryPolicy};
use crate::session::shared::Database;
use crate::session::{Ended, Ending};
use crate::telemetry::event::event;
use crate::telemetry::outcome::{Cause, End};
use crate::telemetry::span::Watch;
use crate::transaction::hooks::{self, Hook};
use crate::{Error, Result};

/// What the transactions of an attempt have told of it.
#[derive(Default)]
struct Seen {
    /// The last fault on the attempt's database.
    fault: Option<Error>,
    /// No transaction could begin, since there was no connection to be had.
    unreachable: bool,
    /// The last error that a statement on the attempt's database met, whatever it was.
    last_error: Option<Error>,
    /// The driver handed out results, so that the body may know of a fault that the session does not.
    handed_out: bool,
    /// Time spent on resolving a lost COMMIT, which no retry is charged for.
    resolving: Duration,
    /// Hooks that run once it is certain that the attempt is not repeated.
    hooks: Vec<Hook>,
}

struct Frame {
    database: usize,
    seen: Seen,
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// `None` at the end of a thread, once its thread-locals are gone.
fn with_frames<R>(f: impl FnOnce(&mut Vec<Frame>) -> R) -> Option<R> {
    FRAMES.try_with(|frames| f(&mut frames.borrow_mut())).ok()
}

/// An attempt under way. Also a panic of the body takes it away.
struct Running(Option<Mark>);

impl Running {
    fn begin(database: &Database, attempt: Attempt, met: Vec<Met>) -> Self {
        let mark = Mark::begin(database.id(), attempt, met);
        with_frames(|frames| frames.push(Frame { database: database.id(), seen: Seen::default() }));
        Self(Some(mark))
    }

    fn end(mut self) -> (attempts::Past, Seen) {
        let past = self.0.take().map(Mark::end).unwrap_or_default();
        (past, pop())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mark) = self.0.take() {
            drop(mark);
            hooks::run_while_panicking(pop().hooks);
        }
    }
}

fn pop() -> Seen {
    with_frames(Vec::pop).flatten().map(|frame| frame.seen).unwrap_or_default()
}

fn on_frame(database: &Database, f: impl FnOnce(&mut Seen)) {
    with_frames(|frames| {
        if let Some(frame) = frames.iter_mut().rev().find(|frame| frame.database == database.id()) {
            f(&mut frame.seen);
        }
    });
}

/// The attempt a function is told that was called inside a transaction of `database`.
pub(crate) fn attempt_of(database: usize) -> Attempt {
    attempts::of(database).unwrap_or_else(Attempt::only)
}

/// A transaction, or another use of the connection, could not begin.
pub(crate) fn saw_unreachable(database: &Database, error: &Error) {
    if error.passes() {
        on_frame(database, |seen| {
            seen.fault = Some(error.clone());
            seen.unreachable = true;
        });
    }
}

/// A transaction has ended. Returns the hooks that are to run now.
pub(super) fn saw_end(database: &Database, ended: &Ended, hooks: Vec<Hook>, panicked: bool) -> Vec<Hook> {
    if ended.spent {
        attempts::spend_all();
    }
    on_frame(database, |seen| {
        seen.unreachable = false;
        seen.handed_out |= ended.handed_out;
        seen.resolving += ended.resolving;
        if ended.fault.is_some() {
            seen.fault.clone_from(&ended.fault);
        }
        if ended.last_error.is_some() {
            seen.last_error.clone_from(&ended.last_error);
        }
    });
    if hooks.is_empty() || panicked || ended.ending == Ending::Committed || !attempts::any_repeatable() {
        return hooks;
    }
    keep(hooks)
}

/// Keeps hooks with the innermost attempt, until it is certain that what they belong to is not repeated.
fn keep(hooks: Vec<Hook>) -> Vec<Hook> {
    let mut hooks = Some(hooks);
    with_frames(|frames| {
        if let Some(frame) = frames.last_mut() {
            frame.seen.hooks.extend(hooks.take().unwrap_or_default());
        }
    });
    hooks.unwrap_or_default()
}

/// Runs the hooks of an attempt that is not repeated, unless one around it may be.
fn run_hooks(hooks: Vec<Hook>) {
    let hooks = if !hooks.is_empty() && attempts::any_repeatable() { keep(hooks) } else { hooks };
    hooks::run(hooks);
}

/// What is run again and again.
pub(crate) struct Call<'w, F, I> {
    /// One attempt.
    pub(crate) body: F,
    /// Looks for a fault in the body's own error.
    pub(crate) inspect: I,
    pub(crate) watch: &'w Watch<'w>,
}

impl<F, I> Call<'_, F, I> {
    /// A transaction tells of its attempts, and of how they end, itself.
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

/// Opens the connection before the next attempt. `writable`: to a server that accepts writes.
fn reconnect_once(database: &Database, attempt: Attempt, met: &mut Vec<Met>, writable: bool) -> Result<()> {
    // An error that is made here belongs to the attempt that is waited for.
    let waiting = Running::begin(database, attempt, std::mem::take(met));
    let connected = database.connect(writable);
    *met = waiting.end().0.met;
    connected
}

pub(crate) fn drive<T, E, F, I>(database: &Database, policy: &RetryPolicy, mut call: Call<'_, F, I>) -> Result<T, E>
where
    E: From<Error>,
    F: FnMut(Attempt) -> Result<T, E>,
    I: Fn(&E) -> Option<Error>,
{
    // Inside another retry that can still repeat this one too, once is enough: never three times three.
    if let Some(attempt) = attempts::repeatable(database.id()) {
        call.began();
        let result = (call.body)(attempt);
        call.ended(result.as_ref().err(), None);
        return result;
    }
    let mut pace = Pace::new(*policy);
    let mut runs = 0;
    let mut met = Vec::new();
    let mut reconnect = None;
    // Of the attempt before, which may turn out to have been the last.
    let mut hooks = Vec::new();
    loop {
        let reconnected = match reconnect.take() {
            Some(writable) => reconnect_once(database, policy.attempt(runs, pace.began()), &mut met, writable),
            None => Ok(()),
        };
        let (failure, cause, error) = match reconnected {
            Err(error) => {
                call.watch.failed(&error);
                if !error.passes() {
                    run_hooks(hooks);
                    return Err(error.into());
                }
                (Failure::Unreachable, Cause::of(&error), E::from(error))
            }
            Ok(()) => {
                // An attempt that is repeated has never been: its hooks go before the next begins.
                drop(std::mem::take(&mut hooks));
                let attempt = policy.attempt(runs, pace.began());
                let running = Running::begin(database, attempt, std::mem::take(&mut met));
                call.began();
                let result = (call.body)(attempt);
                let (past, seen) = running.end();
                met = past.met;
                hooks = seen.hooks;
                pace.pause_clock(seen.resolving);
                let error = match result {
                    Ok(value) => {
                        call.ended(None, None);
                        run_hooks(hooks);
                        return Ok(value);
                    }
                    Err(error) => error,
                };
                let fault = seen.fault.clone().or_else(|| {
                    // Of an error that came with a result of the driver's it is not known which database it is of.
                    (call.inspect)(&error).filter(|fault| fault.is_of(database.id()) || (seen.handed_out && fault.has_no_origin()))
                });
                let met_last = fault.as_ref().or(seen.last_error.as_ref());
                let again = !past.spent && policy.repeats(met_last, past.requested);
                let fault = fault.filter(|_| again);
                call.ended(Some(&error), fault.as_ref());
                if !again {
                    run_hooks(hooks);
                    return Err(error);
                }
                runs += u32::from(!(seen.unreachable && call.watch.is_transaction));
                met.push(fault.as_ref().map_or(Met::REQUESTED, Error::met));
                let failure = if seen.unreachable { Failure::Unreachable } else { fault.as_ref().map_or(Failure::Conflict, Failure::of) };
                reconnect = failure.reconnects();
                (failure, fault.as_ref().map_or(Cause::Opaque, Cause::of), error)
            }
        };
        let Some(delay) = pace.next(failure, runs) else {
            run_hooks(hooks);
            return Err(error);
        };
        if failure == Failure::Unreachable {
            reconnect.get_or_insert(false);
        }
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
        drop(error);
        pause(delay);
    }
}
