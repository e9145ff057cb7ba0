//! The attributes `#[transactional]` and `#[retry_on_disconnect]`.
//!
//! They are used, and documented, as `db_core::transactional` and `db_core::retry_on_disconnect`. What follows is for those who
//! change them.
//!
//! Both leave the item as it is written and change two things: the parameters that the macro provides, and the body,
//! which becomes a closure handed to one function of `db_core::__private`. All that happens at run time is written
//! there; nothing here knows of connections.
//!
//! In reading order:
//!
//! - `attribute`: the two attributes, their options, and their uses above one function.
//! - `function`: the item as the user wrote it, cut so that the body stays as it is.
//! - `valid`: which items are refused. It asks `parameters` (which one is the transaction) and `settings` (the meaning of the
//!   options, of which `options` knows the syntax). Every message is in one of these four files, or in `attribute`.
//! - `mistakes` and `suggest`: all messages of one use, and "did you mean".
//! - `expand`: the generated code.
//! - `refuse`: what stands in for a function that cannot be wrapped.
//! - `replay`: the arguments of each attempt; `lints`: the attributes of a parameter.
//! - `runtime`: the path by which the calling crate reaches `db-core`.
//!
//! Everything but `runtime` and this file is a pure function on `proc_macro2` tokens; `tests.rs` holds what is
//! generated as formatted code.

#[cfg(test)]
mod any_tokens;
mod attribute;
mod expand;
mod function;
mod lints;
mod mistakes;
mod options;
mod parameters;
mod refuse;
mod replay;
mod runtime;
mod settings;
mod suggest;
#[cfg(test)]
mod tests;
mod valid;

use attribute::Attribute;
use proc_macro2::TokenStream;
use runtime::Runtime;
use valid::Checked;

// Documented where it is re-exported, in `db_core`, where the examples compile. Text from here would be appended to that.
#[doc(hidden)]
#[proc_macro_attribute]
pub fn transactional(options: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    apply(Attribute::Transactional, options.into(), item.into(), &Runtime::of_the_calling_crate()).into()
}

// As above.
#[doc(hidden)]
#[proc_macro_attribute]
pub fn retry_on_disconnect(options: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    apply(Attribute::RetryOnDisconnect, options.into(), item.into(), &Runtime::of_the_calling_crate()).into()
}

/// The whole of both macros: the item wrapped, or left as it is, and every mistake found in it.
fn apply(attribute: Attribute, options: TokenStream, item: TokenStream, runtime: &Runtime) -> TokenStream {
    let (checked, mistakes) = valid::check(attribute, options, item, runtime);
    let mut tokens = match checked {
        Checked::Wrap(wrapper) => expand::expand(*wrapper, runtime),
        Checked::Refuse(refused) => refuse::stand_in(*refused, runtime),
        Checked::Leave(item) => item,
    };
    tokens.extend(mistakes.into_compile_errors());
    tokens
}
