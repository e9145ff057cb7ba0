//! What does the database say, and what had the callers been told?

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use db_core::ErrorKind;
use db_core::mysql::prelude::Queryable;
use db_core::mysql::{Conn, Result};

use crate::bank::{ACCOUNTS, Kind, MAX_ATTEMPTS, OPENING_BALANCE};
use crate::book::{Cut, Outcome, Record};
use crate::{CALL_LIMIT, Run};

/// How long the last transactions may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(60);

const TRANSACTIONS: &str = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> CONNECTION_ID()";

/// A promise that was not kept: in which operation, and which.
pub(crate) struct Violation {
    pub(crate) op: Option<usize>,
    pub(crate) what: String,
}

#[derive(Default)]
pub(crate) struct Audit {
    pub(crate) violations: Vec<Violation>,
    pub(crate) ok: u64,
    pub(crate) replayed: u64,
    pub(crate) refused: u64,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) unknown_applied: u64,
    pub(crate) unknown_not_applied: u64,
    pub(crate) money: i64,
    pub(crate) uncut: Vec<Duration>,
    pub(crate) cut_loudly: Vec<Duration>,
    pub(crate) cut_silently: Vec<Duration>,
}

struct Entry {
    made: u64,
    from: u32,
    to: u32,
    amount: i64,
    undone: bool,
}

/// Waits until nothing is under way any more that could still change the database.
pub(crate) fn settle(admin: &mut Conn) -> Result<bool> {
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
    pub(crate) fn of(run: &Run, admin: &mut Conn) -> Result<Self> {
        let mut audit = Self::default();
        let mut journal: HashMap<usize, Vec<Entry>> = HashMap::new();
        let mut expected: HashMap<u32, i64> = (0..ACCOUNTS).map(|account| (account, OPENING_BALANCE)).collect();
        let query = "SELECT op, made, from_account, to_account, amount, undone FROM torture_journal";
        admin.query_fold(query, (), |(), (op, made, from, to, amount, undone)| {
            let entry = Entry { made, from, to, amount, undone };
            *expected.entry(from).or_default() -= amount;
            *expected.entry(to).or_default() += amount;
            journal.entry(op).or_default().push(entry);
        })?;
        let balances: HashMap<u32, i64> = admin.query("SELECT id, balance FROM torture_account")?.into_iter().collect();
        let money: i64 = balances.values().sum();
        audit.money = money;
        let before = i64::from(ACCOUNTS) * OPENING_BALANCE;
        audit.check(None, money == before, || format!("the sum of the balances was {before} and is {money}"));
        for (account, balance) in expected {
            let found = balances.get(&account).copied();
            audit.check(None, found == Some(balance), || format!("account {account} has {found:?}, and {balance} by the journal"));
        }
        run.book.each(|op, record| audit.examine(run, op, record, journal.remove(&op).unwrap_or_default()));
        for op in journal.into_keys() {
            audit.check(Some(op), false, || "the journal has an operation that never was".into());
        }
        audit.violations.sort_by_key(|violation| violation.op);
        [&mut audit.uncut, &mut audit.cut_loudly, &mut audit.cut_silently].into_iter().for_each(|times| times.sort_unstable());
        Ok(audit)
    }

    fn check(&mut self, op: Option<usize>, kept: bool, what: impl FnOnce() -> String) {
        if !kept {
            let what = what();
            self.violations.push(Violation { op, what });
        }
    }

    fn examine(&mut self, run: &Run, op: usize, record: &Record, entries: Vec<Entry>) {
        let order = run.plan(op).order;
        let mut check = |kept, what: &dyn Fn() -> String| self.check(Some(op), kept, what);
        check(entries.iter().all(|entry| !entry.undone), &|| "a part that was undone is in the database".into());
        let same = |entry: &Entry| (entry.from, entry.to, entry.amount) == (order.from, order.to, order.amount);
        check(entries.iter().all(same), &|| "the journal has another transfer under its number".into());
        check(entries.len() <= 1, &|| format!("applied {} times", entries.len()));
        check(record.undone_hooks == 0, &|| "a hook of a part that was undone has run".into());
        check(!record.misnumbered, &|| "an attempt had another number than its run".into());
        let most = if matches!(order.kind, Kind::Once) { 1 } else { MAX_ATTEMPTS };
        check(record.runs <= most, &|| format!("its body ran {} times", record.runs));
        check(!record.slow && record.took < CALL_LIMIT, &|| format!("took longer than {CALL_LIMIT:?}"));
        let Some(outcome) = record.outcome else {
            return check(!record.begun, &|| "its call has not returned".into());
        };
        let applied = !entries.is_empty();
        match outcome {
            Outcome::Ok(made) => {
                check(applied, &|| "reported Ok, and lost".into());
                let others: Vec<u64> = entries.iter().map(|entry| entry.made).filter(|other| *other != made).collect();
                check(others.is_empty(), &|| format!("returned {made}, and the journal says {others:?}"));
                let hooks = &record.commit_hooks;
                check(*hooks == [made], &|| format!("returned {made}, and after_commit ran for {hooks:?}"));
                let hooks = &record.rollback_hooks;
                check(hooks.is_empty(), &|| format!("reported Ok, and after_rollback ran for {hooks:?}"));
            }
            Outcome::Refused | Outcome::Failed(_) => {
                let unknown = outcome == Outcome::Failed(ErrorKind::CommitUnknown);
                check(!applied || (unknown && !run.ledger), &|| format!("reported {outcome:?}, and applied"));
                check(!unknown || !run.ledger, &|| "unknown, in spite of the ledger".into());
                let hooks = &record.commit_hooks;
                check(hooks.is_empty(), &|| format!("reported {outcome:?}, and after_commit ran for {hooks:?}"));
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
        self.replayed += u64::from(record.runs > 1);
        let times = match record.cut {
            Cut::Not => &mut self.uncut,
            Cut::Loud => &mut self.cut_loudly,
            Cut::Silent => &mut self.cut_silently,
        };
        times.push(record.took);
    }
}
