//! Runs a program, and notes what its bodies and its caller were told.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use db_core::mysql::{self, Statement as Prepared};
use db_core::prelude::*;
use db_core::{Error, TxOptions};
use db_testkit::{Action, Injection};

use crate::program::{Call, How, Node, Procedure, Program, Statement, Value};
use crate::site::{Result, Site, World};
use crate::sql::note;

/// A panic of the program's own.
pub(crate) struct Planned;

/// What a body, or the caller, was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    /// With what a `Probe` saw.
    Ok(Option<String>),
    Err {
        kind: ErrorKind,
        code: Option<u16>,
        transient: bool,
        message: String,
    },
    /// The body's own error.
    Own,
    Poisoned,
    Panicked,
    /// A panic that is none of the program's.
    Unplanned(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A run of the call's body of this number begins.
    Begin(usize),
    /// Of a statement, or of a call on the other database.
    Leaf(Told),
    /// A nested body begins.
    Enter,
    Exit(Told),
    /// Of a transaction, where its caller is the program.
    End(Told),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Commit,
    Rollback,
}

/// What happened in one call.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) events: Vec<Event>,
    pub(crate) told: Told,
    pub(crate) hooks: Vec<(On, u32)>,
    /// The fault has happened, in this call or before.
    pub(crate) fault: bool,
    /// The rival was there.
    pub(crate) rival: bool,
    /// A transaction still holds locks.
    pub(crate) left_open: bool,
    /// The database afterwards.
    pub(crate) world: World,
    /// The database once the program's connections are closed, if that is something else.
    pub(crate) late: Option<World>,
}

/// What bodies fail with.
enum Failure {
    Database(Error),
    Own,
    Poisoned,
}

thread_local! {
    static POISON_FROM: Cell<bool> = const { Cell::new(false) };
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if POISON_FROM.get() {
            panic_any(Planned);
        }
        Self::Database(error)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body failed")
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database(error) => Some(error),
            Self::Own => None,
            Self::Poisoned => panic_any(Planned),
        }
    }
}

fn told_of(error: &Error) -> Told {
    Told::Err { kind: error.kind(), code: error.code(), transient: error.is_transient(), message: error.to_string() }
}

fn told(outcome: &std::thread::Result<std::result::Result<(), Failure>>) -> Told {
    match outcome {
        Ok(result) => told_of_result(result),
        Err(panic) => told_of_panic(panic),
    }
}

fn told_of_result(result: &std::result::Result<(), Failure>) -> Told {
    match result {
        Ok(()) => Told::Ok(None),
        Err(Failure::Database(error)) => told_of(error),
        Err(Failure::Own) => Told::Own,
        Err(Failure::Poisoned) => Told::Poisoned,
    }
}

fn told_of_panic(panic: &Box<dyn std::any::Any + Send>) -> Told {
    if panic.is::<Planned>() {
        return Told::Panicked;
    }
    let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Told::Unplanned(text.unwrap_or_default())
}

/// One program under way.
struct Runner<'r> {
    site: &'r Site,
    program: &'r Program,
    db: &'r Db,
    other: OnceCell<Db>,
    events: RefCell<Vec<Event>>,
    hooks: Rc<RefCell<Vec<(On, u32)>>>,
    prepared: RefCell<Option<Prepared>>,
    rival_started: Cell<bool>,
}

#[retry_on_disconnect]
#[transactional]
fn retried(tx: &mut Transaction<'_>, run: &Runner<'_>, body: usize, block: &[Node]) -> std::result::Result<(), Failure> {
    run.body(tx, body, block)
}

#[retry_on_disconnect]
#[transactional(read_only)]
fn retried_read_only(tx: &mut Transaction<'_>, run: &Runner<'_>, body: usize, block: &[Node]) -> std::result::Result<(), Failure> {
    run.body(tx, body, block)
}

#[transactional]
fn once(tx: &mut Transaction<'_>, run: &Runner<'_>, body: usize, block: &[Node]) -> std::result::Result<(), Failure> {
    run.body(tx, body, block)
}

