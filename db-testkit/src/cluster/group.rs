//! MySQL Group Replication.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mysql::Conn;
use mysql::prelude::Queryable;

use super::node::{Member as AnyMember, Node, State};
use super::{ClusterBuilder, PATIENCE, PAUSE, Shared, Topology};
use crate::flavor::Program;
use crate::namespace::Namespace;
use crate::port::Port;
use crate::server::Server;
use crate::{Error, FaultProxy, Flavor, Result};

const GROUP: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

/// What the servers, which are ended without notice, need not keep is not flushed. A member that fails is expelled at once, and the cache
/// of messages is as small as it may be.
const OPTIONS: &[&str] = &[
    "--log-bin=binlog",
    "--sync-binlog=0",
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--performance-schema=ON",
    "--persisted-globals-load=OFF",
    "--report-host=127.0.0.1",
    "--plugin-load-add=group_replication.so",
    // A member that comes back, and is not in the group yet, must not accept writes: it could never join then. The primary turns this off.
    "--super-read-only=ON",
    "--group-replication-start-on-boot=OFF",
    "--group-replication-bootstrap-group=OFF",
    "--group-replication-recovery-get-public-key=ON",
    "--group-replication-ip-allowlist=127.0.0.1",
    "--group-replication-member-expel-timeout=0",
    "--group-replication-message-cache-size=134217728",
];

const MULTI_PRIMARY: &[&str] = &["--group-replication-single-primary-mode=OFF", "--group-replication-enforce-update-everywhere-checks=ON"];

/// The account with which a member gets from another what it has missed.
const RECOVERY_USER: [&str; 2] = [
    "CREATE USER IF NOT EXISTS repl@'127.0.0.1' IDENTIFIED BY 'repl'",
    "GRANT REPLICATION SLAVE, CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO repl@'127.0.0.1'",
];

#[derive(Debug)]
pub(super) struct Member {
    /// How clients reach a server in its namespace.
    _front: Option<FaultProxy>,
    /// How it reaches the others, and they it, if each is in its namespace.
    links: Vec<Arc<Link>>,
}

/// The way from one server to another.
#[derive(Debug)]
struct Link {
    proxy: FaultProxy,
    /// How many of its two ends are isolated.
    isolated: AtomicUsize,
}

impl Member {
    fn cut(&self) {
        for link in &self.links {
            if link.isolated.fetch_add(1, Ordering::SeqCst) == 0 {
                link.proxy.refuse_connections(true);
            }
            link.proxy.cut_all();
        }
    }

    /// Undoes [`cut`](Self::cut).
    pub(super) fn mend(&self) {
        for link in &self.links {
            if link.isolated.fetch_sub(1, Ordering::SeqCst) == 1 {
                link.proxy.refuse_connections(false);
            }
        }
    }
}

/// Makes the nodes, none of which is started.
pub(super) fn prepare(builder: &ClusterBuilder) -> Result<Vec<Node>> {
    let program = Program::find(Flavor::MySql)?;
    let groups = (0..builder.nodes).map(|_| Port::reserve()).collect::<Result<Vec<_>>>()?;
    let seeds: Vec<String> = groups.iter().map(|port| local(port).to_string()).collect();
    // Where they cannot be made, members cannot be isolated.
    let namespaces = (0..builder.nodes).map(|_| Namespace::create()).collect::<Result<Vec<_>>>().unwrap_or_default();
    let mut servers = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let program = Program { namespace: namespaces.get(index).cloned(), ..program.clone() };
        let mut server = Server::builder().prepare(program)?;
        OPTIONS.iter().for_each(|option| server.add_arg(option));
        if builder.topology == Topology::GroupMultiPrimary {
            MULTI_PRIMARY.iter().for_each(|option| server.add_arg(option));
        }
        server.add_arg(format!("--server-id={}", index + 1));
        server.add_arg(format!("--report-port={}", server.port()));
        server.add_arg(format!("--group-replication-group-name={GROUP}"));
        server.add_arg(format!("--group-replication-local-address={}", local(group)));
        server.add_arg(format!("--group-replication-group-seeds={}", seeds.join(",")));
        builder.args.iter().for_each(|arg| server.add_arg(arg));
        servers.push(server);
    }
    let mut members = connect(&servers, &groups, &namespaces)?.into_iter();
    let node = |(index, (server, port))| {
        let member = members.next().unwrap_or_else(|| Member { _front: None, links: Vec::new() });
        Node::new(index, server, AnyMember::Group(member), vec![port])
    };
    Ok(servers.into_iter().zip(groups).enumerate().map(node).collect())
}

/// Makes the ways between namespaces: to each server from each other one and from this process.
fn connect(servers: &[Server], groups: &[Port], namespaces: &[Namespace]) -> Result<Vec<Member>> {
    let mut links = vec![Vec::new(); namespaces.len()];
    for (from, source) in namespaces.iter().enumerate() {
        for (to, target) in namespaces.iter().enumerate().filter(|(to, _)| *to != from) {
            for address in [servers[to].address(), local(&groups[to])] {
                let proxy = FaultProxy::link(address, Some(source), target)?;
                let link = Arc::new(Link { proxy, isolated: AtomicUsize::new(0) });
                links[from].push(Arc::clone(&link));
                links[to].push(link);
            }
        }
    }
    let fronts = servers.iter().zip(namespaces).map(|(server, namespace)| FaultProxy::link(server.address(), None, namespace));
    fronts.zip(links).map(|(front, links)| Ok(Member { _front: Some(front?), links })).collect()
}

