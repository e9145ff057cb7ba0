//! TCP ports of servers and proxies, below the ephemeral range.
//!
//! A client that keeps trying to connect to a local port of the ephemeral range is, now
//! and then, given the very port as its own address: it connects to itself, hangs in the handshake, and keeps the
//! server from binding.

use std::net::{Ipv4Addr, TcpListener};
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use std::hash::{BuildHasher, RandomState};

use crate::{Error, Result};

/// Below every common ephemeral range (32768 up on Linux), above the well-known services.
const FIRST: u16 = 15_000;
const LAST: u16 = 31_999;

/// A loopback port that no other server or proxy of this crate uses, on this machine, as long as this lives.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// The name of an abstract Unix socket can be bound once. It outlives a restart, when the port itself has no listener, and ends with the process, however that ends.
    _claim: Option<UnixListener>,
}

impl Port {
    pub(crate) fn reserve() -> Result<Port> {
        // Each test is its own process, so they must not all begin at the same port.
        let start = RandomState::new().hash_one(std::process::id());
        let count = u64::from(LAST - FIRST) + 1;
        for step in 0..1000 {
            let offset = (start % count + step) % count;
            let number = FIRST + u16::try_from(offset).map_err(|_| Error::NoPort)?;
            let Ok(claim) = claim(number) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Port { number, _claim: claim });
            }
        }
        Err(Error::NoPort)
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(target_os = "linux")]
fn claim(number: u16) -> std::io::Result<Option<UnixListener>> {
    let name = format!("db-testkit-port-{number}");
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?).map(Some)
}

/// Elsewhere there are no abstract sockets; a clash is met when the server cannot bind, and another port is tried.
#[cfg(not(target_os = "linux"))]
fn claim(_: u16) -> std::io::Result<Option<UnixListener>> {
    Ok(None)
}
