//! HAProxy and MySQL Router in front of a cluster.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mysql::Conn;
use mysql::prelude::Queryable;
use tempfile::TempDir;

use super::{Cluster, PATIENCE, PAUSE, Shared, Topology, app, url};
use crate::error::Doing;
use crate::flavor::Program;
use crate::port::Port;
use crate::process::{Process, with_parent_death_signal};
use crate::search::in_path;
use crate::template::tail;
use crate::{Error, Result};

/// How HAProxy finds out whether a node can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthCheck {
    /// As it should be: an HTTP agent beside each node replies 200 if the node can be written to (on Galera `wsrep_ready=ON` and
    /// `wsrep_local_state=4`, on Group Replication a primary in a majority), otherwise 503.
    Agent,
    /// As it is often done (`option mysql-check`): a node that accepts logins is used, although one without quorum does too. On MySQL, whose
    /// default authentication HAProxy does not know, a node is used that sends its greeting.
    Login,
}

/// Which node a balancer chooses for a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Balance {
    /// The first that can be used, in the order of the nodes.
    FirstAvailable,
    /// Each in turn.
    RoundRobin,
}

/// What MySQL Router does with a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Routing {
    /// It passes the bytes through (`client_ssl_mode=PASSTHROUGH`).
    PassThrough,
    /// Clients share connections to the servers (`connection_sharing=1`), which read-write splitting (`access_mode=auto`) requires.
    Sharing,
}

/// HAProxy or MySQL Router in front of a [`Cluster`]. It is ended when dropped; the servers live until it and the cluster are dropped.
///
/// ```no_run
/// use db_testkit::{Balance, Cluster, HealthCheck};
///
/// let cluster = Cluster::galera()?;
/// let haproxy = cluster.haproxy(HealthCheck::Agent, Balance::FirstAvailable)?;
/// let url = haproxy.url();
/// // … use `url` …
/// haproxy.set_maintenance(0, true)?;        // node 0 gets no new connections
/// # Ok::<(), db_testkit::Error>(())
/// ```
#[derive(Debug)]
pub struct Balancer {
    // First, so that the process ends before its files are removed.
    process: Process,
    port: Port,
    /// Where HAProxy takes orders.
    orders: Option<PathBuf>,
    _agents: Vec<Agent>,
    /// After the agents, which use the nodes, and before the nodes, in one of whose directories it is.
    directory: TempDir,
    _shared: Arc<Shared>,
}

impl Cluster {
    /// Starts HAProxy before the nodes. A node that fails its check twice, 0.2 s apart, is not used, and its connections are ended.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] names the package to install; [`Error::NotReady`] holds the end of HAProxy's log.
    pub fn haproxy(&self, check: HealthCheck, balance: Balance) -> Result<Balancer> {
        let program = in_path("haproxy")
            .ok_or_else(|| Error::Missing { what: "HAProxy".into(), cure: "apt-get install --no-install-recommends haproxy".into() })?;
        let user = check == HealthCheck::Login && !self.is_mysql();
        if user {
            let primary = self.wait_for_primary()?;
            self.node(primary).connect()?.query_drop("CREATE USER IF NOT EXISTS haproxy@'127.0.0.1' IDENTIFIED BY ''")?;
            self.settled()?;
        }
        let port = Port::reserve()?;
        let directory = self.directory("haproxy-")?;
        let orders = directory.path().join("orders.sock");
        let agents = match check {
            HealthCheck::Agent => (0..self.nodes().len()).map(|index| Agent::start(&self.shared, index)).collect::<Result<Vec<_>>>()?,
            HealthCheck::Login => Vec::new(),
        };
        let config = directory.path().join("haproxy.cfg");
        let agent_ports: Vec<u16> = agents.iter().map(|agent| agent.port.number()).collect();
        write_file(&config, &haproxy_config(self, port.number(), &orders, check, balance, &agent_ports))?;
        let mut command = Command::new(program);
        // -db: stay in the foreground.
        command.arg("-db").arg("-f").arg(&config);
        let process = Process::spawn(with_parent_death_signal(command), &log(&directory))?;
        Balancer { process, port, orders: Some(orders), _agents: agents, directory, _shared: Arc::clone(&self.shared) }.started()
    }

