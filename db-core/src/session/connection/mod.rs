//! A connection whose state on the server is known.

mod inquiry;
pub(super) mod prepared;
pub(super) mod response;
pub(super) mod socket;
mod statement_cache;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql::consts::SessionStateType;
use mysql::prelude::{FromRow, Queryable};
use mysql::{Conn, Opts, OptsBuilder, Row, Text};

use crate::config::Settings;
use crate::config::hosts::Hosts;
use crate::error::classify;
use crate::listener::Event;
use crate::retry::deadline;
use crate::session::connection::inquiry::INQUIRY;
use crate::session::connection::response::{Reply, caught, garbled};
use crate::session::connection::socket::Seen;
use crate::session::connection::statement_cache::StatementCache;
use crate::session::watch::watched::{Waiting, Watched};
use crate::session::{quoted, watch};
use crate::telemetry::event::event;
use crate::{Error, ErrorKind, Result};

/// Whatever `completion_type` says: a chained transaction would keep the isolation level and the access mode of this one, and a
/// released session would end.
pub(super) const COMMIT: &str = "COMMIT AND NO CHAIN NO RELEASE";
pub(super) const ROLLBACK: &str = "ROLLBACK AND NO CHAIN NO RELEASE";

const NAMES: &str = "SET NAMES utf8mb4";
pub(super) const NO_AUTOCOMMIT: &str = "SET autocommit = 0";
/// The server says in its replies when something changes that outlives the transaction in its session.
const MODE_TRACKED: &str = "SET autocommit = 0, session_track_state_change = ON";
/// A node of a cluster that has lost its quorum accepts logins, pings and SET. It refuses this.
const CHECK: &str = "SAVEPOINT db_core_check";
/// What is to be known of a server; each exists on some only.
const FACTS: &str = "SHOW VARIABLES WHERE Variable_name IN ('max_allowed_packet', 'hostname', 'port', 'server_uuid', \
                     'wsrep_node_name', 'wsrep_on', 'group_replication_single_primary_mode', 'read_only', \
                     'super_read_only', 'innodb_read_only')";

const LEAST_TIMEOUT: Duration = Duration::from_millis(1);

/// Whether a node of a Galera cluster is one of its members, and up to date.
const GALERA_FACTS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_local_state')";

/// `wsrep_local_state` of a member that is up to date.
const SYNCED: &str = "4";

/// As long as many hosts that do not reply may take.
const LONGEST_SEARCH: Duration = Duration::from_secs(60);

/// The most rows that the reply to a question of ours may have.
const MOST_ROWS: usize = 100;

const MORE_ROWS: &str = "the server sent more rows than were asked for";
const OTHER_COLUMNS: &str = "the server sent other columns than were asked for";
const MORE_RESULTS: &str = "the server sent replies to more statements than it was sent";

/// SAVEPOINT does not exist: the transaction it was set in has ended.
const NO_SUCH_SAVEPOINT: u16 = 1305;

/// TiDB: several statements in one request are not allowed.
const MULTI_STATEMENT_REFUSED: u16 = 8130;

const UNKNOWN_VARIABLE: u16 = 1193;

/// A connection whose state on the server is known. It is dropped, without another byte, as soon as it is not.
pub(in crate::session) struct Link {
    /// `None` only while being dropped.
    conn: Option<Conn>,
    /// Its host's number among the settings' hosts.
    host: usize,
    /// The set-up asks for all that decides whether a host is fit.
    asks_fitness: bool,
    process: u32,
    serial: u64,
    opened: Instant,
    /// How long it took to be opened.
    creation: Duration,
    tls: bool,
    one_by_one: bool,
    /// Cleared by the first failure that leaves the state unknown.
    known: bool,
    /// The driver has handed out a result, and swallows an error that it meets while it drops the result's rest.
    unverified: bool,
    /// Reads end after a while, so that a reply may still be on its way when the next statement is sent.
    reads_time_out: bool,
    server: ServerFacts,
    statements: StatementCache,
    /// The most bytes that the driver sends in one request.
    driver_limit: Option<usize>,
    /// How the watch sees it. `None`: it is for short statements of our own.
    watched: Option<Arc<Watched>>,
    /// When the call ends that uses it.
    deadline: Option<Instant>,
    /// Where the statements of a request are put together.
    joined: String,
}

/// What is done with a row of a reply.
type OnRow<'f> = dyn FnMut(&mut Reply<'_, '_, '_, Text>, Row) -> mysql::Result<()> + 'f;