#[transactional(read_only)]
fn once_read_only(tx: &mut Transaction<'_>, run: &Runner<'_>, body: usize, block: &[Node]) -> std::result::Result<(), Failure> {
    run.body(tx, body, block)
}

#[transactional]
fn nested(tx: &mut Transaction<'_>, run: &Runner<'_>, block: &[Node]) -> std::result::Result<(), Failure> {
    run.enter(tx, block)
}

#[transactional(join)]
fn joined(tx: &mut Transaction<'_>, run: &Runner<'_>, block: &[Node]) -> std::result::Result<(), Failure> {
    run.enter(tx, block)
}

#[retry_on_disconnect]
fn retried_several(db: &Db, run: &Runner<'_>, call: &Call) -> std::result::Result<(), Failure> {
    run.several(db, call)
}

impl Runner<'_> {
    fn call(&self, call: &Call) -> Told {
        let policy = RetryPolicy::default().base_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(20));
        let options = TxOptions::new().read_only(call.read_only);
        let outcome = catch_unwind(AssertUnwindSafe(|| match (&call.bodies[..], call.attributes, call.retry) {
            ([block], true, true) if call.read_only => retried_read_only(self.db, self, 0, block),
            ([block], true, false) if call.read_only => once_read_only(self.db, self, 0, block),
            ([block], true, true) => retried(self.db, self, 0, block),
            ([block], true, false) => once(self.db, self, 0, block),
            (_, true, true) => retried_several(self.db, self, call),
            (_, false, true) => self.db.retry(&policy, |_| self.several(self.db, call)),
            ([block], false, false) => self.db.transaction_with(&options, |tx| self.body(tx, 0, block)),
            (_, _, false) => self.several(self.db, call),
        }));
        POISON_FROM.set(false);
        told(&outcome)
    }

    fn several(&self, db: &Db, call: &Call) -> std::result::Result<(), Failure> {
        let options = TxOptions::new().read_only(call.read_only);
        for (number, block) in call.bodies.iter().enumerate() {
            let outcome = catch_unwind(AssertUnwindSafe(|| match (call.attributes, call.read_only) {
                (true, true) => once_read_only(db, self, number, block),
                (true, false) => once(db, self, number, block),
                (false, _) => db.transaction_with(&options, |tx| self.body(tx, number, block)),
            }));
            self.note(Event::End(told(&outcome)));
            match outcome {
                Ok(result) => result?,
                Err(panic) => resume_unwind(panic),
            }
        }
        Ok(())
    }

    fn note(&self, event: Event) {
        self.events.borrow_mut().push(event);
    }

    fn body(&self, tx: &mut Transaction<'_>, number: usize, block: &[Node]) -> std::result::Result<(), Failure> {
        POISON_FROM.set(false);
        self.prepared.replace(None);
        self.note(Event::Begin(number));
        self.block(tx, block)
    }

    fn enter(&self, tx: &mut Transaction<'_>, block: &[Node]) -> std::result::Result<(), Failure> {
        self.note(Event::Enter);
        self.block(tx, block)
    }

    fn block(&self, tx: &mut Transaction<'_>, block: &[Node]) -> std::result::Result<(), Failure> {
        for node in block {
            match node {
                Node::Do { statement, how, handled } => {
                    if self.starts_rival_before(statement) {
                        self.start_rival(Duration::from_millis(8));
                    }
                    let outcome = catch_unwind(AssertUnwindSafe(|| self.statement(tx, statement, *how)));
                    let told = match &outcome {
                        Ok(Ok(seen)) => Told::Ok(seen.clone()),
                        Ok(Err(error)) => told_of(error),
                        Err(panic) => told_of_panic(panic),
                    };
                    let fine = matches!(told, Told::Ok(_));
                    self.note(Event::Leaf(told));
                    match outcome {
                        Ok(Err(error)) if !handled => return Err(Failure::Database(error)),
                        Err(panic) if !handled => resume_unwind(panic),
                        _ => {}
                    }
                    if fine && matches!(statement, Statement::Nine { .. }) {
                        self.start_rival(Duration::ZERO);
                    }
                }
                Node::Nested { join, attributes, handled, block } => {
                    let options = TxOptions::new().join(*join);
                    let outcome = catch_unwind(AssertUnwindSafe(|| match (attributes, join) {
                        (true, true) => joined(tx, self, block),
                        (true, false) => nested(tx, self, block),
                        (false, _) => tx.transaction_with(&options, |tx| self.enter(tx, block)),
                    }));
                    self.note(Event::Exit(told(&outcome)));
                    match outcome {
                        Ok(Err(error)) if !handled => return Err(error),
                        Err(panic) if !handled => resume_unwind(panic),
                        _ => {}
                    }
                }
                Node::Other { retry, fails, handled, notes } => {
                    let result = self.other(*retry, *fails, notes);
                    self.note(Event::Leaf(told_of_result(&result)));
                    if !handled {
                        result?;
                    }
                }
                Node::RollbackOnly => tx.set_rollback_only(),
                Node::AfterCommit(number) => {
                    let (hooks, number) = (Rc::clone(&self.hooks), *number);
                    tx.after_commit(move || hooks.borrow_mut().push((On::Commit, number)));
                }
                Node::AfterRollback(number) => {
                    let (hooks, number) = (Rc::clone(&self.hooks), *number);
                    tx.after_rollback(move || hooks.borrow_mut().push((On::Rollback, number)));
                }
                Node::Fail { poisoned } => return Err(if *poisoned { Failure::Poisoned } else { Failure::Own }),
                Node::PoisonFrom => POISON_FROM.set(true),
                Node::Panic => panic_any(Planned),
            }
        }
        Ok(())
    }

    fn other(&self, retry: bool, fails: bool, notes: &[u32]) -> std::result::Result<(), Failure> {
        let poison = POISON_FROM.replace(false);
        let write = |tx: &mut Transaction<'_>| {
            for number in notes {
                tx.query_drop(self.site.names.other_note(*number)).map_err(Failure::Database)?;
            }
            if fails { Err(Failure::Own) } else { Ok(()) }
        };
        let db = match self.other.get() {
            Some(db) => Ok(db),
            None => self.db.fork().map(|db| self.other.get_or_init(|| db)),
        };
        let done = db
            .map_err(Failure::Database)
            .and_then(|db| if retry { db.retry(&RetryPolicy::default(), |_| db.transaction(write)) } else { db.transaction(write) });
        POISON_FROM.set(poison);
        done
    }

    /// A procedure takes both accounts in one statement: the rival has to be there before.
    fn starts_rival_before(&self, statement: &Statement) -> bool {
        matches!(
            statement,
            Statement::Call { procedure: Procedure::Swallow, .. } | Statement::Compound { procedure: Procedure::Swallow, .. }
        )
    }

    fn start_rival(&self, delay: Duration) {
        let conflict = |node: &Node| matches!(node, Node::Do { statement, .. } if statement.conflicts() && !matches!(statement, Statement::Nine { .. }));
        if !self.rival_started.get() && self.program.any(&conflict) {
            self.rival_started.set(self.site.rival.start(delay).is_ok());
        }
    }

    fn statement(&self, tx: &mut Transaction<'_>, statement: &Statement, how: How) -> db_core::Result<Option<String>> {
        let text = self.site.names.text(statement);
        match statement {
            Statement::Items { rows, .. } => tx.exec_batch(text, rows.iter().map(|(k, v)| (*k, value(v))))?,
            Statement::Probe => return tx.query_first(text),
            Statement::Prepare => _ = self.prepared.replace(Some(tx.prep(text)?)),
            Statement::ExecutePrepared(number) => {
                if let Some(prepared) = &*self.prepared.borrow() {
                    tx.exec_drop(prepared, (note(*number),))?;
                }
            }
            Statement::EvictPrepared => {
                for number in 0..33 {
                    tx.exec_drop(format!("DO {number} + ?"), (1,))?;
                }
            }
            Statement::Reenter => self.db.transaction(|_| Ok::<_, Error>(()))?,
            _ => self.send(tx, &text, how)?,
        }
        Ok(None)
    }

    fn send(&self, tx: &mut Transaction<'_>, text: &str, how: How) -> db_core::Result<()> {
        match how {
            How::Drop => tx.query_drop(text),
            How::Exec => tx.exec_drop(text, ()),
            How::First => tx.query_first::<mysql::Row, _>(text).map(drop),
            How::Raw => Queryable::query_iter(tx, text).map(drop).map_err(Error::from),
            How::RawFirst => {
                let mut result = Queryable::query_iter(tx, text)?;
                let first = result.next().transpose();
                drop(result);
                first.map(drop).map_err(Error::from)
            }
            How::RawExec => Queryable::exec_iter(tx, text, ()).map(drop).map_err(Error::from),
            How::RowPanic => tx.query_map(text, |_: mysql::Row| panic_any(Planned)).map(|_: Vec<()>| ()),
        }
    }
}

