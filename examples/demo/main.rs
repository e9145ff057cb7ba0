//! A bank under fire: threads transfer money while connections and the server are killed; then the books are read back.
//!
//! `cargo run --release --package examples --example demo -- --seconds 60`
//!
//! In reading order: `bank` (the annotated functions), `worker` (calls them), `fire` (the saboteur), `tally` and `board` (the live
//! view), `audit` (what was reported against what is in the database). It exits with 1 if a promise was broken.

mod audit;
mod bank;
mod board;
mod fire;
mod tally;
mod worker;

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use db_core::Db;
use db_core::mysql::prelude::Queryable;
use db_core::mysql::{self, Conn, Opts, OptsBuilder};
use db_testkit::Server;

use crate::audit::Audit;
use crate::bank::Connection;
use crate::board::Board;
use crate::tally::Tally;
use crate::worker::Worker;

/// No call may take longer, and every thread must end within this after the end signal.
const PATIENCE: Duration = Duration::from_secs(30);

const TICK: Duration = Duration::from_millis(100);

/// A bank under fire: transfers go on while connections and the server are killed.
#[derive(Parser)]
struct Options {
    /// How long the fire burns.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Customers: one half on one shared connection, the others on a connection each.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    threads: u64,
    /// A server of your own, with a database: only this program's connections are killed, and its tables (db_core_demo_…) are
    /// dropped at the end. A COMMIT whose answer is lost stays of unknown outcome there, since the commit ledger would be a table more.
    /// Default: a throwaway server, which is killed as well, with a commit ledger.
    #[arg(long)]
    url: Option<String>,
}

/// What all threads share.
struct Run {
    url: String,
    server: Option<Server>,
    version: String,
    connections: Vec<Arc<Connection>>,
    workers: Vec<Worker>,
    tally: Arc<Tally>,
    began: Instant,
    length: Duration,
    ended: AtomicBool,
}

impl Run {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The sessions that are under fire.
    fn session_ids(&self) -> impl Iterator<Item = u32> {
        self.connections.iter().filter_map(|connection| connection.session_id())
    }

    /// A connection beside those under fire.
    fn connect(&self) -> mysql::Result<Conn> {
        connect(&self.url)
    }
}

/// What the watchdog found.
#[derive(Default)]
struct Hung {
    threads: u64,
    panics: u64,
    calls: u64,
    longest_call: Duration,
}

impl Hung {
    fn is_none(&self) -> bool {
        self.threads + self.calls + self.panics == 0
    }
}

impl fmt::Display for Hung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.threads, self.calls, self.panics)
    }
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn connect(url: &str) -> mysql::Result<Conn> {
    let options = OptsBuilder::from_opts(Opts::from_url(url)?).prefer_socket(false).read_timeout(Some(PATIENCE));
    Conn::new(options)
}

/// Whether every promise was kept.
fn run(options: Options) -> Result<bool, Box<dyn std::error::Error>> {
    let run = Arc::new(prepare(options)?);
    let kept = under_fire(&run);
    if run.server.is_none() {
        let dropped = run.connect().and_then(|mut admin| bank::drop_tables(&mut admin));
        // What went wrong first is what the user must know.
        return kept.and_then(|kept| Ok(dropped.map(|()| kept)?));
    }
    kept
}

fn under_fire(run: &Arc<Run>) -> Result<bool, Box<dyn std::error::Error>> {
    let saboteur = {
        let run = Arc::clone(run);
        thread::spawn(move || fire::burn(&run))
    };
    let threads: Vec<JoinHandle<()>> = (0..run.workers.len())
        .map(|number| {
            let run = Arc::clone(run);
            thread::spawn(move || run.workers[number].work(&run))
        })
        .collect();

    let mut board = Board::new(run.length);
    while run.began.elapsed() < run.length && !saboteur.is_finished() {
        board.show(run);
        thread::sleep(TICK);
    }
    run.ended.store(true, Ordering::Release);
    let hung = watch(run, threads);
    board.show(run);
    board.finish();
    saboteur.join().map_err(|_| "the saboteur panicked")??;

    let mut admin = run.connect()?;
    if hung.threads > 0 {
        fire::kill_all(run, &mut admin)?;
    }
    let audit = Audit::of(run, &mut admin, hung)?;
    println!("{}\n{}", audit.table(run), audit.summary());
    Ok(audit.broken().is_empty())
}

fn prepare(options: Options) -> Result<Run, Box<dyn std::error::Error>> {
    let (url, server) = match options.url {
        Some(url) => (url, None),
        None => {
            let server = Server::start()?;
            (server.url(), Some(server))
        }
    };
    let mut admin = connect(&url)?;
    let version = admin.query_first("SELECT VERSION()")?.unwrap_or_default();
    bank::create_tables(&mut admin)?;

    let tally = Arc::new(Tally::default());
    if server.is_some() {
        Db::connect(&url)?.install_ledger()?;
    }
    let shared = Connection::new(Db::builder(&url).commit_ledger(server.is_some()).connect()?, &tally);
    let mut connections = vec![Arc::clone(&shared)];
    let mut workers = Vec::new();
    for number in 0..usize::try_from(options.threads)? {
        if number % 2 == 1 {
            workers.push(Worker::new(number, &shared));
        } else {
            let own = Connection::new(shared.db.fork()?, &tally);
            workers.push(Worker::new(number, &own));
            connections.push(own);
        }
    }
    let length = Duration::from_secs(options.seconds);
    Ok(Run { url, server, version, connections, workers, tally, began: Instant::now(), length, ended: AtomicBool::new(false) })
}

/// Waits for the threads, but not for ever.
fn watch(run: &Run, threads: Vec<JoinHandle<()>>) -> Hung {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && threads.iter().any(|thread| !thread.is_finished()) {
        thread::sleep(TICK);
    }
    let mut hung = Hung::default();
    for thread in threads {
        if !thread.is_finished() {
            hung.threads += 1;
        } else if thread.join().is_err() {
            hung.panics += 1;
        }
    }
    for call in run.workers.iter().map(Worker::longest_call) {
        hung.calls += u64::from(call > PATIENCE);
        hung.longest_call = hung.longest_call.max(call);
    }
    hung
}
