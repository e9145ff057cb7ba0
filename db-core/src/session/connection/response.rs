//! Reading a reply to its end, whatever the server sends.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::{io, mem};

use mysql::prelude::Protocol;
use mysql::{QueryResult, Row};

use crate::session::watch::watched::Watched;

/// Calls the driver, which takes for granted that no packet is empty, that keys can be read, and the like. Where it panics, what it was in
/// the middle of is not known. The panic's message is not told: it may hold a value.
///
/// In a program that aborts on panics there is nothing to catch.
pub(in crate::session) fn caught<R>(call: impl FnOnce() -> mysql::Result<R>) -> mysql::Result<R> {
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(driver_panicked()))
}

pub(in crate::session) fn driver_panicked() -> mysql::Error {
    garbled("the driver panicked at what the server sent")
}

/// What the server sent is not a reply to what it was asked. Nothing more can be asked.
pub(super) fn garbled(why: &'static str) -> mysql::Error {
    mysql::Error::IoError(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// The results of one request. Dropped early, they are read to their end, but for a server that garbled them: that may have no end.
pub(in crate::session) struct Reply<'c, 't, 'tc, T: Protocol> {
    results: Option<QueryResult<'c, 't, 'tc, T>>,
    /// Told of each wait for more of it.
    watched: Option<Arc<Watched>>,
}

impl<'c, 't, 'tc, T: Protocol> Reply<'c, 't, 'tc, T> {
    pub fn new(results: QueryResult<'c, 't, 'tc, T>, watched: Option<Arc<Watched>>) -> Self {
        Self { results: Some(results), watched }
    }

    /// Whether there is another result.
    pub fn next_result(&mut self) -> mysql::Result<bool> {
        // `iter` gives what reads all of the result when it is dropped.
        self.read(|results| Ok(results.iter().map(mem::forget).is_some()))
    }

    /// The next row of the result. After the last one, the reply is at its next result.
    pub fn next_row(&mut self) -> mysql::Result<Option<Row>> {
        self.read(|results| results.next().transpose())
    }

    /// What the driver has of the result that is next.
    pub fn results(&self) -> Option<&QueryResult<'c, 't, 'tc, T>> {
        self.results.as_ref()
    }

    /// How many rows the statement changed whose result is next.
    pub fn affected_rows(&self) -> u64 {
        self.results.as_ref().map_or(0, QueryResult::affected_rows)
    }

    /// Leaves the rest where it is.
    pub(super) fn refuse(&mut self, why: &'static str) -> mysql::Error {
        mem::forget(self.results.take());
        garbled(why)
    }

    fn read<R>(&mut self, read: impl FnOnce(&mut QueryResult<'c, 't, 'tc, T>) -> mysql::Result<R>) -> mysql::Result<R> {
        let results = self.results.as_mut().ok_or_else(|| garbled("the rest of the reply was refused"))?;
        let _waiting = self.watched.as_deref().map(Watched::waiting);
        let read = caught(|| read(results));
        // What the server refuses, it refuses in so many words, and has then said all.
        if matches!(&read, Err(error) if !matches!(error, mysql::Error::MySqlError(_))) {
            mem::forget(self.results.take());
        }
        read
    }
}
