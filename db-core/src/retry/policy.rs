//! Again, and when? Decided from numbers alone.

use std::time::{Duration, Instant};

use crate::error::kind::ErrorKind;
use crate::Error;

/// How often, and for how long, a call is run again after a fault that a replay can cure.
///
/// Two budgets, since two things are waited for. A body that ran and failed is run again at most
/// [`max_attempts`](Self::max_attempts) times in all. A server that cannot be reached runs no body, and is
/// tried again until [`max_elapsed`](Self::max_elapsed) has passed since the call began.
///
/// Delays grow from [`base_delay`](Self::base_delay) by doubling up to [`max_delay`](Self::max_delay), each drawn
/// at random between zero and that bound ("full jitter"), so that callers that failed together do not come back
/// together. After a lost connection the first reconnect follows at once.
///
/// ```
/// use std::time::Duration;
/// use db_core::RetryPolicy;
///
/// let patient = RetryPolicy::default().max_attempts(5).max_elapsed(Duration::from_secs(60));
/// assert_eq!(patient, RetryPolicy::default().max_elapsed(Duration::from_secs(60)).max_attempts(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    max_attempts: u32,
    base_delay: Duration,
    max_delay: Duration,
    max_elapsed: Duration,
}

impl Default for RetryPolicy {
    /// 3 attempts; delays from 10 to 200 milliseconds; 10 seconds in all.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            base_delay: Duration::from_millis(10),
            // Only a server that is away is asked often enough to meet it, and is then mostly found within a tenth of a second of its return.
            max_delay: Duration::from_millis(200),
            max_elapsed: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// Runs of the body, the first included. Default 3. 1 means: never again, and no waiting for a server that is down. 0 is taken as 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// The bound of the first random delay. Default 10 milliseconds.
    #[must_use]
    pub fn base_delay(mut self, delay: Duration) -> Self {
        self.base_delay = delay;
        self
    }

    /// The bound that the doubling stops at. Default 200 milliseconds.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// How long after the call began a new attempt, or a new try to reach the server, may still begin. Default 10 seconds.
    ///
    /// It does not interrupt an attempt that is running.
    #[must_use]
    pub fn max_elapsed(mut self, elapsed: Duration) -> Self {
        self.max_elapsed = elapsed;
        self
    }

    /// The number of attempts; the delays at first and at most; the time in all.
    #[cfg(feature = "serde")]
    pub(crate) fn parts(&self) -> (u32, [Duration; 3]) {
        (self.max_attempts, [self.base_delay, self.max_delay, self.max_elapsed])
    }

    pub(crate) fn attempt(&self, runs: u32, began: Instant) -> Attempt {
        Attempt { count: runs, max: self.max_attempts, began }
    }

    /// Whether an attempt that ended in an error is repeated, if nothing of it was committed. `met`: the last error that it met.
    pub(crate) fn repeats(&self, met: Option<&Error>, requested: bool) -> bool {
        requested || met.is_some_and(Error::passes)
    }

    /// What follows a failure that a replay can cure: a delay, or the end.
    ///
    /// `runs`: bodies run so far. `failures`: delays taken so far. `chance`: in `0.0..1.0`.
    pub(crate) fn after_failure(&self, failure: Failure, progress: Progress, chance: f64) -> Next {
        let delay = match failure {
            Failure::Disconnected => Duration::ZERO,
            Failure::Conflict | Failure::ReadOnly | Failure::Unreachable => self.bound(progress.failures).mul_f64(chance.clamp(0.0, 1.0)),
        };
        let may_run = progress.runs < self.max_attempts;
        let may_wait = failure != Failure::Unreachable || self.max_attempts > 1;
        if !may_run || !may_wait || progress.elapsed.saturating_add(delay) >= self.max_elapsed { Next::GiveUp } else { Next::After(delay) }
    }

    fn bound(&self, failures: u32) -> Duration {
        let doubled = 2_u32.checked_pow(failures).and_then(|factor| self.base_delay.checked_mul(factor));
        doubled.unwrap_or(self.max_delay).min(self.max_delay)
    }
}

/// What kind of failure is to be followed by another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server refused: a deadlock, a lock wait timeout. Whoever was in the way needs time.
    Conflict,
    /// The connection is gone: a new one may be had at once.
    Disconnected,
    /// The server has become read-only: another one, or the same one later, accepts writes.
    ReadOnly,
    /// No new connection could be had. No body ran.
    Unreachable,
}

