//! The watch: one thread of the process that ends waits for replies that never come.
//!
//! A peer that keeps a TCP connection alive and never replies (a stopped process behind a proxy, a stuck load balancer) is not noticed by
//! keepalive. The watch notices a request that has had no reply for as long as the settings' `silence`, and asks the server, on a connection of
//! its own, whether it still works on that request. If it does, the wait goes on: an honest long query is never cut.
//!
//! It also ends what is still under way when the deadline of its call has passed.

pub(super) mod watched;

use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use self::watched::{Known, Watched};
use crate::per_process::PerProcess;
use crate::telemetry::event::event;

/// How often a request is looked at within its silence.
const LOOKS: u32 = 4;

/// A reply may be on its way when the server is asked: what says that it is lost has to be seen twice, so far apart.
const TWICE: Duration = Duration::from_secs(1);

/// How long a statement may take to end that was interrupted because its call's deadline had passed, and each request after it.
const GRACE: Duration = Duration::from_millis(500);

/// A `Duration` as good as for ever.
const LONG: Duration = Duration::from_secs(3600);

const NAME: &str = "db-core-watch";

static REGISTRY: LazyLock<PerProcess<Registry>> = LazyLock::new(PerProcess::default);

#[derive(Default)]
struct Registry {
    entries: Mutex<Entries>,
    changed: Condvar,
}

#[derive(Default)]
struct Entries {
    all: Vec<Entry>,
    is_running: bool,
    /// A deadline was set since the last look.
    has_changed: bool,
}

struct Entry {
    watched: Arc<Watched>,
    seen: Seen,
}

/// What the watch has seen of a connection.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The request under way, and since when.
    request: Option<u64>,
    since: Instant,
    /// When the server is to be asked.
    ask_at: Instant,
    /// When the server first said that the reply is lost, and when it first could not be asked.
    lost: Option<Instant>,
    unreachable: Option<Instant>,
    /// When the request was first seen after the deadline.
    late: Option<Instant>,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    silence: Duration,
    /// For COMMIT.
    commit: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Ask,
    /// The deadline has passed: the statement is to end, and the connection may go on.
    Interrupt,
    /// The wait is to end with the connection.
    Cut,
}

/// Watches a connection from now on.
pub(super) fn add(watched: &Arc<Watched>) {
    let registry = REGISTRY.get();
    let mut entries = registry.entries.lock();
    entries.all.push(Entry { watched: Arc::clone(watched), seen: Seen::nothing(Instant::now()) });
    entries.has_changed = true;
    if entries.is_running {
        registry.changed.notify_one();
    } else {
        entries.is_running = thread::Builder::new().name(NAME.into()).spawn(|| registry.run()).is_ok();
        if !entries.is_running {
            event!(warn, "db_core.no_watch", {}, "the thread of the watch could not be started: a lost reply is waited for indefinitely");
        }
    }
}

/// The connection is about to be closed.
pub(super) fn remove(watched: &Arc<Watched>) {
    let registry = REGISTRY.get();
    let mut entries = registry.entries.lock();
    entries.all.retain(|entry| !Arc::ptr_eq(&entry.watched, watched));
    if entries.all.is_empty() {
        registry.changed.notify_one();
    }
}

/// A deadline was set that may come before the next look.
pub(super) fn look_again() {
    let registry = REGISTRY.get();
    registry.entries.lock().has_changed = true;
    registry.changed.notify_one();
}

