//! A cluster under fire: which node each line leads to, and what is done to the nodes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use db_core::mysql::prelude::Queryable;
use db_testkit::{Balance, Balancer, Cluster, Error, FaultProxy, HealthCheck, Node, Topology, Upstream};
use fastrand::Rng;

use crate::Run;

/// How often the nodes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a node stays away. A member that asks to join its group before its former self was expelled waits for minutes.
const AWAY: Duration = Duration::from_secs(5);
const AWAY_FROM_GROUP: Duration = Duration::from_secs(10);

/// How long it may take until the cluster is whole again, and how long it may have no node that is ready.
const MENDED_WITHIN: Duration = Duration::from_secs(300);
const NONE_READY: Duration = Duration::from_secs(30);

/// Rows of the transaction that keeps the other nodes' appliers busy.
const BULK_ROWS: u32 = 20_000;

/// As on a single server, and longer than a fault of a node: a session whose client has vanished without a word, which a client behind a proxy
/// cannot end, holds its locks until the server misses it.
const OPTIONS: [&str; 3] = ["--wait-timeout=6", "--innodb-lock-wait-timeout=2", "--max-connections=600"];

/// Which cluster, and how it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Every node is written to.
    Galera,
    /// Through HAProxy, which uses the first node that its agent calls ready.
    Haproxy,
    /// One primary, which the connections follow.
    GroupReplication,
    /// Every member is written to.
    MultiPrimary,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Galera => "galera",
            Kind::Haproxy => "haproxy",
            Kind::GroupReplication => "group-replication",
            Kind::MultiPrimary => "multi-primary",
        }
    }
}

/// A cluster, and what is in front of it.
pub(crate) struct Nodes {
    pub(crate) kind: Kind,
    // Before the cluster, whose nodes it uses.
    balancer: Option<Balancer>,
    pub(crate) cluster: Cluster,
    next: AtomicUsize,
}

/// What happens to a node, or to several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeFault {
    KillInUse,
    KillRandom,
    Stop,
    Freeze,
    Isolate,
    LoseQuorum,
    SlowApplier,
    StoppedApplier,
    Maintenance,
}

impl NodeFault {
    /// In turn, so that each happens.
    pub(crate) fn nth(number: usize, kind: Kind) -> Self {
        const FAILURES: [NodeFault; 6] =
            [NodeFault::KillInUse, NodeFault::Freeze, NodeFault::Isolate, NodeFault::KillRandom, NodeFault::Stop, NodeFault::LoseQuorum];
        const OTHERS: [NodeFault; 3] = [NodeFault::SlowApplier, NodeFault::StoppedApplier, NodeFault::Maintenance];
        if number.is_multiple_of(2) {
            return FAILURES[number / 2 % FAILURES.len()];
        }
        let others = if kind == Kind::Haproxy { &OTHERS[..] } else { &OTHERS[..2] };
        others[number / 2 % others.len()]
    }

    /// Whether a node is lost for a while.
    pub(crate) fn is_failure(self) -> bool {
        !matches!(self, NodeFault::SlowApplier | NodeFault::StoppedApplier | NodeFault::Maintenance)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            NodeFault::KillInUse => "kill -9 of the node in use",
            NodeFault::KillRandom => "kill -9 of a random node",
            NodeFault::Stop => "SIGTERM of the node in use",
            NodeFault::Freeze => "SIGSTOP of the node in use",
            NodeFault::Isolate => "isolation of the node in use",
            NodeFault::LoseQuorum => "quorum loss: SIGSTOP of the two others",
            NodeFault::SlowApplier => "a transaction of 20,000 rows",
            NodeFault::StoppedApplier => "a node that applies nothing, 1 s",
            NodeFault::Maintenance => "maintenance of the node in use",
        }
    }
}

