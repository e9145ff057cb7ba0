//! The model of the protocol of idempotency keys: every interleaving of two clients that use the same key.
//!
//! Requests arrive late, replies are lost, sessions die at any step, also while a COMMIT is resolved and while a fence is put up. As often as
//! [`Faults`] says, a proxy repeats a request, and a cluster aborts a transaction between two statements of its COMMIT request. The second client is on a
//! node that applies late what the first one's has committed, and certification decides between them. Every state that can be reached is checked.
//!
//! The clients' decisions are those of [`judge`], the code that runs. The model has the server (the row, its lock, the sessions) and the order in
//! which a client asks. A [`Mutation`] breaks one rule, to show that the model finds what the rule is for.

use super::row::{Judgement, Seen, judge};
use crate::session::ledger::explore::explore;

const CLIENTS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// A request replaces whatever row it finds.
    NoRaise,
    /// "There is no row" is taken for the final word.
    NoFence,
    /// A loss is taken for a failure.
    NoResolve,
    /// Any row is taken for this attempt's own.
    AnyRowIsOurs,
    /// A fence is taken for a stored value.
    AFenceIsAValue,
    /// A fence is taken for final even if the late request replaces it.
    AnyFenceHolds,
    /// The sentinel savepoint is released before the row is stored.
    ReleaseFirst,
}