/// What a server says of itself when a connection is made.
#[derive(Debug, Default)]
struct ServerFacts {
    /// Bytes.
    max_allowed_packet: Option<usize>,
    /// Tells it from other servers that the same address may lead to.
    identity: String,
    galera: bool,
    /// The plugin is there, whether or not it runs.
    group_replication: bool,
    /// A member of a group that writes on several members.
    multi_primary: bool,
    read_only: bool,
    /// Galera: not a member, or not up to date.
    out_of_sync: bool,
}

impl ServerFacts {
    /// Whether writes can go there.
    fn is_fit(&self) -> bool {
        !(self.read_only || self.galera && self.out_of_sync)
    }

    fn read(rows: Vec<(String, String)>) -> Self {
        let mut facts = Self::default();
        for (name, value) in rows {
            let on = value.eq_ignore_ascii_case("ON") || value == "1";
            match name.as_str() {
                "max_allowed_packet" => facts.max_allowed_packet = value.parse().ok(),
                "wsrep_on" => facts.galera = on,
                "read_only" | "super_read_only" | "innodb_read_only" => facts.read_only |= on,
                "wsrep_ready" => facts.out_of_sync |= !on,
                "wsrep_local_state" => facts.out_of_sync |= value != SYNCED,
                "group_replication_single_primary_mode" => {
                    facts.group_replication = true;
                    facts.multi_primary = !on;
                }
                _ => {
                    facts.identity.push_str(&value);
                    facts.identity.push('/');
                }
            }
        }
        facts
    }
}

/// A statement of a request failed: which one, and how.
pub(super) struct PacketError {
    /// Statements before it that were executed.
    pub(super) executed: usize,
    /// Statements that were sent.
    pub(super) sent: usize,
    pub(super) error: mysql::Error,
}

impl PacketError {
    /// The server refused the statement at this place because the savepoint it names does not exist.
    pub(super) fn is_missing_savepoint(&self, place: usize) -> bool {
        self.executed == place && matches!(&self.error, mysql::Error::MySqlError(error) if error.code == NO_SUCH_SAVEPOINT)
    }

    /// The server replied with an error.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(&self.error, mysql::Error::MySqlError(_))
    }
}

/// How a connection was opened, for a pool.
pub(crate) struct Opened<'l> {
    /// When it was ready to be used.
    pub at: Instant,
    /// How long it took to be ready.
    pub took: Duration,
    /// Tells the server from others that the same address may lead to.
    pub server: &'l str,
    /// It was writable then.
    pub is_writable: bool,
}

impl Link {
    /// Connects: one round trip for the handshake, one for the session's settings.
    pub(super) fn open(settings: &Arc<Settings>) -> Result<Self> {
        let mut link = Self::open_quick(settings)?;
        link.reads_time_out = settings.read_timeout.is_some();
        let failed = |error| Error::new(ErrorKind::ConnectFailed, format!("the socket cannot be set up: {error}"));
        socket::set_read_timeout(link.conn(), settings.read_timeout).map_err(failed)?;
        let socket = socket::second(link.conn()).map_err(failed)?;
        let watched =
            Watched::new(&INQUIRY, Arc::clone(settings), socket, link.identity(), link.conn().connection_id(), link.host, link.opened);
        let watched = Arc::new(watched);
        watch::add(&watched);
        link.watched = Some(watched);
        link.ends_with_the_call();
        Ok(link)
    }

    /// The call that uses it from now on may have a deadline.
    pub(super) fn ends_with_the_call(&mut self) {
        let deadline = deadline::current();
        if deadline.is_none() && self.deadline.is_none() {
            return;
        }
        if self.deadline != deadline
            && let Some(watched) = &self.watched
        {
            self.deadline = deadline;
            watched.ends_by(deadline);
            if deadline.is_some() {
                watch::look_again();
            }
        }
    }

    pub(super) fn watched(&self) -> Option<&Arc<Watched>> {
        self.watched.as_ref()
    }

