//! One socket of a connection: reading, writing, closing.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::endpoint::Stream;
use super::packet::Received;
use super::poll::{Cut, Interest};

/// How long a peer that reads nothing may hold up an orderly end.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

const READ_SIZE: usize = 64 << 10;

/// One of the two sockets of a connection, and what waits to be written to it.
pub(super) struct Peer {
    stream: Stream,
    buffer: Box<[u8]>,
    pub(super) received: Received,
    to_send: Vec<u8>,
    /// What is on its way, and when it arrives.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    /// The peer sends nothing any more.
    pub(super) ended: bool,
}

impl Peer {
    pub(super) fn new(stream: Stream) -> Peer {
        // Fails on a socket that the peer has reset already; the first read reports that too.
        let _ = stream.set_nonblocking(true);
        let _ = stream.set_nodelay();
        Peer {
            stream,
            buffer: vec![0; READ_SIZE].into(),
            received: Received::default(),
            to_send: Vec::new(),
            under_way: VecDeque::new(),
            ended: false,
        }
    }

    /// Sends bytes that take this long to arrive.
    pub(super) fn send(&mut self, bytes: Vec<u8>, latency: Duration) {
        if latency.is_zero() {
            self.to_send.extend(bytes);
        } else if !bytes.is_empty() {
            self.under_way.push_back((Instant::now() + latency, bytes));
        }
    }

    /// Makes ready to be written what has been under way for long enough.
    pub(super) fn arrive(&mut self) {
        while let Some((_, bytes)) = self.under_way.pop_front_if(|(due, _)| *due <= Instant::now()) {
            self.to_send.extend(bytes);
        }
    }

    /// When the next bytes arrive, if any are under way.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.front().map(|(due, _)| *due)
    }

    /// How many bytes have not been written.
    pub(super) fn backlog(&self) -> usize {
        self.to_send.len() + self.under_way.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
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
        match self.stream.read(&mut self.buffer) {
            Ok(0) => self.ended = true,
            Ok(length) => {
                self.received.feed(&self.buffer[..length]);
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
        let _ = self.stream.set_write_timeout(FLUSH_PATIENCE);
        self.to_send.extend(self.under_way.drain(..).flat_map(|(_, bytes)| bytes));
        let _ = self.flush();
        match cut {
            Cut::Rst => {
                let _ = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
            }
            Cut::Fin => {
                let _ = self.stream.shutdown_write();
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
