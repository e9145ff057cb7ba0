//! A proxy that breaks connections at a chosen point.

mod command;
mod connection;
mod conversation;
mod endpoint;
mod fault;
mod listener;
mod packet;
mod peer;
mod poll;
mod protocol;
mod reply;
mod shared;

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::ops::Sub;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

pub use self::command::Command;
pub use self::endpoint::Upstream;
pub use self::fault::{Action, Fault, Injection, Point};

#[cfg(fuzzing)]
pub use self::protocol::listen;

use self::endpoint::Target;
use self::fault::Plan;
use self::listener::Place;
use self::poll::Cut;
use self::shared::{Shared, State};
use crate::error::Doing;
use crate::namespace::Namespace;
use crate::port::Port;
use crate::{Error, Result};

/// What went through a proxy since it started or [`FaultProxy::reset_counts`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Requests whose whole reply went to the client. The login is not one.
    pub round_trips: u64,
    /// Requests that came from the client, with or without a reply: closing a statement or the connection has none.
    pub requests: u64,
    /// Protocol packets that came from either side, those of the login included.
    pub packets: u64,
    /// Bytes passed on to the server.
    pub bytes_to_server: u64,
    /// Bytes passed on to clients.
    pub bytes_to_client: u64,
    /// Connections accepted.
    pub connections: u64,
}

impl Sub for Counts {
    type Output = Counts;

    /// What went through after `before`.
    fn sub(self, before: Counts) -> Counts {
        Counts {
            round_trips: self.round_trips - before.round_trips,
            requests: self.requests - before.requests,
            packets: self.packets - before.packets,
            bytes_to_server: self.bytes_to_server - before.bytes_to_server,
            bytes_to_client: self.bytes_to_client - before.bytes_to_client,
            connections: self.connections - before.connections,
        }
    }
}

/// One request of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The number of the connection; the first one a proxy accepts is 1.
    pub connection: usize,
    /// Its kind.
    pub command: Command,
    /// The SQL of a query or of a statement being prepared, executed or closed; the database of [`Command::InitDb`].
    pub text: Option<String>,
}

/// A TCP proxy on loopback that knows the MySQL protocol, and fails on purpose.
///
/// It sees where requests and replies begin and end, so a [`Fault`] goes in at a named [`Point`]: not "after 3 ms" but
/// "when the server has committed and before the client knows". Requests are passed on when they are complete.
///
/// It cannot read TLS and compression: it takes them (and query attributes and optional result metadata) out of what
/// the server offers, so a client that insists on them fails to connect. A proxy made with [`ProxyBuilder::opaque`] passes them, and any
/// other protocol. Clients must stay on TCP: the `mysql`
/// crate moves to the Unix socket of a local server unless told `prefer_socket=false`.
///
/// Each connection has a thread. All end, and all connections are reset, when the proxy is dropped.
///
/// ```
/// use db_testkit::{Action, Fault, Point, Server};
///
/// let server = Server::start()?;
/// let proxy = server.proxy()?;
/// let url = proxy.url(&server.url())?;
/// let lost = proxy.inject(Fault::new(Point::AfterRequest, Action::Fin).matching("COMMIT"));
/// // … use `url` …
/// assert_eq!(lost.fired(), 0);
/// # Ok::<(), db_testkit::Error>(())
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Unless another value keeps it.
    _port: Option<Port>,
    listener: Option<JoinHandle<()>>,
}

/// Options of a proxy to be started. Made by [`FaultProxy::builder`].
///
/// ```
/// use std::time::Duration;
/// use db_testkit::{FaultProxy, Server};
///
/// let server = Server::start()?;
/// // As TLS passes through it, over a network with a round trip of 1 ms.
/// let proxy = FaultProxy::builder(server.address()).opaque().latency(Duration::from_micros(500)).start()?;
/// # Ok::<(), db_testkit::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a proxy is started by `start`"]
pub struct ProxyBuilder {
    upstream: Upstream,
    opaque: bool,
    latency: Duration,
    ip: Ipv4Addr,
    socket: Option<PathBuf>,
}

impl ProxyBuilder {
    /// Passes bytes on as they are, so that TLS, compression and other protocols work.
    ///
    /// A request is then what a client sends after the server has sent something, logins and TLS handshakes included, and its reply is what
    /// the server sends next. Its [`Command`] is [`Command::Opaque`], and it has no text. [`Counts::packets`] counts the stream as if it
    /// were the MySQL protocol's.
    pub fn opaque(mut self) -> Self {
        self.opaque = true;
        self
    }

    /// How long bytes take in each direction: half a round trip. Default: 0.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Listens on this loopback address. Default: 127.0.0.1.
    pub fn ip(mut self, ip: Ipv4Addr) -> Self {
        self.ip = ip;
        self
    }

    /// Listens on this Unix socket too. It replaces an existing file, and is removed when the proxy ends.
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// Starts the proxy.
    ///
    /// # Errors
    ///
    /// [`Error::NoPort`] if no port is free; [`Error::Io`] if it cannot listen.
    pub fn start(self) -> Result<FaultProxy> {
        let port = Port::reserve()?;
        let place = Place { address: (self.ip, port.number()).into(), namespace: None, socket: self.socket.clone() };
        self.start_at(place, Some(port), None)
    }

