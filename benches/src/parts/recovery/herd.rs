//! Every connection is lost at once, and the server has room for hardly more than there were.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::{Record, Recovered, failures, or_never, until_success};
use crate::error::{Error, Result};
use crate::peer::{Peer, Session};
use crate::peers::{OURS, OURS_LEDGER};
use crate::report::{Section, Table};
use crate::site::{Admin, Site};
use crate::stats::Spread;
use crate::work::{Work, first_row};

const SESSIONS: usize = 64;
/// One for whoever kills them, one to spare.
const ROOM: u32 = 66;
/// Over which the rate of new connections is taken.
const WINDOW: Duration = Duration::from_millis(10);

/// The connections that were made when the herd came back.
struct Stampede {
    connects: usize,
    /// In the busiest window.
    peak: usize,
}

pub(super) fn run(peers: &[&dyn Peer], at: &Site, faults: usize) -> Result<Section> {
    let site = Site::start(at.server.flavor(), ROOM)?;
    let mut admin = site.admin()?;
    let mut section = Section::new(format!("{SESSIONS} connections lost at once, {}", site.name()));
    section.say(format!(
        "{faults} times. {SESSIONS} threads with a connection each; all are killed, and all threads call at the same moment. \
         max_connections is {ROOM}. Pools are as large as there are threads. The rate is that of the busiest {} ms, seen by a proxy. A \
         session that was killed may hold its place for a moment.",
        WINDOW.as_millis()
    ));
    let mut table = Table::new(
        "The herd",
        ["", "until the last success, median, ms", "worst, ms", "failed calls per fault", "connections made", "peak, connects per second"],
    );
    // Sixty-four interpreters are another matter.
    for peer in peers.iter().copied().filter(|peer| !peer.name().starts_with("Python")) {
        let mut record = Record { name: peer.name(), seconds: Vec::new(), failed: Vec::new() };
        let mut busiest: Vec<Stampede> = Vec::new();
        for _ in 0..faults {
            if !record.hopeless() {
                busiest.push(stampede(&site, &mut admin, peer, &mut record)?);
            }
        }
        let millis = record.millis();
        table.row([
            record.name.to_owned(),
            or_never(millis.median),
            or_never(millis.worst),
            failures(&record),
            format!("{:.0}", Spread::of(busiest.iter().map(|one| one.connects as f64)).median),
            format!("{:.0}", Spread::of(busiest.iter().map(|one| one.peak as f64 / WINDOW.as_secs_f64())).worst),
        ]);
        if [OURS, OURS_LEDGER].contains(&record.name) {
            section.goal(format!("{}: no failed call", record.name), format!("{} per fault", failures(&record)), record.unharmed());
        }
    }
    section.tables.push(table);
    Ok(section)
}

fn stampede(site: &Site, admin: &mut Admin, peer: &dyn Peer, record: &mut Record) -> Result<Stampede> {
    let failed = |source| Error::Peer { peer: peer.name(), doing: "gathering a herd", source };
    let proxy = site.proxy(Duration::ZERO)?;
    let client = peer.client(&proxy.url(&site.url())?, SESSIONS).map_err(failed)?;
    let mut sessions = (0..SESSIONS).map(|_| client.session()).collect::<std::result::Result<Vec<_>, _>>().map_err(failed)?;
    // All at the same time, so that a pool makes all its connections; the second time each is called after the kill.
    call_all(peer, &mut sessions)?;
    admin.kill_all()?;
    proxy.reset_counts();
    let since = Instant::now();
    let recovered = call_all(peer, &mut sessions)?;
    let accepted = proxy.accepted();
    // The herd is back when the last of them is.
    let last = recovered.iter().map(|one| one.at).try_fold(since, |last, at| Some(last.max(at?)));
    record.add(since, Recovered { at: last, failed: recovered.iter().map(|one| one.failed).sum() });
    drop((sessions, client, proxy));
    admin.wait_alone()?;
    Ok(Stampede { connects: accepted.len(), peak: busiest(&accepted) })
}

fn call_all(peer: &dyn Peer, sessions: &mut [Box<dyn Session>]) -> Result<Vec<Recovered>> {
    let start = Barrier::new(sessions.len());
    thread::scope(|scope| {
        let callers: Vec<_> = sessions
            .iter_mut()
            .enumerate()
            .map(|(number, session)| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    until_success(session.as_mut(), |session| session.once(Work::Update, first_row(number), &|| {}))
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().map_err(|_| Error::Panicked { peer: peer.name() })).collect()
    })
}

/// The most that came within one window. They are in order.
fn busiest(accepted: &[Instant]) -> usize {
    let within = |start: usize| accepted[start..].iter().take_while(|at| **at - accepted[start] < WINDOW).count();
    (0..accepted.len()).map(within).max().unwrap_or(0)
}
