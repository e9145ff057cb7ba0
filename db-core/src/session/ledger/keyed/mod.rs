//! Idempotency keys in a transaction: what COMMIT stores under them, and what it collides with.
//!
//! The rows are the ledger's entry of such a transaction, so that its COMMIT is not recorded in the client's own row as well.

#[cfg(test)]
mod model;
mod resolve;
mod row;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(in crate::session) use self::resolve::Resolution;
use self::row::Judgement;
pub(in crate::session) use self::row::{BATCH, Row, Table};
use crate::config::Settings;
use crate::session::connection::{COMMIT, Link};
use crate::session::ledger::{new_number, refused};
use crate::telemetry::event::function;
use crate::{Error, ErrorKind, IdempotencyKey, Result};

/// The longest name of a function that is stored, in bytes.
const LONGEST_NAME: usize = 1000;

/// How often a COMMIT that met fences is sent again.
const TRIES: u32 = 8;

/// A call with an idempotency key.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub key: IdempotencyKey,
    /// The body's type, as the compiler names it.
    body: &'static str,
    /// It is part of another call's transaction.
    nested: bool,
    /// The value that an earlier call has stored, for a call whose own work was rolled back for it.
    told: Arc<OnceLock<String>>,
}

/// What COMMIT is to store.
#[derive(Debug)]
pub(in crate::session) struct Entry {
    call: Call,
    result: String,
}

/// The keys of the transaction that is open.
pub(in crate::session) struct Keys {
    settings: Arc<Settings>,
    entries: Vec<Entry>,
    /// The number of this attempt to commit, once it has one.
    attempt: Option<u64>,
    /// The fences that its request replaces.
    replaces: Vec<u64>,
    tries: u32,
    statement: String,
}

/// What a COMMIT whose statement for the keys was refused is to do.
pub(in crate::session) enum Collision {
    /// The same request had been executed before.
    Committed,
    /// An earlier call has done the work of the whole transaction.
    Told,
    /// Nothing is in the way that the next request does not replace.
    SendAgain,
    Refused(Error),
}

impl Call {
    pub fn new(key: IdempotencyKey, body: &'static str, nested: bool) -> Self {
        Self { key, body, nested, told: Arc::default() }
    }

    /// Whether the row is looked for before the body runs. `again`: an attempt has failed before.
    pub fn looks_first(&self, again: bool) -> bool {
        self.nested || again || self.key.checks_first()
    }

    /// What the key is used for.
    pub fn function(&self) -> &str {
        let name = self.key.function_name().or_else(|| function(self.body)).unwrap_or(self.body);
        &name[..name.floor_char_boundary(LONGEST_NAME)]
    }

    /// The value that an earlier call has stored.
    pub fn told(&self) -> Option<&str> {
        self.told.get().map(String::as_str)
    }

    /// The value in the row, if it is no fence.
    pub fn stored(&self, row: Row) -> Result<Option<String>> {
        let (_, Some(function), agrees, result) = row else { return Ok(None) };
        if function != self.function() {
            return Err(Error::new(ErrorKind::IdempotencyKeyReused, format!("it was used for `{function}` before")));
        }
        if !agrees {
            return Err(Error::new(ErrorKind::IdempotencyKeyReused, "it was used with other arguments before"));
        }
        Ok(Some(result.unwrap_or_default()))
    }
}

impl Keys {
    pub fn new(settings: &Arc<Settings>) -> Self {
        Self {
            settings: Arc::clone(settings),
            entries: Vec::new(),
            attempt: None,
            replaces: Vec::new(),
            tries: 0,
            statement: String::new(),
        }
    }

