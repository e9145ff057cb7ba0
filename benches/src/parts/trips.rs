//! How often does each peer wait for the server, and what does it send?

use std::time::Duration;

use super::Bench;
use crate::error::Result;
use crate::grid::{Contender, WARM_UP};
use crate::peers::{OURS, OURS_LEDGER};
use crate::report::{Column, Section, Table};
use crate::site::Site;
use crate::work::{DEPTH, Work};

const TRANSACTIONS: u32 = 40;

/// Per transaction.
struct Cost {
    round_trips: f64,
    packets: f64,
    bytes: f64,
}

pub(super) fn run(bench: &Bench, site: &Site) -> Result<Section> {
    let mut section = Section::new(format!("Round trips, {}", site.name()));
    section.say(format!(
        "Counted by a proxy over {TRANSACTIONS} transactions, after {WARM_UP} others. A round trip is a turn: the client speaks after \
         the server has. Packets are the protocol's, in both directions."
    ));
    let mut costs = Vec::new();
    for peer in &bench.peers {
        // Each through its own proxy: pools talk to their connections when nobody asked them to.
        let proxy = site.proxy(Duration::ZERO)?;
        let mut contender = Contender::open(peer.as_ref(), &proxy.url(&site.url())?)?;
        let mut row = Vec::new();
        for work in Work::ALL {
            contender.run(work, 1, WARM_UP)?;
            let before = proxy.counts();
            contender.run(work, 1, TRANSACTIONS)?;
            let cost = proxy.counts() - before;
            let each = |count: u64| count as f64 / f64::from(TRANSACTIONS);
            row.push(Cost {
                round_trips: each(cost.round_trips),
                packets: each(cost.packets),
                bytes: each(cost.bytes_to_server + cost.bytes_to_client),
            });
        }
        costs.push((contender.name, row));
    }

    let table = |title: &str, figure: fn(&Cost) -> f64| {
        let mut table = Table::new(format!("{title} per transaction"), std::iter::once("").chain(Work::ALL.map(Work::title)));
        for (name, row) in &costs {
            table.row(std::iter::once((*name).to_owned()).chain(row.iter().map(|cost| number(figure(cost)))));
        }
        table
    };
    section.tables.extend([
        table("Round trips", |cost| cost.round_trips),
        table("Packets", |cost| cost.packets),
        table("Bytes", |cost| cost.bytes),
    ]);
    section.headline.push(Column {
        title: "Round trips, 1 UPDATE".into(),
        cells: costs.iter().map(|(name, row)| (*name, number(row[0].round_trips))).collect(),
    });
    for (name, row) in costs.iter().filter(|(name, _)| [OURS, OURS_LEDGER].contains(name)) {
        let found: Vec<String> = row.iter().map(|cost| number(cost.round_trips)).collect();
        let met = Work::ALL.iter().zip(row).all(|(work, cost)| cost.round_trips == f64::from(expected(*work)));
        section.goal(
            format!("{name}: n + 1 round trips, savepoints counted as statements; 0 for the empty one"),
            format!("{} for {}", found.join(", "), Work::ALL.map(Work::title).join(", ")),
            met,
        );
    }
    Ok(section)
}

fn expected(work: Work) -> u32 {
    match work {
        Work::Empty => 0,
        // Each part's savepoint is a statement.
        Work::Nested => work.statements() + (DEPTH - 1) + 1,
        _ => work.statements() + 1,
    }
}

fn number(figure: f64) -> String {
    if figure.fract() == 0.0 { format!("{figure:.0}") } else { format!("{figure:.1}") }
}
