//! How a connection is made: the URL, the driver's options, and ours.

pub(crate) mod hosts;
pub(crate) mod pool;
#[cfg(feature = "serde")]
pub(crate) mod serde;
mod url;

use std::sync::Arc;
use std::time::Duration;

use mysql::consts::CapabilityFlags;
use mysql::{Opts, OptsBuilder, UrlError};

use crate::config::hosts::Hosts;
use crate::config::url::UrlOptions;
use crate::listener::Listener;
use crate::{Error, ErrorKind, Result, RetryPolicy};

/// The server's own limit shall be the one that is met: this is MySQL's default, and above MariaDB's.
const MAX_ALLOWED_PACKET: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A body that waits for a thread that waits for the same lock would otherwise wait indefinitely.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(20);
/// A member of a group that has no majority never replies to COMMIT.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than a cluster takes to elect another primary: Group Replication's defaults cost 22 to 30 seconds, Galera's 6 to 9.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(60);
/// A dead peer is noticed by keepalive while a reply is awaited, and by the user timeout while a request
/// is unacknowledged: each covers what the other does not.
const KEEPALIVE_TIME_MS: u32 = 10_000;
const KEEPALIVE_INTERVAL_S: u32 = 5;
const KEEPALIVE_PROBES: u32 = 3;
const USER_TIMEOUT_MS: u32 = 25_000;

/// Without, the driver would panic where TLS is asked for.
const TLS: bool = cfg!(any(feature = "native-tls", feature = "rustls"));

/// What a `Db` and its forks have in common.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Of the first host.
    pub options: Opts,
    pub hosts: Arc<Hosts>,
    /// How many prepared statements a connection keeps by their texts.
    pub statements: usize,
    /// The read timeout of the statements; the options hold the one of the handshake.
    pub read_timeout: Option<Duration>,
    pub retry: RetryPolicy,
    pub lock_timeout: Duration,
    /// How long a call may take.
    pub timeout: Option<Duration>,
    /// How long a request may be without a reply before the server is asked about it.
    pub silence: Duration,
    /// How long COMMIT may take.
    pub commit_timeout: Duration,
    /// A transaction that is open for longer is worth a warning.
    pub slow_transaction: Duration,
    /// Whom events are told.
    pub listener: Listener,
    /// The database that has the ledger's table, where COMMITs are recorded.
    pub ledger: Option<String>,
    /// For how long a COMMIT whose outcome is not known is resolved.
    pub resolve_timeout: Duration,
}

/// What a URL says.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub driver: Opts,
    /// The hosts after the first.
    pub others: Vec<(String, u16)>,
    pub own: UrlOptions,
}

impl Settings {
    /// The URL is not repeated in the error: it holds the password.
    pub fn parse(url: &str) -> Result<Parsed> {
        let (of_driver, own) = url::split(url)?;
        if !url.contains("://") {
            return Err(invalid("it does not begin with `mysql://`"));
        }
        let parsed = if url.contains('#') {
            Err(UrlError::BadUrl)
        } else {
            url::one_by_one(&of_driver).iter().map(|url| Opts::from_url(url)).collect::<Result<Vec<_>, _>>()
        };
        let mut hosts = parsed.map_err(|error| {
            let wrong = match error {
                // What was taken for an option, or for nothing at all, may be the rest of a password.
                _ if url.contains('#') || url.split_once('?').is_some_and(|(_, options)| options.contains('@')) => {
                    "in a user name, a password or an option, `/` is written %2F, `?` %3F, `#` %23, `@` %40 and `%` %25".into()
                }
                UrlError::ParseError(error) => error.to_string(),
                UrlError::UnsupportedScheme(_) => "its scheme is not `mysql`".into(),
                UrlError::FeatureRequired(feature, option) => format!("the option `{option}` needs the driver's feature {feature}"),
                UrlError::UnknownParameter(option) => format!("there is no option `{option}`"),
                UrlError::InvalidValue(option, _) => format!("the value of the option `{option}` is not valid"),
                UrlError::InvalidPoolConstraints { max: 0, .. } => "pool_max is 0".into(),
                UrlError::InvalidPoolConstraints { .. } => "pool_min is above pool_max".into(),
                UrlError::BadUrl => "its host is missing or not valid".into(),
            };
            invalid(&wrong)
        })?;
        let address = |options: &Opts| (options.get_ip_or_hostname().into_owned(), options.get_tcp_port());
        let others = hosts.drain(1..).map(|options| address(&options)).collect();
        let driver = hosts.remove(0);
        Ok(Parsed { driver, others, own })
    }

