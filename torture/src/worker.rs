//! A worker: one operation after the other, each with the faults that were planned for it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::{Duration, Instant};

use db_core::{Db, ErrorKind, Pool, Scope, Stats};
use db_testkit::{Action, FaultProxy, Injection};
use parking_lot::Mutex;

use crate::bank::{BankError, Call, perform};
use crate::plan::{Event, Plan, PlannedFault, Target};
use crate::records::{Cut, Outcome};
use crate::tally::{Tally, add};
use crate::{LATEST, Run, Script};

/// Between the operations of a worker on a cluster whose nodes fail: what is to be seen is how they end, not how many there are.
const CLUSTER_PAUSE: Duration = Duration::from_millis(60);

/// What a worker calls the functions with.
#[derive(Clone)]
pub(crate) enum Handle {
    One(Db),
    Pool(Pool),
}

impl Handle {
    pub(crate) fn stats(&self) -> Stats {
        match self {
            Handle::One(db) => db.stats(),
            Handle::Pool(pool) => pool.stats(),
        }
    }
}

impl Deref for Handle {
    type Target = Scope<'static>;

    fn deref(&self) -> &Scope<'static> {
        match self {
            Handle::One(db) => db,
            Handle::Pool(pool) => pool,
        }
    }
}

/// A database, and its way to the server.
pub(crate) struct Line {
    pub(crate) handle: Handle,
    /// Several workers use it.
    pub(crate) shared: bool,
    /// Only requests of this database go through it, so that a fault hits the operation that it was planned for.
    pub(crate) proxy: Option<FaultProxy>,
    late: Mutex<Vec<Injection>>,
}

impl Line {
    pub(crate) fn new(handle: Handle, shared: bool, proxy: Option<FaultProxy>) -> Arc<Self> {
        Arc::new(Self { handle, shared, proxy, late: Mutex::default() })
    }

    /// Waits until every late packet has reached the server. One that a cut connection took with it never will.
    pub(crate) fn await_late_packets(&self, tally: &Tally) {
        let late = std::mem::take(&mut *self.late.lock());
        late.iter().filter(|injection| injection.wait_delivered(LATEST)).for_each(|_| add(&tally.late_packets));
    }
}

pub(crate) struct Worker {
    pub(crate) line: Arc<Line>,
    /// The server's number of the connection that it had last.
    pub(crate) session: AtomicU32,
    in_call: Mutex<Option<(usize, Instant)>>,
}

impl Worker {
    pub(crate) fn new(line: &Arc<Line>) -> Self {
        Self { line: Arc::clone(line), session: AtomicU32::new(0), in_call: Mutex::new(None) }
    }

    /// The operation under way, and for how long it has been.
    pub(crate) fn in_call(&self) -> Option<(usize, Duration)> {
        self.in_call.lock().map(|(op, since)| (op, since.elapsed()))
    }

    pub(crate) fn work(&self, run: &Run) {
        let mut handle = self.line.handle.clone();
        while let Some(op) = run.next_op() {
            let plan = run.plan(op);
            plan.server_faults.iter().for_each(|fault| run.strike(*fault));
            self.prepare(run, plan.event, &mut handle);
            self.perform(run, op, &plan, &handle);
            if let Script::Cluster { failures: 1.., .. } = run.script {
                thread::sleep(CLUSTER_PAUSE);
            }
        }
    }

    fn prepare(&self, run: &Run, event: Event, handle: &mut Handle) {
        match (event, &self.line.proxy) {
            (Event::Reset, Some(proxy)) => {
                // Cutting takes late packets with it, which are to arrive.
                self.line.await_late_packets(&run.tally);
                proxy.cut_all();
                add(&run.tally.resets);
            }
            (Event::Close, Some(proxy)) => {
                self.line.await_late_packets(&run.tally);
                proxy.close_all();
                add(&run.tally.resets);
            }
            (Event::Refuse(time), Some(proxy)) => {
                self.line.await_late_packets(&run.tally);
                let line = Arc::clone(&self.line);
                proxy.refuse_connections(true);
                proxy.close_all();
                // The operation begins while connections are refused.
                thread::spawn(move || {
                    thread::sleep(time);
                    line.proxy.iter().for_each(|proxy| proxy.refuse_connections(false));
                });
                add(&run.tally.refusals);
            }
            (Event::MoveOn, Some(proxy)) if run.site.nodes().is_some_and(|nodes| nodes.move_on(proxy)) => add(&run.tally.moves),
            (Event::Fork, _) if !self.line.shared => {
                // A server that is away just now cannot be forked from.
                if let Handle::One(db) = handle
                    && let Ok(fork) = db.fork()
                {
                    *db = fork;
                    add(&run.tally.forks);
                }
            }
            _ => {}
        }
    }

    fn perform(&self, run: &Run, op: usize, plan: &Plan, scope: &Scope<'_>) {
        let inject = |proxy: &FaultProxy| {
            let connection = usize::try_from(proxy.counts().connections).unwrap_or(usize::MAX);
            let injected = plan.faults.iter().map(|fault| (*fault, proxy.inject(fault.fault(run.ledger, connection))));
            injected.collect::<Vec<_>>()
        };
        let injected = self.line.proxy.as_ref().map(inject).unwrap_or_default();
        run.records.begin(op, plan.order);
        let call = Call::new(op, plan.order, run, &self.session);
        let began = Instant::now();
        *self.in_call.lock() = Some((op, began));
        let outcome = match perform(scope, &call) {
            Ok(number) => Outcome::Ok(number),
            Err(BankError::Refused | BankError::InsufficientFunds | BankError::NoSuchAccount(_)) => Outcome::Refused,
            Err(BankError::Database(error)) if error.is_commit_unknown() => Outcome::Failed(ErrorKind::CommitUnknown),
            Err(BankError::Database(error)) => Outcome::Failed(error.kind()),
        };
        let took = began.elapsed();
        *self.in_call.lock() = None;
        let cut = self.end(run, injected);
        run.records.change(op, |record| {
            record.outcome = Some(outcome);
            record.attempts = call.attempts();
            record.took = took;
            record.cut = cut;
        });
        add(&run.tally.done);
        if matches!(outcome, Outcome::Ok(_)) {
            run.tally.count_ok(call.attempt_began());
        }
    }

    /// Ends the faults that were aimed at an operation, and says what became of its COMMIT.
    fn end(&self, run: &Run, injected: Vec<(PlannedFault, Injection)>) -> Cut {
        let mut cut = Cut::Not;
        for (fault, injection) in injected {
            injection.cancel();
            let hit = injection.fired() > 0;
            run.tally.count(&fault, hit);
            if !hit {
                continue;
            }
            if matches!(fault.target, Target::Commit | Target::CommitAgain | Target::Fence) {
                if cut == Cut::Not {
                    add(&run.tally.commits_cut);
                }
                cut = if fault.is_silent() || cut == Cut::Silent { Cut::Silent } else { Cut::Loud };
            }
            if matches!(fault.action, Action::DelayAndAbandon(_)) {
                self.line.late.lock().push(injection);
            }
        }
        cut
    }
}
