//! Clusters of private servers.

mod balancer;
mod follower;
mod galera;
mod group;
mod node;
mod replication;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use mysql::{Conn, Opts, OptsBuilder};

pub use self::balancer::{Balance, Balancer, HealthCheck, Routing};
pub use self::node::Node;

use self::follower::Follower;
use crate::{Error, FaultProxy, Result};

/// How long a node may take to join, and a cluster to apply what has been committed.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often a state that is waited for is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// The account of [`Cluster::url`] and [`Node::url`]. It may read and write everything, and has no privilege that lets it write to a
/// read-only server, as `root` has on MariaDB.
const APP_USER: &str = "CREATE USER IF NOT EXISTS app@'127.0.0.1' IDENTIFIED BY ''";
const APP_PRIVILEGES: &str = "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, \
     CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER \
     ON *.* TO app@'127.0.0.1'";

/// How the servers of a cluster replicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Topology {
    /// Galera (MariaDB): each node can be written to, commits are certified. Packages: `mariadb-server-core`, `galera-4`, `rsync`, `lsof`,
    /// and the scripts of `mariadb-server`. Not with `DB_TESTKIT_MARIADB_ROOT`.
    Galera,
    /// MySQL Group Replication with one primary.
    GroupSinglePrimary,
    /// MySQL Group Replication in which each member can be written to.
    GroupMultiPrimary,
    /// Asynchronous replication (MariaDB): node 0 is the primary, the others are its read-only replicas.
    Asynchronous,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Topology::Galera => "Galera",
            Topology::GroupSinglePrimary => "Group Replication (single-primary)",
            Topology::GroupMultiPrimary => "Group Replication (multi-primary)",
            Topology::Asynchronous => "asynchronous replication",
        })
    }
}

/// Options of a cluster to be started. Made by [`Cluster::builder`].
#[derive(Debug, Clone)]
#[must_use = "a cluster is started by `start`"]
pub struct ClusterBuilder {
    topology: Topology,
    nodes: usize,
    args: Vec<OsString>,
}

impl ClusterBuilder {
    /// The number of nodes. Default: 3, or 2 for [`Topology::Asynchronous`].
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes.clamp(1, 9);
        self
    }

    /// Adds an option to the command line of each server. It comes after those of this crate, so it wins over them.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Starts the servers and waits until each is ready.
    ///
    /// # Errors
    ///
    /// [`Error::ServerNotFound`] and [`Error::Missing`] name the package to install. [`Error::NotReady`] holds the end of a server's log.
    pub fn start(self) -> Result<Cluster> {
        let primary = Arc::new(AtomicUsize::new(0));
        let nodes = match self.topology {
            Topology::Galera => galera::prepare(&self)?,
            Topology::GroupSinglePrimary | Topology::GroupMultiPrimary => group::prepare(&self)?,
            Topology::Asynchronous => replication::prepare(&self, &primary)?,
        };
        let shared = Arc::new(Shared { topology: self.topology, nodes, primary });
        shared.form()?;
        let mut conn = shared.nodes[0].connect()?;
        conn.query_drop(APP_USER)?;
        conn.query_drop(APP_PRIVILEGES)?;
        let cluster = Cluster { follower: Follower::start(&shared)?, shared, databases: AtomicU32::new(0) };
        cluster.settled()?;
        Ok(cluster)
    }
}

/// Several private servers that replicate, on loopback ports.
///
/// Each [`Node`] can be killed, stopped, paused, isolated from the others, and brought back. [`url`](Self::url) leads to a node that can be
/// written to, and to another one when that node fails: it is the address of a proxy that follows the primary. All servers are
/// killed, and their files are removed, when this value is dropped.
///
/// The account of all URLs is `app` without a password, which cannot write to a read-only server; [`Node::connect`] is `root`.
///
/// ```no_run
/// use db_testkit::Cluster;
/// use db_testkit::mysql::{Conn, Opts, prelude::Queryable};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = Cluster::galera()?;                         // three nodes in 2 to 4 s, about 150 MB each
/// let mut conn = Conn::new(Opts::from_url(&cluster.url())?)?;
/// conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)")?;
/// conn.query_drop("INSERT INTO t VALUES (1)")?;
///
/// cluster.node(0).kill9()?;
/// cluster.wait_for_primary()?;                              // the proxy leads to another node now
/// let mut conn = Conn::new(Opts::from_url(&cluster.url())?)?;
/// conn.query_drop("INSERT INTO t VALUES (2)")?;
///
/// cluster.node(0).rejoin()?;
/// cluster.settled()?;                                       // every node has applied everything
/// for node in cluster.nodes() {
///     let rows: Vec<u32> = node.connect()?.query("SELECT id FROM t")?;
///     assert_eq!(rows, [1, 2]);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Cluster {
    // First, so that it ends before the nodes that it looks at.
    follower: Follower,
    shared: Arc<Shared>,
    databases: AtomicU32,
}

