//! How is a connection to be made?

use std::time::Duration;

use mysql::{Opts, OptsBuilder, UrlError};

use crate::ledger::Table;
use crate::{Error, ErrorKind, Result, RetryPolicy};

/// The server's own limit shall be the one that is met: this is MySQL's default, and above MariaDB's.
const MAX_ALLOWED_PACKET: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A dead peer is noticed by keepalive while a reply is awaited, and by the user timeout while a request
/// is unacknowledged: each covers what the other does not.
const KEEPALIVE_TIME_MS: u32 = 10_000;
const KEEPALIVE_INTERVAL_S: u32 = 5;
const KEEPALIVE_PROBES: u32 = 3;
const USER_TIMEOUT_MS: u32 = 25_000;

/// What a `Db` and its forks have in common.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) options: Opts,
    /// The read timeout of the statements; the options hold the one of the handshake.
    pub(crate) read_timeout: Option<Duration>,
    pub(crate) retry: RetryPolicy,
    pub(crate) lock_timeout: Option<Duration>,
    /// Where COMMITs are recorded, if they are.
    pub(crate) ledger: Option<Table>,
}

impl Settings {
    /// The URL is not repeated in the error: it holds the password.
    pub(crate) fn parse(url: &str) -> Result<Opts> {
        Opts::from_url(url).map_err(|error| {
            let wrong = match error {
                UrlError::ParseError(error) => error.to_string(),
                UrlError::UnsupportedScheme(scheme) => format!("its scheme is `{scheme}`"),
                UrlError::FeatureRequired(feature, option) => format!("the option `{option}` needs the driver's feature {feature}"),
                UrlError::UnknownParameter(option) => format!("there is no option `{option}`"),
                UrlError::InvalidValue(option, _) => format!("the value of the option `{option}` cannot be understood"),
                UrlError::InvalidPoolConstraints { .. } => "pool_min is above pool_max".into(),
                UrlError::BadUrl => "it cannot be understood".into(),
            };
            let message = format!("the database URL is not valid: {wrong}. It reads mysql://user:password@host:port/database?option=value");
            Error::new(ErrorKind::Config, message)
        })
    }

    /// `options` as the user gave them, completed where they are silent.
    pub(crate) fn new(options: Opts, retry: RetryPolicy, lock_timeout: Option<Duration>, ledger: bool) -> Result<Self> {
        let ledger = if ledger { Some(Self::table(&options)?) } else { None };
        let read_timeout = options.get_read_timeout().copied();
        let mut builder = OptsBuilder::from_opts(options.clone())
            // Both would cost round trips at each connect, and the socket would leave the address given.
            .prefer_socket(false)
            .max_allowed_packet(options.get_max_allowed_packet().or(Some(MAX_ALLOWED_PACKET)))
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
        Ok(Self { options: builder.into(), read_timeout, retry, lock_timeout, ledger })
    }

    /// The ledger's table is where the URL says, wherever a body may go with USE.
    pub(crate) fn table(options: &Opts) -> Result<Table> {
        let database = options.get_db_name().filter(|name| !name.is_empty());
        database.map(Table::within).ok_or_else(|| {
            let message = "the commit ledger is a table in the URL's database, and the URL names none";
            Error::new(ErrorKind::Config, message)
        })
    }
}
