//! Every request of a call, cut at every point, in every way, with the commit ledger and without.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use db_core::mysql::Conn;
use db_core::prelude::*;
use db_core::{Error, Result};
use db_testkit::{Action, Command, Fault, FaultProxy, Point};
use tests::{Bank, bank, cut_commit, eventually};

/// A black hole is noticed after this long.
const READ_TIMEOUT: Duration = Duration::from_millis(300);

/// How long the late packet is on its way: longer than finding out takes.
const LATE: Duration = Duration::from_millis(100);

/// The last request of a call, after its three statements.
const COMMIT: usize = 4;

/// One call.
struct Call {
    account: u32,
    name: String,
    runs: Cell<u32>,
    /// The runs whose hooks ran.
    hooks: Rc<RefCell<Vec<u32>>>,
}

#[retry_on_disconnect]
#[transactional]
fn persistent(tx: &mut Transaction<'_>, call: &Call) -> Result<u32> {
    call.work(tx)
}

#[transactional]
fn single(tx: &mut Transaction<'_>, call: &Call) -> Result<u32> {
    call.work(tx)
}

impl Call {
    fn new(account: u32, name: String) -> Self {
        Self { account, name, runs: Cell::new(0), hooks: Rc::default() }
    }

    /// Returns the number of the run, and leaves it in the journal: what is returned can be held against what was committed.
    fn work(&self, tx: &mut Transaction<'_>) -> Result<u32> {
        let run = self.runs.get() + 1;
        self.runs.set(run);
        let hooks = Rc::clone(&self.hooks);
        tx.after_commit(move || hooks.borrow_mut().push(run));
        tx.exec_first::<i64, _, _>("SELECT balance FROM account WHERE id = ? FOR UPDATE", (self.account,))?;
        tx.exec_drop("UPDATE account SET balance = balance + 1 WHERE id = ?", (self.account,))?;
        tx.exec_drop("INSERT INTO journal (note) VALUES (?)", (format!("{}, run {run}", self.name),))?;
        Ok(run)
    }
}

/// What is cut, and for whom.
#[derive(Clone, Copy)]
struct Cut {
    ledger: bool,
    retry: bool,
    request: usize,
    point: Point,
    action: Action,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ledger, retry, request, point, action } = self;
        write!(f, "ledger {ledger}, retry {retry}, request {request}, {point:?}, {action:?}")
    }
}

/// How a call may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    /// An error, and nothing was done or ever will be.
    Nothing,
    /// One or the other.
    DoneOrNothing,
    /// `CommitUnknown`, and this is what happened.
    Unknown {
        done: bool,
    },
    /// `CommitUnknown`, and it was a race.
    UnknownRace,
}

/// What the server had got of the COMMIT.
enum Commit {
    Executed,
    NotExecuted,
    Race,
}

/// Bytes of the replies that a COMMIT gets.
struct Replies {
    /// To the swap of the ledger's row; 0 without the ledger.
    swap: usize,
    /// To COMMIT itself.
    commit: usize,
}

impl Cut {
    fn commit(self, replies: &Replies) -> Commit {
        match (self.point, self.action) {
            (Point::BeforeRequest, Action::DelayAndAbandon(_)) if !self.ledger => Commit::Executed,
            // A fence may be in its way; if it is not, the packet was early.
            (Point::BeforeRequest, Action::DelayAndAbandon(_)) => Commit::Race,
            (Point::BeforeRequest, _) => Commit::NotExecuted,
            (Point::RequestSent, _) => Commit::Race,
            // The reply to the swap may be cut before COMMIT is executed.
            (Point::MidReply(bytes), _) if bytes < replies.swap => Commit::Race,
            _ => Commit::Executed,
        }
    }

    fn expected(self, replies: &Replies) -> End {
        let in_time = self.action != Action::BlackHole;
        match (self.request, self.retry, self.ledger) {
            (COMMIT, _, false) => match self.commit(replies) {
                Commit::Executed => End::Unknown { done: true },
                Commit::NotExecuted => End::Unknown { done: false },
                Commit::Race => End::UnknownRace,
            },
            (_, true, _) => End::Done,
            (COMMIT, false, true) => match self.commit(replies) {
                Commit::Executed => End::Done,
                Commit::NotExecuted => End::Nothing,
                Commit::Race => End::DoneOrNothing,
            },
            // Sent again, unless the rows had begun to come.
            (1, false, _) if in_time => {
                if matches!(self.point, Point::MidReply(_)) {
                    End::DoneOrNothing
                } else {
                    End::Done
                }
            }
            _ => End::Nothing,
        }
    }
}

/// One of the four ways to call, with an account and a network of its own.
struct Desk<'b> {
    bank: &'b Bank,
    proxy: FaultProxy,
    db: Db,
    admin: Conn,
    account: u32,
    ledger: bool,
    retry: bool,
    replies: Replies,
    calls: usize,
    done: usize,
}

