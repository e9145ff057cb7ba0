//! The commands of this repository: `cargo xtask demo`, `cargo xtask test`, `cargo xtask torture`, `cargo xtask fuzz`,
//! `cargo xtask fuzz-parsers`, `cargo xtask check` and `cargo xtask bench`.
//!
//! They need a Rust toolchain and nothing else: what is missing is installed, and what cannot be installed is an error
//! that gives the command to run by hand. In reading order: [`command`] runs a program and says so, [`server`] makes a
//! database server available, [`tasks`] does the work, [`check`] looks at the crates as others get them, [`mod@bench`] has the library
//! measured beside others.

mod bench;
mod check;
mod command;
mod server;
mod tasks;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Commands for working on this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the demo against a throwaway server, which is installed if it is missing.
    Demo(Demo),
    /// Run all tests against real servers, which are installed if they are missing.
    Test(Test),
    /// Break connections, sessions and the server on purpose, and check that every call ends in one of two ways.
    Torture(Torture),
    /// Run random programs of nested calls, statements and faults against a reference model.
    Fuzz(Fuzz),
    /// Feed the parsers of statements, error messages, URLs and the protocol, guided by what code the input reaches.
    FuzzParsers(FuzzParsers),
    /// Check what the tests do not: every combination of features, the dependencies, the packages.
    Check,
    /// Measure the library beside what would be used in its place, and write the report and the README's figures.
    Bench(Bench),
}

#[derive(Args)]
struct Demo {
    /// How long to run.
    #[arg(long)]
    seconds: Option<u64>,
    /// How many threads work at the same time.
    #[arg(long)]
    threads: Option<usize>,
    /// Use this database instead of a throwaway server.
    #[arg(long)]
    url: Option<String>,
}

#[derive(Args)]
struct Test {
    /// Against which server to test.
    #[arg(long, value_enum, default_value_t = Tested::All)]
    server: Tested,
    /// Passed on to `cargo nextest run`.
    #[arg(last = true)]
    nextest: Vec<String>,
}

#[derive(Args)]
struct Torture {
    /// How many operations.
    #[arg(long)]
    ops: Option<u32>,
    /// Decides what goes wrong. Default: chosen at random, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Which server or cluster to torture.
    #[arg(long, value_enum, default_value_t = Target::Mariadb)]
    server: Target,
    /// On a cluster: how many times a node fails. 0: nothing goes wrong, writers compete for ten accounts.
    #[arg(long)]
    failures: Option<u32>,
    /// Whether COMMITs are recorded.
    #[arg(long, value_enum)]
    ledger: Option<Switch>,
    /// How many operations are under way at the same time.
    #[arg(long)]
    threads: Option<u16>,
}

#[derive(Args)]
struct Fuzz {
    /// How long to run. Default: one minute, unless --programs says how many.
    #[arg(long)]
    minutes: Option<f64>,
    /// How many programs.
    #[arg(long)]
    programs: Option<u64>,
    /// The seed of the first program. Default: chosen at random, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// On which server.
    #[arg(long, value_enum, default_value_t = Victim::Mariadb)]
    server: Victim,
    /// Whether COMMITs are recorded. Default: in half of the programs.
    #[arg(long, value_enum)]
    ledger: Option<Switch>,
    /// Passed on to the program: `-- --help` lists what it takes.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Args)]
struct FuzzParsers {
    /// How many seconds for each parser.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

#[derive(Args)]
struct Bench {
    /// Less of everything: under three minutes.
    #[arg(long)]
    quick: bool,
    /// Only this part: trips, throughput, delay, scaling, recovery, overhead, memory, build or compile. May be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Only peers whose names contain this, and the one that all are compared with. May be given several times.
    #[arg(long)]
    peer: Vec<String>,
    /// On which server. Default: all that can be had; MariaDB for a quick run.
    #[arg(long, value_enum)]
    server: Option<Servers>,
}

/// A server that is tortured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Victim {
    Mariadb,
    Mysql,
}

/// A server or a cluster that is tortured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    Mariadb,
    Mysql,
    /// Three nodes, each of which is written to.
    Galera,
    /// The same behind HAProxy.
    Haproxy,
    /// Three members, one of which is the primary.
    GroupReplication,
    /// Three members, each of which is written to.
    MultiPrimary,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// The servers that are tested against.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tested {
    /// The MariaDB of this machine only, and Galera.
    Mariadb,
    /// MariaDB 11.8 only, without Galera.
    #[value(name = "mariadb-11.8")]
    Mariadb118,
    /// Oracle MySQL only, and Group Replication.
    Mysql,
    /// The MariaDB of this machine, MariaDB 11.8, Oracle MySQL.
    All,
}

/// The servers that are measured on.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Servers {
    /// MariaDB only.
    Mariadb,
    /// Oracle MySQL only.
    Mysql,
    /// MariaDB, then Oracle MySQL.
    All,
}

impl Servers {
    /// As on a command line.
    fn name(self) -> &'static str {
        match self {
            Servers::Mariadb => "mariadb",
            Servers::Mysql => "mysql",
            Servers::All => "all",
        }
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo(demo) => tasks::demo(&demo),
        Task::Test(test) => tasks::test(&test),
        Task::Torture(torture) => tasks::torture(&torture),
        Task::Fuzz(fuzz) => tasks::fuzz(&fuzz),
        Task::FuzzParsers(fuzz) => tasks::fuzz_parsers(&fuzz),
        Task::Check => check::check(),
        Task::Bench(options) => bench::bench(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            error.exit_code()
        }
    }
}
