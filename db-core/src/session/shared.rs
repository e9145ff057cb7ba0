//! A database: its settings, its counters, and the sessions that calls take turns on.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use crate::config::Settings;
use crate::config::pool::Limits;
use crate::retry::deadline;
use crate::session::Session;
use crate::session::lock::{LockGuard, SharedLock};
use crate::session::sessions::{Handle, Lease, PoolStatus, Sessions};
use crate::telemetry::event::event;
use crate::telemetry::stats::Counters;
use crate::{Error, ErrorKind, Result};

/// What lends a session for an attempt.
pub(crate) struct Database {
    pub settings: Arc<Settings>,
    pub counters: Arc<Counters>,
    source: Source,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each database")]
enum Source {
    /// One session behind a lock.
    Shared(Shared),
    /// Those of a pool.
    Pool { sessions: Arc<Sessions>, is_beside: bool },
}

pub(crate) struct Shared {
    lock: SharedLock,
    /// Locked only by the holder of `lock`: if it is taken all the same, this thread has taken it.
    session: Mutex<Session>,
    /// The connection is to be closed as soon as nobody uses it.
    close: AtomicBool,
}

/// A session, held.
pub(crate) struct Entered<'a> {
    pub session: Hold<'a>,
}

/// The session of this thread's transaction. Dropping it leaves the session before the lock.
pub(crate) enum Hold<'a> {
    Shared { session: MutexGuard<'a, Session>, shared: &'a Shared, _lock: LockGuard<'a> },
    Pool(Lease<'a>),
}

impl Database {
    pub fn new(settings: Arc<Settings>, lock: SharedLock) -> Self {
        let counters = Arc::new(Counters::new(&settings));
        let session = Mutex::new(Session::new(Arc::clone(&settings), Arc::clone(&counters)));
        Self { settings, counters, source: Source::Shared(Shared { lock, session, close: AtomicBool::new(false) }) }
    }

    pub fn pool(settings: Arc<Settings>, limits: Limits) -> Self {
        let counters = Arc::new(Counters::new(&settings));
        let sessions = Arc::new(Sessions::new(Arc::clone(&settings), Arc::clone(&counters), limits));
        Self { settings, counters, source: Source::Pool { sessions, is_beside: false } }
    }

    /// The same pool, for work beside a transaction of the calling thread. `None`: it is no pool.
    pub fn beside(&self) -> Option<Self> {
        let Source::Pool { sessions, .. } = &self.source else { return None };
        let source = Source::Pool { sessions: Arc::clone(sessions), is_beside: true };
        Some(Self { settings: Arc::clone(&self.settings), counters: Arc::clone(&self.counters), source })
    }

    /// Tells this database from every other that lives.
    pub fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Its lock. `None`: it is a pool.
    pub fn shared_lock(&self) -> Option<&SharedLock> {
        match &self.source {
            Source::Shared(shared) => Some(&shared.lock),
            Source::Pool { .. } => None,
        }
    }

    /// Waits for the lock, for as long as it takes. `None`: it is a pool.
    pub fn lock(&self) -> Option<LockGuard<'_>> {
        let lock = self.shared_lock()?;
        Some(lock.try_lock().unwrap_or_else(|| self.waiting(|| lock.lock())))
    }

    /// Only a wait is worth a look at the clock.
    fn waiting<G>(&self, wait: impl FnOnce() -> G) -> G {
        let began = Instant::now();
        let lock = wait();
        let waited = began.elapsed();
        self.counters.waited(waited);
        event!(debug, "db_core.lock_wait", { db_core.duration = waited.as_secs_f64() }, "waited for the database's lock");
        lock
    }

    /// Waits for a session, and takes it.
    pub fn enter(&self) -> Result<Entered<'_>> {
        let shared = match &self.source {
            Source::Shared(shared) => shared,
            Source::Pool { sessions, is_beside } => {
                return Ok(Entered { session: Hold::Pool(sessions.take(self.handle(*is_beside))?) });
            }
        };
        let lock = match shared.lock.try_lock() {
            Some(lock) => lock,
            None => self.waiting(|| shared.lock.within(deadline::at_most(self.settings.lock_timeout))).map_err(deadline::or_exceeded)?,
        };
        let Some(mut session) = shared.session.try_lock() else {
            let message = "this thread has a transaction of the database open; pass its `tx` instead of the database, \
                           or use a fork of the database for independent work";
            return Err(Error::new(ErrorKind::AlreadyInTransaction, message));
        };
        shared.close_if_asked(&mut session);
        Ok(Entered { session: Hold::Shared { session, shared, _lock: lock } })
    }

    fn handle(&self, is_beside: bool) -> Handle {
        Handle { id: self.id(), is_beside }
    }

    /// Opens the first connection, before anybody else can know of this database.
    pub fn connect_first(&self) -> Result<()> {
        match &self.source {
            Source::Shared(shared) => shared.session.lock().connect(),
            Source::Pool { sessions, is_beside } => sessions.connect_first(self.handle(*is_beside)),
        }
    }

    /// Opens the connection if it is not open. `writable`: to a server that accepts writes.
    pub fn connect(&self, writable: bool) -> Result<()> {
        if let Source::Pool { sessions, is_beside } = &self.source {
            return sessions.connect(self.handle(*is_beside), writable);
        }
        let mut entered = self.enter()?;
        if writable { entered.session.connect_writable() } else { entered.session.connect() }
    }

    /// Closes the connection now, or at the end of the transaction that uses it. A pool is closed for good.
    pub fn disconnect(&self) {
        match &self.source {
            Source::Shared(shared) => {
                shared.close.store(true, Ordering::Release);
                // Entering closes. Whoever is inside, on this thread or past the lock's time limit, closes on leaving.
                drop(self.enter());
            }
            Source::Pool { sessions, .. } => sessions.close(),
        }
    }

    /// Of the pool. `None`: it is none.
    pub fn pool_status(&self) -> Option<PoolStatus> {
        match &self.source {
            Source::Shared(_) => None,
            Source::Pool { sessions, .. } => Some(sessions.status()),
        }
    }
}

impl Shared {
    fn close_if_asked(&self, session: &mut Session) {
        if self.close.load(Ordering::Relaxed) && self.close.swap(false, Ordering::Acquire) {
            session.close();
        }
    }
}

impl Entered<'_> {
    /// Says for whom the session is held, to those who give up waiting for it.
    pub fn is_held_for(&mut self, body: &'static str, since: Instant) {
        match &mut self.session {
            Hold::Shared { shared, .. } => shared.lock.is_held_for(body, since),
            Hold::Pool(lease) => lease.is_held_for(body, since),
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // A panic of the caller's code, between the body and the end.
        if self.session.is_unfinished() {
            self.session.abandon();
        }
        if let Hold::Shared { session, shared, .. } = &mut self.session {
            shared.close_if_asked(session);
        }
    }
}

impl Deref for Hold<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        match self {
            Self::Shared { session, .. } => session,
            Self::Pool(lease) => lease,
        }
    }
}

impl DerefMut for Hold<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        match self {
            Self::Shared { session, .. } => session,
            Self::Pool(lease) => lease,
        }
    }
}
