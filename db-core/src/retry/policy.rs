//! The retry policy: whether a failed attempt is followed by another one, and when.

use std::fmt;
use std::time::{Duration, Instant};

use crate::retry::attempts::Attempt;
use crate::{Error, ErrorKind};

const MAX_ELAPSED: Duration = Duration::from_secs(10);
const MAX_ELAPSED_ON_CLUSTER: Duration = Duration::from_secs(30);

/// A predicate of [`RetryPolicy::when`].
type When = fn(&Error) -> Option<bool>;

/// How often, and for how long, a call is retried after a fault that another attempt can overcome.
///
/// There are two limits, because two things are waited for. A body that ran and failed runs at most
/// [`max_attempts`](Self::max_attempts) times in total. A server that cannot be reached, or cannot serve now (starting, without
/// quorum, read-only until a failover is complete), is waited for until [`max_elapsed`](Self::max_elapsed) has passed since the call
/// began: attempts that meet it are not counted.
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
#[derive(Clone, Copy)]
pub struct RetryPolicy {
    max_attempts: u32,
    base_delay: Duration,
    max_delay: Duration,
    /// `None`: the default, which is another one on a cluster.
    max_elapsed: Option<Duration>,
    when: Option<When>,
}

impl Default for RetryPolicy {
    /// 3 attempts; delays from 10 to 200 milliseconds; 10 seconds in all, or 30 on a cluster or with several hosts.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            base_delay: Duration::from_millis(10),
            // Only a server that is away is asked often enough to meet it, and is then mostly found within a tenth of a second of its return.
            max_delay: Duration::from_millis(200),
            max_elapsed: None,
            when: None,
        }
    }
}

impl PartialEq for RetryPolicy {
    /// Predicates are equal if they are the same function.
    fn eq(&self, other: &Self) -> bool {
        let same_predicate = match (self.when, other.when) {
            (None, None) => true,
            (Some(one), Some(two)) => std::ptr::fn_addr_eq(one, two),
            _ => false,
        };
        same_predicate
            && (self.max_attempts, self.base_delay, self.max_delay, self.max_elapsed)
                == (other.max_attempts, other.base_delay, other.max_delay, other.max_elapsed)
    }
}

impl Eq for RetryPolicy {}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_attempts, base_delay, max_delay, max_elapsed, when } = self;
        let mut debug = f.debug_struct("RetryPolicy");
        debug.field("max_attempts", max_attempts).field("base_delay", base_delay).field("max_delay", max_delay);
        debug.field("max_elapsed", &max_elapsed.unwrap_or(MAX_ELAPSED));
        if when.is_some() {
            debug.field("when", &format_args!("fn"));
        }
        debug.finish()
    }
}

impl RetryPolicy {
    /// The number of attempts in total, the first included. Default 3. 1 means no retry, and no waiting for a server that is down.
    /// 0 is taken as 1.
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

    /// How long after the call began a new attempt, or a new try to reach the server, may still begin. Default: 10 seconds, or 30 on a node of
    /// Galera or Group Replication, which take up to 9 and up to 30 seconds to go on without a node that has failed.
    ///
    /// It does not interrupt an attempt that is running.
    #[must_use]
    pub fn max_elapsed(mut self, elapsed: Duration) -> Self {
        self.max_elapsed = Some(elapsed);
        self
    }

    /// On a node of a cluster, or with several hosts.
    pub(crate) fn on_cluster(self) -> Self {
        Self { max_elapsed: self.max_elapsed.or(Some(MAX_ELAPSED_ON_CLUSTER)), ..self }
    }

    /// A predicate that decides about single errors: `Some(true)` retries, `Some(false)` does not, `None` leaves the decision to the
    /// library. It is asked after an attempt that failed, about the error that was seen on the connection, or found in the body's error.
    ///
    /// It cannot cause work to be done twice: an attempt in which something was, or may have been, committed is never retried. Nor does
    /// it lift the limits of attempts and time.
    ///
    /// ```
    /// use db_core::{ErrorKind, RetryPolicy};
    ///
    /// let policy = RetryPolicy::default().when(|error| match error.kind() {
    ///     // The ids are random: another attempt takes another one.
    ///     ErrorKind::UniqueViolation => Some(true),
    ///     // A user is waiting.
    ///     ErrorKind::LockWaitTimeout => Some(false),
    ///     _ => None,
    /// });
    /// ```
    #[must_use]
    pub fn when(mut self, predicate: fn(&Error) -> Option<bool>) -> Self {
        self.when = Some(predicate);
        self
    }

