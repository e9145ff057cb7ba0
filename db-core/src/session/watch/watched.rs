//! A connection as its watch sees it.
//!
//! The thread that uses the connection stores a number when it begins to wait for a reply and when it has waited. It looks at no clock: the
//! watch does, which sees the same number again.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::config::Settings;
use crate::session::connection::socket;

/// The lowest bits of the number count the waits under way, one inside another. Those above count how often one began or ended.
const UNDER_WAY: u64 = 0xff;
const BEGINS: u64 = UNDER_WAY + 2;
const ENDS: u64 = UNDER_WAY;

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Known {
    /// The server works for it.
    Busy,
    /// The session is gone, or idle: its reply was sent, and lost.
    Lost,
    /// Another server replied, or one whose numbers of sessions are not its own, or it refused.
    Nothing,
    /// There was no reply.
    Unreachable,
}

/// How a server is asked about a session, and how it is made to end what it does for it: on a connection of the watch's own.
pub(in crate::session) struct Inquiry {
    pub ask: fn(&Watched) -> Known,
    /// Ends the statement that the session executes.
    pub interrupt: fn(&Watched),
    /// Ends the session, so that its locks are free.
    pub kill: fn(&Watched),
}

pub(in crate::session) struct Watched {
    pub(super) inquiry: &'static Inquiry,
    pub settings: Arc<Settings>,
    /// A second descriptor of the connection's socket.
    socket: OwnedFd,
    /// Which server it is to, and its number there.
    pub server: String,
    pub connection: u32,
    /// The number of its host.
    pub host: usize,
    pub opened: Instant,
    /// Written by the thread that uses the connection.
    waits: AtomicU64,
    /// The request is that of COMMIT.
    commits: AtomicBool,
    /// When the call ends that uses the connection.
    deadline: Mutex<Option<Instant>>,
}

/// A reply is waited for until this is dropped.
pub(in crate::session) struct Waiting<'w>(Option<&'w Watched>);

impl Watched {
    pub fn new(
        inquiry: &'static Inquiry,
        settings: Arc<Settings>,
        socket: OwnedFd,
        server: &str,
        connection: u32,
        host: usize,
        opened: Instant,
    ) -> Self {
        Self {
            inquiry,
            settings,
            socket,
            server: server.into(),
            connection,
            host,
            opened,
            waits: AtomicU64::new(0),
            commits: AtomicBool::new(false),
            deadline: Mutex::new(None),
        }
    }

    /// A wait begins.
    pub fn begins(&self) {
        self.counts(BEGINS);
    }

    /// A wait has ended.
    pub fn ends(&self) {
        self.counts(ENDS);
    }

    /// One thread at a time uses the connection, so that nothing is lost between load and store.
    fn counts(&self, what: u64) {
        self.waits.store(self.waits.load(Ordering::Relaxed).wrapping_add(what), Ordering::Relaxed);
    }

    pub fn commits(&self, commits: bool) {
        self.commits.store(commits, Ordering::Relaxed);
    }

    /// The connection was lost.
    pub fn lost(&self) {
        self.settings.hosts.lost(self.host);
    }

    pub(super) fn is_committing(&self) -> bool {
        self.commits.load(Ordering::Relaxed)
    }

    pub fn ends_by(&self, deadline: Option<Instant>) {
        *self.deadline.lock() = deadline;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock()
    }

    /// The request under way, if there is one.
    pub(super) fn request(&self) -> Option<u64> {
        Some(self.waits.load(Ordering::Relaxed)).filter(|waits| waits & UNDER_WAY != 0)
    }

    /// Makes the read that waits return.
    pub(super) fn shut_down(&self) {
        socket::shut_down(&self.socket);
    }
}

impl<'w> Waiting<'w> {
    /// Nothing happens without a watch.
    pub fn on(watched: Option<&'w Watched>) -> Self {
        if let Some(watched) = watched {
            watched.begins();
        }
        Self(watched)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(watched) = self.0 {
            watched.ends();
        }
    }
}
