//! The generated code.
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
//!     transactional(tx, TxOptions::new(), |tx: &mut Transaction<'_>| -> Result<(), E> { BODY }, Inspect::<Result<(), E>>::HERE.look())
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
//!         Inspect::<Result<(), E>>::HERE.look(),
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
use syn::{
    Expr, ExprMethodCall, ExprReference, FnArg, GenericArgument, Lifetime, Pat, PatType, Path, PathArguments, ReturnType, Token, Type,
    TypeInfer, token,
};

use crate::function::{self, Body};
use crate::lints::{inside, without_expectations};
use crate::parameters::{self, Kind, Scope};
use crate::replay::{Hide, Replayed, ends, hidden, hidden_name, replay, replay_receiver};
use crate::runtime::{Private, Runtime};
use crate::settings::{Level, RetryOptions, TransactionOptions};
use crate::valid::Wrapper;

/// The wrapped function.
pub(crate) fn expand(wrapper: Wrapper, runtime: &Runtime) -> TokenStream {
    let Wrapper { mut function, mut block, scope, mut kind, library } = wrapper;
    let private = Private::new(runtime, library.as_ref());
    let at = Span::mixed_site();
    let mut before = resolved(&function.taken_off);
    let attempt = match &kind {
        Kind::Transactional(_) => None,
        Kind::Retrying(retry) | Kind::RetryingTransactional(retry, _) => retry.attempt,
    };
    for (index, input) in function.sig.inputs.iter().enumerate() {
        if attempt != Some(index) && parameters::is_called_attempt(input) {
            before.extend(accepted(input, private));
        }
    }
    let inputs = std::mem::take(&mut function.sig.inputs);
    let Parameters { caller, scope, transaction, attempt, fresh, moved } = divide(inputs, scope, &mut kind, &mut block, private);
    function.sig.inputs = caller;
    before.extend(moved);

    let (result, is_nameable) = nameable(&function.sig.output);
    // The call lies on the return type: there the compiler reports what is no `Result`, and an error type without `From<db_core::Error>`.
    let (first, last) = match &function.sig.output {
        ReturnType::Type(_, ty) => ends(ty),
        ReturnType::Default => (at, at),
    };
    // The closure begins where the transaction is: there the compiler reports another type of this name.
    let begin = transaction.as_ref().map_or(last, |transaction| hidden(transaction.pat.span()));
    let body = block.span();
    let block = with_fresh(&fresh, block, begin);
    let there = private.at(first);
    let look = match &result {
        ReturnType::Type(_, ty) if is_nameable => quote_spanned!(last=> #there::InspectOf::<#ty>::HERE.look()),
        _ => quote_spanned!(last=> |__error| #there::InspectOf::of(__error).look()(__error)),
    };
    let (name, parameters, options) = match kind {
        Kind::Transactional(kind) => {
            let (is_once, options) = transaction_options(kind.options, private);
            (if is_once { "transactional_once" } else { "transactional" }, quote_spanned!(at=> #transaction), options)
        }
        Kind::Retrying(mut kind) => match kind.options.timeout.take() {
            Some(timeout) => {
                let policy = policy(kind.options, private);
                ("retrying_within", attempt, quote_spanned!(at=> #timeout, #policy))
            }
            None => ("retrying", attempt, policy(kind.options, private)),
        },
        Kind::RetryingTransactional(retry, kind) => {
            let policy = policy(retry.options, private);
            let attempt = if retry.attempt.is_some() { attempt } else { quote_spanned!(begin=> _) };
            let (is_once, options) = transaction_options(kind.options, private);
            let name = if is_once { "retrying_transactional_once" } else { "retrying_transactional" };
            (name, quote_spanned!(begin=> #attempt, #transaction), quote_spanned!(at=> #policy, #options))
        }
    };
    let name = Ident::new(name, first);
    let bar = Token![|](begin);
    let run = quote_spanned!(first=> #there::#name);
    // The body before `look`: where the error is inferred, it is known once the compiler has seen the body.
    let arguments = quote_spanned!(last=> (#scope, #options, #bar #parameters | #result #block, #look));
    let mut outer = Group::new(Delimiter::Brace, quote_spanned!(at=> #before #run #arguments));
    // The user's: an item that ends in a brace of ours would be ours to the compiler, and lints about it be lost.
    outer.set_span(body);
    function.body = Body::Block(outer);
    function.into_token_stream()
}

/// The paths of attributes that were taken off, for the compiler to resolve: each of them is an import that is used, or an error.
pub(crate) fn resolved(paths: &[Path]) -> TokenStream {
    let mut uses = TokenStream::new();
    for path in paths {
        let at = hidden(path.span());
        let mut path = path.clone();
        for segment in &mut path.segments {
            // `$crate` means something in the macro only that wrote it.
            if segment.ident != "$crate" {
                segment.ident.set_span(hidden(segment.ident.span()));
            }
        }
        uses.extend(quote_spanned!(at=> use #path as _;));
    }
    uses
}

/// Our `Attempt` is a mistake where no retry provides it, and any other type of this name an argument. The compiler knows which it is.
fn accepted(input: &FnArg, private: Private<'_>) -> TokenStream {
    let FnArg::Typed(PatType { ty, .. }) = input else {
        return TokenStream::new();
    };
    let (first, last) = ends(ty);
    let (private, accept) = (private.at(first), Ident::new("accept", last));
    quote_spanned!(first=> #private::ArgumentOf::<#ty>::HERE.#accept();)
}

/// The user's parameters, each where it now belongs.
struct Parameters {
    /// What the caller still passes.
    caller: Punctuated<FnArg, Token![,]>,
    /// The argument that is the database or the transaction.
    scope: TokenStream,
    /// What the closure takes: exactly what the user wrote, so that every lint about it is the user's.
    transaction: Option<PatType>,
    attempt: TokenStream,
    /// `let` statements at the top of each attempt.
    fresh: Vec<TokenStream>,
    /// `let` statements at the top of the function.
    moved: TokenStream,
}

fn divide(inputs: Punctuated<FnArg, Token![,]>, mut scope: Scope, kind: &mut Kind, block: &mut Group, private: Private<'_>) -> Parameters {
    let (transaction_index, attempt_index, replayed) = match kind {
        Kind::Transactional(transaction) => (Some(transaction.parameter), None, false),
        Kind::Retrying(retry) => (None, retry.attempt, true),
        Kind::RetryingTransactional(retry, transaction) => (Some(transaction.parameter), retry.attempt, true),
    };
    let scope_index = match scope {
        Scope::Parameter(index) => Some(index),
        Scope::Expression(_) => None,
    };
    let mut hide = Hide::default();
    let mut parameters = Parameters {
        caller: Punctuated::new(),
        scope: TokenStream::new(),
        transaction: None,
        attempt: quote_spanned!(Span::mixed_site()=> _),
        fresh: Vec::new(),
        moved: TokenStream::new(),
    };
    for (index, input) in inputs.into_iter().enumerate() {
        let is = |role: Option<usize>| role == Some(index);
        match input {
            FnArg::Typed(parameter) if is(transaction_index) => {
                if is(scope_index) {
                    let (argument, name) = scope_parameter(&parameter, private);
                    parameters.caller.push(argument);
                    parameters.scope = name.into_token_stream();
                }
                parameters.transaction = Some(any_lifetime(parameter));
            }
            FnArg::Typed(parameter) if is(attempt_index) => {
                parameters.attempt = PatType { attrs: inside(&parameter.attrs), ..parameter }.into_token_stream();
            }
            // Seen by no body and cloned for none, unless it is the database.
            FnArg::Typed(parameter) if replayed && (is(scope_index) || !matches!(*parameter.pat, Pat::Wild(_))) => {
                let written = match &*parameter.pat {
                    Pat::Ident(pat) => Some(pat.ident.clone()),
                    _ => None,
                };
                let Replayed { caller, name, fresh, moved } = replay(parameter, index, is(scope_index), private);
                if is(scope_index) {
                    parameters.scope = name.to_token_stream();
                }
                if let Pat::Verbatim(_) = *caller.pat
                    && let Some(written) = written
                {
                    hide.add(written);
                }
                parameters.caller.push(FnArg::Typed(caller));
                parameters.fresh.extend(fresh);
                parameters.moved.extend(moved);
            }
            FnArg::Receiver(receiver) if replayed => {
                let (receiver, fresh) = replay_receiver(receiver, block, private);
                parameters.caller.push(FnArg::Receiver(receiver));
                parameters.fresh.extend(fresh);
            }
            input => parameters.caller.push(input),
        }
    }
    kind.values().for_each(|value| hide.visit_expr_mut(value));
    if let Scope::Expression(on) = &mut scope {
        hide.visit_expr_mut(on);
        parameters.scope = lent(on);
    }
    parameters.fresh.extend(hide.used());
    parameters
}

/// `tx: &Scope<'_>` for `tx: &mut Transaction<'_>`. The lifetime of the reference stays, as the signature may use it elsewhere; that of
/// the transaction goes, since `Scope` is invariant in it: the caller's database would have to borrow from the other arguments.
///
/// The tokens that both types have lie where the user's do, so that the compiler points at all of the type, and inserts a lifetime where it belongs.
pub(crate) fn scope_parameter(parameter: &PatType, private: Private<'_>) -> (FnArg, Ident) {
    let (and, lifetime, referred) = match function::plain(&parameter.ty) {
        Type::Reference(ty) => (Token![&](hidden(ty.and_token.span)), ty.lifetime.as_ref(), &*ty.elem),
        ty => (Token![&](hidden(ty.span())), None, ty),
    };
    let at = hidden(function::last_segment(referred).map_or_else(|| parameter.ty.span(), Ident::span));
    let arguments = match function::path(referred).and_then(|path| path.segments.last()).map(|segment| &segment.arguments) {
        Some(PathArguments::AngleBracketed(list)) => {
            let elided = list.args.iter().find_map(|argument| match argument {
                GenericArgument::Lifetime(lifetime) => Some(Lifetime::new("'_", hidden(lifetime.span()))),
                _ => None,
            });
            let (lt, gt) = (Token![<](hidden(list.lt_token.span)), Token![>](hidden(list.gt_token.span)));
            let elided = elided.unwrap_or_else(|| Lifetime::new("'_", at));
            quote_spanned!(at=> #lt #elided #gt)
        }
        _ => quote_spanned!(at=> <'_>),
    };
    let private = private.at(at);
    let name = hidden_name(&parameter.pat, "__tx");
    let argument = PatType {
        attrs: without_expectations(&parameter.attrs),
        pat: Box::new(Pat::Verbatim(name.to_token_stream())),
        colon_token: parameter.colon_token,
        ty: Box::new(Type::Verbatim(quote_spanned!(at=> #and #lifetime #private::ScopeOf #arguments))),
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
    parameter.attrs = inside(&parameter.attrs);
    parameter
}

/// The return type in the form that a closure can have, `impl Trait` being left to inference; and whether it is the whole type.
fn nameable(output: &ReturnType) -> (ReturnType, bool) {
    struct Infer(bool);
    impl VisitMut for Infer {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if let Type::ImplTrait(opaque) = ty {
                let underscore_token = Token![_](opaque.impl_token.span);
                *ty = Type::Infer(TypeInfer { attrs: Vec::new(), underscore_token });
                self.0 = true;
            } else {
                visit_mut::visit_type_mut(self, ty);
            }
        }
    }
    let mut output = output.clone();
    let mut infer = Infer(false);
    infer.visit_return_type_mut(&mut output);
    (output, !infer.0)
}

/// `&self.db` for `on = self.db`, `&request.id` for `idempotency_key = request.id`.
fn lent(on: &Expr) -> TokenStream {
    let and_token = Token![&](hidden(on.span()));
    ExprReference { attrs: Vec::new(), and_token, mutability: None, expr: Box::new(on.clone()) }.into_token_stream()
}

/// The options, behind the idempotency key if there is one, and whether there is.
fn transaction_options(options: TransactionOptions, private: Private<'_>) -> (bool, TokenStream) {
    let at = Span::mixed_site();
    let isolation = options.isolation.map(|(name, level)| match level {
        Level::Named(level) => quote_spanned!(at=> .#name(#private::IsolationOf::#level)),
        Level::Value(value) => quote_spanned!(at=> .#name(#value)),
    });
    let flags = options.read_only.into_iter().chain(options.join);
    let timeout = options.timeout.map(|timeout| quote_spanned!(at=> .timeout(#timeout)));
    let key = options.idempotency_key.map(|key| {
        // The compiler points at the key if it is of a type that cannot be one.
        let new = quote_spanned!(hidden(key.span())=> #private::IdempotencyKeyOf::new);
        let key = lent(&key);
        quote_spanned!(at=> #new(#key),)
    });
    (key.is_some(), quote_spanned!(at=> #key #private::TxOptionsOf::new() #isolation #(.#flags(true))* #timeout))
}

/// `|__policy| __policy.max_attempts(5)`: the database's policy, or the one given, and the single settings on top.
fn policy(options: RetryOptions, private: Private<'_>) -> TokenStream {
    let at = Span::mixed_site();
    if options.policy.is_none() && options.settings.is_empty() {
        return quote_spanned!(at=> #private::unchanged);
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
/// ends in `Ok(cache.lock().len())` would not compile. The braces lie where the closure begins: its place, in a message, is all from there
/// to here.
fn with_fresh(fresh: &[TokenStream], block: Group, begin: Span) -> Group {
    if fresh.is_empty() {
        return block;
    }
    let at = Span::mixed_site();
    let mut with_fresh = Group::new(Delimiter::Brace, quote_spanned!(at=> #(#fresh)* match () { () => #block }));
    with_fresh.set_span(begin);
    with_fresh
}
