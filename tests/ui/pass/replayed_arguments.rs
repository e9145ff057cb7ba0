//! What an attempt uses up, the next one has again.

use std::sync::{Arc, Mutex};

use db_core::prelude::*;

#[retry_on_disconnect]
#[transactional]
fn every_kind(
    tx: &mut Transaction<'_>,
    copied: u64,
    shared: &str,
    shared_unsized: &dyn Fn() -> u64,
    exclusive: &mut Vec<u64>,
    mut reassigned: &mut Vec<u64>,
    cloned: String,
    mut changed: Vec<u64>,
    boxed: Box<str>,
    optional: Option<String>,
    function: fn() -> u64,
) -> db_core::Result<(String, Box<str>)> {
    exclusive.push(copied);
    let lent: &mut Vec<u64> = exclusive;
    lent.push(shared_unsized());
    reassigned.push(1);
    reassigned = lent;
    reassigned.extend(std::mem::take(&mut changed));
    changed.push(function());
    tx.exec_drop("DO ?", (shared, optional.unwrap_or_default()))?;
    let name = cloned.clone();
    tx.after_commit(move || drop(name));
    Ok((cloned, boxed))
}

/// The guard of the last line borrows from the argument, as it may in any function.
#[retry_on_disconnect]
#[transactional]
fn temporaries(_tx: &mut Transaction<'_>, cache: Arc<Mutex<Vec<u64>>>) -> db_core::Result<usize> {
    Ok(cache.lock().unwrap().len())
}

#[transactional]
fn moved(tx: &mut Transaction<'_>, name: String, job: Box<dyn FnOnce() -> u64>) -> db_core::Result<u64> {
    tx.after_commit(move || drop(name));
    Ok(job())
}

fn calls(db: &Db) -> db_core::Result<()> {
    let (name, boxed) = every_kind(
        db,
        1,
        "shared",
        &|| 1,
        &mut vec![],
        &mut vec![],
        "cloned".to_owned(),
        vec![1],
        "boxed".into(),
        None,
        || 1,
    )?;
    moved(db, name, Box::new(move || boxed.len() as u64))?;
    temporaries(db, Arc::default())?;
    Ok(())
}

fn main() {
    let _ = calls;
}
