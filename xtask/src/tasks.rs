//! What does each command do, step by step?

use std::process::Command;

use crate::command::{Error, Result, cargo, run, succeeds};
use crate::server::{self, MYSQL_ROOT, MySql};
use crate::{Demo, Fuzz, Servers, Switch, Test, Torture, Victim};

/// Names the server that the tests are to start.
const SERVER: &str = "DB_TESTKIT_SERVER";

/// All but the tests that have no server to be different on.
const ASKS_A_SERVER: &str = "not (binary(ui) + binary(contract) + binary(tidy) + package(db-macros) + package(xtask))";

pub(crate) fn demo(demo: &Demo) -> Result<()> {
    if demo.url.is_none() {
        server::mariadb()?;
    }
    let mut command = cargo();
    command.args(["run", "--release", "--package", "examples", "--no-default-features", "--example", "demo", "--"]);
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
    let with_mariadb = test.server != Servers::Mysql;
    // What cannot be had is better known before the first test than after the last.
    if with_mariadb {
        server::mariadb()?;
    }
    let mysql = if test.server == Servers::Mariadb { None } else { Some(server::mysql()?) };
    nextest()?;

    if with_mariadb {
        println!("Tests against MariaDB");
        run(nextest_run(test).env(SERVER, "mariadb"))?;
        if test.nextest.is_empty() {
            over_tls(|command| {
                command.env(SERVER, "mariadb");
            })?;
        }
    }
    println!("Examples in the documentation");
    run(cargo().args(["test", "--doc", "--workspace"]).env(SERVER, if with_mariadb { "mariadb" } else { "mysql" }))?;
    if let Some(mysql) = mysql {
        println!("Tests against MySQL");
        let mut command = nextest_run(test);
        if with_mariadb && test.nextest.is_empty() {
            command.args(["--filterset", ASKS_A_SERVER]);
        }
        use_mysql(&mut command, &mysql);
        run(&mut command)?;
        if test.nextest.is_empty() {
            over_tls(|command| use_mysql(command, &mysql))?;
        }
    }
    Ok(())
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
    let mut command = cargo_with(torture.server)?;
    command.args(["run", "--release", "--package", "examples", "--no-default-features", "--example", "torture", "--"]);
    let options = [
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

/// Installs the test runner if it is missing.
fn nextest() -> Result<()> {
    if succeeds(cargo().args(["nextest", "--version"])) {
        return Ok(());
    }
    println!("cargo-nextest is missing: installing it");
    run(cargo().args(["install", "--locked", "cargo-nextest"])).map_err(|error| Error::Missing {
        what: "cargo-nextest",
        cause: error.to_string(),
        by_hand: "cargo install --locked cargo-nextest".into(),
    })
}