    /// Starts MySQL Router before the members of a group, with static routing: a member that refuses connections is not used for a
    /// while. It does not know which member is the primary.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] names the package to install; [`Error::Unsupported`] for MariaDB; [`Error::NotReady`] holds the end of its log.
    pub fn router(&self, routing: Routing, balance: Balance) -> Result<Balancer> {
        if !self.is_mysql() {
            return Err(Error::Unsupported("MySQL Router is for Group Replication".into()));
        }
        // The servers may be in namespaces; the router is where their clients are.
        let program = Program { namespace: None, ..self.node(0).server.program().clone() };
        let path = match program.root {
            Some(_) => Some(PathBuf::from("/usr/bin/mysqlrouter")),
            None => in_path("mysqlrouter"),
        };
        let path = path.filter(|path| program.outside(path).is_file()).ok_or_else(|| Error::Missing {
            what: "MySQL Router".into(),
            cure: "apt-get install --no-install-recommends mysql-router (in the directory tree of DB_TESTKIT_MYSQL_ROOT, if that is set)"
                .into(),
        })?;
        let port = Port::reserve()?;
        let directory = self.directory("router-")?;
        let config = directory.path().join("router.conf");
        write_file(&config, &router_config(self, port.number(), routing, balance, &program.inside(directory.path())))?;
        let mut command = program.command_for(&path);
        command.arg("-c").arg(program.inside(&config)).args(program.as_root());
        let process = Process::spawn(command, &log(&directory))?;
        Balancer { process, port, orders: None, _agents: Vec::new(), directory, _shared: Arc::clone(&self.shared) }.started()
    }

    fn is_mysql(&self) -> bool {
        matches!(self.topology(), Topology::GroupSinglePrimary | Topology::GroupMultiPrimary)
    }

    /// Beside the files of a node, so that it is removed with them if this process is killed.
    fn directory(&self, prefix: &str) -> Result<TempDir> {
        let home = self.node(0).server.home().directory();
        tempfile::Builder::new().prefix(prefix).tempdir_in(home).doing(|| format!("making a directory in {}", home.display()))
    }
}

impl Balancer {
    /// The URL of the database `test` through the balancer: `mysql://app@127.0.0.1:PORT/test`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for("test")
    }

    /// The same for a database by name.
    #[must_use]
    pub fn url_for(&self, database: &str) -> String {
        url(self.address(), database)
    }

    /// Where the balancer listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Everything the balancer wrote to its log.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read.
    pub fn log(&self) -> Result<String> {
        let log = log(&self.directory);
        let bytes = fs::read(&log).doing(|| format!("reading {}", log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Takes a node out of HAProxy's use, for new connections, or back. Open connections stay.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for MySQL Router and for a node that does not exist; [`Error::Io`] if HAProxy does not reply.
    pub fn set_maintenance(&self, node: usize, maintenance: bool) -> Result<()> {
        let state = if maintenance { "maint" } else { "ready" };
        let orders = self.orders.as_ref().ok_or_else(|| Error::Unsupported("MySQL Router takes no orders".into()))?;
        let asking = || format!("asking HAProxy to set node {node} to {state}");
        let mut stream = UnixStream::connect(orders).doing(asking)?;
        stream.write_all(format!("set server db/n{node} state {state}\n").as_bytes()).doing(asking)?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).doing(asking)?;
        if reply.trim().is_empty() { Ok(()) } else { Err(Error::Unsupported(reply.trim().into())) }
    }

    /// Waits until a client reaches a server.
    fn started(mut self) -> Result<Balancer> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Err(error) = app(self.address()).and_then(|mut conn: Conn| conn.query_drop("DO 1")) else { return Ok(self) };
            let log = log(&self.directory);
            if let Some(status) = self.process.exited()? {
                return Err(Error::Exited { status, log: tail(&log) });
            }
            if Instant::now() > deadline {
                return Err(Error::NotReady { waited: PATIENCE, last: error.to_string(), log: tail(&log) });
            }
            thread::sleep(PAUSE);
        }
    }
}

