//! Several hosts in one URL: which one is connected to, and what becomes of those that cannot be.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use db_core::mysql::prelude::Queryable as _;
use db_core::prelude::*;
use db_core::{Error, Result};
use db_testkit::Server;
use metrics_util::debugging::DebuggingRecorder;
use tests::{quick, within};

const LIMIT: Duration = Duration::from_secs(30);

/// Servers that know nothing of each other, each with a table of its own, and a user who may not write to one that is read-only.
fn servers<const N: usize>() -> [Server; N] {
    [(); N].map(|()| {
        let server = Server::start().unwrap();
        let mut admin = server.connect().unwrap();
        for sql in [
            "CREATE USER app@'%' IDENTIFIED BY 'secret'",
            "GRANT ALL ON test.* TO app@'%'",
            "CREATE TABLE test.journal (note VARCHAR(20) NOT NULL) ENGINE=InnoDB",
        ] {
            admin.query_drop(sql).unwrap();
        }
        server
    })
}

fn url(hosts: &[String], options: &str) -> String {
    format!("mysql://app:secret@{}/test{options}", hosts.join(","))
}

fn url_of(servers: &[Server], options: &str) -> String {
    url(&servers.iter().map(|server| server.address().to_string()).collect::<Vec<_>>(), options)
}

fn read_only(server: &Server, on: bool) {
    server.connect().unwrap().query_drop(format!("SET GLOBAL read_only = {}", u8::from(on))).unwrap();
}

#[transactional]
fn port(tx: &mut Transaction<'_>) -> Result<u16> {
    Ok(tx.query_first("SELECT @@port")?.unwrap())
}

#[retry_on_disconnect]
#[transactional]
fn note(tx: &mut Transaction<'_>) -> Result<u16> {
    tx.query_drop("INSERT INTO journal VALUES ('x')")?;
    port(tx)
}

#[test]
fn the_first_host_that_accepts_writes_is_used_or_the_first_at_all() {
    let servers = servers::<3>();
    read_only(&servers[0], true);
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let db = Db::connect(&url_of(&servers, "")).unwrap();
        assert_eq!(note(&db).unwrap(), servers[1].port());
    });
    let ports: BTreeSet<String> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .flat_map(|(key, ..)| {
            let (_, key) = key.into_parts();
            key.labels().filter(|label| label.key() == "server.port").map(|label| label.value().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(ports, [servers[1].port().to_string()].into(), "the host in use");

    let pool = Pool::connect(&url_of(&servers, "?target_session_attrs=read-write")).unwrap();
    assert_eq!(note(&pool).unwrap(), servers[1].port());
    let any = Db::connect(&url_of(&servers, "?target_session_attrs=any")).unwrap();
    assert_eq!(port(&any).unwrap(), servers[0].port());
    let random = url_of(&servers, "?load_balance_hosts=random&target_session_attrs=any");
    let found: BTreeSet<u16> = (0..40).map(|_| port(&Db::connect(&random).unwrap()).unwrap()).collect();
    assert_eq!(found, servers.iter().map(Server::port).collect());
    // One host may be asked for writes, too.
    let one = Db::connect(&url_of(&servers[..1], "?target_session_attrs=read-write")).unwrap_err();
    assert_eq!((one.kind(), one.is_transient()), (ErrorKind::ReadOnlyServer, true), "{one}");
}

#[test]
fn an_error_names_each_host_that_was_tried_and_what_it_said() {
    let servers = servers::<3>();
    read_only(&servers[0], true);
    servers[1].kill9().unwrap();
    let hosts: Vec<String> = servers.iter().map(|server| server.address().to_string()).collect();
    let error = Db::connect(&url(&hosts, "").replace("secret", "hunter2")).unwrap_err();
    let said = error.to_string();
    assert!(hosts.iter().all(|host| said.contains(&format!("{host}: "))) && !said.contains("hunter2"), "{said}");
    let error = Db::connect(&url(&hosts[..2], "")).unwrap_err();
    let said = error.to_string();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::ReadOnlyServer, true), "{said}");
    assert!(
        said.contains(&format!("{}: read-only server", hosts[0])) && said.contains(&format!("{}: could not connect", hosts[1])),
        "{said}"
    );
    for wrong in ["a:b,c", "a,,b", ","] {
        let error = Db::connect(&format!("mysql://app:hunter2@{wrong}/test")).unwrap_err();
        assert!(error.kind() == ErrorKind::Config && !error.to_string().contains("hunter2"), "{wrong}: {error}");
    }
}

