//! Resolution of a COMMIT that stores idempotency keys: what the row of its first key says.
//!
//! The request is executed as a whole or not at all, so that one of its rows decides. If the row is this attempt's, the work is committed. If it
//! is another attempt's, or a fence that the request does not replace, the request is refused whenever it arrives. Otherwise a fence is put
//! up, and once that is committed the late request is refused. Every step leaves what is true to be read from the row, so that any of them
//! can be retried.

use super::row::{self, Judgement};
use super::{Call, Collision, Keys, Row, taken};
use crate::Result;
use crate::session::connection::{COMMIT, Link};
use crate::session::ledger::resolve::{Lost, ask_in_time, first_in_a_resolution, kill_all};
use crate::session::ledger::{new_number, refused};
use crate::telemetry::event::event;

/// What became of an attempt to commit.
pub(in crate::session) enum Resolution {
    Committed,
    /// And it never will be.
    NotCommitted,
    /// Another attempt was.
    Taken(Collision),
    /// Why, for the error's text.
    Unknown(&'static str),
}

impl Keys {
    /// Finds out what became of this attempt, for up to the settings' `resolve_timeout`. `lost`: the session that may hold the row's lock.
    pub fn resolve(&mut self, lost: Option<Lost>) -> Resolution {
        let (Some(attempt), Some(call)) = (self.attempt, self.entries.first().map(|entry| entry.call.clone())) else {
            return Resolution::Unknown("the transaction stored no idempotency key");
        };
        let mut lost = Vec::from_iter(lost);
        let settings = std::sync::Arc::clone(&self.settings);
        let found = ask_in_time(&settings, |link| self.read(link, &call, attempt, &mut lost));
        match found {
            Some((Judgement::Committed, _)) => Resolution::Committed,
            Some((Judgement::Taken, Some(row))) => Resolution::Taken(taken(&call, row)),
            Some(_) => Resolution::NotCommitted,
            None => Resolution::Unknown("the idempotency key's row could not be read in time"),
        }
    }

    /// Reads the row under its lock, and puts a fence up if it says nothing yet.
    fn read(&mut self, mut link: Link, call: &Call, attempt: u64, lost: &mut Vec<Lost>) -> Result<(Judgement, Option<Row>)> {
        let table = self.table()?;
        kill_all(lost, &mut link)?;
        // It will hold the row's lock: if it is lost as well, the next one must not wait for it.
        lost.push(Lost::of(&link));
        link.packet(first_in_a_resolution(&link)).map_err(refused)?;
        let found = link.ask::<Row>(&table.find(call.key.bytes(), call.key.fingerprint_bytes(), row::EXCLUSIVE))?.pop();
        let judgement = row::judge(found.as_ref().map(row::seen), attempt, &self.replaces);
        if judgement == Judgement::Open {
            link.packet(&[&table.fence(call.key.bytes(), new_number(), &self.replaces), COMMIT]).map_err(refused)?;
            event!(
                info,
                "db_core.fence",
                { db_core.connection_id = link.conn().connection_id() },
                "fenced the COMMIT off: if it still arrives, it is refused"
            );
        }
        Ok((judgement, found))
    }
}
