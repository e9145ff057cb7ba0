//! The promises on clusters: Galera where the server under test is the machine's MariaDB, Group Replication where it is MySQL.
//!
//! Longer, and with random faults: `cargo xtask torture --server galera`, `haproxy`, `group-replication`, `multi-primary`.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use db_core::mysql::Conn;
use db_core::mysql::prelude::Queryable;
use db_core::prelude::*;
use db_core::{DbBuilder, Error, Result};
use db_testkit::{Action, Balance, Cluster, Fault, FaultProxy, HealthCheck, Node, Point, Routing, Topology};
use tests::{can_form, deposit, eventually, within};

/// Longer than a cluster takes to exclude a node.
fn patient() -> RetryPolicy {
    RetryPolicy::default().max_attempts(20).max_elapsed(Duration::from_secs(60))
}

/// A cluster with the bank's tables and the ledger's.
fn bank_on(topology: Topology) -> Option<Cluster> {
    if !can_form(topology) {
        return None;
    }
    let cluster = Cluster::builder(topology).arg("--innodb-lock-wait-timeout=5").start().unwrap();
    let mut conn = cluster.node(cluster.wait_for_primary().unwrap()).connect().unwrap();
    conn.query_drop("CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL) ENGINE=InnoDB").unwrap();
    conn.query_drop("CREATE TABLE journal (n BIGINT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(100) NOT NULL) ENGINE=InnoDB").unwrap();
    let rows: Vec<String> = (1..=10).map(|id| format!("({id}, 100)")).collect();
    conn.query_drop(format!("INSERT INTO account VALUES {}", rows.join(", "))).unwrap();
    Db::connect(&cluster.url()).unwrap().install_ledger().unwrap();
    cluster.settled().unwrap();
    Some(cluster)
}

fn url(node: &Node) -> String {
    format!("mysql://app@{}/test", node.address())
}

/// A database behind a proxy that leads to this node at first.
fn behind_proxy(node: &Node, options: impl FnOnce(DbBuilder) -> DbBuilder) -> (FaultProxy, Db) {
    let proxy = node.proxy().unwrap();
    let builder = Db::builder(&proxy.url(&url(node)).unwrap()).retry(patient());
    let db = options(builder).connect().unwrap();
    (proxy, db)
}

/// The sum of the balances above what there was at first, and how many deposits the journal has: the same on every node.
fn deposits(cluster: &Cluster) -> (i64, u64) {
    cluster.settled().unwrap();
    let found = cluster.nodes().iter().map(|node| {
        let mut conn = node.connect().unwrap();
        let sum: i64 = conn.query_first("SELECT CAST(SUM(balance) - 1000 AS SIGNED) FROM account").unwrap().unwrap();
        (sum, conn.query_first("SELECT COUNT(*) FROM journal").unwrap().unwrap())
    });
    let found: Vec<(i64, u64)> = found.collect();
    assert!(found.iter().all(|node| node == &found[0]), "the nodes differ: {found:?}");
    found[0]
}

#[retry_on_disconnect]
#[transactional]
fn persistent(tx: &mut Transaction<'_>, id: u32) -> Result<()> {
    deposit(tx, id, 1)
}

#[transactional]
fn once(tx: &mut Transaction<'_>, id: u32) -> Result<()> {
    deposit(tx, id, 1)
}

/// With a result that is dropped half read, `raw` as the driver hands it out, and with a nested transaction.
#[retry_on_disconnect]
#[transactional]
fn streamed(tx: &mut Transaction<'_>, id: u32, raw: bool) -> Result<()> {
    let all = "SELECT id FROM account ORDER BY id FOR UPDATE";
    deposit(tx, id, 1)?;
    if raw {
        Queryable::query_iter(tx, all)?.next().transpose()?;
    } else {
        tx.query_iter(all)?.next().transpose()?;
    }
    once(tx, id)
}

