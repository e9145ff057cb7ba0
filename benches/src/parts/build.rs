//! What a cold build costs a program that depends on each crate alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Bench;
use crate::error::{Doing, Result};
use crate::peers::{BASE, OURS};
use crate::report::{Column, Section, Table};
use crate::stats::Spread;
use crate::tools;

pub(super) const CURE: &str = "It comes with the Rust toolchain.";

/// How much more than the bare driver.
const ALLOWED: f64 = 0.15;

const LEAN: &str = "mysql = { version = \"28.0\", default-features = false, features = [\"minimal-rust\"] }";
const FULL: &str = "mysql = \"28.0\"";

/// A program that depends on nothing but this.
struct Downstream {
    name: &'static str,
    /// As the other tables call it.
    peer: Option<&'static str>,
    dependencies: String,
    /// A peer: built once only, since some take minutes.
    heavy: bool,
}

pub(super) fn run(bench: &Bench) -> Result<Section> {
    let core = core_dependency();
    let light = |name, peer, dependencies| Downstream { name, peer, dependencies, heavy: false };
    let heavy = |name, peer, dependencies: &str| Downstream { name, peer, dependencies: dependencies.into(), heavy: true };
    let programs = [
        light("mysql, minimal-rust", Some(BASE), LEAN.into()),
        light(OURS, Some(OURS), core.clone()),
        light("mysql, default features", None, FULL.into()),
        light("db-core, and mysql with default features", None, format!("{core}\n{FULL}")),
        heavy("r2d2_mysql", Some("r2d2_mysql"), "r2d2_mysql = \"28.0\""),
        #[cfg(feature = "diesel")]
        heavy("diesel", Some("diesel"), "diesel = { version = \"2.3\", features = [\"mysql\", \"r2d2\"] }"),
        heavy("sqlx", Some("sqlx"), "sqlx = { version = \"0.9\", default-features = false, features = [\"mysql\", \"runtime-tokio\"] }"),
    ];
    let mut section = Section::new("Build cost");
    if bench.quick {
        section.say("Not measured by a quick run: `cargo xtask bench --only build` does.");
        return Ok(section);
    }
    let rounds = 3;
    let mut crates = Vec::new();
    for program in &programs {
        crates.push(prepare(bench, program)?);
    }
    let mut seconds = vec![Vec::new(); programs.len()];
    for round in 0..rounds {
        for (program, seconds) in programs.iter().zip(&mut seconds) {
            if round == 0 || !program.heavy {
                seconds.push(build(bench, program)?);
            }
        }
    }

    section.say(format!(
        "A program of one line that depends on the crate alone. `cargo build` (debug) from nothing, all crates downloaded before; \
         processor seconds of all compilers. Median of {rounds}, interleaved; the large ones once. Crates: all that are compiled, but \
         for the program itself."
    ));
    let mut table = Table::new("Cold build", ["", "processor seconds", "× the driver with the same features", "crates"]);
    for (number, program) in programs.iter().enumerate() {
        let base = if program.name.ends_with("default features") { 2 } else { 0 };
        let times = Spread::of(seconds[number].iter().copied());
        let relative = Spread::of(seconds[number].iter().zip(&seconds[base]).map(|(own, base)| own / base));
        table.row([program.name.to_owned(), format!("{:.1}", times.median), format!("{:.2}", relative.median), crates[number].to_string()]);
        if program.name.starts_with("db-core") {
            section.goal(
                format!("{}: at most {:+.0} % over {}", program.name, ALLOWED * 100.0, programs[base].name),
                format!("{:+.1} %, {} crates to {}", (relative.median - 1.0) * 100.0, crates[number], crates[base]),
                relative.median <= 1.0 + ALLOWED,
            );
        }
    }
    section.tables.push(table);
    let median = |number: usize| Spread::of(seconds[number].iter().copied()).median;
    let others = || (0..programs.len()).filter(|number| programs[*number].heavy);
    if let (Some(own), Some(least)) = (programs.iter().position(|program| program.name == OURS), others().map(median).reduce(f64::min)) {
        let found = format!("{:.1} s; the least of the others takes {least:.1} s", median(own));
        section.goal(format!("{OURS}: the least after the bare driver"), found, median(own) <= least);
    }
    let cell =
        |(number, program): (usize, &Downstream)| Some((program.peer?, format!("{:.0} s, {} crates", median(number), crates[number])));
    section
        .headline
        .push(Column { title: "Cold build, processor time".into(), cells: programs.iter().enumerate().filter_map(cell).collect() });
    Ok(section)
}

/// The library, for a manifest.
pub(super) fn core_dependency() -> String {
    format!("db-core = {{ path = {:?} }}", Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("db-core"))
}

fn folder(bench: &Bench, program: &Downstream) -> PathBuf {
    let name: String = program.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    bench.out.join("build").join(name)
}

pub(super) fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder).env("CARGO_TARGET_DIR", folder.join("target")).env_remove("RUSTFLAGS").env_remove("RUSTC_WRAPPER");
    command
}

/// Writes the program, downloads what it needs, and counts the crates.
fn prepare(bench: &Bench, program: &Downstream) -> Result<usize> {
    let folder = folder(bench, program);
    let source = folder.join("src");
    fs::create_dir_all(&source).doing(|| format!("making {}", source.display()))?;
    let manifest = format!(
        "[workspace]\n\n[package]\nname = \"downstream\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{}\n",
        program.dependencies
    );
    fs::write(folder.join("Cargo.toml"), manifest).doing(|| format!("writing a manifest in {}", folder.display()))?;
    fs::write(source.join("main.rs"), "fn main() {}\n").doing(|| format!("writing a program in {}", folder.display()))?;
    tools::run(cargo(&folder).args(["update", "--quiet"]), CURE)?;
    tools::run(cargo(&folder).args(["fetch", "--quiet"]), CURE)?;
    let tree = tools::run(cargo(&folder).args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--no-dedupe"]), CURE)?;
    // A name and a version; what follows says where it is from, and that it was seen before.
    let crates: BTreeSet<String> = tree.stdout.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    Ok(crates.iter().filter(|name| !name.is_empty() && !name.starts_with("downstream ")).count())
}

/// Seconds of processor time.
fn build(bench: &Bench, program: &Downstream) -> Result<f64> {
    let folder = folder(bench, program);
    let target = folder.join("target");
    if target.exists() {
        fs::remove_dir_all(&target).doing(|| format!("removing {}", target.display()))?;
    }
    let before = tools::children_seconds()?;
    tools::run(cargo(&folder).args(["build", "--quiet", "--offline"]), CURE)?;
    let seconds = tools::children_seconds()? - before;
    fs::remove_dir_all(&target).doing(|| format!("removing {}", target.display()))?;
    Ok(seconds)
}
