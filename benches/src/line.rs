//! How long is the way to the server, and what goes over it?

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Doing, Result};

/// A line to the server on loopback: each byte takes `delay`, in each direction, and is counted.
///
/// It knows of the protocol only that a packet has four bytes of header. A round trip is a turn: the client speaks after the server
/// has. A connection's login is one or more; they are counted too.
pub(crate) struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What went over the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) round_trips: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

struct Shared {
    upstream: SocketAddr,
    delay: Duration,
    closed: AtomicBool,
    round_trips: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
    /// When each connection was accepted.
    accepted: Mutex<Vec<Instant>>,
    open: Mutex<Vec<TcpStream>>,
}

/// Counts the protocol's packets in a stream of bytes.
#[derive(Default)]
struct Framer {
    header: [u8; 4],
    /// How much of the header is there.
    have: usize,
    /// How much of the packet is missing.
    missing: usize,
}

impl Line {
    pub(crate) fn start(upstream: SocketAddr, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing(|| "opening a port for the line".into())?;
        let address = listener.local_addr().doing(|| "asking for the line's port".into())?;
        let shared = Arc::new(Shared {
            upstream,
            delay,
            closed: AtomicBool::new(false),
            round_trips: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            accepted: Mutex::default(),
            open: Mutex::default(),
        });
        let at_work = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if at_work.closed.load(Relaxed) {
                    return;
                }
                // A connection that cannot be carried is closed: its client says so.
                let _ = client.and_then(|client| carry(&at_work, client));
            }
        });
        Ok(Self { address, shared })
    }

    /// The URL of a database, by way of this line.
    pub(crate) fn url(&self) -> String {
        format!("mysql://root@{}/test", self.address)
    }

    pub(crate) fn counts(&self) -> Counts {
        let Shared { round_trips, packets, bytes, .. } = &*self.shared;
        Counts { round_trips: round_trips.load(Relaxed), packets: packets.load(Relaxed), bytes: bytes.load(Relaxed) }
    }

    /// When connections were made since the last call.
    pub(crate) fn take_accepted(&self) -> Vec<Instant> {
        std::mem::take(&mut *self.shared.accepted.lock())
    }
}

impl std::ops::Sub for Counts {
    type Output = Counts;

    fn sub(self, before: Counts) -> Counts {
        Counts {
            round_trips: self.round_trips - before.round_trips,
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.closed.store(true, Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        for stream in self.shared.open.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn carry(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    shared.accepted.lock().push(Instant::now());
    let server = TcpStream::connect(shared.upstream)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    shared.open.lock().extend([client.try_clone()?, server.try_clone()?]);
    // Who spoke last. The protocol is half duplex, so the two threads never race for it.
    let server_spoke = Arc::new(AtomicBool::new(false));
    let directions = [(client.try_clone()?, server.try_clone()?, true), (server, client, false)];
    for (from, to, is_client) in directions {
        let (shared, server_spoke) = (Arc::clone(shared), Arc::clone(&server_spoke));
        let delay = shared.delay;
        let mut framer = Framer::default();
        let count = move |bytes: &[u8]| {
            if is_client && server_spoke.swap(false, Relaxed) {
                shared.round_trips.fetch_add(1, Relaxed);
            } else if !is_client {
                server_spoke.store(true, Relaxed);
            }
            shared.packets.fetch_add(framer.complete(bytes), Relaxed);
            shared.bytes.fetch_add(bytes.len() as u64, Relaxed);
        };
        if delay.is_zero() {
            thread::spawn(move || at_once(from, to, count));
        } else {
            delayed(from, to, delay, count);
        }
    }
    Ok(())
}

fn at_once(mut from: TcpStream, mut to: TcpStream, mut count: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        count(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// One thread reads, so that nothing waits for what is on its way before it; another writes when it is time.
fn delayed(mut from: TcpStream, mut to: TcpStream, delay: Duration, mut count: impl FnMut(&[u8]) + Send + 'static) {
    let (sender, under_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let due = Instant::now() + delay;
            count(&buffer[..length]);
            if sender.send((due, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        // Without it a sleep lasts 50 µs longer than it should: a tenth of the shorter delay. Where it is refused, it does.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        for (due, bytes) in under_way {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

impl Framer {
    /// How many packets end in these bytes.
    fn complete(&mut self, mut bytes: &[u8]) -> u64 {
        let mut packets = 0;
        while !bytes.is_empty() {
            if self.have < self.header.len() {
                let taken = bytes.len().min(self.header.len() - self.have);
                self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
                self.have += taken;
                bytes = &bytes[taken..];
                if self.have < self.header.len() {
                    break;
                }
                let [a, b, c, _] = self.header;
                self.missing = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
            }
            let taken = bytes.len().min(self.missing);
            self.missing -= taken;
            bytes = &bytes[taken..];
            if self.missing == 0 {
                packets += 1;
                self.have = 0;
            }
        }
        packets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_wherever_the_stream_is_cut() {
        let stream = [3, 0, 0, 0, 1, 2, 3, 0, 0, 0, 1, 1, 0, 0, 2, 9];
        for cut in 0..=stream.len() {
            let mut framer = Framer::default();
            assert_eq!(framer.complete(&stream[..cut]) + framer.complete(&stream[cut..]), 3, "cut at {cut}");
        }
    }

    #[test]
    fn every_byte_is_late_and_every_turn_is_counted() {
        const DELAY: Duration = Duration::from_millis(5);
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let line = Line::start(server.local_addr().expect("its address"), DELAY).expect("a line");
        thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("the line connects");
            // A greeting, and each byte sent back: packets of no bytes.
            stream.write_all(&[0; 4]).expect("a greeting");
            let mut packet = [0; 4];
            while stream.read_exact(&mut packet).is_ok() {
                stream.write_all(&packet).expect("an answer");
            }
        });
        let mut client = TcpStream::connect(line.address).expect("the line listens");
        let mut packet = [0; 4];
        client.read_exact(&mut packet).expect("the greeting");
        let began = Instant::now();
        for _ in 0..3 {
            client.write_all(&packet).expect("a question");
            client.read_exact(&mut packet).expect("its answer");
        }
        assert!(began.elapsed() >= 6 * DELAY);
        assert_eq!(line.counts(), Counts { round_trips: 3, packets: 7, bytes: 28 });
        assert_eq!(line.take_accepted().len(), 1);
    }
}
