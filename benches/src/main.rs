//! `db-core` beside what a program would use instead, measured in one run.
//!
//! `cargo xtask bench` installs what is needed and runs this. In reading order: [`work`] is what is done, [`peer`] and [`peers`] who does
//! it, [`site`] the server and the way to it, [`grid`], [`steady`] and [`stats`] how figures are compared; [`parts`] are the
//! questions, and [`report`] what the reader gets.

mod error;
mod grid;
mod parts;
mod peer;
mod peers;
mod probe;
mod report;
mod site;
mod stats;
mod steady;
mod tools;
mod work;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};
use db_testkit::Flavor;

use crate::error::{Doing, Result};
use crate::parts::{Bench, Part};
use crate::peers::OURS;
use crate::probe::Probe;
use crate::report::{Column, Section, markdown, readme};
use crate::site::Site;

/// More than all sessions of all peers that are open at the same time.
const CONNECTIONS: u32 = 1500;

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(clap::Args)]
struct Options {
    /// Less of everything: under three minutes.
    #[arg(long)]
    quick: bool,
    /// Only this part. May be given several times.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// On which server.
    #[arg(long, value_enum, default_value_t = Servers::Mariadb)]
    server: Servers,
    /// Only peers whose names contain this. May be given several times. The base of all ratios is always there.
    #[arg(long)]
    peer: Vec<String>,
    /// A Python interpreter that has mysqlclient.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Something that could not be had, to be said in the report. May be given several times.
    #[arg(long)]
    missing: Vec<String>,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// The file whose table of headline figures is replaced, after a full run of all parts.
    #[arg(long)]
    readme: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Task {
    /// Only keeps a processor awake.
    Spin,
    /// Only does transactions, for valgrind to look at.
    Probe {
        #[arg(long)]
        url: String,
        #[command(flatten)]
        probe: Probe,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Servers {
    Mariadb,
    Mysql,
    All,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.task {
        Some(Task::Spin) => {
            steady::spin();
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::Probe { url, probe }) => probe.run(&url).map(|()| ExitCode::SUCCESS),
        None => bench(cli.options),
    };
    done.unwrap_or_else(|error| {
        eprintln!("bench: {error}");
        ExitCode::FAILURE
    })
}

fn bench(options: Options) -> Result<ExitCode> {
    let began = Instant::now();
    let made = fs::create_dir_all(&options.out).and_then(|()| options.out.canonicalize());
    let out = made.doing(|| format!("making {}", options.out.display()))?;
    let mut missing = options.missing;
    let mut without = |what: &str, why: &str| {
        // Who knows more than this has said so already.
        if !missing.iter().any(|known| known.starts_with(what)) {
            missing.push(format!("{what}: {why}"));
        }
    };
    if options.python.is_none() {
        without("the reference in Python", "no interpreter with mysqlclient was given");
    }
    if cfg!(not(feature = "diesel")) {
        without("diesel", "built without the feature `diesel`, which needs a C client library");
    }
    for what in &missing {
        eprintln!("MISSING: {what}");
    }
    let mut peers = peers::all(options.python.as_deref());
    let wanted = |name: &str| options.peer.is_empty() || name == peers::BASE || options.peer.iter().any(|part| name.contains(part));
    peers.retain(|peer| wanted(peer.name()));
    let bench = Bench { quick: options.quick, out, peers };
    let wanted = |part: &Part| options.only.is_empty() || options.only.contains(part);

    let mut failures = Vec::new();
    let mut sections: Vec<Section> = Vec::new();
    let mut servers = Vec::new();
    let mut measure = |part: Part, site: &Site| {
        eprintln!("{:>5.0} s  {part:?}, {}", began.elapsed().as_secs_f64(), site.name());
        match part.run(&bench, site) {
            Ok(found) => sections.extend(found),
            // The figures of the other parts are not lost with this one's.
            Err(error) => {
                eprintln!("bench: {part:?}, {}: {error}", site.name());
                failures.push(format!("{part:?}, {}: {error}", site.name()));
            }
        }
    };
    for (number, flavor) in options.server.flavors().iter().enumerate() {
        let site = Site::start(*flavor, CONNECTIONS)?;
        servers.push(site.name());
        for part in Part::ON_A_SERVER.into_iter().filter(wanted) {
            measure(part, &site);
        }
        if number == 0 {
            for part in Part::ONCE.into_iter().filter(wanted) {
                measure(part, &site);
            }
        }
    }

    let about = about(&bench, &servers, &missing, &failures);
    for section in &sections {
        for plot in &section.plots {
            plot.draw(&bench.out)?;
        }
    }
    let report = bench.out.join("report.md");
    fs::write(&report, markdown::report(&about, &sections)).doing(|| format!("writing {}", report.display()))?;
    summary(&sections);
    println!("{:.0} s; the whole report: {}", began.elapsed().as_secs_f64(), report.display());

    let complete = !bench.quick && options.only.is_empty() && options.peer.is_empty() && failures.is_empty();
    match options.readme {
        Some(file) if complete => readme::update(&file, &about_headline(&servers), &headline(&bench, &sections, &servers))?,
        Some(_) => println!("The README's table is written by a full run only."),
        None => {}
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Servers {
    fn flavors(self) -> &'static [Flavor] {
        match self {
            Servers::Mariadb => &[Flavor::MariaDb],
            Servers::Mysql => &[Flavor::MySql],
            Servers::All => &[Flavor::MariaDb, Flavor::MySql],
        }
    }
}

/// What a figure is worth nothing without.
fn about(bench: &Bench, servers: &[String], missing: &[String], failures: &[String]) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut about = vec![format!(
        "{} run on {cores} cores, server and clients together. Servers: {}, with `innodb_flush_log_at_trx_commit = 2`, no binary log, \
         no performance schema, a buffer pool and a redo log of 256 MiB and no synchronous writes: commits cost no disk, so that what \
         the clients do shows. Every session updates rows of its own in one InnoDB table (`id INT PRIMARY KEY, balance BIGINT`). How to \
         read the figures, and what is not fair about them, is in `benches/README.md`.",
        if bench.quick { "A quick" } else { "A full" },
        servers.join(", "),
    )];
    about.extend(missing.iter().map(|what| format!("**MISSING: {what}.**")));
    about.extend(failures.iter().map(|what| format!("**NOT MEASURED: {}**", what.replace('\n', " "))));
    about
}

fn summary(sections: &[Section]) {
    let goals = || sections.iter().flat_map(|section| section.goals.iter().map(move |goal| (section, goal)));
    for (section, goal) in goals() {
        println!("{}  {}: {}: {}", if goal.met { "met    " } else { "NOT MET" }, section.title, goal.what, goal.found);
    }
    println!("{} of {} goals met", goals().filter(|(_, goal)| goal.met).count(), goals().count());
}

/// The README shows one server, the first.
fn headline(bench: &Bench, sections: &[Section], servers: &[String]) -> report::Table {
    let of_the_first = |section: &&Section| servers.iter().skip(1).all(|server| !section.title.ends_with(server.as_str()));
    let columns: Vec<&Column> = sections.iter().filter(of_the_first).flat_map(|section| &section.headline).collect();
    // What is sent by hand is not what anybody would use: it belongs to the report.
    let by_hand = |name: &&str| name.starts_with(peers::BY_HAND);
    let names: Vec<&'static str> = bench.peers.iter().map(|peer| peer.name()).filter(|name| !by_hand(name)).collect();
    readme::headline(&names, &columns)
}

fn about_headline(servers: &[String]) -> String {
    format!(
        "{} Throughput as a multiple of `{}` with `start_transaction` on one connection: higher is better. Faults: from the fault until \
         the next success, and how many calls failed on the way. Written by `cargo xtask bench`, whose report has the spread, the other \
         server and the other workloads; [benches/README.md](benches/README.md) has the method and its limits. `{OURS}` is without the \
         commit ledger unless it says so.",
        servers.first().map(|server| format!("{server}, on loopback.")).unwrap_or_default(),
        peers::BASE,
    )
}
