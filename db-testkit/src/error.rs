//! Errors of servers, clusters and proxies.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use crate::Flavor;

/// The result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a throwaway server or a proxy could not do what was asked.
///
/// `Debug` shows the message too: it is what a test that calls `unwrap` prints, and server logs have many lines.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server program is not on this machine.
    #[error("no {flavor} server on this machine: {cure}")]
    ServerNotFound {
        /// The server that was looked for.
        flavor: Flavor,
        /// What to install or set.
        cure: String,
    },
    /// `DB_TESTKIT_SERVER` names no known server.
    #[error("DB_TESTKIT_SERVER={0:?} is unknown: set it to \"mariadb\" or \"mysql\"")]
    UnknownFlavor(String),
    /// A package that a cluster or a proxy needs is not on this machine.
    #[error("{what} is missing on this machine: {cure}")]
    Missing {
        /// What was looked for.
        what: String,
        /// What to install.
        cure: String,
    },
    /// The operation is not possible here.
    #[error("not possible here: {0}")]
    Unsupported(String),
    /// A cluster did not reach the state that was waited for.
    #[error("the cluster did not settle within {waited:?}: {last}")]
    NotSettled {
        /// How long it was given.
        waited: Duration,
        /// What was missing in the end.
        last: String,
    },
    /// The server could not initialise a data directory.
    #[error("{flavor} could not initialise a data directory ({status}); its log ends:\n{log}")]
    Initialize {
        /// The server that was asked.
        flavor: Flavor,
        /// How the program ended.
        status: ExitStatus,
        /// The end of what it wrote.
        log: String,
    },
    /// The server process ended before it replied to a query.
    #[error("the server ended ({status}) before it replied to a query; its log ends:\n{log}")]
    Exited {
        /// How the process ended.
        status: ExitStatus,
        /// The end of the server log.
        log: String,
    },
    /// The server did not reply to a query in time.
    #[error("the server replied to no query within {waited:?} (last: {last}); its log ends:\n{log}")]
    NotReady {
        /// How long it was given.
        waited: Duration,
        /// What the last attempt to connect met.
        last: String,
        /// The end of the server log.
        log: String,
    },
    /// The server was still running this long after SIGTERM, and was killed.
    #[error("the server did not stop within {0:?} of SIGTERM and was killed")]
    NotStopped(Duration),
    /// The operation needs a running server, and it was stopped or killed.
    #[error("the server is not running")]
    NotRunning,
    /// The server is running already.
    #[error("the server is running already")]
    Running,
    /// No free port was found among those tried.
    #[error("no free loopback port found below the ephemeral range")]
    NoPort,
    /// A URL without a `scheme://host` part.
    #[error("not a database URL: {0:?}")]
    Url(String),
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system reported.
        source: io::Error,
    },
    /// The server refused a statement or a connection of the kit's own.
    #[error(transparent)]
    Mysql(#[from] mysql::Error),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names what was being done when an I/O error came.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Io { doing: what(), source: error.into() })
    }
}
