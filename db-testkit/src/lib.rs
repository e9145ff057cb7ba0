//! A throwaway MariaDB or MySQL server, and a proxy that breaks connections at a named point.
//!
//! Code that talks to a database is correct when it is correct on the day the server dies between
//! a COMMIT and its reply. This crate makes such days repeatable:
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
//! In reading order:
//!
//! - [`Server`]: a private server on a loopback port, with a database of its own, that can be killed,
//!   paused and restarted. Which one is started is chosen by [`Flavor`].
//! - [`FaultProxy`]: a proxy before a server. A [`Fault`] is an [`Action`] at a [`Point`] of the
//!   protocol; its [`Injection`] tells whether it happened. [`Counts`] and the log of [`Request`]s say
//!   what an operation costs.
//!
//! # Requirements
//!
//! Linux, and `mariadbd` or `mysqld` on the machine (`apt-get install mariadb-server-core`). A server that
//! is missing is an error, never a skipped test. The environment variable `DB_TESTKIT_SERVER` (`mariadb`,
//! the default, or `mysql`) chooses where the test does not; with `DB_TESTKIT_MYSQL_ROOT` set, `mysqld` is
//! taken from that directory tree by `chroot` (which needs root).
//!
//! # Features
//!
//! `tls`, off by default: `ServerBuilder::tls`, for servers with a certificate of their own.

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

pub use crate::cluster::{Balance, Balancer, Cluster, ClusterBuilder, HealthCheck, Node, Topology};
pub use crate::error::{Error, Result};
pub use crate::flavor::Flavor;
pub use crate::proxy::{Action, Command, Counts, Fault, FaultProxy, Injection, Point, ProxyBuilder, Request, Upstream};
pub use crate::server::{Server, ServerBuilder};
