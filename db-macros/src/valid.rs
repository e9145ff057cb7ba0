//! The items that are refused, and what to write instead.
//!
//! A function that is refused is not wrapped. What is asked of its parameters is in [`crate::parameters`], of the options in
//! [`crate::settings`].

use proc_macro2::{Group, TokenStream};
use quote::quote;
use syn::{FnArg, Pat, ReturnType, Type, TypeParamBound};

use crate::attribute::{self, Attribute};
use crate::function::{self, Body, Function, Item};
use crate::mistakes::Mistakes;
use crate::parameters::{self, Kind, Scope};
use crate::runtime::Runtime;
use crate::settings;
use crate::suggest::nearest;

/// What becomes of the item.
pub(crate) enum Checked {
    Wrap(Box<Wrapper>),
    /// A function that is to stay, though it cannot be wrapped.
    Refuse(Box<Refused>),
    /// As written, but for our attributes: the compiler would expand them again, and report the mistake again.
    Leave(TokenStream),
}

/// A function that can be wrapped, and how.
pub(crate) struct Wrapper {
    pub(crate) function: Function,
    /// The function's body, which becomes the closure's.
    pub(crate) block: Group,
    pub(crate) scope: Scope,
    pub(crate) kind: Kind,
    /// The path of `db-core`, where an option says it.
    pub(crate) library: Option<syn::Path>,
}

/// A function that cannot be wrapped.
pub(crate) struct Refused {
    pub(crate) function: Function,
    /// Whether its callers were to pass the database.
    pub(crate) takes_scope: bool,
    pub(crate) transactions: Vec<usize>,
    pub(crate) attempts: Vec<usize>,
    pub(crate) library: Option<syn::Path>,
}