impl Registry {
    /// Runs until there is nothing to be watched.
    fn run(&self) {
        let mut entries = self.entries.lock();
        while !entries.all.is_empty() {
            entries.has_changed = false;
            let (now, mut next) = (Instant::now(), None);
            let mut work = Vec::new();
            for entry in &mut entries.all {
                let (action, look) = entry.look(now);
                next = Some(next.map_or(look, |next: Instant| next.min(look)));
                work.extend(action.zip(entry.seen.request).map(|(action, request)| (Arc::clone(&entry.watched), request, action)));
            }
            if work.is_empty() {
                if !entries.has_changed {
                    self.changed.wait_until(&mut entries, next.unwrap_or(now + LONG));
                }
                continue;
            }
            drop(entries);
            let done: Vec<_> =
                work.into_iter().map(|(watched, request, action)| (act(&watched, request, action), watched, request)).collect();
            entries = self.entries.lock();
            let now = Instant::now();
            let mut lost = Vec::new();
            for (known, watched, request) in done {
                let asked = known.and_then(|known| {
                    let entry = entries.all.iter_mut().find(|entry| Arc::ptr_eq(&entry.watched, &watched))?;
                    (entry.seen.request == Some(request)).then_some((entry, known))
                });
                let Some((entry, known)) = asked else { continue };
                let limits = entry.limits();
                if entry.seen.learn(known, now, limits) {
                    lost.push((watched, request, known));
                }
            }
            if !lost.is_empty() {
                drop(entries);
                lost.drain(..).for_each(|(watched, request, known)| give_up(&watched, request, known));
                entries = self.entries.lock();
            }
        }
        entries.is_running = false;
    }
}

/// What the server was asked, if it was. Nothing is locked meanwhile.
fn act(watched: &Watched, request: u64, action: Action) -> Option<Known> {
    if watched.request() != Some(request) {
        return None;
    }
    match action {
        Action::Ask => return Some((watched.inquiry.ask)(watched)),
        Action::Interrupt => (watched.inquiry.interrupt)(watched),
        Action::Cut => cut(watched, "deadline"),
    }
    None
}

/// The reply will not come.
fn give_up(watched: &Watched, request: u64, known: Known) {
    if known == Known::Lost {
        (watched.inquiry.kill)(watched);
    }
    // It may have come meanwhile.
    if watched.request() == Some(request) {
        cut(watched, if known == Known::Lost { "lost" } else { "unreachable" });
    }
}

fn cut(watched: &Watched, reason: &'static str) {
    event!(
        warn,
        "db_core.cut",
        { db_core.reason = reason, db_core.connection_id = watched.connection },
        "a request had no reply for too long: its connection is shut down"
    );
    watched.shut_down();
}

impl Entry {
    fn limits(&self) -> Limits {
        Limits { silence: self.watched.settings.silence, commit: self.watched.settings.commit_timeout }
    }

    fn look(&mut self, now: Instant) -> (Option<Action>, Instant) {
        let limits = self.limits();
        let watched = &self.watched;
        self.seen.look(watched.request(), watched.is_committing(), watched.deadline(), limits, now)
    }
}

/// A time that cannot be told is as good as never.
fn after(time: Instant, duration: Duration) -> Instant {
    time.checked_add(duration).unwrap_or_else(|| time + LONG)
}

impl Seen {
    fn nothing(now: Instant) -> Self {
        Self { request: None, since: now, ask_at: now, lost: None, unreachable: None, late: None }
    }

    /// What is to be done about a connection, and when it is to be looked at again.
    fn look(
        &mut self,
        request: Option<u64>,
        is_commit: bool,
        deadline: Option<Instant>,
        limits: Limits,
        now: Instant,
    ) -> (Option<Action>, Instant) {
        if request.is_none() || request != self.request {
            *self = Self { request, ask_at: after(now, limits.silence), ..Self::nothing(now) };
        }
        let tick = (limits.silence / LOOKS).min(limits.commit / LOOKS);
        let mut next = after(now, tick.min(LONG));
        if let Some(deadline) = deadline {
            next = next.min(deadline.max(now + GRACE / LOOKS));
        }
        if request.is_none() {
            return (None, next);
        }
        if deadline.is_some_and(|deadline| now >= deadline) {
            let Some(late) = self.late else {
                self.late = Some(now);
                return (Some(Action::Interrupt).filter(|_| !is_commit), next);
            };
            if now >= late + GRACE {
                self.late = Some(now);
                return (Some(Action::Cut), next);
            }
        }
        if is_commit && now >= after(self.since, limits.commit) {
            return (Some(Action::Cut), next);
        }
        if now >= self.ask_at {
            return (Some(Action::Ask), next);
        }
        (None, next.min(self.ask_at))
    }

