//! The bank under fire: transfers go on while connections, COMMITs and the server are broken; then the books are audited.
//!
//! `cargo xtask demo` shows it for some seconds: sessions and the server are killed by the clock. `cargo xtask torture` tests: what goes
//! wrong in which operation follows from a seed, so that a run that fails can be repeated. With `--server galera` and the other
//! clusters, nodes are broken. All exit with 1 if a promise was broken.
//!
//! In reading order: [`bank`] (the annotated functions), [`plan`] (what goes wrong), [`worker`] (calls the functions), [`site`] and
//! [`saboteur`] (the server, and its faults), [`nodes`] (a cluster, and its faults), [`records`] and [`tally`] (what was seen), [`audit`], [`board`] and [`report`].

mod audit;
mod bank;
mod board;
mod nodes;
mod plan;
mod records;
mod report;
mod saboteur;
mod site;
mod tally;
mod worker;

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueEnum};
use db_core::mysql::prelude::Queryable;
use db_core::{Db, RetryPolicy};
use db_testkit::{Flavor, Server};
use parking_lot::Mutex;

use crate::audit::{Audit, Promise, Violation};
use crate::bank::{Kind, Order};
use crate::board::Board;
use crate::nodes::Nodes;
use crate::plan::{KILL_MARIADB_EVERY, KILL_MYSQL_EVERY, Plan, ServerFault};
use crate::records::Records;
use crate::saboteur::{Clock, SaboteurError};
use crate::site::Site;
use crate::tally::Tally;
use crate::worker::{Handle, Line, Worker};

const TICK: Duration = Duration::from_millis(100);

/// No proxy holds a request back for longer.
pub(crate) const LATEST: Duration = Duration::from_millis(2_500);

/// How a client finds out that the server does not reply: some give up before the server does, some after.
const READ_TIMEOUTS: [Duration; 3] = [Duration::from_millis(300), Duration::from_millis(600), Duration::from_millis(1_200)];

/// More than a cluster takes to exclude a node.
const CLUSTER_READ_TIMEOUT: Duration = Duration::from_secs(8);

/// A session whose client has vanished without a word holds its locks until the server misses it.
const SERVER_OPTIONS: [&str; 3] = ["--wait-timeout=2", "--innodb-lock-wait-timeout=1", "--max-connections=600"];

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Transfers under fire.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    face: Face,
}

#[derive(Subcommand)]
enum Face {
    /// For some seconds, to be watched.
    Demo(Demo),
    /// By a plan that can be repeated, on a throwaway server.
    Run(Torture),
    /// On a throwaway cluster, whose nodes are broken.
    Cluster(OnCluster),
}

#[derive(Args)]
struct Demo {
    /// How many seconds it takes.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How many threads transfer money. They share a pool of half as many connections.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// A database of your own, whose URL may name several hosts: only this program's connections are killed, and its tables (db_core_bank_…) are
    /// dropped at the end. If the reply to a COMMIT is lost, the outcome stays unknown there, since the commit ledger would be one more
    /// table. Default: a throwaway server, which is killed as well, with a commit ledger.
    #[arg(long)]
    url: Option<String>,
}

#[derive(Args)]
struct Torture {
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

#[derive(Args)]
struct OnCluster {
    /// Which cluster.
    #[arg(long, value_enum)]
    kind: nodes::Kind,
    /// How many operations, at least: they go on until all faults have happened.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    ops: u32,
    /// How many times a node fails. 0: nothing goes wrong, writers compete for ten accounts.
    #[arg(long, default_value_t = 20)]
    failures: u32,
    /// Decides what the operations do. Default: chosen at random, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Whether COMMITs are recorded.
    #[arg(long, value_enum, default_value_t = Ledger::On)]
    ledger: Ledger,
    /// How many operations are under way at the same time.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ledger {
    On,
    Off,
}

/// What is done, and for how long.
pub(crate) enum Script {
    Demo { length: Duration },
    Torture { ops: usize, seed: u64, kill_every: usize },
    Cluster { ops: usize, seed: u64, failures: usize },
}

impl Script {
    /// How many, and the balance of each at the beginning.
    pub(crate) fn accounts(&self) -> (u32, i64) {
        match self {
            Script::Demo { .. } => (1_000, 1_000),
            Script::Torture { .. } => (plan::ACCOUNTS, 1_000_000),
            Script::Cluster { .. } => (plan::FEW_ACCOUNTS, 1_000_000),
        }
    }

