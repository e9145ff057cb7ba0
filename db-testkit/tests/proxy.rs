//! Promises of the fault-injecting proxy.

use std::error::Error;
use std::io::{Cursor, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use db_testkit::mysql::prelude::Queryable;
use db_testkit::mysql::{Conn, LocalInfileHandler, Opts, OptsBuilder};
use db_testkit::{Action, Command, Fault, FaultProxy, Injection, Point, Server};

type Check = Result<(), Box<dyn Error>>;

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(150);

struct Setup {
    // First: connections end before the server does.
    proxy: FaultProxy,
    server: Server,
}

impl Setup {
    /// A proxy before a server with an empty table `t`.
    fn new() -> Result<Setup, Box<dyn Error>> {
        let server = Server::builder().arg("--local-infile=1").arg("--max-allowed-packet=64M").start()?;
        server.connect()?.query_drop("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")?;
        Ok(Setup { proxy: server.proxy()?, server })
    }

    fn opts(&self) -> Result<OptsBuilder, Box<dyn Error>> {
        let opts = Opts::from_url(&self.proxy.url(&self.server.url())?)?;
        Ok(OptsBuilder::from_opts(opts).prefer_socket(false).max_allowed_packet(Some(64 << 20)))
    }

    fn client(&self) -> Result<Conn, Box<dyn Error>> {
        Ok(Conn::new(self.opts()?)?)
    }

    fn rows(&self) -> Result<Vec<u32>, Box<dyn Error>> {
        Ok(self.server.connect()?.query("SELECT id FROM t ORDER BY id")?)
    }

    /// An INSERT whose COMMIT meets a fault: the error it ends in.
    fn insert(&self, conn: &mut Conn, id: u32, point: Point, action: Action) -> Result<(String, Injection), Box<dyn Error>> {
        conn.query_drop("BEGIN")?;
        conn.query_drop(format!("INSERT INTO t VALUES ({id})"))?;
        let injection = self.proxy.inject(Fault::new(point, action).matching("commit"));
        let error = conn.query_drop("COMMIT").expect_err("no reply to COMMIT");
        Ok((error.to_string(), injection))
    }
}

fn elapsed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

#[test]
fn connecting_costs_no_round_trip_and_leaving_one_request_without_reply() -> Check {
    let setup = Setup::new()?;
    let conn = setup.client()?;
    let counts = setup.proxy.counts();
    assert_eq!((counts.connections, counts.requests, counts.round_trips), (1, 0, 0));
    assert!(counts.packets >= 3 && counts.bytes_to_server > 0 && counts.bytes_to_client > 0);
    assert_eq!(setup.proxy.connections(), 1);
    drop(conn);
    while setup.proxy.connections() > 0 {}
    let counts = setup.proxy.counts();
    assert_eq!((counts.requests, counts.round_trips), (1, 0));
    assert_eq!(setup.proxy.requests()[0].command, Command::Quit);
    Ok(())
}

#[test]
fn a_round_trip_is_a_request_that_was_answered() -> Check {
    let setup = Setup::new()?;
    let mut conn = setup.client()?;
    let join = "SELECT CONCAT(?, ?)";
    type Work<'a> = &'a dyn Fn(&mut Conn) -> bool;
    let works: [(&str, u64, Work<'_>); 11] = [
        ("an OK", 1, &|conn| conn.query_drop("DO 1").is_ok()),
        ("rows", 1, &|conn| conn.query("SELECT 1 UNION SELECT 2").is_ok_and(|rows: Vec<u8>| rows == [1, 2])),
        ("three results", 1, &|conn| conn.query_drop("SELECT 1; DO 2; SELECT 3, 4").is_ok()),
        ("an error", 1, &|conn| conn.query_drop("nonsense").is_err()),
        ("an error after rows, which the driver does not report", 1, &|conn| conn.query_drop("SELECT 1; nonsense").is_ok()),
        ("prepare and execute", 2, &|conn| conn.exec_first(join, ("a", "b")).is_ok_and(|both| both == Some("ab".to_owned()))),
        ("execute again", 1, &|conn| conn.exec_first(join, ("c", "d")).is_ok_and(|both| both == Some("cd".to_owned()))),
        ("prepare and execute without columns", 2, &|conn| conn.exec_drop("DO ?", (1,)).is_ok()),
        ("a ping", 1, &|conn| conn.ping().is_ok()),
        ("a reset", 1, &|conn| conn.reset().is_ok()),
        ("a new login", 1, &|conn| conn.change_user(Default::default()).is_ok()),
    ];
    for (name, cost, work) in works {
        setup.proxy.reset_counts();
        assert!(work(&mut conn), "{name}");
        assert_eq!(setup.proxy.counts().round_trips, cost, "{name}");
    }
    Ok(())
}

#[test]
fn closing_a_statement_is_a_request_but_not_a_round_trip() -> Check {
    let setup = Setup::new()?;
    let mut conn = setup.client()?;
    let statement = conn.prep("SELECT 5")?;
    conn.exec_drop(&statement, ())?;
    conn.close(statement)?;
    conn.query_drop("DO 1")?;
    let counts = setup.proxy.counts();
    assert_eq!((counts.requests, counts.round_trips), (4, 3));
    let requests: Vec<_> = setup.proxy.requests().into_iter().map(|request| (request.connection, request.command, request.text)).collect();
    let text = || Some("SELECT 5".to_owned());
    assert_eq!(
        requests,
        [
            (1, Command::Prepare, text()),
            (1, Command::Execute, text()),
            (1, Command::CloseStatement, text()),
            (1, Command::Query, Some("DO 1".into())),
        ]
    );
    Ok(())
}

#[test]
fn a_request_and_a_reply_beyond_16_mb_are_one_round_trip() -> Check {
    let setup = Setup::new()?;
    let mut conn = setup.client()?;
    setup.proxy.reset_counts();
    let text = "x".repeat(40 << 20);
    let back: Option<(String, u8)> = conn.query_first(format!("SELECT '{text}', 7"))?;
    assert!(back == Some((text, 7)));
    let counts = setup.proxy.counts();
    assert_eq!((counts.requests, counts.round_trips), (1, 1));
    assert!(counts.packets >= 6 && counts.bytes_to_server > 40 << 20);
    Ok(())
}

#[test]
fn a_local_file_is_a_part_of_its_request() -> Check {
    let setup = Setup::new()?;
    let handler = LocalInfileHandler::new(|_, writer| std::io::copy(&mut Cursor::new("1\n2\n3\n"), writer).map(drop));
    let mut conn = Conn::new(setup.opts()?.local_infile_handler(Some(handler)))?;
    setup.proxy.reset_counts();
    conn.query_drop("LOAD DATA LOCAL INFILE 'any' INTO TABLE t")?;
    assert_eq!((setup.proxy.counts().requests, setup.proxy.counts().round_trips), (1, 1));
    assert_eq!(setup.rows()?, [1, 2, 3]);
    Ok(())
}

#[test]
fn a_commit_cut_before_the_server_is_not_done() -> Check {
    let setup = Setup::new()?;
    for (id, action) in [(1, Action::Fin), (2, Action::Rst), (3, Action::Refuse(Duration::from_millis(1)))] {
        let (error, injection) = setup.insert(&mut setup.client()?, id, Point::BeforeRequest, action)?;
        assert_eq!(injection.fired(), 1, "{error}");
        assert_eq!(error.contains("104"), action != Action::Fin, "{error}");
        setup.proxy.refuse_connections(false);
    }
    assert!(setup.rows()?.is_empty());
    Ok(())
}

#[test]
fn a_commit_whose_reply_is_swallowed_is_done() -> Check {
    let setup = Setup::new()?;
    for (id, action) in [(1, Action::Fin), (2, Action::Rst), (3, Action::DelayAndAbandon(SHORT))] {
        let (error, injection) = setup.insert(&mut setup.client()?, id, Point::AfterRequest, action)?;
        assert_eq!(injection.fired(), 1, "{error}");
        assert!(setup.rows()?.contains(&id));
    }
    Ok(())
}

#[test]
fn the_reply_is_swallowed_only_when_every_statement_of_the_request_is_done() -> Check {
    let setup = Setup::new()?;
    let injection = setup.proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("COMMIT"));
    assert!(setup.client()?.query_drop("BEGIN; INSERT INTO t VALUES (1); SELECT SLEEP(0.2); COMMIT").is_err());
    injection.assert_fired();
    assert_eq!(setup.rows()?, [1]);
    Ok(())
}

#[test]
fn a_request_that_was_sent_reaches_the_server_although_the_client_is_cut() -> Check {
    let setup = Setup::new()?;
    let (error, injection) = setup.insert(&mut setup.client()?, 1, Point::RequestSent, Action::Fin)?;
    assert_eq!(injection.fired(), 1, "{error}");
    let deadline = Instant::now() + LONG;
    while setup.rows()?.is_empty() {
        assert!(Instant::now() < deadline);
    }
    Ok(())
}

#[test]
fn a_reply_can_be_cut_in_the_middle() -> Check {
    let setup = Setup::new()?;
    setup.server.connect()?.query_drop("INSERT INTO t VALUES (1), (2), (3), (4), (5), (6), (7), (8)")?;
    for (bytes, action) in [(0, Action::Rst), (70, Action::Fin), (75, Action::Rst)] {
        let mut conn = setup.client()?;
        setup.proxy.reset_counts();
        let before = setup.proxy.counts();
        let injection = setup.proxy.inject(Fault::new(Point::MidReply(bytes), action).matching("SELECT id"));
        assert!(conn.query::<u32, _>("SELECT id FROM t").is_err());
        injection.assert_fired();
        let after = setup.proxy.counts();
        assert_eq!(after.bytes_to_client - before.bytes_to_client, bytes as u64);
        assert_eq!(after.round_trips, 0);
    }
    Ok(())
}

#[test]
fn a_reply_shorter_than_the_cut_passes_unharmed() -> Check {
    let setup = Setup::new()?;
    let injection = setup.proxy.inject(Fault::new(Point::MidReply(1000), Action::Rst));
    setup.client()?.query_drop("DO 1")?;
    assert_eq!(injection.fired(), 0);
    Ok(())
}

#[test]
fn a_black_hole_keeps_both_sides_waiting_and_harms_no_other_connection() -> Check {
    let setup = Setup::new()?;
    for (id, point) in [(1, Point::BeforeRequest), (2, Point::AfterRequest)] {
        let mut conn = Conn::new(setup.opts()?.read_timeout(Some(SHORT)))?;
        let (result, time) = elapsed(|| setup.insert(&mut conn, id, point, Action::BlackHole));
        let (_, injection) = result?;
        injection.assert_fired();
        assert!(time >= SHORT);
        setup.client()?.query_drop("DO 1")?;
        assert!(setup.proxy.connections() >= 1);
    }
    assert_eq!(setup.rows()?, [2]);
    setup.proxy.cut_all();
    assert_eq!(setup.proxy.connections(), 0);
    Ok(())
}

#[test]
fn a_delay_holds_a_request_or_its_reply_and_then_lets_it_pass() -> Check {
    let setup = Setup::new()?;
    let mut conn = setup.client()?;
    for point in [Point::BeforeRequest, Point::RequestSent, Point::AfterRequest, Point::MidReply(0), Point::MidReply(9)] {
        setup.proxy.reset_counts();
        let injection = setup.proxy.inject(Fault::new(point, Action::Delay(SHORT)));
        let (answer, time) = elapsed(|| conn.query_first("SELECT 1"));
        assert_eq!(answer?, Some(1), "{point:?}");
        assert!(time >= SHORT, "{point:?} {time:?}");
        assert_eq!((injection.fired(), setup.proxy.counts().round_trips), (1, 1), "{point:?}");
    }
    Ok(())
}

#[test]
fn an_abandoned_commit_is_done_later() -> Check {
    let setup = Setup::new()?;
    let delay = Duration::from_millis(400);
    let (result, time) = elapsed(|| setup.insert(&mut setup.client()?, 1, Point::BeforeRequest, Action::DelayAndAbandon(delay)));
    let (_, injection) = result?;
    assert!(time < delay, "the client is cut at once, not after {time:?}");
    assert!(setup.rows()?.is_empty());
    assert!(injection.wait_delivered(LONG));
    assert_eq!(setup.rows()?, [1]);
    Ok(())
}

#[test]
fn an_outage_refuses_connections_until_it_is_over() -> Check {
    let setup = Setup::new()?;
    let injection = setup.proxy.inject(Fault::new(Point::BeforeRequest, Action::Refuse(SHORT)));
    assert!(setup.client()?.query_drop("DO 1").is_err());
    injection.assert_fired();
    let refused = TcpStream::connect(setup.proxy.address()).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    thread::sleep(2 * SHORT);
    setup.client()?.query_drop("DO 1")?;
    Ok(())
}

#[test]
fn refused_connections_leave_those_that_are_open_alone() -> Check {
    let setup = Setup::new()?;
    let mut open = setup.client()?;
    setup.proxy.refuse_connections(true);
    assert!(setup.client().is_err());
    open.query_drop("DO 1")?;
    setup.proxy.refuse_connections(false);
    setup.client()?.query_drop("DO 1")?;
    Ok(())
}

#[test]
fn a_fault_can_meet_a_client_as_it_connects() -> Check {
    let setup = Setup::new()?;
    for action in [Action::Fin, Action::Rst, Action::BlackHole, Action::DelayAndAbandon(SHORT), Action::Refuse(SHORT)] {
        let injection = setup.proxy.inject(Fault::new(Point::Connect, action));
        assert!(Conn::new(setup.opts()?.read_timeout(Some(SHORT))).is_err(), "{action:?}");
        assert_eq!(injection.fired(), 1, "{action:?}");
        setup.proxy.refuse_connections(false);
        setup.client()?;
    }
    let injection = setup.proxy.inject(Fault::new(Point::Connect, Action::Delay(SHORT)));
    let (conn, time) = elapsed(|| setup.client());
    conn?.query_drop("DO 1")?;
    assert!(time >= SHORT && injection.fired() == 1);
    Ok(())
}

#[test]
fn a_fault_hits_the_requests_it_describes_and_no_other() -> Check {
    let setup = Setup::new()?;
    let (mut first, mut second) = (setup.client()?, setup.client()?);
    let injection = setup.proxy.inject(
        Fault::new(Point::BeforeRequest, Action::Delay(SHORT)).on_connection(2).command(Command::Query).matching("do 1").nth(2).times(2),
    );
    let run = |conn: &mut Conn, sql: &str| -> Result<bool, Box<dyn Error>> {
        let (result, time) = elapsed(|| conn.query_drop(sql));
        result?;
        Ok(time >= SHORT)
    };
    assert!(!run(&mut second, "DO 1")?, "the first match");
    assert!(!run(&mut first, "DO 1")?, "another connection");
    assert!(!run(&mut second, "DO 2")?, "another text");
    second.exec_drop("DO 1", ())?;
    assert_eq!(injection.fired(), 0, "another command");
    assert!(run(&mut second, "DO 1")?, "the second match");
    assert!(run(&mut second, "DO 1")?, "the third");
    assert!(!run(&mut second, "DO 1")?, "the fourth");
    assert_eq!(injection.fired(), 2);
    Ok(())
}

#[test]
fn a_prepared_statement_is_known_by_its_text_when_executed() -> Check {
    let setup = Setup::new()?;
    let mut conn = setup.client()?;
    let statement = conn.prep("INSERT INTO t VALUES (?)")?;
    let injection = setup.proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("insert into t"));
    assert!(conn.exec_drop(&statement, (1,)).is_err());
    injection.assert_fired();
    assert_eq!(setup.rows()?, [1]);
    Ok(())
}

