//! Does an annotated function mean what the plain function means, whatever its shape?
//!
//! `ui/pass` holds every shape that compiles; here are those whose behaviour could differ.

#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};

use db_core::prelude::*;
use tests::{Bank, bank, deposit};

/// Ends the connection of the first run, so that there is a second.
fn fail_once(bank: &Bank, tx: &mut Transaction<'_>, attempt: Attempt) -> db_core::Result<()> {
    deposit(tx, 1, 1)?;
    if attempt.count() == 0 {
        bank.kill(tx.connection_id().unwrap());
    }
    deposit(tx, 2, 1)
}

#[retry_on_disconnect]
#[transactional]
fn uses_up_what_it_is_given(
    tx: &mut Transaction<'_>,
    attempt: Attempt,
    bank: &Bank,
    (mut count, names): (u64, Vec<String>),
    mut text: String,
    job: impl FnOnce(String) -> usize + Clone,
    [first, ..]: [u8; 2],
    seen: &mut Vec<u64>,
) -> db_core::Result<(u64, usize, u8)> {
    count += names.len() as u64;
    drop(names);
    text.push('!');
    seen.push(count);
    let length = job(text);
    fail_once(bank, tx, attempt)?;
    Ok((count, length, first))
}

#[test]
fn each_run_begins_with_what_the_caller_passed() {
    let bank = bank();
    let mut seen = vec![];
    let names = vec!["a".to_owned(), "b".to_owned()];
    let found = uses_up_what_it_is_given(&bank.db, &bank, (1, names), "text".to_owned(), |text| text.len(), [7, 8], &mut seen);
    assert_eq!(found.unwrap(), (3, 5, 7));
    assert_eq!(seen, [3, 3], "what is lent for changing keeps the changes of both runs");
    assert_eq!(bank.balance(1), 101);
}

#[derive(Clone)]
struct Teller {
    handled: u64,
    bank: Arc<Bank>,
}

impl Teller {
    #[retry_on_disconnect]
    #[transactional(on = self.bank.db)]
    fn by_value(mut self, tx: &mut Transaction<'_>, attempt: Attempt) -> db_core::Result<u64> {
        self.handled += 1;
        fail_once(&self.bank, tx, attempt)?;
        Ok(self.handled)
    }

    #[retry_on_disconnect]
    #[transactional(on = self.bank.db)]
    fn shared(self: Arc<Self>, tx: &mut Transaction<'_>, attempt: Attempt, told: Rc<Cell<u64>>) -> db_core::Result<()> {
        fail_once(&self.bank, tx, attempt)?;
        tx.after_commit(move || told.set(self.handled));
        Ok(())
    }

    #[retry_on_disconnect]
    #[transactional(on = self.bank.db)]
    fn lent(&mut self, tx: &mut Transaction<'_>, attempt: Attempt) -> db_core::Result<()> {
        self.handled += 1;
        fail_once(&self.bank, tx, attempt)
    }
}

#[test]
fn a_receiver_by_value_is_new_in_each_run_and_a_lent_one_is_the_same() {
    let mut teller = Teller { handled: 10, bank: Arc::new(bank()) };
    assert_eq!(teller.clone().by_value().unwrap(), 11);
    let told = Rc::default();
    Arc::new(teller.clone()).shared(Rc::clone(&told)).unwrap();
    assert_eq!(told.get(), 10);
    teller.lent().unwrap();
    assert_eq!(teller.handled, 12);
    assert_eq!(teller.bank.balance(1), 103);
}

#[transactional]
fn leaves_by(tx: &mut Transaction<'_>, way: &str) -> db_core::Result<u32> {
    deposit(tx, 1, 1)?;
    if way == "return" {
        return Ok(1);
    }
    let mut rounds = 0;
    let found = 'search: loop {
        rounds += 1;
        for id in 2.. {
            if way == "break" && id == 3 {
                break 'search id;
            }
            if way == "question mark" {
                tx.query_drop("SELECT no_such_column")?;
            }
            if way == "panic" {
                panic!("on purpose");
            }
            if id > 5 {
                break;
            }
        }
        if rounds > 1 {
            break 0;
        }
    };
    fn nested(found: u32) -> u32 {
        found + 1
    }
    Ok(nested(found))
}

