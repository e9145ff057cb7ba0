//! What can go wrong with a measurement, and what is to be done then?

use std::io;
use std::process::ExitStatus;

/// What a peer reports. Each has errors of its own; a plain retry loop looks no further than this.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What became of a peer's call.
pub(crate) type Outcome<T> = std::result::Result<T, Cause>;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A peer failed where nothing was broken on purpose.
    #[error("{peer}, {doing}: {source}")]
    Peer { peer: &'static str, doing: &'static str, source: Cause },
    /// No server.
    #[error("the throwaway server: {0}")]
    Server(#[from] db_testkit::Error),
    /// The tables, or the session that kills others.
    #[error("preparing the server: {0}")]
    Admin(#[from] mysql::Error),
    /// The library's own set-up.
    #[error("installing the commit ledger: {0}")]
    Ledger(#[from] db_core::Error),
    /// A file or socket.
    #[error("{doing}: {source}")]
    Io { doing: String, source: io::Error },
    /// A program that is needed is not there, or broken.
    #[error("cannot run {program}: {source}.\n{cure}")]
    NotRun { program: String, source: io::Error, cure: &'static str },
    /// A program failed.
    #[error("`{line}` failed ({status}):\n{stderr}")]
    Failed { line: String, status: ExitStatus, stderr: String },
    /// A program said something else than it usually does.
    #[error("the output of {program} has no {wanted}; its last lines:\n{output}")]
    Output { program: String, wanted: &'static str, output: String },
    /// A thread of the harness has ended early; it has printed why.
    #[error("{peer}: a thread that used it panicked")]
    Panicked { peer: &'static str },
    /// A plot could not be drawn.
    #[error("drawing {file}: {cause}")]
    Plot { file: String, cause: String },
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when an operation on a file or socket failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { doing: what(), source })
    }
}