#[test]
fn a_cancelled_fault_does_not_happen() -> Check {
    let setup = Setup::new()?;
    let injection = setup.proxy.inject(Fault::new(Point::BeforeRequest, Action::Rst));
    injection.cancel();
    setup.client()?.query_drop("DO 1")?;
    assert!(!injection.wait_fired(Duration::ZERO));
    Ok(())
}

#[test]
fn cutting_all_ends_open_connections_and_no_later_one() -> Check {
    let setup = Setup::new()?;
    for (cut, reset) in [(FaultProxy::cut_all as fn(&FaultProxy), true), (FaultProxy::close_all, false)] {
        let (mut first, mut second) = (setup.client()?, setup.client()?);
        cut(&setup.proxy);
        assert_eq!(setup.proxy.connections(), 0);
        for conn in [&mut first, &mut second] {
            let error = conn.query_drop("DO 1").expect_err("a dead connection").to_string();
            assert!(!reset || error.contains("104"), "{error}");
        }
        setup.client()?.query_drop("DO 1")?;
    }
    Ok(())
}

#[test]
fn a_server_that_dies_is_passed_on_to_the_client() -> Check {
    let setup = Setup::new()?;
    let mut conn = setup.client()?;
    setup.server.kill9()?;
    assert!(conn.query_drop("DO 1").is_err());
    assert!(setup.client().is_err());
    setup.server.restart()?;
    setup.client()?.query_drop("DO 1")?;
    Ok(())
}