#[test]
fn after_a_loss_the_search_begins_with_the_next_host() {
    let servers = servers::<2>();
    let db = Db::builder(&url_of(&servers, "")).retry(quick().max_elapsed(LIMIT)).connect().unwrap();
    assert_eq!(note(&db).unwrap(), servers[0].port());
    servers[0].kill9().unwrap();
    assert_eq!(note(&db).unwrap(), servers[1].port());
    servers[0].restart().unwrap();
    // It stays where it is, until a connection is opened for another reason than a loss.
    assert_eq!(note(&db).unwrap(), servers[1].port());
    thread::sleep(Duration::from_secs(2));
    db.disconnect();
    assert_eq!(note(&db).unwrap(), servers[0].port());
    let id: Option<u32> = db.transaction(|tx| tx.query_first("SELECT CONNECTION_ID()")).unwrap();
    servers[0].connect().unwrap().query_drop(format!("KILL {}", id.unwrap())).unwrap();
    assert_eq!(note(&db).unwrap(), servers[1].port());
}

#[test]
fn calls_follow_a_primary_that_is_swapped_for_another_host() {
    let servers = servers::<2>();
    read_only(&servers[1], true);
    let policy = quick().max_elapsed(LIMIT);
    let db = Db::builder(&url_of(&servers, "")).retry(policy).connect().unwrap();
    let pool = Db::builder(&url_of(&servers, "")).retry(policy).max_connections(4).connect_pool().unwrap();
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!((note(&db).unwrap(), note(&pool).unwrap()), (servers[from].port(), servers[from].port()));
        let begin = Arc::new(Barrier::new(9));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (pool, begin) = (pool.clone(), Arc::clone(&begin));
                thread::spawn(move || {
                    begin.wait();
                    (0..200).try_for_each(|_| note(&pool).map(drop))
                })
            })
            .collect();
        begin.wait();
        read_only(&servers[from], true);
        thread::sleep(Duration::from_millis(300));
        read_only(&servers[to], false);
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        assert_eq!((note(&db).unwrap(), note(&pool).unwrap()), (servers[to].port(), servers[to].port()));
    }
    let notes = |server: &Server| -> u64 { server.connect().unwrap().query_first("SELECT COUNT(*) FROM test.journal").unwrap().unwrap() };
    assert_eq!(servers.iter().map(notes).sum::<u64>(), 2 * (8 * 200 + 4));
}

#[test]
fn a_host_that_never_replies_costs_one_timeout_and_not_one_for_each_thread() {
    let servers = servers::<2>();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let [first, last] = [&servers[0], &servers[1]].map(|server| server.address().to_string());
    let hosts = [first, silent.local_addr().unwrap().to_string(), last];
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in silent.incoming() {
            counted.fetch_add(1, Ordering::Relaxed);
            kept.push(stream);
        }
    });
    let policy = quick().max_elapsed(LIMIT);
    let pool = Db::builder(&url(&hosts, "")).retry(policy).max_connections(8).connect_pool().unwrap();
    let at_once = |work: fn(&Pool) -> Result<u16>| {
        let begin = Arc::new(Barrier::new(8));
        let threads = [(); 8].map(|()| {
            let (pool, begin) = (pool.clone(), Arc::clone(&begin));
            thread::spawn(move || {
                begin.wait();
                work(&pool)
            })
        });
        threads.map(|thread| thread.join().unwrap().unwrap())
    };
    at_once(|pool| {
        pool.transaction(|tx| {
            tx.query_drop("DO SLEEP(0.3)")?;
            port(tx)
        })
    });
    assert_eq!((pool.status().open, accepted.load(Ordering::Relaxed)), (8, 0));
    servers[0].kill9().unwrap();
    let began = Instant::now();
    assert_eq!(at_once(|pool| note(pool)), [servers[1].port(); 8]);
    assert!((5..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[test]
fn every_address_of_a_name_is_tried() {
    let servers = servers::<1>();
    let folder = env::temp_dir().join(format!("db-core-hosts-{}", std::process::id()));
    // The first comes first by the rules for choosing addresses, and nothing listens on it.
    fs::write(&folder, "::1 db.test\n127.0.0.1 db.test\n").unwrap();
    let script =
        r#"mount --bind "$HOSTS" /etc/hosts && exec "$0" --exact --ignored --test-threads=1 hosts::by_a_name_with_several_addresses"#;
    let status = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .arg(env::current_exe().unwrap())
        .env("HOSTS", &folder)
        .env("NAMED_URL", format!("mysql://app:secret@db.test:{}/test", servers[0].port()))
        .status();
    fs::remove_file(&folder).unwrap();
    assert!(status.unwrap().success());
}

#[test]
#[ignore = "run by the test above"]
fn by_a_name_with_several_addresses() {
    let db = DbBuilder::from_env("NAMED_URL").unwrap().connect().unwrap();
    within(LIMIT, move || note(&db)).unwrap();
    let nowhere = env::var("NAMED_URL").unwrap().replace("db.test", "no-such-name.test");
    let error: Error = Db::connect(&nowhere).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
}
