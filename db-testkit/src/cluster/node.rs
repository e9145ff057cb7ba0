//! One server of a cluster.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use mysql::Conn;
use parking_lot::Mutex;

use super::{PATIENCE, PAUSE, galera, group, probe, replication, url};
use crate::port::Port;
use crate::template::tail;
use crate::{Error, FaultProxy, Result, Server};

/// One server of a [`Cluster`](crate::Cluster).
#[derive(Debug)]
pub struct Node {
    pub(super) index: usize,
    pub(super) server: Server,
    pub(super) member: Member,
    /// Kept for the traffic between the nodes.
    _ports: Vec<Port>,
    condition: Mutex<Condition>,
}

/// What a node is to its cluster.
#[derive(Debug)]
pub(super) enum Member {
    Galera,
    Group(group::Member),
    Asynchronous(replication::Member),
}

/// What has been done to a node.
#[derive(Debug, Default)]
pub(super) struct Condition {
    paused: bool,
    isolated: bool,
    /// It is about to be started together with all others.
    forming: bool,
}

impl Node {
    pub(super) fn new(index: usize, server: Server, member: Member, ports: Vec<Port>) -> Node {
        Node { index, server, member, _ports: ports, condition: Mutex::default() }
    }

    /// Its index in the cluster, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The URL of the database `test` on this node alone: `mysql://app@127.0.0.1:PORT/test`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for("test")
    }

    /// The same for a database by name.
    #[must_use]
    pub fn url_for(&self, database: &str) -> String {
        url(self.address(), database)
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The TCP port: below 32768, and the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.server.socket()
    }

    /// The process id of the server; `None` when it was stopped or killed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// A new connection as `root` to the database `test`, by TCP.
    ///
    /// # Errors
    ///
    /// [`Error::Mysql`] if the server does not reply.
    pub fn connect(&self) -> Result<Conn> {
        self.server.connect()
    }

    /// A [`FaultProxy`] before this node.
    ///
    /// # Errors
    ///
    /// As [`FaultProxy::start`].
    pub fn proxy(&self) -> Result<FaultProxy> {
        self.server.proxy()
    }

    /// Everything the server wrote to its error log, over all restarts.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read.
    pub fn log(&self) -> Result<String> {
        self.server.log()
    }

    /// Ends the server without warning (SIGKILL), and returns when it is gone.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] if it was stopped or killed before.
    pub fn kill9(&self) -> Result<()> {
        self.condition.lock().paused = false;
        self.server.kill9()
    }

    /// Asks the server to shut down (SIGTERM), and returns when it is gone.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] if it was stopped or killed before; [`Error::NotStopped`] after 30 s.
    pub fn stop(&self) -> Result<()> {
        self.condition.lock().paused = false;
        self.server.stop()
    }

    /// Freezes the server (SIGSTOP). Its connections stay open and it does not reply; the others exclude it after a while.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] if it was stopped or killed.
    pub fn pause(&self) -> Result<()> {
        self.server.pause()?;
        self.condition.lock().paused = true;
        Ok(())
    }

    /// Resumes a frozen server (SIGCONT). It may have been excluded; see [`rejoin`](Self::rejoin).
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] if it was stopped or killed.
    pub fn resume(&self) -> Result<()> {
        self.server.resume()?;
        self.condition.lock().paused = false;
        Ok(())
    }

    /// Cuts the server off from the other nodes, and returns when it has noticed. Clients still reach it.
    ///
    /// - Galera (`gmcast.isolate`): it accepts logins, `PING` and `SELECT 1`, and refuses tables and transactions (1047, `wsrep_ready=OFF`).
    /// - Group Replication: the member sees that it has no majority. It serves reads; COMMIT waits, by default indefinitely.
    /// - Asynchronous: replication from and to this node stops. Both sides serve clients as before.
    ///
    /// # Errors
    ///
    /// [`Error::Mysql`] if the server does not reply; [`Error::NotSettled`] if it does not notice; [`Error::Unsupported`] for Group
    /// Replication where this process may not make network namespaces (it needs root).
    pub fn isolate(&self) -> Result<()> {
        if std::mem::replace(&mut self.condition.lock().isolated, true) {
            return Ok(());
        }
        match &self.member {
            Member::Galera => galera::isolate(self, true),
            Member::Group(member) => group::isolate(self, member),
            Member::Asynchronous(_) => replication::isolate(self),
        }
    }

    /// Starts a stopped or killed server without waiting for it; see [`wait_ready`](Self::wait_ready). Where no node is running, use
    /// [`Cluster::rejoin_all`](crate::Cluster::rejoin_all).
    ///
    /// # Errors
    ///
    /// [`Error::Running`] if it was not stopped or killed; [`Error::Io`] if the program cannot be started.
    pub fn launch(&self) -> Result<()> {
        let args: Vec<OsString> = match &self.member {
            Member::Galera => galera::launch_args(self, std::mem::take(&mut self.condition.lock().forming))?,
            Member::Group(_) => Vec::new(),
            Member::Asynchronous(member) => replication::launch_args(member),
        };
        self.server.launch_with(&args)
    }

    /// Makes the node a member again, whatever was done to it: starts, resumes or connects it, and waits until it is
    /// [`ready`](Self::ready).
    ///
    /// # Errors
    ///
    /// [`Error::Exited`] if the server ends, [`Error::NotReady`] if it is not a member after 90 s, both with the end of the log.
    pub fn rejoin(&self) -> Result<()> {
        let was_isolated = std::mem::take(&mut self.condition.lock().isolated);
        if let (Member::Group(member), true) = (&self.member, was_isolated) {
            member.mend();
        }
        self.start()?;
        match &self.member {
            Member::Galera if was_isolated => galera::isolate(self, false)?,
            Member::Galera => {}
            Member::Group(_) => group::join(self, false)?,
            Member::Asynchronous(member) => replication::join(self, member)?,
        }
        self.wait_ready()
    }

    /// The next start is one together with all other nodes, none of which is running.
    pub(super) fn set_forming(&self) {
        self.condition.lock().forming = true;
    }

    /// Makes sure that the process runs and replies.
    pub(super) fn start(&self) -> Result<()> {
        if self.condition.lock().paused {
            self.resume()?;
        }
        if self.pid().is_none() {
            self.launch()?;
        }
        self.server.wait_answer(PATIENCE)
    }

    /// Whether the node is a member that works: it serves reads, and writes if it is not a read-only replica.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.not_ready().is_none()
    }

    /// Why the node is not a member that works.
    fn not_ready(&self) -> Option<String> {
        if self.pid().is_none() {
            return Some("it is not running".into());
        }
        let state = probe(self.address()).and_then(|mut conn| match &self.member {
            Member::Galera => galera::state(&mut conn),
            Member::Group(_) => group::state(&mut conn),
            Member::Asynchronous(member) => replication::state(&mut conn, member),
        });
        match state {
            Ok(State { ready: true, .. }) => None,
            Ok(State { described, .. }) => Some(described),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Whether a client can write.
    pub(super) fn is_writable(&self) -> bool {
        let state = probe(self.address()).and_then(|mut conn| match &self.member {
            Member::Galera => galera::state(&mut conn),
            Member::Group(_) => group::state(&mut conn),
            Member::Asynchronous(member) => replication::state(&mut conn, member),
        });
        state.is_ok_and(|state| state.writable)
    }

    /// Waits until the node is [`ready`](Self::ready).
    ///
    /// # Errors
    ///
    /// [`Error::Exited`] if the server ends, [`Error::NotReady`] after 90 s, both with the end of the log.
    pub fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(last) = self.not_ready() {
            if let Some(status) = self.server.exited()? {
                return Err(Error::Exited { status, log: self.log_tail() });
            }
            if Instant::now() > deadline {
                return Err(Error::NotReady { waited: PATIENCE, last: format!("node {}: {last}", self.index), log: self.log_tail() });
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Whether the node is expected to take part.
    pub(super) fn is_reachable(&self) -> bool {
        let condition = self.condition.lock();
        self.pid().is_some() && !condition.paused && !condition.isolated
    }

    fn log_tail(&self) -> String {
        tail(&self.server.home().log())
    }
}

/// What a server says of itself.
pub(super) struct State {
    /// It is a member that works.
    pub(super) ready: bool,
    /// It accepts writes.
    pub(super) writable: bool,
    pub(super) described: String,
}
