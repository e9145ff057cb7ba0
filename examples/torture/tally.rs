//! Which faults were to happen, and which did?

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::plan::{Shot, TARGETS, Target};

/// Where fewer hits are to be expected, all shots may miss by chance: the connection may be lost for another reason first.
const ENOUGH: u64 = 15;

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) aimed: u64,
    pub(crate) hit: u64,
}

type Site = (Target, &'static str, &'static str);

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) done: AtomicU64,
    pub(crate) commits_cut: AtomicU64,
    pub(crate) sessions_killed: AtomicU64,
    pub(crate) server_kills: AtomicU64,
    pub(crate) server_freezes: AtomicU64,
    pub(crate) resets: AtomicU64,
    pub(crate) outages: AtomicU64,
    pub(crate) forks: AtomicU64,
    /// That arrived, and were answered or refused by the server.
    pub(crate) late_packets: AtomicU64,
    shots: Mutex<BTreeMap<Site, Count>>,
}

pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    pub(crate) fn count(&self, shot: &Shot, hit: bool) {
        let mut shots = self.shots.lock();
        let count = shots.entry((shot.target, shot.point_name(), shot.action_name())).or_default();
        count.aimed += 1;
        count.hit += u64::from(hit);
    }

    /// By name, of a target's shots.
    pub(crate) fn by(&self, target: Target, name: impl Fn(&Site) -> &'static str) -> BTreeMap<&'static str, Count> {
        let mut counts: BTreeMap<_, Count> = BTreeMap::new();
        for (site, count) in self.shots.lock().iter().filter(|(site, _)| site.0 == target) {
            let sum = counts.entry(name(site)).or_default();
            sum.aimed += count.aimed;
            sum.hit += count.hit;
        }
        counts
    }

    /// The kinds of faults that were aimed at something, again and again, and never hit it: they have tested nothing.
    pub(crate) fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        for target in TARGETS {
            let (by_point, by_action) = (self.by(target, |site| site.1), self.by(target, |site| site.2));
            let (aimed, hit) = by_point.values().fold((0, 0), |(aimed, hit), count| (aimed + count.aimed, hit + count.hit));
            // Where nothing was hit at all, all of it was to be.
            let expected = |count: &Count| if hit == 0 { count.aimed } else { count.aimed * hit / aimed };
            let never = by_point.into_iter().chain(by_action).filter(|(_, count)| count.hit == 0 && expected(count) >= ENOUGH);
            misses.extend(never.map(|(name, count)| format!("{} ({name}, aimed {} times)", target.name(), count.aimed)));
        }
        let singles = [
            (&self.sessions_killed, "KILL of a session"),
            (&self.server_kills, "kill -9 of the server"),
            (&self.server_freezes, "freeze of the server"),
            (&self.resets, "cut of idle connections"),
            (&self.outages, "outage"),
            (&self.forks, "fork"),
            (&self.late_packets, "late packet that arrives"),
        ];
        misses.extend(singles.iter().filter(|(count, _)| count.load(Ordering::Relaxed) == 0).map(|(_, name)| (*name).into()));
        misses
    }
}