impl<'b> Desk<'b> {
    fn open(bank: &'b Bank, account: u32, ledger: bool, retry: bool) -> Self {
        let (proxy, db) =
            bank.proxied(|builder| builder.commit_ledger(ledger).driver_options(|options| options.read_timeout(Some(READ_TIMEOUT))));
        let replies = Replies { swap: 0, commit: 0 };
        let mut desk = Self { bank, proxy, db, admin: bank.admin(), account, ledger, retry, replies, calls: 0, done: 0 };
        // The reply to a DELETE of no row has as many bytes as the one to COMMIT.
        desk.proxy.reset_counts();
        desk.db.transaction(|tx| tx.query_drop("DELETE FROM account WHERE id = 0")).unwrap();
        let all = usize::try_from(desk.proxy.counts().bytes_to_client).unwrap();
        desk.proxy.reset_counts();
        desk.db.ping().unwrap();
        // A savepoint, and a rollback.
        desk.replies.commit = usize::try_from(desk.proxy.counts().bytes_to_client).unwrap() / 2;
        desk.replies.swap = all - 2 * desk.replies.commit;
        assert_eq!(desk.replies.swap > 0, ledger);
        desk
    }

    fn next_call(&mut self) -> Call {
        self.calls += 1;
        Call::new(self.account, format!("account {}, call {}", self.account, self.calls))
    }

    fn call(&self, call: &Call) -> Result<u32> {
        if self.retry { persistent(&self.db, call) } else { single(&self.db, call) }
    }

    /// A call that nothing happens to. Afterwards the connection is open, and its statements are prepared.
    fn undisturbed(&mut self, cut: &str) {
        let call = self.next_call();
        assert_eq!(self.call(&call).unwrap_or_else(|error| panic!("the call after {cut}: {error}")), 1);
        assert_eq!(self.notes(&call).len(), 1, "the call after {cut}");
        self.done += 1;
    }

    fn notes(&mut self, call: &Call) -> Vec<String> {
        self.admin.exec("SELECT note FROM journal WHERE note LIKE ? ORDER BY n", (format!("{}, run %", call.name),)).unwrap()
    }

    fn cut(&mut self, request: usize, point: Point, action: Action) {
        let cut = Cut { ledger: self.ledger, retry: self.retry, request, point, action };
        let call = self.next_call();
        let session = self.db.transaction(|tx| Ok::<_, Error>(tx.connection_id())).unwrap().unwrap();
        // Requests of the connections before it, closing, may still come in.
        let executed = self.proxy.requests().into_iter().rfind(|request| request.command == Command::Execute).unwrap();
        let injection = self.proxy.inject(Fault::new(point, action).on_connection(executed.connection).nth(request));
        let result = thread::scope(|threads| {
            if action == Action::BlackHole {
                // What the library does where no proxy stands between: without it, the old session keeps its locks.
                threads.spawn(|| {
                    assert!(injection.wait_fired(Duration::from_secs(10)), "{cut}");
                    thread::sleep(READ_TIMEOUT + Duration::from_millis(60));
                    // It may have ended by itself.
                    let _ = self.bank.admin().query_drop(format!("KILL {session}"));
                });
            }
            self.call(&call)
        });
        injection.assert_fired();
        if matches!(action, Action::DelayAndAbandon(_)) && point == Point::BeforeRequest {
            assert!(injection.wait_delivered(Duration::from_secs(10)), "{cut}");
        }
        let gone = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {session}");
        eventually("the old session has ended", || self.admin.query_first(&gone).unwrap() == Some(0));

        let notes = self.notes(&call);
        let expected = cut.expected(&self.replies);
        let definite = |error: &Error| !error.is_commit_unknown();
        let seen = match (&result, notes.as_slice()) {
            (Ok(run), [note]) if note.ends_with(&format!(", run {run}")) => End::Done,
            (Err(error), []) if definite(error) => End::Nothing,
            (Err(error), [] | [_]) if error.is_commit_unknown() => End::Unknown { done: !notes.is_empty() },
            _ => panic!("{cut}: {result:?}, and in the database: {notes:?}"),
        };
        let fits = match expected {
            End::DoneOrNothing => matches!(seen, End::Done | End::Nothing),
            End::UnknownRace => matches!(seen, End::Unknown { .. }),
            _ => seen == expected,
        };
        assert!(fits, "{cut}: {expected:?} expected, {seen:?} seen: {result:?}");
        // Committed: never run again. Only then hooks ran, those of the run that was committed.
        let hooks: Vec<u32> = result.iter().copied().collect();
        assert_eq!(*call.hooks.borrow(), hooks, "{cut}");
        if result.is_err() || (request == COMMIT && matches!(cut.commit(&self.replies), Commit::Executed)) {
            assert_eq!(call.runs.get(), 1, "{cut}");
        }
        self.done += notes.len();
        self.undisturbed(&cut.to_string());
        let balance: i64 = self.admin.exec_first("SELECT balance FROM account WHERE id = ?", (self.account,)).unwrap().unwrap();
        assert_eq!(balance, 100 + i64::try_from(self.done).unwrap(), "{cut}");
    }
}

