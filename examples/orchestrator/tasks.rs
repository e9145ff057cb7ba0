//! What is to be done, by whom, and what has been done? Annotated functions that compose, over statements composed by `sea-query`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use db_core::prelude::*;
use sea_query::{Cond, Expr, ExprTrait, InsertStatement, LockBehavior, LockType, Order, Query};

use crate::cloud::Refused;
use crate::sql::{execute, first, rows};

/// An action is what a user asked for; its tasks are the steps, each of which makes one network or instance. `ended` counts how often
/// a task was ended: what was done twice shall be seen twice.
pub(crate) const SCHEMA: [&str; 4] = [
    "CREATE TABLE action (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, description VARCHAR(100) NOT NULL, \
     tasks INT UNSIGNED NOT NULL, done INT UNSIGNED NOT NULL DEFAULT 0, failed INT UNSIGNED NOT NULL DEFAULT 0) ENGINE=InnoDB",
    "CREATE TABLE task (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, action BIGINT UNSIGNED NOT NULL, site VARCHAR(20), \
     item_type VARCHAR(10) NOT NULL, item BIGINT UNSIGNED NOT NULL, status VARCHAR(10) NOT NULL DEFAULT 'scheduled', \
     worker VARCHAR(20), ended INT UNSIGNED NOT NULL DEFAULT 0, KEY (status, site)) ENGINE=InnoDB",
    "CREATE TABLE network (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL, \
     status VARCHAR(10) NOT NULL DEFAULT 'building', cloud_id BIGINT UNSIGNED, instances INT UNSIGNED NOT NULL DEFAULT 0) ENGINE=InnoDB",
    "CREATE TABLE instance (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL, network BIGINT UNSIGNED NOT NULL, \
     status VARCHAR(10) NOT NULL DEFAULT 'building', cloud_id BIGINT UNSIGNED) ENGINE=InnoDB",
];

const NETWORK: &str = "network";
const INSTANCE: &str = "instance";

/// One network or instance to be made.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    id: u64,
    action: u64,
    /// The table that the item is in.
    item_type: &'static str,
    item: u64,
}

impl Task {
    /// What the item is called in the cloud.
    pub(crate) fn name(&self) -> String {
        name(self.item_type, self.item)
    }
}

fn name(item_type: &str, item: u64) -> String {
    format!("{item_type}-{item}")
}

fn with_id(id: u64) -> Expr {
    Expr::col("id").eq(id)
}

/// An action that makes a network and instances on it. Without a site, the tasks are for whoever comes first.
#[retry_on_disconnect]
#[transactional]
pub(crate) fn submit(tx: &mut Transaction<'_>, description: &str, site: Option<&str>, instances: u32) -> db_core::Result<()> {
    let mut action = Query::insert();
    action.into_table("action").columns(["description", "tasks"]).values_panic([description.into(), (1 + instances).into()]);
    let action = insert(tx, &action)?;
    let mut network = Query::insert();
    let network = insert(tx, network.into_table(NETWORK).columns(["name"]).values_panic([description.into()]))?;
    schedule(tx, action, site, NETWORK, network)?;
    for _ in 0..instances {
        let mut instance = Query::insert();
        instance.into_table(INSTANCE).columns(["name", "network"]).values_panic([description.into(), network.into()]);
        let instance = insert(tx, &instance)?;
        schedule(tx, action, site, INSTANCE, instance)?;
    }
    Ok(())
}

#[transactional(join)]
fn schedule(tx: &mut Transaction<'_>, action: u64, site: Option<&str>, item_type: &str, item: u64) -> db_core::Result<()> {
    let mut task = Query::insert();
    task.into_table("task").columns(["action", "item_type", "item"]).values_panic([action.into(), item_type.into(), item.into()]);
    let task = insert(tx, &task)?;
    site.map_or(Ok(()), |site| execute(tx, Query::update().table("task").value("site", site).and_where(with_id(task))))
}

/// Returns the new row's id.
#[transactional(join)]
fn insert(tx: &mut Transaction<'_>, row: &InsertStatement) -> db_core::Result<u64> {
    execute(tx, row)?;
    Ok(tx.last_insert_id().unwrap_or_default())
}

