//! Calls with an idempotency key.

use std::any::type_name_of_val;

use crate::session::Call;
use crate::transaction::Inner;
use crate::{Attempt, Error, IdempotencyKey, Result, RetryPolicy, Scope, StoredValue, ToIdempotencyKey, Transaction, TxOptions};

impl Scope<'_> {
    /// As [`transaction_with`](Self::transaction_with), once for each key: the first call with a key runs `body`, and stores its `Ok` value in the same
    /// transaction. Every later call with this key, from any process, returns that value. See the [guide](crate::guide::idempotency), and
    /// [`#[transactional(idempotency_key = …)]`](crate::transactional).
    ///
    /// A later call runs the body as well, unless the key [checks first](IdempotencyKey::check_first), and its work is rolled back. Its
    /// [`after_commit`](Transaction::after_commit) hooks do not run. `Err` is not stored.
    ///
    /// # Errors
    ///
    /// As [`transaction_with`](Self::transaction_with), and:
    ///
    /// - [`IdempotencyKeyReused`](crate::ErrorKind::IdempotencyKeyReused): the key was used by another function, or with another
    ///   [fingerprint](IdempotencyKey::fingerprint). Nothing was committed.
    /// - [`UnknownTable`](crate::ErrorKind::UnknownTable): the table is missing, see [`Db::install_idempotency`](crate::Db::install_idempotency).
    /// - [`Config`](crate::ErrorKind::Config): the key is empty or longer than 255 bytes, the transaction is read-only, or the URL names no database.
    /// - [`Driver`](crate::ErrorKind::Driver): the stored value does not convert to the type of `Ok`.
    ///
    /// ```
    /// # use db_core::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = db_testkit::Server::start()?;
    /// # server.connect()?.query_drop("CREATE TABLE payment (cents INT NOT NULL) ENGINE=InnoDB")?;
    /// # let db = Db::connect(&server.url())?;
    /// db.install_idempotency()?;
    /// for _ in 0..3 {
    ///     db.transaction_once("order-1", &TxOptions::new(), |tx| tx.query_drop("INSERT INTO payment VALUES (500)"))?;
    /// }
    /// assert_eq!(db.transaction(|tx| tx.query_first::<u32, _>("SELECT COUNT(*) FROM payment"))?, Some(1));
    /// # Ok(()) }
    /// ```
    pub fn transaction_once<T: StoredValue, E: From<Error>>(
        &self,
        key: impl ToIdempotencyKey,
        options: &TxOptions,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run_once(type_name_of_val(&body), key.to_idempotency_key(), options, |_| None, body)
    }

    /// `name` is that of the type of the body the caller has written.
    pub(crate) fn run_once<T: StoredValue, E: From<Error>>(
        &self,
        name: &'static str,
        key: IdempotencyKey,
        options: &TxOptions,
        inspect: impl Fn(&E) -> Option<Error>,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let call = self.call(key, name);
        let value = self.run(name, options, inspect, |tx| once(tx, &call, false, body))?;
        told(&call, value)
    }

    pub(crate) fn run_retrying_once<T: StoredValue, E: From<Error>>(
        &self,
        name: &'static str,
        policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
        key: IdempotencyKey,
        options: &TxOptions,
        inspect: impl Fn(&E) -> Option<Error>,
        mut body: impl FnMut(Attempt, &mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let call = self.call(key, name);
        let value = self.run_retrying_transaction(name, policy, options, inspect, |attempt, tx| {
            once(tx, &call, attempt.count() > 0, |tx| body(attempt, tx))
        })?;
        told(&call, value)
    }

    fn call(&self, key: IdempotencyKey, name: &'static str) -> Call {
        Call::new(key, name, matches!(self.inner, Inner::Open(_)))
    }
}

/// Runs a body, unless its value is known, and stores the value. `again`: an attempt has failed before.
fn once<T: StoredValue, E: From<Error>>(
    tx: &mut Transaction<'_>,
    call: &Call,
    again: bool,
    body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    tx.session().check_call(call)?;
    if call.looks_first(again)
        && let Some(stored) = tx.session().stored(call)?
    {
        return Ok(T::from_stored(&stored)?);
    }
    let value = body(tx)?;
    tx.session().store(call, value.to_stored()?)?;
    Ok(value)
}

/// The value of an earlier call, if that was met at COMMIT only.
fn told<T: StoredValue, E: From<Error>>(call: &Call, value: T) -> Result<T, E> {
    match call.told() {
        Some(stored) => Ok(T::from_stored(stored)?),
        None => Ok(value),
    }
}
