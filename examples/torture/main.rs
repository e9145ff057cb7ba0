//! Torture: transfers go on while COMMITs are cut, packets arrive late, sessions and the server are killed; then the books are read back.
//!
//! `cargo xtask torture --ops 2000`
//!
//! What goes wrong in which operation follows from a seed, so that a run that fails can be run again. In reading order: `plan` (what is to
//! go wrong), `bank` (the annotated functions), `worker` (calls them), `saboteur` (the server), `book` and `tally` (what was seen), `audit`
//! (what was reported against what is in the database), `report`. It exits with 1 if a promise was broken, or a kind of fault never happened.

mod audit;
mod bank;
mod book;
mod plan;
mod report;
mod saboteur;
mod tally;
mod worker;

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use db_core::{Db, RetryPolicy};
use db_testkit::{Flavor, Server};
use parking_lot::Mutex;

use crate::audit::{Audit, Violation};
use crate::book::Book;
use crate::plan::{Blow, KILL_MARIADB_EVERY, KILL_MYSQL_EVERY, Plan};
use crate::report::Progress;
use crate::tally::Tally;
use crate::worker::{Line, Worker};

/// No call may take longer.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(90);

const TICK: Duration = Duration::from_millis(100);

/// No proxy holds a request back for longer.
pub(crate) const LATEST: Duration = Duration::from_millis(2_500);

/// What tells a client that nobody answers any more: some give up before the server does, some after.
const READ_TIMEOUTS: [Duration; 3] = [Duration::from_millis(300), Duration::from_millis(600), Duration::from_millis(1_200)];

/// A session whose client has vanished without a word holds its locks until the server misses it.
const SERVER_OPTIONS: [&str; 3] = ["--wait-timeout=2", "--innodb-lock-wait-timeout=1", "--max-connections=600"];

/// One worker out of so many takes turns with its like on a shared connection.
const SHARING_EVERY: usize = 3;

/// Transfers under fire, on a throwaway server.
#[derive(Parser)]
struct Options {
    /// How many operations.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    ops: u32,
    /// Decides what goes wrong. Default: chosen at random, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Whether COMMITs are recorded.
    #[arg(long, value_enum, default_value_t = Ledger::On)]
    ledger: Ledger,
    /// How many operations are under way at the same time.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ledger {
    On,
    Off,
}

/// What all threads share.
struct Run {
    server: Arc<Server>,
    seed: u64,
    ops: usize,
    ledger: bool,
    kill_every: usize,
    next: AtomicUsize,
    book: Arc<Book>,
    tally: Arc<Tally>,
    workers: Vec<Worker>,
    /// `None` once no more are to come.
    blows: Mutex<Option<Sender<Blow>>>,
    kills: Sender<(Duration, usize)>,
    began: Instant,
}

impl Run {
    fn next_op(&self) -> Option<usize> {
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|op| *op < self.ops)
    }

    fn plan(&self, op: usize) -> Plan {
        Plan::of(self.seed, op, self.ledger, self.kill_every)
    }

    fn strike(&self, blow: Blow) {
        if let Some(blows) = &*self.blows.lock() {
            // Nobody listens any more if the server could not be restarted: that ends the run with an error of its own.
            let _ = blows.send(blow);
        }
    }

    fn kill_session(&self, after: Duration, pick: usize) {
        let _ = self.kills.send((after, pick));
    }
}

/// The command that does the same once more.
struct Again<'a>(&'a Options, u64, Flavor);

impl fmt::Display for Again<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Options { ops, ledger, threads, .. }, seed, flavor) = self;
        let server = match flavor {
            Flavor::MariaDb => "mariadb",
            Flavor::MySql => "mysql",
        };
        let ledger = if *ledger == Ledger::On { "on" } else { "off" };
        write!(f, "cargo xtask torture --ops {ops} --seed {seed} --server {server} --ledger {ledger} --threads {threads}")
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
fn run(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let kept = torture(options, seed);
    if !matches!(kept, Ok(true)) {
        println!("seed {seed}; again: {}", Again(options, seed, Flavor::from_env()?));
    }
    kept
}

