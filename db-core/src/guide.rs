//! The guide: one page per topic.
//!
//! | Page | Topic |
//! |---|---|
//! | [`getting_started`] | From an empty crate to a transaction that is retried |
//! | [`connections`] | Connections, TLS, configuration: the URL and its options, several hosts, files |
//! | [`threads`] | Threads, pools and async; deadlines |
//! | [`composing`] | Small functions that become one transaction |
//! | [`retrying`] | Retrying and idempotency: what is retried, how often, and how to write such functions |
//! | [`side_effects`] | Hooks and outbox |
//! | [`isolation`] | Isolation levels and row locks |
//! | [`ledger`] | The commit ledger: the outcome of a COMMIT whose reply was lost |
//! | [`idempotency`] | Idempotency keys: a request that is repeated is done once |
//! | [`errors`] | Kinds of errors, what to do about each, HTTP statuses |
//! | [`observability`] | Statistics, spans, events and metrics |
//! | [`testing`] | Tests with real servers and injected faults |
//! | [`clusters`] | Clusters and failover |
//! | [`migrating`] | From `mysql`, `r2d2`, `diesel`, `sqlx`, `sea-orm`, Python |
//! | [`stability`] | Public API, MSRV, supported servers |

#[doc = include_str!("../docs/guide/getting_started.md")]
pub mod getting_started {}

#[doc = include_str!("../docs/guide/connections.md")]
pub mod connections {}

#[doc = include_str!("../docs/guide/threads.md")]
pub mod threads {}

#[doc = include_str!("../docs/guide/composing.md")]
pub mod composing {}

#[doc = include_str!("../docs/guide/retrying.md")]
pub mod retrying {}

#[doc = include_str!("../docs/guide/side_effects.md")]
pub mod side_effects {}

#[doc = include_str!("../docs/guide/isolation.md")]
pub mod isolation {}

#[doc = include_str!("../docs/guide/ledger.md")]
pub mod ledger {}

#[doc = include_str!("../docs/guide/errors.md")]
pub mod errors {}

#[doc = include_str!("../docs/guide/observability.md")]
pub mod observability {}

#[doc = include_str!("../docs/guide/idempotency.md")]
pub mod idempotency {}

#[doc = include_str!("../docs/guide/testing.md")]
pub mod testing {}

#[doc = include_str!("../docs/guide/clusters.md")]
pub mod clusters {}

#[doc = include_str!("../docs/guide/migrating.md")]
pub mod migrating {}

#[doc = include_str!("../docs/guide/stability.md")]
pub mod stability {}
