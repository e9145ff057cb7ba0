//! The steps of each command.

use std::path::PathBuf;
use std::process::Command;

use crate::command::{Result, cargo, cargo_tool, run};
use crate::server::{self, GALERA_SCRIPTS, MARIADB_ROOT, MYSQL_ROOT, MySql};
use crate::{Demo, Fuzz, FuzzParsers, Switch, Target, Test, Tested, Torture, Victim};

/// Names the server that the tests are to start.
const SERVER: &str = "DB_TESTKIT_SERVER";

/// All but the tests that have no server to be different on.
const ASKS_A_SERVER: &str = "not (binary(ui) + binary(contract) + binary(tidy) + package(db-macros) + package(xtask))";

pub(crate) fn demo(demo: &Demo) -> Result<()> {
    if demo.url.is_none() {
        server::mariadb()?;
    }
    let mut command = cargo();
    command.args(["run", "--release", "--package", "torture", "--", "demo"]);
    let options = [
        ("--seconds", demo.seconds.map(|seconds| seconds.to_string())),
        ("--threads", demo.threads.map(|threads| threads.to_string())),
        ("--url", demo.url.clone()),
    ];
    for (name, value) in options {
        command.args(value.map(|value| format!("{name}={value}")));
    }
    run(&mut command)
}

pub(crate) fn test(test: &Test) -> Result<()> {
    // What cannot be had is better known before the first test than after the last.
    let servers = tested(test.server)?;
    cargo_tool("cargo-nextest")?;
    for (number, server) in servers.iter().enumerate() {
        println!("Tests against {}", server.name());
        let mut command = nextest_run(test);
        if number > 0 && test.nextest.is_empty() {
            command.args(["--filterset", ASKS_A_SERVER]);
        }
        server.choose(&mut command);
        run(&mut command)?;
        if test.nextest.is_empty() {
            over_tls(|command| server.choose(command))?;
        }
        if number == 0 {
            println!("Examples in the documentation");
            let mut command = cargo();
            command.args(["test", "--doc", "--workspace"]);
            server.choose(&mut command);
            run(&mut command)?;
        }
    }
    Ok(())
}

/// A server that has been installed.
enum Installed {
    /// With the directory of Galera's scripts, if they are not in `PATH`.
    MariaDb(Option<PathBuf>),
    MariaDb118(PathBuf),
    MySql(MySql),
}

impl Installed {
    fn name(&self) -> &'static str {
        match self {
            Installed::MariaDb(_) => "MariaDB",
            Installed::MariaDb118(_) => "MariaDB 11.8",
            Installed::MySql(_) => "MySQL",
        }
    }

    /// Makes the tests start this server.
    fn choose(&self, command: &mut Command) {
        match self {
            Installed::MariaDb(scripts) => {
                command.env(SERVER, "mariadb").envs(scripts.as_ref().map(|scripts| (GALERA_SCRIPTS, scripts)));
            }
            Installed::MariaDb118(root) => {
                command.env(SERVER, "mariadb").env(MARIADB_ROOT, root);
            }
            Installed::MySql(mysql) => use_mysql(command, mysql),
        }
    }
}

fn tested(servers: Tested) -> Result<Vec<Installed>> {
    let asked = |one| servers == one || servers == Tested::All;
    let mut found = Vec::new();
    if asked(Tested::Mariadb) {
        found.push(Installed::MariaDb(server::galera()?));
    }
    if asked(Tested::Mariadb118) {
        found.push(Installed::MariaDb118(server::mariadb_11_8()?));
    }
    if asked(Tested::Mysql) {
        let mysql = server::mysql()?;
        server::router(&mysql)?;
        found.push(Installed::MySql(mysql));
    }
    server::haproxy()?;
    Ok(found)
}