fn local(port: &Port) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port.number()).into()
}

/// Starts all members, none of which is running. The one that has executed most founds the group.
pub(super) fn form(shared: &Shared) -> Result<()> {
    shared.each(Node::start)?;
    let mut executed = Vec::new();
    for node in &shared.nodes {
        executed.push(node.connect()?.query_first::<String, _>("SELECT @@gtid_executed")?.unwrap_or_default());
    }
    let mut conn = shared.nodes[0].connect()?;
    let mut founder = 0;
    for (index, candidate) in executed.iter().enumerate().skip(1) {
        let has_all: Option<bool> = conn.exec_first("SELECT GTID_SUBSET(?, ?)", (&executed[founder], candidate))?;
        let lacks: Option<bool> = conn.exec_first("SELECT GTID_SUBSET(?, ?)", (candidate, &executed[founder]))?;
        if has_all == Some(true) && lacks == Some(false) {
            founder = index;
        }
    }
    let founder = &shared.nodes[founder];
    join(founder, true)?;
    founder.wait_ready()?;
    let mut conn = founder.connect()?;
    for statement in RECOVERY_USER {
        conn.query_drop(statement)?;
    }
    shared.each(|node| if node.index == founder.index { Ok(()) } else { node.rejoin() })
}

/// Starts Group Replication on a server until it is a member, or its time is over.
pub(super) fn join(node: &Node, found: bool) -> Result<()> {
    let mut conn = node.connect()?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let state = state(&mut conn)?;
        if state.ready {
            return Ok(());
        }
        // Refused while an automatic attempt is under way, or where there is nothing to stop: then the start says what is wrong.
        let _ = conn.query_drop("STOP GROUP_REPLICATION");
        conn.query_drop(
            "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'repl', SOURCE_PASSWORD = 'repl' FOR CHANNEL 'group_replication_recovery'",
        )?;
        conn.query_drop(format!("SET GLOBAL group_replication_bootstrap_group = {}", if found { "ON" } else { "OFF" }))?;
        let started = conn.query_drop("START GROUP_REPLICATION");
        conn.query_drop("SET GLOBAL group_replication_bootstrap_group = OFF")?;
        // 3092: the group has not expelled the member's former self yet.
        while started.is_ok() && Instant::now() < deadline {
            match member_state(&mut conn)?.as_str() {
                "ONLINE" => return Ok(()),
                "RECOVERING" => thread::sleep(PAUSE),
                _ => break,
            }
        }
        thread::sleep(Duration::from_millis(500));
    }
    // `wait_ready` reports what the member says.
    Ok(())
}

fn member_state(conn: &mut Conn) -> mysql::Result<String> {
    let state =
        conn.query_first("SELECT MEMBER_STATE FROM performance_schema.replication_group_members WHERE MEMBER_ID = @@server_uuid")?;
    Ok(state.unwrap_or_default())
}

/// A member that is in a majority.
pub(super) fn state(conn: &mut Conn) -> mysql::Result<State> {
    type Found = (Option<String>, Option<bool>, bool, Option<String>);
    let found: Option<Found> = conn.query_first(
        "SELECT MAX(IF(MEMBER_ID = @@server_uuid, MEMBER_STATE, NULL)),
                2 * SUM(MEMBER_STATE IN ('ONLINE', 'RECOVERING')) > COUNT(*),
                @@super_read_only,
                GROUP_CONCAT(MEMBER_PORT, ' ', MEMBER_STATE, ' ', MEMBER_ROLE)
         FROM performance_schema.replication_group_members",
    )?;
    let (state, majority, read_only, described) = found.unwrap_or_default();
    let ready = state.as_deref() == Some("ONLINE") && majority == Some(true);
    Ok(State { ready, writable: ready && !read_only, described: described.unwrap_or_default() })
}

pub(super) fn promote(node: &Node) -> Result<()> {
    Ok(node.connect()?.query_drop("DO group_replication_set_as_primary(@@server_uuid)")?)
}

/// Cuts a member off, and waits until it sees that it has no majority.
pub(super) fn isolate(node: &Node, member: &Member) -> Result<()> {
    if member.links.is_empty() {
        return Err(Error::Unsupported(
            "a member can be isolated where network namespaces can be made: as root, with unshare and ip".into(),
        ));
    }
    member.cut();
    let deadline = Instant::now() + PATIENCE;
    while node.ready() {
        if Instant::now() > deadline {
            return Err(Error::NotSettled { waited: PATIENCE, last: "an isolated member sees a majority".into() });
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Each member has executed what any has.
pub(super) fn settled(nodes: &[&Node]) -> Result<()> {
    let mut conns = Vec::new();
    for node in nodes {
        conns.push((node, node.connect()?));
    }
    let mut executed = Vec::new();
    for (_, conn) in &mut conns {
        executed.push(conn.query_first::<String, _>("SELECT @@gtid_executed")?.unwrap_or_default());
    }
    for (node, conn) in &mut conns {
        for set in &executed {
            let waited: Option<i64> = conn.exec_first("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)", (set, PATIENCE.as_secs()))?;
            if waited != Some(0) {
                return Err(Error::NotSettled { waited: PATIENCE, last: format!("node {} has not executed {set}", node.index) });
            }
        }
    }
    Ok(())
}
