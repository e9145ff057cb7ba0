//! How is one socket of a connection read, written and closed?

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use super::poll::{Cut, Interest};
use super::protocol::Packets;

/// How long a peer that reads nothing may hold up an orderly end.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

/// One of the two sockets of a connection, and what waits to be written to it.
pub(super) struct Peer {
    stream: TcpStream,
    pub(super) received: Packets,
    pub(super) to_send: Vec<u8>,
    /// The peer sends nothing any more.
    pub(super) ended: bool,
}

impl Peer {
    pub(super) fn new(stream: TcpStream) -> Peer {
        // Fails on a socket that the peer has reset already; the first read says so too.
        let _ = stream.set_nonblocking(true);
        let _ = stream.set_nodelay(true);
        Peer { stream, received: Packets::default(), to_send: Vec::new(), ended: false }
    }

    pub(super) fn interest(&self, read: bool) -> Interest<'_> {
        Interest { socket: self.stream.as_fd(), read: read && !self.ended, write: !self.to_send.is_empty() }
    }

    /// Reads what has arrived, and says how much that was.
    ///
    /// # Errors
    ///
    /// The peer has reset the connection.
    pub(super) fn receive(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(length) => {
                self.received.feed(&buffer[..length]);
                return Ok(length);
            }
            Err(error) if is_not_yet(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(0)
    }

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    ///
    /// The peer has closed the connection.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.to_send.len() {
            match self.stream.write(&self.to_send[written..]) {
                Ok(length) => written += length,
                Err(error) if is_not_yet(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.to_send.drain(..written);
        Ok(())
    }

    pub(super) fn close(mut self, cut: Cut) {
        // Best effort throughout: the peer may be gone already.
        let _ = self.stream.set_nonblocking(false);
        let _ = self.stream.set_write_timeout(Some(FLUSH_PATIENCE));
        let _ = self.flush();
        match cut {
            Cut::Rst => {
                let _ = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
            }
            Cut::Fin => {
                let _ = self.stream.shutdown(Shutdown::Write);
                // Closing a socket with unread data would send a reset instead.
                let _ = self.stream.set_nonblocking(true);
                while matches!(self.receive(), Ok(length) if length > 0) {}
            }
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
