//! How are settings written in a file? The feature `serde`.
//!
//! `TxOptions` and `Isolation` are written as they are. Durations are whole milliseconds, and their names say so. Names that are not known are refused, and so is what cannot be meant.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Db, DbBuilder, RetryPolicy};

#[derive(Serialize, Deserialize)]
#[serde(rename = "RetryPolicy", default, deny_unknown_fields)]
struct WrittenPolicy {
    max_attempts: u32,
    base_delay_ms: u64,
    max_delay_ms: u64,
    /// Missing: the default, which depends on the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_elapsed_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename = "DbBuilder", deny_unknown_fields)]
struct WrittenBuilder {
    url: String,
    retry: Option<RetryPolicy>,
    lock_timeout_ms: Option<u64>,
    slow_transaction_ms: Option<u64>,
    #[serde(default)]
    commit_ledger: bool,
    resolve_timeout_ms: Option<u64>,
    timeout_ms: Option<u64>,
    silence_ms: Option<u64>,
    commit_timeout_ms: Option<u64>,
    max_connections: Option<u32>,
    min_connections: Option<u32>,
    acquire_timeout_ms: Option<u64>,
    max_lifetime_ms: Option<u64>,
    idle_timeout_ms: Option<u64>,
}

impl Default for WrittenPolicy {
    fn default() -> Self {
        Self::of(&RetryPolicy::default())
    }
}

impl WrittenPolicy {
    fn of(policy: &RetryPolicy) -> Self {
        let (max_attempts, [base, longest], elapsed) = policy.parts();
        Self {
            max_attempts,
            base_delay_ms: milliseconds(base),
            max_delay_ms: milliseconds(longest),
            max_elapsed_ms: elapsed.map(milliseconds),
        }
    }
}

/// Those of a duration that has more than there are numbers: as good as for ever.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration that may be missing.
pub(crate) mod ms {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(milliseconds).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

/// As a map: `max_attempts`, `base_delay_ms`, `max_delay_ms`, `max_elapsed_ms`. What is less than a millisecond is lost.
impl Serialize for RetryPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WrittenPolicy::of(self).serialize(serializer)
    }
}

/// From a map, of which everything may be left out. 0 attempts are refused.
impl<'de> Deserialize<'de> for RetryPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = WrittenPolicy::deserialize(deserializer)?;
        if written.max_attempts == 0 {
            return Err(serde::de::Error::custom("max_attempts is 0, which no body could run in; 1 is no retry"));
        }
        let policy = Self::default()
            .max_attempts(written.max_attempts)
            .base_delay(Duration::from_millis(written.base_delay_ms))
            .max_delay(Duration::from_millis(written.max_delay_ms));
        Ok(written.max_elapsed_ms.map_or(policy, |elapsed| policy.max_elapsed(Duration::from_millis(elapsed))))
    }
}

