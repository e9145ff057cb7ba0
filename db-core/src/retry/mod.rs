//! Retry: when a call is attempted again, and which attempts are under way.

pub(crate) mod attempts;
pub(crate) mod deadline;
pub(crate) mod pace;
pub(crate) mod policy;
