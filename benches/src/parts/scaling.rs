//! How does throughput grow with threads that have a connection each?

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::throughput::file_name;
use crate::error::{Error, Result};
use crate::peer::{Client, Peer, Session};
use crate::peers::{BASE, BY_HAND, OURS};
use crate::report::plot::{Kind, Plot};
use crate::report::{Section, Table, or_dash, ratio};
use crate::site::Site;
use crate::stats::Spread;
use crate::work::{Work, first_row};

/// Of all threads together in each round, unless it would be too few for each.
const TRANSACTIONS: usize = 640;
const AT_LEAST: usize = 40;

/// A peer with a session per thread. The sessions go before what they were made from.
struct Team {
    name: &'static str,
    sessions: Vec<Box<dyn Session>>,
    _client: Box<dyn Client>,
}

pub(super) fn run(bench: &Bench, site: &Site) -> Result<Section> {
    let threads = bench.effort(&[1, 8, 64][..], &[1, 2, 4, 8, 16, 32, 64][..]);
    let rounds = bench.effort(5, 11);
    let mut section = Section::new(format!("A connection per thread, {}", site.name()));
    section.say(format!(
        "1 UPDATE per transaction, {TRANSACTIONS} transactions over all threads and {AT_LEAST} at least in each, {rounds} rounds. Pools \
         have as many connections as there are threads. On few cores the server and its clients share them, so that this shows who uses \
         less of them. A Python process has one thread that can work at a time, and is left out."
    ));
    let peers: Vec<&dyn Peer> = bench.peers.iter().map(AsRef::as_ref).filter(|peer| !peer.name().starts_with("Python")).collect();
    let names: Vec<&'static str> = peers.iter().map(|peer| peer.name()).collect();
    // Seconds by number of threads, peer and round.
    let mut seconds = Vec::new();
    for &threads in threads {
        let mut teams = peers.iter().map(|peer| Team::open(*peer, &site.url(), threads)).collect::<Result<Vec<_>>>()?;
        for team in &mut teams {
            team.work(8)?;
        }
        let mut rows = vec![Vec::new(); teams.len()];
        for round in 0..rounds {
            for turn in 0..teams.len() {
                let whose = (round + turn) % teams.len();
                rows[whose].push(teams[whose].work(each(threads))?.as_secs_f64());
            }
        }
        seconds.push((threads, rows));
    }

    let place = |name: &str| names.iter().position(|other| *other == name);
    let speed = |rows: &[Vec<f64>], name: &str, base: &str| {
        let (name, base) = (place(name)?, place(base)?);
        Some(Spread::of(rows[base].iter().zip(&rows[name]).map(|(base, own)| base / own)))
    };
    let rate = |threads: usize, times: &[f64]| Spread::of(times.iter().map(|seconds| (threads * each(threads)) as f64 / seconds)).median;
    let head = || std::iter::once(String::new()).chain(threads.iter().map(|threads| format!("{threads} threads")));
    let mut relative = Table::new(format!("Throughput, × {BASE} with as many threads"), head());
    let mut absolute = Table::new("Transactions per second (median)", head());
    for (number, name) in names.iter().enumerate() {
        let cells = seconds.iter().map(|(_, rows)| or_dash(speed(rows, name, BASE).map(ratio)));
        relative.row(std::iter::once((*name).to_owned()).chain(cells));
        let cells = seconds.iter().map(|(threads, rows)| format!("{:.0}", rate(*threads, &rows[number])));
        absolute.row(std::iter::once((*name).to_owned()).chain(cells));
    }
    section.tables.extend([relative, absolute]);
    section.plots.push(Plot {
        file: format!("scaling-{}.svg", file_name(site)),
        title: format!("Transactions per second, a connection per thread, {}", site.name()),
        kind: Kind::over_threads(names.iter().enumerate().map(|(number, name)| {
            ((*name).to_owned(), seconds.iter().map(|(threads, rows)| (*threads as f64, rate(*threads, &rows[number]))).collect())
        })),
    });
    if let Some((threads, rows)) = seconds.last() {
        for base in [BASE, BY_HAND] {
            if let Some(speed) = speed(rows, OURS, base) {
                section.goal(format!("{OURS}: {threads} forks at least 0.95 × {threads} of {base}"), ratio(speed), speed.median >= 0.95);
            }
        }
    }
    Ok(section)
}

/// Transactions of one thread in a round.
fn each(threads: usize) -> usize {
    (TRANSACTIONS / threads).max(AT_LEAST)
}

impl Team {
    fn open(peer: &dyn Peer, url: &str, threads: usize) -> Result<Self> {
        let failed = |source| Error::Peer { peer: peer.name(), doing: "connecting", source };
        let client = peer.client(url, threads).map_err(failed)?;
        let sessions = (0..threads).map(|_| client.session()).collect::<std::result::Result<_, _>>().map_err(failed)?;
        Ok(Self { name: peer.name(), sessions, _client: client })
    }

    /// From the start of all threads to the end of the last.
    fn work(&mut self, each: usize) -> Result<Duration> {
        let start = Barrier::new(self.sessions.len() + 1);
        let each = u32::try_from(each).unwrap_or(u32::MAX);
        let name = self.name;
        thread::scope(|scope| {
            let workers: Vec<_> = self
                .sessions
                .iter_mut()
                .enumerate()
                .map(|(number, session)| {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        session.run(Work::Update, first_row(number), each)
                    })
                })
                .collect();
            start.wait();
            let began = Instant::now();
            for worker in workers {
                let outcome = worker.join().unwrap_or_else(|_| Err("its thread panicked".into()));
                outcome.map_err(|source| Error::Peer { peer: name, doing: "working on several threads", source })?;
            }
            Ok(began.elapsed())
        })
    }
}