/// How often each fault happens at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Faults {
    /// A request is executed a second time, and the reply to that is the one that the client gets.
    repeats: u8,
    /// A cluster aborts a transaction while its COMMIT request is executed.
    aborts: u8,
    /// The second client is on another node.
    second_node: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Statement {
    Store,
    Release,
    Commit,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Session {
    number: u8,
    node: usize,
    /// A fence, and no work of a body's.
    is_fence: bool,
    /// What the row holds then: the attempt's number, or the fence's.
    attempt: u64,
    replaces: Vec<u64>,
    phase: Phase,
    /// The transaction with the work, and the sentinel savepoint in it, is still open.
    open: bool,
    /// The row is stored, uncommitted, in place of this one.
    stored: Option<Option<Seen>>,
    aborted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// The request has been sent, and this many of its statements have been executed.
    Request(u8),
    /// It holds the row's lock to read it.
    Reading,
    Committed,
    /// The reply is that there is a row. The transaction goes on.
    Collided,
    RolledBack,
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// The body has run.
    Commit,
    Await(u8),
    Resolve,
    Read(u8),
    AwaitFence(u8),
    End(Report),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Report {
    Ok(u64),
    /// The value that this attempt has stored.
    Told(u64),
    Err,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Client {
    step: Step,
    /// Attempts that were begun.
    attempts: u8,
    attempt: u64,
    replaces: Vec<u64>,
    own: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// As each node sees it.
    row: [Option<Seen>; 2],
    locks: [Option<u8>; 2],
    sessions: Vec<Session>,
    opened: u8,
    numbers: u64,
    /// Attempts whose work is in the database.
    applied: Vec<u64>,
    clients: [Client; CLIENTS],
    left: Faults,
}

/// What is explored.
#[derive(Debug, Clone, Copy)]
struct Model {
    mutation: Mutation,
    faults: Faults,
    /// At most so many attempts are made by a client.
    attempts: u8,
    /// At most so many sessions are opened.
    sessions: u8,
}

impl Model {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    fn request(&self, session: &Session) -> &'static [Statement] {
        use Statement::*;
        match session.is_fence {
            true => &[Store, Commit],
            false if self.is(Mutation::ReleaseFirst) => &[Release, Store, Commit],
            false => &[Store, Release, Commit],
        }
    }

    fn judge(&self, found: Option<Seen>, client: &Client) -> Judgement {
        match judge(found, client.attempt, &client.replaces) {
            Judgement::Taken if self.is(Mutation::AnyRowIsOurs) => Judgement::Committed,
            Judgement::Fenced if self.is(Mutation::AFenceIsAValue) => Judgement::Taken,
            judgement => judgement,
        }
    }

    /// How many states there are, or how the first broken promise comes about.
    fn explore(&self) -> Result<usize, String> {
        explore(State::start(self.faults), State::violation, |state, next| {
            state.server(self, next);
            for client in 0..CLIENTS {
                state.client(self, client, next);
            }
        })
        .map_err(|found| format!("{:?}: {found}", self.mutation))
    }
}

impl State {
    fn start(left: Faults) -> Self {
        let client = Client { step: Step::Commit, attempts: 0, attempt: 0, replaces: Vec::new(), own: Vec::new() };
        Self {
            row: [None; 2],
            locks: [None; 2],
            sessions: Vec::new(),
            opened: 0,
            numbers: 0,
            applied: Vec::new(),
            clients: [client.clone(), client],
            left,
        }
    }

    /// What was promised and does not hold, if anything.
    fn violation(&self) -> Option<String> {
        if self.applied.len() > 1 {
            return Some(format!("the key's work was done by {:?}", self.applied));
        }
        self.clients.iter().find_map(|client| {
            let Step::End(report) = client.step else { return None };
            let kept = match report {
                Report::Ok(attempt) | Report::Told(attempt) => self.applied == [attempt],
                Report::Err => !client.own.iter().any(|attempt| self.applied.contains(attempt)),
                Report::Unknown => true,
            };
            (!kept).then(|| format!("{report:?} was reported by a client with the attempts {:?}, applied {:?}", client.own, self.applied))
        })
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        let awaited: Vec<u8> = next.clients.iter().filter_map(|client| client.awaits()).collect();
        // States that differ in nothing but sessions that have ended are one.
        next.sessions.retain(|session| matches!(session.phase, Phase::Request(_) | Phase::Reading) || awaited.contains(&session.number));
        next
    }

    fn session(&mut self, number: u8) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.number == number)
    }

    fn phase(&self, number: u8) -> Phase {
        self.sessions.iter().find(|session| session.number == number).map_or(Phase::Dead, |session| session.phase)
    }

    /// The session's transaction has ended.
    fn end(&mut self, number: u8, phase: Phase) {
        for lock in &mut self.locks {
            *lock = lock.filter(|holder| *holder != number);
        }
        if let Some(session) = self.session(number) {
            session.phase = phase;
            session.stored = None;
            session.open = false;
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A statement is executed, a session dies, a node applies what it lacks.
    fn server(&self, model: &Model, all: &mut Vec<Self>) {
        for session in &self.sessions {
            let number = session.number;
            if matches!(session.phase, Phase::Reading | Phase::Request(_) | Phase::Collided) {
                all.push(self.with(|next| next.end(number, Phase::Dead)));
            }
            let Phase::Request(executed) = session.phase else { continue };
            self.execute(model, session, executed, all);
            if !session.is_fence && self.left.aborts > 0 && (session.open || session.stored.is_some()) {
                all.push(self.with(|next| {
                    next.left.aborts -= 1;
                    next.end(number, if executed == 0 { Phase::RolledBack } else { Phase::Request(executed) });
                    if let Some(session) = next.session(number) {
                        session.aborted = true;
                    }
                }));
            }
        }
        if self.row[0] != self.row[1] {
            all.push(self.with(|next| {
                next.row[1] = next.row[0];
                // What is applied wins over a local transaction that holds the row.
                if let Some(holder) = next.locks[1] {
                    next.end(holder, Phase::Dead);
                }
            }));
        }
    }

    fn execute(&self, model: &Model, session: &Session, executed: u8, all: &mut Vec<Self>) {
        let Session { number, node, .. } = *session;
        let request = model.request(session);
        let last = usize::from(executed) + 1 == request.len();
        let go_on = |next: &mut Self| match next.session(number) {
            Some(session) if last && session.aborted => session.phase = Phase::RolledBack,
            Some(session) if last => session.phase = Phase::Committed,
            Some(session) => session.phase = Phase::Request(executed + 1),
            None => {}
        };
        match request[usize::from(executed)] {
            Statement::Store => {
                if self.locks[node].is_some_and(|holder| holder != number) {
                    return;
                }
                let found = self.row[node];
                let free = found.is_none_or(|row| !row.done && session.replaces.contains(&row.attempt)) || model.is(Mutation::NoRaise);
                all.push(self.with(|next| {
                    if free {
                        next.locks[node] = Some(number);
                        if let Some(session) = next.session(number) {
                            session.stored = Some(found);
                        }
                        go_on(next);
                    } else if let Some(session) = next.session(number) {
                        session.phase = Phase::Collided;
                    }
                }));
            }
            Statement::Release if session.open => all.push(self.with(go_on)),
            Statement::Release => all.push(self.with(|next| next.end(number, Phase::RolledBack))),
            // Certification: the row has changed since this node applied it.
            Statement::Commit if session.stored.is_some_and(|replaced| replaced != self.row[0]) => {
                all.push(self.with(|next| next.end(number, Phase::RolledBack)));
            }
            Statement::Commit => {
                let commit = |next: &mut Self| {
                    if session.stored.is_some() {
                        let row = Some(Seen { attempt: session.attempt, done: !session.is_fence });
                        next.row[0] = row;
                        if !next.left.second_node || node == 1 {
                            next.row[1] = row;
                        }
                        if let Some(holder) = next.locks[1 - node].filter(|_| node == 1) {
                            next.end(holder, Phase::Dead);
                        }
                    }
                    if session.open && !session.is_fence {
                        next.applied.push(session.attempt);
                    }
                    next.end(number, Phase::Request(executed));
                    go_on(next);
                };
                all.push(self.with(commit));
                if self.left.repeats > 0 {
                    all.push(self.with(|next| {
                        commit(next);
                        next.left.repeats -= 1;
                        if let Some(again) = next.session(number) {
                            // Of the body's statements, which came before, nothing is executed again.
                            *again =
                                Session { phase: Phase::Request(0), open: session.open, stored: None, aborted: false, ..session.clone() };
                        }
                    }));
                }
            }
        }
    }

    fn client(&self, model: &Model, who: usize, all: &mut Vec<Self>) {
        let client = &self.clients[who];
        let goes = |step: Step| self.with(|next| next.clients[who].step = step);
        match client.step {
            Step::End(_) => {}
            Step::Commit => {
                if self.opened < model.sessions {
                    all.push(self.with(|next| {
                        let attempt = next.number();
                        let client = &mut next.clients[who];
                        client.attempts += 1;
                        client.attempt = attempt;
                        client.own.push(attempt);
                        client.replaces.clear();
                        next.send(who, false, attempt);
                    }));
                }
            }
            Step::Await(session) => {
                let lost =
                    if model.is(Mutation::NoResolve) { self.with(|next| next.not_committed(model, who)) } else { goes(Step::Resolve) };
                all.push(lost);
                match self.phase(session) {
                    Phase::Committed => all.push(goes(Step::End(Report::Ok(client.attempt)))),
                    Phase::RolledBack => all.push(self.with(|next| {
                        // The first copy of a repeated request was committed, and the second one aborted: the server itself reported wrongly.
                        if model.faults.repeats > next.left.repeats && next.applied.contains(&next.clients[who].attempt) {
                            next.clients[who].step = Step::End(Report::Unknown);
                        } else {
                            next.not_committed(model, who);
                        }
                    })),
                    Phase::Collided => all.push(self.with(|next| next.collided(model, who, session))),
                    _ => {}
                }
            }
            Step::Resolve => {
                all.push(goes(Step::End(Report::Unknown)));
                for node in [0, 1].into_iter().take(if self.left.second_node { 2 } else { 1 }) {
                    if self.locks[node].is_none() && self.opened < model.sessions {
                        all.push(self.with(|next| {
                            let session = next.open(node, false, 0, Phase::Reading, Vec::new());
                            next.locks[node] = Some(session);
                            next.clients[who].step = Step::Read(session);
                        }));
                    }
                }
            }
            Step::Read(session) => {
                all.push(goes(Step::Resolve));
                if self.phase(session) == Phase::Reading {
                    all.push(self.with(|next| next.read(model, who, session)));
                }
            }
            Step::AwaitFence(session) => {
                all.push(goes(Step::Resolve));
                if self.phase(session) == Phase::Committed {
                    all.push(self.with(|next| next.not_committed(model, who)));
                }
            }
        }
    }

    fn open(&mut self, node: usize, is_fence: bool, attempt: u64, phase: Phase, replaces: Vec<u64>) -> u8 {
        let number = self.opened;
        self.opened += 1;
        let open = !is_fence;
        self.sessions.push(Session { number, node, is_fence, attempt, replaces, phase, open, stored: None, aborted: false });
        number
    }

    fn send(&mut self, who: usize, is_fence: bool, attempt: u64) {
        let node = if self.left.second_node { who } else { 0 };
        let replaces = self.clients[who].replaces.clone();
        let session = self.open(node, is_fence, attempt, Phase::Request(0), replaces);
        self.clients[who].step = Step::Await(session);
    }

    /// The row was in the way of COMMIT, and is read in the same transaction.
    fn collided(&mut self, model: &Model, who: usize, number: u8) {
        let node = self.session(number).map_or(0, |session| session.node);
        let found = self.row[node];
        match (model.judge(found, &self.clients[who]), found) {
            (Judgement::Committed, _) => {
                self.end(number, Phase::Dead);
                self.clients[who].step = Step::End(Report::Ok(self.clients[who].attempt));
            }
            (Judgement::Taken, Some(row)) => {
                self.end(number, Phase::Dead);
                self.clients[who].step = Step::End(Report::Told(row.attempt));
            }
            (_, found) => {
                self.clients[who].replaces.extend(found.map(|row| row.attempt));
                let replaces = self.clients[who].replaces.clone();
                if let Some(session) = self.session(number) {
                    session.replaces = replaces;
                    session.phase = Phase::Request(0);
                }
            }
        }
    }

    fn read(&mut self, model: &Model, who: usize, number: u8) {
        let node = self.session(number).map_or(0, |session| session.node);
        let found = self.row[node];
        let holds = model.is(Mutation::NoFence) || (model.is(Mutation::AnyFenceHolds) && found.is_some());
        match (model.judge(found, &self.clients[who]), found) {
            (Judgement::Open, _) if !holds => {
                let fence = self.number();
                let replaces = self.clients[who].replaces.clone();
                if let Some(session) = self.session(number) {
                    (session.is_fence, session.attempt, session.replaces) = (true, fence, replaces);
                    session.phase = Phase::Request(0);
                }
                self.clients[who].step = Step::AwaitFence(number);
            }
            (judgement, found) => {
                self.end(number, Phase::Dead);
                match (judgement, found) {
                    (Judgement::Committed, _) => self.clients[who].step = Step::End(Report::Ok(self.clients[who].attempt)),
                    (Judgement::Taken, Some(row)) => self.clients[who].step = Step::End(Report::Told(row.attempt)),
                    _ => self.not_committed(model, who),
                }
            }
        }
    }

    /// Certain, and so there may be another attempt.
    fn not_committed(&mut self, model: &Model, who: usize) {
        let client = &mut self.clients[who];
        client.step = if client.attempts == model.attempts { Step::End(Report::Err) } else { Step::Commit };
    }
}

impl Client {
    fn awaits(&self) -> Option<u8> {
        match self.step {
            Step::Await(session) | Step::Read(session) | Step::AwaitFence(session) => Some(session),
            _ => None,
        }
    }
}

const NO_FAULTS: Faults = Faults { repeats: 0, aborts: 0, second_node: false };
const REPEATS: Faults = Faults { repeats: 1, ..NO_FAULTS };
const ABORTS: Faults = Faults { aborts: 1, ..NO_FAULTS };
const SECOND_NODE: Faults = Faults { second_node: true, ..NO_FAULTS };

#[test]
fn the_protocol_holds_in_every_state() {
    let every = Faults { repeats: 1, aborts: 1, second_node: true };
    for (faults, sessions, least) in
        [(NO_FAULTS, 4, 10_000), (REPEATS, 3, 5_000), (ABORTS, 3, 5_000), (SECOND_NODE, 3, 5_000), (every, 3, 100_000)]
    {
        let began = std::time::Instant::now();
        let states = Model { mutation: Mutation::None, faults, attempts: 2, sessions }.explore().expect("every promise is kept");
        println!("{faults:?}, {sessions} sessions: holds in all {states} states, {:?}", began.elapsed());
        assert!(states > least, "{faults:?}: {states} states");
    }
}

#[test]
fn without_any_one_of_its_rules_it_breaks() {
    for (mutation, faults) in [
        (Mutation::NoRaise, NO_FAULTS),
        (Mutation::NoFence, NO_FAULTS),
        (Mutation::NoResolve, NO_FAULTS),
        (Mutation::AnyRowIsOurs, NO_FAULTS),
        (Mutation::AFenceIsAValue, NO_FAULTS),
        (Mutation::AnyFenceHolds, NO_FAULTS),
        (Mutation::ReleaseFirst, ABORTS),
    ] {
        match (Model { mutation, faults, attempts: 2, sessions: 6 }).explore() {
            Ok(states) => panic!("{mutation:?} with {faults:?} was not noticed in {states} states"),
            Err(found) => println!("{found}"),
        }
    }
}
