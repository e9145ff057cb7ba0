//! The lock that databases share.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};

use crate::telemetry::event::function;
use crate::{Error, ErrorKind, Result};

/// A reentrant lock that several [`Db`](crate::Db)s can share, also with other code.
///
/// The thread that holds it can take it again; other threads wait. It is not fair: a thread that takes it repeatedly can overtake others that
/// wait. To avoid waiting, use a [fork](crate::Db::fork) or a [pool](crate::Pool).
///
/// ```
/// use db_core::{Db, SharedLock};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = db_testkit::Server::start()?;
/// # let (orders_url, stock_url) = (server.create_database()?, server.create_database()?);
/// let lock = SharedLock::new();
/// let orders = Db::builder(&orders_url).lock(lock.clone()).connect()?;
/// let stock = Db::builder(&stock_url).lock(lock.clone()).connect()?;
/// let _both = lock.lock(); // no other thread uses either database, or anything else guarded by this lock
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct SharedLock(Arc<Inner>);

#[derive(Default)]
struct Inner {
    mutex: ReentrantMutex<()>,
    /// The transaction that took the lock last.
    holder: Mutex<Option<Holder>>,
}

#[derive(Clone, Copy)]
struct Holder {
    /// The name of the body's type, as the compiler has it.
    body: &'static str,
    since: Instant,
}

impl SharedLock {
    /// A lock that is not held.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until no other thread holds the lock, and holds it.
    pub fn lock(&self) -> LockGuard<'_> {
        LockGuard { _held: self.0.mutex.lock() }
    }

    /// Waits for the lock for at most this time.
    #[must_use]
    pub fn try_lock_for(&self, timeout: Duration) -> Option<LockGuard<'_>> {
        Some(LockGuard { _held: self.0.mutex.try_lock_for(timeout)? })
    }

    /// Holds the lock if no other thread does.
    pub(super) fn try_lock(&self) -> Option<LockGuard<'_>> {
        Some(LockGuard { _held: self.0.mutex.try_lock()? })
    }

    pub(super) fn is_held_for(&self, body: &'static str, since: Instant) {
        *self.0.holder.lock() = Some(Holder { body, since });
    }

    /// Waits for at most `timeout`.
    pub(super) fn within(&self, timeout: Duration) -> Result<LockGuard<'_>> {
        self.try_lock_for(timeout).ok_or_else(|| {
            let holder = *self.0.holder.lock();
            let holder = holder.map_or_else(String::new, |Holder { body, since }| {
                let name = function(body).unwrap_or("a function");
                format!(": {name} has had it for {:?}, if it was not taken by `lock` since", since.elapsed())
            });
            let message = format!(
                "another thread held the database's lock for more than {timeout:?}{holder}. Use a fork or a pool, or raise lock_timeout"
            );
            Error::new(ErrorKind::LockTimeout, message)
        })
    }
}

impl fmt::Debug for SharedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLock").finish_non_exhaustive()
    }
}

/// Holds a lock until it is dropped. It stays on the thread that took it.
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct LockGuard<'a> {
    _held: ReentrantMutexGuard<'a, ()>,
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").finish_non_exhaustive()
    }
}
