//! What a server can do that means harm, or is none.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use db_core::Error;
use db_core::prelude::*;
use tests::{COMMIT, in_a_forked_child, quick};

const PASSWORD: &str = "correct horse battery staple";

/// How long the library waits for a server that says nothing.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(5);

const QUERY: u8 = 0x03;
const PING: u8 = 0x0e;
const MORE_RESULTS: u8 = 0x08;

/// A server that does what its script says, on each connection.
struct Hostile {
    url: String,
    /// All that was said to it.
    heard: Arc<Mutex<Vec<u8>>>,
}

/// The server's side of one connection.
struct Peer {
    stream: TcpStream,
    heard: Arc<Mutex<Vec<u8>>>,
}

fn hostile(script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static) -> Hostile {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mysql://user:{}@{}/bank", PASSWORD.replace(' ', "%20"), listener.local_addr().unwrap());
    let heard = Arc::default();
    let (script, ears) = (Arc::new(script), Arc::clone(&heard));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut peer = Peer { stream: stream.unwrap(), heard: Arc::clone(&ears) };
            let script = Arc::clone(&script);
            // It ends when the client has gone away.
            thread::spawn(move || script(&mut peer));
        }
    });
    Hostile { url, heard }
}

impl Hostile {
    fn connect(&self) -> Result<Db, Error> {
        Db::builder(&self.url).retry(quick()).driver_options(|options| options.read_timeout(Some(PATIENCE))).connect()
    }

    fn has_heard(&self, what: &[u8]) -> bool {
        self.heard.lock().unwrap().windows(what.len()).any(|heard| heard == what)
    }
}

impl Peer {
    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next packet of the client.
    fn hear(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header)?;
        let mut payload = vec![0; usize::from(header[0]) + (usize::from(header[1]) << 8) + (usize::from(header[2]) << 16)];
        self.stream.read_exact(&mut payload)?;
        self.heard.lock().unwrap().extend(&payload);
        Ok(payload)
    }

    /// Says nothing more until the client has gone.
    fn hold(&mut self) -> io::Result<()> {
        loop {
            self.hear()?;
        }
    }

    fn log_in(&mut self) -> io::Result<()> {
        self.say(&packet(0, &greeting()))?;
        self.hear()?;
        self.say(&oks(2, 1))
    }

    /// Answers everything with OK, but for what `answer` answers.
    fn serve(&mut self, answer: impl Fn(&mut Peer, &str) -> io::Result<bool>) -> io::Result<()> {
        self.log_in()?;
        loop {
            let request = self.hear()?;
            match request.split_first() {
                Some((&QUERY, text)) => {
                    let text = String::from_utf8_lossy(text);
                    if !answer(self, &text)? {
                        self.say(&oks(1, text.split("; ").count()))?;
                    }
                }
                Some((&PING, _)) => self.say(&oks(1, 1))?,
                _ => return Ok(()),
            }
        }
    }
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

fn greeting() -> Vec<u8> {
    let capabilities = 0x00ff_f7df_u32.to_le_bytes();
    let parts: [&[u8]; 10] = [
        b"\x0a8.0.36\0",
        &[7, 0, 0, 0],
        b"12345678\0",
        &capabilities[..2],
        &[45, 2, 0],
        &capabilities[2..],
        &[21],
        &[0; 10],
        b"123456789012\0",
        b"mysql_native_password\0",
    ];
    parts.concat()
}

/// An OK, and whether another result follows.
fn ok(sequence: usize, more: bool) -> Vec<u8> {
    packet(sequence as u8, &[0, 0, 0, if more { 2 | MORE_RESULTS } else { 2 }, 0, 0, 0])
}

/// An OK for each of so many statements.
fn oks(sequence: usize, count: usize) -> Vec<u8> {
    (1..=count).flat_map(|at| ok(sequence + at - 1, at < count)).collect()
}

/// A column's definition, and the packet that ends them.
fn one_column() -> Vec<u8> {
    let column = packet(2, b"\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x03\0\0\0\0\0");
    [packet(1, &[1]), column, packet(3, &[0xfe, 0, 0, 2, 0])].concat()
}

