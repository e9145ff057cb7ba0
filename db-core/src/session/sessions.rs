//! The sessions of a pool: who has one, who waits for one, and which connections are closed.
//!
//! No lock of the pool is held while a connection is opened, used or closed.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::config::Settings;
use crate::config::pool::Limits;
use crate::per_process::PerProcess;
use crate::retry::deadline;
use crate::session::Session;
use crate::session::held::{self, Held, Holding};
use crate::telemetry::event::{event, function};
use crate::telemetry::metrics::PoolMeters;
use crate::telemetry::stats::Counters;
use crate::{Error, ErrorKind, Result};

/// The share of `max_lifetime` that is taken off at random: connections that were opened together do not all expire together.
const JITTER: f64 = 0.2;

/// How often connections that are idle are looked at, by a caller who takes one.
const LOOK: Duration = Duration::from_millis(500);

/// For so long what one search for a server that accepts writes has found counts for every caller.
const FRESH: Duration = Duration::from_millis(50);

/// The holders that an error names.
const NAMED: usize = 3;

/// The connections of a [`Pool`](crate::Pool) at one moment. Made by [`Pool::status`](crate::Pool::status).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// The most connections that may be open: [`max_connections`](crate::DbBuilder::max_connections).
    pub max: u32,
    /// Connections that are idle or in use.
    pub open: u32,
    /// Connections that no call uses.
    pub idle: u32,
    /// Connections that a call uses, or is about to open.
    pub in_use: u32,
    /// Calls that wait for a connection.
    pub waiting: u32,
}

pub(crate) struct Sessions {
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    limits: Limits,
    meters: PoolMeters,
    homes: PerProcess<Home>,
}

/// The sessions of one process. A child of fork(2) has an empty home of its own.
#[derive(Default)]
struct Home {
    state: Mutex<State>,
    /// A connection was given back after the pool had been closed.
    returned: Condvar,
    search: Mutex<Option<Search>>,
}

#[derive(Default)]
struct State {
    /// With a connection, the one used last at the back.
    idle: VecDeque<Pooled>,
    /// Without a connection: it was lost, or retired.
    closed: Vec<Pooled>,
    /// There is a caller in here only while every session is in use.
    waiting: VecDeque<Arc<Waiter>>,
    /// Every session there is.
    slots: Vec<Arc<Slot>>,
    is_closed: bool,
    demotion: Option<Demotion>,
    /// When the idle connections are looked at again.
    next_look: Option<Instant>,
}

/// A session of the pool.
struct Pooled {
    session: Box<Session>,
    slot: Arc<Slot>,
    /// The connection, as it was when it was noticed.
    connection: Option<Connection>,
    idle_since: Instant,
}

/// What the pool remembers of a connection, also when it is lost.
struct Connection {
    opened: Instant,
    /// When it is retired.
    expires: Instant,
    /// Which server it is to, and whether that accepted writes then.
    server: String,
    is_writable: bool,
}

/// The place of a session in the pool, which can be looked at while the session is in use.
#[derive(Default)]
struct Slot {
    holder: Mutex<Option<Holder>>,
}

#[derive(Clone, Copy)]
struct Holder {
    /// The name of the body's type, as the compiler has it.
    body: Option<&'static str>,
    since: Instant,
}

/// A caller who waits. What it waits for is put here while the pool's state is locked.
#[derive(Default)]
struct Waiter {
    grant: Mutex<Option<Grant>>,
    granted: Condvar,
}

/// What a caller gets.
enum Next {
    Session(Pooled),
    /// Its connection is to be closed first.
    Due(Pooled),
    /// A session that is to be made.
    New(Arc<Slot>),
    Wait(Arc<Waiter>),
}

enum Grant {
    Session(Pooled),
    PoolClosed,
}

/// A server that accepted writes when connections to it were made does so no more.
#[derive(Clone)]
struct Demotion {
    server: String,
    at: Instant,
}

/// The end of the last search for a server that accepts writes.
struct Search {
    ended: Instant,
    found: Result<()>,
}

