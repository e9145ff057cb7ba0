//! Bodies: random programs of nested calls, statements and faults, and what became of them against a reference model.
//!
//! `cargo xtask fuzz --minutes 1`
//!
//! Each program follows from a seed. One that breaks a promise is shrunk and printed as Rust. In reading order: `program` (what a program
//! is), `generate` (a program of a seed), `sql` (its statements' text), `site` (the databases of a worker), `run` (what happens), `model` (what
//! may happen), `shrink`, `print`. It exits with 1 if a promise was broken.

mod generate;
mod model;
mod print;
mod program;
mod run;
mod shrink;
mod site;
mod sql;

use std::collections::BTreeMap;
use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use db_testkit::Server;

use crate::generate::{Wanted, generate};
use crate::model::Broken;
use crate::program::{Program, features};
use crate::site::{Result, Site};

/// No program may take longer.
const LIMIT: Duration = Duration::from_secs(60);

/// How many programs with faults one proxy serves: each leaves its fault in the proxy's list.
const PROXY_SERVES: u64 = 500;

/// Features that do not tell one kind of failure from another.
const INCIDENTAL: [&str; 4] = ["several-transactions", "retry", "ledger", "hook"];

/// Random programs against a reference model, on a throwaway server.
#[derive(Parser)]
struct Options {
    /// How long to run. Default: one minute, unless --programs says how many.
    #[arg(long)]
    minutes: Option<f64>,
    /// How many programs.
    #[arg(long)]
    programs: Option<u64>,
    /// The seed of the first program; the others count on from it. Default: chosen at random, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Whether COMMITs are recorded. Default: in half of the programs.
    #[arg(long, value_enum)]
    ledger: Option<Switch>,
    /// How many programs run at the same time.
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// Leaves out programs with this feature, such as `raw` or `fault`; `a+b` those with both. May be given several times.
    #[arg(long)]
    without: Vec<String>,
    /// Does not count this broken rule, such as `hooks`. May be given several times.
    #[arg(long)]
    ignore: Vec<String>,
    /// Goes on after a broken promise, and in the end tells how many programs it took to find each kind.
    #[arg(long)]
    keep_going: bool,
    /// Prints each program before it runs.
    #[arg(long)]
    verbose: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Options {
    fn wants(&self, program: &Program) -> bool {
        let features = features(program);
        !self.without.iter().any(|left_out| left_out.split('+').all(|feature| features.contains(feature)))
    }
}

/// A kind of failure: the rule that was broken, and what the smallest program that breaks it uses.
type Kind = (String, String);

#[derive(Default)]
struct Found {
    /// How many programs had run when it was found first, and how often it was found.
    kinds: BTreeMap<Kind, (u64, u64)>,
}

struct Work<'w> {
    options: &'w Options,
    server: &'w Server,
    seed: u64,
    deadline: Option<Instant>,
    next: AtomicU64,
    ran: AtomicU64,
    skipped: AtomicU64,
    found: Mutex<Found>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match fuzz(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bodies: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all promises were kept.
fn fuzz(options: &Options) -> Result<bool> {
    // A panic that a program plans is none of a user's business.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<run::Planned>() {
            hook(info);
        }
    }));
    let server = Server::builder().arg("--innodb-lock-wait-timeout=2").arg("--lock-wait-timeout=3").arg("--max-connections=500").start()?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 48));
    println!("{}, from seed {seed} on", server.version());
    let minutes = options.minutes.or(options.programs.is_none().then_some(1.0));
    let began = Instant::now();
    let work = Work {
        options,
        server: &server,
        seed,
        deadline: minutes.map(|minutes| began + Duration::from_secs_f64(minutes * 60.0)),
        next: AtomicU64::new(0),
        ran: AtomicU64::new(0),
        skipped: AtomicU64::new(0),
        found: Mutex::default(),
    };
    let failed: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..options.workers.max(1))
            .map(|number| {
                scope.spawn({
                    let work = &work;
                    move || work.run(number)
                })
            })
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap_or_else(|panic| panic::resume_unwind(panic)).err()).collect()
    });
    let (ran, seconds) = (work.ran.load(Ordering::Relaxed), began.elapsed().as_secs_f64());
    let found = work.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{ran} programs in {seconds:.1} s ({:.0} per second), {} left out, {} kinds of broken promises",
        ran as f64 / seconds,
        work.skipped.load(Ordering::Relaxed),
        found.kinds.len()
    );
    let mut kinds: Vec<_> = found.kinds.iter().collect();
    kinds.sort_by_key(|(_, (first, _))| *first);
    for ((rule, uses), (first, times)) in kinds {
        println!("  after {first:>6} programs, {times:>4} times: {rule}; {uses}");
    }
    match failed.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(found.kinds.is_empty()),
    }
}

