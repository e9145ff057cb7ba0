//! A session that many threads share, behind a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use crate::config::Settings;
use crate::session::Session;
use crate::session::lock::{LockGuard, SharedLock};
use crate::telemetry::event::event;
use crate::telemetry::stats::Counters;
use crate::{Error, ErrorKind, Result};

pub(crate) struct Database {
    pub(crate) settings: Arc<Settings>,
    pub(crate) lock: SharedLock,
    pub(crate) counters: Arc<Counters>,
    /// Locked only by the holder of `lock`: if it is taken all the same, this thread has taken it.
    session: Mutex<Session>,
    /// The connection is to be closed as soon as nobody uses it.
    close: AtomicBool,
}

/// The connection, held. Dropping it leaves the session before the lock.
pub(crate) struct Entered<'a> {
    pub(crate) session: MutexGuard<'a, Session>,
    database: &'a Database,
    _lock: LockGuard<'a>,
}

impl Database {
    pub(crate) fn new(settings: Arc<Settings>, lock: SharedLock) -> Self {
        let counters = Arc::new(Counters::new(&settings));
        let session = Mutex::new(Session::new(Arc::clone(&settings), Arc::clone(&counters)));
        Self { settings, lock, counters, session, close: AtomicBool::new(false) }
    }

    /// Tells this database from every other that lives.
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Waits for the lock, for as long as it takes.
    pub(crate) fn lock(&self) -> LockGuard<'_> {
        self.lock.try_lock().unwrap_or_else(|| self.waiting(|| self.lock.lock()))
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

    /// Waits for the lock, and takes the connection.
    pub(crate) fn enter(&self) -> Result<Entered<'_>> {
        let lock = match self.lock.try_lock() {
            Some(lock) => lock,
            None => self.waiting(|| self.lock.within(self.settings.lock_timeout))?,
        };
        let Some(session) = self.session.try_lock() else {
            let message = "this thread has a transaction open on the database's connection; \
                           pass that transaction (`tx`) in place of the database, or fork the database for work that is to stand by itself";
            return Err(Error::new(ErrorKind::AlreadyInTransaction, message));
        };
        let mut entered = Entered { session, database: self, _lock: lock };
        entered.close_if_asked();
        Ok(entered)
    }

    /// Opens the first connection, before anybody else can know of this database.
    pub(crate) fn connect_first(&self) -> Result<()> {
        self.session.lock().connect()
    }

    /// Opens the connection if it is not open. `writable`: to a server that accepts writes.
    pub(crate) fn connect(&self, writable: bool) -> Result<()> {
        let mut entered = self.enter()?;
        if writable { entered.session.connect_writable() } else { entered.session.connect() }
    }

    /// Closes the connection now, or at the end of the transaction that uses it.
    pub(crate) fn disconnect(&self) {
        self.close.store(true, Ordering::Release);
        // Entering closes. Whoever is inside, on this thread or past the lock's time limit, closes on leaving.
        drop(self.enter());
    }
}

impl Entered<'_> {
    /// Says for whom the lock is held, to those who give up waiting for it.
    pub(crate) fn is_held_for(&self, body: &'static str, since: Instant) {
        self.database.lock.is_held_for(body, since);
    }

    fn close_if_asked(&mut self) {
        if self.database.close.load(Ordering::Relaxed) && self.database.close.swap(false, Ordering::Acquire) {
            self.session.close();
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // A panic of the caller's code, between the body and the end.
        if self.session.is_unfinished() {
            self.session.abandon();
        }
        self.close_if_asked();
    }
}
