//! The server is killed, and comes back.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{Record, Recovered, column, table, until_success};
use crate::error::{Error, Result};
use crate::grid::{Contender, WARM_UP};
use crate::peer::Peer;
use crate::peers::{OURS, OURS_LEDGER};
use crate::report::Section;
use crate::site::Site;
use crate::work::{Work, first_row};

/// How long the server may take to come back.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(peers: &[&dyn Peer], site: &Site, faults: usize) -> Result<Section> {
    let open = |peer: &dyn Peer| Contender::open(peer, &site.url());
    let mut contenders = peers.iter().map(|peer| open(*peer).map(Some)).collect::<Result<Vec<_>>>()?;
    let mut records = Record::of(peers.iter().map(|peer| peer.name()));
    for _ in 0..faults {
        for (number, contender) in contenders.iter_mut().enumerate() {
            if let Some(contender) = contender {
                contender.run(Work::Update, first_row(number), WARM_UP)?;
            }
        }
        site.server.kill9()?;
        let (ready, recovered) = come_back(site, &mut contenders)?;
        for (number, recovered) in recovered {
            records[number].add(ready, recovered);
            if recovered.at.is_none() {
                let again = !records[number].hopeless();
                contenders[number] = again.then(|| open(peers[number])).transpose()?;
            }
        }
    }

    let mut section = Section::new(format!("Server killed and restarted, {}", site.name()));
    section.say(format!(
        "{faults} times: SIGKILL, and started again at once. Every peer calls at the moment of the kill, all at the same time, and is \
         called again by the same plain loop as above where it fails. From the server's first greeting to each peer's first success. \
         Pools wait inside a call: r2d2's for 30 s."
    ));
    section.tables.push(table("From the first greeting to success", &records));
    section.headline.push(column("Server restarted", &records));
    for record in records.iter().filter(|record| [OURS, OURS_LEDGER].contains(&record.name)) {
        let millis = record.millis();
        section.goal(
            format!("{}, restart: within 100 ms of readiness at the median", record.name),
            format!("{:.1} ms, at worst {:.1} ms", millis.median, millis.worst),
            millis.median <= 100.0,
        );
        section.goal(format!("{}, restart: no failed call", record.name), format!("{:.1} per fault", record.failures()), record.unharmed());
    }
    Ok(section)
}

/// Everyone calls, and the server is started. When was it ready, and when did each succeed?
fn come_back(site: &Site, contenders: &mut [Option<Contender>]) -> Result<(Instant, Vec<(usize, Recovered)>)> {
    let back = thread::scope(|scope| {
        let callers: Vec<_> = contenders
            .iter_mut()
            .enumerate()
            .filter_map(|(number, contender)| Some((number, contender.as_mut()?)))
            .map(|(number, contender)| {
                let Contender { name, session, .. } = contender;
                let caller =
                    scope.spawn(move || until_success(session.as_mut(), |session| session.once(Work::Update, first_row(number), &|| {})));
                (number, *name, caller)
            })
            .collect();
        site.server.launch()?;
        let ready = greeted(site.server.address());
        let recovered = callers
            .into_iter()
            .map(|(number, peer, caller)| Ok((number, caller.join().map_err(|_| Error::Panicked { peer })?)))
            .collect::<Result<_>>()?;
        Ok::<_, Error>((ready, recovered))
    })?;
    site.server.wait_ready()?;
    Ok(back)
}

/// When the server first spoke to somebody who connects.
fn greeted(address: SocketAddr) -> Instant {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let spoke = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.read_exact(&mut [0; 5])
        });
        if spoke.is_ok() || Instant::now() > deadline {
            return Instant::now();
        }
        thread::sleep(Duration::from_micros(300));
    }
}