fn value(value: &Value) -> mysql::Value {
    match value {
        Value::Int(n) => mysql::Value::Int(*n),
        Value::UInt(n) => mysql::Value::UInt(*n),
        Value::Double(n) => mysql::Value::Double(*n),
        Value::Text(text) => mysql::Value::Bytes(text.as_bytes().to_vec()),
        Value::Null => mysql::Value::NULL,
    }
}

/// Runs the program's calls one after the other, and reads the database after each.
pub(crate) fn run(site: &mut Site, program: &Program) -> Result<Vec<Seen>> {
    let url = if program.fault.is_some() { &site.proxy_url } else { &site.direct_url };
    let policy = RetryPolicy::default().base_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(20));
    let db = Db::builder(url).retry(policy).commit_ledger(program.ledger).connect()?;
    let mut seen = Vec::new();
    let mut injection: Option<Injection> = None;
    let mut rival_started = false;
    let mut other = OnceCell::new();
    let mut outcome = Ok(());
    for (number, call) in program.calls.iter().enumerate() {
        if let Some(fault) = program.fault.filter(|fault| fault.call == number) {
            let mut planned = db_testkit::Fault::new(fault.point, fault.action).nth(fault.nth).times(fault.times);
            if fault.at_commit {
                planned = planned.matching("COMMIT");
            }
            injection = Some(site.proxy.inject(planned));
        }
        let runner = Runner {
            site,
            program,
            db: &db,
            other,
            events: RefCell::default(),
            hooks: Rc::default(),
            prepared: RefCell::default(),
            rival_started: Cell::new(rival_started),
        };
        let told = runner.call(call);
        let rival_now = runner.rival_started.get() && !rival_started;
        let Runner { events, hooks, rival_started: started, other: fork, .. } = runner;
        rival_started = started.get();
        other = fork;
        let (events, hooks) = (events.into_inner(), hooks.take());
        if rival_now {
            site.rival.wait()?;
        }
        let fault = injection.as_ref().is_some_and(|injection| injection.fired() > 0);
        if fault
            && matches!(program.fault, Some(fault) if matches!(fault.action, Action::DelayAndAbandon(_)))
            && let Some(injection) = &injection
        {
            let _ = injection.wait_delivered(Duration::from_secs(5));
        }
        if fault {
            site.settle()?;
        }
        let settled = site.world(fault);
        let left_open = settled.is_err();
        match settled.or_else(|_| site.world(false)) {
            Ok(world) => seen.push(Seen { events, told, hooks, fault, rival: rival_started, left_open, world, late: None }),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    if let Some(injection) = injection {
        injection.cancel();
    }
    drop(other);
    drop(db);
    if let Some(last) = seen.last_mut() {
        let world = site.world(last.fault)?;
        site.reset(&world)?;
        last.late = Some(world).filter(|world| *world != last.world);
    }
    outcome.map(|()| seen)
}