#[test]
fn every_way_out_of_the_body_ends_the_transaction_as_it_would_the_function() {
    let bank = bank();
    assert_eq!(leaves_by(&bank.db, "return").unwrap(), 1);
    assert_eq!(leaves_by(&bank.db, "break").unwrap(), 4);
    assert_eq!(leaves_by(&bank.db, "end").unwrap(), 1);
    assert_eq!(bank.balance(1), 103);
    assert_eq!(leaves_by(&bank.db, "question mark").unwrap_err().kind(), ErrorKind::UnknownColumn);
    catch_unwind(AssertUnwindSafe(|| leaves_by(&bank.db, "panic"))).unwrap_err();
    assert_eq!(bank.balance(1), 103);
}

#[transactional]
fn holds(tx: &mut Transaction<'_>, guard: MutexGuard<'_, u8>, held: &'static Mutex<u8>) -> db_core::Result<u8> {
    tx.after_commit(|| assert!(held.try_lock().is_err(), "hooks run before the arguments go"));
    deposit(tx, 1, 1)?;
    Ok(*guard)
}

#[test]
fn an_argument_lives_until_the_call_ends() {
    static HELD: Mutex<u8> = Mutex::new(5);
    let bank = bank();
    assert_eq!(holds(&bank.db, HELD.lock().unwrap(), &HELD).unwrap(), 5);
    assert_eq!(*HELD.try_lock().unwrap(), 5);
}

#[transactional]
fn lent_back<'r>(tx: &mut Transaction<'_>, rows: &'r mut Vec<i64>) -> db_core::Result<&'r mut i64> {
    rows.push(tx.query_first("SELECT balance FROM account WHERE id = 1")?.unwrap());
    Ok(rows.last_mut().unwrap())
}

#[retry_on_disconnect]
#[transactional]
fn ids(tx: &mut Transaction<'_>, below: u32) -> db_core::Result<impl Iterator<Item = u32> + use<>> {
    let found: Vec<u32> = tx.exec("SELECT id FROM account WHERE id < ? ORDER BY id", (below,))?;
    Ok(found.into_iter().map(|id| id * 10))
}

/// # Safety
/// `balance` points to a number.
#[allow(unsafe_code, reason = "what an `unsafe fn` is for")]
#[transactional]
unsafe fn through_a_pointer(tx: &mut Transaction<'_>, balance: *mut i64) -> db_core::Result<()> {
    let found: Option<i64> = tx.query_first("SELECT balance FROM account WHERE id = 1")?;
    unsafe {
        *balance = found.unwrap();
    }
    Ok(())
}

#[test]
fn what_is_returned_is_what_the_body_returns() {
    let bank = bank();
    let mut rows = vec![];
    *lent_back(&bank.db, &mut rows).unwrap() += 1;
    assert_eq!(rows, [101]);
    assert_eq!(ids(&bank.db, 4).unwrap().collect::<Vec<_>>(), [10, 20, 30]);
    let mut balance = 0;
    #[allow(unsafe_code, reason = "the pointer is that of a local")]
    unsafe { through_a_pointer(&bank.db, &raw mut balance) }.unwrap();
    assert_eq!(balance, 100);
}

/// Generic, with a default body, called as `dyn`.
trait Account {
    fn id(&self) -> u32;

    #[retry_on_disconnect]
    #[transactional]
    fn pay_in(&self, tx: &mut Transaction<'_>, amounts: &[i64]) -> Result<usize, Box<dyn std::error::Error>> {
        for amount in amounts {
            deposit(tx, self.id(), *amount)?;
        }
        if amounts.is_empty() { Err("nothing to pay in")? } else { Ok(amounts.len()) }
    }
}

impl Account for u32 {
    fn id(&self) -> u32 {
        *self
    }
}

#[test]
fn a_default_body_of_a_trait_joins_the_callers_transaction() {
    let bank = bank();
    let account: &dyn Account = &2_u32;
    assert_eq!(account.pay_in(&bank.db, &[1, 2]).unwrap(), 2);
    let undone = bank.db.transaction(|tx| {
        account.pay_in(tx, &[5])?;
        account.pay_in(tx, &[])
    });
    assert_eq!(undone.unwrap_err().to_string(), "nothing to pay in");
    assert_eq!(bank.balance(2), 103);
}

/// The harness calls it without arguments, since `on` takes the only one away. `#[test]` has to see that: it stands below.
#[transactional(on = bank().db)]
#[test]
fn a_test_can_be_annotated(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    deposit(tx, 1, 1)
}

#[test]
#[retry_on_disconnect(on = bank().db)]
fn a_test_without_parameters_can_be_annotated_below() -> db_core::Result<()> {
    Ok(())
}
