//! What does not fit beside one item, a page for each question. In reading order:
//!
//! | Page | The question |
//! |---|---|
//! | [`connecting`] | How is a database named, and reached over TLS or a socket? |
//! | [`composing`] | How do small functions become one transaction? |
//! | [`retry`] | What is run again, and what must a body be to bear it? |
//! | [`side_effects`] | What becomes of mails and messages? |
//! | [`isolation`] | Which level, and which lock? |
//! | [`locks`] | One connection for several threads, or several? |
//! | [`ledger`] | What happens when the answer to COMMIT is lost? |
//! | [`clusters`] | Clusters and failover: what holds on which topology? |
//! | [`testing`] | How is all this tested? |
//! | [`operating`] | What does a running program tell? |
//! | [`moving`], [`python`] | What corresponds to what elsewhere? |
//! | [`versions`] | What stays, and what may change? |

#[doc = include_str!("../docs/guide/connecting.md")]
pub mod connecting {}

#[doc = include_str!("../docs/guide/composing.md")]
pub mod composing {}

#[doc = include_str!("../docs/guide/retry.md")]
pub mod retry {}

#[doc = include_str!("../docs/guide/side_effects.md")]
pub mod side_effects {}

#[doc = include_str!("../docs/guide/isolation.md")]
pub mod isolation {}

#[doc = include_str!("../docs/guide/locks.md")]
pub mod locks {}

#[doc = include_str!("../docs/guide/ledger.md")]
pub mod ledger {}

#[doc = include_str!("../docs/guide/clusters.md")]
pub mod clusters {}

#[doc = include_str!("../docs/guide/testing.md")]
pub mod testing {}

#[doc = include_str!("../docs/operating.md")]
pub mod operating {}

#[doc = include_str!("../docs/guide/moving.md")]
pub mod moving {}

#[doc = include_str!("../docs/guide/python.md")]
pub mod python {}

#[doc = include_str!("../docs/guide/versions.md")]
pub mod versions {}