/// Where a session of the pool is to be taken.
#[derive(Clone, Copy)]
pub(crate) struct Handle {
    /// The address of the database that the caller has.
    pub id: usize,
    /// Made by [`beside`](crate::Pool::beside).
    pub is_beside: bool,
}

impl Sessions {
    pub fn new(settings: Arc<Settings>, counters: Arc<Counters>, limits: Limits) -> Self {
        let meters = PoolMeters::new(&settings, limits.max_connections);
        Self { settings, counters, limits, meters, homes: PerProcess::default() }
    }

    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Takes a session for the calling thread, and waits for one if all are in use.
    pub fn take(&self, handle: Handle) -> Result<Lease<'_>> {
        let holding = Holding { pool: self.id(), handle: handle.id };
        if held::any(|held| if handle.is_beside { *held == holding } else { held.pool == holding.pool }) {
            let message = "this thread has a transaction of the pool open; pass its `tx` instead of the pool, \
                           or use `pool.beside()` for independent work";
            return Err(Error::new(ErrorKind::AlreadyInTransaction, message));
        }
        let home = self.homes.get();
        let now = Instant::now();
        let mut expired = Vec::new();
        let next = {
            let mut state = home.state.lock();
            if state.is_closed {
                return Err(pool_closed());
            }
            state.take_expired(now, &self.limits, &mut expired);
            state.next(now, &self.limits)
        };
        for mut pooled in expired {
            pooled.session.close();
            home.put(pooled);
        }
        let (pooled, since) = match next {
            Next::Session(pooled) => (pooled, now),
            Next::Due(mut pooled) => {
                pooled.session.close();
                (pooled, now)
            }
            Next::New(slot) => {
                let session = Box::new(Session::new(Arc::clone(&self.settings), Arc::clone(&self.counters)));
                (Pooled { session, slot, connection: None, idle_since: now }, now)
            }
            Next::Wait(waiter) => (self.wait(home, &waiter, now)?, Instant::now()),
        };
        *pooled.slot.holder.lock() = Some(Holder { body: None, since });
        self.meters.taken(since - now);
        self.publish(home);
        Ok(Lease { pool: self, home, pooled: Some(pooled), since, ran: false, _held: Held::new(holding) })
    }

    /// Waits behind those who came before, and holds nothing meanwhile.
    fn wait(&self, home: &Home, waiter: &Arc<Waiter>, began: Instant) -> Result<Pooled> {
        self.publish(home);
        let deadline = began.checked_add(deadline::at_most(self.limits.acquire_timeout));
        let mut grant = waiter.grant.lock();
        while grant.is_none() {
            let timed_out = match deadline {
                Some(deadline) => waiter.granted.wait_until(&mut grant, deadline).timed_out(),
                None => {
                    waiter.granted.wait(&mut grant);
                    false
                }
            };
            if timed_out {
                break;
            }
        }
        let granted = grant.take();
        drop(grant);
        let waited = began.elapsed();
        self.counters.waited_for_connection(waited);
        event!(debug, "db_core.pool_wait", { db_core.duration = waited.as_secs_f64() }, "waited for a connection of the pool");
        // A caller that was given something has left the queue: it need not be searched.
        match granted.map_or_else(|| self.give_up(home, waiter, waited), Ok)? {
            Grant::Session(pooled) => Ok(pooled),
            Grant::PoolClosed => Err(pool_closed()),
        }
    }

    /// Leaves the queue, unless something was given at the last moment.
    fn give_up(&self, home: &Home, waiter: &Arc<Waiter>, waited: Duration) -> Result<Grant> {
        let mut state = home.state.lock();
        if let Some(granted) = waiter.grant.lock().take() {
            return Ok(granted);
        }
        state.waiting.retain(|waiting| !Arc::ptr_eq(waiting, waiter));
        let error = state.timed_out(waited);
        drop(state);
        self.meters.timed_out();
        self.publish(home);
        Err(deadline::or_exceeded(error))
    }

    /// Opens a connection if the session at hand has none. `writable`: to a server that accepts writes. One caller searches, and what it
    /// finds counts for those who waited meanwhile.
    pub fn connect(&self, handle: Handle, writable: bool) -> Result<()> {
        if !writable {
            return self.take(handle)?.connect();
        }
        let arrived = Instant::now();
        let home = self.homes.get();
        let Some(mut search) = home.search.try_lock_for(deadline::at_most(self.limits.acquire_timeout)) else {
            let message = "another caller of the pool is still searching for a server that accepts writes";
            return Err(deadline::or_exceeded(Error::new(ErrorKind::PoolTimeout, message)));
        };
        if let Some(last) = search.as_ref().filter(|last| last.ended + FRESH > arrived) {
            return last.found.clone();
        }
        let found = self.take(handle).and_then(|mut lease| lease.connect_writable());
        *search = Some(Search { ended: Instant::now(), found: found.clone() });
        found
    }

    /// Opens `min_connections` connections, and at least one.
    pub fn connect_first(&self, handle: Handle) -> Result<()> {
        let mut leases = Vec::new();
        for at in 0..self.limits.min_connections.max(1) as usize {
            // Each counts as another handle's: this thread holds them all at once.
            let mut lease = self.take(Handle { id: handle.id + at, is_beside: true })?;
            lease.connect()?;
            leases.push(lease);
        }
        Ok(())
    }

    pub fn status(&self) -> PoolStatus {
        let state = self.homes.get().state.lock();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let in_use = state.in_use();
        PoolStatus {
            max: self.limits.max_connections,
            open: count(state.idle.len() + in_use),
            idle: count(state.idle.len()),
            in_use: count(in_use),
            waiting: count(state.waiting.len()),
        }
    }

    /// Closes every connection, those in use when they are given back, and waits for that for up to `acquire_timeout`.
    pub fn close(&self) {
        let home = self.homes.get();
        let (idle, waiting) = {
            let mut state = home.state.lock();
            state.is_closed = true;
            state.waiting.iter().for_each(|waiter| waiter.give_locked(Grant::PoolClosed));
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.waiting))
        };
        for waiter in waiting {
            waiter.granted.notify_one();
        }
        for mut pooled in idle {
            pooled.session.close();
            home.put(pooled);
        }
        // What this thread has open ends only after this call.
        if !held::any(|held| held.pool == self.id()) {
            let deadline = Instant::now().checked_add(self.limits.acquire_timeout);
            let mut state = home.state.lock();
            while state.in_use() > 0 {
                let timed_out = match deadline {
                    Some(deadline) => home.returned.wait_until(&mut state, deadline).timed_out(),
                    None => {
                        home.returned.wait(&mut state);
                        false
                    }
                };
                if timed_out {
                    break;
                }
            }
        }
        self.publish(home);
    }

    /// A session is given back, in whatever state it is in.
    fn give_back(&self, home: &Home, mut pooled: Pooled, since: Instant, ran: bool) {
        let now = Instant::now();
        self.meters.given_back(now - since);
        self.note_connection(&mut pooled);
        let demotion = if ran { pooled.demoted(now) } else { None };
        if demotion.is_some() || pooled.is_expired(now) {
            pooled.session.close();
        }
        pooled.idle_since = now;
        *pooled.slot.holder.lock() = None;
        if let Some(demotion) = demotion {
            let stale = home.state.lock().demote(demotion);
            for mut stale in stale {
                stale.session.close();
                home.put(stale);
            }
        }
        home.put(pooled);
        self.publish(home);
    }

    /// Notices a connection that was opened since the last look.
    fn note_connection(&self, pooled: &mut Pooled) {
        let Some(opened) = pooled.session.opened() else { return };
        if pooled.connection.as_ref().is_some_and(|known| known.opened == opened.at) {
            return;
        }
        self.meters.created(opened.took);
        let expires = expiry(opened.at, self.limits.max_lifetime, fastrand::f64());
        pooled.connection = Some(Connection { opened: opened.at, expires, server: opened.server.into(), is_writable: opened.is_writable });
    }

    fn publish(&self, home: &Home) {
        self.meters.publish(|| {
            let state = home.state.lock();
            [state.idle.len(), state.in_use(), state.waiting.len()]
        });
    }
}