/// What the owner of a cluster and the thread that follows its primary share.
#[derive(Debug)]
struct Shared {
    topology: Topology,
    nodes: Vec<Node>,
    /// The node that is preferred where several can be written to; the primary of an asynchronous pair.
    primary: Arc<AtomicUsize>,
}

impl Cluster {
    /// Starts Galera with three nodes. See [`Topology::Galera`] for the packages.
    ///
    /// Failures are detected in about 2 s, where Galera's defaults take 6 to 9 s.
    ///
    /// # Errors
    ///
    /// As [`ClusterBuilder::start`].
    pub fn galera() -> Result<Cluster> {
        Cluster::builder(Topology::Galera).start()
    }

    /// Starts Group Replication with three members, one of which is the primary.
    ///
    /// # Errors
    ///
    /// As [`ClusterBuilder::start`].
    pub fn group_replication() -> Result<Cluster> {
        Cluster::builder(Topology::GroupSinglePrimary).start()
    }

    /// Starts a primary with an asynchronous replica.
    ///
    /// # Errors
    ///
    /// As [`ClusterBuilder::start`].
    pub fn asynchronous() -> Result<Cluster> {
        Cluster::builder(Topology::Asynchronous).start()
    }

    /// A cluster with options.
    ///
    /// ```no_run
    /// use db_testkit::{Cluster, Topology};
    ///
    /// let cluster = Cluster::builder(Topology::GroupMultiPrimary)
    ///     .arg("--max-connections=500")
    ///     .start()?;
    /// # Ok::<(), db_testkit::Error>(())
    /// ```
    pub fn builder(topology: Topology) -> ClusterBuilder {
        ClusterBuilder { topology, nodes: if topology == Topology::Asynchronous { 2 } else { 3 }, args: Vec::new() }
    }

    /// How the nodes replicate.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.shared.topology
    }

    /// All nodes, whatever their state.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.shared.nodes
    }

    /// A node by its index, from 0.
    ///
    /// # Panics
    ///
    /// If there is no such node.
    #[must_use]
    pub fn node(&self, index: usize) -> &Node {
        &self.shared.nodes[index]
    }

    /// The URL of the empty database `test` on a node that can be written to: `mysql://app@127.0.0.1:PORT/test`.
    ///
    /// A node that fails is noticed within 0.1 s (1 s if it is paused); its connections are reset then. Clients must stay on TCP: the
    /// `mysql` crate moves to the Unix socket of a local server unless told `prefer_socket=false`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for("test")
    }

    /// The same for a database by name.
    #[must_use]
    pub fn url_for(&self, database: &str) -> String {
        url(self.address(), database)
    }

    /// The URL with all nodes as hosts, the preferred one first: `mysql://app@127.0.0.1:PORT1,127.0.0.1:PORT2,…/test`.
    #[must_use]
    pub fn hosts_url(&self) -> String {
        let first = self.shared.primary.load(Ordering::SeqCst);
        let mut nodes: Vec<&Node> = self.nodes().iter().collect();
        nodes.rotate_left(first);
        let hosts: Vec<String> = nodes.iter().map(|node| node.address().to_string()).collect();
        format!("mysql://app@{}/test", hosts.join(","))
    }

    /// Where the proxy that follows the primary listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.follower.proxy().address()
    }

    /// The proxy that follows the primary. It does not read the protocol ([`ProxyBuilder::opaque`](crate::ProxyBuilder::opaque)).
    #[must_use]
    pub fn proxy(&self) -> &FaultProxy {
        self.follower.proxy()
    }

    /// The index of the node to which the proxy should lead now: the primary, or a node that can be written to, where there are
    /// several the preferred one. `None` if there is none.
    #[must_use]
    pub fn primary(&self) -> Option<usize> {
        self.shared.writable()
    }

    /// Waits until the proxy leads to a node that can be written to, and returns its index.
    ///
    /// # Errors
    ///
    /// [`Error::NotSettled`] after 90 s.
    pub fn wait_for_primary(&self) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.shared.writable();
            if let Some(index) = found
                && self.proxy().upstream() == self.node(index).address().into()
            {
                return Ok(index);
            }
            if Instant::now() > deadline {
                return Err(Error::NotSettled { waited: PATIENCE, last: "no node can be written to".into() });
            }
            thread::sleep(PAUSE);
        }
    }

    /// Makes a node the primary, or the preferred one where each can be written to.
    ///
    /// An asynchronous replica is promoted as it is: what it has not received is lost. The old primary, if it is running, becomes its
    /// replica. Call [`settled`](Self::settled) before to lose nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Mysql`] if the node refuses.
    pub fn promote(&self, index: usize) -> Result<()> {
        match self.shared.topology {
            Topology::Galera | Topology::GroupMultiPrimary => {}
            Topology::GroupSinglePrimary => group::promote(self.node(index))?,
            Topology::Asynchronous => replication::promote(&self.shared.nodes, &self.shared.primary, index)?,
        }
        self.shared.primary.store(index, Ordering::SeqCst);
        self.wait_for_primary().map(drop)
    }

    /// Brings back every node that is stopped, paused or isolated, and waits until all are ready. All nodes may be down.
    ///
    /// # Errors
    ///
    /// As [`Node::rejoin`].
    pub fn rejoin_all(&self) -> Result<()> {
        if self.nodes().iter().all(|node| node.pid().is_none()) {
            return self.shared.form();
        }
        self.shared.each(Node::rejoin)
    }

    /// Waits until every node that is running, and neither paused nor isolated, is ready.
    ///
    /// # Errors
    ///
    /// [`Error::NotReady`] after 90 s.
    pub fn wait_ready(&self) -> Result<()> {
        self.nodes().iter().filter(|node| node.is_reachable()).try_for_each(Node::wait_ready)
    }

    /// Waits until every node that is running, and neither paused nor isolated, is ready and has applied everything that has been committed
    /// on any of them.
    ///
    /// # Errors
    ///
    /// [`Error::NotReady`] or [`Error::NotSettled`] after 90 s.
    pub fn settled(&self) -> Result<()> {
        self.wait_ready()?;
        let reachable: Vec<&Node> = self.nodes().iter().filter(|node| node.is_reachable()).collect();
        match self.shared.topology {
            Topology::Galera => galera::settled(&reachable),
            Topology::GroupSinglePrimary | Topology::GroupMultiPrimary => group::settled(&reachable),
            Topology::Asynchronous => replication::settled(&reachable),
        }
    }

    /// Makes a new empty database (utf8mb4), waits until it is on every node, and returns its name.
    ///
    /// # Errors
    ///
    /// [`Error::NotSettled`] if there is no node to write to.
    pub fn create_database(&self) -> Result<String> {
        let primary = self.wait_for_primary()?;
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed) + 1);
        self.node(primary).connect()?.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"))?;
        self.settled()?;
        Ok(name)
    }
}

