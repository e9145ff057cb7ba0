//! Promises of clusters. MariaDB's are tested where `DB_TESTKIT_SERVER` is `mariadb` (the default), MySQL's where it is `mysql`.

use std::env;
use std::error::Error;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use db_testkit::mysql::prelude::Queryable;
use db_testkit::mysql::{self, Conn, Opts, OptsBuilder};
use db_testkit::{Balance, Cluster, Error as KitError, Flavor, HealthCheck, Node, Routing, Topology};

type Check = Result<(), Box<dyn Error>>;

/// The topologies of the server that is tested.
fn topologies() -> Result<&'static [Topology], Box<dyn Error>> {
    Ok(match Flavor::from_env()? {
        Flavor::MariaDb if in_a_tree() => &[Topology::Asynchronous],
        Flavor::MariaDb => &[Topology::Galera, Topology::Asynchronous],
        Flavor::MySql => &[Topology::GroupSinglePrimary, Topology::GroupMultiPrimary],
    })
}

/// Galera runs on the MariaDB of this machine only.
fn in_a_tree() -> bool {
    env::var_os("DB_TESTKIT_MARIADB_ROOT").is_some()
}

fn client(url: &str) -> mysql::Result<Conn> {
    let limit = Some(Duration::from_secs(3));
    Conn::new(OptsBuilder::from_opts(Opts::from_url(url)?).prefer_socket(false).read_timeout(limit).write_timeout(limit))
}

fn insert(url: &str, id: u32) -> mysql::Result<()> {
    client(url)?.exec_drop("INSERT INTO t VALUES (?)", (id,))
}

fn rows(node: &Node) -> Result<Vec<u32>, Box<dyn Error>> {
    Ok(node.connect()?.query("SELECT id FROM t ORDER BY id")?)
}

/// All nodes have these rows and no others.
fn audit(cluster: &Cluster, expected: &[u32]) -> Check {
    cluster.settled()?;
    for node in cluster.nodes() {
        assert_eq!(rows(node)?, expected, "{}, node {}", cluster.topology(), node.index());
    }
    Ok(())
}

fn report(topology: Topology, what: &str, since: Instant) {
    println!("{topology}: {what} after {:.1} s", since.elapsed().as_secs_f64());
}

/// In one test, since starting a cluster takes long.
#[test]
fn a_node_can_be_killed_stopped_paused_isolated_and_brought_back_and_nothing_is_left_in_the_end() -> Check {
    for &topology in topologies()? {
        let began = Instant::now();
        let cluster = Cluster::builder(topology).start()?;
        report(topology, "up", began);
        assert!(cluster.nodes().iter().all(Node::ready));
        assert_eq!(cluster.primary(), Some(0));
        client(&cluster.url())?.query_drop("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")?;
        insert(&cluster.url(), 1)?;
        audit(&cluster, &[1])?;
        for node in cluster.nodes() {
            assert!(node.port() < 32768);
            let status = fs::read_to_string(format!("/proc/{}/status", node.pid().ok_or("running")?))?;
            println!("{topology}: {}", status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default());
        }
        a_killed_primary_is_replaced(&cluster)?;
        a_stopped_node_comes_back(&cluster)?;
        a_paused_node_comes_back(&cluster)?;
        an_isolated_node_is_not_ready(&cluster)?;
        all_can_be_killed(&cluster)?;

        let pids: Vec<u32> = cluster.nodes().iter().filter_map(Node::pid).collect();
        let home = cluster.node(0).socket().parent().ok_or("a directory")?.to_owned();
        drop(cluster);
        assert!(!pids.iter().any(|pid| fs::exists(format!("/proc/{pid}")).unwrap_or(true)), "{topology}: a process is left");
        assert!(!fs::exists(home)?, "{topology}: files are left");
    }
    Ok(())
}