#[test]
fn a_fault_that_never_fired_fails_the_test_by_name() -> Check {
    let setup = Setup::new()?;
    let injection = setup.proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("COMMIT").on_connection(3));
    let message = |panic: Box<dyn std::any::Any + Send>| panic.downcast_ref::<String>().cloned().unwrap_or_default();
    let expected = "fault never fired: Rst at AfterRequest, matching \"commit\", connection 3, match 1 (matches seen: 0)";
    let asserted = catch_unwind(AssertUnwindSafe(|| injection.assert_fired())).map_err(message);
    assert_eq!(asserted, Err(expected.to_owned()));
    let finished = catch_unwind(AssertUnwindSafe(|| setup.proxy.finish())).map_err(message);
    assert_eq!(finished, Err(expected.to_owned()));
    Ok(())
}

#[test]
fn a_dropped_proxy_resets_its_connections_and_frees_its_port() -> Check {
    let Setup { proxy, server } = Setup::new()?;
    let opts = Opts::from_url(&proxy.url(&server.url())?)?;
    let mut conn = Conn::new(OptsBuilder::from_opts(opts).prefer_socket(false))?;
    let address = proxy.address();
    assert!(address.port() < 32768);
    proxy.finish();
    assert!(conn.query_drop("DO 1").is_err());
    assert_eq!(TcpStream::connect(address).expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
    Ok(())
}

#[test]
fn a_url_keeps_all_but_its_host_and_port() -> Check {
    let proxy = FaultProxy::start("127.0.0.1:1")?;
    let address = proxy.address();
    assert_eq!(proxy.url("mysql://u:p@ss@db.example:3306/x?a=b@c")?, format!("mysql://u:p@ss@{address}/x?a=b@c"));
    assert_eq!(proxy.url("mysql://db.example")?, format!("mysql://{address}"));
    assert_eq!(proxy.url("mysql://[::1]:3306?a=b")?, format!("mysql://{address}?a=b"));
    assert!(proxy.url("db.example/x").is_err());
    Ok(())
}

#[test]
fn a_fault_at_commit_leaves_autocommit_alone() -> Check {
    let setup = Setup::new()?;
    let mut conn = setup.client()?;
    let lost = setup.proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("COMMIT"));
    conn.query_drop("SET autocommit = 0")?;
    conn.query_drop("INSERT INTO t VALUES (1)")?;
    assert_eq!(lost.fired(), 0);
    conn.query_drop("DO 1; COMMIT").expect_err("no reply");
    lost.assert_fired();
    assert_eq!(setup.rows()?, [1]);
    Ok(())
}

