//! The hosts that a database may be on: which of them is tried next.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mysql::{Opts, OptsBuilder};
use parking_lot::{Mutex, MutexGuard};

use crate::per_process::PerProcess;
use crate::{Error, ErrorKind, Result};

/// A host that failed is passed over for this long, then for twice as long, and so on.
const FIRST_BAN: Duration = Duration::from_secs(1);
const LONGEST_BAN: Duration = Duration::from_secs(60);

/// What a host has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Any,
    ReadWrite,
}

/// In which order hosts are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Balance {
    /// In the order of the URL.
    Disable,
    Random,
}

pub(crate) struct Hosts {
    all: Vec<Opts>,
    target: Target,
    balance: Balance,
    /// The one that was connected to last.
    in_use: AtomicUsize,
    /// It is a node of Galera or Group Replication.
    is_node: AtomicBool,
    homes: PerProcess<Home>,
}

#[derive(Default)]
struct Home {
    /// Held by the one caller who looks for a host: the others wait for what it finds, so that a host that does not reply costs one timeout.
    search: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the next search begins.
    start: usize,
    bans: Vec<Ban>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ban {
    failures: u32,
    until: Option<Instant>,
}

impl Hosts {
    /// `options` are those of the first host, and the others differ in their address alone.
    pub fn new(options: &Opts, others: &[(String, u16)], target: Option<Target>, balance: Option<Balance>) -> Self {
        let of = |(host, port): &(String, u16)| {
            OptsBuilder::from_opts(options.clone()).ip_or_hostname(Some(host.as_str())).tcp_port(*port).into()
        };
        let all: Vec<Opts> = std::iter::once(options.clone()).chain(others.iter().map(of)).collect();
        let default = if others.is_empty() { Target::Any } else { Target::ReadWrite };
        Self {
            all,
            target: target.unwrap_or(default),
            balance: balance.unwrap_or(Balance::Disable),
            in_use: AtomicUsize::new(0),
            is_node: AtomicBool::new(false),
            homes: PerProcess::default(),
        }
    }

    pub fn are_several(&self) -> bool {
        self.all.len() > 1
    }

    /// A server was connected to that is, or is not, a node of a cluster.
    pub fn found_node(&self, is_node: bool) {
        self.is_node.store(is_node, Ordering::Relaxed);
    }

    /// Another server may take over.
    pub fn fail_over(&self) -> bool {
        self.are_several() || self.is_node.load(Ordering::Relaxed)
    }

    pub fn must_be_writable(&self) -> bool {
        self.target == Target::ReadWrite
    }

    pub fn options(&self, host: usize) -> &Opts {
        &self.all[host]
    }

    /// As the URL has it, for errors.
    pub fn name(&self, host: usize) -> String {
        let options = self.options(host);
        match options.get_socket() {
            Some(socket) => socket.into(),
            None => format!("{}:{}", options.get_ip_or_hostname(), options.get_tcp_port()),
        }
    }

    /// The name of the host that was connected to last.
    pub fn name_in_use(&self) -> String {
        self.name(self.in_use.load(Ordering::Relaxed))
    }

    /// Its options.
    #[cfg(any(feature = "tracing", feature = "metrics"))]
    pub fn in_use(&self) -> &Opts {
        self.options(self.in_use.load(Ordering::Relaxed))
    }

    /// Waits until no other caller looks for a host.
    pub fn search(&self, at_most: Duration) -> Result<MutexGuard<'_, ()>> {
        self.homes
            .get()
            .search
            .try_lock_for(at_most)
            .ok_or_else(|| Error::new(ErrorKind::ConnectFailed, "timeout while another caller was searching for a host").transient(true))
    }

    /// The hosts to try, in this order. If all have failed lately, the one that may be tried again first.
    pub fn order(&self, now: Instant) -> Vec<usize> {
        let mut state = self.homes.get().state.lock();
        let start = match self.balance {
            Balance::Disable => state.start,
            Balance::Random => fastrand::usize(..self.all.len()),
        };
        state.order(self.all.len(), start, now)
    }

    /// Returns the one that was used before, if that is another one.
    pub fn succeeded(&self, host: usize) -> Option<usize> {
        let mut state = self.homes.get().state.lock();
        state.start = 0;
        *state.ban(host) = Ban::default();
        Some(self.in_use.swap(host, Ordering::Relaxed)).filter(|before| *before != host)
    }

    /// It could not be reached, or is not fit.
    pub fn failed(&self, host: usize, now: Instant) {
        self.homes.get().state.lock().failed(host, now);
    }

    /// A connection to it was lost: the next search begins with the next host.
    pub fn lost(&self, host: usize) {
        self.homes.get().state.lock().start = (host + 1) % self.all.len();
    }
}

impl State {
    fn ban(&mut self, host: usize) -> &mut Ban {
        if self.bans.len() <= host {
            self.bans.resize_with(host + 1, Ban::default);
        }
        &mut self.bans[host]
    }

    fn order(&mut self, hosts: usize, start: usize, now: Instant) -> Vec<usize> {
        let in_turn = (0..hosts).map(|at| (start + at) % hosts);
        let free: Vec<usize> = in_turn.clone().filter(|host| self.ban(*host).until.is_none_or(|until| until <= now)).collect();
        if free.is_empty() { in_turn.min_by_key(|host| self.ban(*host).until).into_iter().collect() } else { free }
    }

    fn failed(&mut self, host: usize, now: Instant) {
        let ban = self.ban(host);
        let length = 2_u32.checked_pow(ban.failures).map_or(LONGEST_BAN, |factor| FIRST_BAN.saturating_mul(factor).min(LONGEST_BAN));
        *ban = Ban { failures: ban.failures.saturating_add(1), until: Some(now + length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_failed_is_passed_over_for_a_growing_while() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut state = State::default();
        assert_eq!(state.order(3, 0, at(0)), [0, 1, 2]);
        assert_eq!(state.order(3, 2, at(0)), [2, 0, 1]);
        state.failed(0, at(0));
        assert_eq!(state.order(3, 0, at(0)), [1, 2]);
        assert_eq!(state.order(3, 0, at(1)), [0, 1, 2]);
        for length in [2, 4, 8, 16, 32, 60, 60] {
            state.failed(0, at(100));
            assert_eq!(state.order(3, 0, at(99 + length)), [1, 2], "{length}");
            assert_eq!(state.order(3, 0, at(100 + length)), [0, 1, 2], "{length}");
        }
        state.failed(1, at(100));
        state.failed(2, at(100));
        state.failed(2, at(100));
        assert_eq!(state.order(3, 0, at(100)), [1], "the first that may be tried again");
        *state.ban(0) = Ban::default();
        assert_eq!(state.order(3, 1, at(100)), [0]);
    }
}
