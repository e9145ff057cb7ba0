//! What the attributes expand to. Not for use by hand, and not stable.

mod returns;
mod source;

use std::any::type_name_of_val;

use crate::__private::returns::{Outcome, TakesFault};
pub use crate::__private::source::{Fault, Inspect};
pub use crate::{Attempt, Error, Isolation, RetryPolicy, Scope, Transaction, TxOptions};

/// `#[transactional]`
pub fn transactional<R: Outcome<Error: TakesFault>>(
    scope: &Scope<'_>,
    options: TxOptions,
    body: impl FnOnce(&mut Transaction<'_>) -> R,
    inspect: impl Fn(&R::Error) -> Option<Fault>,
) -> R {
    R::from_result(scope.run(type_name_of_val(&body), &options, inspect, |tx| body(tx).into_result()))
}

/// `#[retry_on_disconnect]`
pub fn retrying<R: Outcome<Error: TakesFault>>(
    scope: &Scope<'_>,
    policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
    mut body: impl FnMut(Attempt) -> R,
    inspect: impl Fn(&R::Error) -> Option<Fault>,
) -> R {
    R::from_result(scope.run_retrying(type_name_of_val(&body), policy, inspect, |attempt| body(attempt).into_result()))
}

/// `#[retry_on_disconnect]` above `#[transactional]`
pub fn retrying_transactional<R: Outcome<Error: TakesFault>>(
    scope: &Scope<'_>,
    policy: impl FnOnce(RetryPolicy) -> RetryPolicy,
    options: TxOptions,
    mut body: impl FnMut(Attempt, &mut Transaction<'_>) -> R,
    inspect: impl Fn(&R::Error) -> Option<Fault>,
) -> R {
    R::from_result(
        scope.run_retrying_transaction(type_name_of_val(&body), policy, &options, inspect, |attempt, tx| body(attempt, tx).into_result()),
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
