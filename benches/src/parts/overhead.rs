//! What does the library itself cost the client: instructions and allocations per transaction, beside the same statements by hand?
//!
//! Two runs that differ in the number of transactions are subtracted, so that starting, connecting and preparing cancel out.

use std::collections::HashMap;
use std::path::Path;

use super::Bench;
use crate::error::{Doing, Result};
use crate::peers::{OURS, OURS_LEDGER};
use crate::probe::{Probe, Subject};
use crate::report::{Section, Table};
use crate::site::Site;
use crate::tools;
use crate::work::Work;

const FEW: u32 = 100;
const MANY: u32 = 500;

/// How much more than the statements by hand.
const ALLOWED: f64 = 0.05;

const CURE: &str = "It counts instructions and allocations. `cargo xtask bench` installs it; by hand: apt-get install valgrind";

/// Ours, what it is compared with, and whether a `tracing` subscriber is there that wants nothing.
const PAIRS: [(&str, Subject, Subject, bool); 3] = [
    (OURS, Subject::Ours, Subject::ByHand, false),
    ("db-core, a subscriber that wants nothing", Subject::Ours, Subject::ByHand, true),
    (OURS_LEDGER, Subject::OursLedger, Subject::ByHandLedger, false),
];

/// Per transaction.
#[derive(Debug, Clone, Copy)]
struct Cost {
    instructions: f64,
    allocations: f64,
    bytes: f64,
}

pub(super) fn run(bench: &Bench, site: &Site) -> Result<Section> {
    let works = bench.effort(&[Work::Update][..], &[Work::Update, Work::Transfer, Work::Ten, Work::Read, Work::Nested][..]);
    let mut section = Section::new("Overhead in the client");
    section.say(format!(
        "Instructions by callgrind, allocations by DHAT, both in user mode and in the client alone: {MANY} transactions less {FEW}. By \
         hand: the same statements on `mysql::Conn`, the same COMMIT, with `autocommit = 0`. Nested, by hand, releases its savepoints, \
         which the library leaves to COMMIT: two packets more."
    ));
    let mut table = Table::new(
        "Per transaction",
        ["", "work", "instructions", "by hand", "more", "allocations", "by hand", "bytes allocated", "by hand"],
    );
    for &work in works {
        let mut by_hand: Vec<(Subject, Cost)> = Vec::new();
        for (name, ours, hand, deaf) in PAIRS {
            let base = match by_hand.iter().find(|(of, _)| *of == hand) {
                Some((_, cost)) => *cost,
                None => {
                    let cost = cost(bench, site, hand, work, false)?;
                    by_hand.push((hand, cost));
                    cost
                }
            };
            let own = cost(bench, site, ours, work, deaf)?;
            let more = own.instructions / base.instructions - 1.0;
            let allocations = own.allocations - base.allocations;
            table.row([
                name.to_owned(),
                work.title().to_owned(),
                format!("{:.0}", own.instructions),
                format!("{:.0}", base.instructions),
                format!("{:+.1} %", more * 100.0),
                format!("{:.2}", own.allocations),
                format!("{:.2}", base.allocations),
                format!("{:.0}", own.bytes),
                format!("{:.0}", base.bytes),
            ]);
            section.goal(
                format!("{name}, {}: at most {:+.0} % instructions", work.title(), ALLOWED * 100.0),
                format!("{:+.1} %", more * 100.0),
                more <= ALLOWED,
            );
            section.goal(format!("{name}, {}: no allocation of our own", work.title()), format!("{allocations:+.2}"), allocations < 0.5);
        }
    }
    section.tables.push(table);
    section.tables.push(functions(bench, site)?);
    Ok(section)
}

fn cost(bench: &Bench, site: &Site, peer: Subject, work: Work, deaf: bool) -> Result<Cost> {
    let few = totals(bench, site, Probe { peer, work, count: FEW, sessions: 1, hold: false, deaf })?;
    let many = totals(bench, site, Probe { peer, work, count: MANY, sessions: 1, hold: false, deaf })?;
    let each = |few: f64, many: f64| (many - few) / f64::from(MANY - FEW);
    Ok(Cost {
        instructions: each(few.instructions, many.instructions),
        allocations: each(few.allocations, many.allocations),
        bytes: each(few.bytes, many.bytes),
    })
}

