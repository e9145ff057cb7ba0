//! What is wrong with one use of the macros? All of it, collected on the way.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;

/// Each mistake with its place, in the order of discovery.
#[derive(Default)]
pub(crate) struct Mistakes(Option<syn::Error>);

impl Mistakes {
    /// The caret lies on `offending`.
    pub(crate) fn at(&mut self, offending: impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(offending, message));
    }

    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn append(&mut self, other: Self) {
        if let Some(error) = other.0 {
            self.push(error);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    #[cfg(test)]
    pub(crate) fn into_errors(self) -> impl Iterator<Item = syn::Error> {
        self.0.into_iter().flatten()
    }

    pub(crate) fn into_compile_errors(self) -> Option<TokenStream> {
        self.0.map(syn::Error::into_compile_error)
    }
}