    /// A connection for short statements of our own, to a host that is fit: the handshake's read timeout stays.
    pub(super) fn open_quick(settings: &Settings) -> Result<Self> {
        let hosts = &settings.hosts;
        if !hosts.are_several() && !hosts.must_be_writable() {
            return Self::open_at(settings, 0);
        }
        let _search = hosts.search(deadline::at_most(LONGEST_SEARCH)).map_err(deadline::or_exceeded)?;
        let mut failures = Vec::new();
        for host in hosts.order(Instant::now()) {
            let opened = Self::open_at(settings, host).and_then(|link| {
                if hosts.must_be_writable() && !link.server.is_fit() {
                    return Err(Error::new(ErrorKind::ReadOnlyServer, "it accepts no writes").transient(true));
                }
                Ok(link)
            });
            match opened {
                Ok(link) => {
                    if let Some(before) = hosts.succeeded(host) {
                        settings.listener.hears(|| Event::Failover { from: hosts.name(before).into(), to: hosts.name(host).into() });
                    }
                    return Ok(link);
                }
                Err(error) if error.kind() == ErrorKind::DeadlineExceeded => return Err(error),
                Err(error) => {
                    hosts.failed(host, Instant::now());
                    failures.push((host, error));
                }
            }
        }
        Err(none_of(&settings.hosts, &failures))
    }

    /// A connection to this host, fit or not.
    pub(super) fn open_at(settings: &Settings, host: usize) -> Result<Self> {
        if deadline::passed() {
            return Err(deadline::exceeded("no time was left to open a connection"));
        }
        let refused = |error: mysql::Error| {
            let verdict = classify::connect(&error);
            deadline::or_exceeded(Error::classified(&error, verdict.kind, verdict.transient))
        };
        let options = settings.hosts.options(host);
        let options = match deadline::current() {
            None => options.clone(),
            Some(_) => in_time(options),
        };
        let began = Instant::now();
        // A version that the driver cannot read, it panics at when asked for it.
        let connected = caught(|| {
            let conn = by_every_address(options)?;
            conn.server_version();
            Ok(conn)
        });
        let conn = connected.map_err(refused)?;
        let mut link = Self {
            conn: Some(conn),
            host,
            asks_fitness: settings.hosts.must_be_writable(),
            process: std::process::id(),
            serial: next_serial(),
            opened: began,
            creation: Duration::ZERO,
            // The driver does without TLS on a Unix socket.
            tls: settings.options.get_ssl_opts().is_some() && settings.options.get_socket().is_none(),
            one_by_one: false,
            known: true,
            unverified: false,
            reads_time_out: true,
            server: ServerFacts::default(),
            statements: StatementCache::new(settings.statements),
            driver_limit: settings.options.get_max_allowed_packet(),
            watched: None,
            deadline: None,
            joined: String::new(),
        };
        link.set_up(None).map_err(refused)?;
        settings.hosts.found_node(link.server.galera || link.server.group_replication);
        link.opened = Instant::now();
        link.creation = link.opened - began;
        Ok(link)
    }

    /// One round trip, where the server allows it.
    fn set_up(&mut self, home: Option<&str>) -> mysql::Result<()> {
        let mut mode = MODE_TRACKED;
        loop {
            let mut statements = Vec::from_iter(home);
            statements.extend([NAMES, mode, FACTS]);
            statements.extend(Some(GALERA_FACTS).filter(|_| self.asks_fitness));
            statements.extend([CHECK, ROLLBACK]);
            match self.packet_with_rows(&statements) {
                Ok(rows) => {
                    self.server = ServerFacts::read(rows);
                    return Ok(());
                }
                Err(failed) => match &failed.error {
                    mysql::Error::MySqlError(error) if error.code == UNKNOWN_VARIABLE && mode == MODE_TRACKED => mode = NO_AUTOCOMMIT,
                    // A proxy that takes one statement at a time may call the second one a syntax error.
                    mysql::Error::MySqlError(error) if matches!(error.code, MULTI_STATEMENT_REFUSED | 1064) && !self.one_by_one => {
                        self.one_by_one = true;
                        static SAID: AtomicBool = AtomicBool::new(false);
                        if !SAID.swap(true, Ordering::Relaxed) {
                            event!(
                                warn,
                                "db_core.one_by_one",
                                { db.response.status_code = %error.code },
                                "the server refuses several statements in one request: they are sent one by one"
                            );
                        }
                    }
                    _ => return Err(failed.error),
                },
            }
        }
    }

