//! The library's own statements, sent by hand on the bare driver: what it costs without the library.

use std::fmt::Write as _;

use db_core::Db;
use db_testkit::FaultProxy;
use mysql::prelude::Queryable;
use mysql::{Conn, Opts};

use super::driver::{cause, options, statements};
use super::ours;
use crate::error::Outcome;
use crate::peer::{Client, Midway, Peer, Session};
use crate::work::Work;

/// `autocommit = 0`, the statements, `COMMIT`; with `ledger`, the compare-and-swap of a row in the same packet.
pub(crate) struct ByHand {
    pub(crate) ledger: bool,
}

struct Opener {
    url: String,
    options: Opts,
    ledger: bool,
}

struct Hand {
    options: Opts,
    conn: Conn,
    recorded: Option<Recorded>,
}

/// A row of the ledger's, and the packet that changes it and commits.
struct Recorded {
    pieces: Vec<Piece>,
    value: u64,
    packet: String,
}

/// Of the packet's text.
#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    /// What the row holds.
    Base,
    /// What it will hold.
    Target,
}

impl Peer for ByHand {
    fn name(&self) -> &'static str {
        if self.ledger { "mysql::Conn, autocommit = 0, ledger" } else { super::BY_HAND }
    }

    fn client(&self, url: &str, _sessions: usize) -> Outcome<Box<dyn Client>> {
        Ok(Box::new(Opener { url: url.into(), options: options(url)?.into(), ledger: self.ledger }))
    }
}

impl Client for Opener {
    fn session(&self) -> Outcome<Box<dyn Session>> {
        let recorded = if self.ledger { Some(Recorded::learn(&self.url)?) } else { None };
        Ok(Box::new(Hand { conn: open(&self.options)?, options: self.options.clone(), recorded }))
    }
}

fn open(options: &Opts) -> mysql::Result<Conn> {
    let mut conn = Conn::new(options.clone())?;
    conn.query_drop("SET autocommit = 0")?;
    Ok(conn)
}

impl Session for Hand {
    fn once(&mut self, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
        statements(&mut self.conn, work, row, midway)?;
        match &mut self.recorded {
            None => self.conn.query_drop("COMMIT")?,
            Some(recorded) => recorded.commit(&mut self.conn)?,
        }
        Ok(())
    }

    fn reopen(&mut self) -> Outcome<()> {
        self.conn = open(&self.options)?;
        Ok(())
    }
}

impl Recorded {
    /// From the library: it commits twice, and a proxy reads along. So it is the library's own packet, whatever that is, and its row is
    /// left to us.
    fn learn(url: &str) -> Outcome<Self> {
        let server = Opts::from_url(url)?;
        let proxy = FaultProxy::start((server.get_ip_or_hostname().as_ref(), server.get_tcp_port()))?;
        let db = Db::builder(&proxy.url(url)?).commit_ledger(true).connect()?;
        let packet = || -> Outcome<String> {
            ours::run(&db, Work::Update, 1, &|| {})?;
            let last = proxy.requests().pop().and_then(|request| request.text);
            last.filter(|text| text.contains("COMMIT")).ok_or_else(|| cause("the last packet of a transaction has no COMMIT"))
        };
        let (first, second) = (packet()?, packet()?);
        let (pieces, value) = pieces(&first, &second)
            .ok_or_else(|| cause(format!("`{first}` and `{second}` differ otherwise than by a value and the next")))?;
        Ok(Self { pieces, value, packet: String::new() })
    }

    fn commit(&mut self, conn: &mut Conn) -> mysql::Result<()> {
        let Self { pieces, value, packet } = self;
        packet.clear();
        for piece in pieces.iter() {
            // Writing to a String cannot fail.
            let _ = match piece {
                Piece::Text(text) => packet.write_str(text),
                Piece::Base => write!(packet, "{value}"),
                Piece::Target => write!(packet, "{}", *value + 1),
            };
        }
        *value += 1;
        let mut results = conn.query_iter(packet.as_str())?;
        while let Some(rows) = results.iter() {
            for row in rows {
                row?;
            }
        }
        Ok(())
    }
}

/// Two packets that follow each other: their numbers are the same, or they are the row's value and the next one. Also, what the row
/// holds after the second.
fn pieces(first: &str, second: &str) -> Option<(Vec<Piece>, u64)> {
    let split = |text: &'_ str| -> Vec<String> {
        text.chars().fold(Vec::new(), |mut parts: Vec<String>, c| {
            match parts.last_mut() {
                Some(part) if part.ends_with(|last: char| last.is_ascii_digit() == c.is_ascii_digit()) => part.push(c),
                _ => parts.push(c.into()),
            }
            parts
        })
    };
    let (first, second) = (split(first), split(second));
    let value = |part: &str| part.parse::<u64>().ok();
    let changed: Vec<u64> = first.iter().zip(&second).filter(|(a, b)| a != b).map(|(_, b)| value(b)).collect::<Option<_>>()?;
    let (base, target) = (*changed.iter().min()?, *changed.iter().max()?);
    let piece = |(a, b): (&String, &String)| match value(b) {
        _ if a == b => Piece::Text(b.clone()),
        Some(b) if b == base => Piece::Base,
        _ => Piece::Target,
    };
    (first.len() == second.len() && target == base + 1).then(|| (first.iter().zip(&second).map(piece).collect(), target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_learned_from_two_that_follow_each_other() {
        let text = |text: &str| Piece::Text(text.into());
        let (pieces, value) =
            pieces("SET seq = IF(seq = 1, 2, 9) WHERE client = 17; COMMIT", "SET seq = IF(seq = 2, 3, 9) WHERE client = 17; COMMIT")
                .expect("a packet");
        assert_eq!(value, 3);
        let expected = [
            text("SET seq = IF(seq = "),
            Piece::Base,
            text(", "),
            Piece::Target,
            text(", "),
            text("9"),
            text(") WHERE client = "),
            text("17"),
            text("; COMMIT"),
        ];
        assert_eq!(pieces, expected);
        assert_eq!(super::pieces("a 1", "a 1"), None);
        assert_eq!(super::pieces("a 1", "a 1 2"), None);
    }
}
