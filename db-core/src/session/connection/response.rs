//! Reading a reply to its end, whatever the server sends.

use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe};
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
///
/// From the first look at it to its end it counts as waited for, but for the times when the caller has a row, or has it [rest](Self::rests).
pub(in crate::session) struct Reply<'c, 't, 'tc, T: Protocol, W: Deref<Target = Watched> = &'c Watched> {
    results: Option<QueryResult<'c, 't, 'tc, T>>,
    watched: Option<W>,
    is_waiting: bool,
}

impl<'c, 't, 'tc, T: Protocol, W: Deref<Target = Watched>> Reply<'c, 't, 'tc, T, W> {
    pub fn new(results: QueryResult<'c, 't, 'tc, T>, watched: Option<W>) -> Self {
        Self { results: Some(results), watched, is_waiting: false }
    }

    /// Whether there is another result.
    pub fn next_result(&mut self) -> mysql::Result<bool> {
        // `iter` gives what reads all of the result when it is dropped.
        let more = self.read(|results| Ok(results.iter().map(mem::forget).is_some()));
        if !matches!(more, Ok(true)) {
            self.rests();
        }
        more
    }

    /// The next row of the result. After the last one, the reply is at its next result.
    pub fn next_row(&mut self) -> mysql::Result<Option<Row>> {
        let row = self.read(|results| results.next().transpose());
        if !matches!(row, Ok(None)) {
            self.rests();
        }
        row
    }

    /// No thread waits for more of it at present.
    pub fn rests(&mut self) {
        self.waits(false);
    }

    fn waits(&mut self, waits: bool) {
        if let Some(watched) = &self.watched
            && self.is_waiting != waits
        {
            self.is_waiting = waits;
            if waits { watched.begins() } else { watched.ends() }
        }
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
        self.waits(true);
        let results = self.results.as_mut().ok_or_else(|| garbled("the rest of the reply was refused"))?;
        let read = caught(|| read(results));
        // What the server refuses, it refuses in so many words, and has then said all.
        if matches!(&read, Err(error) if !matches!(error, mysql::Error::MySqlError(_))) {
            mem::forget(self.results.take());
        }
        read
    }
}

impl<T: Protocol, W: Deref<Target = Watched>> Drop for Reply<'_, '_, '_, T, W> {
    fn drop(&mut self) {
        if self.results.is_some() {
            self.waits(true);
            self.results = None;
        }
        self.rests();
    }
}
