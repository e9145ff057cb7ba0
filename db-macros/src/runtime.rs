//! By which path does the calling crate reach `db-core`?

use std::cell::RefCell;
use std::env;
use std::ffi::OsString;

use proc_macro_crate::FoundCrate;
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;

/// `db-core`, under the name that the calling crate's manifest gives it.
#[derive(Clone)]
pub(crate) struct Runtime {
    name: String,
}

impl Runtime {
    /// Asked once for a manifest and a thread, since the answer is looked for in files: an editor expands for several crates in one process.
    pub(crate) fn of_the_calling_crate() -> Self {
        thread_local! {
            static LAST: RefCell<Option<(Option<OsString>, Runtime)>> = const { RefCell::new(None) };
        }
        let manifest = env::var_os("CARGO_MANIFEST_DIR");
        LAST.with_borrow_mut(|last| match last {
            Some((of, runtime)) if *of == manifest => runtime.clone(),
            _ => last.insert((manifest, Self::find())).1.clone(),
        })
    }

    fn find() -> Self {
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
