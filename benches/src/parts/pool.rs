//! How do pools of as many connections compare, under as many threads: how fast, and how long does a call wait for its connection?

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use db_core::prelude::*;
use mysql::{PoolConstraints, PoolOpts, TxOpts};
use r2d2_mysql::MySqlConnectionManager;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::{Acquire as _, Executor as _};
use tokio::runtime::Runtime;

use super::Bench;
use super::shared::update;
use super::throughput::file_name;
use crate::error::{Error, Outcome, Result};
use crate::peers::driver;
use crate::report::plot::{Kind, Plot};
use crate::report::{Section, Table, ratio};
use crate::site::Site;
use crate::stats::Spread;
use crate::work::{UPDATE, Work, first_row};

const CONNECTIONS: u16 = 16;
const OURS: &str = "db_core::Pool";
const DRIVER: &str = "mysql::Pool";
const DRIVER_TUNED: &str = "mysql::Pool, tuned";
const R2D2: &str = "r2d2_mysql";
const SQLX: &str = "sqlx";

/// Where the goals are looked at.
const GOAL_THREADS: usize = 16;
/// Of the worst wait to the mean of its round, where threads are more than connections.
const GOAL_WAIT: f64 = 3.0;

/// The waits of one thread, in seconds.
type Waits = Vec<f64>;

/// A pool of [`CONNECTIONS`], and what its users would write.
trait Contender: Sync {
    /// Transactions of one UPDATE, one after the other, until it is told to stop. How long did each wait for its connection?
    fn work(&self, row: u32, start: &Barrier, stop: &Arc<AtomicBool>) -> Outcome<Waits>;
}

fn until(start: &Barrier, stop: &AtomicBool, mut update: impl FnMut() -> Outcome<Duration>) -> Outcome<Waits> {
    let mut waits = Vec::with_capacity(4096);
    start.wait();
    while !stop.load(Relaxed) {
        waits.push(update()?.as_secs_f64());
    }
    Ok(waits)
}

struct Ours(Pool);

impl Contender for Ours {
    fn work(&self, row: u32, start: &Barrier, stop: &Arc<AtomicBool>) -> Outcome<Waits> {
        until(start, stop, || Ok(update(&self.0, row, Instant::now())?))
    }
}

struct Driver(mysql::Pool);

impl Contender for Driver {
    fn work(&self, row: u32, start: &Barrier, stop: &Arc<AtomicBool>) -> Outcome<Waits> {
        until(start, stop, || {
            let called = Instant::now();
            let mut conn = self.0.get_conn()?;
            let waited = called.elapsed();
            driver::transaction(conn.start_transaction(TxOpts::default())?, Work::Update, row, &|| {})?;
            Ok(waited)
        })
    }
}

struct R2d2(r2d2::Pool<MySqlConnectionManager>);

impl Contender for R2d2 {
    fn work(&self, row: u32, start: &Barrier, stop: &Arc<AtomicBool>) -> Outcome<Waits> {
        until(start, stop, || {
            let called = Instant::now();
            let mut conn = self.0.get()?;
            let waited = called.elapsed();
            driver::transaction(conn.start_transaction(TxOpts::default())?, Work::Update, row, &|| {})?;
            Ok(waited)
        })
    }
}

/// A task on a runtime of several threads in place of a thread.
struct Sqlx(Runtime, MySqlPool);

impl Contender for Sqlx {
    fn work(&self, row: u32, start: &Barrier, stop: &Arc<AtomicBool>) -> Outcome<Waits> {
        let (pool, stop) = (self.1.clone(), Arc::clone(stop));
        start.wait();
        let task = self.0.spawn(async move {
            let mut waits = Vec::with_capacity(4096);
            while !stop.load(Relaxed) {
                let called = Instant::now();
                let mut conn = pool.acquire().await?;
                waits.push(called.elapsed().as_secs_f64());
                let mut tx = conn.begin().await?;
                tx.execute(sqlx::query(UPDATE).bind(1).bind(row)).await?;
                tx.commit().await?;
            }
            Ok::<_, sqlx::Error>(waits)
        });
        Ok(self.0.block_on(task)??)
    }
}

fn ours(url: &str) -> Outcome<Box<dyn Contender>> {
    Ok(Box::new(Ours(Db::builder(url).max_connections(CONNECTIONS.into()).connect_pool()?)))
}

