//! The limits of a pool: what the builder and the URL say, completed by the defaults.

use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// As sqlx, HikariCP, r2d2 and bb8.
const MAX_CONNECTIONS: u32 = 10;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// What is said of a pool. `None`: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolOptions {
    pub max_connections: Option<u32>,
    pub min_connections: Option<u32>,
    pub acquire_timeout: Option<Duration>,
    pub max_lifetime: Option<Duration>,
    pub idle_timeout: Option<Duration>,
}

/// The limits of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// At least 1.
    pub max_connections: u32,
    /// At most `max_connections`.
    pub min_connections: u32,
    pub acquire_timeout: Duration,
    pub max_lifetime: Duration,
    pub idle_timeout: Duration,
}

impl PoolOptions {
    /// What `other` says counts where this says nothing.
    pub fn or(self, other: Self) -> Self {
        Self {
            max_connections: self.max_connections.or(other.max_connections),
            min_connections: self.min_connections.or(other.min_connections),
            acquire_timeout: self.acquire_timeout.or(other.acquire_timeout),
            max_lifetime: self.max_lifetime.or(other.max_lifetime),
            idle_timeout: self.idle_timeout.or(other.idle_timeout),
        }
    }

    pub fn limits(self) -> Result<Limits> {
        let max_connections = self.max_connections.unwrap_or(MAX_CONNECTIONS);
        let min_connections = self.min_connections.unwrap_or(0);
        let wrong = match () {
            () if max_connections == 0 => "max_connections is 0: no call could ever get a connection",
            () if min_connections > max_connections => "min_connections is above max_connections",
            () => {
                return Ok(Limits {
                    max_connections,
                    min_connections,
                    acquire_timeout: self.acquire_timeout.unwrap_or(ACQUIRE_TIMEOUT),
                    max_lifetime: self.max_lifetime.unwrap_or(MAX_LIFETIME),
                    idle_timeout: self.idle_timeout.unwrap_or(IDLE_TIMEOUT),
                });
            }
        };
        Err(Error::new(ErrorKind::Config, wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_its_default() {
        let limits = PoolOptions::default().limits().expect("the defaults");
        assert_eq!((limits.max_connections, limits.min_connections), (10, 0));
        assert_eq!([limits.acquire_timeout, limits.max_lifetime, limits.idle_timeout].map(|limit| limit.as_secs()), [30, 1800, 600]);
        let said = PoolOptions { max_connections: Some(3), ..PoolOptions::default() };
        let beneath = PoolOptions { max_connections: Some(4), min_connections: Some(2), ..PoolOptions::default() };
        let limits = said.or(beneath).limits().expect("valid");
        assert_eq!((limits.max_connections, limits.min_connections), (3, 2));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (max, min, expected) in [(Some(0), None, "max_connections is 0"), (Some(2), Some(3), "above"), (None, Some(11), "above")] {
            let options = PoolOptions { max_connections: max, min_connections: min, ..PoolOptions::default() };
            let error = options.limits().expect_err(expected);
            assert!(error.kind() == ErrorKind::Config && error.to_string().contains(expected), "{error}");
        }
    }
}