/// Writers that compete for ten accounts, on these nodes. Returns how many deposits were reported Ok.
fn hot_rows(nodes: &[&Node], ledger: bool, calls: u32) -> u32 {
    let ok = AtomicU32::new(0);
    thread::scope(|threads| {
        for node in nodes {
            threads.spawn(|| {
                let db = Db::builder(&url(node)).retry(patient()).commit_ledger(ledger).connect().unwrap();
                for call in 0..calls {
                    let id = fastrand::u32(1..=10);
                    let (deposits, done) = match call % 4 {
                        0 => (2, streamed(&db, id, false)),
                        1 => (2, streamed(&db, id, true)),
                        2 => (1, once(&db, id)),
                        _ => (1, persistent(&db, id)),
                    };
                    match done {
                        Ok(()) => drop(ok.fetch_add(deposits, Ordering::Relaxed)),
                        Err(error) => assert!(matches!(error.kind(), ErrorKind::Deadlock | ErrorKind::LockWaitTimeout), "{error:?}"),
                    }
                }
            });
        }
    });
    ok.into_inner()
}

fn every_ok_is_on_every_node(topology: Topology) {
    let Some(cluster) = bank_on(topology) else { return };
    let nodes: Vec<&Node> = cluster.nodes().iter().collect();
    let writers = if topology == Topology::GroupSinglePrimary { vec![nodes[cluster.wait_for_primary().unwrap()]; 3] } else { nodes };
    let mut ok = 0;
    for ledger in [true, false] {
        ok += hot_rows(&writers, ledger, 300);
        assert_eq!(deposits(&cluster), (i64::from(ok), u64::from(ok)), "ledger {ledger}");
    }
}

#[test]
fn what_galera_reports_as_committed_is_on_every_node() {
    every_ok_is_on_every_node(Topology::Galera);
}

#[test]
fn what_a_group_reports_as_committed_is_on_every_member() {
    every_ok_is_on_every_node(Topology::GroupSinglePrimary);
    every_ok_is_on_every_node(Topology::GroupMultiPrimary);
}

/// A transaction that another node's commit aborts before it commits.
fn aborted_at_commit(cluster: &Cluster, ledger: bool, stream: bool) -> Error {
    let db = Db::builder(&url(cluster.node(0))).commit_ledger(ledger).connect().unwrap();
    let aborted: Result<()> = db.transaction(|tx| {
        if stream {
            let mut rows = tx.query_iter("SELECT id FROM account ORDER BY id")?;
            rows.next().transpose()?;
        }
        deposit(tx, 1, 1)?;
        let mut other = cluster.node(1).connect().unwrap();
        other.query_drop("UPDATE test.account SET balance = balance + 1000 WHERE id = 1").unwrap();
        cluster.settled().unwrap();
        Ok(())
    });
    let mut conn = cluster.node(1).connect().unwrap();
    conn.query_drop("UPDATE test.account SET balance = balance - 1000 WHERE id = 1").unwrap();
    aborted.unwrap_err()
}

#[test]
fn a_transaction_that_galera_aborts_before_its_commit_is_a_deadlock_and_no_unknown_outcome() {
    let Some(cluster) = bank_on(Topology::Galera) else { return };
    for (ledger, stream) in [(false, false), (false, true), (true, false), (true, true)] {
        let error = aborted_at_commit(&cluster, ledger, stream);
        assert_eq!(error.kind(), ErrorKind::Deadlock, "ledger {ledger}, stream {stream}: {error:?}");
        assert!(error.is_transient() && !error.is_commit_unknown(), "{error:?}");
        assert_eq!(deposits(&cluster), (0, 0), "ledger {ledger}, stream {stream}");
    }
}

/// Each statement is prepared where none is kept.
#[retry_on_disconnect]
#[transactional]
fn moved(tx: &mut Transaction<'_>, from: u32, to: u32) -> Result<()> {
    tx.exec_drop("INSERT INTO journal (note) VALUES (?)", (from,))?;
    let balance = "SELECT balance FROM account WHERE id = ? FOR UPDATE";
    let [old_from, old_to]: [i32; 2] = [tx.exec_first(balance, (from,))?.unwrap_or(0), tx.exec_first(balance, (to,))?.unwrap_or(0)];
    tx.exec_drop("UPDATE account SET balance = ? WHERE id = ?", (old_from - 1, from))?;
    tx.exec_drop("UPDATE account SET balance = ? WHERE id = ?", (old_to + 2, to))
}

