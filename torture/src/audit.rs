//! The audit: what the database says, against what the callers were told.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use db_core::ErrorKind;
use db_core::mysql::prelude::Queryable;
use db_core::mysql::{Conn, Result};

use crate::Run;
use crate::bank::Kind;
use crate::records::{Cut, Outcome, Record};

/// How long the server may take to end the last transactions.
const PATIENCE: Duration = Duration::from_secs(60);

const TRANSACTIONS: &str = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> CONNECTION_ID()";

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    NotLost,
    NotDoubled,
    NotTorn,
    FailedNotApplied,
    OutcomeKnown,
    Hooks,
    Attempts,
    CallEnds,
    ThreadEnds,
    NoPanic,
}

impl Promise {
    /// What is wrong where it is broken.
    fn broken(self) -> &'static str {
        match self {
            Promise::NotLost => "reported Ok and lost",
            Promise::NotDoubled => "applied more than once",
            Promise::NotTorn => "torn: the balances differ from the journal, or the journal from the order",
            Promise::FailedNotApplied => "reported failed and applied",
            Promise::OutcomeKnown => "of unknown outcome despite the commit ledger",
            Promise::Hooks => "with hooks that ran too often, too rarely, or for another attempt",
            Promise::Attempts => "with more attempts than allowed, or misnumbered ones",
            Promise::CallEnds => "calls took too long",
            Promise::ThreadEnds => "threads did not end",
            Promise::NoPanic => "threads panicked",
        }
    }
}

/// A promise that was broken: in which operation, and how.
pub(crate) struct Violation {
    pub(crate) op: Option<usize>,
    pub(crate) promise: Promise,
    pub(crate) what: String,
}

#[derive(Default)]
pub(crate) struct Audit {
    pub(crate) violations: Vec<Violation>,
    pub(crate) ok: u64,
    pub(crate) applied: u64,
    pub(crate) retried: u64,
    pub(crate) refused: u64,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) unknown_applied: u64,
    pub(crate) unknown_not_applied: u64,
    pub(crate) money_before: i64,
    pub(crate) money_after: i64,
    pub(crate) differing_accounts: u64,
    pub(crate) longest_call: Duration,
    pub(crate) uncut: Vec<Duration>,
    pub(crate) cut_loudly: Vec<Duration>,
    pub(crate) cut_silently: Vec<Duration>,
}

struct Entry {
    attempt: u32,
    from: u32,
    to: u32,
    amount: i64,
    undone: bool,
}

/// Waits until no transaction is open any more that could still change the database.
pub(crate) fn await_transactions(admin: &mut Conn) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while admin.query_first(TRANSACTIONS)? != Some(0) {
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}

impl Audit {
    /// `violations`: what was seen before.
    pub(crate) fn of(run: &Run, admin: &mut Conn, violations: Vec<Violation>) -> Result<Self> {
        let (accounts, opening_balance) = run.script.accounts();
        let money_before = i64::from(accounts) * opening_balance;
        let mut audit = Self { violations, money_before, ..Self::default() };
        let mut journal: HashMap<usize, Vec<Entry>> = HashMap::new();
        let mut expected: HashMap<u32, i64> = (0..accounts).map(|account| (account, opening_balance)).collect();
        if run.site.nodes().is_none() {
            // Serializable reads wait for what a killed session may still have under way. A group of several primaries refuses them.
            admin.query_drop("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")?;
        }
        admin.query_drop("START TRANSACTION")?;
        let query = "SELECT op, attempt, from_account, to_account, amount, undone FROM db_core_bank_journal";
        admin.query_fold(query, (), |(), (op, attempt, from, to, amount, undone)| {
            let entry = Entry { attempt, from, to, amount, undone };
            *expected.entry(from).or_default() -= amount;
            *expected.entry(to).or_default() += amount;
            journal.entry(op).or_default().push(entry);
        })?;
        let balances: HashMap<u32, i64> = admin.query("SELECT id, balance FROM db_core_bank_account")?.into_iter().collect();
        admin.query_drop("COMMIT")?;

        audit.applied = journal.len() as u64;
        let money: i64 = balances.values().sum();
        audit.money_after = money;
        audit.check(None, Promise::NotTorn, money == money_before, || {
            format!("the sum of the balances changed by {}", money - money_before)
        });
        for (account, balance) in expected {
            let found = balances.get(&account).copied();
            let same = found == Some(balance);
            audit.differing_accounts += u64::from(!same);
            audit.check(None, Promise::NotTorn, same, || format!("account {account} has {found:?}, and {balance} by the journal"));
        }
        run.records.each(|op, record| audit.examine(run, op, record, journal.remove(&op).unwrap_or_default()));
        for op in journal.into_keys() {
            audit.check(Some(op), Promise::NotTorn, false, || "the journal has an operation that never began".into());
        }
        audit.violations.sort_by_key(|violation| violation.op);
        [&mut audit.uncut, &mut audit.cut_loudly, &mut audit.cut_silently].into_iter().for_each(|times| times.sort_unstable());
        Ok(audit)
    }

