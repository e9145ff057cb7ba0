//! Promises of a private server.

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use db_testkit::mysql::prelude::Queryable;
use db_testkit::mysql::{Conn, Opts};
use db_testkit::{Error as KitError, Flavor, Server};

type Check = Result<(), Box<dyn Error>>;

/// Stopped processes and zombies count as running: both still have their entry.
fn is_running(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn home(server: &Server) -> Result<PathBuf, Box<dyn Error>> {
    Ok(server.socket().parent().ok_or("a socket in a directory")?.to_owned())
}

#[test]
fn a_started_server_answers_and_has_an_empty_utf8mb4_database() -> Check {
    let server = Server::start()?;
    let mut conn = Conn::new(Opts::from_url(&server.url())?)?;
    let tables: Vec<String> = conn.query("SHOW TABLES")?;
    assert!(tables.is_empty());
    let (database, charset): (String, String) = conn.query_first("SELECT DATABASE(), @@character_set_database")?.ok_or("a row")?;
    assert_eq!((database.as_str(), charset.as_str()), ("test", "utf8mb4"));
    assert!(UnixStream::connect(server.socket()).is_ok());
    assert!(server.version().starts_with(|digit: char| digit.is_ascii_digit()), "{}", server.version());
    assert_eq!(server.flavor() == Flavor::MariaDb, server.version().contains("MariaDB"));
    assert!(server.log()?.contains("ready for connections"));
    Ok(())
}

#[test]
fn a_port_is_below_the_ephemeral_range_so_that_no_client_can_connect_to_itself() -> Check {
    assert!(Server::start()?.port() < 32768);
    Ok(())
}

#[test]
fn what_was_committed_survives_kill_9() -> Check {
    let server = Server::start()?;
    let mut conn = server.connect()?;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")?;
    conn.query_drop("INSERT INTO t VALUES (1)")?;
    conn.query_drop("BEGIN")?;
    conn.query_drop("INSERT INTO t VALUES (2)")?;
    let (port, pid) = (server.port(), server.pid().ok_or("running")?);

    server.kill9()?;
    assert_eq!(server.pid(), None);
    assert!(!is_running(pid));
    assert!(server.connect().is_err());
    server.restart()?;

    assert_eq!(server.port(), port);
    let rows: Vec<u32> = server.connect()?.query("SELECT id FROM t")?;
    assert_eq!(rows, [1]);
    Ok(())
}

#[test]
fn a_stopped_server_starts_again_on_the_same_port_and_data() -> Check {
    let server = Server::start()?;
    server.connect()?.query_drop("CREATE TABLE t (id INT PRIMARY KEY)")?;
    server.stop()?;
    assert!(matches!(server.stop(), Err(KitError::NotRunning)));
    server.launch()?;
    assert!(matches!(server.launch(), Err(KitError::Running)));
    server.wait_ready()?;
    server.restart()?;
    server.connect()?.query_drop("INSERT INTO t VALUES (1)")?;
    Ok(())
}

#[test]
fn a_paused_server_keeps_its_connections_and_answers_when_resumed() -> Check {
    let server = Server::start()?;
    let mut conn = server.connect()?;
    server.pause()?;
    let asking = thread::spawn(move || conn.query_first::<u8, _>("SELECT 1"));
    thread::sleep(Duration::from_millis(100));
    assert!(!asking.is_finished());
    server.resume()?;
    assert_eq!(asking.join().map_err(|_| "no panic")??, Some(1));
    server.pause()?;
    server.stop()?;
    Ok(())
}

#[test]
fn each_created_database_is_new_and_empty() -> Check {
    let server = Server::start()?;
    let (first, second) = (server.create_database()?, server.create_database()?);
    assert_ne!(first, second);
    Conn::new(Opts::from_url(&first)?)?.query_drop("CREATE TABLE t (id INT)")?;
    Conn::new(Opts::from_url(&second)?)?.query_drop("CREATE TABLE t (id INT)")?;
    Ok(())
}

#[test]
fn an_option_given_by_the_test_wins() -> Check {
    let server = Server::builder().arg("--innodb-lock-wait-timeout=7").arg("--skip-name-resolve").start()?;
    let timeout: Option<u32> = server.connect()?.query_first("SELECT @@innodb_lock_wait_timeout")?;
    assert_eq!(timeout, Some(7));
    Ok(())
}

#[test]
fn a_server_that_dies_at_once_is_an_error_with_the_log() {
    let error = Server::builder().arg("--no-such-option").start().expect_err("an option that no server knows");
    assert!(matches!(error, KitError::Exited { .. }), "{error}");
    assert!(error.to_string().contains("no-such-option"), "{error}");
}

#[test]
fn servers_started_at_the_same_time_do_not_share_anything() -> Check {
    let starting: Vec<_> = (0..3).map(|_| thread::spawn(Server::start)).collect();
    let servers = starting.into_iter().map(|thread| thread.join().map_err(|_| "no panic")).collect::<Result<Vec<_>, _>>()?;
    for server in servers {
        server?.connect()?.query_drop("CREATE TABLE t (id INT)")?;
    }
    Ok(())
}

#[test]
fn a_server_outlives_the_thread_that_started_it() -> Check {
    let server = thread::spawn(Server::start).join().map_err(|_| "no panic")??;
    thread::sleep(Duration::from_millis(50));
    assert_eq!(server.connect()?.query_first("SELECT 1")?, Some(1));
    Ok(())
}

#[test]
fn a_dropped_server_leaves_neither_process_nor_files() -> Check {
    let server = Server::start()?;
    let (pid, home) = (server.pid().ok_or("running")?, home(&server)?);
    assert!(is_running(pid) && home.exists());
    drop(server);
    assert!(!is_running(pid) && !home.exists());
    Ok(())
}

#[test]
fn a_panicking_test_leaves_neither_process_nor_files() -> Check {
    let server = Server::start()?;
    let (pid, home) = (server.pid().ok_or("running")?, home(&server)?);
    let caught = catch_unwind(move || {
        let _server = server;
        panic!("as a failed assertion does");
    });
    assert!(caught.is_err());
    assert!(!is_running(pid) && !home.exists());
    Ok(())
}

#[test]
fn a_killed_test_process_takes_its_server_along_and_the_next_start_removes_its_files() -> Check {
    const CHILD: &str = "DB_TESTKIT_TEST_CHILD";
    const NAME: &str = "a_killed_test_process_takes_its_server_along_and_the_next_start_removes_its_files";
    if env::var_os(CHILD).is_some() {
        let server = Server::start()?;
        println!("\nserver {} {}", server.pid().ok_or("running")?, home(&server)?.display());
        thread::sleep(Duration::from_secs(60));
        return Ok(());
    }
    let mut child =
        Command::new(env::current_exe()?).args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(child.stdout.take().ok_or("piped")?);
    let line = output.lines().map_while(Result::ok).find(|line| line.starts_with("server ")).ok_or("a line about the server")?;
    let [_, pid, home] = line.split(' ').collect::<Vec<_>>()[..] else { return Err(line.into()) };
    let (pid, home) = (pid.parse()?, Path::new(home));
    assert!(is_running(pid) && home.exists());

    child.kill()?;
    child.wait()?;

    let deadline = Instant::now() + Duration::from_secs(10);
    while is_running(pid) {
        assert!(Instant::now() < deadline, "the server outlived its test process");
        thread::sleep(Duration::from_millis(5));
    }
    let _next = Server::start()?;
    assert!(!home.exists());
    Ok(())
}
