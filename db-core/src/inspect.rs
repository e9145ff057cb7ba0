//! Does the body's error know of a fault that no statement saw, since it came with a streamed row?
//!
//! The body's error type is bounded by `From<Error>` alone, so that the library cannot look into it. The attributes can: where they
//! expand, the type is known, and method resolution picks the first of these that fits it.

use std::error::Error as StdError;

use crate::Error;

/// A fault that was found in an error.
pub type Fault = Error;

/// What the attributes wrap an error in, to look into it.
#[derive(Debug)]
pub struct Inspect<'a, E>(pub &'a E);

/// The error is one, or holds one.
pub trait Chained {
    /// The first database error in the chain.
    fn fault(&self) -> Option<Fault>;
}

/// `Box<dyn Error + Send + Sync>` and its kin (anyhow, eyre) are no errors themselves.
pub trait Boxed {
    /// The first database error in the chain.
    fn fault(&self) -> Option<Fault>;
}

/// Nor is `Box<dyn Error>`.
pub trait BoxedHere {
    /// The first database error in the chain.
    fn fault(&self) -> Option<Fault>;
}

/// Nothing is known of the type.
pub trait Opaque {
    /// Nothing.
    fn fault(&self) -> Option<Fault>;
}

impl<E: StdError + 'static> Chained for &&&Inspect<'_, E> {
    fn fault(&self) -> Option<Fault> {
        search(self.0)
    }
}

impl<E: AsRef<dyn StdError + Send + Sync>> Boxed for &&Inspect<'_, E> {
    fn fault(&self) -> Option<Fault> {
        search(self.0.as_ref())
    }
}

impl<E: AsRef<dyn StdError>> BoxedHere for &Inspect<'_, E> {
    fn fault(&self) -> Option<Fault> {
        search(self.0.as_ref())
    }
}

impl<E> Opaque for Inspect<'_, E> {
    fn fault(&self) -> Option<Fault> {
        None
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

/// Looks into an error of whatever type.
#[doc(hidden)]
#[macro_export]
macro_rules! __inspect {
    ($error:expr) => {{
        #[allow(unused_imports, reason = "which one is used depends on the type")]
        use $crate::__private::{Boxed as _, BoxedHere as _, Chained as _, Opaque as _};
        (&&&&$crate::__private::Inspect($error)).fault()
    }};
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
        assert_eq!(kind(__inspect!(&error())), Some(ErrorKind::Deadlock));
        assert_eq!(kind(__inspect!(&Own(error()))), Some(ErrorKind::Deadlock));
        assert_eq!(kind(__inspect!(&boxed)), Some(ErrorKind::Deadlock));
        assert_eq!(kind(__inspect!(&shared)), Some(ErrorKind::Deadlock));
        assert_eq!(kind(__inspect!(&driver())), Some(ErrorKind::ConnectionLost));
        assert_eq!(kind(__inspect!(&fmt::Error)), None);
        assert_eq!(kind(__inspect!(&"no error at all")), None);
    }
}
