//! After something broke, how long until the next success, and what does the caller notice?

mod herd;
mod kills;
mod restart;

use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use crate::error::{Outcome, Result};
use crate::peer::{Peer, Session};
use crate::peers::BY_HAND;
use crate::report::{Column, Section, Table};
use crate::site::Site;
use crate::stats::Spread;

/// How long a user's plain retry loop waits before it tries again, but for the first time, which is at once.
const PAUSE: Duration = Duration::from_millis(10);
/// After so long it is not going to: a pool that keeps its dead connections does so for ever.
const NEVER: Duration = Duration::from_secs(5);
/// So often is enough to believe it.
const NEVERS: usize = 2;

/// One call, and what it took to succeed.
#[derive(Debug, Clone, Copy)]
struct Recovered {
    /// `None`: never.
    at: Option<Instant>,
    /// Calls that returned an error: what a user without a loop would have been told.
    failed: u32,
}

/// What a peer showed, fault after fault.
struct Record {
    name: &'static str,
    /// Infinite where it never succeeded.
    seconds: Vec<f64>,
    failed: Vec<f64>,
}

pub(super) fn run(bench: &Bench, site: &Site) -> Result<Vec<Section>> {
    let faults = bench.effort(5, 50);
    // What is sent by hand is not what anybody would use.
    let peers: Vec<&dyn Peer> = bench.peers.iter().map(AsRef::as_ref).filter(|peer| !peer.name().starts_with(BY_HAND)).collect();
    Ok(vec![kills::run(&peers, site, faults)?, restart::run(&peers, site, faults)?, herd::run(&peers, site, bench.effort(2, 50))?])
}

/// A plain loop as a user would write: call, and if that fails connect again and call again.
fn until_success(session: &mut dyn Session, mut call: impl FnMut(&mut dyn Session) -> Outcome<()>) -> Recovered {
    let deadline = Instant::now() + NEVER;
    let mut failed = 0;
    while call(session).is_err() {
        failed += 1;
        if Instant::now() > deadline {
            return Recovered { at: None, failed };
        }
        // A connection that cannot be made is no call that failed.
        while session.reopen().is_err() && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
        if failed > 1 {
            thread::sleep(PAUSE);
        }
    }
    Recovered { at: Some(Instant::now()), failed }
}

impl Record {
    fn of(names: impl IntoIterator<Item = &'static str>) -> Vec<Record> {
        names.into_iter().map(|name| Record { name, seconds: Vec::new(), failed: Vec::new() }).collect()
    }

    fn add(&mut self, since: Instant, recovered: Recovered) {
        self.seconds.push(recovered.at.map_or(f64::INFINITY, |at| at.saturating_duration_since(since).as_secs_f64()));
        self.failed.push(f64::from(recovered.failed));
    }

    /// It has shown often enough that it does not recover.
    fn hopeless(&self) -> bool {
        self.seconds.iter().filter(|seconds| seconds.is_infinite()).count() >= NEVERS
    }

    fn millis(&self) -> Spread {
        Spread::of(self.seconds.iter().map(|seconds| seconds * 1e3))
    }

    fn failures(&self) -> f64 {
        self.failed.iter().sum::<f64>() / self.failed.len().max(1) as f64
    }

    fn unharmed(&self) -> bool {
        self.failed.iter().all(|failed| *failed == 0.0)
    }
}

fn table(title: &str, records: &[Record]) -> Table {
    let mut table = Table::new(title, ["", "median, ms", "worst, ms", "failed calls per fault"]);
    for record in records {
        let millis = record.millis();
        table.row([record.name.to_owned(), or_never(millis.median), or_never(millis.worst), failures(record)]);
    }
    table
}

fn column(title: &str, records: &[Record]) -> Column {
    let cell = |record: &Record| {
        let millis = record.millis().median;
        let cell = if millis.is_infinite() { "never".into() } else { format!("{millis:.1} ms, {} failed", failures(record)) };
        (record.name, cell)
    };
    Column { title: title.into(), cells: records.iter().map(cell).collect() }
}

fn or_never(millis: f64) -> String {
    if millis.is_infinite() { "never".into() } else { format!("{millis:.2}") }
}

/// Per fault. How often a loop calls in vain that never ends is its own doing.
fn failures(record: &Record) -> String {
    if record.hopeless() { "all".into() } else { format!("{:.1}", record.failures()) }
}
