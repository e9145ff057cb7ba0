//! A session is killed: while it is idle, and in the middle of a transaction.

use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Record, column, table, until_success};
use crate::error::{Error, Result};
use crate::grid::{Contender, WARM_UP};
use crate::parts::throughput::file_name;
use crate::peer::Peer;
use crate::peers::{OURS, OURS_LEDGER};
use crate::report::Section;
use crate::report::plot::{Kind, Plot};
use crate::site::{Admin, Site};
use crate::work::Work;

/// Until the server's farewell has arrived.
const ARRIVED: Duration = Duration::from_millis(3);

pub(super) fn run(peers: &[&dyn Peer], site: &Site, faults: usize) -> Result<Section> {
    let mut admin = site.admin()?;
    let mut idle = Record::of(peers.iter().map(|peer| peer.name()));
    let mut midway = Record::of(peers.iter().map(|peer| peer.name()));
    for _ in 0..faults {
        for (number, peer) in peers.iter().enumerate() {
            if !idle[number].hopeless() {
                killed_idle(&mut admin, *peer, &site.url(), &mut idle[number])?;
            }
            if !midway[number].hopeless() {
                admin = killed_midway(admin, *peer, &site.url(), &mut midway[number])?;
            }
        }
    }

    let mut section = Section::new(format!("Killed connections, {}", site.name()));
    section.say(format!(
        "{faults} times. All the peer's sessions are killed by another session. From the moment they are gone to the end of the first \
         transaction that succeeds. Who does not connect again by itself is called by a plain loop: connect again, or ask the pool \
         again; at once the first time, then after 10 ms, for 5 seconds at most: what has not come back by then never will. Each call \
         of that loop that failed is what a user without one would have been told."
    ));
    section.tables.push(table("Killed while idle; then 1 UPDATE", &idle));
    section.tables.push(table("Killed between two UPDATEs of a transaction", &midway));
    section.plots.push(Plot {
        file: format!("kills-{}.svg", file_name(site)),
        title: format!("Milliseconds from a kill to success (median), {}", site.name()),
        kind: Kind::Bars {
            series: vec!["idle".into(), "in a transaction".into()],
            rows: idle.iter().zip(&midway).map(|(idle, midway)| (idle.name.to_owned(), vec![finite(idle), finite(midway)])).collect(),
            ratio: false,
        },
    });
    section.headline.push(column("Killed while idle", &idle));
    for name in [OURS, OURS_LEDGER] {
        for (what, records) in [("idle", &idle), ("in a transaction", &midway)] {
            if let Some(record) = records.iter().find(|record| record.name == name) {
                section.goal(
                    format!("{name}, killed {what}: no failed call"),
                    format!("{:.1} per fault", record.failures()),
                    record.unharmed(),
                );
            }
        }
        if let Some(peer) = peers.iter().find(|peer| peer.name() == name) {
            let (recovering, connecting) = round_trips(site, &mut admin, *peer)?;
            section.goal(
                format!("{name}, killed while idle: at most 3 round trips more than connecting takes, for 1 UPDATE"),
                format!("{recovering} with {connecting} to connect"),
                recovering <= connecting + 3,
            );
        }
    }
    Ok(section)
}

/// A bar for "never" would have no end.
fn finite(record: &Record) -> Option<f64> {
    Some(record.millis().median).filter(|median| median.is_finite())
}

fn killed_idle(admin: &mut Admin, peer: &dyn Peer, url: &str, record: &mut Record) -> Result<()> {
    let mut contender = Contender::open(peer, url)?;
    contender.run(Work::Update, 1, WARM_UP)?;
    admin.kill_all()?;
    thread::sleep(ARRIVED);
    let since = Instant::now();
    let recovered = until_success(contender.session.as_mut(), |session| session.once(Work::Update, 1, &|| {}));
    record.add(since, recovered);
    drop(contender);
    admin.wait_alone()
}

fn killed_midway(admin: Admin, peer: &dyn Peer, url: &str, record: &mut Record) -> Result<Admin> {
    let mut contender = Contender::open(peer, url)?;
    contender.run(Work::Update, 1, WARM_UP)?;
    let admin = Mutex::new(admin);
    let killed: Mutex<Option<Result<Instant>>> = Mutex::new(None);
    // Only the first time the transaction comes here.
    let kill = || {
        killed.lock().get_or_insert_with(|| {
            admin.lock().kill_all()?;
            thread::sleep(ARRIVED);
            Ok(Instant::now())
        });
    };
    let recovered = until_success(contender.session.as_mut(), |session| session.once(Work::Interrupted, 1, &kill));
    let since = killed.into_inner().unwrap_or_else(|| Ok(Instant::now()))?;
    record.add(since, recovered);
    drop(contender);
    let mut admin = admin.into_inner();
    admin.wait_alone()?;
    Ok(admin)
}

/// Of the first call after a kill, and of connecting.
fn round_trips(site: &Site, admin: &mut Admin, peer: &dyn Peer) -> Result<(u64, u64)> {
    let failed = |source| Error::Peer { peer: peer.name(), doing: "counting round trips", source };
    let proxy = site.proxy(Duration::ZERO)?;
    let client = peer.client(&proxy.url(&site.url())?, 1).map_err(failed)?;
    let before = proxy.counts();
    let mut session = client.session().map_err(failed)?;
    let connecting = (proxy.counts() - before).round_trips;
    session.run(Work::Update, 1, WARM_UP).map_err(failed)?;
    admin.kill_all()?;
    thread::sleep(ARRIVED);
    let before = proxy.counts();
    session.once(Work::Update, 1, &|| {}).map_err(failed)?;
    Ok(((proxy.counts() - before).round_trips, connecting))
}
