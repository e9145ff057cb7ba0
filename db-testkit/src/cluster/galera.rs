//! Galera: nodes of MariaDB that certify each other's commits.
//!
//! All nodes get the same data, the same position in the group's history, and the record of a view that has all of them. So they form
//! a primary component as after a power failure, without a bootstrap and without a state transfer: 2 s instead of 10.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use mysql::Conn;
use mysql::prelude::Queryable;

use super::node::{Member, Node, State};
use super::{ClusterBuilder, PATIENCE, PAUSE, probe};
use crate::error::Doing;
use crate::flavor::Program;
use crate::port::Port;
use crate::search::in_path;
use crate::server::Server;
use crate::{Error, Flavor, Result};

/// The directory of the scripts of `mariadb-server`, where that package is not installed.
const SCRIPTS_VARIABLE: &str = "DB_TESTKIT_GALERA_SCRIPTS";
/// `wsrep_sst_common` is read by the other.
const SCRIPTS: [&str; 2] = ["wsrep_sst_rsync", "wsrep_sst_common"];
/// The scripts ask `my_print_defaults`, of another package, for the options in files. These servers read none.
const NO_DEFAULTS: &str = "#!/bin/sh\nexit 0\n";
const PROVIDERS: [&str; 4] = [
    "/usr/lib/galera/libgalera_smm.so",
    "/usr/lib/galera-4/libgalera_smm.so",
    "/usr/lib64/galera-4/libgalera_smm.so",
    "/usr/lib64/galera/libgalera_smm.so",
];

/// The history that all nodes begin with.
const HISTORY: &str = "11111111-2222-11f0-9000-aaaaaaaaaaaa";

/// Failures are detected in 2 s instead of 6 to 9.
const DETECTOR: &str = "evs.suspect_timeout=PT1.5S;evs.inactive_timeout=PT3S;evs.install_timeout=PT3S;\
     evs.keepalive_period=PT0.3S;evs.inactive_check_period=PT0.3S";

const OPTIONS: &[&str] =
    &["--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", "--wsrep-node-address=127.0.0.1", "--wsrep-sst-method=rsync"];

/// Makes the nodes, none of which is started.
pub(super) fn prepare(builder: &ClusterBuilder) -> Result<Vec<Node>> {
    let program = Program::find(Flavor::MariaDb)?;
    if program.root.is_some() {
        return Err(Error::Unsupported("Galera's scripts do not work in a directory tree; unset DB_TESTKIT_MARIADB_ROOT".into()));
    }
    let provider = provider()?;
    let scripts = scripts()?;
    let groups = (0..builder.nodes).map(|_| Port::reserve()).collect::<Result<Vec<_>>>()?;
    let addresses: Vec<String> = groups.iter().map(|port| local(port).to_string()).collect();
    let cluster = [
        format!("--wsrep-cluster-name=db-testkit-{}", groups.first().map_or(0, Port::number)),
        format!("--wsrep-cluster-address=gcomm://{}", addresses.join(",")),
        format!("--wsrep-provider={}", provider.display()),
    ];
    let mut nodes = Vec::new();
    for (index, group) in groups.into_iter().enumerate() {
        let mut server = Server::builder().prepare(program.clone())?;
        let (incremental, full) = (Port::reserve()?, Port::reserve()?);
        OPTIONS.iter().for_each(|option| server.add_arg(option));
        cluster.iter().for_each(|option| server.add_arg(option));
        server.add_arg(format!("--wsrep-node-name=n{index}"));
        server.add_arg(format!("--wsrep-sst-receive-address={}", local(&full)));
        server.add_arg(format!(
            "--wsrep-provider-options=base_port={};gmcast.listen_addr=tcp://{};ist.recv_addr={};gcache.size=32M;gcache.recover=yes;{DETECTOR}",
            group.number(),
            local(&group),
            local(&incremental)
        ));
        builder.args.iter().for_each(|arg| server.add_arg(arg));

        let own = server.home().directory().join("scripts");
        fs::create_dir(&own).doing(|| format!("making {}", own.display()))?;
        for (name, script) in SCRIPTS.iter().zip(&scripts) {
            fs::copy(script, own.join(name)).doing(|| format!("copying {}", script.display()))?;
        }
        let defaults = own.join("my_print_defaults");
        fs::write(&defaults, NO_DEFAULTS).doing(|| format!("writing {}", defaults.display()))?;
        fs::set_permissions(&defaults, Permissions::from_mode(0o755)).doing(|| format!("opening {}", defaults.display()))?;
        let state = server.home().data().join("grastate.dat");
        fs::write(&state, format!("# GALERA saved state\nversion: 2.1\nuuid:    {HISTORY}\nseqno:   0\nsafe_to_bootstrap: 0\n"))
            .doing(|| format!("writing {}", state.display()))?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(own.clone()).chain(std::env::split_paths(&path)));
        server.set_path(path.map_err(std::io::Error::other).doing(|| "extending PATH".into())?);
        nodes.push(Node::new(index, server, Member::Galera, vec![group, incremental, full]));
    }
    for node in &mut nodes {
        node.server.drop_privileges()?;
    }
    Ok(nodes)
}

fn local(port: &Port) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port.number()).into()
}