impl Nodes {
    pub(crate) fn start(kind: Kind) -> Result<Self, Error> {
        let topology = match kind {
            Kind::Galera | Kind::Haproxy => Topology::Galera,
            Kind::GroupReplication => Topology::GroupSinglePrimary,
            Kind::MultiPrimary => Topology::GroupMultiPrimary,
        };
        let cluster = OPTIONS.iter().fold(Cluster::builder(topology), |builder, option| builder.arg(option)).start()?;
        let balancer = match kind {
            Kind::Haproxy => Some(cluster.haproxy(HealthCheck::Agent, Balance::FirstAvailable)?),
            _ => None,
        };
        Ok(Self { kind, balancer, cluster, next: AtomicUsize::new(0) })
    }

    /// Without a proxy.
    pub(crate) fn url(&self) -> String {
        self.balancer.as_ref().map_or_else(|| self.cluster.url(), Balancer::url)
    }

    fn away(&self) -> Duration {
        match self.kind {
            Kind::Galera | Kind::Haproxy => AWAY,
            Kind::GroupReplication | Kind::MultiPrimary => AWAY_FROM_GROUP,
        }
    }

    fn is_direct(&self) -> bool {
        matches!(self.kind, Kind::Galera | Kind::MultiPrimary)
    }

    /// A proxy that leads to the nodes: each to another node, where every node is written to.
    pub(crate) fn proxy(&self) -> Result<FaultProxy, Error> {
        if self.is_direct() {
            let next = self.next.fetch_add(1, Ordering::Relaxed) % self.cluster.nodes().len();
            return self.cluster.node(next).proxy();
        }
        FaultProxy::start(self.balancer.as_ref().map_or_else(|| self.cluster.address(), Balancer::address))
    }

    /// Lets the proxy's next connection go to another node, where every node is written to.
    pub(crate) fn move_on(&self, proxy: &FaultProxy) -> bool {
        if !self.is_direct() {
            return false;
        }
        let nodes = self.cluster.nodes();
        let now = self.led_to(proxy).unwrap_or(0);
        let other = (1..nodes.len()).map(|step| &nodes[(now + step) % nodes.len()]).find(|node| node.ready());
        other.iter().for_each(|node| proxy.set_upstream(node.address()));
        other.is_some()
    }

    fn led_to(&self, proxy: &FaultProxy) -> Option<usize> {
        let upstream = proxy.upstream();
        self.cluster.nodes().iter().position(|node| Upstream::from(node.address()) == upstream)
    }

