//! What is counted while the fire burns.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct Tally {
    /// Transfers reported Ok.
    pub(crate) ok: AtomicU64,
    /// Runs of a transfer beyond its first.
    pub(crate) retries: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) connections_killed: AtomicU64,
    outages: Mutex<Vec<Outage>>,
}

struct Outage {
    began: Instant,
    server_was_gone: Instant,
    server_away: Option<Duration>,
    recovered: Option<Duration>,
}

impl Tally {
    pub(crate) fn count_ok(&self, run_began: Instant) {
        self.ok.fetch_add(1, Ordering::Relaxed);
        // A run that began before the server was gone may have been committed before, and reported late.
        let mut outages = self.outages.lock();
        for outage in outages.iter_mut().rev().take_while(|outage| outage.recovered.is_none()) {
            if run_began > outage.server_was_gone {
                outage.recovered = Some(outage.began.elapsed());
            }
        }
    }

    pub(crate) fn server_is_gone(&self, killed_at: Instant) {
        let outage = Outage { began: killed_at, server_was_gone: Instant::now(), server_away: None, recovered: None };
        self.outages.lock().push(outage);
    }

    pub(crate) fn server_is_back(&self) {
        if let Some(outage) = self.outages.lock().last_mut() {
            outage.server_away = Some(outage.began.elapsed());
        }
    }

    pub(crate) fn server_kills(&self) -> usize {
        self.outages.lock().len()
    }

    /// How long it took, after each server kill, until a transfer was reported Ok again.
    pub(crate) fn recoveries(&self) -> Durations {
        Durations::of(self.outages.lock().iter().map(|outage| outage.recovered))
    }

    /// How long the server was away, after each server kill.
    pub(crate) fn absences(&self) -> Durations {
        Durations::of(self.outages.lock().iter().map(|outage| outage.server_away))
    }
}

/// In order, and how many have not ended.
pub(crate) struct Durations {
    ended: Vec<Duration>,
    pending: usize,
}

impl Durations {
    fn of(durations: impl Iterator<Item = Option<Duration>>) -> Self {
        let all: Vec<_> = durations.collect();
        let mut ended: Vec<_> = all.iter().copied().flatten().collect();
        ended.sort_unstable();
        Self { pending: all.len() - ended.len(), ended }
    }

    fn median(&self) -> Duration {
        match self.ended.len() {
            0 => Duration::ZERO,
            n => (self.ended[(n - 1) / 2] + self.ended[n / 2]) / 2,
        }
    }
}

impl fmt::Display for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ended.last() {
            Some(worst) => write!(f, "median {:.2} s, worst {:.2} s", self.median().as_secs_f64(), worst.as_secs_f64())?,
            None => f.write_str("-")?,
        }
        if self.pending > 0 { write!(f, ", {} not yet", self.pending) } else { Ok(()) }
    }
}