/// Reads one use of an attribute, and says what is wrong with it.
pub(crate) fn check(attribute: Attribute, options: TokenStream, item: TokenStream, runtime: &Runtime) -> (Checked, Mistakes) {
    let mut mistakes = Mistakes::default();
    let mut taken_off = Vec::new();
    let (uses, mut function) = match Item::read(item.clone()) {
        Ok(Item::Function(mut function)) => {
            let uses = attribute::uses(attribute, options, &mut function.attrs, &mut taken_off, &mut mistakes);
            (uses, *function)
        }
        Ok(Item::Other { mut attrs, rest, error }) => {
            attribute::uses(attribute, options, &mut attrs, &mut taken_off, &mut mistakes);
            if function::looks_like_a_function(&rest) {
                if !function::is_refused_by_the_compiler(&rest) {
                    mistakes.push(error);
                }
            } else {
                mistakes.at(function::keyword(&rest), format_args!("{attribute} goes on a function or method that has a body"));
            }
            return (Checked::Leave(quote!(#(#attrs)* #rest)), mistakes);
        }
        Err(error) => {
            mistakes.push(error);
            return (Checked::Leave(item), mistakes);
        }
    };
    function.taken_off = taken_off;

    let mut settings = settings::read(uses, |name| is_argument(&function, name), &mut mistakes);
    let takes_scope = settings.on.is_none();
    let library = settings.library.take();
    let is_transactional = settings.transaction.is_some();
    let mut wrong = check_function(attribute, &function);
    let wrapping = if !is_transactional && under_another_name(&mut function, &mut wrong) {
        None
    } else {
        parameters::find(&function, settings, runtime, &mut wrong)
    };
    let checked = match (wrapping, &function.body) {
        (Some((scope, kind)), Body::Block(block)) if wrong.is_empty() => {
            let block = block.clone();
            Checked::Wrap(Box::new(Wrapper { function, block, scope, kind, library }))
        }
        _ => {
            let (transactions, attempts) = parameters::not_the_callers(&function, is_transactional, runtime);
            Checked::Refuse(Box::new(Refused { function, takes_scope, transactions, attempts, library }))
        }
    };
    mistakes.append(wrong);
    (checked, mistakes)
}

fn is_argument(function: &Function, name: &str) -> bool {
    function.sig.inputs.iter().any(|input| match input {
        FnArg::Typed(parameter) => matches!(&*parameter.pat, Pat::Ident(pat) if pat.ident == *name),
        FnArg::Receiver(_) => false,
    })
}

/// Attributes that are not given to `#[transactional]` as another name.
const KNOWN: &str = "allow warn deny forbid expect cfg cfg_attr doc must_use inline cold deprecated track_caller no_mangle target_feature \
                     export_name link_section unsafe test ignore should_panic instrument cached context serial rstest case main";

/// Whether `#[retry_on_disconnect]`, above a function that is written against a transaction, has below it what may be
/// `#[transactional]` under another name, or misspelt: which the compiler reports.
fn under_another_name(function: &mut Function, wrong: &mut Mistakes) -> bool {
    if parameters::open_transaction(function).is_none() {
        return false;
    }
    let name = |attr: &syn::Attribute| attr.path().segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
    let Some(index) = function.attrs.iter().rposition(|attr| !KNOWN.split_whitespace().any(|known| known == name(attr))) else {
        return false;
    };
    if nearest(&name(&function.attrs[index]), [Attribute::Transactional.name()].into_iter()).is_none() {
        let attr = function.attrs.remove(index);
        wrong.at(
            &attr,
            "`#[retry_on_disconnect]` sees the names of the attributes below it: if this is `#[transactional]`, write it by that name",
        );
        function.taken_off.push(attr.path().clone());
    }
    true
}

const NOT_ASYNC: &str = "the driver blocks its thread: remove `async`, and call the function inside `tokio::task::spawn_blocking` or \
                         your runtime's equivalent";

/// What no parameter can mend.
fn check_function(attribute: Attribute, function: &Function) -> Mistakes {
    let mut wrong = Mistakes::default();
    let sig = &function.sig;
    if let Some(asyncness) = &sig.asyncness {
        wrong.at(asyncness, NOT_ASYNC);
    }
    if let Some(constness) = &sig.constness {
        wrong.at(constness, "a `const fn` may run in the compiler, which has no database: remove `const`");
    }
    if let Some(abi) = &sig.abi {
        wrong.at(
            abi,
            format_args!(
                "other languages rely on this signature, and {attribute} changes it: put the attribute on a Rust \
                 function, and call that from here"
            ),
        );
    } else if let Some(variadic) = &sig.variadic {
        wrong.at(variadic, "variadic arguments cannot be handed on: take a slice instead");
    }
    if let Body::Missing(semi) = &function.body {
        wrong.at(
            semi,
            format_args!(
                "there is no body to wrap: declare the method with `tx: &Scope<'_>`, and put {attribute} on the \
                 methods that implement it"
            ),
        );
    }
    match &sig.output {
        ReturnType::Default => {
            wrong.at(&sig.ident, format_args!("{attribute} decides by `Ok` or `Err`: return a `Result`, such as `-> db_core::Result<()>`"));
        }
        ReturnType::Type(_, ty) if is_future(ty) => wrong.at(ty, NOT_ASYNC),
        ReturnType::Type(_, ty) if is_surely_no_result(ty) => {
            wrong.at(ty, format_args!("{attribute} decides by `Ok` or `Err`: return a `Result`, such as `db_core::Result<…>`"));
        }
        ReturnType::Type(..) => {}
    }
    wrong
}

/// What an `async fn` has become under `#[async_trait]`, or is written as.
fn is_future(ty: &Type) -> bool {
    match function::plain(ty) {
        Type::ImplTrait(opaque) => opaque.bounds.iter().any(|bound| {
            matches!(bound, TypeParamBound::Trait(bound) if bound.path.segments.last().is_some_and(|segment| segment.ident == "Future"))
        }),
        ty => function::last_segment(ty).is_some_and(|name| name == "Pin" || name == "BoxFuture" || name == "LocalBoxFuture"),
    }
}

/// A path may be an alias of `Result` under any name, and a macro expand to one; the compiler knows. Only what can be
/// no alias is refused here, where the message can say why.
fn is_surely_no_result(ty: &Type) -> bool {
    const NO_RESULT: &[&str] = &[
        "bool", "char", "str", "String", "Option", "Vec", "Box", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16",
        "u32", "u64", "u128", "usize",
    ];
    match function::plain(ty) {
        Type::Path(_) => function::last_segment(ty).is_some_and(|name| NO_RESULT.iter().any(|other| name == other)),
        Type::Macro(_) | Type::Verbatim(_) => false,
        _ => true,
    }
}