    /// New connections go to nodes that are ready; open ones find out by themselves.
    pub(crate) fn steer(&self, run: &Run) {
        while self.is_direct() && !run.is_over() {
            let nodes = self.cluster.nodes();
            let ready: Vec<usize> = (0..nodes.len()).filter(|index| nodes[*index].ready()).collect();
            for (number, proxy) in run.lines().filter_map(|line| line.proxy.as_ref()).enumerate() {
                let leads_to_ready = self.led_to(proxy).is_some_and(|index| ready.contains(&index));
                if let (false, Some(index)) = (leads_to_ready, ready.get(number % ready.len().max(1))) {
                    proxy.set_upstream(nodes[*index].address());
                }
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The node that is written to, or one of them.
    fn in_use(&self, run: &Run) -> Result<usize, Error> {
        let led_to = run.lines().find_map(|line| self.led_to(line.proxy.as_ref()?));
        led_to.map_or_else(|| self.cluster.wait_for_primary(), Ok)
    }

    /// Does it, and makes the cluster whole again.
    pub(crate) fn strike(&self, run: &Run, fault: NodeFault, rng: &mut Rng) -> Result<(), Error> {
        let index = self.in_use(run)?;
        let node = self.cluster.node(index);
        run.tally.fault_begins(fault.name(), fault.is_failure());
        match fault {
            NodeFault::KillInUse => node.kill9()?,
            NodeFault::KillRandom => self.cluster.node(rng.usize(0..self.cluster.nodes().len())).kill9()?,
            // Group Replication may take longer than the kit waits: the server has been killed then.
            NodeFault::Stop => match node.stop() {
                Ok(()) | Err(Error::NotStopped { .. }) => {}
                Err(error) => return Err(error),
            },
            NodeFault::Freeze => node.pause()?,
            NodeFault::Isolate => node.isolate()?,
            NodeFault::LoseQuorum => self.others(index).try_for_each(Node::pause)?,
            NodeFault::SlowApplier => insistently(|| self.keep_appliers_busy(node))?,
            NodeFault::StoppedApplier => insistently(|| self.stop_applier(index))?,
            NodeFault::Maintenance => self.set_maintenance(index, true)?,
        }
        if fault.is_failure() || fault == NodeFault::Maintenance {
            thread::sleep(self.away());
        }
        if fault == NodeFault::Maintenance {
            self.set_maintenance(index, false)?;
        }
        self.mend()?;
        run.tally.fault_ends();
        // Work goes on for a while without a fault.
        thread::sleep(Duration::from_secs(1));
        run.tally.gap_ends();
        Ok(())
    }

    fn others(&self, index: usize) -> impl Iterator<Item = &Node> {
        self.cluster.nodes().iter().enumerate().filter(move |(other, _)| *other != index).map(|(_, node)| node)
    }

    fn set_maintenance(&self, index: usize, maintenance: bool) -> Result<(), Error> {
        self.balancer.iter().try_for_each(|balancer| balancer.set_maintenance(index, maintenance))
    }

    fn keep_appliers_busy(&self, node: &Node) -> Result<(), Error> {
        let mut conn = node.connect()?;
        conn.query_drop("CREATE TABLE IF NOT EXISTS db_core_bulk (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL)")?;
        let digits = "(SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 \
                      UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
        let joined: Vec<String> = (0..5).map(|number| format!("{digits} d{number}")).collect();
        conn.query_drop(format!("INSERT INTO db_core_bulk (n) SELECT d0.n FROM {} LIMIT {BULK_ROWS}", joined.join(", ")))?;
        Ok(())
    }

    /// Of a node that is not the one in use.
    fn stop_applier(&self, in_use: usize) -> Result<(), Error> {
        let Some(node) = self.others(in_use).next() else { return Ok(()) };
        let mut conn = node.connect()?;
        conn.query_drop("FLUSH TABLES WITH READ LOCK")?;
        thread::sleep(Duration::from_secs(1));
        Ok(conn.query_drop("UNLOCK TABLES")?)
    }

    /// A member that comes back while the group has no majority may fail and be started again.
    pub(crate) fn mend(&self) -> Result<(), Error> {
        let deadline = Instant::now() + MENDED_WITHIN;
        loop {
            match self.rejoin() {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(error) => {
                    eprintln!("a node did not come back, and is started again: {error}");
                    self.kill(|node| !node.ready())?;
                }
            }
        }
    }

    /// Where every member has left its group, as on a machine that is too busy for its messages, there is none to join: all are killed,
    /// so that they form one as after a power failure.
    fn rejoin(&self) -> Result<usize, Error> {
        thread::scope(|scope| {
            let rejoined = scope.spawn(|| self.cluster.rejoin_all().and_then(|()| self.cluster.wait_for_primary()));
            let mut last_ready = Instant::now();
            while !rejoined.is_finished() {
                thread::sleep(LOOK_EVERY);
                if self.cluster.nodes().iter().any(Node::ready) {
                    last_ready = Instant::now();
                } else if last_ready.elapsed() > NONE_READY {
                    eprintln!("no node is ready: all are started again");
                    self.kill(|_| true)?;
                    last_ready = Instant::now() + MENDED_WITHIN;
                }
            }
            rejoined.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn kill(&self, which: impl Fn(&Node) -> bool) -> Result<(), Error> {
        self.cluster.nodes().iter().filter(|node| which(node)).try_for_each(|node| match node.kill9() {
            Err(Error::NotRunning) => Ok(()),
            killed => killed,
        })
    }
}

/// On a machine that is too busy for its messages a node may lose its quorum for a moment, and refuse this.
fn insistently(mut work: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    let deadline = Instant::now() + MENDED_WITHIN;
    loop {
        match work() {
            Err(error) if Instant::now() < deadline => eprintln!("a node is not ready for its fault: {error}"),
            done => return done,
        }
        thread::sleep(LOOK_EVERY);
    }
}
