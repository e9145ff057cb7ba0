//! The retry loop: the only loop around a body.

use std::time::{Duration, Instant};

use crate::retry::attempts::{self, Attempt, FailedAttempt, Frame, History};
use crate::retry::deadline;
use crate::retry::pace::{Pace, pause};
use crate::retry::policy::{Failed, Failure, RetryPolicy};
use crate::session::shared::Database;
use crate::session::{Ended, Ending, Session};
use crate::telemetry::event::event;
use crate::telemetry::outcome::{Cause, End};
use crate::telemetry::span::Watch;
use crate::transaction::hooks::{self, Hook, Kept};
use crate::{Error, ErrorKind, Result};

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

/// Begins an attempt, and ends it. Also a panic of the body does.
struct Running(attempts::Running);

impl Running {
    fn begin(database: &Database, attempt: Attempt, history: History) -> Self {
        Self(attempts::begin(database.id(), attempt, history))
    }

    fn end(mut self) -> Frame {
        self.0.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            hooks::run_while_panicking(self.0.end().take_notes::<Seen>().hooks);
        }
    }
}

fn on_frame(database: &Database, f: impl FnOnce(&mut Seen)) {
    attempts::with(database.id(), |frame| f(frame.notes()));
}

/// The attempt a function is told that was called inside a transaction of `database`.
pub(super) fn attempt_of(database: usize) -> Attempt {
    attempts::attempt_of(database)
}

/// A transaction, or another use of the connection, could not begin.
pub(super) fn saw_unreachable(database: &Database, error: &Error) {
    if error.passes() {
        on_frame(database, |seen| {
            seen.fault = Some(error.clone());
            seen.unreachable = true;
        });
    }
}

/// A retry around a use of the connection learns of its failure as of a transaction's that could not begin.
pub(crate) fn told<R>(database: &Database, result: Result<R>) -> Result<R> {
    result.map_err(|error| {
        let error = error.at(database.id());
        saw_unreachable(database, &error);
        error
    })
}

/// Uses the database's session outside of a transaction.
pub(crate) fn with_session<R>(database: &Database, used: impl FnOnce(&mut Session) -> Result<R>) -> Result<R> {
    told(database, database.enter().and_then(|mut entered| used(&mut entered.session)))
}

