//! What must an annotated function return?
//!
//! A `Result` whose error type a database's error can become. The bounds of [`Scope::transaction`](crate::Scope::transaction) say
//! the same; here they are traits of our own, so that the compiler's message says what to do.

use crate::Error;

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