fn a_killed_primary_is_replaced(cluster: &Cluster) -> Check {
    let mut conn = client(&cluster.url())?;
    let killed = Instant::now();
    cluster.node(0).kill9()?;
    assert!(!cluster.node(0).ready());
    if cluster.topology() == Topology::Asynchronous {
        cluster.promote(1)?;
    }
    assert_ne!(cluster.wait_for_primary()?, 0);
    report(cluster.topology(), "another primary", killed);
    conn.query_drop("DO 1").expect_err("the connection to the killed node is gone");
    insert(&cluster.url(), 2)?;
    let began = Instant::now();
    cluster.node(0).rejoin()?;
    report(cluster.topology(), "back after kill -9", began);
    audit(cluster, &[1, 2])
}

fn a_stopped_node_comes_back(cluster: &Cluster) -> Check {
    cluster.node(1).stop()?;
    if cluster.topology() == Topology::Asynchronous {
        cluster.promote(0)?;
    }
    cluster.wait_for_primary()?;
    insert(&cluster.url(), 3)?;
    cluster.node(1).rejoin()?;
    cluster.promote(0)?;
    audit(cluster, &[1, 2, 3])
}

fn a_paused_node_comes_back(cluster: &Cluster) -> Check {
    let last = cluster.node(cluster.nodes().len() - 1);
    last.pause()?;
    let began = Instant::now();
    // Nobody waits for an asynchronous replica; the others must first exclude the node.
    while insert(&cluster.url(), 4).is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "{}: no commit beside a paused node", cluster.topology());
    }
    assert!(!last.ready());
    last.rejoin()?;
    audit(cluster, &[1, 2, 3, 4])
}

fn an_isolated_node_is_not_ready(cluster: &Cluster) -> Check {
    let node = cluster.node(0);
    let began = Instant::now();
    node.isolate()?;
    report(cluster.topology(), "isolated", began);
    // Logins are accepted.
    assert_eq!(client(&node.url_for(""))?.query_first("SELECT 1")?, Some(1));
    match cluster.topology() {
        Topology::Galera => {
            assert!(!node.ready());
            let error = client(&node.url_for(""))?.query_drop("SELECT * FROM test.t").expect_err("no primary component");
            assert!(matches!(&error, mysql::Error::MySqlError(error) if error.code == 1047), "{error}");
        }
        Topology::Asynchronous => {
            insert(&node.url(), 5)?;
            assert!(!cluster.node(1).ready());
            assert_eq!(rows(cluster.node(1))?, [1, 2, 3, 4]);
        }
        _ => {
            assert!(!node.ready());
            insert(&node.url(), 99).expect_err("no majority, so COMMIT waits");
        }
    }
    if cluster.topology() != Topology::Asynchronous {
        cluster.wait_for_primary()?;
        insert(&cluster.url(), 5)?;
    }
    let began = Instant::now();
    cluster.rejoin_all()?;
    report(cluster.topology(), "back after isolation", began);
    cluster.promote(0)?;
    audit(cluster, &[1, 2, 3, 4, 5])
}

fn all_can_be_killed(cluster: &Cluster) -> Check {
    for node in cluster.nodes() {
        node.kill9()?;
    }
    assert_eq!(cluster.primary(), None);
    let began = Instant::now();
    cluster.rejoin_all()?;
    report(cluster.topology(), "all back after kill -9 of all", began);
    cluster.wait_for_primary()?;
    insert(&cluster.url(), 6)?;
    audit(cluster, &[1, 2, 3, 4, 5, 6])
}

