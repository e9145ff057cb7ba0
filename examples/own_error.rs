//! Whatever type a function's errors have, what the database said comes through, and the retry works.
//! `cargo run --package examples --example own_error`, on a throwaway server behind a proxy that breaks connections.

use db_core::prelude::*;
use db_testkit::{Action, Fault, Point, Server};

/// The members of a club: what the four functions below have in common. Its `?` needs no conversion.
#[transactional]
fn enter(tx: &mut Transaction<'_>, name: &str) -> db_core::Result<u64> {
    tx.exec_drop("INSERT INTO member (name) VALUES (?)", (name,))?;
    let id = tx.last_insert_id().unwrap_or_default();
    tx.query_drop("UPDATE club SET members = members + 1")?;
    Ok(id)
}

/// By `thiserror`, with the database's error as its source: the caller reads our words first, and the cause behind them.
#[derive(Debug, thiserror::Error)]
enum JoinError {
    #[error("a member needs a name")]
    NoName,
    #[error("the member could not be entered")]
    Database(#[from] db_core::Error),
}

#[retry_on_disconnect]
#[transactional]
fn with_source(tx: &mut Transaction<'_>, name: &str) -> Result<u64, JoinError> {
    let id = enter(tx, name)?;
    if name.is_empty() {
        return Err(JoinError::NoName); // the entry is undone
    }
    Ok(id)
}

/// By `thiserror`, transparent: the caller reads the database's words as if they were ours. The error is hidden from `source()`,
/// and found all the same by a `match`.
#[derive(Debug, thiserror::Error)]
enum ThinError {
    #[error("a member needs a name")]
    NoName,
    #[error(transparent)]
    Database(#[from] db_core::Error),
}

#[retry_on_disconnect]
#[transactional]
fn transparent(tx: &mut Transaction<'_>, name: &str) -> Result<u64, ThinError> {
    let id = enter(tx, name)?;
    if name.is_empty() { Err(ThinError::NoName) } else { Ok(id) }
}

/// By `anyhow`: no type of our own. The database's error is found by `downcast_ref`, behind any context.
#[retry_on_disconnect]
#[transactional]
fn with_anyhow(tx: &mut Transaction<'_>, name: &str) -> anyhow::Result<u64> {
    use anyhow::Context as _;
    let id = enter(tx, name).context("the member could not be entered")?;
    anyhow::ensure!(!name.is_empty(), "a member needs a name");
    Ok(id)
}

/// By hand: nothing but the one conversion that the attributes ask for. It may even decide what the error means here.
#[derive(Debug)]
enum Refusal {
    NoName,
    Known(db_core::Error),
    Trouble(db_core::Error),
}

impl From<db_core::Error> for Refusal {
    fn from(error: db_core::Error) -> Self {
        if error.kind() == ErrorKind::UniqueViolation { Self::Known(error) } else { Self::Trouble(error) }
    }
}

#[retry_on_disconnect]
#[transactional]
fn by_hand(tx: &mut Transaction<'_>, name: &str) -> Result<u64, Refusal> {
    let id = enter(tx, name)?;
    if name.is_empty() { Err(Refusal::NoName) } else { Ok(id) }
}

/// The database's part in an error; `None` if it is our own.
trait Cause {
    fn cause(&self) -> Option<&db_core::Error>;
}

impl Cause for JoinError {
    fn cause(&self) -> Option<&db_core::Error> {
        if let Self::Database(error) = self { Some(error) } else { None }
    }
}

impl Cause for ThinError {
    fn cause(&self) -> Option<&db_core::Error> {
        if let Self::Database(error) = self { Some(error) } else { None }
    }
}

impl Cause for anyhow::Error {
    fn cause(&self) -> Option<&db_core::Error> {
        self.downcast_ref()
    }
}

impl Cause for Refusal {
    fn cause(&self) -> Option<&db_core::Error> {
        match self {
            Self::NoName => None,
            Self::Known(error) | Self::Trouble(error) => Some(error),
        }
    }
}

/// What a caller can act on.
fn describe(error: &impl Cause) -> String {
    let Some(error) = error.cause() else { return "our own".into() };
    let broken = error.constraint().and_then(|broken| Some(format!(" ({}, {:?})", broken.name()?, broken.value()?)));
    let (kind, status, attempts) = (error.kind(), error.http_status(), error.attempts());
    format!("{kind:?}{}, HTTP {status}, attempts {attempts}", broken.unwrap_or_default())
}

/// Four calls: one that meets a broken connection, and three that fail, each for another reason.
fn check<E: Cause>(club: &Club, style: &str, join: impl Fn(&str) -> Result<u64, E>) -> anyhow::Result<()> {
    let said = |result: Result<u64, E>| result.map_or_else(|error| describe(&error), |_| "Ok".into());
    let breaks = |times| Fault::new(Point::BeforeRequest, Action::Rst).matching("UPDATE club").times(times);

    let broken_once = club.proxy.inject(breaks(1));
    let retried = said(join(style));
    let again = said(join(style));
    let nameless = said(join(""));
    let broken_thrice = club.proxy.inject(breaks(3));
    let given_up = said(join("nobody"));

    println!("{style:<12} the connection breaks once:    {retried}");
    println!("{style:<12} the name is taken:             {again}");
    println!("{style:<12} there is no name:              {nameless}");
    println!("{style:<12} the connection breaks always:  {given_up}");
    anyhow::ensure!((broken_once.fired(), broken_thrice.fired()) == (1, 3), "a fault did not happen");
    anyhow::ensure!(retried == "Ok", "{style}: not retried: {retried}");
    anyhow::ensure!(again == format!("UniqueViolation (member_name, {style:?}), HTTP 409, attempts 1"), "{style}: {again}");
    anyhow::ensure!(nameless == "our own", "{style}: {nameless}");
    anyhow::ensure!(given_up == "ConnectionLost, HTTP 503, attempts 3", "{style}: {given_up}");
    Ok(())
}

struct Club {
    proxy: db_testkit::FaultProxy,
    db: Db,
}

fn main() -> anyhow::Result<()> {
    let server = Server::start()?;
    let proxy = server.proxy()?;
    let mut admin = server.connect()?;
    admin.query_drop("CREATE TABLE club (members INT NOT NULL) ENGINE=InnoDB")?;
    admin.query_drop("INSERT INTO club VALUES (0)")?;
    admin.query_drop(
        "CREATE TABLE member (id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL, UNIQUE KEY member_name (name)) ENGINE=InnoDB",
    )?;
    let db = Db::connect(&proxy.url(&server.url())?)?;
    let club = Club { proxy, db };

    check(&club, "with_source", |name| with_source(&club.db, name))?;
    check(&club, "transparent", |name| transparent(&club.db, name))?;
    check(&club, "with_anyhow", |name| with_anyhow(&club.db, name))?;
    check(&club, "by_hand", |name| by_hand(&club.db, name))?;

    // Each function has entered one member, once; whatever failed has left nothing.
    let counted: Option<(u32, u32)> = admin.query_first("SELECT members, (SELECT COUNT(*) FROM member) FROM club")?;
    anyhow::ensure!(counted == Some((4, 4)), "there should be 4 members, and 4 counted: {counted:?}");
    println!("4 members, each entered once");
    Ok(())
}
