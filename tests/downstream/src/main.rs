//! Uses every name that programs outside this repository are compiled against.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use database::mysql::prelude::Queryable as _;
use database::PoolStatus;
use database::prelude::*;

/// It implements nothing but what the library asks for.
#[derive(Debug)]
enum BankError {
    NoSuchAccount(u64),
    InsufficientFunds,
    Db(database::Error),
}

impl From<database::Error> for BankError {
    fn from(error: database::Error) -> Self {
        Self::Db(error)
    }
}

#[retry_on_disconnect]
#[transactional]
fn transfer(tx: &mut Transaction<'_>, from: u64, to: u64, cents: i64, told: &Rc<Cell<u32>>) -> Result<(), BankError> {
    let balance: i64 = tx
        .exec_first("SELECT balance FROM account WHERE id = ? FOR UPDATE", (from,))?
        .ok_or(BankError::NoSuchAccount(from))?;
    if balance < cents {
        return Err(BankError::InsufficientFunds);
    }
    change(tx, from, -cents)?;
    change(tx, to, cents)?;
    let told = Rc::clone(told);
    tx.after_commit(move || told.set(told.get() + 1));
    Ok(())
}

#[transactional(join)]
fn change(tx: &mut Transaction<'_>, id: u64, cents: i64) -> Result<(), BankError> {
    tx.exec_drop("UPDATE account SET balance = balance + ? WHERE id = ?", (cents, id))?;
    if tx.affected_rows() == 0 { Err(BankError::NoSuchAccount(id)) } else { Ok(()) }
}

#[transactional(isolation = ReadCommitted, read_only)]
fn total(tx: &mut Transaction<'_>) -> database::Result<i64> {
    Ok(tx.query_first("SELECT CAST(SUM(balance) AS SIGNED) FROM account")?.unwrap_or(0))
}

#[retry_on_disconnect(max_attempts = 5, base_delay = Duration::from_millis(10), max_delay = Duration::from_secs(1), max_elapsed = Duration::from_secs(20))]
#[transactional]
fn numbered(tx: &mut Transaction<'_>, attempt: Attempt) -> database::Result<(u32, u32, u32, bool, Duration)> {
    tx.query_drop("DO 1")?;
    Ok((attempt.count(), attempt.number(), attempt.remaining(), attempt.is_last(), attempt.elapsed()))
}

#[retry_on_disconnect]
fn several(db: &Db) -> database::Result<i64> {
    db.ping()?;
    total(db)
}

#[transactional(idempotency_key = key)]
fn once(tx: &mut Transaction<'_>, key: &IdempotencyKey) -> database::Result<()> {
    tx.exec_drop("UPDATE account SET balance = balance + 1 WHERE id = ?", (0_u64,))
}

struct Store {
    db: Db,
    policy: RetryPolicy,
}

impl Store {
    #[retry_on_disconnect(policy = self.policy, on = self.db)]
    #[transactional(on = self.db)]
    fn new_row(&self, tx: &mut Transaction<'_>, id: u64) -> database::Result<()> {
        tx.exec_drop("INSERT INTO account VALUES (?, 0)", (id,))
    }
}

