//! What is counted on the way: which faults were to happen, and which did.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::plan::{PlannedFault, TARGETS, Target};

/// Where fewer hits are to be expected, all faults may miss by chance: the connection may be lost for another reason first.
const ENOUGH: u64 = 15;

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) aimed: u64,
    pub(crate) hit: u64,
}

/// A target, a point and an action.
type FaultKind = (Target, &'static str, &'static str);

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) done: AtomicU64,
    /// Reported Ok.
    pub(crate) ok: AtomicU64,
    /// Attempts of an operation beyond its first.
    pub(crate) retries: AtomicU64,
    pub(crate) commits_cut: AtomicU64,
    pub(crate) sessions_killed: AtomicU64,
    pub(crate) server_freezes: AtomicU64,
    pub(crate) resets: AtomicU64,
    pub(crate) refusals: AtomicU64,
    pub(crate) forks: AtomicU64,
    /// To another node of a cluster.
    pub(crate) moves: AtomicU64,
    /// Packets that arrived late, and to which the server replied.
    pub(crate) late_packets: AtomicU64,
    faults: Mutex<BTreeMap<FaultKind, Count>>,
    outages: Mutex<Vec<Outage>>,
    node_faults: Mutex<NodeFaults>,
}

#[derive(Default)]
struct NodeFaults {
    last_ok: Option<Instant>,
    current: Option<NodeOutage>,
    ended: Vec<NodeOutage>,
}

/// What a fault of a node cost.
#[derive(Clone, Copy)]
pub(crate) struct NodeOutage {
    pub(crate) name: &'static str,
    pub(crate) is_failure: bool,
    began: Instant,
    /// The longest time in which nothing was reported Ok.
    pub(crate) silence: Duration,
    /// Until the cluster was whole again.
    pub(crate) whole: Duration,
}

impl NodeFaults {
    fn note(&mut self) {
        let now = Instant::now();
        if let Some(current) = &mut self.current {
            let since = self.last_ok.map_or(current.began, |ok| ok.max(current.began));
            current.silence = current.silence.max(now - since);
        }
    }
}

struct Outage {
    began: Instant,
    server_was_gone: Instant,
    server_away: Option<Duration>,
    recovered: Option<Duration>,
}

pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    pub(crate) fn count_ok(&self, attempt_began: Instant) {
        add(&self.ok);
        let mut node_faults = self.node_faults.lock();
        node_faults.note();
        node_faults.last_ok = Some(Instant::now());
        drop(node_faults);
        // An attempt that began before the server was gone may have been committed before, and reported late.
        let mut outages = self.outages.lock();
        for outage in outages.iter_mut().rev().take_while(|outage| outage.recovered.is_none()) {
            if attempt_began > outage.server_was_gone {
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

    pub(crate) fn fault_begins(&self, name: &'static str, is_failure: bool) {
        let outage = NodeOutage { name, is_failure, began: Instant::now(), silence: Duration::ZERO, whole: Duration::ZERO };
        self.node_faults.lock().current = Some(outage);
    }

    /// The cluster is whole again.
    pub(crate) fn fault_ends(&self) {
        if let Some(current) = &mut self.node_faults.lock().current {
            current.whole = current.began.elapsed();
        }
    }

    pub(crate) fn gap_ends(&self) {
        let mut node_faults = self.node_faults.lock();
        node_faults.note();
        let ended = node_faults.current.take();
        node_faults.ended.extend(ended);
    }

    pub(crate) fn node_outages(&self) -> Vec<NodeOutage> {
        self.node_faults.lock().ended.clone()
    }

    pub(crate) fn server_kills(&self) -> usize {
        self.outages.lock().len()
    }

    /// How long it took, after each server kill, until an operation was reported Ok again.
    pub(crate) fn recoveries(&self) -> Durations {
        Durations::of(self.outages.lock().iter().map(|outage| outage.recovered))
    }

    /// How long the server was away, after each server kill.
    pub(crate) fn absences(&self) -> Durations {
        Durations::of(self.outages.lock().iter().map(|outage| outage.server_away))
    }

    pub(crate) fn count(&self, fault: &PlannedFault, hit: bool) {
        let mut faults = self.faults.lock();
        let count = faults.entry((fault.target, fault.point_name(), fault.action_name())).or_default();
        count.aimed += 1;
        count.hit += u64::from(hit);
    }

    /// By name, of a target's faults.
    pub(crate) fn by(&self, target: Target, name: impl Fn(&FaultKind) -> &'static str) -> BTreeMap<&'static str, Count> {
        let mut counts: BTreeMap<_, Count> = BTreeMap::new();
        for (kind, count) in self.faults.lock().iter().filter(|(kind, _)| kind.0 == target) {
            let sum = counts.entry(name(kind)).or_default();
            sum.aimed += count.aimed;
            sum.hit += count.hit;
        }
        counts
    }

    /// The kinds of faults that were aimed at something, again and again, and never hit it: they have tested nothing.
    pub(crate) fn untested(&self) -> Vec<String> {
        let mut untested = Vec::new();
        for target in TARGETS {
            let (by_point, by_action) = (self.by(target, |kind| kind.1), self.by(target, |kind| kind.2));
            let (aimed, hit) = by_point.values().fold((0, 0), |(aimed, hit), count| (aimed + count.aimed, hit + count.hit));
            // Where nothing was hit at all, all of it was to be.
            let expected = |count: &Count| if hit == 0 { count.aimed } else { count.aimed * hit / aimed };
            let never = by_point.into_iter().chain(by_action).filter(|(_, count)| count.hit == 0 && expected(count) >= ENOUGH);
            untested.extend(never.map(|(name, count)| format!("{} ({name}, aimed {} times)", target.name(), count.aimed)));
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let singles = [
            (load(&self.sessions_killed), "KILL of a session"),
            (self.server_kills() as u64, "kill -9 of the server"),
            (load(&self.server_freezes), "freeze of the server"),
            (load(&self.resets), "cut of idle connections"),
            (load(&self.refusals), "outage"),
            (load(&self.forks), "fork"),
            (load(&self.late_packets), "late packet that arrives"),
        ];
        untested.extend(singles.iter().filter(|(count, _)| *count == 0).map(|(_, name)| (*name).into()));
        untested
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