    /// Every node has what the first has.
    pub(crate) fn compare_nodes(&mut self, run: &Run) -> crate::Result<()> {
        let Some(nodes) = run.site.nodes() else { return Ok(()) };
        for (index, node) in nodes.cluster.nodes().iter().enumerate() {
            let mut conn = node.connect()?;
            if !await_transactions(&mut conn)? {
                self.check(None, Promise::CallEnds, false, || format!("node {index}: transactions are still open"));
            }
            let other = Self::of(run, &mut conn, Vec::new())?;
            self.violations.extend(other.violations.into_iter().map(|violation| {
                let what = format!("node {index}: {}", violation.what);
                Violation { what, ..violation }
            }));
        }
        Ok(())
    }

    fn check(&mut self, op: Option<usize>, promise: Promise, kept: bool, what: impl FnOnce() -> String) {
        if !kept {
            let what = what();
            self.violations.push(Violation { op, promise, what });
        }
    }

    fn examine(&mut self, run: &Run, op: usize, record: &Record, entries: Vec<Entry>) {
        let order = record.order;
        let mut check = |promise, kept, what: &dyn Fn() -> String| self.check(Some(op), promise, kept, what);
        check(Promise::NotTorn, entries.iter().all(|entry| !entry.undone), &|| {
            "a rolled back nested transaction is in the database".into()
        });
        let same = |entry: &Entry| (entry.from, entry.to, entry.amount) == (order.from, order.to, order.amount);
        check(Promise::NotTorn, entries.iter().all(same), &|| "the journal has another transfer under its number".into());
        check(Promise::NotDoubled, entries.len() <= 1, &|| format!("applied {} times", entries.len()));
        check(Promise::Hooks, record.undone_hooks == 0, &|| "a hook of a rolled back nested transaction has run".into());
        check(Promise::Attempts, !record.misnumbered, &|| "an attempt had the number of another".into());
        let most = if matches!(order.kind, Kind::Once) { 1 } else { run.script.max_attempts() };
        check(Promise::Attempts, record.attempts <= most, &|| format!("its body ran {} times", record.attempts));
        let limit = run.script.call_limit();
        check(Promise::CallEnds, !record.slow && record.took < limit, &|| format!("took longer than {limit:?}"));
        let Some(outcome) = record.outcome else {
            return check(Promise::CallEnds, false, &|| "its call has not returned".into());
        };
        let applied = !entries.is_empty();
        let hooks = record.after_commit;
        match outcome {
            Outcome::Ok(attempt) => {
                check(Promise::NotLost, applied, &|| "reported Ok, and lost".into());
                let others: Vec<u32> = entries.iter().map(|entry| entry.attempt).filter(|other| *other != attempt).collect();
                check(Promise::NotTorn, others.is_empty(), &|| format!("returned attempt {attempt}, and the journal has {others:?}"));
                let once = hooks.times == 1 && hooks.attempt == attempt;
                check(Promise::Hooks, once, &|| format!("returned attempt {attempt}, and after_commit: {hooks:?}"));
                let hooks = record.after_rollback;
                check(Promise::Hooks, hooks.times == 0, &|| format!("reported Ok, and after_rollback: {hooks:?}"));
            }
            Outcome::Refused | Outcome::Failed(_) => {
                let unknown = outcome == Outcome::Failed(ErrorKind::CommitUnknown);
                check(Promise::FailedNotApplied, !applied || unknown, &|| format!("reported {outcome:?}, and applied"));
                check(Promise::OutcomeKnown, !unknown || !run.ledger, &|| format!("unknown despite the ledger, applied: {applied}"));
                check(Promise::Hooks, hooks.times == 0, &|| format!("reported {outcome:?}, and after_commit: {hooks:?}"));
            }
        }
        self.count(outcome, applied, record);
    }

    fn count(&mut self, outcome: Outcome, applied: bool, record: &Record) {
        match outcome {
            Outcome::Ok(_) => self.ok += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Failed(ErrorKind::CommitUnknown) if applied => self.unknown_applied += 1,
            Outcome::Failed(ErrorKind::CommitUnknown) => self.unknown_not_applied += 1,
            Outcome::Failed(kind) => *self.failed.entry(format!("{kind:?}")).or_default() += 1,
        }
        self.retried += u64::from(record.attempts > 1);
        self.longest_call = self.longest_call.max(record.took);
        let times = match record.cut {
            Cut::Not => &mut self.uncut,
            Cut::Loud => &mut self.cut_loudly,
            Cut::Silent => &mut self.cut_silently,
        };
        times.push(record.took);
    }

    pub(crate) fn unknown(&self) -> u64 {
        self.unknown_applied + self.unknown_not_applied
    }

    pub(crate) fn broken(&self, promise: Promise) -> u64 {
        self.violations.iter().filter(|violation| violation.promise == promise).count() as u64
    }

    /// Each broken promise, and how often.
    pub(crate) fn summary(&self) -> Vec<String> {
        let mut counts: BTreeMap<Promise, usize> = BTreeMap::new();
        self.violations.iter().for_each(|violation| *counts.entry(violation.promise).or_default() += 1);
        counts.into_iter().map(|(promise, count)| format!("{count} {}", promise.broken())).collect()
    }
}
