//! Faults: what goes wrong, at which point of the protocol, and whether it happened.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Request;
use super::command::Command;

/// Where a fault is injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Point {
    /// A client has connected. The proxy has not connected to the server yet.
    Connect,
    /// The request has left the client. Nothing of it reaches the server.
    BeforeRequest,
    /// The whole request has been passed to the server; whether the server has done it is a race.
    RequestSent,
    /// The server has executed the request and its whole reply has arrived. Nothing of it reaches the client. (A proxy that does not
    /// read the protocol cannot know the end of a reply: this is when its first bytes arrive.)
    AfterRequest,
    /// This many bytes of the reply (packet headers included) have reached the client. A reply that is not longer
    /// than that passes unharmed.
    MidReply(usize),
}

/// What happens at a [`Point`]. "Cut" is both connections: the client's and the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Cut by an orderly shutdown: both sides read an end of file.
    Fin,
    /// Cut by a reset: both sides get `ECONNRESET`.
    Rst,
    /// Both connections stay open, and nothing passes any more, in either direction. (The proxy's kernel still
    /// acknowledges what is sent to it, so `TCP_USER_TIMEOUT` and keepalive do not notice.)
    BlackHole,
    /// The request, or what is left of its reply, is held back for this long, then passed on.
    Delay(Duration),
    /// A late request: the client is disconnected at once ([`Fin`](Action::Fin)); its request reaches the server after
    /// this time, and the server's connection is closed after the reply. At a point where no request is in the
    /// proxy's hands (any but [`Point::BeforeRequest`]) it is the same as `Fin`.
    DelayAndAbandon(Duration),
    /// The server's reply to the request's last statement becomes an error with this code, whatever it did: a COMMIT that was
    /// executed, and reported as failed. The connection goes on. At any [`Point`] but [`Point::AfterRequest`] it is the same as
    /// [`Fin`](Action::Fin).
    Error(u16),
    /// An outage: cut by a reset, and new connections are refused for this long.
    Refuse(Duration),
}

/// An [`Action`] at a [`Point`], for the requests that match. Give it to [`FaultProxy::inject`](super::FaultProxy::inject).
///
/// Without more it hits the next request of any connection, once:
///
/// ```
/// use db_testkit::{Action, Fault, Point};
///
/// let lost_reply = Fault::new(Point::AfterRequest, Action::Rst).matching("COMMIT");
/// let slow_network = Fault::new(Point::BeforeRequest, Action::Delay(std::time::Duration::from_millis(20)))
///     .on_connection(2)
///     .nth(3)
///     .times(10);
/// # let _ = (lost_reply, slow_network);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a fault does nothing until it is injected"]
pub struct Fault {
    pub(super) point: Point,
    pub(super) action: Action,
    text: Option<String>,
    command: Option<Command>,
    connection: Option<usize>,
    nth: usize,
    times: usize,
    per_connection: bool,
}

impl Fault {
    /// A fault that hits the next request (or connection, at [`Point::Connect`]), once.
    pub fn new(point: Point, action: Action) -> Fault {
        Fault { point, action, text: None, command: None, connection: None, nth: 1, times: 1, per_connection: false }
    }

    /// Only requests whose text contains this, in any case of letters, as whole words: `COMMIT` is found in
    /// `UPDATE t SET n = 1; COMMIT`, and not in `SET autocommit = 0` or in a table's name `commit_log`. Where it begins or ends with
    /// another character than a letter or digit, such as `log_`, the word may go on there. A request has a text if it is a
    /// [`Command::Query`], a [`Command::Prepare`], or the [`Command::Execute`] or
    /// [`Command::CloseStatement`] of a statement prepared through this proxy.
    pub fn matching(mut self, text: impl Into<String>) -> Fault {
        self.text = Some(text.into().to_lowercase());
        self
    }

    /// Only requests of this kind.
    pub fn command(mut self, command: Command) -> Fault {
        self.command = Some(command);
        self
    }

    /// Only the connection of this number. The first one a proxy accepts is 1.
    pub fn on_connection(mut self, number: usize) -> Fault {
        self.connection = Some(number);
        self
    }

    /// The n-th match from now on instead of the next. 1 is the next.
    pub fn nth(mut self, n: usize) -> Fault {
        self.nth = n.max(1);
        self
    }

    /// This many consecutive matches instead of one.
    pub fn times(mut self, times: usize) -> Fault {
        self.times = times;
        self
    }

    /// Counts the matches of each connection separately, so that [`nth`](Self::nth) and [`times`](Self::times) apply to every
    /// connection: the third request of each, for example.
    pub fn per_connection(mut self) -> Fault {
        self.per_connection = true;
        self
    }

    fn matches(&self, event: Event<'_>) -> bool {
        let connection = event.connection();
        let kind = match event {
            Event::Connection(_) => self.point == Point::Connect,
            Event::Request(request) => {
                let reply_needed = matches!(self.point, Point::AfterRequest | Point::MidReply(_));
                let text = || request.text.as_deref().unwrap_or_default().to_lowercase();
                self.point != Point::Connect
                    && (!reply_needed || request.command.has_reply())
                    && self.command.is_none_or(|command| command == request.command)
                    && self.text.as_ref().is_none_or(|part| contains_words(&text(), part))
            }
        };
        kind && self.connection.is_none_or(|number| number == connection)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}", self.action, self.point)?;
        if let Some(text) = &self.text {
            write!(f, ", matching {text:?}")?;
        }
        if let Some(command) = self.command {
            write!(f, ", command {command:?}")?;
        }
        if let Some(number) = self.connection {
            write!(f, ", connection {number}")?;
        }
        write!(f, ", match {}", self.nth)?;
        if self.times > 1 {
            write!(f, " and {} more", self.times - 1)?;
        }
        if self.per_connection {
            f.write_str(", of each connection")?;
        }
        Ok(())
    }
}

