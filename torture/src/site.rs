//! The servers under fire.

use std::time::Duration;

use db_core::mysql::prelude::Queryable as _;
use db_core::mysql::{self, Conn, Opts, OptsBuilder};
use db_testkit::Server;

use crate::nodes::Nodes;

/// What the workers use, and the saboteur breaks.
pub(crate) enum Site {
    /// A throwaway server: everything may be done to it.
    Throwaway(Server),
    /// A throwaway cluster.
    Nodes(Box<Nodes>),
    /// A database of the user's: only sessions of this program are killed.
    Own(String),
}

/// Options of a URL that are the library's.
const OURS: [&str; 7] =
    ["target_session_attrs", "load_balance_hosts", "max_connections", "min_connections", "acquire_timeout", "max_lifetime", "idle_timeout"];

/// More than the saboteur freezes a server for.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

impl Site {
    pub(crate) fn url(&self) -> String {
        match self {
            Site::Throwaway(server) => server.url(),
            Site::Nodes(nodes) => nodes.url(),
            Site::Own(url) => url.clone(),
        }
    }

    /// Of which the processes are ours.
    pub(crate) fn throwaway(&self) -> Option<&Server> {
        match self {
            Site::Throwaway(server) => Some(server),
            Site::Nodes(_) | Site::Own(_) => None,
        }
    }

    pub(crate) fn nodes(&self) -> Option<&Nodes> {
        match self {
            Site::Nodes(nodes) => Some(nodes),
            Site::Throwaway(_) | Site::Own(_) => None,
        }
    }

    /// Waits until every node has applied everything.
    pub(crate) fn settle(&self) -> Result<(), db_testkit::Error> {
        self.nodes().map_or(Ok(()), |nodes| nodes.cluster.settled())
    }

    /// A connection that bypasses the proxies, to the first host that accepts writes.
    pub(crate) fn connect(&self) -> mysql::Result<Conn> {
        let connect = |url: &String| {
            let options = Opts::from_url(url)?;
            let mut conn = Conn::new(OptsBuilder::from_opts(options).prefer_socket(false).read_timeout(Some(READ_TIMEOUT)))?;
            let read_only: Option<String> = conn.query_first("SELECT CAST(@@global.read_only AS CHAR)")?;
            Ok((conn, read_only.is_some_and(|value| !matches!(value.as_str(), "0" | "OFF"))))
        };
        let found: Vec<mysql::Result<(Conn, bool)>> = one_by_one(&self.url()).iter().map(connect).collect();
        let is_fit = |found: &mysql::Result<(Conn, bool)>| matches!(found, Ok((_, false)));
        let place = found.iter().position(is_fit).or(found.iter().position(Result::is_ok)).unwrap_or_default();
        let chosen = found.into_iter().nth(place);
        chosen.map_or_else(|| Err(mysql::UrlError::BadUrl.into()), |found| found.map(|(conn, _)| conn))
    }
}

/// The URLs of the single hosts, without the options that the driver does not know.
fn one_by_one(url: &str) -> Vec<String> {
    let (start, options) = url.split_once('?').unwrap_or((url, ""));
    let of_driver: Vec<&str> = options.split('&').filter(|option| !OURS.iter().any(|name| option.starts_with(name))).collect();
    let options = of_driver.join("&");
    let separator = if options.is_empty() { "" } else { "?" };
    let begin = start.rfind('@').or(start.find("//").map(|at| at + 1)).map_or(0, |at| at + 1);
    let end = start[begin..].find('/').map_or(start.len(), |at| begin + at);
    let (before, hosts, after) = (&start[..begin], &start[begin..end], &start[end..]);
    hosts.split(',').map(|host| format!("{before}{host}{after}{separator}{options}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_a_url_of_the_drivers() {
        let url = "mysql://u:p@a:1,b/d?target_session_attrs=read-write&tcp_nodelay=true";
        assert_eq!(one_by_one(url), ["mysql://u:p@a:1/d?tcp_nodelay=true", "mysql://u:p@b/d?tcp_nodelay=true"]);
        assert_eq!(one_by_one("mysql://a/d"), ["mysql://a/d"]);
    }
}
