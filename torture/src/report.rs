//! What the reader gets at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::HumanCount;

use crate::audit::{Audit, Promise};
use crate::plan::TARGETS;
use crate::tally::{Count, NodeOutage};
use crate::{Run, Script};

/// Violations beyond this many are counted only.
const SHOWN: usize = 20;

/// A run with fewer operations may miss a kind of fault by chance.
const KINDS_EXPECTED_FROM: usize = 1_000;

type Row = (&'static str, String, Option<bool>);

/// Prints the tables; whether every promise was kept, and every kind of fault tested.
pub(crate) fn print(run: &Run, audit: &Audit, took: Duration) -> bool {
    let mut untested = Vec::new();
    match &run.script {
        Script::Demo { .. } => println!("{}", table(["under fire".into(), run.version.clone()], demo(run, audit))),
        Script::Torture { ops, seed, .. } => {
            let ledger = if run.ledger { "on" } else { "off" };
            let head = ["torture".into(), format!("{}, ledger {ledger}, seed {seed}", run.version)];
            println!("{}\n{}", faults(run), table(head, torture(run, audit, took)));
            if *ops >= KINDS_EXPECTED_FROM {
                untested = run.tally.untested();
            }
        }
        Script::Cluster { seed, .. } => {
            let ledger = if run.ledger { "on" } else { "off" };
            let kind = run.site.nodes().map_or("", |nodes| nodes.kind.name());
            let head = [kind.into(), format!("{}, ledger {ledger}, seed {seed}", run.version)];
            println!("{}\n{}\n{}", faults(run), outages(run), table(head, on_cluster(run, audit, took)));
        }
    }
    for violation in audit.violations.iter().take(SHOWN) {
        match (violation.op, &run.script) {
            (Some(op), Script::Torture { .. } | Script::Cluster { .. }) => {
                println!("BROKEN: operation {op}: {}; {:?}", violation.what, run.plan(op))
            }
            (Some(op), Script::Demo { .. }) => println!("BROKEN: operation {op}: {}", violation.what),
            (None, _) => println!("BROKEN: {}", violation.what),
        }
    }
    if audit.violations.len() > SHOWN {
        println!("… and {} more", audit.violations.len() - SHOWN);
    }
    untested.iter().for_each(|kind| println!("NOT TESTED: {kind}"));
    match audit.summary().as_slice() {
        [] => println!(
            "kept: {} transfers reported Ok, every one applied once; nothing lost, doubled, torn or hung; {} of unknown outcome",
            HumanCount(audit.ok),
            HumanCount(audit.unknown()),
        ),
        broken => println!("BROKEN: {}", broken.join("; ")),
    }
    audit.violations.is_empty() && untested.is_empty()
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn count(counter: &AtomicU64) -> String {
    HumanCount(load(counter)).to_string()
}

/// A row for each name and value. Where the value is about a promise, a mark says whether it was kept.
fn table(head: [String; 2], rows: Vec<Row>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(head);
    for (name, value, kept) in rows {
        let value = match kept {
            Some(true) => format!("{value} \u{2713}"),
            Some(false) => format!("{value} \u{2717}"),
            None => format!("{value}  "),
        };
        table.add_row([Cell::new(name), Cell::new(value).set_alignment(CellAlignment::Right)]);
    }
    table
}

fn demo(run: &Run, audit: &Audit) -> Vec<Row> {
    let promise = |name, promise| {
        let broken = audit.broken(promise);
        (name, broken.to_string(), Some(broken == 0))
    };
    let hung = [Promise::ThreadEnds, Promise::CallEnds, Promise::NoPanic].map(|promise| audit.broken(promise));
    let tally = &run.tally;
    vec![
        ("transfers reported Ok", HumanCount(audit.ok).to_string(), None),
        ("transfers applied", HumanCount(audit.applied).to_string(), None),
        promise("  reported Ok, lost", Promise::NotLost),
        promise("  applied more than once", Promise::NotDoubled),
        ("reported failed: insufficient funds", HumanCount(audit.refused).to_string(), None),
        ("reported failed: fault", failed(audit), None),
        promise("  reported failed, applied", Promise::FailedNotApplied),
        ("outcome unknown (CommitUnknown)", audit.unknown().to_string(), run.ledger.then_some(audit.unknown() == 0)),
        ("  of these applied", audit.unknown_applied.to_string(), None),
        ("  of these not applied", audit.unknown_not_applied.to_string(), None),
        ("money before", audit.money_before.to_string(), None),
        ("money after", audit.money_after.to_string(), Some(audit.money_after == audit.money_before)),
        ("accounts that differ from the journal", audit.differing_accounts.to_string(), Some(audit.differing_accounts == 0)),
        ("hung threads, hung calls, panics", hung.map(|count| count.to_string()).join(", "), Some(hung == [0; 3])),
        ("longest call", format!("{:.2} s", audit.longest_call.as_secs_f64()), None),
        ("connections killed", count(&tally.sessions_killed), None),
        ("server kills", tally.server_kills().to_string(), None),
        ("retries", count(&tally.retries), None),
        ("reconnects", HumanCount(run.reconnects()).to_string(), None),
        ("transfers again after a server kill", tally.recoveries().to_string(), None),
        ("  of which the server was away", tally.absences().to_string(), None),
    ]
}

/// By kind.
fn failed(audit: &Audit) -> String {
    let kinds: Vec<String> = audit.failed.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let failed = HumanCount(audit.failed.values().sum());
    if kinds.is_empty() { failed.to_string() } else { format!("{failed} ({})", kinds.join(", ")) }
}

fn faults(run: &Run) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["faults at", "aimed", "hit", "hit, by point", "hit, by action"]);
    for target in TARGETS {
        let points = run.tally.by(target, |kind| kind.1);
        let actions = run.tally.by(target, |kind| kind.2);
        let sum = |of: fn(&Count) -> u64| HumanCount(points.values().map(of).sum());
        let list = |counts: &BTreeMap<&str, Count>| {
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

/// What each kind of fault of a node cost.
fn outages(run: &Run) -> Table {
    let mut kinds: BTreeMap<&str, Vec<NodeOutage>> = BTreeMap::new();
    run.tally.node_outages().into_iter().for_each(|outage| kinds.entry(outage.name).or_default().push(outage));
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["faults of nodes", "times", "longest time without an Ok", "until the cluster was whole"]);
    for (name, outages) in kinds {
        let of = |time: fn(&NodeOutage) -> Duration| {
            let mut sorted: Vec<Duration> = outages.iter().map(time).collect();
            sorted.sort_unstable();
            let at = |place: usize| sorted.get(place).map_or(0.0, Duration::as_secs_f64);
            format!("median {:.1} s, worst {:.1} s", at(sorted.len() / 2), at(sorted.len() - 1))
        };
        table.add_row([name.to_string(), outages.len().to_string(), of(|outage| outage.silence), of(|outage| outage.whole)]);
    }
    table
}

fn on_cluster(run: &Run, audit: &Audit, took: Duration) -> Vec<Row> {
    let failures = run.tally.node_outages().iter().filter(|outage| outage.is_failure).count();
    let mut rows = torture(run, audit, took);
    rows.retain(|(name, ..)| !name.starts_with("server ") && !name.starts_with("  until") && !name.starts_with("idle"));
    rows.insert(1, ("node failures", failures.to_string(), None));
    rows.insert(2, ("reconnects that were sent to another node", count(&run.tally.moves), None));
    let mut promise = |name, promise| {
        let broken = audit.broken(promise);
        rows.push((name, broken.to_string(), Some(broken == 0)));
    };
    promise("reported Ok and lost", Promise::NotLost);
    promise("applied more than once", Promise::NotDoubled);
    promise("torn, or nodes that differ", Promise::NotTorn);
    promise("reported failed and applied", Promise::FailedNotApplied);
    promise("of unknown outcome despite the ledger", Promise::OutcomeKnown);
    promise("calls that took too long", Promise::CallEnds);
    promise("hung", Promise::ThreadEnds);
    rows
}

fn torture(run: &Run, audit: &Audit, took: Duration) -> Vec<Row> {
    let tally = &run.tally;
    let done = load(&tally.done);
    let share = load(&tally.commits_cut) as f64 / done.max(1) as f64 * 100.0;
    let rate = done as f64 / took.as_secs_f64();
    let violations = audit.violations.len();
    vec![
        ("operations", HumanCount(done).to_string(), None),
        ("reported Ok", HumanCount(audit.ok).to_string(), None),
        ("  bodies that ran more than once", HumanCount(audit.retried).to_string(), None),
        ("refused on purpose", HumanCount(audit.refused).to_string(), None),
        ("reported failed", failed(audit), None),
        ("reported unknown, applied", audit.unknown_applied.to_string(), None),
        ("reported unknown, not applied", audit.unknown_not_applied.to_string(), None),
        ("COMMITs cut", format!("{} ({share:.0} % of the operations)", count(&tally.commits_cut)), None),
        ("late packets that arrived", count(&tally.late_packets), None),
        ("sessions killed", count(&tally.sessions_killed), None),
        ("server killed and restarted", tally.server_kills().to_string(), None),
        ("  until an operation succeeded", tally.recoveries().to_string(), None),
        ("server frozen", count(&tally.server_freezes), None),
        ("idle connections cut, outages, forks", [&tally.resets, &tally.refusals, &tally.forks].map(count).join(", "), None),
        ("calls, COMMIT unharmed", times(&audit.uncut), None),
        ("calls, COMMIT cut, and the client told", times(&audit.cut_loudly), None),
        ("calls, COMMIT cut in silence", times(&audit.cut_silently), None),
        ("duration", format!("{:.0} s, {rate:.0} operations per second", took.as_secs_f64()), None),
        ("sum of the balances", audit.money_after.to_string(), None),
        ("promises broken", HumanCount(violations as u64).to_string(), Some(violations == 0)),
    ]
}

/// Of sorted times.
fn times(sorted: &[Duration]) -> String {
    let at = |percent: usize| sorted.get((sorted.len().saturating_sub(1)) * percent / 100).map_or(0.0, Duration::as_secs_f64) * 1_000.0;
    format!("{}: median {:.1} ms, 95 % within {:.0} ms, longest {:.0} ms", HumanCount(sorted.len() as u64), at(50), at(95), at(100))
}