impl Home {
    /// Gives a session to the caller who has waited longest, or keeps it.
    fn put(&self, mut pooled: Pooled) {
        let mut state = self.state.lock();
        let is_stale = state.is_closed || state.demotion.as_ref().is_some_and(|demotion| pooled.is_of(demotion));
        if is_stale && pooled.is_open() {
            drop(state);
            pooled.session.close();
            state = self.state.lock();
        }
        if let Some(waiter) = state.waiting.pop_front() {
            waiter.give_locked(Grant::Session(pooled));
            drop(state);
            waiter.granted.notify_one();
            return;
        }
        if pooled.is_open() {
            state.idle.push_back(pooled)
        } else {
            state.closed.push(pooled)
        }
        if state.is_closed {
            self.returned.notify_all();
        }
    }
}

impl State {
    /// What a caller gets. The session used last is taken first.
    fn next(&mut self, now: Instant, limits: &Limits) -> Next {
        let open = self.idle.len() + self.in_use();
        if let Some(pooled) = self.idle.pop_back() {
            let is_idle_for_too_long = open > limits.min_connections as usize && pooled.is_idle_for(now, limits.idle_timeout);
            return if pooled.is_expired(now) || is_idle_for_too_long { Next::Due(pooled) } else { Next::Session(pooled) };
        }
        if let Some(pooled) = self.closed.pop() {
            return Next::Session(pooled);
        }
        if self.slots.len() < limits.max_connections as usize {
            let slot = Arc::new(Slot::default());
            self.slots.push(Arc::clone(&slot));
            return Next::New(slot);
        }
        let waiter = Arc::new(Waiter::default());
        self.waiting.push_back(Arc::clone(&waiter));
        Next::Wait(waiter)
    }