/// The next task that a worker may do: of its site, or of none. First comes what it had claimed before, and not ended: it must have died
/// meanwhile. Tasks that another worker is about to claim are passed over, not waited for.
#[retry_on_disconnect]
#[transactional(isolation = ReadCommitted)]
pub(crate) fn claim(tx: &mut Transaction<'_>, worker: &str) -> db_core::Result<Option<Task>> {
    let claimed = Cond::all().add(Expr::col("status").eq("claimed")).add(Expr::col("worker").eq(worker));
    let for_it = Cond::any().add(Expr::col("site").eq(worker)).add(Expr::col("site").is_null());
    let open = Cond::all().add(Expr::col("status").eq("scheduled")).add(for_it);
    let mut next = Query::select();
    next.columns(["id", "action", "item_type", "item"]).from("task").cond_where(Cond::any().add(claimed).add(open));
    next.order_by("status", Order::Asc).order_by("id", Order::Asc).limit(1); // "claimed" is before "scheduled"
    next.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    let Some((id, action, item_type, item)) = first::<(u64, u64, String, u64)>(tx, &next)? else { return Ok(None) };
    execute(tx, Query::update().table("task").values([("status", "claimed".into()), ("worker", worker.into())]).and_where(with_id(id)))?;
    Ok(Some(Task { id, action, item_type: if item_type == NETWORK { NETWORK } else { INSTANCE }, item }))
}

/// What is counted beside the database.
#[derive(Default)]
pub(crate) struct Tally {
    /// By hooks, which run once for each task, as its end is committed.
    pub(crate) ended: Arc<AtomicU64>,
    pub(crate) replays: AtomicU64,
}

/// Writes down how a task ended: in its item, in the counters of its network and its action, and in the task itself.
#[retry_on_disconnect]
#[transactional]
pub(crate) fn end(
    tx: &mut Transaction<'_>,
    attempt: Attempt,
    task: &Task,
    made: Result<u64, Refused>,
    tally: &Tally,
) -> db_core::Result<()> {
    if attempt.count() > 0 {
        tally.replays.fetch_add(1, Ordering::Relaxed);
    }
    match made {
        Ok(cloud_id) => {
            activate(tx, task, cloud_id)?;
            count(tx, "action", task.action, "done")?;
        }
        Err(Refused) => {
            set_status(tx, task.item_type, task.item, "failed")?;
            count(tx, "action", task.action, "failed")?;
        }
    }
    set_status(tx, "task", task.id, "ended")?;
    count(tx, "task", task.id, "ended")?;
    let ended = Arc::clone(&tally.ended);
    tx.after_commit(move || {
        ended.fetch_add(1, Ordering::Relaxed);
    });
    Ok(())
}

#[transactional]
fn activate(tx: &mut Transaction<'_>, task: &Task, cloud_id: u64) -> db_core::Result<()> {
    set_status(tx, task.item_type, task.item, "active")?;
    execute(tx, Query::update().table(task.item_type).value("cloud_id", cloud_id).and_where(with_id(task.item)))?;
    if task.item_type == INSTANCE {
        let network: Option<u64> = first(tx, Query::select().column("network").from(INSTANCE).and_where(with_id(task.item)))?;
        count(tx, NETWORK, network.unwrap_or_default(), "instances")?;
    }
    Ok(())
}

#[transactional(join)]
fn set_status(tx: &mut Transaction<'_>, table: &'static str, id: u64, status: &str) -> db_core::Result<()> {
    execute(tx, Query::update().table(table).value("status", status).and_where(with_id(id)))
}

#[transactional(join)]
fn count(tx: &mut Transaction<'_>, table: &'static str, id: u64, counter: &'static str) -> db_core::Result<()> {
    execute(tx, Query::update().table(table).value(counter, Expr::col(counter).add(1)).and_where(with_id(id)))
}

/// What is active: its name in the cloud, and the number it was given there.
#[retry_on_disconnect]
#[transactional(read_only)]
pub(crate) fn active(tx: &mut Transaction<'_>) -> db_core::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for table in [NETWORK, INSTANCE] {
        let items = rows(tx, Query::select().columns(["id", "cloud_id"]).from(table).and_where(Expr::col("status").eq("active")))?;
        found.extend(items.into_iter().map(|(item, cloud_id)| (name(table, item), cloud_id)));
    }
    Ok(found)
}
