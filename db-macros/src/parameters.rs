//! The roles of the parameters: which one is the transaction, which the attempt, which the database.
//!
//! A macro sees names, not types: the last segment of a type's path decides. Where a type of the user's has the same name, the path
//! before it and the lifetime do.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Expr, FnArg, Pat, Path, Type};

use crate::function::{Function, has_lifetime, last_segment, named_lifetime, plain, qualifier};
use crate::mistakes::Mistakes;
use crate::runtime::Runtime;
use crate::settings::{Level, RetryOptions, Settings, TransactionOptions};

/// What a parameter is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `&mut Transaction<'_>`
    Transaction,
    /// `Attempt`
    Attempt,
    /// `&Db` or `&Scope<'_>`
    Database,
    /// Everything else, `self` included.
    Argument,
}

/// How surely a type is ours; `None` where it is not. A path by `db-core`'s name decides, then the lifetime, then that there is no
/// path of another name.
type Surely = Option<(bool, bool, bool)>;

fn role(input: &FnArg) -> Role {
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

fn surely(function: &Function, input: &FnArg, wanted: Role, runtime: &Runtime) -> Surely {
    let FnArg::Typed(parameter) = input else {
        return None;
    };
    if role(input) != wanted {
        return None;
    }
    let ty = referred(&parameter.ty);
    // Where the other attribute is in a module, so are the types.
    let module = |path: &Path| path.segments.iter().rev().nth(1).map(|segment| segment.ident.clone());
    let is_ours = |name: &Ident| {
        runtime.is_named(name) || name == "prelude" || function.taken_off.iter().filter_map(module).any(|module| module == *name)
    };
    let (ours, foreign) = match qualifier(ty) {
        Some(name) => (is_ours(name), !is_ours(name)),
        None => (false, false),
    };
    // A transaction has to be there; an attempt need not.
    if wanted == Role::Attempt && foreign { None } else { Some((ours, has_lifetime(ty), !foreign)) }
}

/// A parameter's type that is, or refers to, one of the wanted names.
fn refers_to(input: &FnArg, wanted: impl Fn(&Ident) -> bool) -> Option<&Type> {
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

impl Kind {
    /// The expressions among the options of a retry, which see the parameters.
    pub(crate) fn values(&mut self) -> impl Iterator<Item = &mut Expr> {
        let (retry, transaction) = match self {
            Self::Transactional(transaction) => (None, Some(transaction)),
            Self::Retrying(retry) => (Some(retry), None),
            Self::RetryingTransactional(retry, transaction) => (Some(retry), Some(transaction)),
        };
        let retry = retry.into_iter().flat_map(|retry| {
            let RetryOptions { policy, settings, timeout } = &mut retry.options;
            policy.as_deref_mut().into_iter().chain(settings.iter_mut().map(|(_, value)| value)).chain(timeout.as_deref_mut())
        });
        let transaction = transaction.into_iter().flat_map(|transaction| {
            let TransactionOptions { isolation, timeout, idempotency_key, .. } = &mut transaction.options;
            let level = match isolation {
                Some((_, Level::Value(level))) => Some(&mut **level),
                _ => None,
            };
            level.into_iter().chain(timeout.as_deref_mut()).chain(idempotency_key.as_deref_mut())
        });
        retry.chain(transaction)
    }
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
pub(crate) fn find(function: &Function, settings: Settings, runtime: &Runtime, wrong: &mut Mistakes) -> Option<(Scope, Kind)> {
    let Settings { on, transaction, retry, .. } = settings;
    let attempt = retry.as_ref().and_then(|_| {
        let extra = "the body runs in one attempt at a time: remove this parameter, or, if it is a type of your own, give it another \
                     name: `use login::Attempt as Login`";
        only(function, Role::Attempt, runtime, wrong, extra)
    });
    if let (Some(_), None, Some((_, ty))) = (&retry, attempt, near_miss(function, |name| name == "Attempt"))
        && matches!(plain(ty), Type::Reference(_))
    {
        wrong.at(ty, "the attempt is handed over by value: write `attempt: Attempt`");
    }
    match (transaction, retry) {
        (Some(options), retry) => {
            let parameter = transaction_parameter(function, on.is_some(), runtime, wrong)?;
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
                None => Scope::Parameter(database_parameter(function, runtime, wrong)?),
            };
            refuse_open_transaction(function, wrong);
            Some((scope, Kind::Retrying(Retry { attempt, options })))
        }
        (None, None) => None,
    }
}

fn transaction_parameter(function: &Function, is_on: bool, runtime: &Runtime, wrong: &mut Mistakes) -> Option<usize> {
    let extra = "the function runs in one transaction: remove this parameter, or, if it is a type of your own, give it another name: \
                 `use bank::Transaction as Entry`";
    if let Some(parameter) = only(function, Role::Transaction, runtime, wrong, extra) {
        if let FnArg::Typed(input) = &function.sig.inputs[parameter]
            && qualifier(referred(&input.ty)).is_some_and(|name| name == "mysql")
        {
            wrong.at(&input.ty, "this is the driver's transaction, which nests in no other: write `&mut db_core::Transaction<'_>`");
        }
        refuse_its_lifetime_elsewhere(function, parameter, wrong);
        return Some(parameter);
    }
    let near = |name: &Ident| ["Transaction", "Scope", "Db"].iter().any(|near| name == near);
    if let Some((_, ty)) = near_miss(function, near) {
        wrong.at(
            ty,
            "write the function against a transaction, `tx: &mut Transaction<'_>`: it can then be called with a \
             database or with a transaction",
        );
    } else if let Some((_, ty)) = under_another_name(function) {
        wrong.at(referred(ty), "a macro sees names, not types: if this is the transaction, write `Transaction<'_>` here, without an alias");
    } else {
        let taken = if is_on && !function.sig.inputs.iter().any(|input| matches!(input, FnArg::Typed(_))) {
            "; an attribute above may have taken it: put `#[transactional]` first"
        } else {
            ""
        };
        wrong.push(syn::Error::new(
            function.sig.paren_token.span.join(),
            format_args!("there is no transaction to work in: add the parameter `tx: &mut Transaction<'_>`{taken}"),
        ));
    }
    None
}

/// The same type with the transaction's lifetime, elsewhere in the signature: it would be that of the caller's transaction, and the body has its
/// own.
fn refuse_its_lifetime_elsewhere(function: &Function, transaction: usize, wrong: &mut Mistakes) {
    struct Find {
        wanted: String,
        found: Vec<Path>,
    }
    impl<'ast> Visit<'ast> for Find {
        fn visit_path(&mut self, path: &'ast Path) {
            if path.to_token_stream().to_string() == self.wanted {
                self.found.push(path.clone());
            }
            visit::visit_path(self, path);
        }
    }
    let FnArg::Typed(parameter) = &function.sig.inputs[transaction] else {
        return;
    };
    let Some(lifetime) = named_lifetime(referred(&parameter.ty)) else {
        return;
    };
    let mut find = Find { wanted: referred(&parameter.ty).to_token_stream().to_string(), found: Vec::new() };
    find.visit_generics(&function.sig.generics);
    for (index, input) in function.sig.inputs.iter().enumerate() {
        if index != transaction {
            find.visit_fn_arg(input);
        }
    }
    for found in find.found {
        let name = found.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        wrong.at(found, format_args!("the body's transaction has a lifetime of its own, not `{lifetime}`: write `{name}<'_>` here"));
    }
}

/// `tx`, or else what is lent for changing and has a lifetime: an alias of the transaction, perhaps.
fn under_another_name(function: &Function) -> Option<(usize, &Type)> {
    let exclusive = |ty: &Type| matches!(plain(ty), Type::Reference(reference) if reference.mutability.is_some());
    let typed = || {
        function.sig.inputs.iter().enumerate().filter_map(|(index, input)| match input {
            FnArg::Typed(parameter) if exclusive(&parameter.ty) => Some((index, parameter)),
            _ => None,
        })
    };
    let called = typed().find(|(_, parameter)| matches!(&*parameter.pat, Pat::Ident(pat) if pat.ident == "tx"));
    let found = called.or_else(|| typed().find(|(_, parameter)| has_lifetime(referred(&parameter.ty))));
    found.map(|(index, parameter)| (index, &*parameter.ty))
}

/// The transactions and attempts of a function that cannot be wrapped: its caller is to pass the database, or nothing.
pub(crate) fn not_the_callers(function: &Function, is_transactional: bool, runtime: &Runtime) -> (Vec<usize>, Vec<usize>) {
    let or = |found: Vec<usize>, otherwise: Option<(usize, &Type)>| {
        if found.is_empty() { otherwise.map(|(index, _)| index).into_iter().collect() } else { found }
    };
    let alias = || under_another_name(function).filter(|_| is_transactional);
    let transactions = most_surely(function, Role::Transaction, runtime);
    let transactions = or(transactions, near_miss(function, |name| name == "Transaction").or_else(alias));
    let attempts = or(most_surely(function, Role::Attempt, runtime), near_miss(function, |name| name == "Attempt"));
    (transactions, attempts)
}

/// `Attempt`, under whatever path.
pub(crate) fn is_called_attempt(input: &FnArg) -> bool {
    role(input) == Role::Attempt
}

fn database_parameter(function: &Function, runtime: &Runtime, wrong: &mut Mistakes) -> Option<usize> {
    let extra = "which database to watch is not clear: say it, such as `#[retry_on_disconnect(on = db)]`";
    if let Some(parameter) = only(function, Role::Database, runtime, wrong, extra) {
        return Some(parameter);
    }
    if refuse_open_transaction(function, wrong) {
        return None;
    }
    match near_miss(function, |name| name == "Db" || name == "Scope") {
        Some((_, ty)) => wrong.at(ty, "borrow the database, `&Db`, or say where it is: `#[retry_on_disconnect(on = …)]`"),
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
    let Some(ty) = open_transaction(function) else {
        return false;
    };
    wrong.at(
        ty,
        "a transaction that is already open cannot be tried again: add `#[transactional]` below \
         `#[retry_on_disconnect]`, and each attempt gets its own",
    );
    true
}

pub(crate) fn open_transaction(function: &Function) -> Option<&Type> {
    near_miss(function, |name| name == "Transaction").map(|(_, ty)| ty)
}

/// The parameter in this role. Any other that is as surely in it is one too many.
fn only(function: &Function, wanted: Role, runtime: &Runtime, wrong: &mut Mistakes, extra: &str) -> Option<usize> {
    let found = most_surely(function, wanted, runtime);
    for other in found.iter().skip(1) {
        wrong.at(&function.sig.inputs[*other], extra);
    }
    found.first().copied()
}

/// Of the parameters that may be in this role, those that most surely are.
fn most_surely(function: &Function, wanted: Role, runtime: &Runtime) -> Vec<usize> {
    let sure: Vec<_> = function.sig.inputs.iter().map(|input| surely(function, input, wanted, runtime)).collect();
    let most = sure.iter().flatten().max().copied();
    (0..sure.len()).filter(|index| most.is_some() && sure[*index] == most).collect()
}

fn near_miss(function: &Function, wanted: impl Fn(&Ident) -> bool) -> Option<(usize, &Type)> {
    function.sig.inputs.iter().enumerate().find_map(|(index, input)| refers_to(input, &wanted).map(|ty| (index, ty)))
}
