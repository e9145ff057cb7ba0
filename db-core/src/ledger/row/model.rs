//! Does the protocol hold in every interleaving? Two calls of up to two attempts each; packets that arrive late, answers that are
//! lost, sessions that die at any step, also while resolving and while fencing. Every state that can be reached is looked at.
//!
//! The client's decisions are [`Position`]'s, the code that runs. What is modelled is the server (a row, its lock, sessions) and the
//! order in which the client asks. A `Mutation` breaks one step, to show that the model would notice.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::{Judgement, Position};

const CALLS: u8 = 2;
const ATTEMPTS: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// The compare-and-swap matches no row where it should raise: the work is committed all the same.
    NoRaise,
    /// "It holds the base" is taken for the answer.
    NoFence,
    /// The fence uses the attempt's own target.
    FenceWithTheAttemptsTarget,
    /// The row is read without its lock.
    PlainSelect,
    /// A loss is taken for a failure.
    NoResolve,
}

/// What a session's packet carries: the work of an attempt, or a fence.
type Work = Option<(u8, u8)>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Session {
    work: Work,
    base: u64,
    target: u64,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// A packet has been sent, and may arrive at any time.
    Sent,
    /// It has swapped the row, uncommitted, and holds its lock.
    Swapped,
    /// It holds the row's lock to read it.
    Reading,
    Committed,
    Refused,
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Client {
    /// The body has run.
    Commit,
    /// COMMIT has been sent on this session.
    Await(u8),
    Resolve,
    /// The row is being read on this session.
    Read(u8),
    /// A fence has been sent on this session.
    AwaitFence(u8),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Report {
    Ok(u8),
    Err,
    Unknown,
    Unexplained,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    row: u64,
    lock: Option<u8>,
    /// Those that have not ended, or whose end the client waits for.
    sessions: BTreeMap<u8, Session>,
    opened: u8,
    /// Work that is in the database, in order.
    applied: Vec<(u8, u8)>,
    client: Client,
    call: u8,
    attempt: u8,
    target: u64,
    fences: Vec<u64>,
    position: Position,
    reports: Vec<Report>,
}

impl State {
    fn start() -> Self {
        Self {
            row: 0,
            lock: None,
            sessions: BTreeMap::new(),
            opened: 0,
            applied: Vec::new(),
            client: Client::Commit,
            call: 0,
            attempt: 0,
            target: 0,
            fences: Vec::new(),
            position: Position::new(),
            reports: Vec::new(),
        }
    }

    /// What was promised and does not hold, if anything.
    fn violation(&self) -> Option<String> {
        for (call, report) in (0..).zip(&self.reports) {
            let applied: Vec<u8> = self.applied.iter().filter(|work| work.0 == call).map(|work| work.1).collect();
            let kept = match report {
                Report::Ok(attempt) => applied == [*attempt],
                Report::Err => applied.is_empty(),
                Report::Unknown => applied.len() <= 1,
                Report::Unexplained => false,
            };
            if !kept {
                return Some(format!("call {call} reported {report:?}, applied {applied:?}"));
            }
        }
        (0..CALLS)
            .find(|call| self.applied.iter().filter(|work| work.0 == *call).count() > 1)
            .map(|call| format!("call {call} applied twice"))
    }

    fn next(&self, mutation: Mutation, sessions: u8) -> Vec<Self> {
        let mut all = self.server(mutation);
        all.extend(self.client(mutation, sessions));
        all
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        let awaited = match next.client {
            Client::Await(session) | Client::Read(session) | Client::AwaitFence(session) => Some(session),
            _ => None,
        };
        // States that differ in nothing but the dead are one.
        next.sessions.retain(|number, session| {
            !matches!(session.phase, Phase::Committed | Phase::Refused | Phase::Dead) || awaited == Some(*number)
        });
        next
    }

    fn open(&mut self, session: Session) -> u8 {
        let number = self.opened;
        self.opened += 1;
        self.sessions.insert(number, session);
        number
    }

    fn enter(&mut self, number: u8, phase: Phase) {
        if let Some(session) = self.sessions.get_mut(&number) {
            session.phase = phase;
        }
    }

    fn phase(&self, number: u8) -> Phase {
        self.sessions.get(&number).map_or(Phase::Dead, |session| session.phase)
    }

    /// A packet arrives, a transaction commits, a session dies.
    fn server(&self, mutation: Mutation) -> Vec<Self> {
        let mut all = Vec::new();
        for (&number, session) in &self.sessions {
            match session.phase {
                Phase::Sent if self.lock.is_none_or(|holder| holder == number) => {
                    let passes = self.row == session.base || mutation == Mutation::NoRaise;
                    all.push(self.with(|next| {
                        next.lock = if passes { Some(number) } else { next.lock.filter(|holder| *holder != number) };
                        next.enter(number, if passes { Phase::Swapped } else { Phase::Refused });
                    }));
                }
                Phase::Swapped => all.push(self.with(|next| {
                    next.lock = None;
                    if next.row == session.base {
                        next.row = session.target;
                    }
                    next.applied.extend(session.work);
                    next.enter(number, Phase::Committed);
                })),
                _ => {}
            }
            if matches!(session.phase, Phase::Sent | Phase::Swapped | Phase::Reading) {
                all.push(self.with(|next| {
                    next.lock = next.lock.filter(|holder| *holder != number);
                    next.enter(number, Phase::Dead);
                }));
            }
        }
        all
    }

    fn client(&self, mutation: Mutation, sessions: u8) -> Vec<Self> {
        let lost = || self.with(|next| next.client = Client::Resolve);
        match self.client {
            Client::End => vec![],
            Client::Commit => vec![self.with(|next| {
                next.target = next.position.target();
                let packet = next.packet(Some((next.call, next.attempt)), next.target, Phase::Sent);
                next.client = Client::Await(next.open(packet));
            })],
            Client::Await(session) => {
                let mut all = vec![if mutation == Mutation::NoResolve { self.with(State::not_committed) } else { lost() }];
                match self.phase(session) {
                    Phase::Committed => all.push(self.with(State::committed)),
                    // Its row is nobody else's: a live attempt is never refused.
                    Phase::Refused => all.push(self.with(|next| next.report(Report::Unexplained))),
                    _ => {}
                }
                all
            }
            Client::Resolve => {
                let mut all = vec![self.with(|next| {
                    next.report(Report::Unknown);
                    next.client = Client::End;
                })];
                let unlocked = mutation == Mutation::PlainSelect;
                if (self.lock.is_none() || unlocked) && self.opened < sessions {
                    all.push(self.with(|next| {
                        let packet = next.packet(None, 0, Phase::Reading);
                        let session = next.open(packet);
                        if !unlocked {
                            next.lock = Some(session);
                        }
                        next.client = Client::Read(session);
                    }));
                }
                all
            }
            Client::Read(session) => {
                let mut all = vec![lost()];
                if self.phase(session) == Phase::Reading {
                    all.push(self.with(|next| next.judge(session, mutation)));
                }
                all
            }
            Client::AwaitFence(session) => {
                let mut all = vec![lost()];
                if let Some(fence) = self.sessions.get(&session).filter(|session| session.phase == Phase::Committed) {
                    all.push(self.with(|next| {
                        next.position.holds(fence.target);
                        next.not_committed();
                    }));
                }
                all
            }
        }
    }

    fn packet(&self, work: Work, target: u64, phase: Phase) -> Session {
        Session { work, base: self.position.base, target, phase }
    }

    fn judge(&mut self, session: u8, mutation: Mutation) {
        match self.position.judge(Some(self.row), self.target, &self.fences) {
            Judgement::Committed => {
                self.leave(session);
                self.committed();
            }
            Judgement::Fenced => {
                self.leave(session);
                self.position.holds(self.row);
                self.not_committed();
            }
            Judgement::Open if mutation == Mutation::NoFence => {
                self.leave(session);
                self.not_committed();
            }
            Judgement::Open => {
                let fence = if mutation == Mutation::FenceWithTheAttemptsTarget { self.target } else { self.position.target() };
                self.fences.push(fence);
                let packet = self.packet(None, fence, Phase::Sent);
                self.sessions.insert(session, packet);
                self.client = Client::AwaitFence(session);
            }
            Judgement::Unexplained => self.report(Report::Unexplained),
        }
    }

    fn leave(&mut self, session: u8) {
        self.lock = self.lock.filter(|holder| *holder != session);
        self.enter(session, Phase::Dead);
    }

    fn committed(&mut self) {
        self.position.holds(self.target);
        self.report(Report::Ok(self.attempt));
    }

    /// Certain, and so the work may be done again.
    fn not_committed(&mut self) {
        self.fences.clear();
        self.attempt += 1;
        if self.attempt == ATTEMPTS {
            self.report(Report::Err);
        } else {
            self.client = Client::Commit;
        }
    }

    fn report(&mut self, report: Report) {
        self.reports.push(report);
        self.fences.clear();
        self.attempt = 0;
        self.call += 1;
        self.client = if self.call == CALLS { Client::End } else { Client::Commit };
    }
}

/// How many states there are while the client resolves on at most so many `sessions`, or how the first broken promise comes about.
fn explore(mutation: Mutation, sessions: u8) -> Result<usize, String> {
    let mut seen = HashSet::from([State::start()]);
    let mut queue = VecDeque::from([(State::start(), 0)]);
    while let Some((state, steps)) = queue.pop_front() {
        if let Some(violation) = state.violation() {
            return Err(format!("after {steps} steps: {violation}"));
        }
        for next in state.next(mutation, sessions) {
            if seen.insert(next.clone()) {
                queue.push_back((next, steps + 1));
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn the_protocol_holds_in_every_state() {
    let states = explore(Mutation::None, 9).expect("every promise is kept in every state");
    // So many that it cannot have missed the interesting ones by accident.
    assert!(states > 50_000, "{states} states");
}

#[test]
fn without_any_one_of_its_steps_it_breaks() {
    for mutation in [Mutation::NoRaise, Mutation::NoFence, Mutation::FenceWithTheAttemptsTarget, Mutation::NoResolve] {
        assert!(explore(mutation, 6).is_err(), "{mutation:?} was not noticed");
    }
}

#[test]
fn reading_under_the_lock_is_for_promptness_and_not_for_safety() {
    assert!(explore(Mutation::PlainSelect, 5).is_ok());
}
