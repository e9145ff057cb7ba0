//! One session on the server, in a known state.

pub(crate) mod prepared;
pub(crate) mod response;
pub(crate) mod socket;
pub(crate) mod statement_cache;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mysql::prelude::{FromRow, Queryable};
use mysql::{Conn, Text};

use crate::config::Settings;
use crate::connection::response::{Reply, caught, garbled};
use crate::connection::socket::Seen;
use crate::connection::statement_cache::StatementCache;
use crate::error::classify;
use crate::telemetry::event::event;
use crate::{Error, ErrorKind, Result};

pub(crate) const GUARD: &str = "SAVEPOINT db_core_guard";
pub(crate) const RELEASE_GUARD: &str = "RELEASE SAVEPOINT db_core_guard";

pub(crate) const NO_AUTOCOMMIT: &str = "SET autocommit = 0";

const NAMES: &str = "SET NAMES utf8mb4";

/// The most rows that a question of ours can be answered with.
const ANSWER: usize = 100;

const MORE_RESULTS: &str = "the server answered more statements than it was sent";

/// SAVEPOINT does not exist: the transaction it was set in has ended.
const NO_SUCH_SAVEPOINT: u16 = 1305;

/// TiDB: several statements in one packet are not allowed.
const MULTI_STATEMENT_REFUSED: u16 = 8130;

/// A connection whose state on the server is known. It is dropped, without another byte, as soon as it is not.
pub(crate) struct Link {
    /// `None` only while being dropped.
    conn: Option<Conn>,
    process: u32,
    serial: u64,
    tls: bool,
    one_by_one: bool,
    guard_armed: bool,
    /// Cleared by the first failure that leaves the state unknown.
    known: bool,
    statements: StatementCache,
    /// The largest request that the driver sends and the server takes, once it was asked for.
    packet_limit: Option<usize>,
    /// The largest that the driver sends.
    driver_limit: Option<usize>,
    /// Where the statements of a packet are put together.
    joined: String,
}

/// A statement of a packet failed: which one, and how.
pub(crate) struct PacketError {
    /// Statements before it that were executed.
    pub(crate) executed: usize,
    /// Statements that were sent.
    pub(crate) sent: usize,
    pub(crate) error: mysql::Error,
}

impl PacketError {
    /// The server refused the first statement because the savepoint it names is gone.
    pub(crate) fn no_such_savepoint(&self) -> bool {
        self.executed == 0 && matches!(&self.error, mysql::Error::MySqlError(error) if error.code == NO_SUCH_SAVEPOINT)
    }
}

