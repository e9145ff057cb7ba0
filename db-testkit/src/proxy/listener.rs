//! Accepting and refusing connections.
//!
//! A proxy that refuses has closed its listeners; it opens them again later.

use std::io::{self, PipeReader};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::connection::serve;
use super::endpoint::{Listener, Stream};
use super::poll::{Interest, wait};
use super::shared::Shared;
use crate::Result;
use crate::error::Doing;
use crate::namespace::Namespace;

/// Another process may hold the port for a moment when it is opened again.
const BIND_AGAIN: Duration = Duration::from_millis(5);

/// Where a proxy listens.
pub(super) struct Place {
    pub(super) address: SocketAddr,
    pub(super) namespace: Option<Namespace>,
    pub(super) socket: Option<PathBuf>,
}

impl Place {
    fn bind(&self) -> io::Result<Vec<Listener>> {
        let mut listeners = vec![Listener::tcp(self.address, self.namespace.as_ref())?];
        if let Some(path) = &self.socket {
            listeners.push(Listener::unix(path)?);
        }
        Ok(listeners)
    }
}

pub(super) fn start(place: Place, orders: PipeReader, shared: &Arc<Shared>) -> Result<JoinHandle<()>> {
    let listeners = place.bind().doing(|| format!("listening on {}", place.address))?;
    shared.state.lock().listening = true;
    let shared = Arc::clone(shared);
    Ok(thread::spawn(move || {
        let mut acceptor = Acceptor { place, shared, accepted: 0, threads: Vec::new() };
        acceptor.run(listeners, &orders);
        acceptor.finish();
    }))
}

struct Acceptor {
    place: Place,
    shared: Arc<Shared>,
    accepted: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Acceptor {
    fn run(&mut self, mut listeners: Vec<Listener>, orders: &PipeReader) {
        loop {
            let mut limit = None;
            {
                let mut state = self.shared.state.lock();
                if state.finished {
                    return;
                }
                if state.is_refusing() {
                    listeners.clear();
                    limit = state.refusing_until.map(|until| until.saturating_duration_since(Instant::now()));
                    limit = limit.filter(|_| !state.refusing);
                } else if listeners.is_empty() {
                    listeners = self.place.bind().unwrap_or_default();
                    limit = listeners.is_empty().then_some(BIND_AGAIN);
                }
                state.listening = !listeners.is_empty();
            }
            self.shared.changed.notify_all();
            let mut sockets: Vec<Interest<'_>> =
                listeners.iter().map(|listener| Interest { socket: listener.as_fd(), read: true, write: false }).collect();
            wait(&mut sockets, orders, limit);
            for (listener, _) in listeners.iter().zip(&sockets).filter(|(_, socket)| socket.read) {
                // A client may have disconnected since.
                if let Ok(client) = listener.accept() {
                    self.accept(client);
                }
            }
        }
    }

    fn accept(&mut self, client: Stream) {
        // Without a pipe (no file descriptors left) the connection could not be cut: it is refused by closing it.
        let Ok((orders, giver)) = io::pipe() else { return };
        self.accepted += 1;
        let number = self.accepted;
        {
            let mut state = self.shared.state.lock();
            state.counts.connections += 1;
            state.accepted.push(Instant::now());
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
        if let Some(path) = &self.place.socket {
            // It may have been removed with its directory.
            let _ = std::fs::remove_file(path);
        }
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
