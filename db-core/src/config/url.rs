//! The options of a URL that are this library's, and not the driver's.

use std::time::Duration;

use crate::config::hosts::{Balance, Target};
use crate::config::pool::PoolOptions;
use crate::{Error, ErrorKind, Result};

/// The options of ours in a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UrlOptions {
    pub pool: PoolOptions,
    pub target: Option<Target>,
    pub balance: Option<Balance>,
}

/// The URLs of the single hosts, of a URL that may have a list of them: `mysql://user:password@host1:port1,host2/database`.
pub(super) fn one_by_one(url: &str) -> Vec<String> {
    let list = || {
        let begin = url.find("://")? + 3;
        let end = url[begin..].find(['/', '?']).map_or(url.len(), |at| begin + at);
        // What has no `@` behind it may be a part of the password.
        let begin = url[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
        if url[end..].contains('@') && !url[begin..end].contains(',') {
            return None;
        }
        let (before, hosts, rest) = (&url[..begin], &url[begin..end], &url[end..]);
        Some(hosts.split(',').map(|host| format!("{before}{host}{rest}")).collect())
    };
    list().unwrap_or_else(|| vec![url.into()])
}

/// The URL without the options that the driver does not know, and these options.
pub(super) fn split(url: &str) -> Result<(String, UrlOptions)> {
    let Some((start, query)) = url.split_once('?') else { return Ok((url.into(), UrlOptions::default())) };
    let mut options = UrlOptions::default();
    let mut rest = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if options.take(name, value)? == Of::Driver {
            rest.push(pair);
        }
    }
    let separator = if rest.is_empty() { "" } else { "?" };
    Ok((format!("{start}{separator}{}", rest.join("&")), options))
}

/// Who gets to see an option.
#[derive(PartialEq, Eq)]
enum Of {
    Ours,
    Driver,
}

impl UrlOptions {
    fn take(&mut self, name: &str, value: &str) -> Result<Of> {
        let number = || value.parse::<u32>().map(Some).map_err(|_| not_understood(name));
        let milliseconds = || value.parse().map(|ms| Some(Duration::from_millis(ms))).map_err(|_| not_understood(name));
        match name {
            "target_session_attrs" => {
                self.target = Some(match value {
                    "any" => Target::Any,
                    "read-write" => Target::ReadWrite,
                    _ => return Err(not_understood(name)),
                });
            }
            "load_balance_hosts" => {
                self.balance = Some(match value {
                    "disable" => Balance::Disable,
                    "random" => Balance::Random,
                    _ => return Err(not_understood(name)),
                });
            }
            "max_connections" => self.pool.max_connections = number()?,
            "min_connections" => self.pool.min_connections = number()?,
            "acquire_timeout_ms" => self.pool.acquire_timeout = milliseconds()?,
            "max_lifetime_ms" => self.pool.max_lifetime = milliseconds()?,
            "idle_timeout_ms" => self.pool.idle_timeout = milliseconds()?,
            // The driver's names. It checks the values, too.
            "pool_max" => {
                self.pool.max_connections = self.pool.max_connections.or(number()?);
                return Ok(Of::Driver);
            }
            "pool_min" => {
                self.pool.min_connections = self.pool.min_connections.or(number()?);
                return Ok(Of::Driver);
            }
            _ => return Ok(Of::Driver),
        }
        Ok(Of::Ours)
    }
}

fn not_understood(name: &str) -> Error {
    let message = format!("the database URL is not valid: the value of the option `{name}` is not valid");
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_ours_are_taken_out_of_the_url() {
        let (url, options) =
            split("mysql://u:p@h/d?max_connections=3&compress=fast&acquire_timeout_ms=1500&pool_max=9&pool_min=2").expect("valid");
        assert_eq!(url, "mysql://u:p@h/d?compress=fast&pool_max=9&pool_min=2");
        let pool = PoolOptions {
            max_connections: Some(3),
            min_connections: Some(2),
            acquire_timeout: Some(Duration::from_millis(1500)),
            ..PoolOptions::default()
        };
        assert_eq!(options, UrlOptions { pool, ..UrlOptions::default() });
        for url in ["mysql://u:p@h/d", "mysql://u:p@h/d?compress=fast", "nonsense", ""] {
            assert_eq!(split(url).expect(url), (url.into(), UrlOptions::default()));
        }
        assert_eq!(split("mysql://h/d?idle_timeout_ms=5").expect("valid").0, "mysql://h/d");
    }

    #[test]
    fn a_list_of_hosts_is_one_url_for_each() {
        for (url, expected) in [
            ("mysql://u:p@a:1,b,[::1]:3/d?x=1", &["mysql://u:p@a:1/d?x=1", "mysql://u:p@b/d?x=1", "mysql://u:p@[::1]:3/d?x=1"][..]),
            ("mysql://a,b", &["mysql://a", "mysql://b"]),
            ("mysql://u:p,q@a/d", &["mysql://u:p,q@a/d"]),
            ("mysql://u@a/d?x=1,2", &["mysql://u@a/d?x=1,2"]),
            ("nonsense,more", &["nonsense,more"]),
        ] {
            assert_eq!(one_by_one(url), expected);
        }
        let (_, options) = split("mysql://a,b/d?target_session_attrs=any&load_balance_hosts=random").expect("valid");
        assert_eq!((options.target, options.balance), (Some(Target::Any), Some(Balance::Random)));
        assert!(split("mysql://a,b/d?target_session_attrs=standby").is_err());
    }

    #[test]
    fn a_value_that_is_no_number_is_refused_and_not_shown() {
        for option in ["max_connections=-1", "min_connections=hunter2", "max_lifetime_ms=", "idle_timeout_ms", "pool_max=hunter2"] {
            let error = split(&format!("mysql://h/d?{option}")).expect_err(option);
            let name = option.split('=').next().expect("a name");
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
            assert!(error.kind() == ErrorKind::Config && !error.to_string().contains("hunter2"), "{error}");
        }
    }
}
