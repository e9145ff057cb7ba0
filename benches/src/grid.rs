//! How do the peers compare on one connection each?
//!
//! Rounds take turns (A B C, B C A, …), so that whatever drifts on the machine meets everyone alike. What is reported is the median of the
//! ratios within a round, never a ratio of two times taken far from each other. Many short rounds are better than few long ones: a
//! processor
//! that is taken away for some milliseconds spoils a short round, and the median does not see it.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::peer::{Client, Peer, Session};
use crate::stats::Spread;
use crate::work::Work;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// About how long the base works in each round.
    pub(crate) slice: Duration,
}

/// Seconds per transaction, by work, peer and round.
pub(crate) struct Grid {
    pub(crate) peers: Vec<&'static str>,
    cells: Vec<(Work, Vec<Vec<f64>>)>,
}

/// Prepares statements, and turns a pool around.
pub(crate) const WARM_UP: u32 = 24;

/// A peer at work. The session goes before what it was made from.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) session: Box<dyn Session>,
    _client: Box<dyn Client>,
}

impl Contender {
    pub(crate) fn open(peer: &dyn Peer, url: &str) -> Result<Self> {
        let failed = |source| Error::Peer { peer: peer.name(), doing: "connecting", source };
        let client = peer.client(url, 1).map_err(failed)?;
        let session = client.session().map_err(failed)?;
        Ok(Self { name: peer.name(), session, _client: client })
    }

    pub(crate) fn run(&mut self, work: Work, row: u32, count: u32) -> Result<Duration> {
        let name = self.name;
        self.session.run(work, row, count).map_err(|source| Error::Peer { peer: name, doing: work.title(), source })
    }
}

/// Everyone does each work, one after the other, round after round.
pub(crate) fn measure(peers: &[Box<dyn Peer>], base: &str, url: &str, works: &[Work], warm_up: u32, effort: Effort) -> Result<Grid> {
    let mut contenders = peers.iter().map(|peer| Contender::open(peer.as_ref(), url)).collect::<Result<Vec<_>>>()?;
    let mut cells = Vec::new();
    for &work in works {
        let mut base_takes = Duration::from_millis(1);
        for contender in &mut contenders {
            let took = contender.run(work, 1, warm_up)? / warm_up;
            if contender.name == base {
                base_takes = took;
            }
        }
        let count = (effort.slice.as_secs_f64() / base_takes.as_secs_f64().max(1e-6)) as u32;
        let count = count.clamp(2, 5000);
        let mut seconds = vec![Vec::new(); contenders.len()];
        for round in 0..effort.rounds {
            for turn in 0..contenders.len() {
                let whose = (round + turn) % contenders.len();
                let took = contenders[whose].run(work, 1, count)?;
                seconds[whose].push(took.as_secs_f64() / f64::from(count));
            }
        }
        cells.push((work, seconds));
    }
    Ok(Grid { peers: contenders.iter().map(|contender| contender.name).collect(), cells })
}

impl Grid {
    pub(crate) fn works(&self) -> impl Iterator<Item = Work> + '_ {
        self.cells.iter().map(|(work, _)| *work)
    }

    fn rounds(&self, work: Work, peer: &str) -> Option<&[f64]> {
        let (_, cells) = self.cells.iter().find(|(of, _)| *of == work)?;
        let place = self.peers.iter().position(|name| *name == peer)?;
        Some(&cells[place])
    }

    /// Microseconds per transaction.
    pub(crate) fn micros(&self, work: Work, peer: &str) -> Option<Spread> {
        Some(Spread::of(self.rounds(work, peer)?.iter().map(|seconds| seconds * 1e6)))
    }

    /// How many times as fast as the base.
    pub(crate) fn speed(&self, work: Work, peer: &str, base: &str) -> Option<Spread> {
        let (peer, base) = (self.rounds(work, peer)?, self.rounds(work, base)?);
        Some(Spread::of(base.iter().zip(peer).map(|(base, peer)| base / peer)))
    }
}