impl Link {
    /// Connects: one round trip for the handshake, one for the session's settings.
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        let link = Self::open_quick(settings)?;
        socket::set_read_timeout(link.conn(), settings.read_timeout)
            .map_err(|error| Error::new(ErrorKind::ConnectFailed, format!("the socket takes no read timeout: {error}")))?;
        Ok(link)
    }

    /// A connection for short statements of our own: the handshake's read timeout stays.
    pub(crate) fn open_quick(settings: &Settings) -> Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let refused = |error: mysql::Error| {
            let verdict = classify::connect(&error);
            Error::classified(&error, verdict.kind, verdict.transient)
        };
        // A version that the driver cannot read, it panics at when asked for it.
        let connected = caught(|| {
            let conn = Conn::new(settings.options.clone())?;
            conn.server_version();
            Ok(conn)
        });
        let conn = connected.map_err(refused)?;
        let mut link = Self {
            conn: Some(conn),
            process: std::process::id(),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            // The driver does without TLS on a Unix socket.
            tls: settings.options.get_ssl_opts().is_some() && settings.options.get_socket().is_none(),
            one_by_one: false,
            guard_armed: false,
            known: true,
            statements: StatementCache::new(settings.statements),
            packet_limit: None,
            driver_limit: settings.options.get_max_allowed_packet(),
            joined: String::new(),
        };
        link.set_up().map_err(refused)?;
        link.guard_armed = true;
        Ok(link)
    }

    fn set_up(&mut self) -> mysql::Result<u64> {
        let statements = [NAMES, NO_AUTOCOMMIT, GUARD];
        match self.packet(&statements) {
            // A proxy that takes one statement at a time may call the second one a syntax error.
            Err(PacketError { error: mysql::Error::MySqlError(error), .. }) if matches!(error.code, MULTI_STATEMENT_REFUSED | 1064) => {
                self.one_by_one = true;
                static SAID: AtomicBool = AtomicBool::new(false);
                if !SAID.swap(true, Ordering::Relaxed) {
                    event!(
                        warn,
                        "db_core.one_by_one",
                        { db.response.status_code = %error.code },
                        "the server refuses several statements in one packet: they go one by one"
                    );
                }
                self.packet(&statements).map_err(|failed| failed.error)
            }
            result => result.map_err(|failed| failed.error),
        }
    }

    pub(crate) fn conn(&self) -> &Conn {
        match &self.conn {
            Some(conn) => conn,
            None => unreachable!("the connection is taken only when the link is dropped"),
        }
    }

    /// To send on. After a reply that never came every later one would belong to the request before: nothing is sent then.
    pub(crate) fn conn_mut(&mut self) -> mysql::Result<&mut Conn> {
        Ok(self.prepared_mut()?.0)
    }

    /// To prepare statements on.
    pub(crate) fn prepared_mut(&mut self) -> mysql::Result<(&mut Conn, &mut StatementCache)> {
        match &mut self.conn {
            Some(conn) if self.known => Ok((conn, &mut self.statements)),
            _ => Err(mysql::Error::server_disconnected()),
        }
    }

    /// Whether the server may have MariaDB's command for many rows, and takes it: not over TLS (1295).
    pub(crate) fn takes_bulk(&self) -> bool {
        // Older versions of MariaDB call themselves 5.5.5 in front of their version.
        const IN_FRONT: (u16, u16, u16) = (5, 5, 5);
        let version = self.conn().server_version();
        !self.tls && (version == IN_FRONT || version >= (10, 0, 0))
    }

    /// The largest request that can be sent. A round trip, once.
    pub(crate) fn packet_limit(&mut self) -> mysql::Result<usize> {
        if let Some(limit) = self.packet_limit {
            return Ok(limit);
        }
        let asked: Option<usize> = self.ask("SELECT @@max_allowed_packet")?.pop();
        let limits = [asked, self.driver_limit];
        let limit = limits.into_iter().flatten().min().ok_or_else(|| garbled("the server did not say how large a request may be"))?;
        self.packet_limit = Some(limit);
        Ok(limit)
    }

    /// Where this end of the connection is, as the server sees it if nobody translates addresses between them. `None`: not on the network.
    pub(crate) fn local_port(&self) -> Option<u16> {
        socket::local_port(self.conn())
    }

    /// A number no other link of this process has, unlike the server's connection id.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn guard_armed(&self) -> bool {
        self.guard_armed
    }

    pub(crate) fn set_guard_armed(&mut self, armed: bool) {
        self.guard_armed = armed;
    }

    /// Nothing more may be sent: what the server would answer to is no longer known.
    pub(crate) fn abandon(&mut self) {
        self.known = false;
    }

    /// Opened before a fork(2), in the parent process, which goes on speaking on it.
    pub(crate) fn inherited(&self) -> bool {
        self.process != std::process::id()
    }

    /// Whether a statement may be sent: this process's own, and [alive](Self::alive).
    pub(crate) fn usable(&self) -> bool {
        !self.inherited() && self.alive()
    }

    /// State known, and open as far as the socket knows.
    pub(crate) fn alive(&self) -> bool {
        self.known
            && match socket::peek(self.conn()) {
                Seen::Quiet => true,
                // TLS sends records of its own; a farewell is found by the first statement then.
                Seen::Bytes => self.tls,
                Seen::Gone => false,
            }
    }

    /// The process that opened it.
    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    /// One round trip. After anything but an answer nothing more is sent.
    pub(crate) fn ping(&mut self) -> mysql::Result<()> {
        let conn = self.conn_mut()?;
        caught(|| conn.ping()).inspect_err(|_| self.abandon())
    }

    /// Asks a question of our own, and reads the whole answer.
    pub(crate) fn ask<T: FromRow>(&mut self, sql: &str) -> mysql::Result<Vec<T>> {
        let asked = (|| {
            let mut reply = self.request(sql)?;
            let mut answer = Vec::new();
            while let Some(row) = reply.next_row()? {
                if answer.len() == ANSWER {
                    return Err(reply.refuse("the server answered with more rows than were asked for"));
                }
                answer.push(
                    mysql::from_row_opt(row).map_err(|_| reply.refuse("the server answered with other columns than were asked for"))?,
                );
            }
            if reply.next_result()? { Err(reply.refuse(MORE_RESULTS)) } else { Ok(answer) }
        })();
        asked.inspect_err(|error| self.unless_answered(error))
    }

    /// What the server refused, it answered. After any other failure it is not known what it will answer to.
    fn unless_answered(&mut self, error: &mysql::Error) {
        if !matches!(error, mysql::Error::MySqlError(_)) {
            self.abandon();
        }
    }

    /// Executes statements of our own in one round trip, where the server allows it. Returns how many rows they changed.
    pub(crate) fn packet(&mut self, statements: &[&str]) -> Result<u64, PacketError> {
        match statements {
            [] => Ok(0),
            [one] => self.send(one, 1),
            _ if self.one_by_one => {
                let mut changed = 0;
                for (executed, statement) in statements.iter().enumerate() {
                    changed += self.send(statement, 1).map_err(|failed| PacketError { executed, sent: executed + 1, ..failed })?;
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
                let result = self.send(&joined, statements.len());
                self.joined = joined;
                result
            }
        }
    }

    fn request(&mut self, sql: &str) -> mysql::Result<Reply<'_, '_, '_, Text>> {
        let conn = self.conn_mut()?;
        Ok(Reply::new(caught(|| conn.query_iter(sql))?))
    }

    /// Reads every result: an error in a later one is otherwise lost with the result.
    fn send(&mut self, sql: &str, sent: usize) -> Result<u64, PacketError> {
        let mut executed = 0;
        let mut changed = 0;
        let result = (|| {
            let mut reply = self.request(sql)?;
            while reply.next_result()? {
                if executed == sent {
                    return Err(reply.refuse(MORE_RESULTS));
                }
                changed += reply.affected_rows();
                if reply.next_row()?.is_some() {
                    return Err(reply.refuse("the server answered with rows where none were asked for"));
                }
                executed += 1;
            }
            if executed == sent { Ok(()) } else { Err(garbled("the server answered fewer statements than it was sent")) }
        })();
        match result {
            Ok(()) => Ok(changed),
            Err(error) => {
                self.unless_answered(&error);
                Err(PacketError { executed, sent, error })
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if self.inherited() {
            // COM_QUIT from here would end the parent's session.
            std::mem::forget(conn);
        } else if !self.known {
            socket::silence(&conn);
        }
    }
}