fn driver(url: &str, tuned: bool) -> Outcome<Box<dyn Contender>> {
    let size = usize::from(CONNECTIONS);
    let mut pool = PoolOpts::default().with_constraints(PoolConstraints::new(size, size).ok_or("the pool's size")?);
    if tuned {
        pool = pool.with_reset_connection(false).with_check_health(false);
    }
    Ok(Box::new(Driver(mysql::Pool::new(driver::options(url)?.pool_opts(pool))?)))
}

fn r2d2(url: &str) -> Outcome<Box<dyn Contender>> {
    let manager = MySqlConnectionManager::new(driver::options(url)?);
    Ok(Box::new(R2d2(r2d2::Pool::builder().max_size(CONNECTIONS.into()).error_handler(Box::new(r2d2::NopErrorHandler)).build(manager)?)))
}

fn sqlx(url: &str) -> Outcome<Box<dyn Contender>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let pool = runtime.block_on(MySqlPoolOptions::new().max_connections(CONNECTIONS.into()).connect(url))?;
    Ok(Box::new(Sqlx(runtime, pool)))
}

/// What a contender did in one round.
struct Round {
    per_second: f64,
    mean: f64,
    nearly_all: f64,
    worst: f64,
}

impl Round {
    /// `threads`: the waits of each.
    fn of(threads: Vec<Waits>, took: Duration) -> Self {
        let mut waits: Vec<f64> = threads.into_iter().flatten().collect();
        waits.sort_by(f64::total_cmp);
        let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).or(waits.last()).copied().unwrap_or(f64::NAN);
        Self {
            per_second: waits.len() as f64 / took.as_secs_f64(),
            mean: waits.iter().sum::<f64>() / waits.len() as f64,
            nearly_all: at(0.99),
            worst: at(1.0),
        }
    }
}

/// At one number of threads, by contender and round.
type Rows = Vec<Vec<Round>>;

pub(super) fn run(bench: &Bench, site: &Site) -> Result<Vec<Section>> {
    let delay = Duration::from_micros(500);
    let near = at(bench, site, &site.url(), "on loopback", [(DRIVER, 2.0), (DRIVER_TUNED, 1.0), (R2D2, 2.0), (SQLX, 1.7)])?;
    let proxy = site.proxy(delay)?;
    let far = proxy.url(&site.url())?;
    Ok(vec![near, at(bench, site, &far, "0.5 ms away", [(DRIVER, 1.4), (DRIVER_TUNED, 1.4), (R2D2, 1.4), (SQLX, 1.4)])?])
}

fn at(bench: &Bench, site: &Site, url: &str, place: &str, goals: [(&str, f64); 4]) -> Result<Section> {
    let threads = bench.effort(&[1, 16, 64][..], &[1, 4, 16, 64][..]);
    let (rounds, slice) = bench.effort((5, Duration::from_millis(150)), (21, Duration::from_millis(200)));
    let made = [(OURS, ours(url)), (DRIVER, driver(url, false)), (DRIVER_TUNED, driver(url, true)), (R2D2, r2d2(url)), (SQLX, sqlx(url))];
    let contenders = made
        .into_iter()
        .map(|(name, made)| Ok((name, made.map_err(|source| Error::Peer { peer: name, doing: "connecting", source })?)))
        .collect::<Result<Vec<_>>>()?;
    let mut found: Vec<(usize, Rows)> = Vec::new();
    for &threads in threads {
        let mut rows: Rows = contenders.iter().map(|_| Vec::new()).collect();
        // The first round opens connections and prepares statements.
        for round in 0..=rounds {
            for turn in 0..contenders.len() {
                let whose = (round + turn) % contenders.len();
                let (name, contender) = &contenders[whose];
                let done = work(contender.as_ref(), threads, slice);
                let done = done.map_err(|source| Error::Peer { peer: name, doing: "working on several threads", source })?;
                if round > 0 {
                    rows[whose].push(done);
                }
            }
        }
        found.push((threads, rows));
    }
    let names: Vec<&'static str> = contenders.iter().map(|(name, _)| *name).collect();
    Ok(report(site, place, &names, &found, goals, (rounds, slice)))
}