fn log(directory: &TempDir) -> PathBuf {
    directory.path().join("log")
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).doing(|| format!("writing {}", path.display()))
}

fn haproxy_config(cluster: &Cluster, port: u16, orders: &Path, check: HealthCheck, balance: Balance, agents: &[u16]) -> String {
    let balance = match balance {
        Balance::FirstAvailable => "first",
        Balance::RoundRobin => "roundrobin",
    };
    let option = match check {
        HealthCheck::Agent => "httpchk GET /",
        HealthCheck::Login if cluster.is_mysql() => "mysql-check",
        HealthCheck::Login => "mysql-check user haproxy",
    };
    let mut config = format!(
        "global\n  stats socket {} level admin mode 600\n  maxconn 4000\n  log stdout format raw local0 notice\n\
         defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n  timeout check 1s\n  \
         default-server inter 200ms fall 2 rise 2 on-marked-down shutdown-sessions\n\
         listen db\n  log global\n  bind 127.0.0.1:{port}\n  balance {balance}\n  option {option}\n",
        orders.display()
    );
    for node in cluster.nodes() {
        let agent = agents.get(node.index()).map(|port| format!(" port {port}")).unwrap_or_default();
        // Writing to a `String` cannot fail.
        let _ = writeln!(config, "  server n{} {} check{agent}", node.index(), node.address());
    }
    config
}

fn router_config(cluster: &Cluster, port: u16, routing: Routing, balance: Balance, directory: &Path) -> String {
    let mode = match routing {
        Routing::PassThrough => "client_ssl_mode=PASSTHROUGH\nserver_ssl_mode=AS_CLIENT",
        Routing::Sharing => "client_ssl_mode=DISABLED\nserver_ssl_mode=PREFERRED\nconnection_sharing=1\nconnection_sharing_delay=0",
    };
    let strategy = match balance {
        Balance::FirstAvailable => "first-available",
        Balance::RoundRobin => "round-robin",
    };
    let destinations: Vec<String> = cluster.nodes().iter().map(|node| node.address().to_string()).collect();
    let directory = directory.display();
    format!(
        "[DEFAULT]\nlogging_folder=\nruntime_folder={directory}\ndata_folder={directory}\nmax_idle_server_connections=64\n\
         [logger]\nlevel=INFO\n\
         [routing:db]\nbind_address=127.0.0.1\nbind_port={port}\nprotocol=classic\nrouting_strategy={strategy}\n\
         {mode}\nmax_connect_errors=4294967295\nconnect_timeout=2\n\
         destinations={}\n",
        destinations.join(",")
    )
}

/// Tells HAProxy by HTTP whether a node can be written to.
#[derive(Debug)]
struct Agent {
    port: Port,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    fn start(shared: &Arc<Shared>, index: usize) -> Result<Agent> {
        let port = Port::reserve()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).doing(|| "listening for HAProxy's checks".into())?;
        let ended = Arc::new(AtomicBool::new(false));
        let (shared, end) = (Arc::clone(shared), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                // A check that was given up is made again.
                let _ = stream.and_then(|stream| reply(stream, || shared.nodes[index].is_writable()));
            }
        });
        Ok(Agent { port, ended, thread: Some(thread) })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread, if it has not ended.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.number()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn reply(mut stream: TcpStream, usable: impl FnOnce() -> bool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    // The request is the same each time, and arrives in one piece.
    let _ = stream.read(&mut [0; 1024])?;
    let status = if usable() { "200 OK" } else { "503 Service Unavailable" };
    stream.write_all(format!("HTTP/1.0 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes())
}