#[test]
fn a_request_of_each_connection_can_stay_without_reply_on_an_open_connection() -> Check {
    let setup = Setup::new()?;
    let opts = setup.opts()?.read_timeout(Some(SHORT));
    let third = setup.proxy.inject(Fault::new(Point::AfterRequest, Action::BlackHole).nth(3).per_connection());
    let mut conns = Vec::new();
    for number in [1, 2] {
        let mut conn = Conn::new(opts.clone())?;
        conn.query_drop("DO 1")?;
        conn.query_drop("DO 2")?;
        conn.query_drop(format!("INSERT INTO t VALUES ({number})")).expect_err("no reply");
        assert_eq!(third.fired(), number);
        conns.push(conn);
    }
    assert_eq!(setup.rows()?, [1, 2], "the server has executed both");
    assert_eq!(setup.proxy.connections(), 2, "both connections are open");
    Ok(())
}

#[test]
fn a_proxy_leads_to_another_server_when_told_so() -> Check {
    let setup = Setup::new()?;
    let other = Server::start()?;
    let mut before = setup.client()?;
    setup.proxy.set_upstream(other.address());
    assert_eq!(setup.proxy.upstream(), other.address().into());
    let port: Option<u16> = setup.client()?.query_first("SELECT @@port")?;
    assert_eq!(port, Some(other.port()));
    let port: Option<u16> = before.query_first("SELECT @@port")?;
    assert_eq!(port, Some(setup.server.port()), "an open connection stays");
    Ok(())
}

