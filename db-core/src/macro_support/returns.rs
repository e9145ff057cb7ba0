//! What must an annotated function return?
//!
//! A `Result` whose error type a database's error can become. The bounds of [`Scope::transaction`](crate::Scope::transaction) say
//! the same; here they are traits of our own, so that the compiler's message says what to do.

use std::marker::PhantomData;
use std::ops::Deref;

use crate::{Attempt, Error, Transaction};

/// A `Result`.
#[diagnostic::on_unimplemented(
    message = "an annotated function returns a `Result`, not `{Self}`",
    label = "`Ok` commits and `Err` rolls back: return a `Result`, such as `db_core::Result<{Self}>`"
)]
pub trait Outcome {
    /// What `Ok` holds.
    type Value;
    /// What `Err` holds.
    type Error;

    /// As the type that it is.
    fn into_result(self) -> Result<Self::Value, Self::Error>;

    /// The other way.
    fn from_result(result: Result<Self::Value, Self::Error>) -> Self;
}

impl<T, E> Outcome for Result<T, E> {
    type Value = T;
    type Error = E;

    fn into_result(self) -> Self {
        self
    }

    fn from_result(result: Self) -> Self {
        result
    }
}

/// An error type that a database's error can become.
#[diagnostic::on_unimplemented(
    message = "a database's error cannot become `{Self}`",
    label = "`COMMIT` may fail, and the error is then returned: write `impl From<db_core::Error> for {Self}`",
    note = "where `{Self}` is another crate's, take a type of your own, or `Box<dyn std::error::Error>`"
)]
pub trait TakesFault: From<Error> {}

#[diagnostic::do_not_recommend]
impl<E: From<Error>> TakesFault for E {}

/// A parameter whose type is called `Attempt`, in a function without a retry: method resolution finds out whether it is ours.
#[derive(Debug)]
pub struct ArgumentOf<T>(Other<T>);

/// A type of the user's.
#[derive(Debug)]
pub struct Other<T>(PhantomData<T>);

impl<T> ArgumentOf<T> {
    /// Of any type.
    pub const HERE: Self = Self(Other(PhantomData));
}

impl ArgumentOf<Attempt> {
    /// Our own is provided by a retry only.
    pub fn accept(&self)
    where
        for<'a> Attempt: Provided<'a>,
    {
    }
}

impl<T> Other<T> {
    /// An argument like any other.
    pub fn accept(&self) {}
}

impl<T> Deref for ArgumentOf<T> {
    type Target = Other<T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// What nothing implements. The lifetime keeps the compiler from saying so at the definition.
#[diagnostic::on_unimplemented(
    message = "the attempt comes from `#[retry_on_disconnect]`: add it above `#[transactional]`",
    label = "provided in a function that is retried, as `Attempt` or `db_core::Attempt`"
)]
pub trait Provided<'a> {}

/// As above.
#[diagnostic::on_unimplemented(
    message = "a transaction is committed when its function returns `Ok`",
    label = "return `Ok`; what is to run after the COMMIT goes into `after_commit`"
)]
pub trait CommitsByCall<'a> {}

/// As above.
#[diagnostic::on_unimplemented(
    message = "a transaction is rolled back when its function returns `Err`",
    label = "return `Err`, or call `tx.set_rollback_only()`"
)]
pub trait RollsBackByCall<'a> {}

impl Transaction<'_> {
    /// For its message.
    #[doc(hidden)]
    pub fn commit(&mut self) -> Result<(), Error>
    where
        for<'a> Self: CommitsByCall<'a>,
    {
        Ok(())
    }

    /// For its message.
    #[doc(hidden)]
    pub fn rollback(&mut self) -> Result<(), Error>
    where
        for<'a> Self: RollsBackByCall<'a>,
    {
        Ok(())
    }
}
