//! What do the attributes cost the compiler, against the same functions written by hand?

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Cost;
use crate::command::{Error, Result, cargo, root, run, target};

/// Two crates with the same functions, compiled in turns, so that what else the machine does falls on both.
pub(crate) fn cost(cost: &Cost) -> Result<()> {
    let project = target().join("cost");
    write(&project.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"annotated\", \"by_hand\"]\n")?;
    write(&project.join("Cargo.lock"), &read(&root().join("Cargo.lock"))?)?;
    for (name, function) in [("annotated", annotated as fn(usize) -> String), ("by_hand", by_hand)] {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\ndb-core = {{ path = {:?} }}\n",
            root().join("db-core")
        );
        write(&project.join(name).join("Cargo.toml"), &manifest)?;
        let functions: String = (0..cost.functions).map(function).collect();
        write(&project.join(name).join("src/lib.rs"), &format!("use db_core::prelude::*;\n{functions}"))?;
    }
    for command in ["check", "build"] {
        // What is depended upon, and each once.
        run(&mut compile(command, &project))?;
        let mut rounds = Vec::new();
        for _ in 0..cost.rounds.max(1) {
            rounds.push((seconds(command, &project, "annotated")?, seconds(command, &project, "by_hand")?));
        }
        let of = |pick: fn(&(f64, f64)) -> f64| median(rounds.iter().map(pick).collect());
        let (annotated, by_hand) = (of(|round| round.0), of(|round| round.1));
        let ratios: Vec<f64> = rounds.iter().map(|(annotated, by_hand)| annotated / by_hand).collect();
        let (least, most) = ratios.iter().fold((f64::MAX, 0.0_f64), |(least, most), ratio| (least.min(*ratio), most.max(*ratio)));
        println!(
            "cargo {command}, {} functions: {annotated:.2} s annotated, {by_hand:.2} s by hand; ratio {:.2} ({least:.2} to {most:.2})",
            cost.functions,
            median(ratios),
        );
    }
    Ok(())
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
    let mut cargo = cargo();
    cargo.args([command, "--quiet", "--manifest-path"]).arg(project.join("Cargo.toml"));
    // The whole of a crate, each time.
    cargo.env("CARGO_INCREMENTAL", "0").env("CARGO_TARGET_DIR", project.join("target"));
    cargo
}

/// The processor's time for one crate, in seconds, as the kernel adds it up for the processes that have ended.
fn seconds(command: &str, project: &Path, name: &str) -> Result<f64> {
    let source = project.join(name).join("src/lib.rs");
    write(&source, &format!("{} ", read(&source)?))?;
    let before = ticks_of_children()?;
    let mut cargo = compile(command, project);
    let status = cargo.args(["--package", name]).stdout(Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        // Once more, with what it says.
        run(&mut cargo)?;
    }
    let ticks = ticks_of_children()?.saturating_sub(before);
    // USER_HZ, which is 100 wherever Linux shows it.
    Ok(f64::from(u32::try_from(ticks).unwrap_or(u32::MAX)) / 100.0)
}

/// Fields 16 and 17 of proc(5).
fn ticks_of_children() -> Result<u64> {
    let stat = read(Path::new("/proc/self/stat"))?;
    let after_the_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(after_the_name.split_whitespace().skip(13).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|source| Error::Io { doing: format!("reading {}", path.display()), source })
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|source| Error::Io { doing: format!("writing {}", path.display()), source })
}