fn torture(options: &Options, seed: u64) -> Result<bool, Box<dyn std::error::Error>> {
    let server = Arc::new(SERVER_OPTIONS.iter().fold(Server::builder(), |builder, option| builder.arg(option)).start()?);
    bank::found(&mut server.connect()?)?;
    Db::connect(&server.url())?.install_ledger()?;
    let ledger = options.ledger == Ledger::On;
    let tally = Arc::new(Tally::default());
    let (blows, blows_out) = mpsc::channel();
    let (kills, kills_out) = mpsc::channel();
    let ops = usize::try_from(options.ops)?;
    let run = Arc::new(Run {
        seed,
        ops,
        ledger,
        kill_every: if server.flavor() == Flavor::MariaDb { KILL_MARIADB_EVERY } else { KILL_MYSQL_EVERY },
        next: AtomicUsize::new(0),
        book: Arc::new(Book::new(ops)),
        tally: Arc::clone(&tally),
        workers: workers(&server, usize::from(options.threads), ledger)?,
        blows: Mutex::new(Some(blows)),
        kills,
        began: Instant::now(),
        server: Arc::clone(&server),
    });
    let striker = {
        let (server, tally) = (Arc::clone(&server), Arc::clone(&tally));
        thread::spawn(move || saboteur::strike(&server, &tally, &blows_out))
    };
    thread::spawn(move || saboteur::kill_sessions(&server, &tally, &kills_out));
    let threads: Vec<JoinHandle<()>> = (0..run.workers.len())
        .map(|number| {
            let run = Arc::clone(&run);
            thread::spawn(move || run.workers[number].work(&run))
        })
        .collect();
    let mut violations = watch(&run, threads, &striker);
    let took = run.began.elapsed();
    run.blows.lock().take();
    striker.join().map_err(|_| "the saboteur panicked")??;
    violations.extend(quiet(&run)?);
    let mut audit = Audit::of(&run, &mut run.server.connect()?)?;
    audit.violations.splice(0..0, violations);
    Ok(report::print(&run, &audit, took))
}

/// Each with a proxy and a database of its own, except for those that share one.
fn workers(server: &Server, threads: usize, ledger: bool) -> Result<Vec<Worker>, Box<dyn std::error::Error>> {
    let mut sharing: Option<Arc<Line>> = None;
    let mut workers = Vec::new();
    for number in 0..threads {
        let shared = number % SHARING_EVERY == 1;
        let line = match sharing.as_ref().filter(|_| shared) {
            Some(line) => Arc::clone(line),
            None => line(server, READ_TIMEOUTS[number % READ_TIMEOUTS.len()], shared, ledger)?,
        };
        workers.push(Worker::new(&line));
        if shared {
            sharing = Some(line);
        }
    }
    Ok(workers)
}

fn line(server: &Server, read_timeout: Duration, shared: bool, ledger: bool) -> Result<Arc<Line>, Box<dyn std::error::Error>> {
    let proxy = server.proxy()?;
    let policy = RetryPolicy::default().max_attempts(bank::MAX_ATTEMPTS).max_elapsed(Duration::from_secs(60));
    let db = Db::builder(&proxy.url(&server.url())?)
        .retry(policy)
        .commit_ledger(ledger)
        .driver_options(move |options| options.read_timeout(Some(read_timeout)))
        .connect()?;
    Ok(Line::new(proxy, db, shared))
}

/// Waits for the threads, but not for ever.
fn watch(run: &Run, threads: Vec<JoinHandle<()>>, striker: &JoinHandle<db_testkit::Result<()>>) -> Vec<Violation> {
    let mut progress = Progress::new(run.ops);
    let mut hung: Vec<usize> = Vec::new();
    // A saboteur that has ended by now has failed.
    while hung.is_empty() && !striker.is_finished() && threads.iter().any(|thread| !thread.is_finished()) {
        progress.show(run);
        thread::sleep(TICK);
        let calls: Vec<(usize, Duration)> = run.workers.iter().filter_map(Worker::in_call).collect();
        calls.iter().filter(|(_, time)| *time > CALL_LIMIT).for_each(|(op, _)| run.book.change(*op, |record| record.slow = true));
        // What takes twice as long as it may is not waited for.
        hung = calls.into_iter().filter(|(_, time)| *time > CALL_LIMIT * 2).map(|(op, _)| op).collect();
    }
    progress.show(run);
    progress.finish();
    let mut violations: Vec<_> = hung.into_iter().map(|op| Violation { op: Some(op), what: "hung".into() }).collect();
    for thread in threads.into_iter().filter(JoinHandle::is_finished) {
        if thread.join().is_err() {
            violations.push(Violation { op: None, what: "a thread panicked".into() });
        }
    }
    violations
}

/// Lets everything arrive that is still on its way, and every session end.
fn quiet(run: &Run) -> Result<Vec<Violation>, Box<dyn std::error::Error>> {
    thread::sleep(LATEST);
    for worker in &run.workers {
        worker.line.await_late_packets(&run.tally);
        worker.line.proxy.cut_all();
    }
    let mut violations = Vec::new();
    run.server.wait_ready()?;
    if !audit::settle(&mut run.server.connect()?)? {
        violations.push(Violation { op: None, what: "transactions are still open".into() });
    }
    Ok(violations)
}
