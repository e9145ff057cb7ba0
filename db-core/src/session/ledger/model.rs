//! The model of the ledger's protocol: every interleaving of two calls.
//!
//! Requests arrive late, replies are lost, sessions die at any step, also while a COMMIT is resolved and while a fence is put up. On top
//! of that, as often as [`Faults`] says: the server reports an attempt as not committed that is committed, a proxy repeats a request, a
//! cluster aborts a transaction between two statements of its COMMIT request, and a second node applies late. Every state that can be
//! reached is checked.
//!
//! The client's decisions are those of [`Position`], and the order of its statements is [`REQUEST`], the code that runs. The model has the
//! servers (the row as each node sees it, its lock, the sessions) and the order in which the client asks. A [`Mutation`] breaks one rule, to
//! show that the model finds what the rule is for.

use std::sync::LazyLock;

use crate::session::ledger::explore::explore;
use crate::session::ledger::row::{Judgement, Position};
use crate::session::ledger::{REQUEST, Step};

const CALLS: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// The compare-and-swap matches no row where it should raise: the work is committed anyway.
    NoRaise,
    /// "It holds the base" is taken for the final word.
    NoFence,
    /// The fence uses the attempt's own target.
    FenceWithTheAttemptsTarget,
    /// The row is read without its lock.
    PlainSelect,
    /// A loss is taken for a failure.
    NoResolve,
    /// 1690 is taken for tampering: a new row, and another attempt.
    MovedIsTampering,
    /// A value below the base is taken for tampering.
    BehindIsTampering,
    /// The next sentinel savepoint is set behind COMMIT, in its request; the COMMIT before a failed SAVEPOINT is believed.
    SavepointBehindCommit,
    /// The sentinel savepoint is released before the compare-and-swap.
    ReleaseFirst,
    /// A row that was made on one node is used on another, which may not have it yet.
    OneRowForAllNodes,
}

/// How often each fault happens at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Faults {
    /// "Not committed" is reported of an attempt that is, or will be.
    lies: u8,
    /// A request is executed a second time, and the reply to that is the one the client gets.
    repeats: u8,
    /// A cluster aborts a transaction while its COMMIT request is executed.
    aborts: u8,
    /// A node, beside the one that the client commits on, which applies late.
    second_node: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Statement {
    Swap,
    Release,
    Commit,
    Savepoint,
}

/// What is sent with the work of an attempt.
static SENT: LazyLock<Vec<Statement>> = LazyLock::new(|| {
    let statement = |step| match step {
        Step::NoAutocommit => None,
        Step::Swap => Some(Statement::Swap),
        Step::Release => Some(Statement::Release),
        Step::Commit => Some(Statement::Commit),
    };
    REQUEST.into_iter().filter_map(statement).collect()
});

/// The node that the client commits on, and the one that may be behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    First,
    Second,
}

/// What a session's request carries: the work of an attempt of a call, or a fence.
type Work = Option<(u8, u8)>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Session {
    number: u8,
    node: Node,
    work: Work,
    base: u64,
    target: u64,
    phase: Phase,
    /// The transaction with the work, and the sentinel savepoint in it, is still open.
    open: bool,
    /// The row is swapped, uncommitted.
    swapped: bool,
    /// An abort is to be reported in the reply to the last statement.
    aborted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// The request has been sent, and this many of its statements have been executed. The next one may be at any time.
    Request(u8),
    /// It holds the row's lock to read it.
    Reading,
    /// The reply is that all statements were executed.
    Committed,
    /// The reply is 1690 at the compare-and-swap.
    Moved,
    /// The reply is that the transaction has been rolled back: 1213 in COMMIT's place, or 1305 at RELEASE.
    RolledBack,
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
    /// Tampering is suspected, where there was none.
    Unexplained,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    row: u64,
    /// As the second node sees it. It does not exist there before the node has applied that it was made.
    late: Option<u64>,
    locks: [Option<u8>; 2],
    /// Those that have not ended, or whose end the client waits for.
    sessions: Vec<Session>,
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
    /// Calls of which an attempt was reported as not committed without that being certain.
    lied: Vec<u8>,
    left: Faults,
}

/// What is explored.
#[derive(Debug, Clone, Copy)]
struct Model {
    mutation: Mutation,
    faults: Faults,
    /// At most so many attempts are made for a call.
    attempts: u8,
    /// At most so many sessions are opened.
    sessions: u8,
}

