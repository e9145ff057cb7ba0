//! What is generated?
//!
//! ```text
//! #[transactional]
//! fn rename(tx: &mut Transaction<'_>, id: &u64, name: String) -> Result<(), E> { BODY }
//! ```
//!
//! becomes
//!
//! ```text
//! fn rename(tx: &Scope<'_>, id: &u64, name: String) -> Result<(), E> {
//!     transactional(tx, TxOptions::new(), |tx: &mut Transaction<'_>| -> Result<(), E> { BODY }, |__error| Inspect::new(__error).fault())
//! }
//! ```
//!
//! and with `#[retry_on_disconnect(max_attempts = 5)]` above
//!
//! ```text
//! fn rename(tx: &Scope<'_>, id: &u64, name: String) -> Result<(), E> {
//!     retrying_transactional(
//!         tx, |__policy| __policy.max_attempts(5), TxOptions::new(),
//!         |_, tx: &mut Transaction<'_>| -> Result<(), E> {
//!             let name = Clone::clone(&name);
//!             match () { () => { BODY } }
//!         },
//!         |__error| Inspect::new(__error).fault(),
//!     )
//! }
//! ```
//!
//! The closures borrow what they can instead of taking it (no `move`): an argument lives until the call ends, as it
//! does in any function. A lock guard passed by value is still held when the COMMIT is sent, and `on = self.db` can
//! be lent out beside a `self.counter` that the body changes.
//!
//! Hygiene keeps our names from the body, and the body's from us. It does not keep a constant or a static of the user's
//! from becoming the pattern where we mean a new name, so that names of our own begin with two underscores.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Expr, ExprMethodCall, ExprReference, FnArg, Lifetime, Pat, PatType, ReturnType, Token, Type, TypeInfer, token};

use crate::function::{self, Body};
use crate::parameters::{Kind, Scope};
use crate::replay::{Replayed, ends, hidden, hidden_name, replay, replay_receiver, without_expectations};
use crate::runtime::Runtime;
use crate::settings::{Level, RetryOptions, TransactionOptions};
use crate::valid::Wrapper;