impl Work<'_> {
    fn run(&self, number: usize) -> Result<()> {
        let mut site = Site::new(self.server, number)?;
        let wanted = Wanted { mariadb: site.mariadb(), ledger: self.options.ledger.map(|ledger| ledger == Switch::On) };
        let mut with_fault = 0;
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let enough = self.options.programs.is_some_and(|programs| index >= programs);
            let late = self.deadline.is_some_and(|deadline| Instant::now() > deadline);
            let stop = !self.options.keep_going && !self.found.lock().unwrap_or_else(PoisonError::into_inner).kinds.is_empty();
            if enough || late || stop {
                return Ok(());
            }
            let seed = self.seed.wrapping_add(index);
            let program = generate(seed, wanted);
            if !self.options.wants(&program) {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            with_fault += u64::from(program.fault.is_some());
            if with_fault == PROXY_SERVES {
                with_fault = 0;
                site.renew_proxy(self.server)?;
            }
            if self.options.verbose {
                println!("seed {seed}\n{}", print::rust(&program, self.server.flavor(), ""));
            }
            let broken = self.broken(&mut site, &program).map_err(|error| format!("seed {seed}: {error}"))?;
            let ran = self.ran.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some(broken) = broken {
                self.report(&mut site, seed, program, &broken, ran)?;
            }
        }
    }

    fn broken(&self, site: &mut Site, program: &Program) -> Result<Option<Broken>> {
        let began = Instant::now();
        let seen = run::run(site, program)?;
        if began.elapsed() > LIMIT {
            return Ok(Some(Broken { call: 0, rule: "time", detail: format!("{:?}", began.elapsed()) }));
        }
        let broken = model::check(program, &seen).err();
        Ok(broken.filter(|broken| !self.options.ignore.iter().any(|rule| rule == broken.rule)))
    }

    fn report(&self, site: &mut Site, seed: u64, program: Program, broken: &Broken, ran: u64) -> Result<()> {
        let mut failed = None;
        let mut smallest_broken = broken.clone();
        let mut again = 0;
        let smallest = shrink::shrink(program, |smaller| {
            // What depends on a race shows in one of three runs.
            (0..3).any(|_| match self.broken(site, smaller) {
                Ok(Some(found)) if found.rule == broken.rule => {
                    smallest_broken = found;
                    again += 1;
                    true
                }
                Ok(_) => false,
                Err(error) => {
                    failed.get_or_insert(format!("seed {seed}: {error}\n{}", print::rust(smaller, self.server.flavor(), "")).into());
                    false
                }
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let uses = features(&smallest).into_iter().filter(|feature| !INCIDENTAL.contains(feature)).collect::<Vec<_>>().join(" ");
        let uses = match broken.rule {
            "transient" if uses.contains("other") => "a commit on the other database".into(),
            "transient" => "a commit of the body's own".into(),
            _ => uses,
        };
        let kind = (broken.rule.to_owned(), uses);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let known = found.kinds.entry(kind).or_insert((ran, 0));
        known.1 += 1;
        if known.1 == 1 {
            let what = format!("Seed {seed}, call {}. {}: {}", smallest_broken.call + 1, smallest_broken.rule, smallest_broken.detail);
            println!("\n{}", print::rust(&smallest, self.server.flavor(), &what));
        }
        Ok(())
    }
}
