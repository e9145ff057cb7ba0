//! Asynchronous replication: a MariaDB primary and read-only replicas.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mysql::prelude::Queryable;
use mysql::{Conn, Row};

use super::node::{Member as AnyMember, Node, State};
use super::{ClusterBuilder, PATIENCE, each};
use crate::flavor::Program;
use crate::server::Server;
use crate::{Error, Flavor, Result};

const OPTIONS: &[&str] = &["--log-bin=binlog", "--binlog-format=ROW", "--log-slave-updates", "--slave-net-timeout=5"];

/// The account with which a replica reads from its primary. It is not replicated itself.
const REPLICATION_USER: [&str; 3] = [
    "SET SESSION sql_log_bin = 0",
    "CREATE USER IF NOT EXISTS repl@'127.0.0.1' IDENTIFIED BY ''",
    "GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'",
];

#[derive(Debug)]
pub(super) struct Member {
    index: usize,
    primary: Arc<AtomicUsize>,
    addresses: Arc<[SocketAddr]>,
}

impl Member {
    fn is_primary(&self) -> bool {
        self.primary.load(Ordering::SeqCst) == self.index
    }

    fn source(&self) -> SocketAddr {
        self.addresses[self.primary.load(Ordering::SeqCst)]
    }
}

/// Makes the nodes, none of which is started.
pub(super) fn prepare(builder: &ClusterBuilder, primary: &Arc<AtomicUsize>) -> Result<Vec<Node>> {
    let program = Program::find(Flavor::MariaDb)?;
    let mut servers = Vec::new();
    for index in 0..builder.nodes {
        let mut server = Server::builder().prepare(program.clone())?;
        OPTIONS.iter().for_each(|option| server.add_arg(option));
        server.add_arg(format!("--server-id={}", index + 1));
        builder.args.iter().for_each(|arg| server.add_arg(arg));
        servers.push(server);
    }
    let addresses: Arc<[SocketAddr]> = servers.iter().map(Server::address).collect();
    let node = |(index, server)| {
        let member = Member { index, primary: Arc::clone(primary), addresses: Arc::clone(&addresses) };
        Node::new(index, server, AnyMember::Asynchronous(member), Vec::new())
    };
    Ok(servers.into_iter().enumerate().map(node).collect())
}

/// Whether a server begins as a read-only one.
pub(super) fn launch_args(member: &Member) -> Vec<OsString> {
    vec![if member.is_primary() { "--read-only=OFF" } else { "--read-only=ON" }.into()]
}

/// Makes one of the running servers the primary of the others.
pub(super) fn form(nodes: &[Node]) -> Result<()> {
    each(nodes, |node| match &node.member {
        AnyMember::Asynchronous(member) => join(node, member),
        _ => Ok(()),
    })?;
    nodes.iter().try_for_each(Node::wait_ready)
}

/// Lets a server replicate from the primary, unless it is that.
pub(super) fn join(node: &Node, member: &Member) -> Result<()> {
    let mut conn = node.connect()?;
    for statement in REPLICATION_USER {
        conn.query_drop(statement)?;
    }
    conn.query_drop("ALTER USER repl@'127.0.0.1' ACCOUNT UNLOCK")?;
    conn.query_drop("STOP SLAVE")?;
    if member.is_primary() {
        return Ok(conn.query_drop("SET GLOBAL read_only = OFF")?);
    }
    conn.query_drop("SET GLOBAL read_only = ON")?;
    let source = member.source();
    // The current position, since a former primary has executed what is in no replica's position.
    conn.query_drop(format!(
        "CHANGE MASTER TO MASTER_HOST = '{}', MASTER_PORT = {}, MASTER_USER = 'repl', MASTER_PASSWORD = '', MASTER_CONNECT_RETRY = 1, \
         MASTER_HEARTBEAT_PERIOD = 1, MASTER_USE_GTID = current_pos",
        source.ip(),
        source.port()
    ))?;
    Ok(conn.query_drop("START SLAVE")?)
}

pub(super) fn state(conn: &mut Conn, member: &Member) -> mysql::Result<State> {
    let read_only: bool = conn.query_first("SELECT @@read_only")?.unwrap_or(true);
    if member.is_primary() {
        let described = if read_only { "a primary that is read-only" } else { "the primary" }.into();
        return Ok(State { ready: !read_only, writable: !read_only, described });
    }
    let status: Option<Row> = conn.query_first("SHOW SLAVE STATUS")?;
    let value = |name: &str| status.as_ref().and_then(|row| row.get::<Option<String>, _>(name)).flatten().unwrap_or_default();
    let (receiver, applier) = (value("Slave_IO_Running"), value("Slave_SQL_Running"));
    let described = format!("receiver: {receiver} {}, applier: {applier} {}", value("Last_IO_Error"), value("Last_SQL_Error"));
    Ok(State { ready: receiver == "Yes" && applier == "Yes", writable: false, described })
}

/// Stops replication from and to this server.
pub(super) fn isolate(node: &Node) -> Result<()> {
    let mut conn = node.connect()?;
    for statement in ["SET SESSION sql_log_bin = 0", "ALTER USER repl@'127.0.0.1' ACCOUNT LOCK", "STOP SLAVE"] {
        conn.query_drop(statement)?;
    }
    let readers: Vec<u64> = conn.query("SELECT id FROM information_schema.processlist WHERE user = 'repl'")?;
    for id in readers {
        match conn.query_drop(format!("KILL {id}")) {
            // It has ended in the meantime.
            Err(mysql::Error::MySqlError(error)) if error.code == 1094 => {}
            result => result?,
        }
    }
    Ok(())
}

/// Makes a replica the primary as it is. The others that run become its replicas.
pub(super) fn promote(nodes: &[Node], primary: &AtomicUsize, index: usize) -> Result<()> {
    let others = || nodes.iter().filter(|node| node.index != index && node.is_reachable());
    for other in others() {
        other.connect()?.query_drop("SET GLOBAL read_only = ON")?;
    }
    let mut conn = nodes[index].connect()?;
    conn.query_drop("STOP SLAVE")?;
    conn.query_drop("RESET SLAVE ALL")?;
    conn.query_drop("SET GLOBAL read_only = OFF")?;
    primary.store(index, Ordering::SeqCst);
    others().try_for_each(|node| match &node.member {
        AnyMember::Asynchronous(member) => join(node, member),
        _ => Ok(()),
    })
}

/// The replicas have applied what is in the primary's log, if that is running.
pub(super) fn settled(nodes: &[&Node]) -> Result<()> {
    let is_primary = |node: &Node| matches!(&node.member, AnyMember::Asynchronous(member) if member.is_primary());
    let Some(primary) = nodes.iter().find(|node| is_primary(node)) else { return Ok(()) };
    let position: String = primary.connect()?.query_first("SELECT @@gtid_current_pos")?.unwrap_or_default();
    for replica in nodes.iter().filter(|node| !is_primary(node)) {
        let waited: Option<i64> = replica.connect()?.exec_first("SELECT MASTER_GTID_WAIT(?, ?)", (&position, PATIENCE.as_secs()))?;
        if waited != Some(0) {
            return Err(Error::NotSettled { waited: PATIENCE, last: format!("node {} has not applied {position}", replica.index) });
        }
    }
    Ok(())
}
