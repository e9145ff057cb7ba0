//! Every option.

use std::time::Duration;

use db_core::Isolation;
use db_core::prelude::{Transaction, retry_on_disconnect, transactional};
use db_core::{Db, RetryPolicy};

const LEVEL: Isolation = Isolation::RepeatableRead;
const ATTEMPTS: u32 = 2;

#[derive(Clone)]
struct Settings {
    policy: RetryPolicy,
    patience: Duration,
}

impl Settings {
    fn level(&self) -> Isolation {
        LEVEL
    }
}

#[transactional(isolation = ReadCommitted)]
fn read_committed(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(read_only, isolation = Isolation::Serializable)]
fn by_path(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = self::LEVEL,)]
fn by_constant(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(isolation = LEVEL)]
fn by_constant_in_scope(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(max_attempts = attempts, timeout = settings.patience)]
#[transactional(isolation = level)]
fn by_argument(tx: &mut Transaction<'_>, level: Isolation, attempts: u32, settings: Settings) -> db_core::Result<()> {
    let _ = settings.patience;
    tx.exec_drop("DO ?", (attempts, level.to_string()))
}

#[transactional(isolation = settings.level(), timeout = settings.patience)]
fn by_expression(tx: &mut Transaction<'_>, settings: &Settings) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(timeout = Duration::from_secs(5), on = db)]
fn retry_alone_within(db: Db) -> db_core::Result<()> {
    db.ping()
}

#[retry_on_disconnect(timeout = Duration::from_secs(5))]
#[transactional(timeout = Duration::from_secs(5), join)]
fn both_say_it(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(crate = ::db_core)]
#[transactional]
fn by_the_name_of_the_crate(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional(join)]
fn joined(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

struct Request {
    id: String,
}

#[retry_on_disconnect]
#[transactional(idempotency_key = request.id)]
fn by_field(tx: &mut Transaction<'_>, request: &Request) -> db_core::Result<()> {
    tx.query_drop("DO 1").inspect(|()| drop(request))
}

#[transactional(idempotency_key = db_core::IdempotencyKey::new(&id).check_first(true), isolation = ReadCommitted)]
fn by_key_expression(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<Vec<u64>> {
    tx.query("SELECT 1")
}

#[transactional(idempotency_key = *id)]
fn by_value(tx: &mut Transaction<'_>, id: &u64) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[transactional()]
fn none(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect(
    max_attempts = 5,
    base_delay = Duration::from_millis(10),
    max_delay = Duration::from_secs(1),
    max_elapsed = settings.patience,
)]
#[transactional(isolation = ReadUncommitted, read_only)]
fn all_settings(tx: &mut Transaction<'_>, settings: &Settings) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (settings.patience.as_secs(),))
}

#[retry_on_disconnect(policy = settings.policy)]
#[transactional]
fn policy(tx: &mut Transaction<'_>, settings: &Settings) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (settings.patience.as_secs(),))
}

#[retry_on_disconnect(max_attempts = ATTEMPTS + 1, policy = if ATTEMPTS > 1 { settings.policy } else { RetryPolicy::default() })]
#[transactional]
fn policy_and_setting(tx: &mut Transaction<'_>, settings: &Settings) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (settings.patience.as_secs(),))
}

fn calls(db: &Db) -> db_core::Result<()> {
    let settings = Settings { policy: RetryPolicy::default(), patience: Duration::from_secs(1) };
    read_committed(db)?;
    by_path(db)?;
    by_constant(db)?;
    by_constant_in_scope(db)?;
    by_argument(db, LEVEL, 2, settings.clone())?;
    by_expression(db, &settings)?;
    retry_alone_within(db.clone())?;
    both_say_it(db)?;
    by_the_name_of_the_crate(db)?;
    joined(db)?;
    by_field(db, &Request { id: String::from("a") })?;
    by_key_expression(db, 7)?;
    by_value(db, &7)?;
    none(db)?;
    all_settings(db, &settings)?;
    policy(db, &settings)?;
    policy_and_setting(db, &settings)
}

fn main() {
    let _ = calls;
}
