//! The options of a URL that are this library's, and not the driver's.

use std::time::Duration;

use crate::config::pool::PoolOptions;
use crate::{Error, ErrorKind, Result};

/// The options of ours in a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UrlOptions {
    pub(crate) pool: PoolOptions,
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
    let message = format!("the database URL is not valid: the value of the option `{name}` cannot be understood");
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
        assert_eq!(options, UrlOptions { pool });
        for url in ["mysql://u:p@h/d", "mysql://u:p@h/d?compress=fast", "nonsense", ""] {
            assert_eq!(split(url).expect(url), (url.into(), UrlOptions::default()));
        }
        assert_eq!(split("mysql://h/d?idle_timeout_ms=5").expect("valid").0, "mysql://h/d");
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
