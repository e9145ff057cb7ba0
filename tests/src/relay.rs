//! How is an answer lost where the proxy cannot read what passes, or cannot stand?

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A connection, whatever it goes over.
pub trait Stream: Read + Write + Send + Sized + 'static {
    /// The same connection once more.
    fn again(&self) -> io::Result<Self>;
    /// Ends it, in both directions.
    fn hang_up(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn again(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn hang_up(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Both)
    }
}

impl Stream for UnixStream {
    fn again(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn hang_up(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Both)
    }
}

/// Passes on what comes between clients and a server. Where the flag that it returns is set, the next answer is lost, and the connection with it.
pub fn relay<S: Stream>(
    accept: impl Fn() -> io::Result<S> + Send + 'static,
    connect: impl Fn() -> io::Result<S> + Send + 'static,
) -> Arc<AtomicBool> {
    let lose = Arc::new(AtomicBool::new(false));
    let losing = Arc::clone(&lose);
    thread::spawn(move || {
        loop {
            let (client, server) = (accept().unwrap(), connect().unwrap());
            let (back_client, back_server) = (client.again().unwrap(), server.again().unwrap());
            let losing = Arc::clone(&losing);
            thread::spawn(move || pass(client, server, || false));
            thread::spawn(move || pass(back_server, back_client, || losing.swap(false, Ordering::SeqCst)));
        }
    });
    lose
}

/// Until somebody hangs up, or something is lost.
fn pass<S: Stream>(mut from: S, mut to: S, lost: impl Fn() -> bool) {
    let mut copy = || -> io::Result<()> {
        let mut bytes = [0; 16384];
        loop {
            let length = from.read(&mut bytes)?;
            if length == 0 || lost() {
                return Ok(());
            }
            to.write_all(&bytes[..length])?;
        }
    };
    // Whoever hung up does not mind.
    let _ = copy();
    let _ = from.hang_up();
    let _ = to.hang_up();
}
