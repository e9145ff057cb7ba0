//! The proxy that leads to the primary of a cluster.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Shared;
use crate::{FaultProxy, Result};

/// How often the node in use is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Follower {
    proxy: Arc<FaultProxy>,
    /// Dropped to end the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Follower> {
        let proxy = Arc::new(FaultProxy::builder(shared.nodes[0].address()).opaque().start()?);
        let (end, ended) = mpsc::channel();
        let (following, shared) = (Arc::clone(&proxy), Arc::clone(shared));
        let thread = thread::spawn(move || {
            let mut current = 0;
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let Some(found) = shared.writable() else { continue };
                if found != current {
                    current = found;
                    following.set_upstream(shared.nodes[found].address());
                    // As a load balancer does that ends the sessions of a server which is down.
                    following.cut_all();
                }
            }
        });
        Ok(Follower { proxy, end: Some(end), thread: Some(thread) })
    }

    pub(super) fn proxy(&self) -> &FaultProxy {
        &self.proxy
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.end = None;
        // A thread that panicked has printed why.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