/// What faults are asked about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event<'a> {
    Connection(usize),
    Request(&'a Request),
}

impl Event<'_> {
    fn connection(self) -> usize {
        match self {
            Event::Connection(number) => number,
            Event::Request(request) => request.connection,
        }
    }
}

/// Whether `part` is in `text`, and no letter or digit at either end of it is in the middle of a longer word there.
fn contains_words(text: &str, part: &str) -> bool {
    let in_word = |character: char| character.is_alphanumeric() || character == '_';
    let splits = |inner: Option<char>, outer: Option<char>| inner.is_some_and(char::is_alphanumeric) && outer.is_some_and(in_word);
    text.match_indices(part).any(|(at, found)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + found.len()..].chars().next());
        !splits(found.chars().next(), before) && !splits(found.chars().next_back(), after)
    })
}

/// A fault in a proxy, and how far it got.
#[derive(Debug)]
pub(super) struct Plan {
    fault: Fault,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    /// Matches, by connection if they are counted so, else under 0.
    seen: HashMap<usize, usize>,
    fired: usize,
    delivered: usize,
    cancelled: bool,
}

impl Plan {
    pub(super) fn new(fault: Fault) -> Plan {
        Plan { fault, progress: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn point(&self) -> Point {
        self.fault.point
    }

    pub(super) fn action(&self) -> Action {
        self.fault.action
    }

    /// Counts the event if it matches, and says whether it is one to be hit.
    pub(super) fn hits(&self, event: Event<'_>) -> bool {
        let mut progress = self.progress.lock();
        if progress.cancelled || !self.fault.matches(event) {
            return false;
        }
        let seen = progress.seen.entry(if self.fault.per_connection { event.connection() } else { 0 }).or_default();
        *seen += 1;
        *seen >= self.fault.nth && *seen - self.fault.nth < self.fault.times
    }

    pub(super) fn fired(&self) {
        self.progress.lock().fired += 1;
        self.changed.notify_all();
    }

    pub(super) fn delivered(&self) {
        self.progress.lock().delivered += 1;
        self.changed.notify_all();
    }

    /// Why a test that relies on this fault has tested nothing; `None` if it fired.
    pub(super) fn complaint(&self) -> Option<String> {
        let progress = self.progress.lock();
        (progress.fired == 0)
            .then(|| format!("fault never fired: {} (matches seen: {})", self.fault, progress.seen.values().sum::<usize>()))
    }
}

/// A [`Fault`] in a [`FaultProxy`](super::FaultProxy). Dropping this leaves the fault in place.
#[derive(Debug, Clone)]
pub struct Injection(Arc<Plan>);

impl Injection {
    pub(super) fn new(plan: Arc<Plan>) -> Injection {
        Injection(plan)
    }

    /// How often the fault has happened.
    #[must_use]
    pub fn fired(&self) -> usize {
        self.0.progress.lock().fired
    }

    /// Fails the test if the fault never happened.
    ///
    /// # Panics
    ///
    /// If [`fired`](Self::fired) is 0; the message names the fault.
    #[track_caller]
    pub fn assert_fired(&self) {
        if let Some(complaint) = self.0.complaint() {
            panic!("{complaint}");
        }
    }

    /// Waits until the fault has happened; `false` if it did not within this time.
    #[must_use]
    pub fn wait_fired(&self, limit: Duration) -> bool {
        self.wait(limit, |progress| progress.fired > 0)
    }

    /// Waits until the server has replied to every request that was abandoned so far ([`Action::DelayAndAbandon`]), or has closed
    /// its connection, and to one at least; `false` if it did not within this time.
    #[must_use]
    pub fn wait_delivered(&self, limit: Duration) -> bool {
        self.wait(limit, |progress| progress.delivered > 0 && progress.delivered >= progress.fired)
    }

    /// The fault does not happen any more.
    pub fn cancel(&self) {
        self.0.progress.lock().cancelled = true;
    }

    fn wait(&self, limit: Duration, reached: impl Fn(&Progress) -> bool) -> bool {
        let mut progress = self.0.progress.lock();
        !self.0.changed.wait_while_for(&mut progress, |progress| !reached(progress), limit).timed_out()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_as_whole_words() {
        for (text, part, found) in [
            ("commit", "commit", true),
            ("update t set n = 1; commit", "commit", true),
            ("commit; do 1", "commit", true),
            ("set autocommit = 0", "commit", false),
            ("set autocommit = 0; commit", "commit", true),
            ("select * from commit_log", "commit", false),
            ("select * from commits", "commit", false),
            ("insert into shop_order values (1)", "shop_", true),
            ("insert into workshop_order values (1)", "shop_", false),
            ("do 1", "", true),
        ] {
            assert_eq!(contains_words(text, part), found, "{part:?} in {text:?}");
        }
    }
}