    /// Puts the session back to what it was when it was opened: two round trips. Prepared statements end with it. `false`: it cannot
    /// be put back.
    pub(super) fn reset(&mut self, settings: &Settings) -> Result<bool> {
        // The server's own reset leaves the default database as it is, and no statement goes back to none.
        let Some(database) = settings.options.get_db_name().filter(|name| !name.is_empty()) else { return Ok(false) };
        self.verify()?;
        let home = format!("USE {}", quoted(database));
        let reset = self.watched_conn().and_then(|(conn, watched)| {
            let _waiting = Waiting::on(watched);
            caught(|| conn.reset())
        });
        let reset = reset.and_then(|()| self.set_up(Some(&home)));
        reset.map_err(|error| {
            self.abandon();
            Error::from(error)
        })?;
        self.serial = next_serial();
        self.statements = StatementCache::new(settings.statements);
        Ok(true)
    }

    pub(super) fn conn(&self) -> &Conn {
        match &self.conn {
            Some(conn) => conn,
            None => unreachable!("the connection is taken only when the link is dropped"),
        }
    }

    /// To send on. After a reply that never came every later one would belong to the request before: nothing is sent then.
    pub(super) fn conn_mut(&mut self) -> mysql::Result<&mut Conn> {
        Ok(self.prepared_mut()?.0)
    }

    /// To wait on for what the server sends.
    pub(super) fn watched_conn(&mut self) -> mysql::Result<(&mut Conn, Option<&Watched>)> {
        match &mut self.conn {
            Some(conn) if self.known => Ok((conn, self.watched.as_deref())),
            _ => Err(mysql::Error::server_disconnected()),
        }
    }

    /// To prepare statements on.
    fn prepared_mut(&mut self) -> mysql::Result<(&mut Conn, &mut StatementCache)> {
        match &mut self.conn {
            Some(conn) if self.known => Ok((conn, &mut self.statements)),
            _ => Err(mysql::Error::server_disconnected()),
        }
    }

    /// Whether the server may have MariaDB's command for many rows, and takes it: not over TLS (1295).
    pub(super) fn takes_bulk(&self) -> bool {
        // Older versions of MariaDB call themselves 5.5.5 in front of their version.
        const IN_FRONT: (u16, u16, u16) = (5, 5, 5);
        let version = self.conn().server_version();
        !self.tls && (version == IN_FRONT || version >= (10, 0, 0))
    }

    /// Where this end of the connection is, as the server sees it if nobody translates addresses between them. `None`: not on the network.
    pub(super) fn local_port(&self) -> Option<u16> {
        socket::local_port(self.conn())
    }

