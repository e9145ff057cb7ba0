//! How fast is one connection to a server that is further away?

use std::time::Duration;

use super::Bench;
use super::throughput::{bars, busy, column, file_name, micros, ratios};
use crate::error::Result;
use crate::grid::{self, Effort};
use crate::peers::{BASE, OURS_LEDGER};
use crate::report::plot::Plot;
use crate::report::{Section, ratio};
use crate::site::Site;
use crate::steady::Steady;
use crate::work::Work;

/// One way.
const DELAYS: [(Duration, &str); 2] = [(Duration::from_micros(500), "0.5 ms"), (Duration::from_millis(5), "5 ms")];

/// What of the gain that arithmetic promises has to be there.
const SHARE: f64 = 0.97;

pub(super) fn run(bench: &Bench, site: &Site) -> Result<Vec<Section>> {
    DELAYS.into_iter().map(|(delay, title)| at(bench, site, delay, title)).collect()
}

fn at(bench: &Bench, site: &Site, delay: Duration, title: &str) -> Result<Section> {
    let effort =
        bench.effort(Effort { rounds: 5, slice: Duration::from_millis(10) }, Effort { rounds: 7, slice: Duration::from_millis(20) });
    let works = bench.effort(&[Work::Update][..], &Work::ALL[..]);
    let proxy = site.proxy(delay)?;
    // A pool is turned around by fewer: its connections are made, and its statements prepared, at the speed of the network.
    let warm_up = 12;
    let steady = Steady::start(site);
    let grid = grid::measure(&bench.peers, BASE, &proxy.url(&site.url())?, works, warm_up, effort)?;
    drop(steady);
    let mut section = Section::new(format!("One connection, {title} away, {}", site.name()));
    section.say(format!("A proxy on loopback holds every byte back for {title} in each direction. {} rounds.", effort.rounds));
    section.text.extend(busy(&grid));
    section.tables.push(ratios(&grid));
    section.tables.push(micros(&grid));
    section.plots.push(Plot {
        file: format!("delay-{}-{}.svg", title.replace(' ', ""), file_name(site)),
        title: format!("Throughput {title} away, {BASE} = 1, {}", site.name()),
        kind: bars(&grid),
    });
    section.headline.push(column(&grid, Work::Update, &format!("1 UPDATE, {title} away")));
    for work in grid.works().filter(|work| !matches!(work, Work::Empty | Work::Nested)) {
        let n = f64::from(work.statements());
        let least = (n + 2.0) / (n + 1.0) * SHARE;
        if let Some(speed) = grid.speed(work, OURS_LEDGER, BASE) {
            section.goal(
                format!("{OURS_LEDGER}, {}: at least (n + 2)/(n + 1) × {SHARE} = {least:.2} × {BASE}", work.title()),
                ratio(speed),
                speed.median >= least,
            );
        }
    }
    Ok(section)
}