trait Ledger {
    fn post(&self, tx: &Scope<'_>, id: u64) -> Result<(), BankError>;
}

struct Fee(i64);

impl Ledger for Fee {
    #[transactional]
    fn post(&self, tx: &mut Transaction<'_>, id: u64) -> Result<(), BankError> {
        change(tx, id, -self.0)
    }
}

/// The driver's trait, by whoever is generic over it.
fn count<Q: Queryable>(queryable: &mut Q) -> database::mysql::Result<Option<u64>> {
    queryable.query_first("SELECT COUNT(*) FROM account")
}

fn assert_error<E: std::error::Error + Send + Sync + 'static + From<database::mysql::Error>>() {}
fn assert_pool<P: Clone + Send + Sync + std::ops::Deref<Target = Scope<'static>>>() {}
fn assert_db<D: Clone + Send + Sync + fmt::Debug>() {}

fn main() -> Result<(), BankError> {
    assert_error::<database::Error>();
    assert_db::<Db>();
    let url = std::env::args().nth(1).expect("the URL of a database");
    let db = Db::connect(&url)?;
    db.install_ledger()?;
    let lock = SharedLock::new();
    let _by_environment: fn() -> database::Result<Db> = Db::from_env;
    let not_set: database::Result<DbBuilder> = DbBuilder::from_env("DOWNSTREAM_URL");
    assert!(not_set.is_err());
    let builder: DbBuilder = Db::builder(&url);
    let policy = RetryPolicy::default()
        .max_attempts(4)
        .base_delay(Duration::from_millis(5))
        .max_delay(Duration::from_millis(50))
        .max_elapsed(Duration::from_secs(5));
    let db = builder.lock(lock).retry(policy).commit_ledger(true).lock_timeout(Duration::from_secs(5)).connect()?;
    let beside = Db::builder(&url).lock(db.shared_lock()).connect()?;
    let fork: Db = db.fork()?;

    db.transaction(|tx| {
        tx.query_drop("CREATE TEMPORARY TABLE nothing (n INT)")?;
        tx.set_rollback_only();
        Ok::<_, database::Error>(())
    })?;
    db.transaction(|tx| tx.exec_batch("INSERT INTO account VALUES (?, ?)", [(1_u64, 1000), (2, 0)]))?;

    db.install_idempotency()?;
    let key = IdempotencyKey::new("a").fingerprint("b").check_first(true).function("once");
    once(&db, &key)?;
    db.transaction_once(key, &TxOptions::new(), |_| -> database::Result<()> { unreachable!("it is known") })?;
    assert_eq!(db.sweep_idempotency(Duration::from_secs(3600))?, 0);

    let told = Rc::new(Cell::new(0));
    transfer(&db, 1, 2, 500, &told)?;
    assert!(matches!(transfer(&db, 2, 1, 9999, &told), Err(BankError::InsufficientFunds)));
    assert!(matches!(transfer(&db, 9, 1, 1, &told), Err(BankError::NoSuchAccount(9))));
    assert_eq!((told.get(), total(&fork)?, several(&beside)?), (1, 1000, 1000));
    {
        let _held: LockGuard<'_> = db.lock();
        transfer(&db, 1, 2, 1, &told)?;
        db.transaction(|tx| transfer(tx, 1, 2, 1, &told))?;
    }
    let (count_of_one, number, remaining, last, elapsed) = numbered(&db)?;
    assert_eq!((count_of_one, number, remaining, last), (0, 1, 4, false));
    assert!(elapsed < Duration::from_secs(5));
    Fee(10).post(&db, 2)?;
    let ledgers: [&dyn Ledger; 1] = [&Fee(5)];
    ledgers[0].post(&db, 2)?;

    let options = TxOptions::new().isolation(Isolation::Serializable).read_only(true).join(true);
    db.transaction_with(&options, |tx| Ok::<_, BankError>(assert_eq!(count(tx).map_err(database::Error::from)?, Some(2))))?;
    let rolled_back = Rc::new(Cell::new(false));
    let seen = Rc::clone(&rolled_back);
    let error = db
        .retry(&policy, |attempt: Attempt| {
            assert!(attempt.count() < 4);
            let seen = Rc::clone(&seen);
            db.transaction(|tx| {
                tx.after_rollback(move || seen.set(true));
                tx.exec_drop("INSERT INTO account VALUES (?, 0)", (1,))
            })
        })
        .expect_err("the key exists");
    assert!(rolled_back.get());
    let store = Store { db: fork, policy };
    store.new_row(3)?;
    store.db.disconnect();
    store.db.ping()?;

    assert_eq!((error.kind(), error.code(), error.http_status()), (ErrorKind::UniqueViolation, Some(1062), 409));
    assert_eq!((error.is_transient(), error.attempts(), error.is_commit_unknown()), (false, 1, false));
    assert_eq!(error.constraint().and_then(|broken| broken.value()), Some("1"));
    for kind in [
        ErrorKind::ConnectionLost, ErrorKind::ConnectFailed, ErrorKind::AccessDenied, ErrorKind::UnknownDatabase, ErrorKind::Unavailable,
        ErrorKind::ReadOnlyServer, ErrorKind::CommitUnknown, ErrorKind::Deadlock, ErrorKind::LockWaitTimeout, ErrorKind::StatementTimeout,
        ErrorKind::Interrupted, ErrorKind::UniqueViolation, ErrorKind::ForeignKeyParentMissing, ErrorKind::ForeignKeyChildExists,
        ErrorKind::NotNullViolation, ErrorKind::CheckViolation, ErrorKind::DataTooLong, ErrorKind::UnknownColumn, ErrorKind::UnknownTable, ErrorKind::Syntax,
        ErrorKind::AlreadyInTransaction, ErrorKind::RollbackOnly, ErrorKind::ImplicitCommit, ErrorKind::LockTimeout,
        ErrorKind::PoolTimeout, ErrorKind::DeadlineExceeded, ErrorKind::IdempotencyKeyReused, ErrorKind::Config, ErrorKind::Driver, ErrorKind::Other,
    ] {
        assert!((400..=504).contains(&kind.http_status()));
    }
    assert_pool::<Pool>();
    let pool: Pool = Db::builder(&url)
        .max_connections(4)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .max_lifetime(Duration::from_secs(60))
        .idle_timeout(Duration::from_secs(30))
        .timeout(Duration::from_secs(20))
        .commit_timeout(Duration::from_secs(10))
        .silence(Duration::from_secs(10))
        .connect_pool()?;
    pool.install_ledger()?;
    pool.ping()?;
    transfer(&pool, 1, 2, 1, &told)?;
    pool.transaction(|tx| {
        total(&pool.beside())?;
        transfer(tx, 2, 1, 1, &told)
    })?;
    let PoolStatus { max, open, idle, in_use, waiting, .. } = pool.status();
    assert_eq!((max, in_use, waiting, open), (4, 0, 0, idle));
    assert!(pool.stats().committed > 0);
    pool.transaction_with(&TxOptions::new().timeout(Duration::from_secs(5)), |tx| tx.query_drop("DO 1"))?;
    pool.close();
    Pool::connect(&format!("{url}?max_connections=2&target_session_attrs=read-write&load_balance_hosts=disable"))?.close();
    println!("every name is there");
    Ok(())
}
