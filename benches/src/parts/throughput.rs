//! How fast is one connection, where the network is free?

use std::time::Duration;

use super::Bench;
use crate::error::Result;
use crate::grid::{self, Effort, Grid, WARM_UP};
use crate::peers::{AT_DEFAULTS, BASE, OURS, OURS_LEDGER};
use crate::report::plot::{Kind, Plot};
use crate::report::{Column, Section, Table, or_dash, ratio};
use crate::site::Site;
use crate::steady::Steady;
use crate::work::Work;

pub(super) fn run(bench: &Bench, site: &Site) -> Result<Section> {
    let effort =
        bench.effort(Effort { rounds: 31, slice: Duration::from_millis(4) }, Effort { rounds: 151, slice: Duration::from_millis(4) });
    let steady = Steady::start(site);
    let grid = grid::measure(&bench.peers, BASE, &site.url(), &Work::ALL, WARM_UP, effort)?;
    drop(steady);
    let mut section = Section::new(format!("One connection on loopback, {}", site.name()));
    section.say(format!(
        "{} rounds. Throughput as a multiple of {BASE} with `start_transaction`: median of the rounds' ratios, 10th to 90th percentile. \
         Higher is better.",
        effort.rounds
    ));
    section.text.extend(busy(&grid));
    section.tables.push(ratios(&grid));
    section.tables.push(micros(&grid));
    section.plots.push(Plot {
        file: format!("loopback-{}.svg", file_name(site)),
        title: format!("Throughput on loopback, {BASE} = 1, {}", site.name()),
        kind: bars(&grid),
    });
    section.headline.push(column(&grid, Work::Update, "1 UPDATE on loopback"));
    for (name, least) in [(OURS, 1.2), (OURS_LEDGER, 0.9)] {
        if let Some(speed) = grid.speed(Work::Update, name, BASE) {
            section.goal(format!("{name}, 1 UPDATE: at least {least} × {BASE}"), ratio(speed), speed.median >= least);
        }
    }
    for name in AT_DEFAULTS {
        if let Some(speed) = grid.speed(Work::Update, OURS, name) {
            section.goal(format!("{OURS}, 1 UPDATE: at least 2 × {name}"), ratio(speed), speed.median >= 2.0);
        }
    }
    Ok(section)
}

/// A warning, where the base itself was not the same from round to round.
pub(super) fn busy(grid: &Grid) -> Option<String> {
    let unsteady = |work: &Work| grid.micros(*work, BASE).is_some_and(|micros| micros.high > 1.5 * micros.low);
    let works: Vec<&str> = grid.works().filter(unsteady).map(Work::title).collect();
    (!works.is_empty()).then(|| {
        format!(
            "**The machine was busy:** {BASE} itself varied by more than half between the 10th and the 90th percentile of its rounds, \
             for {}.",
            works.join(", ")
        )
    })
}

/// Throughput as a multiple of the base's.
pub(super) fn ratios(grid: &Grid) -> Table {
    let head = std::iter::once("").chain(grid.works().map(Work::title));
    let mut table = Table::new(format!("Throughput, × {BASE}"), head);
    for name in &grid.peers {
        let cells = grid.works().map(|work| or_dash(grid.speed(work, name, BASE).map(ratio)));
        table.row(std::iter::once((*name).to_owned()).chain(cells));
    }
    table
}

/// The times themselves.
pub(super) fn micros(grid: &Grid) -> Table {
    let head = std::iter::once("").chain(grid.works().map(Work::title));
    let mut table = Table::new("Microseconds per transaction (median)", head);
    for name in &grid.peers {
        let cells = grid.works().map(|work| or_dash(grid.micros(work, name).map(|micros| format!("{:.1}", micros.median))));
        table.row(std::iter::once((*name).to_owned()).chain(cells));
    }
    table
}

/// One bar per work for each peer. The empty transaction, which costs us nothing, would hide the others.
pub(super) fn bars(grid: &Grid) -> Kind {
    let works: Vec<Work> = grid.works().filter(|work| *work != Work::Empty).collect();
    let values = |name: &str| works.iter().map(|work| grid.speed(*work, name, BASE).map(|speed| speed.median)).collect();
    Kind::Bars {
        series: works.iter().map(|work| work.title().to_owned()).collect(),
        rows: grid.peers.iter().map(|name| ((*name).to_owned(), values(name))).collect(),
        ratio: true,
    }
}

pub(super) fn column(grid: &Grid, work: Work, title: &str) -> Column {
    let cell = |name: &&'static str| Some((*name, format!("{:.2} ×", grid.speed(work, name, BASE)?.median)));
    Column { title: title.into(), cells: grid.peers.iter().filter_map(cell).collect() }
}

/// `mariadb`.
pub(super) fn file_name(site: &Site) -> String {
    site.server.flavor().to_string().to_lowercase()
}
