//! State shared by the threads of a proxy and its owner.

use std::collections::{HashMap, VecDeque};
use std::io::{PipeWriter, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::endpoint::Target;
use super::fault::{Event, Plan};
use super::poll::Cut;
use super::{Counts, Request};

/// The log of requests forgets the oldest beyond this many.
pub(super) const LOGGED_REQUESTS: usize = 1 << 16;

/// How long cutting and refusing may take to have happened.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Shared {
    /// Whether bytes are passed on without reading the protocol.
    pub(super) opaque: bool,
    /// How long bytes take in each direction.
    pub(super) latency: Duration,
    pub(super) target: Mutex<Target>,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Wakes the thread that accepts.
    pub(super) waker: PipeWriter,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) counts: Counts,
    /// When connections were accepted.
    pub(super) accepted: Vec<Instant>,
    pub(super) log: VecDeque<Request>,
    pub(super) plans: Vec<Arc<Plan>>,
    /// How to give orders to the threads of the open connections, by number.
    pub(super) open: HashMap<usize, PipeWriter>,
    pub(super) refusing: bool,
    pub(super) refusing_until: Option<Instant>,
    pub(super) listening: bool,
    pub(super) finished: bool,
}

impl State {
    pub(super) fn is_refusing(&self) -> bool {
        self.refusing || self.refusing_until.is_some_and(|until| until > Instant::now())
    }
}

impl Shared {
    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.state.lock().counts);
    }

    pub(super) fn log(&self, request: Request) {
        let mut state = self.state.lock();
        if state.log.len() == LOGGED_REQUESTS {
            state.log.pop_front();
        }
        state.log.push_back(request);
    }

    /// The first fault that is to happen now. All others that match count the event as well.
    pub(super) fn hit(&self, event: Event<'_>) -> Option<Arc<Plan>> {
        let plans = self.state.lock().plans.clone();
        plans.into_iter().fold(None, |found, plan| {
            let hits = plan.hits(event);
            found.or(hits.then_some(plan))
        })
    }

    pub(super) fn refuse(&self, refuse: bool) {
        let mut state = self.state.lock();
        state.refusing = refuse;
        if !refuse {
            state.refusing_until = None;
        }
        self.wait_for_listener(state, !refuse);
    }

    pub(super) fn refuse_for(&self, time: Duration) {
        let mut state = self.state.lock();
        state.refusing_until = state.refusing_until.max(Some(Instant::now() + time));
        self.wait_for_listener(state, false);
    }

    fn wait_for_listener(&self, mut state: MutexGuard<'_, State>, listening: bool) {
        self.wake();
        self.changed.wait_while_for(&mut state, |state| state.listening != listening && !state.finished, PATIENCE);
    }

    pub(super) fn wake(&self) {
        // Fails only when the thread that accepts has ended.
        let _ = (&self.waker).write(&[0]);
    }

    /// Cuts all connections, and returns when they are closed.
    pub(super) fn cut_all(&self, cut: Cut) {
        let mut state = self.state.lock();
        let ordered: Vec<usize> = state.open.keys().copied().collect();
        for orders in state.open.values_mut() {
            // Fails only when the thread of that connection is about to end anyway.
            let _ = orders.write(&[cut.to_byte()]);
        }
        let left = |state: &mut State| ordered.iter().any(|number| state.open.contains_key(number));
        self.changed.wait_while_for(&mut state, left, PATIENCE);
    }
}
