//! An orchestrator: a worker for each site claims tasks and carries them out in a cloud, while a control thread submits more. In the
//! middle some replies to COMMIT are lost, and the server is killed. At the end every task has been done once.
//! `cargo run --package examples --example orchestrator`, on a throwaway server.
//!
//! The workers share a pool. The control thread has a `Db`, one connection behind a lock, which it shares with the main thread; the same
//! lock also guards the cloud's client library, which is not thread-safe. The commit ledger is on: whether a COMMIT without a reply was
//! executed is found out, so that nothing is done twice or left undone.

mod cloud;
mod sql;
mod tasks;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use db_core::prelude::*;
use db_testkit::{Action, Fault, FaultProxy, Point, Server};

use crate::cloud::{Cloud, Sdk};
use crate::tasks::{Tally, active, claim, end, submit};

const SITES: [&str; 4] = ["north", "east", "south", "west"];
const ACTIONS: usize = 50;
const INSTANCES: u32 = 5;
const TASKS: u64 = ACTIONS as u64 * (1 + INSTANCES as u64);

/// What the threads share beside the database.
struct Run {
    cloud: Cloud,
    tally: Tally,
    all_submitted: AtomicBool,
}

/// The worker of a site.
fn work(pool: &Pool, site: &str, run: &Run) -> db_core::Result<()> {
    loop {
        let no_more_will_come = run.all_submitted.load(Ordering::Acquire);
        match claim(pool, site)? {
            Some(task) => {
                // Between two transactions, since a cloud cannot be rolled back. Should this thread die here, the task is claimed
                // again, and the cloud, asked for the same name, makes nothing new.
                let made = run.cloud.call(|sdk| sdk.create(&task.name()));
                end(pool, &task, made, &run.tally)?;
            }
            None if no_more_will_come => return Ok(()),
            None => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// The control thread submits actions, and now and then compares the database with the cloud.
fn control(db: &Db, run: &Run) -> anyhow::Result<()> {
    for number in 1..ACTIONS {
        // Every fifth is for whoever comes first.
        let site = SITES.get(number % (SITES.len() + 1)).copied();
        submit(db, &format!("deployment {number}"), site, INSTANCES)?;
        if number % 5 == 0 {
            review(db, run)?;
        }
    }
    run.all_submitted.store(true, Ordering::Release);
    Ok(())
}

fn review(db: &Db, run: &Run) -> anyhow::Result<()> {
    // Nobody changes the cloud, and nobody else uses this handle, until both have been read.
    let _turn = db.lock();
    let there = run.cloud.call(Sdk::list);
    let missing = active(db)?.into_iter().find(|(name, cloud_id)| there.get(name) != Some(cloud_id));
    ensure!(missing.is_none(), "active, and not in the cloud: {missing:?}");
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut admin = server.connect()?;
    tasks::SCHEMA.iter().try_for_each(|table| admin.query_drop(table))?;
    let proxy = server.proxy()?;
    let url = proxy.url(&server.url())?;
    Db::connect(&url)?.install_ledger()?;
    let patient = RetryPolicy::default().max_attempts(10).max_elapsed(Duration::from_secs(30));
    let builder = || Db::builder(&url).commit_ledger(true).retry(patient);
    let db = builder().connect()?;
    let pool = builder().max_connections(u32::try_from(SITES.len())?).connect_pool()?;
    let run = Run { cloud: Cloud::guarded_by(db.shared_lock()), tally: Tally::default(), all_submitted: AtomicBool::new(false) };

    // A worker of an earlier run has died with a task in its hands.
    submit(&db, "deployment 0", Some(SITES[0]), INSTANCES)?;
    ensure!(claim(&db, SITES[0])?.is_some(), "there is nothing to claim");

    let began = Instant::now();
    thread::scope(|threads| {
        let control = threads.spawn(|| control(&db, &run));
        let mut workers = Vec::new();
        for site in SITES {
            let (pool, run) = (&pool, &run);
            workers.push(threads.spawn(move || work(pool, site, run)));
        }
        let crashed = crash_in_the_middle(&server, &proxy, &db);
        for worker in workers {
            worker.join().ok().context("a worker panicked")??;
        }
        control.join().ok().context("the control thread panicked")??;
        crashed
    })?;
    let replays = run.tally.replays.load(Ordering::Relaxed);
    println!("all done after {:.1?}, by {} workers; {replays} times a task's end was written down anew", began.elapsed(), SITES.len());
    check(&server, &db, &run)
}

/// When a third of the tasks is done, replies to COMMIT are lost; then the server is killed, and started again.
fn crash_in_the_middle(server: &Server, proxy: &FaultProxy, db: &Db) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut done = 0;
    while done < TASKS as usize / 3 {
        ensure!(Instant::now() < deadline, "after 30 s only {done} tasks are done");
        done = active(db)?.len();
    }
    let lost = proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("db_core_ledger SET").times(10));
    while lost.fired() < 10 {
        ensure!(Instant::now() < deadline, "after 30 s only {} replies are lost", lost.fired());
        thread::sleep(Duration::from_millis(1));
    }
    server.kill9()?;
    let killed = Instant::now();
    server.restart()?;
    println!(
        "after {done} of {TASKS} tasks 10 replies to COMMIT were lost, and the server was killed; it was back {:.1?} later",
        killed.elapsed()
    );
    Ok(())
}

/// Was everything done, and nothing twice?
fn check(server: &Server, db: &Db, run: &Run) -> anyhow::Result<()> {
    let mut admin = server.connect()?;
    for (what, query, expected) in [
        ("tasks", "SELECT COUNT(*) FROM task", TASKS),
        ("tasks that were not ended exactly once", "SELECT COUNT(*) FROM task WHERE status <> 'ended' OR ended <> 1", 0),
        ("tasks that the cloud refused", "SELECT SUM(failed) FROM action", 4),
        (
            "actions whose counters disagree with their tasks",
            "SELECT COUNT(*) FROM action WHERE done + failed <> tasks OR tasks <> (SELECT COUNT(*) FROM task WHERE action = action.id)",
            0,
        ),
        (
            "networks whose counter disagrees with their instances",
            "SELECT COUNT(*) FROM network WHERE instances <> \
             (SELECT COUNT(*) FROM instance WHERE network = network.id AND status = 'active')",
            0,
        ),
    ] {
        let found: Option<u64> = admin.query_first(query)?;
        println!("{what}: {}", found.unwrap_or_default());
        ensure!(found == Some(expected), "{what}: {found:?}, and not {expected}");
    }
    let there = run.cloud.call(Sdk::list);
    let active: BTreeMap<String, u64> = active(db)?.into_iter().collect();
    println!("networks and instances in the cloud, and active: {}, {}", there.len(), active.len());
    ensure!(there == active, "the cloud and the database disagree");
    let hooks = run.tally.ended.load(Ordering::Relaxed);
    ensure!(hooks == TASKS, "{hooks} hooks ran for {TASKS} tasks");
    ensure!(run.cloud.overlaps() == 0, "{} calls of the client library overlapped", run.cloud.overlaps());
    Ok(())
}
