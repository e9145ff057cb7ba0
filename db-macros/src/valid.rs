//! Which items are refused, and what to write instead?
//!
//! A function that is refused is not wrapped. What is asked of its parameters is in [`crate::parameters`], of the options in
//! [`crate::settings`].

use proc_macro2::{Group, TokenStream};
use quote::quote;
use syn::{ReturnType, Type};

use crate::attribute::{self, Attribute};
use crate::function::{self, Body, Function, Item};
use crate::mistakes::Mistakes;
use crate::parameters::{self, Kind, Scope};
use crate::settings;

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
}

/// A function that cannot be wrapped.
pub(crate) struct Refused {
    pub(crate) function: Function,
    /// Whether its callers were to pass the database.
    pub(crate) takes_scope: bool,
}

/// Reads one use of an attribute, and says what is wrong with it.
pub(crate) fn check(attribute: Attribute, options: TokenStream, item: TokenStream) -> (Checked, Mistakes) {
    let mut mistakes = Mistakes::default();
    let (uses, function) = match Item::read(item.clone()) {
        Ok(Item::Function(mut function)) => (attribute::uses(attribute, options, &mut function.attrs, &mut mistakes), *function),
        Ok(Item::Other { mut attrs, rest, error }) => {
            attribute::uses(attribute, options, &mut attrs, &mut mistakes);
            if function::looks_like_a_function(&rest) {
                mistakes.push(error);
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

    let settings = settings::read(uses, &mut mistakes);
    let takes_scope = settings.on.is_none();
    let mut wrong = check_function(attribute, &function);
    let wrapping = parameters::find(&function, settings, &mut wrong);
    let checked = match (wrapping, &function.body) {
        (Some((scope, kind)), Body::Block(block)) if wrong.is_empty() => {
            let block = block.clone();
            Checked::Wrap(Box::new(Wrapper { function, block, scope, kind }))
        }
        _ => Checked::Refuse(Box::new(Refused { function, takes_scope })),
    };
    mistakes.append(wrong);
    (checked, mistakes)
}

/// What no parameter can mend.
fn check_function(attribute: Attribute, function: &Function) -> Mistakes {
    let mut wrong = Mistakes::default();
    let sig = &function.sig;
    if let Some(asyncness) = &sig.asyncness {
        wrong.at(
            asyncness,
            "the driver blocks its thread: remove `async`, and call the function inside `tokio::task::spawn_blocking` \
             or your runtime's equivalent",
        );
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
        ReturnType::Type(_, ty) if is_surely_no_result(ty) => {
            wrong.at(ty, format_args!("{attribute} decides by `Ok` or `Err`: return a `Result`, such as `db_core::Result<…>`"));
        }
        ReturnType::Type(..) => {}
    }
    wrong
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