/// A transaction has ended. Returns the hooks that are to run now.
pub(super) fn saw_end(database: &Database, ended: &Ended, hooks: Vec<Hook>, panicked: bool) -> Vec<Hook> {
    if ended.spent {
        attempts::mark_committed_all();
    }
    attempts::with(database.id(), |frame| {
        // An attempt in which all goes well needs no notes.
        if frame.existing_notes::<Seen>().is_none() && ended.last_error.is_none() && ended.resolving.is_zero() && !ended.handed_out {
            return;
        }
        let seen: &mut Seen = frame.notes();
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
    if hooks.is_empty() || panicked || ended.ending == Ending::Committed || !attempts::any_may_be_retried() {
        return hooks;
    }
    keep(hooks)
}

/// Keeps hooks with the innermost attempt, until it is certain that what they belong to is not repeated.
fn keep(hooks: Vec<Hook>) -> Vec<Hook> {
    let mut hooks = Some(hooks);
    attempts::with_innermost(|frame| frame.notes::<Seen>().hooks.extend(hooks.take().unwrap_or_default()));
    hooks.unwrap_or_default()
}

/// Runs the hooks of an attempt that is not repeated, unless one around it may be.
fn run_hooks(hooks: Vec<Hook>) {
    let hooks = if !hooks.is_empty() && attempts::any_may_be_retried() { keep(hooks) } else { hooks };
    hooks::run(hooks);
}

/// What is run again and again.
pub(super) struct Call<'w, F, I> {
    /// One attempt.
    pub(super) body: F,
    /// Looks for a fault in the body's own error.
    pub(super) inspect: I,
    pub(super) watch: &'w Watch<'w>,
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
fn reconnect_once(database: &Database, attempt: Attempt, history: &mut History, writable: bool) -> Result<()> {
    // An error that is made here belongs to the attempt that is waited for.
    let waiting = Running::begin(database, attempt, std::mem::take(history));
    let connected = database.connect(writable);
    *history = waiting.end().history;
    connected
}

pub(super) fn drive<T, E, F, I>(database: &Database, policy: &RetryPolicy, mut call: Call<'_, F, I>) -> Result<T, E>
where
    E: From<Error>,
    F: FnMut(Attempt) -> Result<T, E>,
    I: Fn(&E) -> Option<Error>,
{
    // Inside another retry that can still retry this one too, once is enough: never three times three.
    if let Some(attempt) = attempts::retriable(database.id()) {
        call.began();
        let result = (call.body)(attempt);
        call.ended(result.as_ref().err(), None);
        return result;
    }
    let mut pace = Pace::new(database.settings.paced(policy));
    let mut runs = 0;
    let mut history = History::default();
    let mut reconnect = None;
    // Of the attempt before, which may turn out to have been the last. A panic of the caller's own code makes it so.
    let mut kept = Kept::default();
    loop {
        let waits_for = reconnect.take();
        let reconnected = match waits_for {
            Some(writable) => reconnect_once(database, policy.attempt(runs, pace.began()), &mut history, writable),
            None => Ok(()),
        };
        let (failure, cause, error) = match reconnected {
            Err(error) => {
                call.watch.failed(&error);
                if !error.passes() {
                    run_hooks(kept.take());
                    return Err(error.into());
                }
                reconnect = waits_for;
                (Failure::Unreachable, Cause::of(&error), E::from(error))
            }
            Ok(()) => {
                // An attempt that is retried has never been: its hooks go before the next begins.
                drop(kept.take());
                let attempt = policy.attempt(runs, pace.began());
                let running = Running::begin(database, attempt, std::mem::take(&mut history));
                call.began();
                let result = (call.body)(attempt);
                let mut frame = running.end();
                let seen: Seen = frame.take_notes();
                kept.0 = seen.hooks;
                pace.pause_clock(seen.resolving);
                let error = match result {
                    Ok(value) => {
                        call.ended(None, None);
                        run_hooks(kept.take());
                        return Ok(value);
                    }
                    Err(error) => error,
                };
                // Of an error that came with a result of the driver's it is not known which database it is of.
                let is_of_this = |fault: &Error| fault.origin().map_or(seen.handed_out, |origin| origin == database.id());
                let fault = seen.fault.or_else(|| (call.inspect)(&error).filter(is_of_this));
                let met = fault.as_ref().or(seen.last_error.as_ref());
                call.ended(Some(&error), fault.as_ref());
                if !policy.retries(&Failed { error: met, requested: frame.requested, committed: frame.committed }) {
                    run_hooks(kept.take());
                    return Err(error);
                }
                let (kind, code) =
                    met.filter(|_| !frame.requested).map_or((ErrorKind::RetryRequested, None), |met| (met.kind(), met.code()));
                history = frame.history;
                history.add(FailedAttempt::new(attempt.number(), kind, code));
                runs += u32::from(!(seen.unreachable && call.watch.is_transaction));
                let failure = if seen.unreachable { Failure::Unreachable } else { Failure::of(kind) };
                reconnect = failure.reconnects();
                (failure, Cause::Error { kind, code }, error)
            }
        };
        let Some(delay) = pace.next(failure, runs) else {
            run_hooks(kept.take());
            return Err(error);
        };
        if deadline::at_most(delay) < delay {
            run_hooks(kept.take());
            return Err(deadline::exceeded(format!("the last attempt failed with {cause}, and there is no time for another one")).into());
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
        call.watch.retries(cause, runs, delay);
        drop(error);
        pause(delay);
    }
}
