//! `r2d2` with `r2d2_mysql`, at its defaults: a ping at each checkout and at each return.

use mysql::TxOpts;
use r2d2_mysql::MySqlConnectionManager;

use super::driver::{options, transaction};
use crate::error::Outcome;
use crate::peer::{Client, Midway, Peer, Session};
use crate::work::Work;

pub(super) struct R2d2;

struct Pooled(r2d2::Pool<MySqlConnectionManager>);

impl Peer for R2d2 {
    fn name(&self) -> &'static str {
        "r2d2_mysql"
    }

    fn client(&self, url: &str, sessions: usize) -> Outcome<Box<dyn Client>> {
        let size = u32::try_from(sessions.max(10))?;
        let manager = MySqlConnectionManager::new(options(url)?);
        Ok(Box::new(Pooled(r2d2::Pool::builder().max_size(size).error_handler(Box::new(r2d2::NopErrorHandler)).build(manager)?)))
    }
}

impl Client for Pooled {
    fn session(&self) -> Outcome<Box<dyn Session>> {
        Ok(Box::new(Pooled(self.0.clone())))
    }
}

impl Session for Pooled {
    fn once(&mut self, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
        let mut conn = self.0.get()?;
        transaction(conn.start_transaction(TxOpts::default())?, work, row, midway)
    }
}