/// What is no answer to a statement.
fn no_answers() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing", vec![]),
        ("half a header", vec![7, 0]),
        ("an empty packet", packet(1, &[])),
        ("a wrong sequence number", oks(9, 1)),
        ("half an OK", packet(1, &[0])),
        ("an OK whose number has no end", packet(1, &[0, 0xfe, 1])),
        ("half an error", packet(1, &[0xff])),
        ("a claim of 16 MiB", vec![0xfe, 0xff, 0xff, 1, 0, 0, 0]),
        ("a packet that goes on, and does not", [&[0xff, 0xff, 0xff, 1][..], &[0; 100]].concat()),
        ("all the columns there are", packet(1, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ("a column count without end", packet(1, &[0xfe, 1])),
        ("a column that is none", [packet(1, &[1]), packet(2, b"\x7fdef")].concat()),
        ("an empty column", [packet(1, &[1]), packet(2, &[])].concat()),
        ("columns, and an OK", [packet(1, &[1]), oks(2, 1)].concat()),
        ("an empty row", [one_column(), packet(4, &[])].concat()),
        ("a row that is longer than its packet", [one_column(), packet(4, b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7fx")].concat()),
        ("a row without an end of rows", [one_column(), packet(4, b"\x01x")].concat()),
        ("half an end of rows", [one_column(), packet(4, &[0xfe])].concat()),
        ("a web page", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("rows, and a result that is none", [one_column(), packet(4, &[0xfe, 0, 0, 2 | MORE_RESULTS, 0]), packet(5, &[])].concat()),
    ]
}

fn is_definite(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionLost | ErrorKind::ConnectFailed | ErrorKind::Driver | ErrorKind::Other | ErrorKind::Deadlock
    )
}

/// Sends these bytes, and then either says nothing more, or goes.
fn endings() -> [bool; 2] {
    [true, false]
}

#[test]
fn a_greeting_that_is_none_is_an_error() {
    let whole = packet(0, &greeting());
    let mut greetings: Vec<(String, Vec<u8>)> = no_answers().into_iter().map(|(name, bytes)| (name.into(), bytes)).collect();
    greetings.extend((0..whole.len()).step_by(3).map(|length| (format!("the first {length} bytes"), whole[..length].to_vec())));
    for at in (4..whole.len()).step_by(2) {
        for byte in [0, 0xff] {
            let mut changed = whole.clone();
            changed[at] = byte;
            greetings.push((format!("{byte} at {at}"), changed));
        }
    }
    greetings.push(("a version that is none".into(), packet(0, &[b"\x0amysql\0", &greeting()[8..]].concat())));
    greetings.push(("the protocol of 1998".into(), packet(0, &[b"\x09", &greeting()[1..]].concat())));
    let next = Arc::new(Mutex::new(VecDeque::new()));
    let queue = Arc::clone(&next);
    let server = hostile(move |peer| {
        let (bytes, hold): (Vec<u8>, bool) = queue.lock().unwrap().pop_front().unwrap();
        peer.say(&bytes)?;
        if hold { peer.hold() } else { Ok(()) }
    });
    for (at, (name, bytes)) in greetings.into_iter().enumerate() {
        // Waiting takes time: not all of them are waited for.
        let hold = at % 8 == 0;
        next.lock().unwrap().push_back((bytes, hold));
        let began = Instant::now();
        let error = server.connect().map(drop).expect_err(&name);
        // 255 is an error that the server reports.
        let expected = if error.code().is_some() { ErrorKind::Other } else { ErrorKind::ConnectFailed };
        assert_eq!(error.kind(), expected, "{name}: {error}");
        assert!(began.elapsed() < LIMIT, "{name}: {:?}", began.elapsed());
    }
}

#[test]
fn a_login_that_goes_wrong_is_an_error_and_the_password_is_not_said() {
    let switch_to = |plugin: &str, data: &[u8]| packet(2, &[b"\xfe", plugin.as_bytes(), b"\0", data].concat());
    let key = packet(6, b"\x01-----BEGIN PUBLIC KEY-----\nbm9uZQ==\n-----END PUBLIC KEY-----\n");
    // Each is said after another packet of the client.
    let replies: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("an empty packet", vec![packet(2, &[])]),
        ("an unknown packet", vec![packet(2, &[7])]),
        ("an old switch", vec![packet(2, &[0xfe])]),
        ("a switch to nothing", vec![switch_to("", &[])]),
        ("the password, please", vec![switch_to("mysql_clear_password", &[])]),
        ("the old hash, please", vec![switch_to("mysql_old_password", b"12345678\0")]),
        ("a plugin nobody knows", vec![switch_to("dialog", b"Password: \0")]),
        ("a plugin of MariaDB's", vec![switch_to("client_ed25519", b""), packet(4, &[])]),
        ("a switch, and another one", vec![switch_to("mysql_native_password", b"12345678901234567890\0"), switch_to("dialog", b"")]),
        ("half an answer", vec![switch_to("caching_sha2_password", b"12345678901234567890\0"), packet(4, &[1])]),
        ("a key that is none", vec![switch_to("caching_sha2_password", b"12345678901234567890\0"), packet(4, &[1, 4]), key.clone()]),
        ("a key for no salt", vec![switch_to("caching_sha2_password", b""), packet(4, &[1, 4]), key]),
        ("half an OK", vec![packet(2, &[0])]),
    ];
    for (name, replies) in replies {
        let server = hostile(move |peer| {
            peer.say(&packet(0, &greeting()))?;
            for reply in &replies {
                peer.hear()?;
                peer.say(reply)?;
            }
            peer.hold()
        });
        let began = Instant::now();
        let error = server.connect().map(drop).expect_err(name);
        assert!(
            matches!(error.kind(), ErrorKind::ConnectFailed | ErrorKind::Config | ErrorKind::Driver | ErrorKind::AccessDenied),
            "{name}: {error:?}"
        );
        assert!(!format!("{error} {error:?}").contains(PASSWORD), "{name}");
        assert!(!server.has_heard(PASSWORD.as_bytes()), "{name}");
        assert!(began.elapsed() < LIMIT, "{name}: {:?}", began.elapsed());
    }
}

/// A server that answers this statement with these bytes, and all before it as it should. Then it holds the connection, or ends it.
fn answering(statement: &'static str, bytes: Vec<u8>, hold: bool) -> Hostile {
    hostile(move |peer| {
        peer.serve(|peer, sql| {
            if sql != statement {
                return Ok(false);
            }
            peer.say(&bytes)?;
            if hold {
                peer.hold()?
            }
            Err(io::Error::other("done"))
        })
    })
}

#[test]
fn what_is_no_answer_to_a_statement_is_an_error() {
    for (name, bytes) in no_answers() {
        for hold in endings() {
            let server = answering("SELECT 1", bytes.clone(), hold);
            let db = server.connect().unwrap();
            let began = Instant::now();
            let error = db.transaction(|tx| tx.query_drop("SELECT 1")).expect_err(name);
            assert!(is_definite(&error), "{name}: {error:?}");
            assert!(began.elapsed() < LIMIT, "{name}: {:?}", began.elapsed());
            assert!(!server.has_heard(b"COMMIT"), "{name}");
        }
    }
}

#[test]
fn what_is_no_answer_to_commit_leaves_the_caller_told_that_it_may_be_done() {
    for (name, bytes) in no_answers() {
        for hold in endings() {
            let server = answering(COMMIT, bytes.clone(), hold);
            let db = server.connect().unwrap();
            let mut runs = 0;
            let began = Instant::now();
            let error = db
                .retry(&quick(), |_| {
                    runs += 1;
                    db.transaction(|tx| tx.query_drop("UPDATE account SET balance = 0"))
                })
                .expect_err(name);
            assert_eq!((error.kind(), runs), (ErrorKind::CommitUnknown, 1), "{name}: {error}");
            assert!(began.elapsed() < LIMIT, "{name}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn a_server_that_answers_more_or_less_than_it_was_asked_is_not_believed() {
    let row = [one_column(), packet(4, b"\x01x"), packet(5, &[0xfe, 0, 0, 2, 0])].concat();
    let deadlock = [ok(1, true), packet(2, b"\xff\xbd\x04#40001Deadlock found when trying to get lock")].concat();
    for (name, answer) in [("two OKs", oks(1, 2)), ("a row", row), ("an OK, and a deadlock behind it", deadlock)] {
        let server = hostile(move |peer| {
            peer.serve(|peer, sql| {
                if sql == COMMIT {
                    peer.say(&answer)?;
                }
                Ok(sql == COMMIT)
            })
        });
        let db = server.connect().unwrap();
        let told = db.transaction(|tx| tx.query_drop("UPDATE account SET balance = 1"));
        assert_eq!(told.unwrap_err().kind(), ErrorKind::CommitUnknown, "{name}");
        db.ping().unwrap();
        assert_eq!(db.stats().reconnects, 1, "{name}");
    }
    // Five statements set a session up.
    for count in [1, 4, 6, 1000] {
        let server = hostile(move |peer| {
            peer.log_in()?;
            peer.hear()?;
            peer.say(&oks(1, count))?;
            peer.hold()
        });
        let error = server.connect().map(drop).expect_err("replies to five statements");
        assert_eq!(error.kind(), ErrorKind::ConnectFailed, "{count}: {error}");
    }
}

/// The most memory that this process has had at once, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// What the server says without end, and at which point.
fn without_end(when: &'static str, prologue: Vec<u8>, chunk: fn(usize) -> Vec<u8>) -> Hostile {
    hostile(move |peer| {
        let go_on = |peer: &mut Peer| -> io::Result<bool> {
            peer.say(&prologue)?;
            let first = usize::from(when != "greeting");
            (first..).try_for_each(|at| peer.say(&chunk(at)))?;
            Ok(true)
        };
        if when == "greeting" {
            return go_on(peer).map(drop);
        }
        peer.serve(|peer, sql| if sql.contains(when) { go_on(peer) } else { Ok(false) })
    })
}

#[test]
fn what_has_no_end_is_left_and_fills_no_memory() {
    let endless_packet = |at: usize| [&[0xff, 0xff, 0xff, at as u8][..], &[b'x'; 0x00ff_ffff]].concat();
    // 256 at a time, so that each begins with the same sequence number.
    let endless_oks = |_| (1..=256).flat_map(|sequence| ok(sequence, true)).collect();
    let endless_rows = |_| (4..260).flat_map(|sequence| packet(sequence as u8, b"\x01x")).collect();
    let cases: Vec<(&str, Hostile)> = vec![
        ("a packet, as the greeting", without_end("greeting", vec![], endless_packet)),
        ("OKs, to the first statements", without_end("SET NAMES", vec![], endless_oks)),
        ("rows, to the first statements", without_end("SET NAMES", one_column(), endless_rows)),
        ("a packet, to a statement", without_end("SELECT 1", vec![], endless_packet)),
        ("rows, to COMMIT", without_end(COMMIT, one_column(), endless_rows)),
        ("a packet, to COMMIT", without_end(COMMIT, vec![], endless_packet)),
        ("rows, to a SAVEPOINT", without_end("SAVEPOINT db_core_1", one_column(), endless_rows)),
    ];
    for (name, server) in cases {
        let bounded = in_a_forked_child(|| {
            thread::spawn(|| {
                thread::sleep(2 * LIMIT);
                std::process::abort();
            });
            let before = peak();
            let began = Instant::now();
            let done = server.connect().and_then(|db| {
                db.transaction(|tx| {
                    tx.query_drop("SELECT 1")?;
                    tx.transaction(|tx| tx.query_drop("UPDATE account SET balance = 0"))
                })
            });
            let (grown, took) = (peak() - before, began.elapsed());
            eprintln!("{name}: {grown} MiB, {took:?}, {done:?}");
            done.is_err() && grown < 200 && took < LIMIT
        });
        assert!(bounded, "{name}");
    }
}

#[test]
fn an_error_of_the_servers_is_shown_in_bounds_and_obeyed_by_no_terminal() {
    let text = [&b"#HY\x1b[2\x1b[2J\x1b]0;title\x07\xff\xfe\x9b1m \xc3\x28 "[..], &[b'm'; 60_000]].concat();
    let server = hostile(move |peer| {
        peer.serve(|peer, sql| {
            if sql == "SELECT 1" {
                peer.say(&packet(1, &[&[0xff, 0x2e, 0x04][..], &text].concat()))?;
            }
            Ok(sql == "SELECT 1")
        })
    });
    let error = server.connect().unwrap().transaction(|tx| tx.query_drop("SELECT 1")).unwrap_err();
    assert_eq!(error.code(), Some(1070));
    for shown in [format!("{error}"), format!("{error:?}"), format!("{error:#?}")] {
        assert!(shown.len() < 5000, "{} bytes", shown.len());
        assert!(shown.contains(r"\u{1b}[2J") && !shown.contains(char::is_control), "{shown}");
    }
}

#[test]
fn a_server_that_asks_for_a_file_gets_none() {
    let file = std::env::temp_dir().join(format!("db-core-hostile-{}", std::process::id()));
    fs::write(&file, "swordfish").unwrap();
    let wanted = file.clone();
    let server = hostile(move |peer| {
        peer.serve(|peer, sql| {
            if sql != "SELECT 1" {
                return Ok(false);
            }
            peer.say(&packet(1, &[b"\xfb", wanted.as_os_str().as_encoded_bytes()].concat()))?;
            while !peer.hear()?.is_empty() {}
            peer.say(&oks(3, 1))?;
            Ok(true)
        })
    });
    let ended = server.connect().unwrap().transaction(|tx| tx.query_drop("SELECT 1"));
    fs::remove_file(file).unwrap();
    // An empty file, as far as the server can tell: it may well say OK.
    ended.unwrap();
    assert!(!server.has_heard(b"swordfish"));
}

#[test]
fn a_farewell_that_is_no_packet_costs_a_connection_and_nothing_else() {
    let spoken = Arc::new(Mutex::new(0));
    let times = Arc::clone(&spoken);
    let server = hostile(move |peer| {
        peer.serve(|peer, sql| {
            if sql != COMMIT || {
                let mut times = times.lock().unwrap();
                *times += 1;
                *times > 1
            } {
                return Ok(false);
            }
            // Behind the answer comes what nobody asked for.
            peer.say(&[oks(1, 1), vec![0; 1000]].concat())?;
            Ok(true)
        })
    });
    let db = server.connect().unwrap();
    for _ in 0..3 {
        db.transaction(|tx| tx.query_drop("DO 1")).unwrap();
    }
    assert_eq!(db.stats().reconnects, 1);
}

// What the driver does not survive, as `hostile.md` lists it. A test that fails here has good news.

#[test]
fn memory_for_columns_that_are_only_claimed_ends_the_process() {
    let server = hostile(|peer| {
        peer.serve(|peer, sql| {
            if sql == "SELECT 1" {
                peer.say(&packet(1, &[0xfe, 0, 0, 0, 0, 0, 1, 0, 0]))?;
                peer.hold()?;
            }
            Ok(false)
        })
    });
    let survived = in_a_forked_child(|| {
        let _ = server.connect().unwrap().transaction(|tx| tx.query_drop("SELECT 1"));
        true
    });
    assert!(!survived);
}

#[test]
fn a_greeting_that_drips_is_waited_for() {
    let server = hostile(|peer| {
        for byte in packet(0, &greeting()).into_iter().take(30) {
            peer.say(&[byte])?;
            thread::sleep(PATIENCE / 10);
        }
        Ok(())
    });
    let began = Instant::now();
    assert_eq!(server.connect().map(drop).unwrap_err().kind(), ErrorKind::ConnectFailed);
    assert!(began.elapsed() > PATIENCE * 2, "{:?}", began.elapsed());
}