/// Runs the same at four desks: with the ledger and without, with retry and without.
fn at_every_desk(work: impl Fn(&mut Desk<'_>) + Sync) {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    thread::scope(|threads| {
        for (account, (ledger, retry)) in (1..).zip([(true, true), (true, false), (false, true), (false, false)]) {
            let (bank, work) = (&bank, &work);
            threads.spawn(move || {
                let mut desk = Desk::open(bank, account, ledger, retry);
                desk.undisturbed("nothing");
                work(&mut desk);
            });
        }
    });
}

fn points(request: usize, replies: &Replies) -> Vec<Point> {
    let mut cuts = match request {
        // Inside the reply to the swap, between the two replies, inside the one to COMMIT.
        COMMIT => vec![0, 1, 5, replies.swap.saturating_sub(1), replies.swap, replies.swap + 1, replies.swap + replies.commit - 1],
        _ => vec![1, 10],
    };
    cuts.sort_unstable();
    cuts.dedup();
    [Point::BeforeRequest, Point::RequestSent, Point::AfterRequest].into_iter().chain(cuts.into_iter().map(Point::MidReply)).collect()
}

#[test]
fn every_statement_of_a_call_can_be_cut_and_the_work_is_done_once_or_not_at_all() {
    at_every_desk(|desk| {
        for request in 1..COMMIT {
            for point in points(request, &desk.replies) {
                for action in [Action::Fin, Action::Rst] {
                    desk.cut(request, point, action);
                }
            }
        }
    });
}

#[test]
fn every_commit_can_be_cut_and_with_the_ledger_the_outcome_is_known() {
    at_every_desk(|desk| {
        for point in points(COMMIT, &desk.replies) {
            for action in [Action::Fin, Action::Rst] {
                desk.cut(COMMIT, point, action);
            }
        }
    });
}

#[test]
fn every_statement_of_a_call_can_fall_into_a_black_hole_and_the_work_is_done_once_or_not_at_all() {
    at_every_desk(|desk| {
        for request in 1..COMMIT {
            for point in points(request, &desk.replies) {
                desk.cut(request, point, Action::BlackHole);
            }
        }
    });
}

#[test]
fn every_commit_can_fall_into_a_black_hole_and_with_the_ledger_the_outcome_is_known() {
    at_every_desk(|desk| {
        for point in points(COMMIT, &desk.replies) {
            desk.cut(COMMIT, point, Action::BlackHole);
        }
    });
}

#[test]
fn a_request_that_arrives_after_its_connection_was_given_up_does_nothing_that_the_caller_does_not_know_of() {
    at_every_desk(|desk| {
        for request in 1..=COMMIT {
            for late in [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(20), LATE] {
                desk.cut(request, Point::BeforeRequest, Action::DelayAndAbandon(late));
            }
        }
    });
}

/// A server that is alive and never replies to COMMIT, as a member of a group without majority. Returns the outcome and how long it took.
fn endless_commit(bank: &Bank, ledger: bool, limit: Duration) -> (Result<u32>, Duration, u32) {
    let (proxy, db) = bank.proxied(|builder| builder.commit_ledger(ledger).commit_timeout(limit));
    let call = Call::new(3, format!("endless, ledger {ledger}"));
    let endless = cut_commit(&proxy, &db, Point::AfterRequest, Action::BlackHole);
    let began = Instant::now();
    let result = persistent(&db, &call);
    endless.assert_fired();
    (result, began.elapsed(), call.runs.get())
}

#[test]
fn a_commit_that_gets_no_reply_within_its_limit_is_lost() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    let (unrecorded, took, _) = endless_commit(&bank, false, READ_TIMEOUT);
    assert!(unrecorded.unwrap_err().is_commit_unknown());
    assert!(took >= READ_TIMEOUT && took < 10 * READ_TIMEOUT, "{took:?}");
    let (recorded, took, runs) = endless_commit(&bank, true, READ_TIMEOUT);
    assert_eq!((recorded.unwrap(), runs), (1, 1));
    assert!(took >= READ_TIMEOUT, "{took:?}");
    assert_eq!(bank.balance(3), 102);
}

#[test]
fn the_limit_of_commit_is_not_that_of_the_other_statements() {
    let bank = bank();
    let (_proxy, db) = bank.proxied(|builder| builder.commit_timeout(READ_TIMEOUT));
    for _ in 0..2 {
        let slept: Result<()> = db.transaction(|tx| {
            tx.exec_drop("UPDATE account SET balance = balance + 1 WHERE id = 4", ())?;
            tx.query_drop("DO SLEEP(0.6)")
        });
        slept.unwrap();
    }
    assert_eq!(bank.balance(4), 102);
}
