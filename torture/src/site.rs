//! The servers under fire.

use std::time::Duration;

use db_core::mysql::{self, Conn, Opts, OptsBuilder};
use db_testkit::Server;

use crate::nodes::Nodes;

/// What the workers use, and the saboteur breaks.
pub(crate) enum Site {
    /// A throwaway server: everything may be done to it.
    Throwaway(Server),
    /// A throwaway cluster.
    Nodes(Box<Nodes>),
    /// A database of the user's: only sessions of this program are killed.
    Own(String),
}

/// More than the saboteur freezes a server for.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

impl Site {
    pub(crate) fn url(&self) -> String {
        match self {
            Site::Throwaway(server) => server.url(),
            Site::Nodes(nodes) => nodes.url(),
            Site::Own(url) => url.clone(),
        }
    }

    /// Of which the processes are ours.
    pub(crate) fn throwaway(&self) -> Option<&Server> {
        match self {
            Site::Throwaway(server) => Some(server),
            Site::Nodes(_) | Site::Own(_) => None,
        }
    }

    pub(crate) fn nodes(&self) -> Option<&Nodes> {
        match self {
            Site::Nodes(nodes) => Some(nodes),
            Site::Throwaway(_) | Site::Own(_) => None,
        }
    }

    /// Waits until every node has applied everything.
    pub(crate) fn settle(&self) -> Result<(), db_testkit::Error> {
        self.nodes().map_or(Ok(()), |nodes| nodes.cluster.settled())
    }

    /// A connection that bypasses the proxies.
    pub(crate) fn connect(&self) -> mysql::Result<Conn> {
        let options = Opts::from_url(&self.url())?;
        Conn::new(OptsBuilder::from_opts(options).prefer_socket(false).read_timeout(Some(READ_TIMEOUT)))
    }
}
