//! Telemetry: events, the span of a call, counters and metrics.

pub(crate) mod event;
pub(crate) mod metrics;
pub(crate) mod outcome;
pub(crate) mod span;
pub(crate) mod stats;
