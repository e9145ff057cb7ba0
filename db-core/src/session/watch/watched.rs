//! A connection as its watch sees it.
//!
//! The thread that uses the connection stores a number when a request begins and when its reply has come. It looks at no clock: the watch
//! does, which sees the same number again.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::config::Settings;
use crate::session::connection::socket;

/// The lowest bit of a request's number: the reply has not come yet.
const UNDER_WAY: u64 = 1;

pub(in crate::session) struct Watched {
    pub(super) settings: Arc<Settings>,
    /// A second descriptor of the connection's socket.
    socket: OwnedFd,
    /// Which server it is to, and its number there.
    pub(super) server: String,
    pub(super) connection: u32,
    /// The number of its host.
    pub(super) host: usize,
    pub(super) opened: Instant,
    /// Written by the thread that uses the connection.
    request: AtomicU64,
    /// The request is that of COMMIT.
    commits: AtomicBool,
    /// When the call ends that uses the connection.
    deadline: Mutex<Option<Instant>>,
}

/// A request is under way until this is dropped.
pub(in crate::session) struct Waiting<'w> {
    watched: &'w Watched,
    /// It is part of another one.
    is_nested: bool,
}

impl Watched {
    pub fn new(settings: Arc<Settings>, socket: OwnedFd, server: &str, connection: u32, host: usize, opened: Instant) -> Self {
        Self {
            settings,
            socket,
            server: server.into(),
            connection,
            host,
            opened,
            request: AtomicU64::new(0),
            commits: AtomicBool::new(false),
            deadline: Mutex::new(None),
        }
    }

    /// A request begins. One thread at a time uses the connection, so that nothing is lost between load and store.
    pub fn waiting(&self) -> Waiting<'_> {
        let before = self.request.load(Ordering::Relaxed);
        self.request.store((before | UNDER_WAY) + 2, Ordering::Relaxed);
        Waiting { watched: self, is_nested: before & UNDER_WAY != 0 }
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
        Some(self.request.load(Ordering::Relaxed)).filter(|request| request & UNDER_WAY != 0)
    }

    /// Makes the read that waits return.
    pub(super) fn shut_down(&self) {
        socket::shut_down(&self.socket);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let request = &self.watched.request;
        let number = request.load(Ordering::Relaxed) + 2;
        // What is part of another request leaves that under way, as one that has just begun.
        request.store(if self.is_nested { number } else { number & !UNDER_WAY }, Ordering::Relaxed);
    }
}