fn totals(bench: &Bench, site: &Site, probe: Probe) -> Result<Cost> {
    let profile = bench.out.join("callgrind.out");
    callgrind(site, probe, &profile)?;
    let text = std::fs::read_to_string(&profile).doing(|| format!("reading {}", profile.display()))?;
    let dhat = bench.out.join("dhat.out");
    let out = format!("--dhat-out-file={}", dhat.display());
    let said = tools::run(&mut probe.command(&["valgrind", "--tool=dhat", &out], &site.url())?, CURE)?;
    let total = said.stderr.lines().find(|line| line.contains("Total:")).unwrap_or_default();
    Ok(Cost {
        instructions: tools::number_after("callgrind", "summary:", &text)?,
        bytes: tools::number_after("dhat", "Total:", total)?,
        allocations: tools::number_after("dhat", "bytes in", total)?,
    })
}

fn callgrind(site: &Site, probe: Probe, profile: &Path) -> Result<()> {
    let out = format!("--callgrind-out-file={}", profile.display());
    tools::run(&mut probe.command(&["valgrind", "--tool=callgrind", &out], &site.url())?, CURE).map(drop)
}

/// Where the instructions are that the statements by hand do not have.
fn functions(bench: &Bench, site: &Site) -> Result<Table> {
    let mut table = Table::new("Functions with the most instructions more than by hand, 1 UPDATE, per transaction", ["function", "more"]);
    let own = by_function(bench, site, Subject::Ours)?;
    let base = by_function(bench, site, Subject::ByHand)?;
    let mut more: Vec<(&String, f64)> =
        own.iter().map(|(name, instructions)| (name, instructions - base.get(name).copied().unwrap_or_default())).collect();
    more.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    for (name, instructions) in more.into_iter().take(20).filter(|(_, instructions)| *instructions >= 1.0) {
        table.row([format!("`{}`", name.replace('|', "\\|")), format!("{instructions:.0}")]);
    }
    Ok(table)
}

/// Instructions per transaction of each function, without those it calls.
fn by_function(bench: &Bench, site: &Site, peer: Subject) -> Result<HashMap<String, f64>> {
    let mut sums: HashMap<String, f64> = HashMap::new();
    for (count, sign) in [(MANY, 1.0), (FEW, -1.0)] {
        let profile = bench.out.join("callgrind.out");
        callgrind(site, Probe { peer, work: Work::Update, count, sessions: 1, hold: false, deaf: false }, &profile)?;
        let mut annotate = std::process::Command::new("callgrind_annotate");
        let said = tools::run(annotate.args(["--threshold=100", "--auto=no"]).arg(&profile), CURE)?;
        for (name, instructions) in said.stdout.lines().filter_map(annotated) {
            *sums.entry(name.to_owned()).or_default() += sign * instructions / f64::from(MANY - FEW);
        }
    }
    Ok(sums)
}

/// `1,234 (5.6%)  file.rs:krate::function [/path/of/program]`
fn annotated(line: &str) -> Option<(&str, f64)> {
    let (number, rest) = line.trim_start().split_once(' ')?;
    let instructions = number.replace(',', "").parse().ok()?;
    let (_, name) = rest.split_once(')')?;
    let name = name.split(" [").next()?.trim();
    // The file says where an inlined part comes from; the function it became a part of is what counts.
    let name = name.split_once(':').map_or(name, |(_file, function)| function);
    (name != "PROGRAM TOTALS").then_some((name, instructions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_callgrind_annotate_is_a_function_and_its_instructions() {
        let line = "  1,234 ( 5.60%)  /src/db-core/src/link.rs:db_core::link::Link::send [/target/release/benches]";
        assert_eq!(annotated(line), Some(("db_core::link::Link::send", 1234.0)));
        assert_eq!(annotated("9,999 (100.0%)  PROGRAM TOTALS"), None);
        assert_eq!(annotated("Ir"), None);
    }
}
