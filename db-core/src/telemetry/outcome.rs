//! The outcome of a call, and the cause of a failure.

use std::fmt;

use crate::{Error, ErrorKind};

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    RolledBack,
    Failed,
    Unknown,
    /// Of a call that is no transaction itself.
    Succeeded,
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Succeeded => "succeeded",
        }
    }
}

/// How a call, or one attempt of it, has ended.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(super) outcome: Outcome,
    pub(super) cause: Option<Cause>,
}

/// Why something failed, as far as that may be shown.
#[derive(Clone, Copy)]
pub(crate) enum Cause {
    Error {
        kind: ErrorKind,
        code: Option<u16>,
    },
    Panic,
    /// The body's own error, of a type that the library cannot look into.
    Opaque,
}

impl End {
    pub const COMMITTED: Self = Self { outcome: Outcome::Committed, cause: None };
    pub const SUCCEEDED: Self = Self { outcome: Outcome::Succeeded, cause: None };

    /// At the body's wish, which may be an error or a panic of its own.
    pub fn rolled_back(cause: Option<Cause>) -> Self {
        Self { outcome: Outcome::RolledBack, cause }
    }

    pub fn failed(cause: Cause) -> Self {
        Self { outcome: Outcome::Failed, cause: Some(cause) }
    }

    pub fn not_committed(error: &Error) -> Self {
        let outcome = if error.is_commit_unknown() { Outcome::Unknown } else { Outcome::Failed };
        Self { outcome, cause: Some(Cause::of(error)) }
    }
}

impl Cause {
    pub fn of(error: &Error) -> Self {
        Self::Error { kind: error.kind(), code: error.code() }
    }

    /// `None`: it is of the body's own.
    pub(crate) fn kind(self) -> Option<ErrorKind> {
        if let Self::Error { kind, .. } = self { Some(kind) } else { None }
    }

    /// The server's code for it.
    pub fn code(self) -> Option<u16> {
        if let Self::Error { code, .. } = self { code } else { None }
    }
}

impl fmt::Display for Cause {
    /// A value of `error.type`: few, and none made of anybody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error { kind, .. } => fmt::Debug::fmt(kind, f),
            Self::Panic => f.write_str("panic"),
            Self::Opaque => f.write_str("_OTHER"),
        }
    }
}