/// The wrapped function.
pub(crate) fn expand(wrapper: Wrapper, runtime: &Runtime) -> TokenStream {
    let Wrapper { mut function, mut block, scope, kind } = wrapper;
    let inputs = std::mem::take(&mut function.sig.inputs);
    let Parameters { caller, scope, transaction, attempt, fresh } = divide(inputs, scope, &kind, &mut block, runtime);
    function.sig.inputs = caller;

    let at = Span::mixed_site();
    let db_core = runtime.path(at);
    let result = nameable(&function.sig.output);
    let block = with_fresh(&fresh, block);
    let inspect = quote_spanned!(at=> |__error| #db_core::__private::Inspect::new(__error).fault());
    let (name, parameters, options) = match kind {
        Kind::Transactional(kind) => {
            let options = transaction_options(kind.options, &db_core);
            ("transactional", quote_spanned!(at=> #transaction), options)
        }
        Kind::Retrying(kind) => {
            let policy = policy(kind.options, &db_core);
            ("retrying", attempt, policy)
        }
        Kind::RetryingTransactional(retry, kind) => {
            let policy = policy(retry.options, &db_core);
            let options = transaction_options(kind.options, &db_core);
            ("retrying_transactional", quote_spanned!(at=> #attempt, #transaction), quote_spanned!(at=> #policy, #options))
        }
    };
    // The call lies on the return type: there the compiler reports what is no `Result`, and an error type without `From<db_core::Error>`.
    let (first, last) = match &function.sig.output {
        ReturnType::Type(_, ty) => ends(ty),
        ReturnType::Default => (at, at),
    };
    let db_core_there = runtime.path(first);
    let name = Ident::new(name, first);
    let run = quote_spanned!(first=> #db_core_there::__private::#name);
    // The body before `Inspect`: what that looks into is known once the compiler has seen the closure's return type.
    let arguments = quote_spanned!(last=> (#scope, #options, |#parameters| #result #block, #inspect));
    let mut outer = Group::new(Delimiter::Brace, quote_spanned!(at=> #run #arguments));
    outer.set_span(hidden(block.span()));
    function.body = Body::Block(outer);
    function.into_token_stream()
}

/// The user's parameters, each where it now belongs.
struct Parameters {
    /// What the caller still passes.
    caller: Punctuated<FnArg, Token![,]>,
    /// The argument that is the database or the transaction.
    scope: TokenStream,
    /// What the closure takes: exactly what the user wrote, so that every lint about it is the user's.
    transaction: Option<TokenStream>,
    attempt: TokenStream,
    /// `let` statements at the top of each attempt.
    fresh: Vec<TokenStream>,
}

fn divide(inputs: Punctuated<FnArg, Token![,]>, scope: Scope, kind: &Kind, block: &mut Group, runtime: &Runtime) -> Parameters {
    let (transaction_index, attempt_index, replayed) = match kind {
        Kind::Transactional(transaction) => (Some(transaction.parameter), None, false),
        Kind::Retrying(retry) => (None, retry.attempt, true),
        Kind::RetryingTransactional(retry, transaction) => (Some(transaction.parameter), retry.attempt, true),
    };
    let (scope_index, scope) = match scope {
        Scope::Parameter(index) => (Some(index), TokenStream::new()),
        Scope::Expression(on) => (None, lent(*on)),
    };
    let mut parameters = Parameters {
        caller: Punctuated::new(),
        scope,
        transaction: None,
        attempt: quote_spanned!(Span::mixed_site()=> _),
        fresh: Vec::new(),
    };
    for (index, input) in inputs.into_iter().enumerate() {
        let is = |role: Option<usize>| role == Some(index);
        match input {
            FnArg::Typed(parameter) if is(transaction_index) => {
                if is(scope_index) {
                    let (argument, name) = scope_parameter(&parameter, runtime);
                    parameters.caller.push(argument);
                    parameters.scope = name.into_token_stream();
                }
                parameters.transaction = Some(any_lifetime(parameter).into_token_stream());
            }
            FnArg::Typed(parameter) if is(attempt_index) => parameters.attempt = parameter.into_token_stream(),
            // Seen by no body and cloned for none, unless it is the database.
            FnArg::Typed(parameter) if replayed && (is(scope_index) || !matches!(*parameter.pat, Pat::Wild(_))) => {
                let Replayed { caller, name, fresh } = replay(parameter, index, is(scope_index));
                if is(scope_index) {
                    parameters.scope = name.into_token_stream();
                }
                parameters.caller.push(FnArg::Typed(caller));
                parameters.fresh.extend(fresh);
            }
            FnArg::Receiver(receiver) if replayed => {
                let (receiver, fresh) = replay_receiver(receiver, block);
                parameters.caller.push(FnArg::Receiver(receiver));
                parameters.fresh.extend(fresh);
            }
            input => parameters.caller.push(input),
        }
    }
    parameters
}

/// `tx: &Scope<'_>` for `tx: &mut Transaction<'_>`. The lifetime of the reference stays, as the signature may use it elsewhere; that of
/// the transaction goes, since `Scope` is invariant in it: the caller's database would have to borrow from the other arguments.
pub(crate) fn scope_parameter(parameter: &PatType, runtime: &Runtime) -> (FnArg, Ident) {
    let at = hidden(parameter.ty.span());
    let reference = match function::plain(&parameter.ty) {
        Type::Reference(ty) => ty.lifetime.as_ref(),
        _ => None,
    };
    let db_core = runtime.path(at);
    let name = hidden_name(&parameter.pat, "__tx");
    let argument = PatType {
        attrs: without_expectations(&parameter.attrs),
        pat: Box::new(Pat::Verbatim(name.to_token_stream())),
        colon_token: parameter.colon_token,
        ty: Box::new(Type::Verbatim(quote_spanned!(at=> &#reference #db_core::__private::Scope<'_>))),
    };
    (FnArg::Typed(argument), name)
}

/// The closure works in a transaction of any lifetime: one that a caller of the function named would be too narrow.
fn any_lifetime(mut parameter: PatType) -> PatType {
    struct Elide;
    impl VisitMut for Elide {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            lifetime.ident = Ident::new("_", lifetime.ident.span());
        }
    }
    Elide.visit_type_mut(&mut parameter.ty);
    parameter
}

/// The return type in the form that a closure can have: `impl Trait` is left to inference.
fn nameable(output: &ReturnType) -> ReturnType {
    struct Infer;
    impl VisitMut for Infer {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if let Type::ImplTrait(opaque) = ty {
                let underscore_token = Token![_](opaque.impl_token.span);
                *ty = Type::Infer(TypeInfer { attrs: Vec::new(), underscore_token });
            } else {
                visit_mut::visit_type_mut(self, ty);
            }
        }
    }
    let mut output = output.clone();
    Infer.visit_return_type_mut(&mut output);
    output
}

/// `&self.db` for `on = self.db`.
fn lent(on: Expr) -> TokenStream {
    let and_token = Token![&](hidden(on.span()));
    ExprReference { attrs: Vec::new(), and_token, mutability: None, expr: Box::new(on) }.into_token_stream()
}

fn transaction_options(options: TransactionOptions, db_core: &TokenStream) -> TokenStream {
    let at = Span::mixed_site();
    let isolation = options.isolation.map(|(name, level)| match level {
        Level::Named(level) => quote_spanned!(at=> .#name(#db_core::__private::Isolation::#level)),
        Level::Path(path) => quote_spanned!(at=> .#name(#path)),
    });
    let flags = options.read_only.into_iter().chain(options.join);
    quote_spanned!(at=> #db_core::__private::TxOptions::new() #isolation #(.#flags(true))*)
}

/// `|__policy| __policy.max_attempts(5)`: the database's policy, or the one given, and the single settings on top.
fn policy(options: RetryOptions, db_core: &TokenStream) -> TokenStream {
    let at = Span::mixed_site();
    if options.policy.is_none() && options.settings.is_empty() {
        return quote_spanned!(at=> #db_core::__private::unchanged);
    }
    let name = Ident::new("__policy", at);
    let (parameter, base) = match options.policy {
        Some(policy) => (quote_spanned!(at=> _), *policy),
        None => (name.to_token_stream(), Expr::Verbatim(name.to_token_stream())),
    };
    // Calls as syntax trees: they put parentheses around a `policy` expression that needs them.
    let policy = options.settings.into_iter().fold(base, |receiver, (method, value)| {
        Expr::MethodCall(ExprMethodCall {
            attrs: Vec::new(),
            receiver: Box::new(receiver),
            dot_token: Token![.](at),
            paren_token: token::Paren(method.span()),
            method,
            turbofish: None,
            args: Punctuated::from_iter([value]),
        })
    });
    quote_spanned!(at=> |#parameter| #policy)
}

/// The block with its arguments anew.
///
/// The arm of a `match` drops the temporaries of its last expression before the bindings above it go, as the body of
/// a function does with its arguments. A block inside a block does so only since edition 2024: before, a body that
/// ends in `Ok(cache.lock().len())` would not compile.
fn with_fresh(fresh: &[TokenStream], block: Group) -> Group {
    if fresh.is_empty() {
        return block;
    }
    let at = Span::mixed_site();
    let mut with_fresh = Group::new(Delimiter::Brace, quote_spanned!(at=> #(#fresh)* match () { () => #block }));
    with_fresh.set_span(hidden(block.span()));
    with_fresh
}
