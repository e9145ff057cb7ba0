//! Private MariaDB and MySQL servers and clusters for tests, and a proxy that breaks connections at a named point.
//!
//! Code that talks to a database must be correct even if the server dies between a COMMIT and its reply. This crate makes
//! such failures repeatable:
//!
//! ```
//! use db_testkit::{Action, Fault, Point, Server};
//! use db_testkit::mysql::{Conn, Opts, prelude::Queryable};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::start()?;                   // 0.1 to 0.2 s; gone when dropped
//! let proxy = server.proxy()?;
//! let url = format!("{}?prefer_socket=false", proxy.url(&server.url())?);
//! let mut conn = Conn::new(Opts::from_url(&url)?)?;
//!
//! // The server commits, its reply never arrives.
//! let lost = proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("COMMIT"));
//! conn.query_drop("BEGIN")?;
//! assert!(conn.query_drop("COMMIT").is_err());
//! lost.assert_fired();
//! # Ok(()) }
//! ```
//!
//! - [`Server`]: a private server on a loopback port, with an empty database, that can be killed,
//!   paused and restarted. Which one is started is chosen by [`Flavor`].
//! - [`FaultProxy`]: a proxy before a server. A [`Fault`] is an [`Action`] at a [`Point`] of the
//!   protocol; its [`Injection`] reports whether it happened. [`Counts`] and the log of [`Request`]s say
//!   what an operation costs. Options of [`FaultProxy::builder`] let it pass TLS, add latency, or listen on a Unix socket.
//! - [`Cluster`]: Galera, Group Replication or asynchronous replication. A [`Node`] can be killed, paused, isolated from the others and
//!   brought back; an address follows the primary; a [`Balancer`] is HAProxy or MySQL Router before the nodes.
//!
//! # Requirements
//!
//! Linux, and `mariadbd` or `mysqld` on the machine (`apt-get install mariadb-server-core`). A server or package that
//! is missing is an error that names it, never a skipped test.
//!
//! | Environment variable | Meaning |
//! |---|---|
//! | `DB_TESTKIT_SERVER` | `mariadb` (the default) or `mysql`: what [`Server::start`] starts |
//! | `DB_TESTKIT_MARIADB_ROOT`, `DB_TESTKIT_MYSQL_ROOT` | A directory tree from which the server is taken by `chroot` (which needs root) |
//! | `DB_TESTKIT_GALERA_SCRIPTS` | The directory of `wsrep_sst_rsync`, where the package `mariadb-server` is not installed |
//!
//! # Features
//!
//! `tls`, off by default: `ServerBuilder::tls`, for servers with a certificate.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "tls")]
mod certificate;
mod cluster;
mod error;
mod flavor;
mod namespace;
mod port;
mod process;
mod proxy;
mod search;
mod server;
mod template;

pub use mysql;

pub use crate::cluster::{Balance, Balancer, Cluster, ClusterBuilder, HealthCheck, Node, Routing, Topology};
pub use crate::error::{Error, Result};
pub use crate::flavor::Flavor;
pub use crate::proxy::{Action, Command, Counts, Fault, FaultProxy, Injection, Point, ProxyBuilder, Request, Upstream};
pub use crate::server::{Server, ServerBuilder};

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// A private parser, for a fuzz target.
#[cfg(fuzzing)]
#[doc(hidden)]
#[allow(missing_docs, reason = "not part of the kit")]
pub mod __fuzz {
    pub use crate::proxy::listen;
}