/// Until a new connection reaches a node that satisfies this.
fn reaches(url: &str, cluster: &Cluster, wanted: impl Fn(usize) -> bool) -> Check {
    let began = Instant::now();
    loop {
        let port: mysql::Result<Option<u16>> = client(url).and_then(|mut conn| conn.query_first("SELECT @@port"));
        let index = port.as_ref().ok().and_then(|port| cluster.nodes().iter().position(|node| Some(node.port()) == *port));
        if index.is_some_and(&wanted) {
            return Ok(());
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{}: a client reaches node {index:?}: {port:?}", cluster.topology());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_balancer_with_an_agent_leaves_a_node_without_quorum_and_one_with_a_login_check_does_not() -> Check {
    let galera = Flavor::from_env()? == Flavor::MariaDb;
    if galera && in_a_tree() {
        assert!(matches!(Cluster::galera(), Err(KitError::Unsupported(_))));
        return Ok(());
    }
    let cluster = Cluster::builder(if galera { Topology::Galera } else { Topology::GroupMultiPrimary }).start()?;
    let agent = cluster.haproxy(HealthCheck::Agent, Balance::FirstAvailable)?;
    let login = cluster.haproxy(HealthCheck::Login, Balance::FirstAvailable)?;
    let turns = cluster.haproxy(HealthCheck::Agent, Balance::RoundRobin)?;
    reaches(&agent.url(), &cluster, |index| index == 0)?;
    reaches(&login.url(), &cluster, |index| index == 0)?;
    for wanted in [0, 1, 2] {
        reaches(&turns.url(), &cluster, |index| index == wanted)?;
    }
    client(&agent.url())?.query_drop("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")?;

    agent.set_maintenance(0, true)?;
    reaches(&agent.url(), &cluster, |index| index == 1)?;
    agent.set_maintenance(0, false)?;
    reaches(&agent.url(), &cluster, |index| index == 0)?;
    assert!(agent.set_maintenance(9, true).is_err());

    cluster.node(0).isolate()?;
    reaches(&agent.url(), &cluster, |index| index != 0)?;
    insert(&agent.url(), 1)?;
    // It has had time for its checks.
    reaches(&login.url_for(""), &cluster, |index| index == 0)?;
    let error = client(&login.url_for(""))?.query_drop("INSERT INTO test.t VALUES (2)").expect_err("a node without quorum");
    assert!(!galera || matches!(&error, mysql::Error::MySqlError(error) if error.code == 1047), "{error}");

    let pids = [agent.pid(), login.pid(), turns.pid()];
    drop((agent, login, turns));
    assert!(!pids.iter().any(|pid| fs::exists(format!("/proc/{pid}")).unwrap_or(true)), "HAProxy is left");
    Ok(())
}

#[test]
fn a_router_leads_to_the_first_member_that_accepts_connections() -> Check {
    if Flavor::from_env()? == Flavor::MariaDb {
        let cluster = Cluster::asynchronous()?;
        assert!(matches!(cluster.router(Routing::PassThrough, Balance::FirstAvailable), Err(KitError::Unsupported(_))));
        return Ok(());
    }
    let cluster = Cluster::builder(Topology::GroupMultiPrimary).start()?;
    let router = cluster.router(Routing::PassThrough, Balance::FirstAvailable)?;
    reaches(&router.url(), &cluster, |index| index == 0)?;
    client(&router.url())?.query_drop("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")?;
    cluster.node(0).kill9()?;
    reaches(&router.url(), &cluster, |index| index == 1)?;
    insert(&router.url(), 1)?;
    assert!(router.set_maintenance(1, true).is_err());
    Ok(())
}

#[test]
fn a_missing_package_is_an_error_that_names_it() -> Check {
    if Flavor::from_env()? == Flavor::MariaDb && !in_a_tree() {
        let status = Command::new(env::current_exe()?)
            .args(["--exact", "--ignored", "in_an_environment_without_scripts"])
            .env("DB_TESTKIT_GALERA_SCRIPTS", "/nonexistent")
            .status()?;
        assert!(status.success());
    }
    let status = Command::new(env::current_exe()?)
        .args(["--exact", "--ignored", "in_an_environment_without_mysql"])
        .env("DB_TESTKIT_MYSQL_ROOT", "/nonexistent")
        .status()?;
    assert!(status.success());
    Ok(())
}

#[test]
#[ignore = "run by the test above"]
fn in_an_environment_without_scripts() {
    let error = Cluster::galera().expect_err("no scripts").to_string();
    assert!(error.contains("apt-get install --no-install-recommends mariadb-server"), "{error}");
}

#[test]
#[ignore = "run by the test above"]
fn in_an_environment_without_mysql() {
    let error = Cluster::group_replication().expect_err("no MySQL").to_string();
    assert!(error.contains("DB_TESTKIT_MYSQL_ROOT=/nonexistent"), "{error}");
}
