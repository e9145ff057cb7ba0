//! What stands in for a function that cannot be wrapped?
//!
//! ```text
//! #[transactional]
//! async fn insert(tx: &mut Transaction<'_>, id: u64) -> Result<(), E> { BODY }
//! ```
//!
//! becomes, beside the error,
//!
//! ```text
//! async fn insert(tx: &Scope<'_>, id: u64) -> Result<(), E> { let tx: &mut Transaction<'_> = refused(); BODY }
//! ```
//!
//! It is for its callers what it was meant to be, and for its body what it is written as: the mistake is the only error, and an
//! editor goes on to know every type.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::{FnArg, PatType};

use crate::expand::scope_parameter;
use crate::function::{self, Body};
use crate::parameters::{referred, refers_to};
use crate::runtime::Runtime;
use crate::valid::Refused;

pub(crate) fn stand_in(refused: Refused, runtime: &Runtime) -> TokenStream {
    let Refused { mut function, takes_scope } = refused;
    // Else the body would be one that runs in the compiler.
    function.sig.constness = None;
    let mut given = TokenStream::new();
    for input in std::mem::take(&mut function.sig.inputs) {
        let is_transaction = refers_to(&input, |name| name == "Transaction").is_some();
        let is_attempt = refers_to(&input, |name| name == "Attempt").is_some();
        match input {
            FnArg::Typed(parameter) if is_transaction => {
                given.extend(local(&parameter, true, runtime));
                if takes_scope {
                    let (argument, _) = scope_parameter(&parameter, runtime);
                    function.sig.inputs.push(argument);
                }
            }
            FnArg::Typed(parameter) if is_attempt => {
                given.extend(local(&parameter, false, runtime));
            }
            input => function.sig.inputs.push(input),
        }
    }
    if let Body::Block(block) = &mut function.body
        && !given.is_empty()
    {
        given.extend(block.stream());
        *block = function::with_stream(block, given);
    }
    function.into_token_stream()
}

/// What the caller does not pass, for the body.
fn local(parameter: &PatType, lent: bool, runtime: &Runtime) -> TokenStream {
    let at = Span::mixed_site();
    let db_core = runtime.path(at);
    let PatType { attrs, pat, ty, .. } = parameter;
    let ty = if lent {
        let transaction = referred(ty);
        quote_spanned!(at=> &mut #transaction)
    } else {
        ty.to_token_stream()
    };
    quote_spanned!(at=> #(#attrs)* let #pat: #ty = #db_core::__private::refused();)
}
