//! Who is compared.

pub(crate) mod by_hand;
#[cfg(feature = "diesel")]
mod diesel;
pub(crate) mod driver;
pub(crate) mod ours;
mod python;
mod r2d2;
mod sqlx;

use std::path::Path;

use crate::peer::Peer;

/// What everyone is compared with.
pub(crate) const BASE: &str = "mysql::Conn";
pub(crate) const OURS: &str = "db-core";
pub(crate) const OURS_LEDGER: &str = "db-core, ledger";
pub(crate) const BY_HAND: &str = "mysql::Conn, autocommit = 0";

/// Pools and object mappers as they come, whom the goals name.
pub(crate) const AT_DEFAULTS: [&str; 5] = ["mysql::Pool", "r2d2_mysql", "diesel", "diesel r2d2", "sqlx"];

/// Everyone, in the order of the rounds. `python`: an interpreter that has mysqlclient.
pub(crate) fn all(python: Option<&Path>) -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> = vec![
        Box::new(ours::Ours { ledger: false }),
        Box::new(ours::Ours { ledger: true }),
        Box::new(driver::Bare),
        Box::new(by_hand::ByHand { ledger: false }),
        Box::new(by_hand::ByHand { ledger: true }),
        Box::new(driver::Pool { tuned: false }),
        Box::new(driver::Pool { tuned: true }),
        Box::new(r2d2::R2d2),
    ];
    #[cfg(feature = "diesel")]
    peers.extend([Box::new(diesel::Bare) as Box<dyn Peer>, Box::new(diesel::R2d2)]);
    peers.push(Box::new(sqlx::Sqlx));
    peers.extend(python.map(|interpreter| Box::new(python::Python::new(interpreter)) as Box<dyn Peer>));
    peers
}
