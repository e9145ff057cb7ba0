//! A database error inside the body's error.
//!
//! A fault that came with a streamed row was seen by no statement; only the body's error tells of it. That error's type is bounded by
//! `From<Error>` alone, so that a library function cannot look into it. The attributes can: where they expand, the type is known, and
//! method resolution picks the first `look` below that fits it.

use std::error::Error as StdError;
use std::marker::PhantomData;
use std::ops::Deref;

use crate::Error;

/// A fault that was found in an error.
type Fault = Error;

/// Finds the first database error in an error.
pub(super) type Look<E> = fn(&E) -> Option<Fault>;

/// How to look into the error of `R`, a `Result`: `InspectOf::<R>::HERE.look()`.
///
/// Method resolution takes the first `look` whose bounds the type fulfils, on the way of the dereferences from here to `Opaque`. The
/// attributes pass the function that it returns. A closure in its place would take the compiler longer than all else they generate.
#[derive(Debug)]
pub struct InspectOf<R>(Boxed<R>);

/// What is no error itself: `Box<dyn Error + Send + Sync>` and its kin (anyhow, eyre).
#[derive(Debug)]
pub struct Boxed<R>(BoxedHere<R>);

/// Nor is `Box<dyn Error>`.
#[derive(Debug)]
pub struct BoxedHere<R>(Opaque<R>);

/// Nothing is known of the type.
#[derive(Debug)]
pub struct Opaque<R>(PhantomData<R>);

impl<R> InspectOf<R> {
    /// Of any type, since only the bounds of `look` differ.
    pub const HERE: Self = Self(Boxed(BoxedHere(Opaque(PhantomData))));
}

impl<E> InspectOf<Result<(), E>> {
    /// Where the return type cannot be named: inside of a closure that takes the error.
    pub fn of(_: &E) -> Self {
        Self::HERE
    }
}

impl<T, E: StdError + 'static> InspectOf<Result<T, E>> {
    /// The error is a database error, or holds one.
    pub fn look(&self) -> Look<E> {
        |error| search(error)
    }
}

impl<T, E: AsRef<dyn StdError + Send + Sync>> Boxed<Result<T, E>> {
    /// The error holds one.
    pub fn look(&self) -> Look<E> {
        |error| search(error.as_ref())
    }
}

impl<T, E: AsRef<dyn StdError>> BoxedHere<Result<T, E>> {
    /// The error holds one.
    pub fn look(&self) -> Look<E> {
        |error| search(error.as_ref())
    }
}

impl<R> Opaque<R> {
    /// None can be found. Of any `E`, so that a type that is no `Result` is reported once, as that.
    pub fn look<E>(&self) -> Look<E> {
        |_| None
    }
}

impl<R> Deref for InspectOf<R> {
    type Target = Boxed<R>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<R> Deref for Boxed<R> {
    type Target = BoxedHere<R>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<R> Deref for BoxedHere<R> {
    type Target = Opaque<R>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

fn search(error: &(dyn StdError + 'static)) -> Option<Fault> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return Some(error.clone());
        }
        if let Some(error) = error.downcast_ref::<mysql::Error>() {
            return Some(Error::seen(error));
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;
    use crate::ErrorKind;

    #[derive(Debug)]
    struct Own(Error);

    impl fmt::Display for Own {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("my own")
        }
    }

    impl StdError for Own {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_database_error_is_found_in_whatever_holds_it() {
        let error = || Error::new(ErrorKind::Deadlock, "").transient(true);
        let driver = mysql::Error::server_disconnected;
        let boxed: Box<dyn StdError> = Own(error()).into();
        let shared: Box<dyn StdError + Send + Sync> = Own(error()).into();
        macro_rules! kind_in {
            ($of:ty, $error:expr) => {
                InspectOf::<Result<(), $of>>::HERE.look()(&$error).map(|fault| fault.kind())
            };
        }
        assert_eq!(kind_in!(Error, error()), Some(ErrorKind::Deadlock));
        assert_eq!(kind_in!(Own, Own(error())), Some(ErrorKind::Deadlock));
        assert_eq!(kind_in!(Box<dyn StdError>, boxed), Some(ErrorKind::Deadlock));
        assert_eq!(kind_in!(Box<dyn StdError + Send + Sync>, shared), Some(ErrorKind::Deadlock));
        assert_eq!(kind_in!(mysql::Error, driver()), Some(ErrorKind::ConnectionLost));
        assert_eq!(kind_in!(fmt::Error, fmt::Error), None);
        assert_eq!(kind_in!(&str, "no error at all"), None);
    }
}