    pub(crate) fn max_attempts(&self) -> u32 {
        match self {
            Script::Demo { .. } => 3,
            Script::Torture { .. } => 5,
            Script::Cluster { .. } => 20,
        }
    }

    fn read_timeout(&self, worker: usize) -> Option<Duration> {
        match self {
            Script::Demo { .. } | Script::Cluster { failures: 0, .. } => None,
            Script::Torture { .. } => Some(READ_TIMEOUTS[worker % READ_TIMEOUTS.len()]),
            Script::Cluster { .. } => Some(CLUSTER_READ_TIMEOUT),
        }
    }

    /// No call may take longer.
    pub(crate) fn call_limit(&self) -> Duration {
        Duration::from_secs(match self {
            Script::Demo { .. } => 60,
            Script::Torture { .. } => 90,
            Script::Cluster { .. } => 240,
        })
    }
}

/// What all threads share.
pub(crate) struct Run {
    pub(crate) script: Script,
    pub(crate) site: Site,
    pub(crate) version: String,
    pub(crate) ledger: bool,
    pub(crate) records: Arc<Records>,
    pub(crate) tally: Tally,
    workers: Vec<Worker>,
    next: AtomicUsize,
    /// `None` once no more are to come.
    server_faults: Mutex<Option<Sender<ServerFault>>>,
    pub(crate) began: Instant,
    ended: AtomicBool,
    /// The nodes of a cluster fail no more.
    quiet: AtomicBool,
}

impl Run {
    pub(crate) fn next_op(&self) -> Option<usize> {
        let op = self.next.fetch_add(1, Ordering::Relaxed);
        let goes_on = match self.script {
            Script::Demo { .. } => !self.ended.load(Ordering::Acquire),
            Script::Torture { ops, .. } => op < ops,
            Script::Cluster { ops, .. } => !self.is_over() && (op < ops || !self.quiet.load(Ordering::Acquire)),
        };
        goes_on.then_some(op)
    }

    pub(crate) fn plan(&self, op: usize) -> Plan {
        match self.script {
            Script::Demo { .. } => Plan::unharmed(Order::random(Kind::Checked, self.script.accounts().0, 200, &mut fastrand::Rng::new())),
            Script::Torture { seed, kill_every, .. } => Plan::of(seed, op, self.ledger, kill_every),
            Script::Cluster { seed, failures, .. } => Plan::on_cluster(seed, op, self.ledger, failures > 0),
        }
    }

    pub(crate) fn strike(&self, fault: ServerFault) {
        if let Some(faults) = &*self.server_faults.lock() {
            // A saboteur that does not receive has failed: that ends the run with its error.
            let _ = faults.send(fault);
        }
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Arc<Line>> {
        let is_first = |number: usize| self.workers[..number].iter().all(|other| !Arc::ptr_eq(&other.line, &self.workers[number].line));
        self.workers.iter().enumerate().filter(move |(number, _)| is_first(*number)).map(|(_, worker)| &worker.line)
    }

    /// The sessions that are under fire.
    pub(crate) fn session_ids(&self) -> impl Iterator<Item = u32> {
        self.workers.iter().map(|worker| worker.session.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// They may have been another server's.
    pub(crate) fn forget_sessions(&self) {
        self.workers.iter().for_each(|worker| worker.session.store(0, Ordering::Relaxed));
    }

    pub(crate) fn reconnects(&self) -> u64 {
        self.lines().map(|line| line.handle.stats().reconnects).sum()
    }
}

/// The command that does the same once more.
struct Again<'a>(&'a Torture, u64, Flavor);

impl fmt::Display for Again<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Torture { ops, ledger, threads, .. }, seed, flavor) = self;
        let server = match flavor {
            Flavor::MariaDb => "mariadb",
            Flavor::MySql => "mysql",
        };
        let ledger = if *ledger == Ledger::On { "on" } else { "off" };
        write!(f, "cargo xtask torture --ops {ops} --seed {seed} --server {server} --ledger {ledger} --threads {threads}")
    }
}