    /// The number of attempts; the delays at first and at most; the time in all, unless it is the default.
    #[cfg(feature = "serde")]
    pub(crate) fn parts(&self) -> (u32, [Duration; 2], Option<Duration>) {
        (self.max_attempts, [self.base_delay, self.max_delay], self.max_elapsed)
    }

    /// The time in all.
    pub(crate) fn longest(&self) -> Duration {
        self.max_elapsed.unwrap_or(MAX_ELAPSED)
    }

    pub(crate) fn attempt(&self, runs: u32, began: Instant) -> Attempt {
        Attempt::new(runs, self.max_attempts, began)
    }

    /// Whether another attempt may follow a failed one, as far as its cause is concerned.
    pub(crate) fn retries(&self, failed: &Failed<'_>) -> bool {
        // The error's own mark is not asked: it may come from an attempt around this one, which cannot be retried, while this one can.
        let says_so = |error: &Error| matches!(error.kind(), ErrorKind::CommitUnknown | ErrorKind::ImplicitCommit);
        if failed.committed || failed.error.is_some_and(says_so) {
            return false;
        }
        let decided = self.when.zip(failed.error).and_then(|(when, error)| when(error));
        decided.unwrap_or_else(|| failed.requested || failed.error.is_some_and(Error::passes))
    }

    /// What follows a failure that another attempt can overcome: a delay, or the end.
    ///
    /// `runs`: attempts counted so far. `failures`: delays taken so far. `chance`: in `0.0..1.0`.
    pub(super) fn after_failure(&self, failure: Failure, progress: Progress, chance: f64) -> Next {
        let delay = match failure {
            Failure::Disconnected => Duration::ZERO,
            Failure::Conflict | Failure::ReadOnly | Failure::Unreachable => self.bound(progress.failures).mul_f64(chance.clamp(0.0, 1.0)),
        };
        let may_run = progress.runs < self.max_attempts;
        let may_wait = failure != Failure::Unreachable || self.max_attempts > 1;
        if !may_run || !may_wait || progress.elapsed.saturating_add(delay) >= self.longest() { Next::GiveUp } else { Next::After(delay) }
    }

    fn bound(&self, failures: u32) -> Duration {
        let doubled = 2_u32.checked_pow(failures).and_then(|factor| self.base_delay.checked_mul(factor));
        doubled.unwrap_or(self.max_delay).min(self.max_delay)
    }
}

/// An attempt that has failed.
#[derive(Clone, Copy)]
pub(crate) struct Failed<'e> {
    /// What was seen on the connection, or else what was found in the body's error. `None`: nothing that the library can look into.
    pub error: Option<&'e Error>,
    /// The body asked for another attempt.
    pub requested: bool,
    /// Work of the attempt was, or may have been, committed.
    pub committed: bool,
}

/// What kind of failure is to be followed by another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A deadlock, a lock wait timeout, a request of the body's: the other transaction needs time.
    Conflict,
    /// The connection is gone: a new one may be available at once.
    Disconnected,
    /// The server has become read-only: another one, or the same one later, accepts writes. It is waited for before the next attempt.
    ReadOnly,
    /// No connection could be made, or the server cannot serve now. This uses up time and no attempts.
    Unreachable,
}

impl Failure {
    pub fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::ConnectionLost => Self::Disconnected,
            ErrorKind::ReadOnlyServer => Self::ReadOnly,
            kind if waits_for_server(kind) => Self::Unreachable,
            _ => Self::Conflict,
        }
    }

    /// Whether the connection is opened before the next attempt, and whether to a server that accepts writes.
    pub fn reconnects(self) -> Option<bool> {
        match self {
            Self::Conflict => None,
            Self::Disconnected | Self::Unreachable => Some(false),
            Self::ReadOnly => Some(true),
        }
    }
}

/// Whether this passes when the server is ready again, or another one has taken its place.
fn waits_for_server(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectFailed | ErrorKind::Unavailable)
}