impl Failure {
    pub(crate) fn of(fault: &Error) -> Self {
        match fault.kind() {
            ErrorKind::ConnectFailed => Self::Unreachable,
            ErrorKind::ReadOnlyServer => Self::ReadOnly,
            ErrorKind::ConnectionLost => Self::Disconnected,
            _ => Self::Conflict,
        }
    }

    /// Whether the connection is opened before the next attempt, and whether to a server that accepts writes.
    pub(crate) fn reconnects(self) -> Option<bool> {
        match self {
            Self::Conflict => None,
            Self::Disconnected | Self::Unreachable => Some(false),
            Self::ReadOnly => Some(true),
        }
    }
}

/// How far a call has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) runs: u32,
    pub(crate) failures: u32,
    pub(crate) elapsed: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    After(Duration),
    GiveUp,
}

/// Which run of the body this is. Injected by `#[retry_on_disconnect]`, passed by [`Scope::retry`](crate::Scope::retry).
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
    /// The only run there will be.
    pub(crate) fn only() -> Self {
        Self { count: 0, max: 1, began: Instant::now() }
    }

    /// How many runs went before: 0 for the first.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Which run this is: 1 for the first.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.count.saturating_add(1)
    }

    /// How many runs may still follow.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.max.saturating_sub(self.number())
    }

    /// Whether no run will follow.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.remaining() == 0
    }

    /// The time since the first run began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn next(policy: RetryPolicy, failure: Failure, runs: u32, failures: u32, elapsed: u64, chance: f64) -> Next {
        policy.after_failure(failure, Progress { runs, failures, elapsed: MS(elapsed) }, chance)
    }

    #[test]
    fn n_attempts_are_n_runs_of_the_body() {
        for n in 1..6 {
            let policy = RetryPolicy::default().max_attempts(n);
            for failure in [Failure::Conflict, Failure::Disconnected] {
                for runs in 1..10 {
                    let again = next(policy, failure, runs, runs - 1, 0, 0.5) != Next::GiveUp;
                    assert_eq!(again, runs < n, "{n} attempts, {runs} runs, {failure:?}");
                }
            }
        }
        assert_eq!(RetryPolicy::default().max_attempts(0), RetryPolicy::default().max_attempts(1));
    }

    #[test]
    fn delays_double_up_to_the_bound_with_full_jitter() {
        let policy = RetryPolicy::default().max_attempts(100).base_delay(MS(10)).max_delay(MS(100));
        let delays = |chance| (0..6).map(|k| next(policy, Failure::Conflict, 1, k, 0, chance)).collect::<Vec<_>>();
        assert_eq!(delays(1.0), [10, 20, 40, 80, 100, 100].map(|ms| Next::After(MS(ms))));
        assert_eq!(delays(0.5), [5, 10, 20, 40, 50, 50].map(|ms| Next::After(MS(ms))));
        assert_eq!(delays(0.0), [0; 6].map(|ms| Next::After(MS(ms))));
        assert_eq!(next(policy, Failure::Conflict, 1, u32::MAX, 0, 1.0), Next::After(MS(100)));
    }

    #[test]
    fn a_lost_connection_is_reopened_at_once() {
        assert_eq!(next(RetryPolicy::default(), Failure::Disconnected, 1, 0, 0, 1.0), Next::After(Duration::ZERO));
    }

    #[test]
    fn a_server_that_is_down_uses_up_time_and_no_attempts() {
        let policy = RetryPolicy::default().max_attempts(2).max_elapsed(MS(500));
        assert_ne!(next(policy, Failure::Unreachable, 1, 99, 0, 0.0), Next::GiveUp);
        assert_eq!(next(policy, Failure::Unreachable, 0, 9, 500, 0.0), Next::GiveUp);
        assert_eq!(next(policy.max_attempts(1), Failure::Unreachable, 0, 0, 0, 0.0), Next::GiveUp);
    }

    #[test]
    fn no_attempt_begins_after_max_elapsed() {
        let policy = RetryPolicy::default().max_elapsed(MS(100)).base_delay(MS(50));
        assert_eq!(next(policy, Failure::Conflict, 1, 0, 49, 1.0), Next::After(MS(50)));
        assert_eq!(next(policy, Failure::Conflict, 1, 0, 50, 1.0), Next::GiveUp);
        assert_eq!(next(policy, Failure::Disconnected, 1, 0, 100, 0.0), Next::GiveUp);
    }
}