fn main() -> ExitCode {
    let kept = match Cli::parse().face {
        Face::Demo(options) => demo(options),
        Face::Run(options) => torture(&options),
        Face::Cluster(options) => on_cluster(&options),
    };
    match kept {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
fn demo(options: Demo) -> Result<bool> {
    let script = Script::Demo { length: Duration::from_secs(options.seconds) };
    let site = match options.url {
        Some(url) => Site::Own(url),
        None => Site::Throwaway(Server::start()?),
    };
    let ledger = site.throwaway().is_some();
    let run = Arc::new(prepare(script, site, ledger, options.threads)?);
    let kept = under_fire(&run);
    if run.site.throwaway().is_none() {
        let dropped = run.site.connect().and_then(|mut admin| bank::drop_tables(&mut admin));
        // The first error is what the user must know.
        return kept.and_then(|kept| Ok(dropped.map(|()| kept)?));
    }
    kept
}

/// Whether every promise was kept, and every kind of fault tested.
fn torture(options: &Torture) -> Result<bool> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let kept = tortured(options, seed);
    if !matches!(kept, Ok(true)) {
        println!("seed {seed}; again: {}", Again(options, seed, Flavor::from_env()?));
    }
    kept
}

fn tortured(options: &Torture, seed: u64) -> Result<bool> {
    let server = SERVER_OPTIONS.iter().fold(Server::builder(), |builder, option| builder.arg(option)).start()?;
    let kill_every = if server.flavor() == Flavor::MariaDb { KILL_MARIADB_EVERY } else { KILL_MYSQL_EVERY };
    let script = Script::Torture { ops: usize::try_from(options.ops)?, seed, kill_every };
    let run = prepare(script, Site::Throwaway(server), options.ledger == Ledger::On, options.threads)?;
    under_fire(&Arc::new(run))
}

/// Whether every promise was kept.
fn on_cluster(options: &OnCluster) -> Result<bool> {
    let OnCluster { kind, ops, failures, ledger, threads, .. } = options;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let script = Script::Cluster { ops: usize::try_from(*ops)?, seed, failures: usize::try_from(*failures)? };
    let site = Site::Nodes(Box::new(Nodes::start(*kind)?));
    let run = Arc::new(prepare(script, site, *ledger == Ledger::On, *threads)?);
    let kept = under_fire(&run);
    if !matches!(kept, Ok(true)) {
        let ledger = if *ledger == Ledger::On { "on" } else { "off" };
        println!(
            "seed {seed}; again: cargo xtask torture --server {} --ops {ops} --failures {failures} --seed {seed} --ledger {ledger} \
             --threads {threads}",
            kind.name()
        );
    }
    kept
}

fn prepare(script: Script, site: Site, ledger: bool, threads: u16) -> Result<Run> {
    let mut admin = site.connect()?;
    let version = admin.query_first("SELECT VERSION()")?.unwrap_or_default();
    let (accounts, balance) = script.accounts();
    bank::create_tables(&mut admin, accounts, balance)?;
    if ledger {
        Db::connect(&site.url())?.install_ledger()?;
    }
    site.settle()?;
    let mut workers: Vec<Worker> = Vec::new();
    let mut sharing: Option<Arc<Line>> = None;
    for number in 0..usize::from(threads) {
        let shared = matches!(script, Script::Demo { .. }) || (number % 3 == 1 && site.nodes().is_none());
        let line = match sharing.as_ref().filter(|_| shared) {
            Some(line) => Arc::clone(line),
            None if matches!(script, Script::Demo { .. }) => pooled(&site, ledger, threads.div_ceil(2))?,
            None => line(&script, &site, shared, ledger, script.read_timeout(number))?,
        };
        workers.push(Worker::new(&line));
        if shared {
            sharing = Some(line);
        }
    }
    Ok(Run {
        script,
        site,
        version,
        ledger,
        records: Arc::default(),
        tally: Tally::default(),
        workers,
        next: AtomicUsize::new(0),
        server_faults: Mutex::new(None),
        began: Instant::now(),
        ended: AtomicBool::new(false),
        quiet: AtomicBool::new(false),
    })
}

fn pooled(site: &Site, ledger: bool, connections: u16) -> Result<Arc<Line>> {
    let pool = Db::builder(&site.url()).commit_ledger(ledger).max_connections(connections.into()).connect_pool()?;
    Ok(Line::new(Handle::Pool(pool), true, None))
}

/// In the torture test, each goes through a proxy.
fn line(script: &Script, site: &Site, shared: bool, ledger: bool, read_timeout: Option<Duration>) -> Result<Arc<Line>> {
    let proxy = match (script, site) {
        (Script::Torture { .. }, Site::Throwaway(server)) => Some(server.proxy()?),
        (_, Site::Nodes(nodes)) => Some(nodes.proxy()?),
        _ => None,
    };
    let url = match &proxy {
        Some(proxy) => proxy.url(&site.url())?,
        None => site.url(),
    };
    let db = Db::builder(&url)
        .retry(RetryPolicy::default().max_attempts(script.max_attempts()).max_elapsed(Duration::from_secs(60)))
        .commit_ledger(ledger)
        .driver_options(move |options| if read_timeout.is_some() { options.read_timeout(read_timeout) } else { options })
        .connect()?;
    Ok(Line::new(Handle::One(db), shared, proxy))
}

fn under_fire(run: &Arc<Run>) -> Result<bool> {
    let (server_faults, received) = mpsc::channel();
    *run.server_faults.lock() = Some(server_faults);
    let saboteur = {
        let run = Arc::clone(run);
        thread::spawn(move || saboteur::work(&run, &received))
    };
    let nodes = {
        let run = Arc::clone(run);
        thread::spawn(move || saboteur::work_on_nodes(&run))
    };
    let threads: Vec<JoinHandle<()>> = (0..run.workers.len())
        .map(|number| {
            let run = Arc::clone(run);
            thread::spawn(move || run.workers[number].work(&run))
        })
        .collect();
    let mut violations = watch(run, threads, &saboteur);
    let took = run.began.elapsed();
    run.server_faults.lock().take();
    saboteur.join().map_err(|_| "the saboteur panicked")??;
    nodes.join().map_err(|_| "the saboteur of the nodes panicked")??;

    let mut admin = settle(run, &mut violations)?;
    let mut audit = Audit::of(run, &mut admin, violations)?;
    audit.compare_nodes(run)?;
    Ok(report::print(run, &audit, took))
}

/// Waits for the threads, but no longer than a call may take.
fn watch(run: &Run, threads: Vec<JoinHandle<()>>, saboteur: &JoinHandle<std::result::Result<(), SaboteurError>>) -> Vec<Violation> {
    let mut board = Board::new(&run.script);
    let mut clock = if let Script::Demo { length } = run.script { Some(Clock::new(length)) } else { None };
    let limit = run.script.call_limit();
    let mut hung: Vec<usize> = Vec::new();
    // A saboteur that has ended by now has failed.
    while hung.is_empty() && !saboteur.is_finished() && threads.iter().any(|thread| !thread.is_finished()) {
        board.show(run);
        match &mut clock {
            Some(clock) if clock.is_over() => run.ended.store(true, Ordering::Release),
            Some(clock) => clock.tick(run),
            None => {}
        }
        thread::sleep(TICK);
        let calls: Vec<(usize, Duration)> = run.workers.iter().filter_map(Worker::in_call).collect();
        calls.iter().filter(|(_, time)| *time > limit).for_each(|(op, _)| run.records.change(*op, |record| record.slow = true));
        // What takes twice as long as it may is not waited for.
        hung = calls.into_iter().filter(|(_, time)| *time > limit * 2).map(|(op, _)| op).collect();
    }
    run.ended.store(true, Ordering::Release);
    board.show(run);
    board.finish();
    let violation = |op, promise, what: &str| Violation { op, promise, what: what.into() };
    let mut violations: Vec<_> = hung.into_iter().map(|op| violation(Some(op), Promise::ThreadEnds, "hung")).collect();
    for thread in threads.into_iter().filter(JoinHandle::is_finished) {
        if thread.join().is_err() {
            violations.push(violation(None, Promise::NoPanic, "a thread panicked"));
        }
    }
    violations
}

/// Lets everything arrive that is still on its way, and every session end.
fn settle(run: &Run, violations: &mut Vec<Violation>) -> Result<db_core::mysql::Conn> {
    if !matches!(run.script, Script::Demo { .. }) {
        thread::sleep(LATEST);
    }
    for line in run.lines() {
        line.await_late_packets(&run.tally);
        line.proxy.iter().for_each(|proxy| proxy.cut_all());
    }
    if let Some(server) = run.site.throwaway() {
        server.wait_ready()?;
    }
    if let Some(nodes) = run.site.nodes() {
        nodes.mend()?;
    }
    let mut admin = run.site.connect()?;
    if !violations.is_empty() {
        saboteur::kill_all(run, &mut admin)?;
    }
    run.site.settle()?;
    if run.site.throwaway().is_some() && !audit::await_transactions(&mut admin)? {
        violations.push(Violation { op: None, promise: Promise::CallEnds, what: "transactions are still open".into() });
    }
    Ok(admin)
}