/// A server that greets with an empty packet and sends every packet of four bytes back.
fn echo() -> Result<TcpListener, Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let accepting = listener.try_clone()?;
    thread::spawn(move || {
        for mut stream in accepting.incoming().flatten() {
            thread::spawn(move || -> std::io::Result<()> {
                stream.write_all(&[0; 4])?;
                let mut packet = [0; 4];
                loop {
                    stream.read_exact(&mut packet)?;
                    stream.write_all(&packet)?;
                }
            });
        }
    });
    Ok(listener)
}

#[test]
fn an_opaque_proxy_passes_any_bytes_and_loses_a_reply() -> Check {
    let listener = echo()?;
    let proxy = FaultProxy::builder(listener.local_addr()?).opaque().start()?;
    let mut client = TcpStream::connect(proxy.address())?;
    let mut packet = [0; 4];
    client.read_exact(&mut packet)?;
    for bytes in [[0xff; 4], [0x16, 3, 1, 2]] {
        client.write_all(&bytes)?;
        client.read_exact(&mut packet)?;
        assert_eq!(packet, bytes);
    }
    assert!(proxy.requests().iter().all(|request| request.command == Command::Opaque && request.text.is_none()));
    let lost = proxy.inject(Fault::new(Point::AfterRequest, Action::Fin));
    client.write_all(&[1; 4])?;
    assert_eq!(client.read(&mut packet)?, 0, "an end of file in place of the reply");
    assert_eq!(lost.fired(), 1);
    Ok(())
}