    fn in_use(&self) -> usize {
        self.slots.len() - self.idle.len() - self.closed.len()
    }

    /// Takes out the connections that have been idle, or open, for too long. Those that are left are at least `min_connections`.
    fn take_expired(&mut self, now: Instant, limits: &Limits, expired: &mut Vec<Pooled>) {
        if self.next_look.is_some_and(|next| now < next) {
            return;
        }
        self.next_look = Some(now + LOOK.min(limits.idle_timeout).min(limits.max_lifetime));
        let mut spare = (self.idle.len() + self.in_use()).saturating_sub(limits.min_connections as usize);
        // The one used last is taken by the caller, who looks at it.
        let last = self.idle.pop_back();
        let mut kept = VecDeque::with_capacity(self.idle.len());
        for pooled in self.idle.drain(..) {
            if pooled.is_expired(now) || (spare > 0 && pooled.is_idle_for(now, limits.idle_timeout)) {
                spare = spare.saturating_sub(1);
                expired.push(pooled);
            } else {
                kept.push_back(pooled);
            }
        }
        kept.extend(last);
        self.idle = kept;
    }

    /// Takes out the idle connections to a server that accepts no writes any more.
    fn demote(&mut self, demotion: Demotion) -> Vec<Pooled> {
        let (stale, kept) = self.idle.drain(..).partition(|pooled| pooled.is_of(&demotion));
        self.idle = VecDeque::from(kept as Vec<_>);
        self.demotion = Some(demotion);
        stale
    }

