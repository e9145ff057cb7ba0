//! The delays of one call: its clock, and the crate's only sleep.

use std::time::{Duration, Instant};

use crate::retry::policy::{Failure, Next, Progress, RetryPolicy};

/// When may what failed be tried again?
pub(crate) struct Pace {
    policy: RetryPolicy,
    began: Instant,
    failures: u32,
}

impl Pace {
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, began: Instant::now(), failures: 0 }
    }

    pub fn began(&self) -> Instant {
        self.began
    }

    /// Time that is not counted.
    pub fn pause_clock(&mut self, time: Duration) {
        self.began += time;
    }

    /// The delay before the next try, or `None` if there is to be none.
    pub fn next(&mut self, failure: Failure, runs: u32) -> Option<Duration> {
        let progress = Progress { runs, failures: self.failures, elapsed: self.began.elapsed() };
        self.failures += u32::from(failure != Failure::Disconnected);
        match self.policy.after_failure(failure, progress, fastrand::f64()) {
            Next::After(delay) => Some(delay),
            Next::GiveUp => None,
        }
    }
}

pub(crate) fn pause(delay: Duration) {
    if !delay.is_zero() {
        std::thread::sleep(delay);
    }
}