fn work(contender: &dyn Contender, threads: usize, slice: Duration) -> Outcome<Round> {
    let start = Barrier::new(threads + 1);
    let stop = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let (start, stop) = (&start, &stop);
                scope.spawn(move || contender.work(first_row(number), start, stop))
            })
            .collect();
        start.wait();
        let began = Instant::now();
        thread::sleep(slice);
        stop.store(true, Relaxed);
        let waits: Vec<_> = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err("its thread panicked".into())))
            .collect::<Outcome<_>>()?;
        Ok(Round::of(waits, began.elapsed()))
    })
}

fn report(
    site: &Site,
    place: &str,
    names: &[&'static str],
    found: &[(usize, Rows)],
    goals: [(&str, f64); 4],
    (rounds, slice): (usize, Duration),
) -> Section {
    let mut section = Section::new(format!("Pools of {CONNECTIONS} connections {place}, {}", site.name()));
    section.say(format!(
        "1 UPDATE per transaction, rows of each thread's own, {rounds} rounds of {} ms. A wait is the time from the call until it has its \
         connection, a ping at checkout included. Threads are tasks for sqlx. Worst / mean: the longest wait of a round by the mean wait \
         of that round, median of the rounds; it says how fair a pool is where threads are more than connections.",
        slice.as_millis(),
    ));
    let median = |rounds: &[Round], what: fn(&Round) -> f64| Spread::of(rounds.iter().map(what)).median;
    let speed = |rows: &Rows, own: usize, base: usize| {
        Spread::of(rows[own].iter().zip(&rows[base]).map(|(own, base)| own.per_second / base.per_second))
    };
    let place_of = |name: &str| names.iter().position(|other| *other == name).unwrap_or_default();
    let (ours, base) = (place_of(OURS), place_of(DRIVER));
    let head = || std::iter::once(String::new()).chain(found.iter().map(|(threads, _)| format!("{threads} threads")));
    let mut relative = Table::new(format!("Throughput, × {DRIVER}"), head());
    let mut absolute = Table::new("Transactions per second (median)", head());
    let mut waits = Table::new("Wait for a connection, mean / 99 % / worst (medians of the rounds, µs)", head());
    let mut fairness = Table::new("Worst / mean wait", head());
    for (number, name) in names.iter().enumerate() {
        let row = |cell: &dyn Fn(&Rows) -> String| -> Vec<String> {
            std::iter::once((*name).to_owned()).chain(found.iter().map(|(_, rows)| cell(rows))).collect()
        };
        relative.row(row(&|rows| ratio(speed(rows, number, base))));
        absolute.row(row(&|rows| format!("{:.0}", median(&rows[number], |round| round.per_second))));
        waits.row(row(&|rows| {
            let parts: [fn(&Round) -> f64; 3] = [|round| round.mean, |round| round.nearly_all, |round| round.worst];
            let micros = parts.map(|part| median(&rows[number], part) * 1e6);
            format!("{:.0} / {:.0} / {:.0}", micros[0], micros[1], micros[2])
        }));
        fairness.row(row(&|rows| ratio(unfairness(&rows[number]))));
    }
    section.tables.extend([relative, absolute, waits, fairness]);
    section.plots.push(Plot {
        file: format!("pool-{}-{}.svg", place.replace([' ', '.'], ""), file_name(site)),
        title: format!("Transactions per second, pools of {CONNECTIONS} connections {place}, {}", site.name()),
        kind: Kind::over_threads(names.iter().enumerate().map(|(number, name)| {
            let points = found.iter().map(|(threads, rows)| (*threads as f64, median(&rows[number], |round| round.per_second)));
            ((*name).to_owned(), points.collect())
        })),
    });
    if let Some((_, rows)) = found.iter().find(|(threads, _)| *threads == GOAL_THREADS) {
        for (name, least) in goals {
            let speed = speed(rows, ours, place_of(name));
            section.goal(format!("{OURS}, {GOAL_THREADS} threads: at least {least} × {name}"), ratio(speed), speed.median >= least);
        }
    }
    for (threads, rows) in found.iter().filter(|(threads, _)| *threads > CONNECTIONS.into()) {
        let unfair = unfairness(&rows[ours]);
        section.goal(
            format!("{OURS}, {threads} threads: worst wait at most {GOAL_WAIT} × the mean"),
            ratio(unfair),
            unfair.median <= GOAL_WAIT,
        );
    }
    section
}

fn unfairness(rounds: &[Round]) -> Spread {
    Spread::of(rounds.iter().map(|round| round.worst / round.mean))
}
