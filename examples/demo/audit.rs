//! After the fire: what does the database say, and what had been reported?

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use comfy_table::{Table, presets};
use db_core::ErrorKind;
use db_core::mysql::prelude::Queryable;
use db_core::mysql::{Conn, Result};
use indicatif::HumanCount;

use crate::bank::{ACCOUNTS, OPENING_BALANCE};
use crate::worker::Outcome;
use crate::{Hung, Run};

#[derive(Default)]
pub(crate) struct Audit {
    reported_ok: u64,
    refused: u64,
    failed: BTreeMap<String, u64>,
    applied: u64,
    lost: u64,
    doubled: u64,
    failed_but_applied: u64,
    /// With a commit ledger no outcome may be unknown.
    ledger: bool,
    unknown_applied: u64,
    unknown_not_applied: u64,
    money_before: i64,
    money_after: i64,
    differing_accounts: usize,
    hung: Hung,
}

struct Entry {
    id: u64,
    from: u32,
    to: u32,
    amount: i64,
}

impl Audit {
    pub(crate) fn of(run: &Run, admin: &mut Conn, hung: Hung) -> Result<Self> {
        let mut audit = Self { hung, ledger: run.server.is_some(), money_before: i64::from(ACCOUNTS) * OPENING_BALANCE, ..Self::default() };
        // Serializable reads wait for what a killed session may still have under way.
        admin.query_drop("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")?;
        admin.query_drop("START TRANSACTION")?;
        let mut times: HashMap<u64, u64> = HashMap::new();
        let mut expected: HashMap<u32, i64> = (0..ACCOUNTS).map(|account| (account, OPENING_BALANCE)).collect();
        let journal = "SELECT id, from_account, to_account, amount FROM db_core_demo_journal";
        admin.query_fold(journal, (), |(), (id, from, to, amount)| {
            let entry = Entry { id, from, to, amount };
            *times.entry(entry.id).or_default() += 1;
            *expected.entry(entry.from).or_default() -= entry.amount;
            *expected.entry(entry.to).or_default() += entry.amount;
        })?;
        let balances: HashMap<u32, i64> = admin.query("SELECT id, balance FROM db_core_demo_account")?.into_iter().collect();
        admin.query_drop("COMMIT")?;

        audit.applied = times.len() as u64;
        audit.doubled = times.values().filter(|&&times| times > 1).count() as u64;
        audit.money_after = balances.values().sum();
        audit.differing_accounts = expected.iter().filter(|(account, balance)| balances.get(account) != Some(balance)).count();
        for worker in &run.workers {
            worker.each_outcome(|id, outcome| audit.compare(outcome, times.contains_key(&id)));
        }
        Ok(audit)
    }

    fn compare(&mut self, outcome: Outcome, applied: bool) {
        match outcome {
            Outcome::Ok => {
                self.reported_ok += 1;
                self.lost += u64::from(!applied);
            }
            Outcome::Refused => {
                self.refused += 1;
                self.failed_but_applied += u64::from(applied);
            }
            Outcome::Failed(ErrorKind::CommitUnknown) if applied => self.unknown_applied += 1,
            Outcome::Failed(ErrorKind::CommitUnknown) => self.unknown_not_applied += 1,
            Outcome::Failed(kind) => {
                *self.failed.entry(format!("{kind:?}")).or_default() += 1;
                self.failed_but_applied += u64::from(applied);
            }
            // Its call never returned: the watchdog has counted it.
            Outcome::None => {}
        }
    }

    /// The promises that were not kept.
    pub(crate) fn broken(&self) -> Vec<String> {
        let money = self.money_after - self.money_before;
        [
            (self.lost, "reported Ok and lost"),
            (self.doubled, "applied more than once"),
            (self.failed_but_applied, "reported failed and applied"),
            (self.differing_accounts as u64, "accounts differ from the journal"),
            (if self.ledger { self.unknown() } else { 0 }, "of unknown outcome despite the commit ledger"),
            (self.hung.threads, "threads did not end"),
            (self.hung.calls, "calls took too long"),
            (self.hung.panics, "threads panicked"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", HumanCount(count)))
        .chain((money != 0).then(|| format!("the sum of the balances changed by {money}")))
        .collect()
    }

    fn unknown(&self) -> u64 {
        self.unknown_applied + self.unknown_not_applied
    }

    pub(crate) fn summary(&self) -> String {
        match self.broken().as_slice() {
            [] => format!(
                "kept: {} transfers reported Ok, every one applied once; nothing lost, doubled, torn or hung; {} of unknown outcome",
                HumanCount(self.reported_ok),
                HumanCount(self.unknown()),
            ),
            broken => format!("BROKEN: {}", broken.join("; ")),
        }
    }

    pub(crate) fn table(&self, run: &Run) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["under fire", run.version.as_str()]);
        let kinds: Vec<String> = self.failed.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let failed = HumanCount(self.failed.values().sum()).to_string();
        let load = |counter: &AtomicU64| HumanCount(counter.load(Ordering::Relaxed)).to_string();
        let rows = [
            ("transfers reported Ok", HumanCount(self.reported_ok).to_string(), None),
            ("transfers applied", HumanCount(self.applied).to_string(), None),
            ("  reported Ok, lost", self.lost.to_string(), Some(self.lost == 0)),
            ("  applied more than once", self.doubled.to_string(), Some(self.doubled == 0)),
            ("reported failed: insufficient funds", HumanCount(self.refused).to_string(), None),
            ("reported failed: fault", if kinds.is_empty() { failed } else { format!("{failed} ({})", kinds.join(", ")) }, None),
            ("  reported failed, applied", self.failed_but_applied.to_string(), Some(self.failed_but_applied == 0)),
            ("outcome unknown (CommitUnknown)", self.unknown().to_string(), self.ledger.then_some(self.unknown() == 0)),
            ("  of these applied", self.unknown_applied.to_string(), None),
            ("  of these not applied", self.unknown_not_applied.to_string(), None),
            ("money before", self.money_before.to_string(), None),
            ("money after", self.money_after.to_string(), Some(self.money_after == self.money_before)),
            ("accounts that differ from the journal", self.differing_accounts.to_string(), Some(self.differing_accounts == 0)),
            ("hung threads, hung calls, panics", self.hung.to_string(), Some(self.hung.is_none())),
            ("longest call", format!("{:.2} s", self.hung.longest_call.as_secs_f64()), None),
            ("connections killed", load(&run.tally.connections_killed), None),
            ("server kills", run.tally.server_kills().to_string(), None),
            ("retries", load(&run.tally.retries), None),
            ("reconnects", load(&run.tally.reconnects), None),
            ("transfers again after a server kill", run.tally.recoveries().to_string(), None),
            ("  of which the server was away", run.tally.absences().to_string(), None),
        ];
        examples::add_rows(&mut table, rows);
        table
    }
}
