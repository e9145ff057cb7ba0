//! What the attributes expand to. Not for use by hand, and not stable.

mod returns;
mod source;

use std::any::type_name_of_val;
// Under names that exist nowhere else: where the path to here is wrong, the compiler would propose to import others of the same name, each in an
// error of its own.
pub use std::clone::Clone as CloneOf;
use std::time::Duration;

pub use crate::__private::returns::ArgumentOf;
use crate::__private::returns::{Outcome, TakesFault};
pub use crate::__private::source::InspectOf;
use crate::__private::source::Look;
use crate::{Attempt, IdempotencyKey, RetryPolicy, Scope, StoredValue, Transaction, TxOptions};
pub use crate::{IdempotencyKey as IdempotencyKeyOf, Isolation as IsolationOf, Scope as ScopeOf, TxOptions as TxOptionsOf};

/// `#[transactional]`
pub fn transactional<E: TakesFault, R: Outcome<Error = E>>(
    scope: &Scope<'_>,
    options: TxOptions,
    body: impl FnOnce(&mut Transaction<'_>) -> R,
    look: Look<E>,
) -> R {
    R::from_result(scope.run(type_name_of_val(&body), &options, look, |tx| body(tx).into_result()))
}

/// `#[retry_on_disconnect]`
pub fn retrying<E: TakesFault, R: Outcome<Error = E>>(
    scope: &Scope<'_>,
    policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
    mut body: impl FnMut(Attempt) -> R,
    look: Look<E>,
) -> R {
    R::from_result(scope.run_retrying(type_name_of_val(&body), None, policy, look, |attempt| body(attempt).into_result()))
}

/// `#[retry_on_disconnect(timeout = …)]`
pub fn retrying_within<E: TakesFault, R: Outcome<Error = E>>(
    scope: &Scope<'_>,
    timeout: Duration,
    policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
    mut body: impl FnMut(Attempt) -> R,
    look: Look<E>,
) -> R {
    R::from_result(scope.run_retrying(type_name_of_val(&body), Some(timeout), policy, look, |attempt| body(attempt).into_result()))
}

/// `#[retry_on_disconnect]` above `#[transactional]`
pub fn retrying_transactional<E: TakesFault, R: Outcome<Error = E>>(
    scope: &Scope<'_>,
    policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
    options: TxOptions,
    mut body: impl FnMut(Attempt, &mut Transaction<'_>) -> R,
    look: Look<E>,
) -> R {
    R::from_result(
        scope.run_retrying_transaction(type_name_of_val(&body), policy, &options, look, |attempt, tx| body(attempt, tx).into_result()),
    )
}

/// `#[transactional(idempotency_key = …)]`
pub fn transactional_once<E: TakesFault, R: Outcome<Value: StoredValue, Error = E>>(
    scope: &Scope<'_>,
    key: IdempotencyKey,
    options: TxOptions,
    body: impl FnOnce(&mut Transaction<'_>) -> R,
    look: Look<E>,
) -> R {
    R::from_result(scope.run_once(type_name_of_val(&body), key, &options, look, |tx| body(tx).into_result()))
}

/// `#[retry_on_disconnect]` above `#[transactional(idempotency_key = …)]`
pub fn retrying_transactional_once<E: TakesFault, R: Outcome<Value: StoredValue, Error = E>>(
    scope: &Scope<'_>,
    policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
    key: IdempotencyKey,
    options: TxOptions,
    mut body: impl FnMut(Attempt, &mut Transaction<'_>) -> R,
    look: Look<E>,
) -> R {
    R::from_result(
        scope.run_retrying_once(type_name_of_val(&body), policy, key, &options, look, |attempt, tx| body(attempt, tx).into_result()),
    )
}

/// The policy of `#[retry_on_disconnect]` without options: the database's own.
pub fn unchanged(policy: RetryPolicy) -> RetryPolicy {
    policy
}

/// What a function that the attributes refuse, and that is never run, has in place of its transaction.
pub fn refused<T>() -> T {
    unreachable!("the attribute is a compile error")
}