/// With each of the two libraries: a build of its own, since there can be only one.
fn over_tls(on: impl Fn(&mut Command)) -> Result<()> {
    server::openssl()?;
    for library in ["rustls", "native-tls"] {
        println!("Tests over TLS, by {library}");
        let mut command = cargo();
        command.args(["nextest", "run", "--package", "tests", "--features", library, "--test", "tls"]);
        on(&mut command);
        run(&mut command)?;
    }
    Ok(())
}

pub(crate) fn torture(torture: &Torture) -> Result<()> {
    let (mut command, kind) = match torture.server {
        Target::Mariadb => (cargo_with(Victim::Mariadb)?, None),
        Target::Mysql => (cargo_with(Victim::Mysql)?, None),
        Target::Galera => (on_galera()?, Some("galera")),
        Target::Haproxy => (on_galera()?, Some("haproxy")),
        Target::GroupReplication => (cargo_with(Victim::Mysql)?, Some("group-replication")),
        Target::MultiPrimary => (cargo_with(Victim::Mysql)?, Some("multi-primary")),
    };
    if torture.server == Target::Haproxy {
        server::haproxy()?;
    }
    command.args(["run", "--release", "--package", "torture", "--", if kind.is_some() { "cluster" } else { "run" }]);
    let options = [
        ("--kind", kind.map(String::from)),
        ("--failures", torture.failures.map(|failures| failures.to_string())),
        ("--ops", torture.ops.map(|ops| ops.to_string())),
        ("--seed", torture.seed.map(|seed| seed.to_string())),
        ("--ledger", torture.ledger.map(on_or_off)),
        ("--threads", torture.threads.map(|threads| threads.to_string())),
    ];
    for (name, value) in options {
        command.args(value.map(|value| format!("{name}={value}")));
    }
    run(&mut command)
}

pub(crate) fn fuzz(fuzz: &Fuzz) -> Result<()> {
    let mut command = cargo_with(fuzz.server)?;
    command.args(["run", "--package", "bodies", "--"]);
    let options = [
        ("--minutes", fuzz.minutes.map(|minutes| minutes.to_string())),
        ("--programs", fuzz.programs.map(|programs| programs.to_string())),
        ("--seed", fuzz.seed.map(|seed| seed.to_string())),
        ("--ledger", fuzz.ledger.map(on_or_off)),
    ];
    for (name, value) in options {
        command.args(value.map(|value| format!("{name}={value}")));
    }
    run(command.args(&fuzz.rest))
}

/// Without a sanitizer, which only a nightly compiler has: there is no `unsafe` in the parsers.
pub(crate) fn fuzz_parsers(fuzz: &FuzzParsers) -> Result<()> {
    cargo_tool("cargo-fuzz")?;
    for target in ["message", "protocol", "statement", "url"] {
        let command = &mut cargo();
        command.args(["fuzz", "run", "--sanitizer", "none", target, "--", "-max_len=1024", "-print_final_stats=0"]);
        run(command.arg(format!("-max_total_time={}", fuzz.seconds)))?;
    }
    Ok(())
}

fn on_or_off(switch: Switch) -> String {
    if switch == Switch::On { "on" } else { "off" }.into()
}

/// With what a program needs that starts this server.
fn cargo_with(server: Victim) -> Result<Command> {
    let mut command = cargo();
    match server {
        Victim::Mariadb => {
            server::mariadb()?;
            command.env(SERVER, "mariadb");
        }
        Victim::Mysql => use_mysql(&mut command, &server::mysql()?),
    }
    Ok(command)
}

fn on_galera() -> Result<Command> {
    let scripts = server::galera()?;
    let mut command = cargo_with(Victim::Mariadb)?;
    command.envs(scripts.map(|scripts| (GALERA_SCRIPTS, scripts)));
    Ok(command)
}

fn use_mysql(command: &mut Command, mysql: &MySql) {
    command.env(SERVER, "mysql");
    if let MySql::Root(root) = mysql {
        command.env(MYSQL_ROOT, root);
    }
}

fn nextest_run(test: &Test) -> Command {
    let mut command = cargo();
    command.args(["nextest", "run", "--workspace"]).args(&test.nextest);
    command
}