/// Galera's library.
fn provider() -> Result<PathBuf> {
    let found = PROVIDERS.iter().map(Path::new).find(|path| path.is_file());
    found.map(Path::to_owned).ok_or_else(|| missing("Galera", "galera-4"))
}

/// The files of [`SCRIPTS`]. A node that comes back needs them, and the programs that they use.
fn scripts() -> Result<Vec<PathBuf>> {
    for name in ["rsync", "lsof"] {
        in_path(name).ok_or_else(|| missing(name, name))?;
    }
    let directory = match std::env::var_os(SCRIPTS_VARIABLE) {
        Some(directory) => Some(PathBuf::from(directory)),
        None => in_path(SCRIPTS[0]).and_then(|script| script.parent().map(Path::to_owned)),
    };
    let files: Option<Vec<PathBuf>> = directory.map(|directory| SCRIPTS.iter().map(|name| directory.join(name)).collect());
    files.filter(|files| files.iter().all(|file| file.is_file())).ok_or_else(|| Error::Missing {
        what: "Galera's script wsrep_sst_rsync".into(),
        cure: format!(
            "apt-get install --no-install-recommends mariadb-server, or without installing a server: apt-get download mariadb-server \
             && dpkg -x mariadb-server_*.deb DIR, and set {SCRIPTS_VARIABLE}=DIR/usr/bin"
        ),
    })
}

fn missing(what: &str, package: &str) -> Error {
    Error::Missing { what: what.into(), cure: format!("apt-get install --no-install-recommends {package}") }
}

/// Writes the record of a view that has all nodes, so that they form a primary component when all have started.
pub(super) fn restore_view(nodes: &[Node]) -> Result<()> {
    // The node with the longest history must be among those from whom others can get what they lack: all are, so any order does.
    let id = |index: usize| format!("6f5e3a10-0000-11f0-8000-0000000000{index:02}");
    let members: String = nodes.iter().map(|node| format!("member: {} 0\n", id(node.index))).collect();
    for node in nodes {
        let path = view_file(node);
        let view = format!("my_uuid: {}\n#vwbeg\nview_id: 3 {} 1\nbootstrap: 0\n{members}#vwend\n", id(node.index), id(0));
        fs::write(&path, view).doing(|| format!("writing {}", path.display()))?;
        node.server.give(&path)?;
        node.set_forming();
    }
    Ok(())
}

fn view_file(node: &Node) -> PathBuf {
    node.server.home().data().join("gvwstate.dat")
}

/// The options of the next start: the position in the history, if the server was killed.
pub(super) fn launch_args(node: &Node, forming: bool) -> Result<Vec<OsString>> {
    let view = view_file(node);
    // A node that came back by its old name, before the others have noticed that it was gone, would be shut out and end.
    if !forming && view.exists() {
        fs::remove_file(&view).doing(|| format!("removing {}", view.display()))?;
    }
    let state = node.server.home().data().join("grastate.dat");
    let saved = fs::read_to_string(&state).unwrap_or_default();
    if !saved.lines().any(|line| line.split_whitespace().eq(["seqno:", "-1"])) {
        return Ok(Vec::new());
    }
    // Without its position a node asks for a full state transfer.
    let output = node
        .server
        .command()
        .args(["--skip-networking", "--wsrep-recover"])
        .stdin(Stdio::null())
        .output()
        .doing(|| "asking a server for its position".into())?;
    let log = String::from_utf8_lossy(&output.stderr);
    let position = log.rsplit("Recovered position: ").next().filter(|_| log.contains("Recovered position: "));
    let position = position.and_then(|rest| rest.split_whitespace().next());
    Ok(position.map(|position| format!("--wsrep-start-position={position}").into()).into_iter().collect())
}

pub(super) fn state(conn: &mut Conn) -> mysql::Result<State> {
    let status: Vec<(String, String)> = conn.query(
        "SHOW STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_local_state', 'wsrep_local_state_comment', 'wsrep_cluster_status')",
    )?;
    let value = |wanted: &str| status.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value);
    let ready = value("wsrep_ready") == "ON" && value("wsrep_local_state") == "4";
    let described =
        format!("wsrep_ready={}, {}, {}", value("wsrep_ready"), value("wsrep_local_state_comment"), value("wsrep_cluster_status"));
    Ok(State { ready, writable: ready, described })
}

pub(super) fn isolate(node: &Node, isolate: bool) -> Result<()> {
    probe(node.address())?.query_drop(format!("SET GLOBAL wsrep_provider_options = 'gmcast.isolate={}'", u8::from(isolate)))?;
    let deadline = Instant::now() + PATIENCE;
    while isolate && node.ready() {
        if Instant::now() > deadline {
            return Err(Error::NotSettled { waited: PATIENCE, last: "an isolated node is still ready".into() });
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Each node replies when it has applied what the group had committed when it was asked.
pub(super) fn settled(nodes: &[&Node]) -> Result<()> {
    for node in nodes {
        let mut conn = node.connect()?;
        conn.query_drop("SET SESSION wsrep_sync_wait = 15")?;
        conn.query_drop("SELECT 1 FROM mysql.global_priv LIMIT 1")?;
    }
    Ok(())
}