    /// For a new transaction.
    pub fn clear(&mut self) {
        self.truncate(0);
        self.replaces.clear();
        self.attempt = None;
        self.tries = 0;
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What was added since there were so many is not to be stored.
    pub fn truncate(&mut self, len: usize) {
        self.entries.truncate(len);
    }

    pub fn table(&self) -> Result<Table> {
        table(&self.settings)
    }

    /// The value that is to be stored for an earlier call of this transaction with the same key.
    pub fn waiting(&self, call: &Call) -> Result<Option<&str>> {
        let Some(entry) = self.entries.iter().find(|entry| entry.call.key.bytes() == call.key.bytes()) else { return Ok(None) };
        let same = entry.call.function() == call.function() && entry.call.key.fingerprint_bytes() == call.key.fingerprint_bytes();
        if same { Ok(Some(&entry.result)) } else { Err(used_twice()) }
    }

    /// Stores a value with the next COMMIT. Returns how many bytes its statement has.
    pub fn add(&mut self, call: &Call, result: String) -> Result<usize> {
        if self.entries.iter().any(|entry| entry.call.key.bytes() == call.key.bytes()) {
            return Err(used_twice());
        }
        self.entries.push(Entry { call: call.clone(), result });
        self.prepare()?;
        Ok(self.statement.len())
    }

    /// The reading of the row of a call's key.
    pub fn find(&self, call: &Call) -> Result<String> {
        Ok(self.table()?.find(call.key.bytes(), call.key.fingerprint_bytes(), ""))
    }

    fn prepare(&mut self) -> Result<()> {
        let table = self.table()?;
        let attempt = *self.attempt.get_or_insert_with(new_number);
        self.statement.clear();
        table.store(&self.entries, attempt, &self.replaces, &mut self.statement);
        Ok(())
    }

    /// The statement that goes first in the COMMIT request.
    pub fn statement(&self) -> &str {
        &self.statement
    }

    /// The server refused the statement, because there is a row. `Err`: the row cannot be read.
    pub fn collided(&mut self, link: &mut Link) -> mysql::Result<Collision> {
        self.tries += 1;
        let table = self.table()?;
        let attempt = *self.attempt.get_or_insert_with(new_number);
        for at in 0..self.entries.len() {
            let call = self.entries[at].call.clone();
            let found = link.ask::<Row>(&table.find(call.key.bytes(), call.key.fingerprint_bytes(), row::SHARED))?.pop();
            let seen = found.as_ref().map(row::seen);
            match (row::judge(seen, attempt, &self.replaces), found) {
                (Judgement::Committed, _) => return Ok(Collision::Committed),
                (Judgement::Taken, Some(row)) => return Ok(taken(&call, row)),
                (Judgement::Fenced, Some((fence, ..))) => self.replaces.push(fence),
                _ => {}
            }
        }
        if self.tries > TRIES || self.prepare().is_err() {
            let message = "other attempts with the same idempotency key were under way at the same time";
            return Ok(Collision::Refused(Error::new(ErrorKind::Deadlock, message).transient(true)));
        }
        Ok(Collision::SendAgain)
    }

    /// Creates the table, unless it exists.
    pub fn install(settings: &Settings, link: &mut Link) -> Result<()> {
        let table = table(settings)?;
        link.packet(&[&table.create()]).map(drop).map_err(refused)
    }

    /// Deletes the rows that are older, batch by batch. Returns how many there were.
    pub fn sweep(settings: &Settings, link: &mut Link, older_than: Duration) -> Result<u64> {
        let sweep = table(settings)?.sweep(older_than.as_secs());
        let mut rows = 0;
        loop {
            let deleted = link.packet(&[&sweep, COMMIT]).map_err(refused)?;
            rows += deleted;
            if deleted < BATCH {
                return Ok(rows);
            }
        }
    }
}

/// Another attempt was committed under this call's key.
fn taken(call: &Call, row: Row) -> Collision {
    match call.stored(row) {
        Err(reused) => Collision::Refused(reused),
        Ok(_) if call.nested => {
            let message = "a nested call's idempotency key was used by another transaction meanwhile";
            Collision::Refused(Error::new(ErrorKind::Deadlock, message).transient(true))
        }
        Ok(stored) => {
            // There is one value only.
            let _ = call.told.set(stored.unwrap_or_default());
            Collision::Told
        }
    }
}

fn table(settings: &Settings) -> Result<Table> {
    settings.idempotency_database().map(|database| Table::within(&database))
}

fn used_twice() -> Error {
    Error::new(ErrorKind::IdempotencyKeyReused, "two calls in one transaction have it")
}