    /// What the server has said of the request. Returns whether the wait is to end.
    fn learn(&mut self, known: Known, now: Instant, limits: Limits) -> bool {
        match known {
            Known::Busy | Known::Nothing => {
                (self.lost, self.unreachable) = (None, None);
                self.ask_at = after(now, limits.silence);
                false
            }
            Known::Lost => {
                self.ask_at = after(now, TWICE);
                self.lost.replace(now).is_some()
            }
            Known::Unreachable => {
                self.ask_at = after(now, limits.silence);
                self.unreachable.replace(now).is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { silence: Duration::from_secs(20), commit: Duration::from_secs(60) };

    fn at(seconds: u64) -> impl Fn(Instant) -> Instant {
        move |began| began + Duration::from_secs(seconds)
    }

    /// What is done about a request that began at 0, looked at every second until then, when the server says this.
    fn actions(until: u64, is_commit: bool, deadline: Option<u64>, says: impl Fn(u64) -> Known) -> Vec<(u64, Action)> {
        let began = Instant::now();
        let mut seen = Seen::nothing(began);
        let mut done = Vec::new();
        for second in 0..=until {
            let now = at(second)(began);
            let (action, next) = seen.look(Some(7), is_commit, deadline.map(|second| at(second)(began)), LIMITS, now);
            assert!(next > now);
            done.extend(action.map(|action| (second, action)));
            match action {
                Some(Action::Ask) if seen.learn(says(second), now, LIMITS) => {
                    done.push((second, Action::Cut));
                    break;
                }
                Some(Action::Cut) => break,
                _ => {}
            }
        }
        done
    }

    #[test]
    fn a_server_that_is_busy_is_asked_again_and_nothing_is_cut() {
        let asked: Vec<_> = (1..=6).map(|times| (times * 20, Action::Ask)).collect();
        assert_eq!(actions(120, false, None, |_| Known::Busy), asked);
        assert_eq!(actions(120, false, None, |_| Known::Nothing), asked);
    }

    #[test]
    fn a_lost_reply_has_to_be_seen_twice_in_a_row() {
        let lost = actions(120, false, None, |_| Known::Lost);
        assert_eq!(lost, [(20, Action::Ask), (21, Action::Ask), (21, Action::Cut)]);
        let once = actions(60, false, None, |second| if second == 20 { Known::Lost } else { Known::Busy });
        assert_eq!(once, [(20, Action::Ask), (21, Action::Ask), (41, Action::Ask)]);
    }

    #[test]
    fn a_server_that_cannot_be_asked_is_given_a_second_silence() {
        let silent = actions(120, false, None, |_| Known::Unreachable);
        assert_eq!(silent, [(20, Action::Ask), (40, Action::Ask), (40, Action::Cut)]);
        let back = actions(70, false, None, |second| if second == 20 { Known::Unreachable } else { Known::Busy });
        assert_eq!(back, [(20, Action::Ask), (40, Action::Ask), (60, Action::Ask)]);
    }

    #[test]
    fn a_commit_has_a_limit_although_the_server_is_busy() {
        let commit = actions(120, true, None, |_| Known::Busy);
        assert_eq!(commit, [(20, Action::Ask), (40, Action::Ask), (60, Action::Cut)]);
    }

    #[test]
    fn a_deadline_interrupts_and_then_cuts_but_never_interrupts_a_commit() {
        assert_eq!(actions(10, false, Some(3), |_| Known::Busy), [(3, Action::Interrupt), (4, Action::Cut)]);
        assert_eq!(actions(10, true, Some(3), |_| Known::Busy), [(4, Action::Cut)]);
    }

    #[test]
    fn each_request_begins_anew() {
        let began = Instant::now();
        let mut seen = Seen::nothing(began);
        for second in 0..100 {
            let action = seen.look(Some(second), false, None, LIMITS, at(second)(began)).0;
            assert_eq!(action, None, "{second}");
        }
        assert_eq!(seen.look(None, false, None, LIMITS, at(200)(began)).0, None);
    }
}