    /// `options` as the user gave them, completed where they are silent.
    pub fn new(options: Opts, retry: RetryPolicy, slow_transaction: Duration, ledger: bool) -> Result<Self> {
        if options.get_ssl_opts().is_some() && !TLS {
            return Err(Error::new(ErrorKind::Config, "TLS needs the feature `rustls` or `native-tls` of db-core"));
        }
        let ledger = if ledger { Some(Self::ledger_database(&options)?) } else { None };
        let read_timeout = options.get_read_timeout().copied();
        let statements = options.get_stmt_cache_size();
        let mut builder = OptsBuilder::from_opts(options.clone())
            // They are kept in a cache of our own.
            .stmt_cache_size(0)
            // Both would cost round trips at each connect, and the socket would leave the address given.
            .prefer_socket(false)
            .max_allowed_packet(options.get_max_allowed_packet().or(Some(MAX_ALLOWED_PACKET)))
            .additional_capabilities(options.get_additional_capabilities() | CapabilityFlags::CLIENT_SESSION_TRACK)
            .tcp_connect_timeout(options.get_tcp_connect_timeout().or(Some(CONNECT_TIMEOUT)))
            // A port that nobody listens on can connect to itself, and then wait for its own greeting for ever.
            .read_timeout(read_timeout.or(Some(CONNECT_TIMEOUT)))
            .tcp_keepalive_time_ms(options.get_tcp_keepalive_time_ms().or(Some(KEEPALIVE_TIME_MS)));
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        {
            builder = builder
                .tcp_keepalive_probe_interval_secs(options.get_tcp_keepalive_probe_interval_secs().or(Some(KEEPALIVE_INTERVAL_S)))
                .tcp_keepalive_probe_count(options.get_tcp_keepalive_probe_count().or(Some(KEEPALIVE_PROBES)));
        }
        #[cfg(target_os = "linux")]
        {
            builder = builder.tcp_user_timeout_ms(options.get_tcp_user_timeout_ms().or(Some(USER_TIMEOUT_MS)));
        }
        let options: Opts = builder.into();
        Ok(Self {
            hosts: Arc::new(Hosts::new(&options, &[], None, None)),
            options,
            statements,
            read_timeout,
            retry,
            lock_timeout: LOCK_TIMEOUT,
            timeout: None,
            silence: SILENCE,
            commit_timeout: COMMIT_TIMEOUT,
            slow_transaction,
            listener: Listener::default(),
            ledger,
            resolve_timeout: RESOLVE_TIMEOUT,
        })
    }

    /// A policy, with the default of `max_elapsed` for these servers.
    pub(crate) fn paced(&self, policy: &RetryPolicy) -> RetryPolicy {
        if self.hosts.fail_over() { policy.on_cluster() } else { *policy }
    }

    /// The ledger's table is where the URL says, wherever a body may go with USE.
    pub fn ledger_database(options: &Opts) -> Result<String> {
        Self::database(options, "the commit ledger needs a database for its table")
    }

    /// So is that of the idempotency keys.
    pub(crate) fn idempotency_database(&self) -> Result<String> {
        Self::database(&self.options, "idempotency keys need a database for their table")
    }

    fn database(options: &Opts, what: &str) -> Result<String> {
        let database = options.get_db_name().filter(|name| !name.is_empty());
        let missing = || Error::new(ErrorKind::Config, format!("{what}, and the URL names none"));
        database.map(str::to_owned).ok_or_else(missing)
    }
}

