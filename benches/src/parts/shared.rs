//! How do eight threads fare on one handle: how fast together, and how fairly?

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use db_core::prelude::*;
use mysql::{Conn, TxOpts};

use super::Bench;
use crate::error::{Error, Outcome, Result};
use crate::peers::{OURS, OURS_LEDGER, driver};
use crate::report::{Section, Table, ratio};
use crate::site::Site;
use crate::stats::Spread;
use crate::work::{UPDATE, Work, first_row};

const THREADS: usize = 8;
const MUTEX: &str = "Mutex<Conn>";
/// A connection that threads take turns with.
trait Shared: Sync {
    /// One UPDATE. How long did it wait for its turn?
    fn update(&self, row: u32) -> Outcome<Duration>;
}

/// What everyone with a driver and a standard library would write.
struct ByHand(Mutex<Conn>);

impl Shared for Db {
    fn update(&self, row: u32) -> Outcome<Duration> {
        Ok(update(self, row, Instant::now())?)
    }
}

/// One UPDATE. How long did the call wait for its connection?
#[retry_on_disconnect]
#[transactional]
pub(super) fn update(tx: &mut Transaction<'_>, row: u32, called: Instant) -> db_core::Result<Duration> {
    let waited = called.elapsed();
    tx.exec_drop(UPDATE, (1, row))?;
    Ok(waited)
}

impl Shared for ByHand {
    fn update(&self, row: u32) -> Outcome<Duration> {
        let called = Instant::now();
        let mut conn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = called.elapsed();
        driver::transaction(conn.start_transaction(TxOpts::default())?, Work::Update, row, &|| {})?;
        Ok(waited)
    }
}

/// What the threads of one handle did in a round: each thread's waits, in seconds.
struct Round(Vec<Vec<f64>>);

impl Round {
    fn transactions(&self) -> f64 {
        self.0.iter().map(Vec::len).sum::<usize>() as f64
    }
}

pub(super) fn run(bench: &Bench, site: &Site) -> Result<Section> {
    let (rounds, slice) = bench.effort((5, Duration::from_millis(200)), (15, Duration::from_millis(400)));
    let url = site.url();
    let ours = Db::connect(&url)?;
    let ledger = Db::builder(&url).commit_ledger(true).connect()?;
    let conn = driver::options(&url).and_then(|options| Ok(Conn::new(options)?));
    let by_hand = ByHand(Mutex::new(conn.map_err(|source| Error::Peer { peer: MUTEX, doing: "connecting", source })?));
    let contenders: [(&'static str, &dyn Shared); 3] = [(OURS, &ours), (OURS_LEDGER, &ledger), (MUTEX, &by_hand)];

    let mut results: Vec<Vec<Round>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for turn in 0..contenders.len() {
            let whose = (round + turn) % contenders.len();
            let (name, shared) = contenders[whose];
            let done = work(shared, slice).map_err(|source| Error::Peer { peer: name, doing: "sharing a handle", source })?;
            // The first round prepares.
            if round > 0 {
                results[whose].push(done);
            }
        }
    }

    let mut section = Section::new(format!("{THREADS} threads on one handle, {}", site.name()));
    section.say(format!(
        "1 UPDATE per transaction, rows of their own, {rounds} rounds of {} ms. A wait is the time from the call until the body runs. A \
         thread that unlocks may lock again before those that wait: many calls wait for nothing then, and the median wait is nothing. \
         What a wait is compared with is therefore a fair turn: the time that one transaction of each other thread takes, which is the \
         median where threads take strict turns.",
        slice.as_millis(),
    ));
    let head = [
        "",
        "throughput, × Mutex<Conn>",
        "transactions per thread and round, least / most",
        "a fair turn",
        "wait, median",
        "99 %",
        "longest",
        "longest / fair turn",
    ];
    let mut table = Table::new("Turns", head);
    for (number, (name, _)) in contenders.iter().enumerate() {
        let speed = Spread::of(results[number].iter().zip(&results[2]).map(|(own, base)| own.transactions() / base.transactions()));
        let waits = Waits::of(&results[number]);
        let fair =
            slice.as_secs_f64() * rounds as f64 / results[number].iter().map(Round::transactions).sum::<f64>() * (THREADS - 1) as f64;
        let (least, most) = share(&results[number]);
        table.row([
            (*name).to_owned(),
            ratio(speed),
            format!("{least:.0} / {most:.0}"),
            micros(fair),
            micros(waits.median),
            micros(waits.nearly_all),
            micros(waits.longest),
            format!("{:.1}", waits.longest / fair),
        ]);
        if *name == OURS {
            section.goal(format!("{name}: within 1.05 × of {MUTEX}"), ratio(speed), speed.median >= 1.0 / 1.05);
        }
        if *name != MUTEX {
            let longest = waits.longest / fair;
            section.goal(format!("{name}: no wait above 10 fair turns"), format!("{longest:.1}"), longest <= 10.0);
        }
    }
    section.tables.push(table);
    Ok(section)
}

fn work(shared: &dyn Shared, slice: Duration) -> Outcome<Round> {
    let start = Barrier::new(THREADS);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (start, stop) = (&start, &stop);
                scope.spawn(move || -> Outcome<Vec<f64>> {
                    let mut waits = Vec::with_capacity(4096);
                    start.wait();
                    while !stop.load(Relaxed) {
                        waits.push(shared.update(first_row(number))?.as_secs_f64());
                    }
                    Ok(waits)
                })
            })
            .collect();
        thread::sleep(slice);
        stop.store(true, Relaxed);
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err("its thread panicked".into())))
            .collect::<Outcome<_>>()
            .map(Round)
    })
}

/// How long it took until it was somebody's turn, in seconds.
struct Waits {
    median: f64,
    nearly_all: f64,
    longest: f64,
}

impl Waits {
    fn of(rounds: &[Round]) -> Self {
        let mut waits: Vec<f64> = rounds.iter().flat_map(|round| round.0.iter().flatten().copied()).collect();
        waits.sort_by(f64::total_cmp);
        let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).or(waits.last()).copied().unwrap_or(f64::NAN);
        Self { median: at(0.5), nearly_all: at(0.99), longest: at(1.0) }
    }
}

/// The fewest and the most transactions of a thread in a round.
fn share(rounds: &[Round]) -> (f64, f64) {
    let counts = || rounds.iter().flat_map(|round| round.0.iter().map(|waits| waits.len() as f64));
    (counts().fold(f64::MAX, f64::min), counts().fold(0.0, f64::max))
}

fn micros(seconds: f64) -> String {
    format!("{:.0} µs", seconds * 1e6)
}