/// Galera does not always tell of an abort that comes while a statement is prepared, and the next statement begins another transaction.
#[test]
fn an_abort_by_galera_is_not_hidden_by_a_statement_that_is_prepared() {
    let Some(cluster) = bank_on(Topology::Galera) else { return };
    let (made, began) = (AtomicU32::new(0), Instant::now());
    thread::scope(|threads| {
        for node in 0..3 {
            let url = url(cluster.node(node));
            let db = Db::builder(&url)
                .driver_options(|options| options.stmt_cache_size(0))
                .retry(RetryPolicy::default().max_attempts(100).max_elapsed(Duration::from_secs(60)))
                .commit_ledger(true)
                .connect()
                .unwrap();
            let made = &made;
            threads.spawn(move || {
                while began.elapsed() < Duration::from_secs(15) {
                    let from = fastrand::u32(..10);
                    let to = (from + fastrand::u32(1..10)) % 10;
                    if fastrand::bool() { moved(&db, 1 + from, 1 + to) } else { persistent(&db, 1 + from) }.unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let made = made.into_inner();
    assert!(made > 500, "only {made} calls");
    assert_eq!(deposits(&cluster), (made.into(), made.into()));
}

#[test]
fn a_galera_node_that_is_behind_is_read_again_until_it_has_caught_up() {
    let Some(cluster) = bank_on(Topology::Galera) else { return };
    for (number, point) in [(1, Point::AfterRequest), (2, Point::BeforeRequest)] {
        let (proxy, db) = behind_proxy(cluster.node(0), |builder| builder.commit_ledger(true));
        once(&db, 2).unwrap();
        cluster.settled().unwrap();
        // The other node applies nothing for a while, neither this client's last commit nor the one that is lost.
        let mut blocked = cluster.node(1).connect().unwrap();
        blocked.query_drop("FLUSH TABLES WITH READ LOCK").unwrap();
        once(&db, 2).unwrap();
        let lost = proxy.inject(Fault::new(point, Action::Rst).matching("+ 1) WHERE"));
        proxy.set_upstream(cluster.node(1).address());
        let released = thread::spawn(move || {
            thread::sleep(Duration::from_secs(1));
            blocked.query_drop("UNLOCK TABLES").unwrap();
        });
        persistent(&db, 2).unwrap();
        lost.assert_fired();
        released.join().unwrap();
        assert_eq!(deposits(&cluster), (3 * number, 3 * u64::try_from(number).unwrap()), "{point:?}");
    }
}

#[test]
fn a_node_is_waited_for_longer_than_a_single_server() {
    let Some(cluster) = bank_on(Topology::Galera) else { return };
    let node = cluster.node(0);
    // With the default policy, which gives up after 10 seconds on a single server.
    let db = Db::builder(&url(node)).commit_ledger(true).connect().unwrap();
    node.isolate().unwrap();
    let (waited, away) = thread::scope(|threads| {
        let began = Instant::now();
        let call = threads.spawn(|| persistent(&db, 1));
        thread::sleep(Duration::from_secs(12));
        node.rejoin().unwrap();
        (call.join().unwrap(), began.elapsed())
    });
    assert!(away < Duration::from_secs(30), "the node was away for {away:?}");
    waited.unwrap();
    assert_eq!(deposits(&cluster), (1, 1));
}

#[test]
fn a_galera_node_without_quorum_is_unavailable_and_work_goes_on_on_another() {
    let Some(cluster) = bank_on(Topology::Galera) else { return };
    let direct = Db::builder(&url(cluster.node(0))).retry(RetryPolicy::default().max_attempts(1)).connect().unwrap();
    let (proxy, db) = behind_proxy(cluster.node(0), |builder| builder.commit_ledger(true));
    cluster.node(0).isolate().unwrap();

    // It accepts logins, PING and SELECT 1.
    for found in [direct.ping().unwrap_err(), direct.fork().map(drop).unwrap_err(), once(&direct, 1).unwrap_err()] {
        assert_eq!(found.kind(), ErrorKind::Unavailable, "{found:?}");
        assert!(found.is_transient(), "{found:?}");
    }
    // What passes by itself is waited for, in more attempts than three.
    let turned = thread::scope(|threads| {
        threads.spawn(|| {
            thread::sleep(Duration::from_secs(1));
            proxy.set_upstream(cluster.node(1).address());
        });
        persistent(&db, 1)
    });
    turned.unwrap();
    cluster.node(0).rejoin().unwrap();
    assert_eq!(deposits(&cluster), (1, 1));
}

#[test]
fn a_node_that_is_killed_costs_time_and_loses_nothing() {
    for topology in [Topology::Galera, Topology::GroupSinglePrimary] {
        let Some(cluster) = bank_on(topology) else { continue };
        let db = Db::builder(&cluster.url()).retry(patient()).commit_ledger(true).connect().unwrap();
        let began = Instant::now();
        let mut ok = 0;
        while began.elapsed() < Duration::from_secs(2) {
            persistent(&db, 3).unwrap();
            ok += 1;
        }
        cluster.node(cluster.wait_for_primary().unwrap()).kill9().unwrap();
        let killed = Instant::now();
        for _ in 0..20 {
            persistent(&db, 3).unwrap();
            ok += 1;
        }
        println!("{topology}: 20 calls in {:.1} s after the kill", killed.elapsed().as_secs_f64());
        cluster.rejoin_all().unwrap();
        assert_eq!(deposits(&cluster), (ok, u64::try_from(ok).unwrap()), "{topology}");
    }
}

#[test]
fn a_transaction_that_is_too_large_for_galera_is_not_retried() {
    let Some(cluster) = bank_on(Topology::Galera) else { return };
    for node in cluster.nodes() {
        node.connect().unwrap().query_drop("SET GLOBAL wsrep_max_ws_rows = 5").unwrap();
    }
    let db = Db::builder(&url(cluster.node(0))).retry(patient()).connect().unwrap();
    let runs = AtomicU32::new(0);
    let too_large = db.retry(&RetryPolicy::default(), |_| {
        runs.fetch_add(1, Ordering::Relaxed);
        db.transaction(|tx| (1..=10).try_for_each(|id| deposit(tx, id, 1)))
    });
    let error: Error = too_large.unwrap_err();
    assert!(!error.is_transient() && error.kind() != ErrorKind::Unavailable, "{error:?}");
    assert_eq!(runs.into_inner(), 1);
    assert_eq!(deposits(&cluster), (0, 0));
}

#[test]
fn a_commit_that_never_ends_is_a_lost_reply_after_the_commit_timeout() {
    let Some(cluster) = bank_on(Topology::GroupSinglePrimary) else { return };
    let primary = cluster.wait_for_primary().unwrap();
    let node = cluster.node(primary);
    let limit = Duration::from_secs(2);
    let unrecorded = Db::builder(&url(node)).commit_timeout(limit).connect().unwrap();
    let (proxy, recorded) = behind_proxy(node, |builder| builder.commit_ledger(true).commit_timeout(limit));
    once(&recorded, 1).unwrap();
    node.isolate().unwrap();

    let began = Instant::now();
    let error = within(Duration::from_secs(20), move || once(&unrecorded, 2)).unwrap_err();
    assert!(error.is_commit_unknown(), "{error:?}");
    assert!(began.elapsed() >= limit, "{:?}", began.elapsed());

    // With the ledger, another member knows the outcome.
    let turned = thread::scope(|threads| {
        threads.spawn(|| {
            thread::sleep(limit);
            let other = cluster.wait_for_primary().unwrap();
            proxy.set_upstream(cluster.node(other).address());
        });
        persistent(&recorded, 1)
    });
    turned.unwrap();
    cluster.node(primary).rejoin().unwrap();
    let mut conn = cluster.node(cluster.wait_for_primary().unwrap()).connect().unwrap();
    let balance: Option<i64> = conn.query_first("SELECT balance FROM account WHERE id = 1").unwrap();
    assert_eq!(balance, Some(102));
    // The one of unknown outcome was committed by nobody, or by all.
    deposits(&cluster);
}

#[transactional]
fn fails(tx: &mut Transaction<'_>, id: u32) -> Result<()> {
    deposit(tx, id, 1)?;
    tx.query_drop("SELECT * FROM no_such_table")
}

#[test]
fn in_a_group_of_several_primaries_a_nested_call_that_fails_lets_all_of_it_be_rolled_back() {
    let Some(cluster) = bank_on(Topology::GroupMultiPrimary) else { return };
    let (proxy, db) = behind_proxy(cluster.node(0), |builder| builder);
    let swallowed: Result<()> = db.transaction(|tx| {
        once(tx, 1)?;
        fails(tx, 2).unwrap_err();
        once(tx, 3)
    });
    let error = swallowed.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RollbackOnly, "{error:?}");
    // A savepoint would clear an abort: the only one comes before everything that can be aborted.
    let texts: Vec<String> = proxy.requests().into_iter().filter_map(|request| request.text).collect();
    let savepoints: Vec<usize> = (0..texts.len()).filter(|&at| texts[at].starts_with("SAVEPOINT")).collect();
    let insert = texts.iter().position(|text| text.starts_with("INSERT")).unwrap();
    assert!(matches!(savepoints[..], [at] if at < insert && at == 2), "{texts:?}");
    assert_eq!(deposits(&cluster), (0, 0));
}

#[test]
fn behind_haproxy_with_a_login_check_calls_wait_for_a_node_that_has_no_quorum_and_with_an_agent_they_do_not() {
    let Some(cluster) = bank_on(Topology::Galera) else { return };
    let patience = Duration::from_secs(5);
    let behind = |check| {
        let haproxy = cluster.haproxy(check, Balance::FirstAvailable).unwrap();
        let policy = RetryPolicy::default().max_elapsed(patience);
        let db = Db::builder(&haproxy.url()).retry(policy).commit_ledger(true).connect().unwrap();
        (haproxy, db)
    };
    let ((_wrong, stuck), (_right, db)) = (behind(HealthCheck::Login), behind(HealthCheck::Agent));
    persistent(&stuck, 1).unwrap();
    persistent(&db, 1).unwrap();
    cluster.node(0).isolate().unwrap();

    let began = Instant::now();
    persistent(&db, 1).unwrap();
    println!("agent: work goes on after {:?}", began.elapsed());
    assert!(began.elapsed() < patience, "{:?}", began.elapsed());
    let began = Instant::now();
    let error = persistent(&stuck, 1).unwrap_err();
    println!("login check: {error} after {:?}", began.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(began.elapsed() >= patience / 2, "{:?}", began.elapsed());

    cluster.node(0).rejoin().unwrap();
    persistent(&stuck, 1).unwrap();
    assert_eq!(deposits(&cluster), (4, 4));
}

#[test]
fn behind_mysql_router_everything_works_where_it_passes_the_bytes_through() {
    let Some(cluster) = bank_on(Topology::GroupSinglePrimary) else { return };
    let router = cluster.router(Routing::PassThrough, Balance::FirstAvailable).unwrap();
    let proxy = FaultProxy::start(router.address()).unwrap();
    let db = Db::builder(&proxy.url(&router.url()).unwrap()).retry(patient()).commit_ledger(true).connect().unwrap();
    // Several statements in a request: the set-up, and each COMMIT.
    persistent(&db, 1).unwrap();
    // Savepoints.
    let outer: Result<()> = db.transaction(|tx| {
        once(tx, 1)?;
        fails(tx, 2).unwrap_err();
        Ok(())
    });
    outer.unwrap();
    // SET lasts for the transaction, and ends with it.
    let set: Result<Option<u64>> = db.transaction(|tx| {
        tx.query_drop("SET SESSION max_execution_time = 4321")?;
        tx.query_first("SELECT @@max_execution_time")
    });
    assert_eq!(set.unwrap(), Some(4321));
    let next: Result<Option<u64>> = db.transaction(|tx| tx.query_first("SELECT @@max_execution_time"));
    assert_eq!(next.unwrap(), Some(0));
    for point in [Point::AfterRequest, Point::BeforeRequest] {
        let lost = proxy.inject(Fault::new(point, Action::Rst).matching("+ 1) WHERE"));
        persistent(&db, 2).unwrap();
        lost.assert_fired();
    }
    assert_eq!(deposits(&cluster), (4, 4));
}

#[test]
fn behind_mysql_router_that_shares_connections_nothing_is_begun() {
    let Some(cluster) = bank_on(Topology::GroupSinglePrimary) else { return };
    let router = cluster.router(Routing::Sharing, Balance::FirstAvailable).unwrap();
    let error = Db::connect(&router.url()).map(drop).unwrap_err();
    assert!(error.code() == Some(4501) && !error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("Multi-Statements are forbidden"), "{error}");
}

/// Deposits on a pool by several threads, from before `fault` until some time after it. Returns how many there were; none may fail.
fn through_a_fault(pool: &Pool, fault: impl FnOnce()) -> i64 {
    let (is_over, made) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|threads| {
        for id in 1..=4 {
            let (is_over, made) = (&is_over, &made);
            threads.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    persistent(pool, id).unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(Duration::from_secs(1));
        fault();
        let before = made.load(Ordering::Relaxed);
        let began = Instant::now();
        while made.load(Ordering::Relaxed) < before + 100 {
            assert!(began.elapsed() < Duration::from_secs(60), "calls do not go on");
            thread::sleep(Duration::from_millis(10));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    made.into_inner().into()
}

fn pool_on(url: &str) -> Pool {
    Db::builder(url).retry(patient()).commit_ledger(true).max_connections(3).connect_pool().unwrap()
}

#[transactional]
fn port(tx: &mut Transaction<'_>) -> Result<u16> {
    Ok(tx.query_first("SELECT @@port")?.unwrap())
}

#[test]
fn the_calls_of_a_pool_leave_a_host_that_falls_out_of_its_cluster() {
    for topology in [Topology::Galera, Topology::GroupSinglePrimary] {
        let Some(cluster) = bank_on(topology) else { continue };
        let pool = pool_on(&cluster.hosts_url());
        let first = cluster.wait_for_primary().unwrap();
        assert_eq!(port(&pool).unwrap(), cluster.node(first).port());
        let made = through_a_fault(&pool, || match topology {
            // It goes on accepting logins, PING and SELECT 1.
            Topology::Galera => cluster.node(first).isolate().unwrap(),
            _ => cluster.node(first).kill9().unwrap(),
        });
        assert_ne!(port(&pool).unwrap(), cluster.node(first).port());
        assert!(pool.status().open <= 3);
        cluster.rejoin_all().unwrap();
        assert_eq!(deposits(&cluster), (made, u64::try_from(made).unwrap()), "{topology}");
    }
}

#[test]
fn a_galera_node_that_is_not_up_to_date_is_passed_over() {
    let Some(cluster) = bank_on(Topology::Galera) else { return };
    let (mut first, ports) = (cluster.node(0).connect().unwrap(), [0, 1].map(|node| cluster.node(node).port()));
    let alone = format!("{}?target_session_attrs=read-write", url(cluster.node(0)));
    assert_eq!(port(&Db::connect(&alone).unwrap()).unwrap(), ports[0]);
    first.query_drop("SET GLOBAL wsrep_desync = ON").unwrap();
    assert_eq!(port(&Db::connect(&cluster.hosts_url()).unwrap()).unwrap(), ports[1]);
    let error = Db::connect(&alone).unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::ReadOnlyServer, true), "{error}");
    // Without the option one host is taken as it is.
    assert_eq!(port(&Db::connect(&url(cluster.node(0))).unwrap()).unwrap(), ports[0]);
    first.query_drop("SET GLOBAL wsrep_desync = OFF").unwrap();
    eventually("the node is up to date again", || {
        let state: Option<(String, String)> = first.query_first("SHOW STATUS LIKE 'wsrep_local_state_comment'").unwrap();
        state.is_some_and(|(_, state)| state == "Synced")
    });
    assert_eq!(port(&Db::connect(&cluster.hosts_url()).unwrap()).unwrap(), ports[0]);
}

#[test]
fn the_calls_of_a_pool_follow_the_promotion_of_a_replica() {
    let Some(cluster) = bank_on(Topology::Asynchronous) else { return };
    let pool = pool_on(&cluster.hosts_url());
    let mut made = 0;
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(port(&pool).unwrap(), cluster.node(from).port());
        made += through_a_fault(&pool, || {
            // As an operator does who loses nothing.
            let [mut old, mut new] = [from, to].map(|node| cluster.node(node).connect().unwrap());
            old.query_drop("SET GLOBAL read_only = 1").unwrap();
            let count = |conn: &mut Conn| conn.query_first::<u64, _>("SELECT COUNT(*) FROM journal").unwrap();
            eventually("the replica has it all", || count(&mut old) == count(&mut new));
            cluster.promote(to).unwrap();
        });
        assert_eq!(port(&pool).unwrap(), cluster.node(to).port());
    }
    assert_eq!(deposits(&cluster), (made, u64::try_from(made).unwrap()));
}