fn invalid(wrong: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("the database URL is not valid: {wrong}. Its form is mysql://user:password@host:port/database?option=value"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::pool::PoolOptions;

    fn refused(url: &str) -> String {
        let error = match Settings::parse(url) {
            Err(error) => error,
            Ok(parsed) => Settings::new(parsed.driver, RetryPolicy::default(), Duration::MAX, true).map(drop).expect_err(url),
        };
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        assert!(!error.is_transient(), "{url}");
        format!("{error} {error:?}")
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_by_name() {
        for (url, expected) in [
            ("mysql://u:hunter2@h/d?sslmode=require", "there is no option `sslmode`"),
            ("mysql://u:hunter2@h/d?tcp_connect_timeout_ms=soon", "the value of the option `tcp_connect_timeout_ms` is not valid"),
            ("postgres://u:hunter2@h/d", "its scheme is not `mysql`"),
            ("mysql://u:hunter2@h:port/d", "invalid port number"),
            ("mysql://u:hunter2@h/d?pool_min=9&pool_max=1", "pool_min"),
            ("mysql:hunter2", "does not begin with `mysql://`"),
            ("mysql://", "host is missing"),
            ("mysql://h/d?pool_max=0", "pool_max is 0"),
            ("hunter2", "does not begin with"),
            ("", "does not begin with"),
            ("mysql://u:1?hunter2=x@h/d", "`?` %3F"),
            ("mysql://u:1#hunter2@h:x/d?y=z", "`#` %23"),
            ("mysql://u:hunter2@h", "the URL names none"),
        ] {
            let shown = refused(url);
            assert!(shown.contains(expected), "{url}: {shown}");
            assert!(!shown.contains("hunter2"), "{url}: {shown}");
        }
    }

    #[test]
    fn every_option_that_is_documented_is_one_and_has_the_default_that_is_documented() {
        let guide = include_str!("../../docs/guide/connections.md");
        let rows = guide.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
        let options = rows.filter(|(names, _)| !matches!(*names, "rustls`" | "native-tls`"));
        let mut documented = 0;
        for name in options.clone().flat_map(|(names, _)| names.split(", ")).map(|name| name.trim_matches('`')) {
            documented += 1;
            let shown = Settings::parse(&format!("mysql://u@h/d?{name}=%00")).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(!shown.contains("no option"), "{shown}");
        }
        assert_eq!(documented, 37);

        let settings =
            Settings::parse("mysql://u@h/d").and_then(|parsed| Settings::new(parsed.driver, RetryPolicy::default(), Duration::MAX, false));
        let settings = settings.expect("a plain URL");
        let used = &settings.options;
        let limits = PoolOptions::default().limits().expect("the defaults");
        let ms = |duration: Duration| Some(duration.as_millis().to_string());
        let defaults = [
            ("acquire_timeout_ms", ms(limits.acquire_timeout)),
            ("max_lifetime_ms", ms(limits.max_lifetime)),
            ("idle_timeout_ms", ms(limits.idle_timeout)),
            ("tcp_connect_timeout_ms", used.get_tcp_connect_timeout().map(|timeout| timeout.as_millis().to_string())),
            ("tcp_keepalive_time_ms", used.get_tcp_keepalive_time_ms().map(|time| time.to_string())),
            ("tcp_keepalive_probe_interval_secs", used.get_tcp_keepalive_probe_interval_secs().map(|interval| interval.to_string())),
            ("tcp_keepalive_probe_count", used.get_tcp_keepalive_probe_count().map(|count| count.to_string())),
            ("tcp_user_timeout_ms", used.get_tcp_user_timeout_ms().map(|timeout| timeout.to_string())),
            ("max_allowed_packet", used.get_max_allowed_packet().map(|bytes| bytes.to_string())),
            ("stmt_cache_size", Some(settings.statements.to_string())),
            ("secure_auth", Some(format!("`{}`", used.get_secure_auth()))),
            ("enable_cleartext_plugin", Some(format!("`{}`", used.get_enable_cleartext_plugin()))),
        ];
        for (name, value) in defaults {
            let (_, row) = options.clone().find(|(names, _)| *names == format!("{name}`")).expect(name);
            assert!(row.ends_with(&format!(" | {} |", value.expect(name))), "{name}: {row}");
        }
        assert!(!used.get_prefer_socket() && used.get_compress().is_none() && used.get_socket().is_none());
    }

    #[cfg(not(any(feature = "native-tls", feature = "rustls")))]
    #[test]
    fn tls_without_its_feature_is_refused() {
        for option in ["root_cert_path=ca.pem", "danger_skip_domain_validation=false", "danger_accept_invalid_certs=true"] {
            assert!(refused(&format!("mysql://u@h/d?{option}")).contains("feature `rustls`"), "{option}");
        }
    }

    fn url_text() -> impl Strategy<Value = String> {
        let options = prop::sample::select(vec![
            "socket",
            "prefer_socket",
            "compress",
            "pool_min",
            "tcp_keepalive_time_ms",
            "tcp_user_timeout_ms",
            "max_allowed_packet",
            "stmt_cache_size",
            "root_cert_path",
            "danger_accept_invalid_certs",
            "secure_auth",
            "no_such_option",
        ]);
        let pairs = prop::collection::vec((options, "\\PC{0,12}"), 0..4);
        ("mysql|mysqlx|", "\\PC{0,12}", "\\PC{0,12}", "\\PC{0,8}", pairs).prop_map(|(scheme, user, host, database, pairs)| {
            let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{scheme}://{user}@{host}/{database}?{}", pairs.join("&"))
        })
    }

    proptest! {
        #[test]
        fn no_url_can_panic(url in prop_oneof![any::<String>(), url_text()]) {
            if let Ok(parsed) = Settings::parse(&url) {
                let _ = Settings::new(parsed.driver, RetryPolicy::default(), Duration::MAX, true);
            }
        }

        #[test]
        fn no_part_of_a_password_is_in_an_error(before in "[ -~]{0,6}", after in "[ -~]{0,6}", rest in "[a-z0-9/?&=.:]{0,12}") {
            let url = format!("mysql://user:{before}swordfish{after}@{rest}");
            if let Err(error) = Settings::parse(&url) {
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains("swordfish"), "{url}: {shown}");
            }
        }
    }
}