/// The progress of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) runs: u32,
    pub(super) failures: u32,
    pub(super) elapsed: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    After(Duration),
    GiveUp,
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
    fn an_unreachable_server_is_waited_for_until_the_time_is_over() {
        let policy = RetryPolicy::default().max_attempts(2).max_elapsed(MS(500));
        assert_ne!(next(policy, Failure::Unreachable, 1, 99, 0, 0.0), Next::GiveUp);
        assert_eq!(next(policy, Failure::Unreachable, 0, 9, 500, 0.0), Next::GiveUp);
        assert_eq!(next(policy.max_attempts(1), Failure::Unreachable, 0, 0, 0, 0.0), Next::GiveUp);
    }

    #[test]
    fn a_cluster_is_waited_for_longer_unless_the_caller_said_how_long() {
        let late = |policy: RetryPolicy, seconds| {
            let progress = Progress { runs: 0, failures: 0, elapsed: Duration::from_secs(seconds) };
            matches!(policy.after_failure(Failure::Unreachable, progress, 0.0), Next::GiveUp)
        };
        assert!(late(RetryPolicy::default(), 10) && !late(RetryPolicy::default(), 9));
        assert!(late(RetryPolicy::default().on_cluster(), 30) && !late(RetryPolicy::default().on_cluster(), 29));
        assert!(late(RetryPolicy::default().max_elapsed(MS(5_000)).on_cluster(), 5));
    }

    #[test]
    fn no_attempt_begins_after_max_elapsed() {
        let policy = RetryPolicy::default().max_elapsed(MS(100)).base_delay(MS(50));
        assert_eq!(next(policy, Failure::Conflict, 1, 0, 49, 1.0), Next::After(MS(50)));
        assert_eq!(next(policy, Failure::Conflict, 1, 0, 50, 1.0), Next::GiveUp);
        assert_eq!(next(policy, Failure::Disconnected, 1, 0, 100, 0.0), Next::GiveUp);
    }

    #[test]
    fn what_passes_when_the_server_is_ready_uses_up_time_and_no_attempts() {
        let table = [
            (ErrorKind::ConnectFailed, Failure::Unreachable),
            (ErrorKind::Unavailable, Failure::Unreachable),
            (ErrorKind::ReadOnlyServer, Failure::ReadOnly),
            (ErrorKind::ConnectionLost, Failure::Disconnected),
            (ErrorKind::Deadlock, Failure::Conflict),
            (ErrorKind::LockWaitTimeout, Failure::Conflict),
            (ErrorKind::RetryRequested, Failure::Conflict),
            (ErrorKind::UniqueViolation, Failure::Conflict),
        ];
        for (kind, failure) in table {
            assert_eq!(Failure::of(kind), failure, "{kind:?}");
        }
    }

    #[test]
    fn a_predicate_adds_and_forbids_retries_but_never_of_what_may_be_committed() {
        fn always(_: &Error) -> Option<bool> {
            Some(true)
        }
        fn never(_: &Error) -> Option<bool> {
            Some(false)
        }
        fn undecided(_: &Error) -> Option<bool> {
            None
        }
        let error = |kind| Error::new(kind, "");
        let passing = error(ErrorKind::Deadlock).transient(true);
        let lasting = error(ErrorKind::UniqueViolation);
        let unknown = error(ErrorKind::CommitUnknown);
        let implicit = error(ErrorKind::ImplicitCommit);
        let marked = passing.clone().committed();
        let policy = RetryPolicy::default();
        let [default, always, never, undecided] = [policy, policy.when(always), policy.when(never), policy.when(undecided)];

        // The error; whether a retry was requested, and something committed; the decision of each policy.
        #[rustfmt::skip]
        let table = [
            (Some(&passing),  false, false, [true,  true,  false, true]),
            (Some(&passing),  true,  false, [true,  true,  false, true]),
            (Some(&passing),  false, true,  [false, false, false, false]),
            (Some(&lasting),  false, false, [false, true,  false, false]),
            (Some(&lasting),  true,  false, [true,  true,  false, true]),
            (Some(&lasting),  true,  true,  [false, false, false, false]),
            (None,            false, false, [false, false, false, false]),
            (None,            true,  false, [true,  true,  true,  true]),
            (None,            true,  true,  [false, false, false, false]),
            (Some(&unknown),  false, false, [false, false, false, false]),
            (Some(&unknown),  true,  false, [false, false, false, false]),
            (Some(&implicit), true,  false, [false, false, false, false]),
            (Some(&marked),   false, false, [true,  true,  false, true]),
            (Some(&marked),   false, true,  [false, false, false, false]),
        ];
        for (at, (error, requested, committed, expected)) in table.into_iter().enumerate() {
            let failed = Failed { error, requested, committed };
            let decided = [default, always, never, undecided].map(|policy| policy.retries(&failed));
            assert_eq!(decided, expected, "row {at}: {error:?}, requested: {requested}, committed: {committed}");
        }
    }

    #[test]
    fn policies_compare_by_their_predicates_too() {
        fn one(error: &Error) -> Option<bool> {
            (error.kind() == ErrorKind::Syntax).then_some(true)
        }
        let policy = RetryPolicy::default();
        assert_eq!(policy.when(one), policy.when(one));
        assert_ne!(policy.when(one), policy);
        assert_ne!(policy, policy.max_attempts(4));
        assert!(format!("{:?}", policy.when(one)).ends_with("max_elapsed: 10s, when: fn }"));
    }
}