    fn timed_out(&self, waited: Duration) -> Error {
        let mut holders: Vec<Holder> = self.slots.iter().filter_map(|slot| *slot.holder.lock()).collect();
        holders.sort_by_key(|holder| holder.since);
        let mut message = format!("{} of {} connections are in use after a wait of {waited:.0?}", self.in_use(), self.slots.len());
        for (at, Holder { body, since }) in holders.iter().take(NAMED).enumerate() {
            let separator = if at == 0 { ", the longest by " } else { ", " };
            let name = body.and_then(function).unwrap_or("a call");
            // Writing to a String does not fail.
            let _ = write!(message, "{separator}{name} (for {:.0?})", since.elapsed());
        }
        let _ = write!(message, "; {} other callers wait. Raise max_connections, or shorten the transactions", self.waiting.len());
        Error::new(ErrorKind::PoolTimeout, message)
    }
}

impl Waiter {
    /// While the pool's state is locked. The caller is to be woken afterwards.
    fn give_locked(&self, grant: Grant) {
        *self.grant.lock() = Some(grant);
    }
}

impl Pooled {
    fn is_open(&self) -> bool {
        self.session.opened().is_some()
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.is_open() && self.connection.as_ref().is_some_and(|connection| now >= connection.expires)
    }

    fn is_idle_for(&self, now: Instant, timeout: Duration) -> bool {
        now.duration_since(self.idle_since) >= timeout
    }

    /// The server has refused a write, although it accepted writes when the connection was made.
    fn demoted(&self, at: Instant) -> Option<Demotion> {
        let connection = self.connection.as_ref().filter(|connection| connection.is_writable)?;
        let refused = self.session.last_error() == Some(ErrorKind::ReadOnlyServer);
        refused.then(|| Demotion { server: connection.server.clone(), at })
    }

    /// Its connection was made to that server before that time.
    fn is_of(&self, demotion: &Demotion) -> bool {
        self.is_open() && self.connection.as_ref().is_some_and(|known| known.opened < demotion.at && known.server == demotion.server)
    }
}

/// When a connection is retired. `chance`: in `0.0..1.0`.
fn expiry(opened: Instant, lifetime: Duration, chance: f64) -> Instant {
    let lifetime = lifetime - lifetime.mul_f64(JITTER * chance);
    // A time that cannot be told is as good as never.
    opened.checked_add(lifetime).unwrap_or_else(|| opened + Duration::from_secs(u32::MAX.into()))
}

fn pool_closed() -> Error {
    Error::new(ErrorKind::ConnectFailed, "the pool is closed")
}

/// A session of the pool that this thread has taken. It is given back when this is dropped.
pub(crate) struct Lease<'p> {
    pool: &'p Sessions,
    home: &'p Home,
    /// `None` only while being dropped.
    pooled: Option<Pooled>,
    since: Instant,
    /// A transaction ran on it.
    ran: bool,
    _held: Held,
}

impl Lease<'_> {
    /// Says for whose transaction the session is held, to those who give up waiting for one.
    pub fn is_held_for(&mut self, body: &'static str, since: Instant) {
        self.ran = true;
        if let Some(pooled) = &mut self.pooled {
            self.pool.note_connection(pooled);
            *pooled.slot.holder.lock() = Some(Holder { body: Some(body), since });
        }
    }
}

impl Deref for Lease<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        match &self.pooled {
            Some(pooled) => &pooled.session,
            None => unreachable!("the session is taken only when the lease is dropped"),
        }
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        match &mut self.pooled {
            Some(pooled) => &mut pooled.session,
            None => unreachable!("the session is taken only when the lease is dropped"),
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // A child of fork(2) touches nothing of its parent's.
        if let Some(pooled) = self.pooled.take()
            && self.pool.homes.is_own(self.home)
        {
            self.pool.give_back(self.home, pooled, self.since, self.ran);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_were_opened_together_do_not_expire_together() {
        let opened = Instant::now();
        for (lifetime, chance, seconds) in [(1800, 0.0, 1800), (1800, 0.5, 1620), (1800, 1.0, 1440), (10, 0.5, 9)] {
            let expires = expiry(opened, Duration::from_secs(lifetime), chance);
            assert_eq!(expires - opened, Duration::from_secs(seconds), "{lifetime} {chance}");
        }
        assert!(expiry(opened, Duration::MAX, 0.0) > opened + Duration::from_secs(1 << 31));
    }
}
