//! When are connections accepted, and when refused?
//!
//! Refusing means that nobody listens: the listener is closed and opened again.

use std::io::{self, PipeReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::connection::serve;
use super::poll::{Interest, wait};
use super::shared::Shared;
use crate::Result;
use crate::error::Doing;

/// Somebody else may hold the port for a moment when it is opened again.
const BIND_AGAIN: Duration = Duration::from_millis(5);

pub(super) fn start(address: SocketAddr, orders: PipeReader, shared: &Arc<Shared>) -> Result<JoinHandle<()>> {
    let listener = bind(address).doing(|| format!("listening on {address}"))?;
    shared.state.lock().listening = true;
    let shared = Arc::clone(shared);
    Ok(thread::spawn(move || {
        let mut acceptor = Acceptor { address, shared, accepted: 0, threads: Vec::new() };
        acceptor.run(listener, &orders);
        acceptor.finish();
    }))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // A client may be gone between poll and accept.
    listener.set_nonblocking(true)?;
    Ok(listener)
}

struct Acceptor {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepted: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Acceptor {
    fn run(&mut self, listener: TcpListener, orders: &PipeReader) {
        let mut listener = Some(listener);
        loop {
            let mut limit = None;
            {
                let mut state = self.shared.state.lock();
                if state.finished {
                    return;
                }
                if state.is_refusing() {
                    listener = None;
                    limit = state.refusing_until.map(|until| until.saturating_duration_since(Instant::now()));
                    limit = limit.filter(|_| !state.refusing);
                } else if listener.is_none() {
                    listener = bind(self.address).ok();
                    limit = listener.is_none().then_some(BIND_AGAIN);
                }
                state.listening = listener.is_some();
            }
            self.shared.changed.notify_all();
            let mut sockets: Vec<Interest<'_>> =
                listener.iter().map(|listener| Interest { socket: listener.as_fd(), read: true, write: false }).collect();
            wait(&mut sockets, orders, limit);
            if let (Some(listener), true) = (&listener, sockets.iter().any(|socket| socket.read)) {
                self.accept(listener);
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener) {
        let Ok((client, _)) = listener.accept() else { return };
        // Without a pipe (no file descriptors left) the connection could not be cut: it is refused by closing it.
        let Ok((orders, giver)) = io::pipe() else { return };
        self.accepted += 1;
        let number = self.accepted;
        {
            let mut state = self.shared.state.lock();
            state.counts.connections += 1;
            state.open.insert(number, giver);
        }
        let shared = Arc::clone(&self.shared);
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.push(thread::spawn(move || {
            let _closing = Closing { number, shared: &shared };
            serve(number, client, orders, &shared);
        }));
    }

    /// Ends all connections and waits for their threads.
    fn finish(self) {
        {
            let mut state = self.shared.state.lock();
            state.listening = false;
            // The end of its pipe is an order to reset.
            state.open.clear();
        }
        self.shared.changed.notify_all();
        for thread in self.threads {
            // A panic was printed by the thread itself.
            let _ = thread.join();
        }
    }
}

/// Forgets a connection when its thread ends, in whichever way.
struct Closing<'a> {
    number: usize,
    shared: &'a Shared,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.shared.state.lock().open.remove(&self.number);
        self.shared.changed.notify_all();
    }
}