impl Model {
    fn request(&self, work: Work) -> &'static [Statement] {
        use Statement::*;
        match (work, self.mutation) {
            (None, _) => &[Swap, Commit],
            (_, Mutation::ReleaseFirst) => &[Release, Swap, Commit],
            (_, Mutation::SavepointBehindCommit) => &[Swap, Release, Commit, Savepoint],
            _ => &SENT,
        }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    /// How many states there are, or how the first broken promise comes about.
    fn explore(&self) -> Result<usize, String> {
        explore(State::start(self.faults), State::violation, |state, next| {
            state.server(self, next);
            state.client(self, next);
        })
        .map_err(|found| format!("{:?}: {found}", self.mutation))
    }
}

impl State {
    fn start(faults: Faults) -> Self {
        Self {
            row: 0,
            late: None,
            locks: [None; 2],
            sessions: Vec::new(),
            opened: 0,
            applied: Vec::new(),
            client: Client::Commit,
            call: 0,
            attempt: 0,
            target: 0,
            fences: Vec::new(),
            position: Position::new(),
            reports: Vec::new(),
            lied: Vec::new(),
            left: faults,
        }
    }

    /// What was promised and does not hold, if anything.
    fn violation(&self) -> Option<String> {
        for (call, report) in (0..).zip(&self.reports) {
            let applied: Vec<u8> = self.applied.iter().filter(|work| work.0 == call).map(|work| work.1).collect();
            let kept = match report {
                Report::Ok(attempt) => applied == [*attempt],
                // What the server itself reported wrongly.
                Report::Err if self.lied.contains(&call) => applied.len() <= 1,
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

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        let awaited = match next.client {
            Client::Await(session) | Client::Read(session) | Client::AwaitFence(session) => Some(session),
            _ => None,
        };
        // States that differ in nothing but sessions that have ended are one.
        next.sessions.retain(|session| matches!(session.phase, Phase::Request(_) | Phase::Reading) || awaited == Some(session.number));
        next
    }

    fn value(&self, node: Node) -> Option<u64> {
        match node {
            Node::First => Some(self.row),
            Node::Second => self.late,
        }
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
            session.swapped = false;
            session.open = false;
        }
    }

    /// What is applied on a node wins over a local transaction that holds the row.
    fn applies(&mut self, node: Node) {
        if let Some(holder) = self.locks[node as usize] {
            self.end(holder, Phase::Dead);
        }
    }

    /// A statement is executed, a session dies, a node applies what it lacks.
    fn server(&self, model: &Model, all: &mut Vec<Self>) {
        for session in &self.sessions {
            let number = session.number;
            let Phase::Request(executed) = session.phase else {
                if session.phase == Phase::Reading {
                    all.push(self.with(|next| next.end(number, Phase::Dead)));
                }
                continue;
            };
            all.push(self.with(|next| next.end(number, Phase::Dead)));
            self.execute(model, session, executed, all);
            if session.work.is_some() && self.left.aborts > 0 && (session.open || session.swapped) {
                all.push(self.with(|next| {
                    next.left.aborts -= 1;
                    // Before the first statement the request is refused as a whole. Later the statements that follow are executed.
                    next.end(number, if executed == 0 { Phase::RolledBack } else { Phase::Request(executed) });
                    if let Some(session) = next.session(number) {
                        session.aborted = true;
                    }
                }));
            }
        }
        if self.left.second_node && self.late != Some(self.row) {
            all.push(self.with(|next| {
                next.late = Some(next.row);
                next.applies(Node::Second);
            }));
        }
    }

    fn execute(&self, model: &Model, session: &Session, executed: u8, all: &mut Vec<Self>) {
        let Session { number, node, .. } = *session;
        let request = model.request(session.work);
        let last = usize::from(executed) + 1 == request.len();
        let go_on = |next: &mut Self| match next.session(number) {
            // The one reply that tells of an abort.
            Some(session) if last && session.aborted => {
                session.phase = if model.is(Mutation::SavepointBehindCommit) { Phase::Committed } else { Phase::RolledBack };
            }
            Some(session) if last => session.phase = Phase::Committed,
            Some(session) => session.phase = Phase::Request(executed + 1),
            None => {}
        };
        match request[usize::from(executed)] {
            Statement::Swap => {
                if self.locks[node as usize].is_some_and(|holder| holder != number) {
                    return;
                }
                let found = self.value(node);
                all.push(self.with(|next| {
                    if found == Some(session.base) {
                        next.locks[node as usize] = Some(number);
                        if let Some(session) = next.session(number) {
                            session.swapped = true;
                        }
                        go_on(next);
                    } else if found.is_none() || model.is(Mutation::NoRaise) {
                        go_on(next);
                    } else {
                        next.end(number, Phase::Moved);
                    }
                }));
            }
            Statement::Release if session.open => all.push(self.with(go_on)),
            Statement::Release => all.push(self.with(|next| next.end(number, Phase::RolledBack))),
            Statement::Savepoint => all.push(self.with(go_on)),
            // Certification: the row has changed since this node applied it.
            Statement::Commit if session.swapped && self.row != session.base => {
                all.push(self.with(|next| next.end(number, Phase::RolledBack)));
            }
            Statement::Commit => {
                let commit = |next: &mut Self| {
                    if session.swapped {
                        next.row = session.target;
                        if node == Node::Second {
                            next.late = Some(session.target);
                            next.applies(Node::First);
                        }
                    }
                    if session.open {
                        next.applied.extend(session.work);
                    }
                    next.end(number, Phase::Request(executed));
                    go_on(next);
                };
                all.push(self.with(commit));
                if self.left.repeats > 0 && last {
                    all.push(self.with(|next| {
                        commit(next);
                        next.left.repeats -= 1;
                        if let Some(again) = next.session(number) {
                            *again = Session { phase: Phase::Request(0), open: true, swapped: false, aborted: false, ..session.clone() };
                        }
                    }));
                }
            }
        }
    }

    fn client(&self, model: &Model, all: &mut Vec<Self>) {
        let lost = || self.with(|next| next.client = Client::Resolve);
        match self.client {
            Client::End => {}
            Client::Commit => {
                let elsewhere = model.is(Mutation::OneRowForAllNodes);
                for node in [Node::First, Node::Second].into_iter().take(if elsewhere { 2 } else { 1 }) {
                    all.push(self.with(|next| {
                        next.target = next.position.target();
                        let work = Some((next.call, next.attempt));
                        next.client = Client::Await(next.open(node, work, next.target, Phase::Request(0)));
                    }));
                }
            }
            Client::Await(session) => {
                let not_committed = || self.with(|next| next.not_committed(model));
                all.push(if model.is(Mutation::NoResolve) { not_committed() } else { lost() });
                match self.phase(session) {
                    Phase::Committed => all.push(self.with(State::committed)),
                    Phase::RolledBack => all.push(self.with(|next| {
                        // The first copy of a repeated request was committed, and the second one aborted.
                        if next.left.repeats < model.faults.repeats && next.applied.contains(&(next.call, next.attempt)) {
                            next.lied.push(next.call);
                        }
                        next.not_committed(model);
                    })),
                    Phase::Moved if model.is(Mutation::MovedIsTampering) => all.push(self.with(|next| {
                        // A new row for the next attempt: as good as this one, if it were not for what this one says.
                        next.position.holds(next.row);
                        next.not_committed(model);
                    })),
                    Phase::Moved => all.push(lost()),
                    _ => {}
                }
                if self.left.lies > 0 {
                    all.push(self.with(|next| {
                        next.left.lies -= 1;
                        next.lied.push(next.call);
                        next.not_committed(model);
                    }));
                }
            }
            Client::Resolve => {
                all.push(self.with(State::unknown));
                let unlocked = model.is(Mutation::PlainSelect);
                for node in [Node::First, Node::Second].into_iter().take(if self.left.second_node { 2 } else { 1 }) {
                    if (self.locks[node as usize].is_none() || unlocked) && self.opened < model.sessions {
                        all.push(self.with(|next| {
                            let session = next.open(node, None, 0, Phase::Reading);
                            if !unlocked {
                                next.locks[node as usize] = Some(session);
                            }
                            next.client = Client::Read(session);
                        }));
                    }
                }
            }
            Client::Read(session) => {
                all.push(lost());
                if self.phase(session) == Phase::Reading {
                    all.push(self.with(|next| next.judge(session, model)));
                }
            }
            Client::AwaitFence(session) => {
                all.push(lost());
                if self.phase(session) == Phase::Committed {
                    all.push(self.with(|next| {
                        let fence = next.session(session).map_or(0, |session| session.target);
                        next.position.holds(fence);
                        next.not_committed(model);
                    }));
                }
            }
        }
    }

    fn open(&mut self, node: Node, work: Work, target: u64, phase: Phase) -> u8 {
        let number = self.opened;
        self.opened += 1;
        let base = self.position.base();
        self.sessions.push(Session { number, node, work, base, target, phase, open: true, swapped: false, aborted: false });
        number
    }

    fn judge(&mut self, number: u8, model: &Model) {
        let node = self.session(number).map_or(Node::First, |session| session.node);
        let found = self.value(node);
        let judgement = self.position.judge(found, self.target, &self.fences);
        if judgement == Judgement::Open && !model.is(Mutation::NoFence) {
            let own = self.target;
            let fence = if model.is(Mutation::FenceWithTheAttemptsTarget) { own } else { self.position.target() };
            self.fences.push(fence);
            if let Some(session) = self.session(number) {
                session.target = fence;
                session.phase = Phase::Request(0);
            }
            self.client = Client::AwaitFence(number);
            return;
        }
        self.end(number, Phase::Dead);
        match judgement {
            Judgement::Committed => self.committed(),
            Judgement::Fenced => {
                self.position.holds(found.unwrap_or_default());
                self.not_committed(model);
            }
            Judgement::Open => self.not_committed(model),
            Judgement::Behind if self.left.second_node && !model.is(Mutation::BehindIsTampering) => self.client = Client::Resolve,
            Judgement::Earlier if !self.lied.is_empty() => self.unknown(),
            Judgement::Behind | Judgement::Earlier | Judgement::Foreign => self.report(Report::Unexplained),
        }
    }

    fn committed(&mut self) {
        self.position.holds(self.target);
        self.report(Report::Ok(self.attempt));
    }

    /// Certain, and so there may be another attempt.
    fn not_committed(&mut self, model: &Model) {
        self.fences.clear();
        self.attempt += 1;
        if self.attempt == model.attempts {
            self.report(Report::Err);
        } else {
            self.client = Client::Commit;
        }
    }

    /// The row is not used again.
    fn unknown(&mut self) {
        self.report(Report::Unknown);
        self.client = Client::End;
    }

    fn report(&mut self, report: Report) {
        self.reports.push(report);
        self.fences.clear();
        self.attempt = 0;
        self.call += 1;
        self.client = if self.call == CALLS { Client::End } else { Client::Commit };
    }
}

const NO_FAULTS: Faults = Faults { lies: 0, repeats: 0, aborts: 0, second_node: false };
const LIES: Faults = Faults { lies: 2, ..NO_FAULTS };
const REPEATS: Faults = Faults { repeats: 2, ..NO_FAULTS };
const ABORTS: Faults = Faults { aborts: 2, ..NO_FAULTS };
const SECOND_NODE: Faults = Faults { second_node: true, ..NO_FAULTS };

#[test]
fn the_protocol_holds_in_every_state() {
    let every = Faults { lies: 1, repeats: 1, aborts: 1, second_node: true };
    // So many states that the interesting ones cannot be missing by accident. (With 4 sessions `every` has 336,378, and holds.)
    for (faults, sessions, least) in
        [(NO_FAULTS, 7, 15_000), (LIES, 6, 40_000), (REPEATS, 6, 25_000), (ABORTS, 5, 20_000), (SECOND_NODE, 5, 20_000), (every, 3, 20_000)]
    {
        let states = Model { mutation: Mutation::None, faults, attempts: 2, sessions }.explore().expect("every promise is kept");
        println!("{faults:?}, {sessions} sessions: holds in all {states} states");
        assert!(states > least, "{faults:?}: {states} states");
    }
}

#[test]
fn without_any_one_of_its_rules_it_breaks() {
    for (mutation, faults) in [
        (Mutation::NoRaise, NO_FAULTS),
        (Mutation::NoFence, NO_FAULTS),
        (Mutation::FenceWithTheAttemptsTarget, NO_FAULTS),
        (Mutation::NoResolve, NO_FAULTS),
        (Mutation::MovedIsTampering, LIES),
        (Mutation::MovedIsTampering, REPEATS),
        (Mutation::BehindIsTampering, SECOND_NODE),
        (Mutation::SavepointBehindCommit, ABORTS),
        (Mutation::ReleaseFirst, ABORTS),
        (Mutation::OneRowForAllNodes, SECOND_NODE),
    ] {
        match (Model { mutation, faults, attempts: 3, sessions: 6 }).explore() {
            Ok(states) => panic!("{mutation:?} with {faults:?} was not noticed in {states} states"),
            Err(found) => println!("{found}"),
        }
    }
}

#[test]
fn reading_under_the_lock_is_for_promptness_and_not_for_safety() {
    for faults in [NO_FAULTS, SECOND_NODE] {
        let model = Model { mutation: Mutation::PlainSelect, faults, attempts: 2, sessions: 5 };
        assert_eq!(model.explore().err(), None);
    }
}

#[test]
fn nothing_comes_behind_commit_and_only_commit_behind_release() {
    assert_eq!(REQUEST[REQUEST.len() - 2..], [Step::Release, Step::Commit]);
}
