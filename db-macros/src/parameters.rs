//! Which parameter is the transaction, which the attempt, which the database?
//!
//! A macro sees names, not types: the last segment of a type's path decides.

use proc_macro2::Ident;
use syn::{Expr, FnArg, Type};

use crate::function::{Function, last_segment, plain};
use crate::mistakes::Mistakes;
use crate::settings::{RetryOptions, Settings, TransactionOptions};

/// What a parameter is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `&mut Transaction<'_>`
    Transaction,
    /// `Attempt`
    Attempt,
    /// `&Db` or `&Scope<'_>`
    Database,
    /// Everything else, `self` included.
    Argument,
}

pub(crate) fn role(input: &FnArg) -> Role {
    let FnArg::Typed(parameter) = input else {
        return Role::Argument;
    };
    match plain(&parameter.ty) {
        Type::Reference(reference) => match (last_segment(&reference.elem), reference.mutability) {
            (Some(name), Some(_)) if name == "Transaction" => Role::Transaction,
            (Some(name), None) if name == "Db" || name == "Scope" => Role::Database,
            _ => Role::Argument,
        },
        ty if last_segment(ty).is_some_and(|name| name == "Attempt") => Role::Attempt,
        _ => Role::Argument,
    }
}

/// A parameter's type that is, or refers to, one of the wanted names.
pub(crate) fn refers_to(input: &FnArg, wanted: impl Fn(&Ident) -> bool) -> Option<&Type> {
    let FnArg::Typed(parameter) = input else {
        return None;
    };
    last_segment(referred(&parameter.ty)).is_some_and(wanted).then_some(&*parameter.ty)
}

/// `T` of `&T` and of `T`.
pub(crate) fn referred(ty: &Type) -> &Type {
    match plain(ty) {
        Type::Reference(reference) => &reference.elem,
        ty => ty,
    }
}

/// Where the function gets its database, or the transaction that it joins.
pub(crate) enum Scope {
    /// From the caller, by this parameter.
    Parameter(usize),
    /// From `on = …`.
    Expression(Box<Expr>),
}

pub(crate) enum Kind {
    Transactional(Transaction),
    Retrying(Retry),
    RetryingTransactional(Retry, Transaction),
}

pub(crate) struct Transaction {
    /// The parameter that is the transaction.
    pub(crate) parameter: usize,
    pub(crate) options: TransactionOptions,
}

pub(crate) struct Retry {
    /// The parameter that tells the body which attempt it is in.
    pub(crate) attempt: Option<usize>,
    pub(crate) options: RetryOptions,
}

/// Which parameter is what, for the attributes that are there.
pub(crate) fn find(function: &Function, settings: Settings, wrong: &mut Mistakes) -> Option<(Scope, Kind)> {
    let Settings { on, transaction, retry } = settings;
    let attempt = only(function, Role::Attempt, wrong, "the body runs in one attempt at a time: remove this parameter");
    if let (Some(_), None, Some(ty)) = (&retry, attempt, near_miss(function, |name| name == "Attempt")) {
        wrong.at(ty, "the attempt is handed over by value: write `attempt: Attempt`");
    }
    match (transaction, retry) {
        (Some(options), retry) => {
            if let (None, Some(attempt)) = (&retry, attempt) {
                wrong.at(&function.sig.inputs[attempt], "the attempt comes from `#[retry_on_disconnect]`: add it above `#[transactional]`");
            }
            let parameter = transaction_parameter(function, wrong)?;
            let scope = on.map_or(Scope::Parameter(parameter), |on| Scope::Expression(Box::new(on)));
            let transaction = Transaction { parameter, options };
            let kind = match retry {
                Some(options) => Kind::RetryingTransactional(Retry { attempt, options }, transaction),
                None => Kind::Transactional(transaction),
            };
            Some((scope, kind))
        }
        (None, Some(options)) => {
            let scope = match on {
                Some(on) => Scope::Expression(Box::new(on)),
                None => Scope::Parameter(database_parameter(function, wrong)?),
            };
            refuse_open_transaction(function, wrong);
            Some((scope, Kind::Retrying(Retry { attempt, options })))
        }
        (None, None) => None,
    }
}

fn transaction_parameter(function: &Function, wrong: &mut Mistakes) -> Option<usize> {
    let extra = "the function runs in one transaction: remove this parameter";
    if let Some(parameter) = only(function, Role::Transaction, wrong, extra) {
        return Some(parameter);
    }
    let near = |name: &Ident| ["Transaction", "Scope", "Db"].iter().any(|near| name == near);
    match near_miss(function, near) {
        Some(ty) => wrong.at(
            ty,
            "write the function against a transaction, `tx: &mut Transaction<'_>`: it can then be called with a \
             database or with a transaction",
        ),
        None => wrong.push(syn::Error::new(
            function.sig.paren_token.span.join(),
            "there is no transaction to work in: add the parameter `tx: &mut Transaction<'_>`",
        )),
    }
    None
}

fn database_parameter(function: &Function, wrong: &mut Mistakes) -> Option<usize> {
    let extra = "which database to watch is not clear: say it, such as `#[retry_on_disconnect(on = db)]`";
    if let Some(parameter) = only(function, Role::Database, wrong, extra) {
        return Some(parameter);
    }
    if refuse_open_transaction(function, wrong) {
        return None;
    }
    match near_miss(function, |name| name == "Db" || name == "Scope") {
        Some(ty) => wrong.at(ty, "borrow the database, `&Db`, or say where it is: `#[retry_on_disconnect(on = …)]`"),
        None => wrong.push(syn::Error::new(
            function.sig.paren_token.span.join(),
            "there is no database to watch: add the parameter `db: &Db`, or say where it is: \
             `#[retry_on_disconnect(on = self.db)]`",
        )),
    }
    None
}

/// With `#[retry_on_disconnect]` alone.
fn refuse_open_transaction(function: &Function, wrong: &mut Mistakes) -> bool {
    let Some(ty) = near_miss(function, |name| name == "Transaction") else {
        return false;
    };
    wrong.at(
        ty,
        "a transaction that is already open cannot be tried again: add `#[transactional]` below \
         `#[retry_on_disconnect]`, and each attempt gets its own",
    );
    true
}

/// The first parameter in this role; any other is one too many.
fn only(function: &Function, wanted: Role, wrong: &mut Mistakes, extra: &str) -> Option<usize> {
    let mut found = None;
    for (index, input) in function.sig.inputs.iter().enumerate() {
        if role(input) == wanted {
            match found {
                None => found = Some(index),
                Some(_) => wrong.at(input, extra),
            }
        }
    }
    found
}

fn near_miss(function: &Function, wanted: impl Fn(&Ident) -> bool) -> Option<&Type> {
    function.sig.inputs.iter().find_map(|input| refers_to(input, &wanted))
}
