//! What the reader gets: a line while it goes on, a table at the end.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::Run;
use crate::audit::Audit;
use crate::plan::TARGETS;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Violations beyond this many are counted only.
const SHOWN: usize = 20;

/// A run with fewer operations may miss a kind of fault by chance.
const KINDS_EXPECTED_FROM: usize = 1_000;

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    next_line: Instant,
}

impl Progress {
    pub(crate) fn new(ops: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} operations, {per_sec}, {msg}, {eta} to go");
            ProgressBar::new(ops as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, next_line: Instant::now() + LINE_EVERY }
    }

    pub(crate) fn show(&mut self, run: &Run) {
        let done = load(&run.tally.done);
        let message = format!("{} commits cut, {} server kills", count(&run.tally.commits_cut), count(&run.tally.server_kills));
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(message);
            }
            None if Instant::now() >= self.next_line => {
                self.next_line += LINE_EVERY;
                eprintln!("{:4} s: {} operations, {message}", run.began.elapsed().as_secs(), HumanCount(done));
            }
            None => {}
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.abandon();
        }
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn count(counter: &AtomicU64) -> HumanCount {
    HumanCount(load(counter))
}

/// Prints the tables; whether everything is as it was promised.
pub(crate) fn print(run: &Run, audit: &Audit, took: Duration) -> bool {
    println!("{}\n{}", faults(run), summary(run, audit, took));
    for violation in audit.violations.iter().take(SHOWN) {
        match violation.op {
            Some(op) => println!("BROKEN: operation {op}: {}; {:?}", violation.what, run.plan(op)),
            None => println!("BROKEN: {}", violation.what),
        }
    }
    if audit.violations.len() > SHOWN {
        println!("… and {} more", audit.violations.len() - SHOWN);
    }
    let misses = if run.ops >= KINDS_EXPECTED_FROM { run.tally.misses() } else { Vec::new() };
    misses.iter().for_each(|miss| println!("NOT TESTED: {miss}"));
    let kept = audit.violations.is_empty() && misses.is_empty();
    if kept {
        let unknown = audit.unknown_applied + audit.unknown_not_applied;
        let except = if unknown > 0 { format!("; {} said that they do not know", HumanCount(unknown)) } else { String::new() };
        println!("kept: every call that returned Ok has its work in the database once, every other none of it{except}");
    }
    kept
}

fn faults(run: &Run) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["faults at", "aimed", "hit", "hit, by point", "hit, by action"]);
    for target in TARGETS {
        let points = run.tally.by(target, |site| site.1);
        let actions = run.tally.by(target, |site| site.2);
        let sum = |of: fn(&crate::tally::Count) -> u64| HumanCount(points.values().map(of).sum());
        let list = |counts: &std::collections::BTreeMap<&str, crate::tally::Count>| {
            counts.iter().map(|(name, count)| format!("{name} {}", HumanCount(count.hit))).collect::<Vec<_>>().join(", ")
        };
        if !points.is_empty() {
            let numbers = [sum(|count| count.aimed), sum(|count| count.hit)].map(|number| number.to_string());
            let [aimed, hit] = numbers.map(|number| Cell::new(number).set_alignment(CellAlignment::Right));
            table.add_row([Cell::new(target.name()), aimed, hit, Cell::new(list(&points)), Cell::new(list(&actions))]);
        }
    }
    table
}

fn summary(run: &Run, audit: &Audit, took: Duration) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let ledger = if run.ledger { "ledger on" } else { "ledger off" };
    table.set_header(["torture".into(), format!("{}, {ledger}, seed {}", run.server.version(), run.seed)]);
    let tally = &run.tally;
    let done = load(&tally.done);
    let share = load(&tally.commits_cut) as f64 / done.max(1) as f64 * 100.0;
    let kinds: Vec<String> = audit.failed.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let failed: u64 = audit.failed.values().sum();
    let rate = done as f64 / took.as_secs_f64();
    let violations = audit.violations.len();
    let rows = [
        ("operations", HumanCount(done).to_string(), None),
        ("reported Ok", HumanCount(audit.ok).to_string(), None),
        ("  bodies that ran more than once", HumanCount(audit.replayed).to_string(), None),
        ("refused on purpose", HumanCount(audit.refused).to_string(), None),
        ("reported failed", format!("{} ({})", HumanCount(failed), kinds.join(", ")), None),
        ("reported unknown, applied", audit.unknown_applied.to_string(), None),
        ("reported unknown, not applied", audit.unknown_not_applied.to_string(), None),
        ("COMMITs cut", format!("{} ({share:.0} % of the operations)", count(&tally.commits_cut)), None),
        ("late packets that arrived", count(&tally.late_packets).to_string(), None),
        ("sessions killed", count(&tally.sessions_killed).to_string(), None),
        ("server killed and restarted", count(&tally.server_kills).to_string(), None),
        ("server frozen", count(&tally.server_freezes).to_string(), None),
        (
            "idle connections cut, outages, forks",
            [&tally.resets, &tally.outages, &tally.forks].map(count).map(|n| n.to_string()).join(", "),
            None,
        ),
        ("calls, COMMIT unharmed", times(&audit.uncut), None),
        ("calls, COMMIT cut, and the client told", times(&audit.cut_loudly), None),
        ("calls, COMMIT cut in silence", times(&audit.cut_silently), None),
        ("duration", format!("{:.0} s, {rate:.0} operations per second", took.as_secs_f64()), None),
        ("sum of the balances", audit.money.to_string(), None),
        ("promises broken", HumanCount(violations as u64).to_string(), Some(violations == 0)),
    ];
    examples::add_rows(&mut table, rows);
    table
}

/// Of sorted times.
fn times(sorted: &[Duration]) -> String {
    let at = |percent: usize| sorted.get((sorted.len().saturating_sub(1)) * percent / 100).map_or(0.0, Duration::as_secs_f64) * 1_000.0;
    format!("{}: median {:.1} ms, 95 % within {:.0} ms, longest {:.0} ms", HumanCount(sorted.len() as u64), at(50), at(95), at(100))
}
