//! What do the benchmarks need, and how are they started?

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::command::{Result, cargo, root, run, succeeds, target};
use crate::server::{self, MYSQL_ROOT, MySql, find, install};
use crate::{Bench, Servers};

/// What diesel is linked with, and mysqlclient built.
const C_CLIENT: [&str; 2] = ["libmariadb-dev", "pkg-config"];
const PYTHON: [&str; 2] = ["python3-venv", "python3-dev"];

/// What the report is told: what it goes without, and why.
#[derive(Default)]
struct Found {
    arguments: Vec<OsString>,
    features: Vec<&'static str>,
    mysql: Option<MySql>,
}

pub(crate) fn bench(bench: &Bench) -> Result<()> {
    // Under three minutes is one server's.
    let servers = bench.server.unwrap_or(if bench.quick { Servers::Mariadb } else { Servers::All });
    let found = prepare(servers)?;
    let mut command = cargo();
    command.args(["run", "--release", "--manifest-path", "benches/Cargo.toml"]).args(&found.features).arg("--");
    command.args(bench.quick.then_some("--quick"));
    for (name, values) in [("--only", &bench.only), ("--peer", &bench.peer)] {
        command.args(values.iter().map(|value| format!("{name}={value}")));
    }
    command.args(found.arguments);
    if let Some(MySql::Root(root)) = found.mysql {
        command.env(MYSQL_ROOT, root);
    }
    command.arg("--out").arg(target().join("bench")).arg("--readme").arg(root().join("README.md"));
    run(&mut command)
}

/// Installs what is missing. What cannot be had is left out, and the report says so; without any server there is nothing to report.
fn prepare(servers: Servers) -> Result<Found> {
    let mut found = Found::default();
    if servers != Servers::Mysql {
        server::mariadb()?;
    }
    let mut measured = servers;
    match servers {
        Servers::Mariadb => {}
        Servers::Mysql => found.mysql = Some(server::mysql()?),
        Servers::All => match server::mysql() {
            Ok(mysql) => found.mysql = Some(mysql),
            Err(error) => {
                measured = Servers::Mariadb;
                found.goes_without("MySQL", &error.to_string());
            }
        },
    }
    found.arguments.push("--server".into());
    found.arguments.push(measured.name().into());

    let c_client = c_client();
    if let Err(error) = &c_client {
        found.goes_without("diesel", &error.to_string());
        found.features.push("--no-default-features");
    }
    match c_client.and_then(|()| python()) {
        Ok(interpreter) => found.arguments.extend(["--python".into(), interpreter.into_os_string()]),
        Err(error) => found.goes_without("the reference in Python", &error.to_string()),
    }
    if find("valgrind").is_none() {
        println!("valgrind is missing: installing it");
        if let Err(error) = install(&["valgrind"]) {
            found.goes_without("overhead and memory", &error.to_string());
        }
    }
    Ok(found)
}

impl Found {
    fn goes_without(&mut self, what: &str, why: &str) {
        self.arguments.push("--missing".into());
        self.arguments.push(format!("{what}: {why}").into());
    }
}

/// The C library that speaks the protocol, and its headers.
fn c_client() -> Result<()> {
    let known = |library| succeeds(Command::new("pkg-config").args(["--exists", library]));
    if known("libmariadb") || known("mysqlclient") {
        return Ok(());
    }
    println!("The C client library is missing: installing {}", C_CLIENT.join(", "));
    install(&C_CLIENT)
}

/// An interpreter that has mysqlclient, in an environment of its own.
fn python() -> Result<PathBuf> {
    let environment = target().join("bench").join("python");
    let interpreter = environment.join("bin").join("python");
    let ready = || succeeds(Command::new(&interpreter).args(["-c", "import MySQLdb"]));
    if ready() {
        return Ok(interpreter);
    }
    println!("mysqlclient is missing: installing it in {}", environment.display());
    if run(Command::new("python3").args(["-m", "venv"]).arg(&environment)).is_err() {
        install(&PYTHON)?;
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    let pip = || run(Command::new(&interpreter).args(["-m", "pip", "install", "--quiet", "mysqlclient"]));
    if pip().is_err() {
        install(&PYTHON)?;
        pip()?;
    }
    Ok(interpreter)
}
