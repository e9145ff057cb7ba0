//! What stands in for a function that cannot be wrapped.
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

use crate::expand::{resolved, scope_parameter};
use crate::function::{self, Body};
use crate::lints::inside;
use crate::parameters::referred;
use crate::runtime::{Private, Runtime};
use crate::valid::Refused;

pub(crate) fn stand_in(refused: Refused, runtime: &Runtime) -> TokenStream {
    let Refused { mut function, takes_scope, transactions, attempts, library } = refused;
    let private = Private::new(runtime, library.as_ref());
    // Else the body would be one that runs in the compiler.
    function.sig.constness = None;
    let mut given = resolved(&function.taken_off);
    for (index, input) in std::mem::take(&mut function.sig.inputs).into_iter().enumerate() {
        match input {
            FnArg::Typed(parameter) if transactions.contains(&index) => {
                given.extend(local(&parameter, true, private));
                if takes_scope {
                    let (argument, _) = scope_parameter(&parameter, private);
                    function.sig.inputs.push(argument);
                }
            }
            FnArg::Typed(parameter) if attempts.contains(&index) => {
                given.extend(local(&parameter, false, private));
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
fn local(parameter: &PatType, lent: bool, private: Private<'_>) -> TokenStream {
    let at = Span::mixed_site();
    let PatType { attrs, pat, ty, .. } = parameter;
    let attrs = inside(attrs);
    let ty = if lent {
        let transaction = referred(ty);
        quote_spanned!(at=> &mut #transaction)
    } else {
        ty.to_token_stream()
    };
    quote_spanned!(at=> #(#attrs)* let #pat: #ty = #private::refused();)
}
