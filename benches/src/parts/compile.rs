//! What the attributes cost the compiler, beside the same functions written by hand.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Bench, build};
use crate::error::{Doing, Result};
use crate::report::{Section, Table, ratio};
use crate::stats::Spread;
use crate::tools;

const FUNCTIONS: usize = 1_000;

/// Two crates with the same functions, compiled in turns, so that what else the machine does falls on both.
pub(super) fn run(bench: &Bench) -> Result<Section> {
    let mut section = Section::new("Compile time of the attributes");
    if bench.quick {
        section.say("Not measured by a quick run: `cargo xtask bench --only compile` does.");
        return Ok(section);
    }
    let project = bench.out.join("compile");
    write(&project.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"annotated\", \"by_hand\"]\n")?;
    let versions = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.lock");
    fs::copy(&versions, project.join("Cargo.lock")).doing(|| format!("copying {}", versions.display()))?;
    for (name, function) in [("annotated", annotated as fn(usize) -> String), ("by_hand", by_hand)] {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n{}\n",
            build::core_dependency()
        );
        write(&project.join(name).join("Cargo.toml"), &manifest)?;
        let functions: String = (0..FUNCTIONS).map(function).collect();
        write(&project.join(name).join("src/lib.rs"), &format!("use db_core::prelude::*;\n{functions}"))?;
    }
    section.say(format!(
        "Two crates with {FUNCTIONS} functions each, every second one retried: with the attributes, and with closures. Processor seconds of \
         the compiler for that crate alone, without incremental compilation. Median of 5, interleaved."
    ));
    let mut table = Table::new("One crate", ["", "annotated, s", "by hand, s", "annotated ÷ by hand"]);
    for command in ["check", "build"] {
        // What is depended upon, and each once.
        tools::run(&mut compile(command, &project), build::CURE)?;
        let mut rounds = Vec::new();
        for _ in 0..5 {
            rounds.push((seconds(command, &project, "annotated")?, seconds(command, &project, "by_hand")?));
        }
        let (annotated, by_hand) = (Spread::of(rounds.iter().map(|round| round.0)), Spread::of(rounds.iter().map(|round| round.1)));
        let relative = Spread::of(rounds.iter().map(|(annotated, by_hand)| annotated / by_hand));
        table.row([format!("`cargo {command}`"), format!("{:.2}", annotated.median), format!("{:.2}", by_hand.median), ratio(relative)]);
    }
    section.tables.push(table);
    Ok(section)
}

/// Every second function is retried.
fn annotated(n: usize) -> String {
    let retry = if n % 2 == 1 { "#[retry_on_disconnect]\n" } else { "" };
    format!("{retry}#[transactional]\n{} {{{BODY}}}\n", signature(n, "&mut Transaction<'_>"))
}

fn by_hand(n: usize) -> String {
    let transaction = format!("tx.transaction(|tx| {{{BODY}}})");
    let body = match n % 2 {
        0 => transaction,
        _ => format!("tx.retry(&RetryPolicy::default(), |_| {{ let name = name.clone(); {transaction} }})"),
    };
    format!("{} {{ {body} }}\n", signature(n, "&Scope<'_>"))
}

fn signature(n: usize, tx: &str) -> String {
    format!("pub fn transfer{n}(tx: {tx}, from: u64, to: u64, cents: i64, name: String) -> db_core::Result<u64>")
}

const BODY: &str = r#"
    let balance: Option<i64> = tx.exec_first("SELECT balance FROM account WHERE id = ?", (from,))?;
    if balance.unwrap_or(0) < cents {
        return Ok(0);
    }
    tx.exec_drop("UPDATE account SET balance = balance - ?, name = ? WHERE id = ?", (cents, &name, from))?;
    tx.exec_drop("UPDATE account SET balance = balance + ? WHERE id = ?", (cents, to))?;
    Ok(tx.affected_rows())
"#;

fn compile(command: &str, project: &Path) -> Command {
    let mut cargo = build::cargo(project);
    cargo.args([command, "--quiet"]).env("CARGO_INCREMENTAL", "0");
    cargo
}

/// Seconds of processor time for one crate.
fn seconds(command: &str, project: &Path, name: &str) -> Result<f64> {
    let source = project.join(name).join("src/lib.rs");
    let text = fs::read_to_string(&source).doing(|| format!("reading {}", source.display()))?;
    write(&source, &format!("{text} "))?;
    let before = tools::children_seconds()?;
    tools::run(compile(command, project).args(["--package", name]), build::CURE)?;
    Ok(tools::children_seconds()? - before)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).and_then(|()| fs::write(path, text)).doing(|| format!("writing {}", path.display()))
}
