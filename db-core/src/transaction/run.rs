//! How a transaction, or a nested call, runs: begin, body, end.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use crate::retry::attempts;
use crate::session::shared::Database;
use crate::session::{Ended, Ending, Nested, Session, Wish};
use crate::telemetry::event::event;
use crate::telemetry::outcome::{Cause, End};
use crate::telemetry::span::Watch;
use crate::transaction::hooks::{self, Kept, On, Waiting};
use crate::transaction::retry_loop;
use crate::{Error, Result, TxOptions};

/// What a body that was run came to.
pub(super) struct Done<T, E> {
    pub(super) outcome: thread::Result<Result<T, E>>,
    /// The body may have returned `Ok`, and asked for a rollback.
    pub(super) rollback_only: bool,
}

impl<T, E> Done<T, E> {
    fn is_to_be_committed(&self) -> bool {
        matches!(self.outcome, Ok(Ok(_))) && !self.rollback_only
    }
}

/// Counts among the transactions that are open on this thread, until it is dropped.
struct OpenTransaction;

impl OpenTransaction {
    fn begin() -> Self {
        attempts::transaction_begins();
        Self
    }

    fn end(self, spent: bool) {
        std::mem::forget(self);
        attempts::transaction_ended(spent);
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        attempts::transaction_ended(false);
    }
}

/// Runs a body in a transaction of its own.
pub(super) fn outermost<T, E: From<Error>>(
    database: &Database,
    options: &TxOptions,
    watch: &Watch<'_>,
    inspect: impl Fn(&E) -> Option<Error>,
    body: impl FnOnce(&mut Session, Waiting) -> Done<T, E>,
) -> Result<T, E> {
    let mut entered = database.enter().inspect_err(|error| watch.failed(error))?;
    let session = &mut *entered.session;
    if let Err(error) = session.connect() {
        let error = error.at(database.id());
        retry_loop::saw_unreachable(database, &error);
        watch.failed(&error);
        return Err(error.into());
    }
    session.begin(*options);
    let open = OpenTransaction::begin();
    let waiting = Waiting::new();
    let began = watch.attempt();
    entered.is_held_for(watch.body(), began);
    let session = &mut *entered.session;
    // From here on a panic of the caller's code closes the connection, unless the transaction comes to its end.
    let mut done = body(session, waiting);
    if let Ok(Err(error)) = &done.outcome {
        // The error's own code may panic, which is then the body's end.
        let learned =
            catch_unwind(AssertUnwindSafe(|| session.learn_from_body(|| inspect(error).filter(|fault| fault.origin().is_none()))));
        if let Err(panic) = learned {
            done.outcome = Err(panic);
        }
    }
    let wish = if done.is_to_be_committed() { Wish::Commit } else { Wish::Rollback };
    let ended = session.finish(wish);
    open.end(ended.spent);
    // Hooks run outside of the lock, and so does whoever listens.
    drop(entered);
    let hooks = waiting.take(ended.runs());
    // A listener's panic comes too late to change the transaction's outcome.
    let mut hooks = Kept(retry_loop::saw_end(database, &ended, hooks, done.outcome.is_err()));
    let heard = watch.heard();
    watch.faulted(ended.faulted);
    watch.attempted(began, ended.connection, end_of(&ended, &done, |error| if heard { inspect(error) } else { None }));
    tell_aborted(&ended);
    match done.outcome {
        Ok(result) => {
            hooks::run(hooks.take());
            match ended.error {
                Some(error) if result.is_ok() => Err(error.at(database.id()).into()),
                _ => result,
            }
        }
        Err(panic) => {
            drop(hooks);
            resume_unwind(panic)
        }
    }
}

impl Ended {
    /// The hooks that run at this end. After an unknown end, and after one that left a part in the database, none do.
    fn runs(&self) -> Option<On> {
        match self.ending {
            Ending::Committed | Ending::NothingToCommit => Some(On::Commit),
            Ending::RolledBack | Ending::Told => Some(On::Rollback),
            Ending::Failed => Some(On::Rollback),
            Ending::Unknown => None,
        }
        .filter(|_| !self.torn)
    }
}

/// How telemetry sees the end.
fn end_of<T, E>(ended: &Ended, done: &Done<T, E>, inspect: impl Fn(&E) -> Option<Error>) -> End {
    match (&ended.error, &done.outcome) {
        (Some(error), Ok(Ok(_))) => End::not_committed(error),
        (_, Err(_)) => End::rolled_back(Some(Cause::Panic)),
        (_, Ok(Ok(_))) if matches!(ended.ending, Ending::RolledBack | Ending::Told) => End::rolled_back(None),
        (_, Ok(Ok(_))) => End::COMMITTED,
        (_, Ok(Err(error))) => match &ended.fault {
            Some(fault) => End::failed(Cause::of(fault)),
            None => End::rolled_back(Some(inspect(error).map_or(Cause::Opaque, |seen| Cause::of(&seen)))),
        },
    }
}

fn tell_aborted(ended: &Ended) {
    if let Some(fault) = &ended.fault {
        let cause = Cause::of(fault);
        event!(
            info,
            "db_core.aborted",
            {
                error.type = %cause,
                db.response.status_code = cause.code().map(tracing::field::display),
                db_core.connection_id = ended.connection,
            },
            "nothing of the transaction could be committed"
        );
    }
}

/// Runs a body as part of a transaction that is open.
pub(super) fn nested<T, E: From<Error>>(
    session: &mut Session,
    database: usize,
    waiting: Waiting,
    options: &TxOptions,
    inspect: impl FnOnce(&E) -> Option<Error>,
    body: impl FnOnce(&mut Session, Waiting) -> Done<T, E>,
) -> Result<T, E> {
    let mark = waiting.mark();
    let call = NestedCall::enter(session, options, waiting, mark)?;
    let done = body(call.session, waiting);
    if let Ok(Err(error)) = &done.outcome {
        // The error's own code may panic: the call is then left by `NestedCall`'s destructor.
        call.session.learn_from_body(|| inspect(error).filter(|fault| fault.origin().is_none()));
    }
    let undo = !done.is_to_be_committed();
    let cause = call.leave(undo);
    if undo || cause.is_some() {
        waiting.forget_since(mark);
    }
    match done.outcome {
        // A body may ignore the error that aborted the transaction. Its caller must not believe it.
        Ok(Ok(value)) => cause.map_or(Ok(value), |cause| Err(cause.at(database).into())),
        Ok(Err(error)) => Err(error),
        Err(panic) => resume_unwind(panic),
    }
}

/// A nested call that has to be left, whatever happens.
struct NestedCall<'s> {
    session: &'s mut Session,
    nested: Option<Nested>,
    waiting: Waiting,
    mark: usize,
}

impl<'s> NestedCall<'s> {
    fn enter(session: &'s mut Session, options: &TxOptions, waiting: Waiting, mark: usize) -> Result<Self> {
        let nested = Some(session.enter_nested(options)?);
        Ok(Self { session, nested, waiting, mark })
    }

    fn leave(mut self, undo: bool) -> Option<Error> {
        let nested = self.nested.take()?;
        self.session.leave_nested(nested, undo)
    }
}

impl Drop for NestedCall<'_> {
    fn drop(&mut self) {
        if let Some(nested) = self.nested.take() {
            self.session.abort_nested(nested);
            self.waiting.forget_since(self.mark);
        }
    }
}
