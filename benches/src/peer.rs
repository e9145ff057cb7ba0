//! What would a program use to reach the database, and how is it asked to?

use std::time::{Duration, Instant};

use crate::error::Outcome;
use crate::work::Work;

/// Called in the middle of [`Work::Interrupted`].
pub(crate) type Midway<'a> = &'a (dyn Fn() + Sync);

/// One way to reach a database.
pub(crate) trait Peer: Sync {
    /// As the report calls it.
    fn name(&self) -> &'static str;

    /// What a program makes once. `sessions`: how many threads will work at the same time.
    fn client(&self, url: &str, sessions: usize) -> Outcome<Box<dyn Client>>;
}

/// A pool, or what connections are made from.
pub(crate) trait Client: Send + Sync {
    /// What one thread works with.
    fn session(&self) -> Outcome<Box<dyn Session>>;
}

/// One thread's way to the database.
pub(crate) trait Session: Send {
    /// One transaction.
    fn once(&mut self, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()>;

    /// Several, one after the other. How long did they take?
    fn run(&mut self, work: Work, row: u32, count: u32) -> Outcome<Duration> {
        let began = Instant::now();
        for _ in 0..count {
            self.once(work, row, &|| {})?;
        }
        Ok(began.elapsed())
    }

    /// What a user's plain retry loop does between a failure and the next call. A pool needs nothing done.
    fn reopen(&mut self) -> Outcome<()> {
        Ok(())
    }
}
