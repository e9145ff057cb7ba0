//! By which path does the calling crate reach `db-core`?

use proc_macro_crate::FoundCrate;
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;

/// `db-core`, under the name that the calling crate's manifest gives it.
pub(crate) struct Runtime {
    name: String,
}

impl Runtime {
    pub(crate) fn of_the_calling_crate() -> Self {
        // A crate that has `db-core` only through another crate's re-export has it in no manifest of its own; the usual name then gives
        // the compiler's error, which says what is missing.
        Self::new(proc_macro_crate::crate_name("db-core").unwrap_or(FoundCrate::Itself))
    }

    /// `db-core` itself has the same path as its users: its examples and tests are crates of their own, and the library declares
    /// `extern crate self as db_core`.
    pub(crate) fn new(found: FoundCrate) -> Self {
        let name = match found {
            FoundCrate::Itself => "db_core".to_owned(),
            FoundCrate::Name(name) => name,
        };
        Self { name }
    }

    /// The absolute path, as tokens at this place.
    pub(crate) fn path(&self, at: Span) -> TokenStream {
        let name = Ident::new(&self.name, at);
        quote_spanned!(at=> ::#name)
    }
}