    fn start_at(self, place: Place, port: Option<Port>, namespace: Option<Namespace>) -> Result<FaultProxy> {
        let (orders, waker) = std::io::pipe().doing(|| "making a pipe".into())?;
        let shared = Arc::new(Shared {
            opaque: self.opaque,
            latency: self.latency,
            target: Mutex::new(Target { upstream: self.upstream, namespace }),
            state: Mutex::default(),
            changed: Condvar::new(),
            waker,
        });
        let address = place.address;
        let listener = listener::start(place, orders, &shared)?;
        Ok(FaultProxy { shared, address, _port: port, listener: Some(listener) })
    }
}

impl FaultProxy {
    /// Starts a proxy before the server at this address. See also [`Server::proxy`](crate::Server::proxy).
    ///
    /// # Errors
    ///
    /// [`Error::NoPort`] if no port is free; [`Error::Io`] if the address is no address.
    pub fn start(upstream: impl ToSocketAddrs) -> Result<FaultProxy> {
        let upstream = upstream
            .to_socket_addrs()
            .and_then(|mut found| found.next().ok_or_else(|| std::io::Error::other("no address")))
            .doing(|| "resolving the address of the server".into())?;
        FaultProxy::builder(upstream).start()
    }

    /// A proxy with options.
    pub fn builder(upstream: impl Into<Upstream>) -> ProxyBuilder {
        ProxyBuilder { upstream: upstream.into(), opaque: false, latency: Duration::ZERO, ip: Ipv4Addr::LOCALHOST, socket: None }
    }

    /// An opaque proxy from an address of one namespace (of this process, if it is `None`) to the same one of another.
    pub(crate) fn link(address: SocketAddr, from: Option<&Namespace>, to: &Namespace) -> Result<FaultProxy> {
        let place = Place { address, namespace: from.cloned(), socket: None };
        FaultProxy::builder(address).opaque().start_at(place, None, Some(to.clone()))
    }

    /// Connects clients that come from now on to another server. Connections that are open stay; see [`cut_all`](Self::cut_all).
    pub fn set_upstream(&self, upstream: impl Into<Upstream>) {
        *self.shared.target.lock() = Target { upstream: upstream.into(), namespace: None };
    }

    /// To which server clients are connected.
    #[must_use]
    pub fn upstream(&self) -> Upstream {
        self.shared.target.lock().upstream.clone()
    }

    /// The URL with the proxy's address in place of its host and port.
    ///
    /// # Errors
    ///
    /// [`Error::Url`] if it has no `scheme://`.
    pub fn url(&self, url: &str) -> Result<String> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| Error::Url(url.into()))?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
        Ok(format!("{scheme}://{user}{}{path}", self.address()))
    }

    /// Where the proxy listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The TCP port: below 32768.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Injects a fault from now on. Of several faults that match a request, the one injected first happens.
    pub fn inject(&self, fault: Fault) -> Injection {
        let plan = Arc::new(Plan::new(fault));
        self.shared.state.lock().plans.push(Arc::clone(&plan));
        Injection::new(plan)
    }

    /// Refuses connections from now on, or accepts them again. Connections that are open stay so. Takes effect
    /// before it returns.
    pub fn refuse_connections(&self, refuse: bool) {
        self.shared.refuse(refuse);
    }

    /// Resets all connections, on both sides ([`Action::Rst`]). They are closed when it returns.
    pub fn cut_all(&self) {
        self.shared.cut_all(Cut::Rst);
    }

    /// Closes all connections in an orderly way, on both sides ([`Action::Fin`]). They are closed when it returns.
    pub fn close_all(&self) {
        self.shared.cut_all(Cut::Fin);
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state.lock().open.len()
    }

    /// What went through so far. A reply is counted before the client gets it.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.state.lock().counts
    }

    /// When the connections so far were accepted, oldest first.
    #[must_use]
    pub fn accepted(&self) -> Vec<Instant> {
        self.shared.state.lock().accepted.clone()
    }

    /// Begins [`counts`](Self::counts), [`accepted`](Self::accepted) and [`requests`](Self::requests) anew. Connections keep their numbers.
    pub fn reset_counts(&self) {
        let State { counts, accepted, log, .. } = &mut *self.shared.state.lock();
        *counts = Counts::default();
        accepted.clear();
        log.clear();
    }

    /// The requests so far, oldest first; of very many, the last 65536.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state.lock().log.iter().cloned().collect()
    }

    /// Ends the proxy, and fails the test if a fault never happened: it tested nothing.
    ///
    /// # Panics
    ///
    /// If an injected fault never fired; the message names each.
    #[track_caller]
    pub fn finish(self) {
        let complaints: Vec<String> = self.shared.state.lock().plans.iter().filter_map(|plan| plan.complaint()).collect();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.state.lock().finished = true;
        self.shared.wake();
        // A thread of the proxy that panicked has printed why; a second panic here would abort the test.
        let _ = self.listener.take().map(JoinHandle::join);
    }
}