#[test]
fn every_byte_is_late_and_every_turn_is_counted() -> Check {
    const LATENCY: Duration = Duration::from_millis(5);
    let listener = echo()?;
    let proxy = FaultProxy::builder(listener.local_addr()?).opaque().latency(LATENCY).start()?;
    let mut client = TcpStream::connect(proxy.address())?;
    let mut packet = [0; 4];
    client.read_exact(&mut packet)?;
    let (result, time) = elapsed(|| -> std::io::Result<()> {
        for _ in 0..3 {
            client.write_all(&[0; 4])?;
            client.read_exact(&mut packet)?;
        }
        Ok(())
    });
    result?;
    assert!(time >= 6 * LATENCY, "{time:?}");
    let counts = proxy.counts();
    assert_eq!((counts.round_trips, counts.packets, counts.bytes_to_server, counts.bytes_to_client), (3, 7, 12, 16));
    assert_eq!(proxy.accepted().len(), 1);
    let before = counts;
    client.write_all(&[0; 4])?;
    client.read_exact(&mut packet)?;
    assert_eq!((proxy.counts() - before).round_trips, 1);
    Ok(())
}

#[test]
fn what_was_sent_before_the_end_of_a_connection_arrives_although_it_is_late() -> Check {
    const LATENCY: Duration = Duration::from_millis(100);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let proxy = FaultProxy::builder(listener.local_addr()?).opaque().latency(LATENCY).start()?;
    let mut client = TcpStream::connect(proxy.address())?;
    let (mut server, _) = listener.accept()?;
    server.write_all(b"goodbye")?;
    drop(server);
    let mut heard = String::new();
    let (result, time) = elapsed(|| client.read_to_string(&mut heard));
    result?;
    assert_eq!(heard, "goodbye");
    assert!(time > LATENCY / 2, "the end is as late as what came before it: {time:?}");
    Ok(())
}

#[test]
fn a_unix_socket_leads_to_the_server_of_another() -> Check {
    let server = Server::start()?;
    let path = server.socket().with_file_name("proxy.sock");
    let proxy = FaultProxy::builder(server.socket()).opaque().socket(&path).start()?;
    let opts = Opts::from_url(&server.url())?;
    let mut conn = Conn::new(OptsBuilder::from_opts(opts).socket(path.to_str()))?;
    assert_eq!(conn.query_first("SELECT 1")?, Some(1));
    assert_eq!(proxy.connections(), 1);
    drop(conn);
    drop(proxy);
    assert!(UnixStream::connect(&path).is_err());
    assert!(!path.exists());
    Ok(())
}
