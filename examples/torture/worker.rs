//! One operation after the other, each with the faults that were planned for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use db_core::Db;
use db_testkit::{Action, FaultProxy, Injection};
use parking_lot::Mutex;

use crate::bank::{BankError, Call, make};
use crate::book::{Cut, Outcome};
use crate::plan::{Event, Plan, Shot, Target};
use crate::tally::{Tally, add};
use crate::{LATEST, Run};

/// A database, and the proxy that only its own requests go through: a fault hits whoever it was meant for.
pub(crate) struct Line {
    pub(crate) proxy: FaultProxy,
    pub(crate) db: Db,
    /// Several workers take turns on the one connection.
    pub(crate) shared: bool,
    late: Mutex<Vec<Injection>>,
}

impl Line {
    pub(crate) fn new(proxy: FaultProxy, db: Db, shared: bool) -> Arc<Self> {
        Arc::new(Self { proxy, db, shared, late: Mutex::default() })
    }

    /// Waits until every late packet has reached the server. One that a cut connection took with it never will.
    pub(crate) fn await_late_packets(&self, tally: &Tally) {
        let late = std::mem::take(&mut *self.late.lock());
        late.iter().filter(|injection| injection.wait_delivered(LATEST)).for_each(|_| add(&tally.late_packets));
    }
}

pub(crate) struct Worker {
    pub(crate) line: Arc<Line>,
    in_call: Mutex<Option<(usize, Instant)>>,
}

impl Worker {
    pub(crate) fn new(line: &Arc<Line>) -> Self {
        Self { line: Arc::clone(line), in_call: Mutex::new(None) }
    }

    /// The operation under way, and for how long it has been.
    pub(crate) fn in_call(&self) -> Option<(usize, Duration)> {
        self.in_call.lock().map(|(op, since)| (op, since.elapsed()))
    }

    pub(crate) fn work(&self, run: &Run) {
        let mut db = self.line.db.clone();
        while let Some(op) = run.next_op() {
            let plan = run.plan(op);
            if let Some(blow) = plan.blow {
                run.strike(blow);
            }
            self.precede(run, plan.event, &mut db);
            self.perform(run, op, &plan, &db);
        }
    }

    fn precede(&self, run: &Run, event: Event, db: &mut Db) {
        let Line { proxy, .. } = &*self.line;
        match event {
            Event::None => {}
            Event::KillSession { after, pick } => run.kill_session(after, pick),
            Event::Reset | Event::Close => {
                // Cutting takes late packets with it, which are to arrive.
                self.line.await_late_packets(&run.tally);
                if event == Event::Reset {
                    proxy.cut_all()
                } else {
                    proxy.close_all()
                }
                add(&run.tally.resets);
            }
            Event::Refuse(time) => {
                self.line.await_late_packets(&run.tally);
                let line = Arc::clone(&self.line);
                proxy.refuse_connections(true);
                proxy.close_all();
                // The operation begins while nobody listens.
                thread::spawn(move || {
                    thread::sleep(time);
                    line.proxy.refuse_connections(false);
                });
                add(&run.tally.outages);
            }
            Event::Fork if self.line.shared => {}
            // A server that is away just now cannot be forked from.
            Event::Fork => {
                if let Ok(fork) = db.fork() {
                    *db = fork;
                    add(&run.tally.forks);
                }
            }
        }
    }

    fn perform(&self, run: &Run, op: usize, plan: &Plan, db: &Db) {
        let connection = usize::try_from(self.line.proxy.counts().connections).unwrap_or(usize::MAX);
        let aimed: Vec<(Shot, Injection)> =
            plan.shots.iter().map(|shot| (*shot, self.line.proxy.inject(shot.fault(run.ledger, connection)))).collect();
        let call = Call::new(op, plan.order, &run.book);
        let began = Instant::now();
        *self.in_call.lock() = Some((op, began));
        run.book.change(op, |record| record.begun = true);
        let outcome = match make(db, &call) {
            Ok(made) => Outcome::Ok(made),
            Err(BankError::Refused | BankError::NoSuchAccount(_)) => Outcome::Refused,
            Err(BankError::Database(error)) => Outcome::Failed(error.kind()),
        };
        let took = began.elapsed();
        *self.in_call.lock() = None;
        let cut = self.reckon(run, aimed);
        run.book.change(op, |record| {
            record.outcome = Some(outcome);
            record.runs = call.runs();
            record.took = took;
            record.cut = cut;
        });
        run.tally.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the faults that were aimed at an operation, and says what became of its COMMIT.
    fn reckon(&self, run: &Run, aimed: Vec<(Shot, Injection)>) -> Cut {
        let mut cut = Cut::Not;
        for (shot, injection) in aimed {
            injection.cancel();
            let hit = injection.fired() > 0;
            run.tally.count(&shot, hit);
            if !hit {
                continue;
            }
            if matches!(shot.target, Target::Commit | Target::CommitAgain | Target::Fence) {
                if cut == Cut::Not {
                    add(&run.tally.commits_cut);
                }
                cut = if shot.is_silent() || cut == Cut::Silent { Cut::Silent } else { Cut::Loud };
            }
            if matches!(shot.action, Action::DelayAndAbandon(_)) {
                self.line.late.lock().push(injection);
            }
        }
        cut
    }
}