impl Shared {
    /// Starts all nodes, none of which is running, as one cluster.
    fn form(&self) -> Result<()> {
        match self.topology {
            Topology::Galera => {
                galera::restore_view(&self.nodes)?;
                self.each(Node::rejoin)
            }
            Topology::GroupSinglePrimary | Topology::GroupMultiPrimary => group::form(self),
            Topology::Asynchronous => {
                self.each(Node::start)?;
                replication::form(&self.nodes)
            }
        }
    }

    /// Does this with all nodes at the same time.
    fn each(&self, work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
        each(&self.nodes, work)
    }

    /// The node to write to, if there is one.
    fn writable(&self) -> Option<usize> {
        let preferred = self.primary.load(Ordering::SeqCst);
        let order = (0..self.nodes.len()).map(|offset| (preferred + offset) % self.nodes.len());
        order.into_iter().find(|&index| self.nodes[index].is_writable())
    }
}

/// Does this with all nodes at the same time; the first error in the order of the nodes is returned.
fn each(nodes: &[Node], work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = nodes.iter().map(|node| scope.spawn(move || work(node))).collect();
        let results: Vec<Result<()>> =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect();
        results.into_iter().collect()
    })
}

fn url(address: SocketAddr, database: &str) -> String {
    format!("mysql://app@{address}/{database}")
}

/// A connection as `root` for looking at a node, which may not reply.
fn probe(address: SocketAddr) -> mysql::Result<Conn> {
    connect("root", address)
}

/// The same as a client would.
fn app(address: SocketAddr) -> mysql::Result<Conn> {
    connect("app", address)
}

fn connect(user: &str, address: SocketAddr) -> mysql::Result<Conn> {
    const LIMIT: Option<Duration> = Some(Duration::from_secs(1));
    let opts: Opts = OptsBuilder::new()
        .ip_or_hostname(Some(address.ip().to_string()))
        .tcp_port(address.port())
        .user(Some(user))
        .prefer_socket(false)
        .max_allowed_packet(Some(16 << 20))
        .tcp_connect_timeout(LIMIT)
        .read_timeout(LIMIT)
        .write_timeout(LIMIT)
        .into();
    Conn::new(opts)
}
