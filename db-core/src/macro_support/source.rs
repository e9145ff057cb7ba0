//! Does the body's error know of a fault that no statement saw, since it came with a streamed row?
//!
//! The body's error type is bounded by `From<Error>` alone, so that the library cannot look into it. The attributes can: where they
//! expand, the type is known, and method resolution picks the first of these that fits it.

use std::error::Error as StdError;
use std::ops::Deref;

use crate::Error;

/// A fault that was found in an error.
pub type Fault = Error;

/// What the attributes wrap an error in, to look into it: `Inspect::new(error).fault()`.
///
/// Method resolution takes the first `fault` whose bounds the type fulfils, on the way of the dereferences from here to `Opaque`.
#[derive(Debug)]
pub struct Inspect<'a, E>(Boxed<'a, E>);

/// What is no error itself: `Box<dyn Error + Send + Sync>` and its kin (anyhow, eyre).
#[derive(Debug)]
pub struct Boxed<'a, E>(BoxedHere<'a, E>);

/// Nor is `Box<dyn Error>`.
#[derive(Debug)]
pub struct BoxedHere<'a, E>(Opaque<'a, E>);

/// Nothing is known of the type.
#[derive(Debug)]
pub struct Opaque<'a, E>(&'a E);

impl<'a, E> Inspect<'a, E> {
    /// Of any type, since only the bounds of `fault` differ.
    pub fn new(error: &'a E) -> Self {
        Self(Boxed(BoxedHere(Opaque(error))))
    }
}

impl<E: StdError + 'static> Inspect<'_, E> {
    /// The first database error in the chain: the error is one, or holds one.
    pub fn fault(&self) -> Option<Fault> {
        search(self.0.0.0.0)
    }
}

impl<E: AsRef<dyn StdError + Send + Sync>> Boxed<'_, E> {
    /// The first database error in the chain.
    pub fn fault(&self) -> Option<Fault> {
        search(self.0.0.0.as_ref())
    }
}

impl<E: AsRef<dyn StdError>> BoxedHere<'_, E> {
    /// The first database error in the chain.
    pub fn fault(&self) -> Option<Fault> {
        search(self.0.0.as_ref())
    }
}

impl<E> Opaque<'_, E> {
    /// None that could be found.
    pub fn fault(&self) -> Option<Fault> {
        None
    }
}

impl<'a, E> Deref for Inspect<'a, E> {
    type Target = Boxed<'a, E>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a, E> Deref for Boxed<'a, E> {
    type Target = BoxedHere<'a, E>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a, E> Deref for BoxedHere<'a, E> {
    type Target = Opaque<'a, E>;

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
        let kind = |fault: Option<Fault>| fault.map(|fault| fault.kind());
        assert_eq!(kind(Inspect::new(&error()).fault()), Some(ErrorKind::Deadlock));
        assert_eq!(kind(Inspect::new(&Own(error())).fault()), Some(ErrorKind::Deadlock));
        assert_eq!(kind(Inspect::new(&boxed).fault()), Some(ErrorKind::Deadlock));
        assert_eq!(kind(Inspect::new(&shared).fault()), Some(ErrorKind::Deadlock));
        assert_eq!(kind(Inspect::new(&driver()).fault()), Some(ErrorKind::ConnectionLost));
        assert_eq!(kind(Inspect::new(&fmt::Error).fault()), None);
        assert_eq!(kind(Inspect::new(&"no error at all").fault()), None);
    }
}