/// From a map: `url`, and what may be left out: `retry`, `lock_timeout_ms`, `slow_transaction_ms`, `commit_ledger`,
/// `resolve_timeout_ms`, `timeout_ms`, `silence_ms`, `commit_timeout_ms`; for a [`Pool`](crate::Pool) `max_connections`, `min_connections`, `acquire_timeout_ms`, `max_lifetime_ms`,
/// `idle_timeout_ms`.
///
/// ```
/// # fn main() -> Result<(), serde_json::Error> {
/// let text = r#"{ "url": "mysql://app:secret@db1/bank", "retry": { "max_attempts": 5 }, "commit_ledger": true }"#;
/// let builder: db_core::DbBuilder = serde_json::from_str(text)?;
/// # Ok(()) }
/// ```
///
/// The URL is looked at by [`connect`](DbBuilder::connect).
impl<'de> Deserialize<'de> for DbBuilder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = WrittenBuilder::deserialize(deserializer)?;
        let mut builder = Db::builder(&written.url).commit_ledger(written.commit_ledger);
        if let Some(policy) = written.retry {
            builder = builder.retry(policy);
        }
        type Set = fn(DbBuilder, Duration) -> DbBuilder;
        let durations = [
            (written.lock_timeout_ms, Self::lock_timeout as Set),
            (written.slow_transaction_ms, Self::slow_transaction),
            (written.resolve_timeout_ms, Self::resolve_timeout),
            (written.timeout_ms, Self::timeout),
            (written.silence_ms, Self::silence),
            (written.commit_timeout_ms, Self::commit_timeout),
            (written.acquire_timeout_ms, Self::acquire_timeout),
            (written.max_lifetime_ms, Self::max_lifetime),
            (written.idle_timeout_ms, Self::idle_timeout),
        ];
        for (ms, set) in durations {
            if let Some(ms) = ms {
                builder = set(builder, Duration::from_millis(ms));
            }
        }
        if let Some(connections) = written.max_connections {
            builder = builder.max_connections(connections);
        }
        if let Some(connections) = written.min_connections {
            builder = builder.min_connections(connections);
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{from_str, to_string};

    use super::*;
    use crate::{Isolation, TxOptions};

    #[test]
    fn what_is_written_is_what_is_documented() {
        assert_eq!(to_string(&RetryPolicy::default()).expect("a policy"), r#"{"max_attempts":3,"base_delay_ms":10,"max_delay_ms":200}"#);
        assert_eq!(to_string(&TxOptions::new()).expect("options"), r#"{"read_only":false,"join":false}"#);
        let levels = [
            (Isolation::ReadUncommitted, r#""read_uncommitted""#),
            (Isolation::ReadCommitted, r#""read_committed""#),
            (Isolation::RepeatableRead, r#""repeatable_read""#),
            (Isolation::Serializable, r#""serializable""#),
        ];
        for (level, text) in levels {
            assert_eq!(to_string(&level).expect("a level"), text);
            assert_eq!(from_str::<Isolation>(text).expect(text), level);
        }
        let for_ever = to_string(&RetryPolicy::default().max_elapsed(Duration::MAX)).expect("a policy");
        assert!(for_ever.contains(&u64::MAX.to_string()), "{for_ever}");
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(from_str::<RetryPolicy>("{}").expect("a policy"), RetryPolicy::default());
        assert_eq!(from_str::<RetryPolicy>(r#"{"max_attempts":7}"#).expect("a policy"), RetryPolicy::default().max_attempts(7));
        assert_eq!(from_str::<TxOptions>("{}").expect("options"), TxOptions::new());
        let written: DbBuilder = from_str(r#"{"url":"mysql://u@h/d"}"#).expect("a builder");
        assert_eq!(format!("{written:?}"), format!("{:?}", Db::builder("mysql://u@h/d")));
    }

    #[test]
    fn a_builder_has_what_was_written() {
        let text = r#"{"url":"mysql://u:hunter2@h/d","retry":{"max_attempts":5},"lock_timeout_ms":2000,"slow_transaction_ms":500,"commit_ledger":true,"resolve_timeout_ms":30000,"timeout_ms":9000,"silence_ms":5000,"commit_timeout_ms":7000,"max_connections":5,"min_connections":1,"acquire_timeout_ms":1000,"max_lifetime_ms":60000,"idle_timeout_ms":3000}"#;
        let written: DbBuilder = from_str(text).expect("a builder");
        let built = Db::builder("mysql://u:hunter2@h/d")
            .retry(RetryPolicy::default().max_attempts(5))
            .lock_timeout(Duration::from_secs(2))
            .slow_transaction(Duration::from_millis(500))
            .commit_ledger(true)
            .resolve_timeout(Duration::from_secs(30))
            .timeout(Duration::from_secs(9))
            .silence(Duration::from_secs(5))
            .commit_timeout(Duration::from_secs(7))
            .max_connections(5)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(1))
            .max_lifetime(Duration::from_secs(60))
            .idle_timeout(Duration::from_secs(3));
        assert_eq!(format!("{written:?}"), format!("{built:?}"));
        assert!(!format!("{written:?}").contains("hunter2"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (text, expected) in [
            (r#"{"max_attempts":0}"#, "max_attempts is 0"),
            (r#"{"max_attempts":-1}"#, "invalid value"),
            (r#"{"attempts":3}"#, "unknown field `attempts`"),
            (r#"{"base_delay":10}"#, "unknown field `base_delay`"),
            (r#"{"base_delay_ms":"10ms"}"#, "invalid type"),
        ] {
            let error = from_str::<RetryPolicy>(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for (text, expected) in [
            (r#"{"isolation":"serialisable"}"#, "unknown variant"),
            (r#"{"readonly":true}"#, "unknown field `readonly`"),
            (r#"{"isolation":"SERIALIZABLE"}"#, "unknown variant"),
        ] {
            let error = from_str::<TxOptions>(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for (text, expected) in [
            ("{}", "missing field `url`"),
            (r#"{"url":"mysql://u:hunter2@h/d","user":"u"}"#, "unknown field `user`"),
            (r#"{"url":"mysql://u:hunter2@h/d","retry":{"max_attempts":0}}"#, "max_attempts is 0"),
        ] {
            let error = from_str::<DbBuilder>(text).expect_err(text).to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(attempts in 1..=u32::MAX, delays: [u32; 3], level in 0..5, read_only: bool, join: bool) {
            let [base, longest, elapsed] = delays.map(|ms| Duration::from_millis(ms.into()));
            let policy = RetryPolicy::default().max_attempts(attempts).base_delay(base).max_delay(longest).max_elapsed(elapsed);
            prop_assert_eq!(from_str::<RetryPolicy>(&to_string(&policy)?)?, policy);
            let options = TxOptions::new().read_only(read_only).join(join);
            let options = if join { options.timeout(base) } else { options };
            let options = match level {
                0 => options.isolation(Isolation::ReadUncommitted),
                1 => options.isolation(Isolation::ReadCommitted),
                2 => options.isolation(Isolation::RepeatableRead),
                3 => options.isolation(Isolation::Serializable),
                _ => options,
            };
            prop_assert_eq!(from_str::<TxOptions>(&to_string(&options)?)?, options);
        }
    }
}