    /// A number no other link of this process has, unlike the server's connection id.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn opened(&self) -> Opened<'_> {
        Opened { at: self.opened, took: self.creation, server: &self.server.identity, is_writable: !self.server.read_only }
    }

    pub(super) fn is_multi_primary(&self) -> bool {
        self.server.multi_primary
    }

    /// As it said when the connection was made.
    pub(super) fn is_read_only(&self) -> bool {
        self.server.read_only
    }

    pub(super) fn has_group_replication(&self) -> bool {
        self.server.group_replication
    }

    pub(super) fn is_galera(&self) -> bool {
        self.server.galera
    }

    /// Tells the server from others that the same address may lead to.
    pub(super) fn identity(&self) -> &str {
        &self.server.identity
    }

    /// The most bytes that one request may have, if the server said so or the driver is told.
    pub(super) fn packet_limit(&self) -> Option<usize> {
        [self.server.max_allowed_packet, self.driver_limit].into_iter().flatten().min()
    }

    /// Whether the last OK said that something has changed that outlives the transaction in its session.
    pub(super) fn session_changed(&self) -> bool {
        match self.conn().session_state_changes() {
            Ok(changes) => changes.iter().any(|change| change.data_type() == SessionStateType::SESSION_TRACK_STATE_CHANGE),
            Err(_) => true,
        }
    }

    /// A statement is about to be sent that may change the session.
    pub(super) fn session_changes(&mut self) {
        self.statements.forget_texts();
    }

    /// `raw`: the driver's own result goes to the caller. It swallows what it meets when it is dropped.
    pub(super) fn hands_out(&mut self, raw: bool) {
        self.unverified |= raw && self.reads_time_out;
    }

    /// Makes sure that the next reply belongs to the next request: one round trip, after a result that the driver handed out on a
    /// connection whose reads time out. The number is one that no earlier reply can have.
    pub(super) fn verify(&mut self) -> mysql::Result<()> {
        if !self.unverified {
            return Ok(());
        }
        self.unverified = false;
        let number = fastrand::u64(..);
        match self.ask::<u64>(&format!("SELECT {number}")) {
            Ok(reply) if reply == [number] => Ok(()),
            _ => {
                self.abandon();
                Err(garbled("the rest of an earlier result was lost"))
            }
        }
    }

    /// Nothing more may be sent: what the server would answer to is no longer known.
    pub(super) fn abandon(&mut self) {
        self.known = false;
    }

    /// Opened before a fork(2), in the parent process, which goes on speaking on it.
    pub(super) fn inherited(&self) -> bool {
        self.process != std::process::id()
    }

    /// Whether a statement may be sent: this process's own, and [alive](Self::alive).
    pub(super) fn usable(&self) -> bool {
        !self.inherited() && self.alive()
    }

    /// State known, and open as far as the socket knows.
    pub(super) fn alive(&self) -> bool {
        self.known
            && match socket::peek(self.conn()) {
                Seen::Quiet => true,
                // TLS sends records of its own; a farewell is found by the first statement then.
                Seen::Bytes => self.tls,
                Seen::Gone => false,
            }
    }

    /// Whether something has arrived while no reply was outstanding. Without TLS such a connection is not [alive](Self::alive).
    pub(super) fn spoke_unasked(&self) -> bool {
        self.tls && matches!(socket::peek(self.conn()), Seen::Bytes)
    }

    /// One round trip. After anything but a reply nothing more is sent.
    pub(super) fn ping(&mut self) -> mysql::Result<()> {
        self.packet(&[CHECK, ROLLBACK]).map(drop).map_err(|failed| failed.error)
    }

    /// Asks a question of our own, and reads the whole answer.
    pub(super) fn ask<T: FromRow>(&mut self, sql: &str) -> mysql::Result<Vec<T>> {
        self.packet_with_rows(&[sql]).map_err(|failed| failed.error)
    }

    /// A refusal is a reply. After any other failure it is not known to which request the next reply belongs.
    fn unless_refused(&mut self, error: &mysql::Error) {
        if !matches!(error, mysql::Error::MySqlError(_)) {
            self.abandon();
        }
    }

    /// Executes statements of our own in one round trip, where the server allows it. Returns how many rows they changed.
    pub(super) fn packet(&mut self, statements: &[&str]) -> Result<u64, PacketError> {
        self.execute(statements, &mut |reply, _| Err(reply.refuse("the server sent rows where none were asked for")))
    }

    /// For how long the server has been running, in whole seconds.
    pub(super) fn uptime(&mut self) -> mysql::Result<u64> {
        let rows = self.ask::<(String, u64)>("SHOW GLOBAL STATUS LIKE 'Uptime'")?;
        Ok(rows.first().map_or(0, |(_, seconds)| *seconds))
    }

    /// As [`packet`](Self::packet), with COMMIT in it: the watch neither interrupts it, nor waits for its reply indefinitely.
    pub(super) fn commit(&mut self, statements: &[&str]) -> Result<u64, PacketError> {
        self.commits(true);
        let committed = self.packet(statements);
        self.commits(false);
        committed
    }

    fn commits(&self, commits: bool) {
        if let Some(watched) = &self.watched {
            watched.commits(commits);
        }
    }

    /// As [`packet`](Self::packet), of which one statement has rows.
    pub fn packet_with_rows<T: FromRow>(&mut self, statements: &[&str]) -> Result<Vec<T>, PacketError> {
        let mut rows = Vec::new();
        self.execute(statements, &mut |reply, row| {
            if rows.len() == MOST_ROWS {
                return Err(reply.refuse(MORE_ROWS));
            }
            rows.push(mysql::from_row_opt(row).map_err(|_| reply.refuse(OTHER_COLUMNS))?);
            Ok(())
        })?;
        Ok(rows)
    }

    fn execute(&mut self, statements: &[&str], on_row: &mut OnRow<'_>) -> Result<u64, PacketError> {
        match statements {
            [] => Ok(0),
            [one] => self.send(one, 1, on_row),
            _ if self.one_by_one => {
                let mut changed = 0;
                for (executed, statement) in statements.iter().enumerate() {
                    changed += self.send(statement, 1, on_row).map_err(|failed| PacketError {
                        executed: executed + failed.executed,
                        sent: executed + 1,
                        ..failed
                    })?;
                }
                Ok(changed)
            }
            [first, rest @ ..] => {
                let mut joined = std::mem::take(&mut self.joined);
                joined.clear();
                joined.push_str(first);
                for statement in rest {
                    joined.push_str("; ");
                    joined.push_str(statement);
                }
                let result = self.send(&joined, statements.len(), on_row);
                self.joined = joined;
                result
            }
        }
    }

    fn request(&mut self, sql: &str) -> mysql::Result<Reply<'_, '_, '_, Text>> {
        let (conn, watched) = self.watched_conn()?;
        let results = {
            let _waiting = Waiting::on(watched);
            caught(|| conn.query_iter(sql))?
        };
        Ok(Reply::new(results, watched))
    }

    /// Reads every result: an error in a later one is otherwise lost with the result.
    fn send(&mut self, sql: &str, sent: usize, on_row: &mut OnRow<'_>) -> Result<u64, PacketError> {
        let mut executed = 0;
        let mut changed = 0;
        let result = (|| {
            let mut reply = self.request(sql)?;
            while reply.next_result()? {
                if executed == sent {
                    return Err(reply.refuse(MORE_RESULTS));
                }
                changed += reply.affected_rows();
                while let Some(row) = reply.next_row()? {
                    on_row(&mut reply, row)?;
                }
                executed += 1;
            }
            if executed == sent { Ok(()) } else { Err(garbled("the server sent replies to fewer statements than it was sent")) }
        })();
        match result {
            Ok(()) => Ok(changed),
            Err(error) => {
                self.unless_refused(&error);
                Err(PacketError { executed, sent, error })
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if let Some(watched) = self.watched.take() {
            watch::remove(&watched);
            if !self.known && !self.inherited() {
                watched.lost();
            }
        }
        if self.inherited() {
            // COM_QUIT from here would end the parent's session.
            std::mem::forget(conn);
        } else if !self.known {
            socket::silence(&conn);
        }
    }
}

/// Connects by every address that the host's name has. The driver itself tries the first one only, unless it is to bind its own end to an
/// address: then it tries every address of that family.
fn by_every_address(options: Opts) -> mysql::Result<Conn> {
    let name = options.get_ip_or_hostname();
    let is_name = options.get_socket().is_none() && options.bind_address().is_none() && name.parse::<IpAddr>().is_err();
    let addresses: Vec<SocketAddr> = match is_name {
        true => (&*name, options.get_tcp_port()).to_socket_addrs().map(Iterator::collect).unwrap_or_default(),
        false => Vec::new(),
    };
    drop(name);
    let mut families: Vec<SocketAddr> = Vec::new();
    for address in addresses.iter().filter(|_| addresses.len() > 1) {
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        if !families.iter().any(|family| family.ip() == any) {
            families.push((any, 0).into());
        }
    }
    let Some((last, first)) = families.split_last() else { return Conn::new(options) };
    let of = |family: &SocketAddr| Conn::new(OptsBuilder::from_opts(options.clone()).bind_address(Some(*family)));
    first.iter().find_map(|family| of(family).ok()).map_or_else(|| of(last), Ok)
}

/// No host could be connected to: each is named with what it said.
fn none_of(hosts: &Hosts, failures: &[(usize, Error)]) -> Error {
    let kinds = || failures.iter().map(|(_, error)| error.kind());
    let kind = kinds().find(|kind| *kind == ErrorKind::ReadOnlyServer).or_else(|| kinds().next_back());
    let said = |(host, error): &(usize, Error)| {
        let name = hosts.name(*host);
        // The error may name the host as well.
        format!("{name}: {}", error.to_string().replace(&format!(": {name}: "), ": "))
    };
    let said: Vec<String> = failures.iter().map(said).collect();
    Error::new(kind.unwrap_or(ErrorKind::ConnectFailed), format!("no host can be used: {}", said.join("; ")))
        .transient(failures.iter().any(|(_, error)| error.passes()))
}

/// With timeouts that end with the call.
fn in_time(options: &Opts) -> Opts {
    // The driver takes no timeout of zero.
    let within = |timeout: Option<&Duration>| Some(deadline::at_most(timeout.copied().unwrap_or(Duration::MAX)).max(LEAST_TIMEOUT));
    let connect = within(options.get_tcp_connect_timeout().as_ref());
    let read = within(options.get_read_timeout());
    OptsBuilder::from_opts(options.clone()).tcp_connect_timeout(connect).read_timeout(read).into()
}

/// A number that no other connection of this process has.
fn next_serial() -> u64 {
    static SERIAL: AtomicU64 = AtomicU64::new(1);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}
