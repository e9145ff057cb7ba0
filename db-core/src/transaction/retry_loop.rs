//! One call, run again for as long as that is safe and of use. The only loop around a body, and the only sleep of the crate.

use std::time::{Duration, Instant};

use crate::retry::attempts::{self, Attempt, FailedAttempt, Frame, History};
use crate::retry::policy::{Failed, Failure, Next, Progress, RetryPolicy};
use crate::session::Aftermath;
use crate::session::shared::Database;
use crate::telemetry::event::event;
use crate::telemetry::outcome::{Cause, End};
use crate::telemetry::span::Watch;
use crate::transaction::hooks::{self, Hook};
use crate::{Error, ErrorKind, Result};

/// What the transactions of an attempt have told of it.
#[derive(Default)]
struct Seen {
    fault: Option<Error>,
    /// No transaction could begin, since no connection was to be had.
    unreachable: bool,
    /// Hooks of rolled back transactions. They run once it is certain that there is no retry.
    hooks: Vec<Hook>,
}

/// Takes its frame away, also when the body panics.
struct Running(Option<attempts::Running>);

impl Running {
    fn begin(database: &Database, attempt: Attempt, history: History) -> Self {
        Self(Some(attempts::begin(database.id(), attempt, history)))
    }

    fn end(mut self) -> Option<Frame> {
        self.0.take().map(|mut running| running.end())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut running) = self.0.take() {
            hooks::run_while_panicking(running.end().take_notes::<Seen>().hooks);
        }
    }
}

/// A transaction could not begin.
pub(crate) fn saw_unreachable(database: &Database, error: &Error) {
    if error.passes() {
        attempts::with(database.id(), |frame| {
            let seen = frame.notes::<Seen>();
            seen.fault = Some(error.clone().at(database.id()));
            seen.unreachable = true;
        });
    }
}

/// A transaction has ended.
pub(crate) fn saw_end(database: &Database, aftermath: Aftermath) {
    if aftermath.committed {
        attempts::mark_committed_all();
    }
    attempts::with(database.id(), |frame| {
        if aftermath.fault.is_some() || frame.existing_notes::<Seen>().is_some() {
            let seen = frame.notes::<Seen>();
            seen.unreachable = false;
            seen.fault = aftermath.fault.map(|fault| fault.at(database.id()));
        }
    });
}

/// The hooks of a transaction that was rolled back: kept while a retry is possible, else given back to be run.
pub(crate) fn keep_hooks(database: &Database, hooks: Vec<Hook>) -> Vec<Hook> {
    if hooks.is_empty() {
        return hooks;
    }
    let mut hooks = Some(hooks);
    attempts::with(database.id(), |frame| frame.notes::<Seen>().hooks.extend(hooks.take().unwrap_or_default()));
    hooks.unwrap_or_default()
}

/// Whether an attempt on `database` that was begun here could itself be retried as a whole.
fn outer_retries(database: &Database) -> Option<Attempt> {
    attempts::with(database.id(), |frame| (!frame.committed).then_some(frame.attempt)).flatten()
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
    if let Some(attempt) = outer_retries(database) {
        call.began();
        let result = (call.body)(attempt);
        call.ended(result.as_ref().err(), None);
        return result;
    }
    let mut pace = Pace::new(*policy);
    let began = pace.began;
    let mut runs = 0;
    let mut reconnect = false;
    let mut history = History::default();
    loop {
        let mut failed = None;
        if std::mem::take(&mut reconnect) {
            let waiting = Running::begin(database, policy.attempt(runs, began), std::mem::take(&mut history));
            let connected = database.connect();
            history = waiting.end().map(|frame| frame.history).unwrap_or_default();
            if let Err(error) = connected {
                call.watch.failed(&error);
                if !error.passes() {
                    return Err(error.into());
                }
                history.add(FailedAttempt::new(policy.attempt(runs, began).number(), error.kind(), error.code()));
                failed = Some((Failure::Unreachable, Cause::of(&error), E::from(error), Vec::new()));
            }
        }
        let (failure, cause, error, hooks) = match failed {
            Some(failed) => failed,
            None => {
                let running = Running::begin(database, policy.attempt(runs, began), std::mem::take(&mut history));
                call.began();
                let result = (call.body)(policy.attempt(runs, began));
                let Some(mut frame) = running.end() else { return result };
                let seen: Seen = frame.take_notes();
                let error = match result {
                    Ok(value) => {
                        call.ended(None, None);
                        hooks::run(seen.hooks);
                        return Ok(value);
                    }
                    Err(error) => error,
                };
                let of_another = |error: &Error| error.origin().is_some_and(|database_id| database_id != database.id());
                let fault = seen.fault.or_else(|| (call.inspect)(&error).filter(|error| !of_another(error)));
                call.ended(Some(&error), fault.as_ref());
                let failed = Failed { error: fault.as_ref(), requested: frame.requested, committed: frame.committed };
                if !policy.retries(&failed) {
                    hooks::run(seen.hooks);
                    return Err(error);
                }
                let (kind, code) = fault.as_ref().map_or((ErrorKind::RetryRequested, None), |fault| (fault.kind(), fault.code()));
                let failure = if seen.unreachable { Failure::Unreachable } else { Failure::of(kind) };
                history = frame.history;
                history.add(FailedAttempt::new(frame.attempt.number(), kind, code));
                let counts = if seen.unreachable { !call.watch.is_transaction } else { failure != Failure::Unreachable };
                runs += u32::from(counts);
                let cause = fault.as_ref().map_or(Cause::Error { kind, code }, Cause::of);
                (failure, cause, error, seen.hooks)
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
